//! The one thread that writes what is observed into `state.db`. Everybody else sends it letters.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use catalog::Error;
use catalog::state::{Event, Record, StateStore};
use tracing::{error, info, warn};

use crate::chain::chain;
use crate::supervision::{BEAT_INTERVAL, Pulse};

/// Letters are gathered for so long after the first of a batch, unless somebody waits.
const GATHER: Duration = Duration::from_millis(20);
/// Records kept while `state.db` cannot be written; older ones go first.
const MAX_BACKLOG: usize = 10_000;
/// Records that wait to be taken while the disk holds up the desk: some MB. Leases and events
/// beyond that are not written, and a client whose lease it was asks again. What nobody says twice
/// has as much room again.
const MAX_WAITING: usize = 20_000;

/// A letter to the recorder.
enum Letter {
    Record(Record),
    /// Write, commit, then call.
    Commit(Vec<Record>, Box<dyn FnOnce() + Send>),
}

impl Letter {
    fn records(&self) -> usize {
        match self {
            Letter::Record(_) => 1,
            Letter::Commit(records, _) => records.len(),
        }
    }

    /// How many records may wait already when this one comes.
    fn limit(&self) -> usize {
        match self {
            Letter::Record(
                Record::Node(_)
                | Record::Replay(_)
                | Record::Counter(..)
                | Record::Wished(..)
                | Record::InForce(..)
                | Record::Prepared(_)
                | Record::Tested(_),
            ) => 2 * MAX_WAITING,
            Letter::Record(Record::Lease(_) | Record::Event(_)) | Letter::Commit(..) => MAX_WAITING,
        }
    }
}

/// What lies between the senders and the desk.
#[derive(Debug, Default)]
struct Tray {
    waiting: AtomicUsize,
    turned_away: AtomicUsize,
}

/// Where to send letters. Clones reach the same recorder.
#[derive(Debug, Clone)]
pub struct Recorder {
    letters: Sender<Letter>,
    tray: Arc<Tray>,
}

/// The receiving end, to be run on a thread of its own.
pub struct Desk {
    letters: Receiver<Letter>,
    tray: Arc<Tray>,
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
    let (tray, backlog) = (Arc::new(Tray::default()), Vec::new());
    (
        Recorder {
            letters: sender,
            tray: Arc::clone(&tray),
        },
        Desk {
            letters,
            tray,
            state,
            backlog,
            failing: false,
        },
    )
}

impl Recorder {
    fn send(&self, letter: Letter) {
        let records = letter.records();
        if self.tray.waiting.fetch_add(records, Relaxed) >= letter.limit() {
            self.tray.waiting.fetch_sub(records, Relaxed);
            self.tray.turned_away.fetch_add(records, Relaxed);
            return;
        }
        // The desk is there until the process ends.
        let _ = self.letters.send(letter);
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

    /// Writes now, and calls `then` once all is on stable storage; never if it cannot be written,
    /// or too much waits to be.
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
            let lost = self.tray.turned_away.swap(0, Relaxed);
            if lost > 0 {
                warn!("state.db takes too long to write: {lost} records were left out");
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
        self.tray.waiting.fetch_sub(letter.records(), Relaxed);
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
    fn what_a_slow_disk_holds_up_has_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let (recorder, desk) = recorder(StateStore::open(&path).unwrap());
        let (told, answers) = channel();
        let commit = |number: i64| {
            let told = told.clone();
            let records = vec![Record::Counter("http_bytes", 1); MAX_WAITING / 4];
            recorder.commit(records, move || told.send(number).unwrap());
        };
        // Nobody is at the desk.
        (0..6).for_each(commit);
        assert_eq!(desk.tray.turned_away.load(Relaxed), MAX_WAITING / 2);
        let counted = || recorder.record(Record::Counter("tftp_bytes", 7));
        (0..=MAX_WAITING).for_each(|_| counted());
        assert_eq!(desk.tray.turned_away.load(Relaxed), MAX_WAITING / 2 + 1);
        let desk = std::thread::spawn(move || desk.run(&Life::default().part("recorder")));
        let answered: Vec<i64> = (0..4).map(|_| answers.recv().unwrap()).collect();
        assert_eq!(answered, [0, 1, 2, 3]);
        commit(6);
        assert_eq!(answers.recv().unwrap(), 6);
        drop(recorder);
        desk.join().unwrap();
    }

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
