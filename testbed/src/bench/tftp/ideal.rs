//! The limit of this machine: a TFTP server that does nothing but the packets. Its files are in
//! memory, nothing is checked, nothing logged. It does send again after 20 ms, so that it also
//! shows what recovery could cost; later where answers take longer, so that a busy machine does
//! not make it send everything twice.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg, setsockopt, sockopt};

use crate::bench::figures::count;
use crate::bench::wire::{self, BATCH, Inbox, Outbox};

/// When a window is sent again, times one more than it has been already.
pub(super) const TIMER: Duration = Duration::from_millis(20);
/// How many times at most, and the longest wait in timers.
const TRIES: u32 = 50;
const LONGEST: u32 = 10;
/// Between two looks at the timers.
const TICK: Duration = Duration::from_millis(10);
const TICK_MS: u8 = 10;
/// Requests that one look at the well-known port takes.
const REQUESTS: usize = 64;
/// Most datagrams and bytes that the kernel cuts out of one (UDP_SEGMENT, udp(7)).
const SEGMENTS: u64 = 64;
const SEGMENTED: u64 = 65_000;
/// Epoll's name for the well-known port.
const LISTENER: u64 = u64::MAX;

/// Which sockets answers leave by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Sockets {
    /// The well-known one for all: a batch of them is one system call.
    Shared,
    /// One for each transfer (RFC 1350, section 4).
    Own,
}

struct Session {
    peer: SocketAddrV4,
    socket: Option<UdpSocket>,
    content: Arc<[u8]>,
    grant: Vec<u8>,
    block: u16,
    window: u64,
    /// The first block that is not acknowledged, from 1; the last one sent; the last of all.
    base: u64,
    sent: u64,
    last: u64,
    tries: u32,
    /// Whether this window, and the one before it, were sent more than once. Then a second
    /// acknowledgement may be to a second copy, and asks for nothing.
    again: bool,
    again_before: bool,
    /// From a window to its acknowledgement, smoothed.
    round_trip: Duration,
    sent_at: Instant,
    deadline: Instant,
}

/// A bare server.
pub(in crate::bench) struct Ideal {
    socket: UdpSocket,
    own: SocketAddrV4,
    epoll: Option<Epoll>,
    files: HashMap<String, Arc<[u8]>>,
    sessions: HashMap<u64, Session>,
}

impl Ideal {
    /// At an address of its own.
    ///
    /// # Errors
    /// It is taken.
    pub(in crate::bench) fn new(
        at: SocketAddrV4,
        sockets: Sockets,
        files: HashMap<String, Arc<[u8]>>,
    ) -> Result<Self> {
        let socket = wire::socket(at, TICK)?;
        queue(&socket)?;
        let epoll = match sockets {
            Sockets::Shared => None,
            Sockets::Own => {
                let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
                socket.set_nonblocking(true)?;
                epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
                Some(epoll)
            }
        };
        Ok(Ideal {
            own: wire::v4(socket.local_addr()?)?,
            socket,
            epoll,
            files,
            sessions: HashMap::new(),
        })
    }

    #[cfg(test)]
    pub(super) fn address(&self) -> SocketAddrV4 {
        self.own
    }

