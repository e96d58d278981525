//! One client: the transfer's machine, its file, and what has yet to leave.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bootd_protocol::tftp::{Command, Outcome, Run, Transfer};

use super::content::Content;
use super::outbox::Load;
use super::pages::Paged;
use std::sync::Arc;

/// A client's port and the address of ours that it asked, with what goes on between them.
pub(super) struct Session {
    pub(super) peer: SocketAddr,
    /// Our address; its port means nothing.
    pub(super) local: SocketAddr,
    /// Index of our port.
    pub(super) port: usize,
    /// The file's name.
    pub(super) file: Box<str>,
    pub(super) stage: Stage,
    /// Waits for its turn to send.
    pub(super) queued: bool,
    /// When the timer rings for it, at the latest.
    pub(super) armed: Option<Duration>,
}

pub(super) enum Stage {
    /// A helper opens the file for this request; if another request came meanwhile, that is
    /// the one that counts, and the file is opened anew.
    Opening { request: Box<[u8]>, anew: bool },
    /// Blocks go out.
    Running(Box<Running>),
}

/// A transfer.
pub(super) struct Running {
    pub(super) transfer: Transfer,
    pub(super) content: Content,
    /// Commands not yet carried out, whole or in part.
    pub(super) left: VecDeque<Load>,
    /// Whether the kernel cuts a batch into datagrams (UDP_SEGMENT, udp(7)); given up at the
    /// first sign that this path cannot: blocks above its MTU, or a card without checksums.
    pub(super) segments: bool,
    /// A chunk of the file is awaited.
    pub(super) parked: bool,
    /// What could not leave at once is leaving: the timer has to be set anew.
    pub(super) delayed: bool,
    /// Bytes that the observer knows of.
    pub(super) told: u64,
    /// Repetitions that have been counted.
    pub(super) counted: u64,
}

/// What a session wants when it is its turn.
pub(super) enum Turn {
    /// Nothing.
    Nothing,
    /// This leaves. If `more`, it wants another turn.
    Send { load: Load, more: bool },
    /// Chunks that must come in first.
    Wait,
    /// It has ended.
    Done(Outcome),
    /// The file cannot be read.
    Unreadable(io::Error),
}

impl Running {
    pub(super) fn new(transfer: Transfer, content: Content) -> Self {
        Running {
            transfer,
            content,
            left: VecDeque::new(),
            segments: true,
            parked: false,
            delayed: false,
            told: 0,
            counted: 0,
        }
    }

    /// Whether something is still to be sent: then no answer is late.
    pub(super) fn is_held_up(&self) -> bool {
        self.parked || !self.left.is_empty()
    }

    /// Its turn: one burst of `limit` blocks at most. Chunks that are to be brought in are told
    /// to `wanted`.
    pub(super) fn turn(
        &mut self,
        limit: impl Fn(&Run) -> u16,
        mut wanted: impl FnMut(&Arc<Paged>, usize),
    ) -> Turn {
        let Some(load) = self.next_load() else {
            return Turn::Nothing;
        };
        let run = match load {
            Err(outcome) => return Turn::Done(outcome),
            Ok(Load::Bytes(bytes)) => return self.send(Load::Bytes(bytes)),
            Ok(Load::Blocks(run)) => run,
            Ok(Load::Burst(burst)) => return self.send(Load::Burst(burst)),
        };
        let first = run.first(if self.segments {
            limit(&run)
        } else {
            limit(&run).min(1)
        });
        if !self.is_ready(&first, &mut wanted) {
            self.left.push_front(Load::Blocks(run));
            self.parked = true;
            return Turn::Wait;
        }
        if let Some(rest) = run.skip(first.count) {
            self.left.push_front(Load::Blocks(rest));
        }
        match self.content.burst(first) {
            Ok(burst) => self.send(Load::Burst(burst)),
            Err(error) => Turn::Unreadable(error),
        }
    }

    fn next_load(&mut self) -> Option<Result<Load, Outcome>> {
        if let Some(load) = self.left.pop_front() {
            return Some(Ok(load));
        }
        Some(match self.transfer.next_command()? {
            Command::Send(bytes) => Ok(Load::Bytes(bytes)),
            Command::SendData(run) => Ok(Load::Blocks(run)),
            Command::Done(outcome) => Err(outcome),
        })
    }

    fn send(&self, load: Load) -> Turn {
        let more = !self.left.is_empty() || self.transfer.has_commands();
        Turn::Send { load, more }
    }

    fn is_ready(&self, run: &Run, wanted: &mut impl FnMut(&Arc<Paged>, usize)) -> bool {
        let Some((paged, start)) = self.content.paged() else {
            return true;
        };
        let Ok(start) = usize::try_from(start + run.offset) else {
            return true;
        };
        let (ready, chunks) = paged.ready(start, run.bytes());
        chunks.for_each(|chunk| wanted(paged, chunk));
        ready
    }
}
