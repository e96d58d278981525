//! The threads that may wait for a disk, so that the one which serves everybody need not.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use bootd_protocol::tftp::Refusal;
use nix::sys::eventfd::{EfdFlags, EventFd};
use tracing::error;

use super::content::Text;
use super::files::{Files, Source};
use super::pages::{Kept, Paged};
use super::table::Seat;

/// How many: one may be checking the digest of a large file.
const THREADS: usize = 2;

/// Something to do.
pub(super) enum Job {
    /// Open a file for a client.
    Open {
        seat: Seat,
        peer: std::net::SocketAddr,
        name: String,
        text: bool,
    },
    /// Bring a chunk of a file in.
    BringIn(Arc<Paged>, usize),
}

/// Something done.
pub(super) enum Done {
    /// A file was opened, or not.
    Opened(Seat, Result<Opened, Refusal>),
    /// A chunk is in memory.
    BroughtIn,
}

/// A file as the client wants it.
pub(super) enum Opened {
    Plain(Source),
    Text(Text),
}

/// The threads, and the way to them and back. They end with it.
pub(super) struct Helpers {
    jobs: Sender<Job>,
    done: Receiver<Done>,
    bell: Arc<EventFd>,
    /// Jobs that are not done, or not collected.
    owed: Cell<usize>,
}

impl Helpers {
    /// Starts them. Whenever something is done, `bell` can be read.
    pub(super) fn start(files: &Arc<dyn Files>, bell: Arc<EventFd>) -> io::Result<Self> {
        let (jobs, queue) = channel();
        let (results, done) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let kept = Arc::new(Kept::default());
        for _ in 0..THREADS {
            let helper = Helper {
                queue: Arc::clone(&queue),
                results: results.clone(),
                files: Arc::clone(files),
                kept: Arc::clone(&kept),
                bell: Arc::clone(&bell),
            };
            let builder = thread::Builder::new().name("tftp-helper".to_owned());
            builder.spawn(move || helper.run())?;
        }
        Ok(Helpers {
            jobs,
            done,
            bell,
            owed: Cell::new(0),
        })
    }

    /// Gives them something to do.
    pub(super) fn give(&self, job: Job) {
        self.owed.set(self.owed.get() + 1);
        // They end only after this sender.
        let _ = self.jobs.send(job);
    }

    /// What has been done since it was asked last.
    pub(super) fn collect(&self) -> Vec<Done> {
        // Silenced first: what is done from now on rings again.
        let _ = self.bell.read();
        let done: Vec<Done> = self.done.try_iter().collect();
        self.owed.set(self.owed.get().saturating_sub(done.len()));
        done
    }

    /// Whether nothing is left to do for them.
    pub(super) fn are_idle(&self) -> bool {
        self.owed.get() == 0
    }
}

/// The bell of a loop: an eventfd(2) that does not block.
pub(super) fn bell() -> io::Result<Arc<EventFd>> {
    let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
    Ok(Arc::new(EventFd::from_flags(flags)?))
}

struct Helper {
    queue: Arc<Mutex<Receiver<Job>>>,
    results: Sender<Done>,
    files: Arc<dyn Files>,
    kept: Arc<Kept>,
    bell: Arc<EventFd>,
}

impl Helper {
    fn run(self) {
        loop {
            let job = {
                let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                queue.recv()
            };
            let Ok(job) = job else { return };
            if self.results.send(self.perform(job)).is_err() {
                return;
            }
            // Full only if it has been ringing for 2^64 times.
            let _ = self.bell.write(1);
        }
    }

    fn perform(&self, job: Job) -> Done {
        match job {
            Job::Open {
                seat,
                peer,
                name,
                text,
            } => {
                let open = || {
                    let source = self.files.open(&name, peer)?;
                    Ok(if text {
                        Opened::Text(Text::open(source)?)
                    } else {
                        Opened::Plain(source)
                    })
                };
                let opened = catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| {
                    error!(name, "opening a file for TFTP has failed");
                    Err(Refusal::Unreadable)
                });
                Done::Opened(seat, opened)
            }
            Job::BringIn(paged, chunk) => {
                self.kept.bring_in(&paged, chunk);
                Done::BroughtIn
            }
        }
    }
}
