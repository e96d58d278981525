//! Many different clients at once, each from DISCOVER to ACK: behind a relay, or by broadcast on
//! the link as firmware does it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::packet::{self, HEADERS, Kind, Message, Parsed, Relay};
use crate::bench::wire::{self, BATCH, Inbox, Outbox};

/// Between two looks at who has waited too long.
const TICK: Duration = Duration::from_millis(10);
/// A client that is refused begins anew, so many times (RFC 2131, section 3.1).
const MOST_NAKS: u8 = 5;
/// The transaction id of client 0.
const TRANSACTIONS: u32 = 0x1000_0000;

/// How the clients reach the server.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// Through a relay that sends from one of our addresses; with option 82 or without.
    Relay {
        from: SocketAddrV4,
        server: SocketAddrV4,
        circuits: bool,
    },
    /// As Ethernet frames on this interface, each from its client's own card.
    Broadcast { interface: String },
}

/// What is to be done.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) way: Way,
    /// The number of the first client.
    pub(super) first: u32,
    /// How many there are; each wants an address once.
    pub(super) clients: u32,
    /// How many of them are on their way at any time.
    pub(super) outstanding: usize,
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
    pub(super) elapsed: Duration,
    /// Clients with an address.
    pub(super) done: u32,
    /// Clients that gave up.
    pub(super) failed: u32,
    /// Clients on their way when the time was over.
    pub(super) unfinished: u32,
    pub(super) naks: u32,
    pub(super) retransmissions: u32,
    /// Answers that are wrong: another client's card, another address than offered, no server.
    pub(super) bad: u32,
    /// Addresses that more than one client got.
    pub(super) given_twice: u32,
    /// Offers that name no boot file.
    pub(super) without_file: u32,
    /// From a client's DISCOVER to its ACK.
    pub(super) latencies: Vec<Duration>,
}

/// The card of a client: distinct, but scattered.
pub(super) fn mac(client: u32) -> [u8; 6] {
    let [a, b, c, d] = client.wrapping_mul(0x9E37_79B1).to_be_bytes();
    [0x02, 0x50, a, b, c, d]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Discovering,
    Requesting { server: Ipv4Addr },
    Done,
    Failed,
}

struct Client {
    stage: Stage,
    address: Ipv4Addr,
    tries: u8,
    naks: u8,
    begun: Instant,
    deadline: Instant,
    timer: Duration,
}

/// One end of the wire.
enum Link {
    Relay(UdpSocket, SocketAddrV4, Ipv4Addr),
    Frames(OwnedFd),
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Link::Relay(socket, ..) => socket.as_raw_fd(),
            Link::Frames(socket) => socket.as_raw_fd(),
        }
    }
}

impl Link {
    fn open(way: &Way) -> Result<Self> {
        match way {
            Way::Relay { from, server, .. } => {
                let socket = wire::socket(*from, TICK).with_context(|| format!("bind {from}"))?;
                Ok(Link::Relay(socket, *server, *from.ip()))
            }
            Way::Broadcast { interface } => {
                let link = frames(interface);
                link.with_context(|| format!("a packet socket on {interface}"))
            }
        }
    }
}

fn frames(interface: &str) -> Result<Link> {
    let mut all = getifaddrs()?.filter(|it| it.interface_name == interface);
    let address = all
        .find_map(|it| it.address?.as_link_addr().copied())
        .context("no such interface")?;
    let flags = SockFlag::SOCK_CLOEXEC;
    // Only what comes in by IPv4: a socket of one protocol does not see what leaves.
    let protocol = SockProtocol::EthIp;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, protocol)?;
    bind(socket.as_raw_fd(), &address)?;
    wire::widen(&socket, 16 << 20)?;
    let wait = TimeVal::new(0, i64::try_from(TICK.as_micros())?);
    setsockopt(&socket, sockopt::ReceiveTimeout, &wait)?;
    Ok(Link::Frames(socket))
}

struct Run<'a> {
    load: &'a Load,
    link: Link,
    outbox: Outbox,
    clients: Vec<Client>,
    /// Indices of those on their way.
    waiting: Vec<u32>,
    report: Report,
}

/// Loads the server.
///
/// # Errors
/// The socket cannot be had, or fails.
pub(super) fn run(load: &Load) -> Result<Report> {
    ensure!(load.outstanding > 0, "nobody asks");
    let mut run = Run {
        load,
        link: Link::open(&load.way)?,
        outbox: Outbox::new(),
        clients: Vec::new(),
        waiting: Vec::new(),
        report: Report::default(),
    };
    let mut inbox = Inbox::new(2048);
    let begun = Instant::now();
    let (mut looked, mut last) = (begun, begun);
    loop {
        let mut now = Instant::now();
        run.begin(now)?;
        run.outbox.flush(&run.link)?;
        if run.waiting.is_empty() || now.duration_since(begun) >= load.limit {
            break;
        }
        let came = inbox.receive(&run.link, BATCH)?;
        now = Instant::now();
        let done = run.report.done;
        for index in 0..came {
            run.answer(inbox.datagram(index).0, now)?;
        }
        if run.report.done != done {
            last = now;
        }
        if now.duration_since(looked) >= TICK {
            looked = now;
            run.overdue(now)?;
        }
    }
    // Only those who are all done ended with the last answer.
    let end = (run.report.done == load.clients).then_some(last);
    run.report.elapsed = end.unwrap_or_else(Instant::now).duration_since(begun);
    Ok(run.end())
}