    /// Serves until told to stop.
    ///
    /// # Errors
    /// A socket fails.
    pub(in crate::bench) fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        let (mut inbox, mut outbox) = (Inbox::new(1500), Outbox::new());
        let mut looked = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            match self.epoll.take() {
                None => self.take_shared(&mut inbox, &mut outbox)?,
                Some(epoll) => {
                    self.take_own(&epoll, &mut inbox, &mut outbox)?;
                    self.epoll = Some(epoll);
                }
            }
            let now = Instant::now();
            if now.duration_since(looked) >= TICK {
                looked = now;
                self.overdue(now, &mut outbox)?;
            }
            outbox.flush(&self.socket)?;
        }
        Ok(())
    }

    fn take_shared(&mut self, inbox: &mut Inbox, outbox: &mut Outbox) -> Result<()> {
        let came = inbox.receive(&self.socket, BATCH)?;
        let now = Instant::now();
        for index in 0..came {
            if let (packet, Some(from)) = inbox.datagram(index) {
                self.packet(packet, from, None, (now, outbox))?;
            }
        }
        Ok(())
    }

    fn take_own(&mut self, epoll: &Epoll, inbox: &mut Inbox, outbox: &mut Outbox) -> Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        let ready = match epoll.wait(&mut events, EpollTimeout::from(TICK_MS)) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        let now = Instant::now();
        let mut buffer = [0; 1500];
        for event in &events[..ready] {
            if event.data() == LISTENER {
                let came = inbox.receive(&self.socket, REQUESTS)?;
                for index in 0..came {
                    if let (packet, Some(from)) = inbox.datagram(index) {
                        self.packet(packet, from, Some(epoll), (now, outbox))?;
                    }
                }
            } else if let Some(session) = self.sessions.get(&event.data()) {
                let (peer, socket) = (session.peer, session.socket.as_ref());
                match socket.context("a socket of its own")?.recv(&mut buffer) {
                    Ok(len) => self.packet(&buffer[..len], peer, Some(epoll), (now, outbox))?,
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                        self.sessions.remove(&event.data());
                    }
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }

    fn packet(
        &mut self,
        packet: &[u8],
        from: SocketAddrV4,
        epoll: Option<&Epoll>,
        (now, outbox): (Instant, &mut Outbox),
    ) -> Result<()> {
        match packet {
            [0, 1, request @ ..] => return self.request(request, from, epoll, (now, outbox)),
            [0, 4, high, low] => {
                let number = u16::from_be_bytes([*high, *low]);
                let Some(session) = self.sessions.get_mut(&key(from)) else {
                    return Ok(());
                };
                match session.acknowledged(number, now) {
                    Step::Nothing => {}
                    Step::Send => {
                        session.tries = 0;
                        session.sent_at = now;
                        session.deadline = now + session.timer();
                        session.send(&self.socket, outbox)?;
                    }
                    Step::End => {
                        self.sessions.remove(&key(from));
                    }
                }
            }
            [0, 5, ..] => {
                self.sessions.remove(&key(from));
            }
            _ => {}
        }
        Ok(())
    }

    fn request(
        &mut self,
        request: &[u8],
        from: SocketAddrV4,
        epoll: Option<&Epoll>,
        (now, outbox): (Instant, &mut Outbox),
    ) -> Result<()> {
        if let Some(session) = self.sessions.get(&key(from)).filter(|it| it.sent == 0) {
            return session.send_grant(&self.socket);
        }
        let mut texts = request.split(|it| *it == 0).map(String::from_utf8_lossy);
        let name = texts.next().unwrap_or_default();
        let Some(content) = self.files.get(&*name).map(Arc::clone) else {
            self.socket.send_to(b"\0\x05\0\x01no file\0", from)?;
            return Ok(());
        };
        let mut session = Session::new(from, content, texts.skip(1), now);
        if let Some(epoll) = epoll {
            let socket = UdpSocket::bind(SocketAddrV4::new(*self.own.ip(), 0))?;
            queue(&socket)?;
            socket.connect(from)?;
            socket.set_nonblocking(true)?;
            epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, key(from)))?;
            session.socket = Some(socket);
        }
        if session.grant.len() > 2 {
            session.send_grant(&self.socket)?;
        } else {
            session.send(&self.socket, outbox)?;
        }
        self.sessions.insert(key(from), session);
        Ok(())
    }

    fn overdue(&mut self, now: Instant, outbox: &mut Outbox) -> Result<()> {
        self.sessions.retain(|_, it| it.tries <= TRIES);
        for session in self.sessions.values_mut() {
            if now < session.deadline {
                continue;
            }
            session.tries += 1;
            session.again = true;
            session.deadline = now + session.timer() * (session.tries + 1).min(LONGEST);
            if session.sent == 0 {
                session.send_grant(&self.socket)?;
            } else {
                session.send(&self.socket, outbox)?;
            }
        }
        Ok(())
    }
}

/// What an acknowledgement asks for.
enum Step {
    Nothing,
    /// The window from `base`.
    Send,
    End,
}

