//! The loop of the one thread that serves everybody.
//!
//! One round: take what has come, hand it to the machines, let everyone who has something to
//! send take a turn of one burst, and again until nobody has. What leaves through one port
//! leaves together.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::busy_poll::{BusyPoll, MOMENT};
use super::helpers::{Done, Helpers};
use super::outbox::{Letter, Load, Outbox};
use super::pages::Pages;
use super::ports::{PORTS, Port, WellKnown};
use super::server::Shared;
use super::session::Stage;
use super::sys::{Inbox, WIDTH};
use super::table::{Seat, Table};
use super::{Counters, Ending};
use crate::supervision::{BEAT_INTERVAL, Pulse};

/// Longest sleep; also how long a file that nobody reads stays mapped.
const NAP: Duration = Duration::from_secs(5);

/// When a timer that rang for a client whose blocks have not left yet rings again.
const HELD_UP: Duration = Duration::from_millis(20);

/// Rounds of [`WIDTH`] datagrams that are taken before a request is looked at.
const DRAIN: usize = 64;

/// The event of the helpers' bell; those of sockets follow it.
const BELL: u64 = 0;

pub(super) struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) table: Table,
    pub(super) pages: Pages,
    pub(super) helpers: Helpers,
    pub(super) ports: Vec<Port>,
    pub(super) parked: Vec<Seat>,
    pub(super) outbox: Outbox,
    listeners: Vec<WellKnown>,
    timers: BinaryHeap<Reverse<(Duration, Seat)>>,
    poll: Epoll,
    busy_poll: BusyPoll,
    origin: Instant,
}

/// Room for what comes in, used anew in each round.
struct Inboxes {
    requests: Inbox,
    answers: Inbox,
}

impl Engine {
    pub(super) fn new(listeners: Vec<WellKnown>, shared: Arc<Shared>) -> io::Result<Self> {
        let poll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let watch = |token| EpollEvent::new(EpollFlags::EPOLLIN, token);
        poll.add(&*shared.bell, watch(BELL))?;
        let mut ports = Vec::new();
        for listener in &listeners {
            ports.extend(listener.ports()?);
        }
        let sockets = listeners.iter().map(|it| &it.socket);
        for (socket, token) in sockets.chain(ports.iter().map(|it| &it.socket)).zip(1..) {
            poll.add(socket, watch(token))?;
        }
        let config = &shared.config;
        Ok(Engine {
            table: Table::new(config.max_transfers, config.max_per_address),
            pages: Pages::default(),
            helpers: Helpers::start(&shared.files, Arc::clone(&shared.bell))?,
            ports,
            parked: Vec::new(),
            outbox: Outbox::default(),
            listeners,
            timers: BinaryHeap::new(),
            poll,
            busy_poll: BusyPoll::default(),
            origin: Instant::now(),
            shared,
        })
    }

