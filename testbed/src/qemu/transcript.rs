//! What a machine has said and done since it was switched on.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A line on the serial console, without control characters.
    Line(String),
    /// The machine was reset.
    Restarted {
        /// By its own software, not from outside.
        by_guest: bool,
    },
    /// The machine's software switched it off.
    PoweredOff,
    /// QEMU has stopped the machine, as its processor cannot go on.
    Halted,
    /// QEMU has ended.
    Ended,
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Happening::Line(text) => f.write_str(text),
            Happening::Restarted { by_guest: true } => f.write_str("-- the machine restarts"),
            Happening::Restarted { by_guest: false } => f.write_str("-- reset from outside"),
            Happening::PoweredOff => f.write_str("-- the machine switches itself off"),
            Happening::Halted => f.write_str("-- QEMU stops the machine: it cannot go on"),
            Happening::Ended => f.write_str("-- power off"),
        }
    }
}

/// One thing that happened, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Since power-on.
    pub at: Duration,
    /// What happened.
    pub what: Happening,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8.3} {}", self.at.as_secs_f64(), self.what)
    }
}

/// What was waited for did not happen.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WaitError {
    /// Not before the deadline.
    #[error("no {wanted} in time; the last lines were:\n{last}")]
    TimedOut {
        /// What was waited for.
        wanted: String,
        /// The end of the transcript.
        last: String,
    },
    /// QEMU ended first, or stopped the machine.
    #[error("the machine ended before {wanted}; the last lines were:\n{last}")]
    Ended {
        /// What was waited for.
        wanted: String,
        /// The end of the transcript.
        last: String,
    },
}

/// Called with every entry, on the thread that reads it.
pub(super) type Watch = Box<dyn Fn(&Entry) + Send + Sync>;

/// The record of one machine from power-on to its end, also written to a log file.
pub struct Transcript {
    powered_on: Instant,
    watch: Watch,
    state: Mutex<State>,
    grew: Condvar,
}

struct State {
    entries: Vec<Entry>,
    log: File,
}

/// Lines shown with a wait that failed.
const LAST: usize = 12;

impl Transcript {
    pub(super) fn new(log: File, watch: Watch) -> Self {
        Transcript {
            powered_on: Instant::now(),
            watch,
            state: Mutex::new(State {
                entries: Vec::new(),
                log,
            }),
            grew: Condvar::new(),
        }
    }

    pub(super) fn add(&self, what: Happening) {
        let at = self.powered_on.elapsed();
        let entry = Entry { at, what };
        let mut state = self.lock();
        // The log is for a person afterwards; a full disk there does not stop a test.
        let _ = writeln!(state.log, "{entry}");
        state.entries.push(entry.clone());
        drop(state);
        self.grew.notify_all();
        (self.watch)(&entry);
    }

    /// How many entries there are: where a later wait begins that must not find older ones.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.lock().entries.len()
    }

    /// A copy of the entries from a mark on.
    #[must_use]
    pub fn entries(&self, from: usize) -> Vec<Entry> {
        self.lock().entries.get(from..).unwrap_or_default().to_vec()
    }

    /// Waits for a line from the mark `from` on that contains `pattern`; gives it and the
    /// mark after it.
    ///
    /// # Errors
    /// The deadline, or QEMU's end, comes first.
    pub fn wait_for_line(
        &self,
        from: usize,
        pattern: &str,
        deadline: Instant,
    ) -> Result<(Entry, usize), WaitError> {
        let wanted = format!("line with {pattern:?}");
        self.wait_for(
            from,
            &wanted,
            deadline,
            |what| matches!(what, Happening::Line(line) if line.contains(pattern)),
        )
    }

    /// Waits for the first entry from the mark `from` on that passes `test`; gives it and
    /// the mark after it. `wanted` says in an error what was waited for.
    ///
    /// # Errors
    /// The deadline, or QEMU's end, comes first.
    pub fn wait_for(
        &self,
        from: usize,
        wanted: &str,
        deadline: Instant,
        test: impl Fn(&Happening) -> bool,
    ) -> Result<(Entry, usize), WaitError> {
        let mut state = self.lock();
        let mut next = from;
        loop {
            for entry in state.entries.get(next..).unwrap_or_default() {
                next += 1;
                if test(&entry.what) {
                    return Ok((entry.clone(), next));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            state.check(wanted, left)?;
            state = self
                .grew
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Whether nothing more can happen: QEMU has ended, or stopped the machine.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.lock().is_over()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_over(&self) -> bool {
        let last = self.entries.last().map(|entry| &entry.what);
        matches!(last, Some(Happening::Ended | Happening::Halted))
    }

    /// Whether there is more to wait for.
    fn check(&self, wanted: &str, left: Duration) -> Result<(), WaitError> {
        let ended = self.is_over();
        if !ended && left > Duration::ZERO {
            return Ok(());
        }
        let (wanted, last) = (wanted.to_owned(), self.last_lines());
        Err(if ended {
            WaitError::Ended { wanted, last }
        } else {
            WaitError::TimedOut { wanted, last }
        })
    }

    fn last_lines(&self) -> String {
        let start = self.entries.len().saturating_sub(LAST);
        let lines: Vec<String> = self.entries[start..].iter().map(Entry::to_string).collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    fn transcript(watch: impl Fn(&Entry) + Send + Sync + 'static) -> Transcript {
        Transcript::new(tempfile::tempfile().unwrap(), Box::new(watch))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn waits_find_what_is_there_and_what_comes_and_go_on_after_it() {
        let (sender, watched) = mpsc::channel();
        let transcript = Arc::new(transcript(move |entry| {
            sender.send(entry.what.clone()).unwrap();
        }));
        transcript.add(Happening::Line("login: one".to_owned()));
        let (entry, next) = transcript.wait_for_line(0, "login", soon()).unwrap();
        assert_eq!((entry.what.to_string().as_str(), next), ("login: one", 1));
        let later = Arc::clone(&transcript);
        let thread = std::thread::spawn(move || {
            later.add(Happening::Restarted { by_guest: true });
            later.add(Happening::Line("login: two".to_owned()));
        });
        let (entry, next) = transcript.wait_for_line(next, "login", soon()).unwrap();
        assert_eq!((entry.what.to_string().as_str(), next), ("login: two", 3));
        thread.join().unwrap();
        assert_eq!(watched.try_iter().count(), 3);
        assert_eq!((transcript.mark(), transcript.entries(2).len()), (3, 1));
    }

    #[test]
    fn a_wait_in_vain_says_what_was_seen_last() {
        let transcript = transcript(|_| {});
        transcript.add(Happening::Line("panic".to_owned()));
        let error = transcript
            .wait_for_line(0, "login", Instant::now())
            .unwrap_err();
        let WaitError::TimedOut { wanted, last } = error else {
            panic!("{error}");
        };
        assert_eq!(wanted, "line with \"login\"");
        assert!(last.ends_with("panic"), "{last}");
        assert!(!transcript.is_over());
        transcript.add(Happening::Ended);
        assert!(transcript.is_over());
        let error = transcript.wait_for_line(0, "login", soon()).unwrap_err();
        assert!(matches!(error, WaitError::Ended { .. }), "{error}");
    }
}