impl Session {
    fn new<'a>(
        peer: SocketAddrV4,
        content: Arc<[u8]>,
        mut options: impl Iterator<Item = std::borrow::Cow<'a, str>>,
        now: Instant,
    ) -> Self {
        let (mut block, mut window, mut grant) = (512_u16, 1_u16, vec![0, 6]);
        while let (Some(name), Some(value)) = (options.next(), options.next()) {
            match (name.to_ascii_lowercase().as_str(), value.parse()) {
                ("blksize", Ok(asked)) => block = asked,
                ("windowsize", Ok(asked)) => window = asked,
                ("timeout", Ok(_)) => {}
                _ => continue,
            }
            for text in [name, value] {
                grant.extend(text.as_bytes());
                grant.push(0);
            }
        }
        let (block, window) = (block.max(8), window.max(1));
        Session {
            peer,
            socket: None,
            last: count(content.len()) / u64::from(block) + 1,
            content,
            grant,
            block,
            window: window.into(),
            base: 1,
            sent: 0,
            tries: 0,
            again: false,
            again_before: false,
            round_trip: Duration::ZERO,
            sent_at: now,
            deadline: now + TIMER,
        }
    }

    fn timer(&self) -> Duration {
        TIMER.max(self.round_trip * 3)
    }

    fn acknowledged(&mut self, number: u16, now: Instant) -> Step {
        let base = u16::try_from((self.base - 1) & 0xffff).unwrap_or(0);
        let blocks = u64::from(number.wrapping_sub(base));
        if self.sent == 0 {
            return if number == 0 {
                Step::Send
            } else {
                Step::Nothing
            };
        }
        let acknowledged = self.base - 1 + blocks;
        if acknowledged > self.sent {
            return Step::Nothing;
        }
        if blocks == 0 {
            // In lock step a second one asks for nothing (RFC 1123, section 4.2.3.1); in a
            // window its first block is missing.
            if self.window == 1 || self.again || self.again_before {
                return Step::Nothing;
            }
            self.again = true;
            return Step::Send;
        }
        if acknowledged >= self.last {
            return Step::End;
        }
        // From its first sending, so never too short.
        self.round_trip = (self.round_trip * 3 + now.duration_since(self.sent_at)) / 4;
        self.again_before = std::mem::take(&mut self.again);
        self.base = acknowledged + 1;
        Step::Send
    }

    fn send_grant(&self, shared: &UdpSocket) -> Result<()> {
        match &self.socket {
            None => shared.send_to(&self.grant, self.peer)?,
            // It may be gone; then its timer ends it.
            Some(own) => own.send(&self.grant).unwrap_or(0),
        };
        Ok(())
    }

    fn bytes(&self, block: u64) -> &[u8] {
        let size = usize::from(self.block);
        let begin = usize::try_from(block - 1).unwrap_or(0) * size;
        let end = (begin + size).min(self.content.len());
        self.content.get(begin..end).unwrap_or_default()
    }

    /// Sends the window from `base`.
    fn send(&mut self, shared: &UdpSocket, outbox: &mut Outbox) -> Result<()> {
        let last = (self.base + self.window - 1).min(self.last);
        self.sent = last;
        let most = (SEGMENTED / (u64::from(self.block) + 4)).clamp(1, SEGMENTS);
        let mut first = self.base;
        while first <= last {
            let end = (first + most - 1).min(last);
            match &self.socket {
                None if first == end => {
                    if outbox.is_full() {
                        outbox.flush(shared)?;
                    }
                    let packet = outbox.push(Some(self.peer));
                    packet.extend(header(first));
                    packet.extend_from_slice(self.bytes(first));
                }
                None => self.segments(shared, Some(&self.peer.into()), first, end)?,
                Some(own) => self.segments(own, None, first, end)?,
            }
            first = end + 1;
        }
        Ok(())
    }

    /// Several blocks by one system call, which the kernel cuts into datagrams.
    fn segments(
        &self,
        socket: &UdpSocket,
        to: Option<&SockaddrIn>,
        first: u64,
        last: u64,
    ) -> Result<()> {
        let headers: Vec<_> = (first..=last).map(header).collect();
        let blocks = (first..=last).zip(&headers);
        let parts: Vec<_> = blocks
            .flat_map(|(block, header)| [IoSlice::new(header), IoSlice::new(self.bytes(block))])
            .collect();
        let size = self.block.saturating_add(4);
        let segments = [ControlMessage::UdpGsoSegments(&size)];
        let control = if first == last { &[] } else { &segments[..] };
        match sendmsg(socket.as_raw_fd(), &parts, control, MsgFlags::empty(), to) {
            Ok(_) | Err(Errno::EAGAIN | Errno::ECONNREFUSED | Errno::ENOBUFS) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn header(block: u64) -> [u8; 4] {
    let [.., high, low] = block.to_be_bytes();
    [0, 3, high, low]
}

fn key(peer: SocketAddrV4) -> u64 {
    u64::from(u32::from(*peer.ip())) << 16 | u64::from(peer.port())
}

/// Room for what leaves: beyond the system's limit as root.
fn queue(socket: &UdpSocket) -> io::Result<()> {
    let bytes = 4 << 20;
    let forced = setsockopt(socket, sockopt::SndBufForce, &bytes);
    Ok(forced.or_else(|_| setsockopt(socket, sockopt::SndBuf, &bytes))?)
}