    /// The machines' clock.
    pub(super) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    pub(super) fn run(mut self, pulse: &Pulse) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 32];
        let mut inboxes = Inboxes {
            requests: Inbox::new(),
            answers: Inbox::new(),
        };
        while !self.shared.stop.load(Relaxed) {
            pulse.beat();
            let count = match self.wait(&mut events) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            self.take(&events[..count], &mut inboxes)?;
            self.ring();
            self.drive()?;
            if count == 0 && self.table.is_empty() {
                self.pages.forget();
            }
        }
        for seat in self.table.seats().collect::<Vec<_>>() {
            self.leave(seat);
        }
        Ok(())
    }

    /// Waits for events; gives back how many there are.
    fn wait(&mut self, events: &mut [EpollEvent]) -> nix::Result<usize> {
        // A helper may need this processor.
        let quiet = !self.table.is_empty() && self.helpers.are_idle();
        if quiet && self.busy_poll.is_due() {
            let begun = Instant::now();
            while begun.elapsed() < MOMENT {
                let count = self.poll.wait(events, EpollTimeout::ZERO)?;
                if count > 0 {
                    self.busy_poll.paid();
                    return Ok(count);
                }
            }
            self.busy_poll.was_vain();
        }
        self.poll.wait(events, self.patience())
    }

    /// How long to sleep if nothing comes.
    fn patience(&self) -> EpollTimeout {
        let Some(Reverse((at, _))) = self.timers.peek() else {
            let idle = self.table.is_empty() && !self.pages.keeps();
            return timeout(if idle { BEAT_INTERVAL } else { NAP });
        };
        timeout(at.saturating_sub(self.now()).min(NAP))
    }

    /// Answers first, requests last: an ERROR that a client has sent before it asks again is
    /// then seen before that request.
    fn take(&mut self, events: &[EpollEvent], inboxes: &mut Inboxes) -> io::Result<()> {
        let listeners = self.listeners.len();
        let mut asked = Vec::new();
        for event in events {
            let Some(index) = event.data().checked_sub(1) else {
                self.collect();
                continue;
            };
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            match index.checked_sub(listeners) {
                None => asked.push(index),
                Some(port) => self.take_at(port, event.events(), inboxes)?,
            }
        }
        for listener in asked {
            self.take_requests(listener, inboxes);
        }
        Ok(())
    }

    fn take_at(
        &mut self,
        port: usize,
        events: EpollFlags,
        inboxes: &mut Inboxes,
    ) -> io::Result<()> {
        if events.contains(EpollFlags::EPOLLERR) {
            self.take_errors(port);
        }
        if events.contains(EpollFlags::EPOLLOUT) {
            self.block(port, false)?;
        }
        if events.contains(EpollFlags::EPOLLIN) {
            self.take_answers(port, &mut inboxes.answers);
        }
        Ok(())
    }

    /// Clients whose port is closed are gone.
    fn take_errors(&mut self, port: usize) {
        for _ in 0..WIDTH {
            let Some((peer, closed)) = self.ports[port].next_error() else {
                return;
            };
            let seat = peer.and_then(|peer| self.table.at(peer, port));
            if let (Some(seat), true) = (seat, closed) {
                self.finish(seat, Ending::Unreachable);
            }
        }
    }

    /// Takes one round of datagrams for transfers; gives back whether there may be more.
    fn take_answers(&mut self, port: usize, inbox: &mut Inbox) -> bool {
        // An error is that of an earlier datagram; the error queue says whose.
        let taken = inbox.receive(self.ports[port].socket.as_fd()).unwrap_or(0);
        let now = self.now();
        for datagram in (0..taken).filter_map(|index| inbox.get(index)) {
            let seat = self.table.at(datagram.peer, port);
            let session = seat.and_then(|seat| self.table.get(seat));
            let Some((seat, session)) = seat.zip(session) else {
                // Late, or nobody's: an answer would have to be larger than this.
                Counters::add(&self.shared.counters.ignored);
                continue;
            };
            if let Stage::Running(running) = &mut session.stage {
                running.transfer.handle_packet(datagram.bytes, now);
                self.queue(seat);
            }
        }
        taken > 0
    }

    fn take_requests(&mut self, listener: usize, inboxes: &mut Inboxes) {
        let WellKnown { socket, local } = &self.listeners[listener];
        let (taken, fallback) = (
            inboxes.requests.receive(socket.as_fd()).unwrap_or(0),
            *local,
        );
        let ports = listener * PORTS..(listener + 1) * PORTS;
        let requests = || (0..taken).filter_map(|index| inboxes.requests.get(index));
        let is_known = |peer| {
            ports
                .clone()
                .any(|port| self.table.at(peer, port).is_some())
        };
        if requests().any(|request| is_known(request.peer)) {
            self.drain(ports.clone(), &mut inboxes.answers);
        }
        for request in (0..taken).filter_map(|index| inboxes.requests.get(index)) {
            let local = request.local.unwrap_or(fallback);
            self.request(request.bytes, request.peer, local, ports.clone());
        }
    }

    fn drain(&mut self, ports: Range<usize>, inbox: &mut Inbox) {
        for port in ports {
            for _ in 0..DRAIN {
                if !self.take_answers(port, inbox) {
                    break;
                }
            }
        }
    }

    /// Takes what the helpers have done.
    fn collect(&mut self) {
        for done in self.helpers.collect() {
            match done {
                Done::Opened(seat, opened) => self.opened(seat, opened),
                Done::BroughtIn => {
                    for seat in std::mem::take(&mut self.parked) {
                        self.unpark(seat);
                    }
                }
            }
        }
    }

    fn unpark(&mut self, seat: Seat) {
        let Some(session) = self.table.get(seat) else {
            return;
        };
        if let Stage::Running(running) = &mut session.stage {
            running.parked = false;
            self.queue(seat);
        }
    }

    /// Has a session wait for its turn.
    pub(super) fn queue(&mut self, seat: Seat) {
        if let Some(session) = self.table.get(seat)
            && !session.queued
        {
            session.queued = true;
            self.ports[session.port].ready.push_back(seat);
        }
    }

    /// Sees to it that the timer rings when the session wants it. Mostly an answer comes first
    /// and the time moves on: a timer that rings too early costs less than one that is moved
    /// for every answer.
    pub(super) fn arm(&mut self, seat: Seat, at: Duration) {
        if let Some(session) = self.table.get(seat)
            && session.armed.is_none_or(|armed| at < armed)
        {
            session.armed = Some(at);
            self.timers.push(Reverse((at, seat)));
        }
    }

    /// Serves the timers that are due.
    fn ring(&mut self) {
        let now = self.now();
        while let Some(Reverse((at, seat))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            let Some(session) = self.table.get(seat).filter(|it| it.armed == Some(at)) else {
                continue;
            };
            session.armed = None;
            let Stage::Running(running) = &mut session.stage else {
                continue;
            };
            if running.is_held_up() {
                running.delayed = true;
                self.arm(seat, now + HELD_UP);
                continue;
            }
            running.transfer.handle_timeout(now);
            if running.transfer.has_commands() {
                self.queue(seat);
            } else if let Some(due) = running.transfer.poll_timeout() {
                self.arm(seat, due);
            }
        }
    }

    /// Lets everyone take turns who can send.
    fn drive(&mut self) -> io::Result<()> {
        for port in 0..self.ports.len() {
            self.say_loose(port)?;
            while !self.ports[port].blocked
                && let Some(seat) = self.ports[port].ready.pop_front()
            {
                self.take_turn(seat);
                if self.outbox.is_full() {
                    self.flush(port)?;
                }
            }
            if !self.outbox.is_empty() {
                self.flush(port)?;
            }
        }
        Ok(())
    }

    fn say_loose(&mut self, port: usize) -> io::Result<()> {
        for letter in std::mem::take(&mut self.ports[port].loose) {
            self.outbox.push(letter);
            if self.outbox.is_full() {
                self.flush(port)?;
            }
        }
        Ok(())
    }

    /// Sends what waits for `port`.
    fn flush(&mut self, port: usize) -> io::Result<()> {
        let sent = self.outbox.send(self.ports[port].socket.as_fd());
        self.shared
            .counters
            .bytes_sent
            .fetch_add(sent.bytes, Relaxed);
        // The last first: what is put back goes in front of what is there.
        for (letter, error) in sent.returned.into_iter().rev() {
            if error == Errno::EAGAIN && !self.ports[port].blocked {
                self.block(port, true)?;
            }
            self.take_back(letter, error);
        }
        Ok(())
    }

    fn take_back(&mut self, letter: Letter, error: Errno) {
        let Some(seat) = letter.seat else { return };
        let Some(session) = self.table.get(seat) else {
            return;
        };
        let Stage::Running(running) = &mut session.stage else {
            return;
        };
        match (error, letter.load) {
            (Errno::EAGAIN, load) => running.left.push_front(load),
            (Errno::EFAULT, _) => return self.unreadable(seat, &error),
            (
                Errno::EINVAL | Errno::EIO | Errno::EMSGSIZE | Errno::EOPNOTSUPP,
                Load::Burst(burst),
            ) if burst.run.count > 1 => {
                running.segments = false;
                running.left.push_front(Load::Blocks(burst.run));
            }
            // A firewall, a route that comes and goes: lost, as on the wire. The timer will
            // send it again.
            (_, Load::Bytes(_) | Load::Blocks(_) | Load::Burst(_)) => return,
        }
        self.queue(seat);
    }

    fn block(&mut self, port: usize, blocked: bool) -> io::Result<()> {
        self.ports[port].blocked = blocked;
        let token = u64::try_from(1 + self.listeners.len() + port).unwrap_or(u64::MAX);
        let out = if blocked {
            EpollFlags::EPOLLOUT
        } else {
            EpollFlags::empty()
        };
        let mut event = EpollEvent::new(EpollFlags::EPOLLIN | out, token);
        Ok(self.poll.modify(&self.ports[port].socket, &mut event)?)
    }

    /// An answer that belongs to no session; not repeated: who misses it asks again.
    pub(super) fn say(&mut self, port: usize, to: SocketAddr, from: SocketAddr, bytes: Vec<u8>) {
        let port = &mut self.ports[port];
        if port.loose.len() < WIDTH {
            port.loose.push(Letter {
                seat: None,
                to,
                from,
                load: Load::Bytes(bytes),
            });
        }
    }
}

/// Rounded up: a timer that rings too early rings twice.
fn timeout(patience: Duration) -> EpollTimeout {
    let millis = patience.as_micros().div_ceil(1_000);
    u16::try_from(millis).map_or(EpollTimeout::MAX, EpollTimeout::from)
}
