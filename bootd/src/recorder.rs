//! The one thread that writes what is observed into `state.db`. Everybody else sends it letters.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use catalog::Error;
use catalog::state::{Event, Record, StateStore};
use tracing::{error, info};

use crate::chain::chain;
use crate::supervision::{BEAT_INTERVAL, Pulse};

/// Letters are gathered for so long after the first of a batch, unless somebody waits.
const GATHER: Duration = Duration::from_millis(20);
/// Records kept while `state.db` cannot be written; older ones go first.
const MAX_BACKLOG: usize = 10_000;

/// A letter to the recorder.
enum Letter {
    Record(Record),
    /// Write, commit, then call.
    Commit(Vec<Record>, Box<dyn FnOnce() + Send>),
}

/// Where to send letters. Clones reach the same recorder.
#[derive(Debug, Clone)]
pub struct Recorder(Sender<Letter>);

/// The receiving end, to be run on a thread of its own.
pub struct Desk {
    letters: Receiver<Letter>,
    state: StateStore,
    backlog: Vec<Record>,
    failing: bool,
}

/// The time now, in Unix milliseconds.
#[must_use]
pub fn unix_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A recorder for this database.
#[must_use]
pub fn recorder(state: StateStore) -> (Recorder, Desk) {
    let (sender, letters) = channel();
    let backlog = Vec::new();
    (
        Recorder(sender),
        Desk {
            letters,
            state,
            backlog,
            failing: false,
        },
    )
}

impl Recorder {
    fn send(&self, letter: Letter) {
        // The desk is there until the process ends.
        let _ = self.0.send(letter);
    }

    /// Writes soon.
    pub fn record(&self, record: Record) {
        self.send(Letter::Record(record));
    }

    /// Writes an event.
    pub fn event(&self, node: Option<&str>, kind: &str, text: String) {
        let (node, kind) = (node.map(str::to_owned), kind.to_owned());
        self.record(Record::Event(Event {
            at_ms: unix_ms(),
            node,
            kind,
            text,
        }));
    }

    /// Writes now, and calls `then` once all is on stable storage; never if it cannot be written.
    pub fn commit(&self, records: Vec<Record>, then: impl FnOnce() + Send + 'static) {
        self.send(Letter::Commit(records, Box::new(then)));
    }
}

impl Desk {
    /// Writes until all senders are gone; `pulse` is its sign of life.
    pub fn run(mut self, pulse: &Pulse) {
        loop {
            pulse.beat();
            let first = match self.letters.recv_timeout(BEAT_INTERVAL) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let (mut waiting, until) = (Vec::new(), Instant::now() + GATHER);
            let mut hurry = self.take(first, &mut waiting);
            while let Some(letter) = self.next_of_batch(hurry, until) {
                hurry |= self.take(letter, &mut waiting);
            }
            if self.write() {
                waiting.into_iter().for_each(|then| then());
            }
        }
    }

    /// However fast letters come, a batch ends: what is gathered has to be written.
    fn next_of_batch(&self, hurry: bool, until: Instant) -> Option<Letter> {
        let left = until.checked_duration_since(Instant::now())?;
        if hurry {
            self.letters.try_recv().ok()
        } else {
            self.letters.recv_timeout(left).ok()
        }
    }

    /// Takes a letter; whether somebody waits for the batch.
    fn take(&mut self, letter: Letter, waiting: &mut Vec<Box<dyn FnOnce() + Send>>) -> bool {
        match letter {
            Letter::Record(record) => self.backlog.push(record),
            Letter::Commit(records, then) => {
                self.backlog.extend(records);
                waiting.push(then);
                return true;
            }
        }
        false
    }

    /// Where somebody removed `state.db`, it is begun anew: else all would be written to a file
    /// that nobody sees and that ends with this process.
    fn find_state(&mut self) -> Result<(), Error> {
        if self.state.is_displaced() {
            self.state.reopen()?;
            error!(
                "state.db was removed or replaced: what is known from now on stands in the one \
                 that is there; leases and presence come back as nodes speak"
            );
        }
        Ok(())
    }

    /// Writes the backlog; whether that went well. What cannot be written is kept for the next
    /// time, as far as there is room.
    fn write(&mut self) -> bool {
        let ready = self.find_state();
        match ready.and_then(|()| self.state.write(&self.backlog)) {
            Ok(()) => {
                if self.failing {
                    info!("state.db can be written again");
                }
                self.failing = false;
                self.backlog.clear();
                true
            }
            Err(error) => {
                if !self.failing {
                    let error = chain(&error);
                    error!("state.db cannot be written, no lease is given until it can: {error}");
                }
                self.failing = true;
                let surplus = self.backlog.len().saturating_sub(MAX_BACKLOG);
                self.backlog.drain(..surplus);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervision::Life;

    #[test]
    fn writes_while_letters_keep_coming() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let (recorder, desk) = recorder(StateStore::open(&path).unwrap());
        let desk = std::thread::spawn(move || desk.run(&Life::default().part("recorder")));
        let reader = StateStore::read_only(&path).unwrap().unwrap();
        let begun = Instant::now();
        while reader.counters().unwrap().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(30), "nothing written");
            for count in 0..10 {
                recorder.record(Record::Counter("http_bytes", count));
            }
            // Far less than GATHER: the next letter comes before the desk could be idle.
            std::thread::sleep(GATHER / 20);
        }
        drop(recorder);
        desk.join().unwrap();
    }
}
