//! What the operator sees on the machine's console.

use std::fmt::Display;
use std::io::Write as _;
use std::time::Instant;

/// Writes lines with the time since init started.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    origin: Instant,
}

impl Console {
    /// A console whose times count from `origin`.
    #[must_use]
    pub fn new(origin: Instant) -> Self {
        Console { origin }
    }

    /// Writes one line.
    pub fn say(&self, what: impl Display) {
        let seconds = self.origin.elapsed().as_secs_f64();
        // A console that cannot be written to stops nobody.
        let _ = writeln!(
            std::io::stderr().lock(),
            "bootd-init [{seconds:8.3}] {what}"
        );
    }
}

/// An error with all its causes in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
