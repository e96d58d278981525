//! What came of many downloads, whatever they came by.

use std::time::{Duration, Instant};

use super::contest::Figures;
use super::figures::{count, milliseconds, real};

/// Downloads of one load, counted.
#[derive(Debug, Default)]
pub(super) struct Downloads {
    pub(super) elapsed: Duration,
    pub(super) done: usize,
    pub(super) failed: usize,
    /// Those that ran when the time was over.
    pub(super) unfinished: usize,
    pub(super) first_failure: Option<String>,
    durations: Vec<Duration>,
}

impl Downloads {
    /// Counts one that has all of its file, and began then.
    pub(super) fn finish(&mut self, begun: Instant) {
        self.done += 1;
        self.durations.push(begun.elapsed());
    }

    /// Counts one that ended for this reason.
    pub(super) fn fail(&mut self, reason: String) {
        self.failed += 1;
        self.first_failure.get_or_insert(reason);
    }

    /// The figures that all kinds have.
    pub(super) fn figures(&mut self) -> Figures {
        Figures::from([
            ("done", real(count(self.done))),
            ("p50_ms", milliseconds(&mut self.durations, 500)),
            ("p99_ms", milliseconds(&mut self.durations, 990)),
        ])
    }

    /// What is to be said of those that are missing, if any are.
    pub(super) fn note(&self) -> Option<String> {
        let missing = self.failed + self.unfinished;
        let why = self.first_failure.as_deref().unwrap_or("not done in time");
        (missing > 0).then(|| format!("{missing} not done: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_are_told_with_the_first_reason() {
        let mut all = Downloads::default();
        all.finish(Instant::now());
        assert_eq!(
            (all.done, all.figures()["done"], all.note()),
            (1, 1.0, None)
        );
        all.unfinished = 1;
        assert_eq!(all.note().as_deref(), Some("1 not done: not done in time"));
        all.fail("first".into());
        all.fail("second".into());
        assert_eq!(all.note().as_deref(), Some("3 not done: first"));
    }
}
