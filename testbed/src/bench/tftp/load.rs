//! Many transfers at once, each with a socket of its own. A single one waits for its socket, as a
//! machine's firmware does; several are waited for together.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::transfer::{Counts, Reaction, STOP, Transfer, Wanted, ack};
use crate::bench::downloads::Downloads;
use crate::bench::figures::count;
use crate::bench::wire::{self, BATCH, Inbox};

/// Between two looks at who has waited too long.
const TICK: Duration = Duration::from_millis(20);
const TICK_MS: u8 = 20;
/// No timer grows beyond this.
const LONGEST: Duration = Duration::from_secs(8);
/// Transfers that begin before the first answers are looked at.
const BURST: usize = 32;
/// Queue of each socket, bytes.
const QUEUE: usize = 8 << 20;

/// What is to be done.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) server: SocketAddrV4,
    pub(super) wanted: Wanted,
    pub(super) transfers: usize,
    pub(super) at_once: usize,
    /// Share of the server's datagrams that are lost, from 0 to 1, after `seed`.
    pub(super) loss: f64,
    pub(super) seed: u64,
    /// When a client asks again; each time twice as long.
    pub(super) timer: Duration,
    /// How many times it asks again.
    pub(super) tries: u8,
    /// When the whole ends in any case.
    pub(super) limit: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) downloads: Downloads,
    pub(super) counts: Counts,
    /// Datagrams that were lost on purpose.
    pub(super) lost: u64,
    /// Times that a client asked again.
    pub(super) timeouts: u64,
}

struct Slot {
    socket: UdpSocket,
    connected: bool,
    transfer: Transfer,
    tries: u8,
    timer: Duration,
    begun: Instant,
    deadline: Instant,
}

struct Run<'a> {
    load: &'a Load,
    request: Vec<u8>,
    slots: Vec<Option<Slot>>,
    active: usize,
    started: usize,
    epoll: Option<Epoll>,
    rng: Rng,
    /// Away while it is read.
    inbox: Option<Inbox>,
    buffer: Vec<u8>,
    report: Report,
}

/// Loads the server.
///
/// # Errors
/// A socket cannot be had, or fails.
pub(super) fn run(load: &Load) -> Result<Report> {
    ensure!(load.at_once > 0, "nobody asks");
    // A single socket is waited for by itself: that costs one system call less.
    let epoll = match load.at_once {
        1 => None,
        _ => Some(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?),
    };
    let mut run = Run {
        load,
        request: load.wanted.request(),
        slots: (0..load.at_once).map(|_| None).collect(),
        active: 0,
        started: 0,
        epoll,
        rng: Rng::with_seed(load.seed),
        inbox: Some(Inbox::new(65_536)),
        buffer: vec![0; 65_536],
        report: Report::default(),
    };
    run.all().context("a client's socket")?;
    Ok(run.report)
}

