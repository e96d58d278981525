//! What leaves through one port with one system call: the bursts of many clients.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use bootd_protocol::tftp::{DATA_HEADER_LEN, Run, data_header};
use nix::errno::Errno;

use super::content::Burst;
use super::sys::{Message, Part, WIDTH, send};
use super::table::Seat;

/// Most datagrams that one message may be cut into (the kernel's `UDP_MAX_SEGMENTS`, udp(7)).
const MAX_SEGMENTS: u16 = 64;

/// Most bytes of one message: below the largest UDP payload.
const MAX_MESSAGE: u16 = 65_000;

/// Blocks that may wait for one system call.
const MAX_BLOCKS: usize = 1_024;

/// Something to send.
pub(super) enum Load {
    /// A datagram: an OACK or an ERROR.
    Bytes(Vec<u8>),
    /// Blocks of the file, not yet looked up.
    Blocks(Run),
    /// Blocks, ready to go.
    Burst(Burst),
}

/// One message, and whose it is.
pub(super) struct Letter {
    /// None if no session depends on it.
    pub(super) seat: Option<Seat>,
    pub(super) to: SocketAddr,
    pub(super) from: SocketAddr,
    pub(super) load: Load,
}

/// How many of a run's blocks go into one message.
pub(super) fn burst_limit(run: &Run) -> u16 {
    let datagram = run.block_size.saturating_add(4);
    MAX_SEGMENTS.min(MAX_MESSAGE / datagram).max(1)
}

/// Messages that wait for one system call.
#[derive(Default)]
pub(super) struct Outbox {
    letters: Vec<Letter>,
    blocks: usize,
    headers: Vec<[u8; DATA_HEADER_LEN]>,
    messages: Vec<Message>,
}

/// What became of the letters.
#[derive(Default)]
pub(super) struct Sent {
    /// Bytes that left.
    pub(super) bytes: u64,
    /// Letters that did not, in their order, with the reason.
    pub(super) returned: Vec<(Letter, Errno)>,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Whether it should be sent before anything is added.
    pub(super) fn is_full(&self) -> bool {
        self.letters.len() >= WIDTH || self.blocks >= MAX_BLOCKS
    }

    pub(super) fn push(&mut self, letter: Letter) {
        self.blocks += letter.load.count();
        self.letters.push(letter);
    }

    /// Sends everything. When the socket is full, the rest comes back; after any other error
    /// the letter that met it comes back, and the next ones are tried.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>) -> Sent {
        let mut outcomes: [Option<Errno>; WIDTH] = [None; WIDTH];
        self.give(socket, &mut outcomes);
        let mut sent = Sent::default();
        for (letter, outcome) in self.letters.drain(..).zip(outcomes) {
            match outcome {
                None => sent.bytes += letter.load.size(),
                Some(error) => sent.returned.push((letter, error)),
            }
        }
        self.blocks = 0;
        sent
    }

    fn give(&mut self, socket: BorrowedFd<'_>, outcomes: &mut [Option<Errno>; WIDTH]) {
        self.headers.clear();
        self.messages.clear();
        for letter in &self.letters {
            letter.load.head(&mut self.headers);
        }
        let mut parts = Vec::with_capacity(self.letters.len() + 2 * self.headers.len());
        let mut headers = self.headers.iter();
        for (letter, outcome) in self.letters.iter().zip(&mut *outcomes) {
            let before = parts.len();
            if letter.load.parts(&mut headers, &mut parts).is_none() {
                // As the kernel says of pages behind the end of a file.
                *outcome = Some(Errno::EFAULT);
                parts.truncate(before);
            }
            self.messages.push(Message {
                to: letter.to,
                from: letter.from,
                segment: letter.load.segment(),
                parts: parts.len() - before,
            });
        }
        self.give_parts(socket, &parts, outcomes);
    }

    fn give_parts(
        &self,
        socket: BorrowedFd<'_>,
        parts: &[Part<'_>],
        outcomes: &mut [Option<Errno>; WIDTH],
    ) {
        let (mut next, mut parts, mut retried) = (0, parts, false);
        while next < self.messages.len() {
            let bad = (next..self.messages.len()).find(|&it| outcomes[it].is_some());
            let until = bad.unwrap_or(self.messages.len());
            let taken = match send(socket, &self.messages[next..until], parts) {
                _ if until == next => 1,
                Ok(taken) => taken.max(1),
                // An ICMP error about an earlier datagram, to whomever: this one has not been
                // looked at.
                Err(Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH) if !retried => {
                    retried = true;
                    continue;
                }
                Err(Errno::EAGAIN) => {
                    outcomes[next..self.messages.len()].fill(Some(Errno::EAGAIN));
                    return;
                }
                Err(error) => {
                    outcomes[next] = Some(error);
                    1
                }
            };
            retried = false;
            let gone: usize = self.messages[next..next + taken]
                .iter()
                .map(|it| it.parts)
                .sum();
            parts = &parts[gone..];
            next += taken;
        }
    }
}

impl Load {
    fn count(&self) -> usize {
        match self {
            Load::Bytes(_) => 0,
            Load::Blocks(run) | Load::Burst(Burst { run, .. }) => run.count.into(),
        }
    }

    /// Bytes on the wire.
    fn size(&self) -> u64 {
        let size = match self {
            Load::Bytes(bytes) => bytes.len(),
            Load::Blocks(run) | Load::Burst(Burst { run, .. }) => {
                run.bytes() + usize::from(run.count) * DATA_HEADER_LEN
            }
        };
        u64::try_from(size).unwrap_or(0)
    }

    fn segment(&self) -> Option<u16> {
        match self {
            Load::Burst(Burst { run, .. }) if run.count > 1 => {
                Some(run.block_size.saturating_add(4))
            }
            Load::Bytes(_) | Load::Blocks(_) | Load::Burst(_) => None,
        }
    }

    fn head(&self, headers: &mut Vec<[u8; DATA_HEADER_LEN]>) {
        if let Load::Burst(Burst { run, .. }) = self {
            headers.extend((0..run.count).map(|index| data_header(run.block(index).0)));
        }
    }

    /// Adds its parts; none if the file ends too early.
    fn parts<'a>(
        &'a self,
        headers: &mut impl Iterator<Item = &'a [u8; DATA_HEADER_LEN]>,
        parts: &mut Vec<Part<'a>>,
    ) -> Option<()> {
        match self {
            Load::Bytes(bytes) => parts.push(Part::of(bytes)),
            Load::Blocks(_) => {}
            Load::Burst(Burst { run, body, start }) => {
                let mut whole = Some(());
                for (index, header) in (0..run.count).zip(headers) {
                    let (_, offset, len) = run.block(index);
                    parts.push(Part::of(header));
                    match body.part(start + (offset - run.offset), len) {
                        Some(part) => parts.push(part),
                        None => whole = None,
                    }
                }
                return whole;
            }
        }
        Some(())
    }
}
