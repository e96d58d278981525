//! What the server tells the rest of the master: numbers and events.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bootd_protocol::tftp::{Outcome, Refusal};

/// Running totals since the server's start. Each is exact; they are not read in one instant.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) started: AtomicU64,
    pub(super) completed: AtomicU64,
    pub(super) aborted: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) over_limit: AtomicU64,
    pub(super) ignored: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) repeated: AtomicU64,
    pub(super) bytes_sent: AtomicU64,
    pub(super) active: AtomicU64,
}

/// The [`Counters`] at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Transfers begun: every one ends as completed, aborted or failed.
    pub started: u64,
    /// Transfers whose last block was acknowledged.
    pub completed: u64,
    /// Transfers that the client has ended: by an ERROR, or by asking anew from the same port.
    pub aborted: u64,
    /// Transfers given up: the client silent, stalled or gone, or the file unreadable.
    pub failed: u64,
    /// Requests answered with an ERROR.
    pub refused: u64,
    /// Requests left unanswered because there were too many transfers.
    pub over_limit: u64,
    /// Datagrams that were no request, or for no transfer.
    pub ignored: u64,
    /// Of those given up, the ones whose client fell silent or got nowhere.
    pub timed_out: u64,
    /// Blocks and OACKs sent again.
    pub repeated: u64,
    /// UDP payload sent, bytes: headers, repetitions and ERRORs included.
    pub bytes_sent: u64,
    /// Transfers under way.
    pub active: u64,
}

impl Counters {
    /// Reads all of them.
    #[must_use]
    pub fn read(&self) -> Counts {
        Counts {
            started: self.started.load(Relaxed),
            completed: self.completed.load(Relaxed),
            aborted: self.aborted.load(Relaxed),
            failed: self.failed.load(Relaxed),
            refused: self.refused.load(Relaxed),
            over_limit: self.over_limit.load(Relaxed),
            ignored: self.ignored.load(Relaxed),
            timed_out: self.timed_out.load(Relaxed),
            repeated: self.repeated.load(Relaxed),
            bytes_sent: self.bytes_sent.load(Relaxed),
            active: self.active.load(Relaxed),
        }
    }

    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn count_end(&self, ending: &Ending) {
        if matches!(ending, Ending::Finished(Outcome::Silent | Outcome::Stalled)) {
            Self::add(&self.timed_out);
        }
        Self::add(match ending {
            Ending::Finished(Outcome::Completed) => &self.completed,
            Ending::Finished(Outcome::Aborted { .. } | Outcome::Superseded) => &self.aborted,
            Ending::Finished(Outcome::Silent | Outcome::Stalled)
            | Ending::Unreachable
            | Ending::Unreadable => &self.failed,
        });
    }
}

/// How a transfer ended, as the edge sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// As the protocol says.
    Finished(Outcome),
    /// The client's port was closed (ICMP port unreachable).
    Unreachable,
    /// The file could not be read any more; the client was told.
    Unreadable,
}

/// Something that happened to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// The client's address and port.
    pub peer: SocketAddr,
    /// The file's name as asked for; empty if the request had none that can be shown.
    pub file: &'a str,
    /// What happened.
    pub stage: Stage,
}

/// What happened to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// It was answered with an ERROR.
    Refused(Refusal),
    /// Its transfer has begun.
    Started {
        /// Size of the file, bytes.
        total: u64,
    },
    /// The client has more of the file: told every [`Config::progress_every`](super::Config)
    /// bytes.
    Progress {
        /// Bytes acknowledged.
        bytes: u64,
        /// Size of the file, bytes.
        total: u64,
    },
    /// Its transfer is over.
    Ended {
        /// Bytes acknowledged.
        bytes: u64,
        /// Size of the file, bytes.
        total: u64,
        /// How it ended.
        ending: Ending,
    },
}

/// Is told what happens, by the thread that serves everybody: must return at once.
pub trait Observer: Send + Sync + 'static {
    /// Takes one event.
    fn observe(&self, event: &Event<'_>);
}

/// Not interested.
impl Observer for () {
    fn observe(&self, _event: &Event<'_>) {}
}