impl Run<'_> {
    fn all(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        let (mut looked, mut last) = (begun, begun);
        loop {
            self.begin()?;
            let now = Instant::now();
            if self.active == 0 || now.duration_since(begun) >= self.load.limit {
                break;
            }
            let done = self.report.downloads.done;
            self.wait()?;
            let now = Instant::now();
            if self.report.downloads.done != done {
                last = now;
            }
            if now.duration_since(looked) >= TICK {
                looked = now;
                self.overdue(now)?;
            }
        }
        for slot in self.slots.iter().flatten() {
            // The server may be gone.
            let _ = slot.socket.send(STOP);
        }
        let downloads = &mut self.report.downloads;
        downloads.unfinished = self.active;
        let end = (downloads.done == self.load.transfers).then_some(last);
        downloads.elapsed = end.unwrap_or_else(Instant::now).duration_since(begun);
        Ok(())
    }

    fn has_more(&self) -> bool {
        self.started < self.load.transfers && self.active < self.load.at_once
    }

    /// Begins transfers where there is room, a burst of them at most.
    fn begin(&mut self) -> io::Result<()> {
        let mut room = BURST;
        for index in 0..self.slots.len() {
            if room == 0 || !self.has_more() {
                break;
            }
            if self.slots[index].is_none() {
                self.start(index)?;
                room -= 1;
            }
        }
        Ok(())
    }

    fn start(&mut self, index: usize) -> io::Result<()> {
        let socket = UdpSocket::bind(source(index, self.load.server))?;
        wire::widen(&socket, QUEUE)?;
        match &self.epoll {
            None => socket.set_read_timeout(Some(TICK))?,
            Some(epoll) => {
                socket.set_nonblocking(true)?;
                epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, count(index)))?;
            }
        }
        let now = Instant::now();
        lossy(socket.send_to(&self.request, self.load.server))?;
        self.slots[index] = Some(Slot {
            socket,
            connected: false,
            transfer: Transfer::new(),
            tries: 0,
            timer: self.load.timer,
            begun: now,
            deadline: now + self.load.timer,
        });
        self.active += 1;
        self.started += 1;
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let Some(epoll) = &self.epoll else {
            return self.read(0);
        };
        let mut events = [EpollEvent::empty(); 256];
        let timeout = if self.has_more() {
            EpollTimeout::ZERO
        } else {
            EpollTimeout::from(TICK_MS)
        };
        let ready = match epoll.wait(&mut events, timeout) {
            Ok(ready) => ready,
            Err(nix::Error::EINTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        for event in &events[..ready] {
            let index = usize::try_from(event.data()).unwrap_or(usize::MAX);
            self.read(index)?;
            if self.slots[index].is_none() && self.has_more() {
                self.start(index)?;
            }
        }
        Ok(())
    }

    /// One system call's worth of a socket.
    fn read(&mut self, index: usize) -> io::Result<()> {
        let Some(slot) = &self.slots[index] else {
            return Ok(());
        };
        let window = slot.transfer.window();
        if slot.connected && window > 1 {
            return self.read_many(index, window);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = self.read_one(index, &mut buffer);
        self.buffer = buffer;
        read
    }

    fn read_one(&mut self, index: usize, buffer: &mut [u8]) -> io::Result<()> {
        let Some(slot) = &mut self.slots[index] else {
            return Ok(());
        };
        let received = if slot.connected {
            slot.socket.recv(buffer).map(|len| (len, None))
        } else {
            let received = slot.socket.recv_from(buffer);
            received.map(|(len, from)| (len, Some(from)))
        };
        let (len, from) = match received {
            Ok(received) => received,
            Err(error) => return lossy(Err(error)).map(drop),
        };
        if self.is_lost(&buffer[..len]) {
            return Ok(());
        }
        if let (Some(from), Some(slot)) = (from, &mut self.slots[index]) {
            if from.ip() != *self.load.server.ip() {
                return Ok(());
            }
            slot.socket.connect(from)?;
            slot.connected = true;
        }
        self.take(index, &buffer[..len])
    }

    fn read_many(&mut self, index: usize, window: usize) -> io::Result<()> {
        let inbox = self.inbox.take();
        let mut inbox = inbox.unwrap_or_else(|| Inbox::new(65_536));
        let result = self.read_into(&mut inbox, index, window);
        self.inbox = Some(inbox);
        result
    }

    fn read_into(&mut self, inbox: &mut Inbox, index: usize, window: usize) -> io::Result<()> {
        let Some(slot) = &self.slots[index] else {
            return Ok(());
        };
        let came = inbox.receive(&slot.socket, window.min(BATCH))?;
        for number in 0..came {
            let packet = inbox.datagram(number).0;
            if !self.is_lost(packet) {
                self.take(index, packet)?;
            }
        }
        Ok(())
    }

    /// Errors are never lost: they would only take the client's time.
    fn is_lost(&mut self, packet: &[u8]) -> bool {
        let lost =
            self.load.loss > 0.0 && packet.get(1) != Some(&5) && self.rng.f64() < self.load.loss;
        self.report.lost += u64::from(lost);
        lost
    }

    fn take(&mut self, index: usize, packet: &[u8]) -> io::Result<()> {
        let Some(slot) = &mut self.slots[index] else {
            return Ok(());
        };
        let counts = &mut self.report.counts;
        let reaction = slot.transfer.handle(packet, &self.load.wanted, counts);
        let (block, progress) = match reaction {
            Reaction::Ignore => return Ok(()),
            Reaction::Progress => (None, true),
            Reaction::Acknowledge(block, progress) => (Some(block), progress),
            Reaction::Finish(block) => {
                acknowledge(&slot.socket, block)?;
                self.report.downloads.finish(slot.begun);
                self.end(index);
                return Ok(());
            }
            Reaction::Fail(reason) => {
                let _ = slot.socket.send(STOP);
                self.fail(index, reason);
                return Ok(());
            }
        };
        if progress {
            slot.tries = 0;
            slot.timer = self.load.timer;
        }
        if let Some(block) = block {
            acknowledge(&slot.socket, block)?;
        }
        slot.deadline = Instant::now() + slot.timer;
        Ok(())
    }

    fn fail(&mut self, index: usize, reason: String) {
        self.report.downloads.fail(reason);
        self.end(index);
    }

    fn end(&mut self, index: usize) {
        self.slots[index] = None;
        self.active -= 1;
    }

    /// Those who have waited too long ask again, or give up.
    fn overdue(&mut self, now: Instant) -> io::Result<()> {
        for index in 0..self.slots.len() {
            let Some(slot) = &mut self.slots[index] else {
                continue;
            };
            if now < slot.deadline {
                continue;
            }
            slot.tries += 1;
            if slot.tries > self.load.tries {
                self.fail(index, "no answer".into());
                continue;
            }
            self.report.timeouts += 1;
            slot.timer = (slot.timer * 2).min(LONGEST);
            slot.deadline = now + slot.timer;
            if slot.transfer.is_answered() {
                let block = slot.transfer.again();
                acknowledge(&slot.socket, block)?;
            } else {
                lossy(slot.socket.send_to(&self.request, self.load.server))?;
            }
        }
        Ok(())
    }
}

/// Every client has an address of its own, as on a network: servers may bound what one gets.
fn source(index: usize, server: SocketAddrV4) -> SocketAddrV4 {
    let own = if server.ip().is_loopback() {
        let [high, low] = u16::try_from(index % 60_000).unwrap_or(0).to_be_bytes();
        Ipv4Addr::new(127, 1, high, low.max(1))
    } else {
        Ipv4Addr::UNSPECIFIED
    };
    SocketAddrV4::new(own, 0)
}

fn acknowledge(socket: &UdpSocket, block: u16) -> io::Result<()> {
    match socket.send(&ack(block)) {
        // This tells of an earlier one; the second goes out.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            lossy(socket.send(&ack(block))).map(drop)
        }
        other => lossy(other).map(drop),
    }
}

/// What the network does not take, or does not bring, is lost.
fn lossy(result: io::Result<usize>) -> io::Result<usize> {
    use io::ErrorKind::{ConnectionRefused, Interrupted, WouldBlock};
    match result {
        Err(error) if [ConnectionRefused, Interrupted, WouldBlock].contains(&error.kind()) => Ok(0),
        other => other,
    }
}