impl Run<'_> {
    /// Sets clients on their way until enough are.
    fn begin(&mut self, now: Instant) -> io::Result<()> {
        while self.waiting.len() < self.load.outstanding {
            let index = u32::try_from(self.clients.len()).unwrap_or(u32::MAX);
            if index >= self.load.clients {
                break;
            }
            self.clients.push(Client {
                stage: Stage::Discovering,
                address: Ipv4Addr::UNSPECIFIED,
                tries: 0,
                naks: 0,
                begun: now,
                deadline: now + self.load.timer,
                timer: self.load.timer,
            });
            self.waiting.push(index);
            self.ask(index)?;
        }
        Ok(())
    }

    /// Sends what the client's stage asks.
    fn ask(&mut self, index: u32) -> io::Result<()> {
        let client = &self.clients[at(index)];
        let (kind, accepted) = match client.stage {
            Stage::Discovering => (Kind::Discover, None),
            Stage::Requesting { server } => (Kind::Request, Some((client.address, server))),
            Stage::Done | Stage::Failed => return Ok(()),
        };
        if self.outbox.is_full() {
            self.outbox.flush(&self.link)?;
        }
        let relay = self.relay(index);
        let message = Message {
            kind,
            transaction: TRANSACTIONS + index,
            mac: mac(self.load.first + index),
            accepted,
            relay: relay.as_ref(),
        };
        match &self.link {
            Link::Relay(_, server, _) => message.write(self.outbox.push(Some(*server))),
            Link::Frames(_) => {
                let buffer = self.outbox.push(None);
                buffer.resize(HEADERS, 0);
                message.write(buffer);
                packet::frame(buffer, message.mac);
            }
        }
        Ok(())
    }

    fn relay(&self, index: u32) -> Option<Relay> {
        let Link::Relay(_, _, address) = &self.link else {
            return None;
        };
        let circuits = matches!(self.load.way, Way::Relay { circuits: true, .. });
        Some(Relay {
            address: *address,
            circuit: circuits.then(|| format!("port-{}", index % 48)),
        })
    }

    fn answer(&mut self, bytes: &[u8], now: Instant) -> io::Result<()> {
        let message = match self.link {
            Link::Relay(..) => Some(bytes),
            Link::Frames(_) => packet::unframe(bytes),
        };
        let Some(answer) = message.and_then(packet::parse) else {
            return Ok(());
        };
        let index = answer.transaction.wrapping_sub(TRANSACTIONS);
        let Some(client) = self.clients.get_mut(at(index)) else {
            return Ok(());
        };
        if answer.mac != mac(self.load.first + index) {
            self.report.bad += 1;
            return Ok(());
        }
        match (client.stage, answer.kind) {
            (Stage::Discovering, Kind::Offer) => self.offered(index, &answer, now),
            (Stage::Requesting { .. }, Kind::Ack) => {
                if answer.address != client.address {
                    self.report.bad += 1;
                }
                self.report.latencies.push(now.duration_since(client.begun));
                self.settle(index, Stage::Done);
                Ok(())
            }
            (Stage::Requesting { .. }, Kind::Nak) => self.refused(index, now),
            // What comes late, or twice.
            (Stage::Discovering | Stage::Requesting { .. } | Stage::Done | Stage::Failed, _) => {
                Ok(())
            }
        }
    }

    fn offered(&mut self, index: u32, offer: &Parsed, now: Instant) -> io::Result<()> {
        let Some(server) = offer.server.filter(|_| !offer.address.is_unspecified()) else {
            self.report.bad += 1;
            return Ok(());
        };
        self.report.without_file += u32::from(!offer.has_file);
        self.clients[at(index)].address = offer.address;
        self.enter(index, Stage::Requesting { server }, now)
    }

    fn refused(&mut self, index: u32, now: Instant) -> io::Result<()> {
        self.report.naks += 1;
        let client = &mut self.clients[at(index)];
        client.naks += 1;
        if client.naks > MOST_NAKS {
            self.settle(index, Stage::Failed);
            return Ok(());
        }
        self.enter(index, Stage::Discovering, now)
    }

    fn enter(&mut self, index: u32, stage: Stage, now: Instant) -> io::Result<()> {
        let client = &mut self.clients[at(index)];
        client.stage = stage;
        client.tries = 0;
        client.timer = self.load.timer;
        client.deadline = now + client.timer;
        self.ask(index)
    }

    fn settle(&mut self, index: u32, stage: Stage) {
        self.clients[at(index)].stage = stage;
        match stage {
            Stage::Done => self.report.done += 1,
            Stage::Failed => self.report.failed += 1,
            Stage::Discovering | Stage::Requesting { .. } => {}
        }
        self.waiting.retain(|it| *it != index);
    }

    /// Those who have waited too long ask again, or give up.
    fn overdue(&mut self, now: Instant) -> io::Result<()> {
        for index in self.waiting.clone() {
            let client = &mut self.clients[at(index)];
            if now < client.deadline {
                continue;
            }
            client.tries += 1;
            if client.tries > self.load.tries {
                self.settle(index, Stage::Failed);
                continue;
            }
            client.timer *= 2;
            client.deadline = now + client.timer;
            self.report.retransmissions += 1;
            self.ask(index)?;
        }
        Ok(())
    }

    fn end(mut self) -> Report {
        self.report.unfinished = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        let done = self.clients.iter().filter(|it| it.stage == Stage::Done);
        let mut given: Vec<Ipv4Addr> = done.map(|it| it.address).collect();
        given.sort_unstable();
        let all = given.len();
        given.dedup();
        self.report.given_twice = u32::try_from(all - given.len()).unwrap_or(u32::MAX);
        self.report
    }
}

fn at(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}
