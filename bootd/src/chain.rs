//! An error in one line, for the log.

use std::error::Error;

/// The error with all its causes. A cause that the text before it ends with is not told twice.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read {0}")]
    struct Outer(&'static str, #[source] std::io::Error);

    #[test]
    fn every_cause_is_told_once() {
        let cause = || std::io::Error::other("the disk is gone");
        assert_eq!(
            chain(&Outer("x", cause())),
            "cannot read x: the disk is gone"
        );
        assert_eq!(
            chain(&Outer("x: the disk is gone", cause())),
            "cannot read x: the disk is gone"
        );
    }
}
