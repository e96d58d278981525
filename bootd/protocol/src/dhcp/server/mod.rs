//! The master's DHCP server (RFC 2131, section 4.3), BOOTP server and PXE boot server.
//!
//! Feed it every datagram by [`Server::handle_packet`], call [`Server::handle_timeout`] at
//! [`Server::poll_timeout`], then do what [`Server::next_command`] gives, in order. Whether a
//! lease or an offer has run out is judged when its address is next asked for. `now` must have
//! an origin that survives a restart (the Unix epoch, say), since leases do.
//!
//! One lease for each client and network, by hardware address: the ROM, the loader and `init`
//! of one machine send different client identifiers (option 61) and must get one address.
//!
//! | file | what it decides |
//! |---|---|
//! | `question.rs` | whose question it is: which network, which wish, which of our names |
//! | `exchange.rs` | DHCP's exchanges |
//! | `bootp.rs`, `proxy.rs` | plain BOOTP; the boot server beside another DHCP server |
//! | `address.rs`, `lease.rs`, `probe.rs` | which address, who has which, is it in use |
//! | `reply.rs` | what an answer carries and where it goes |

mod address;
mod bootp;
mod exchange;
mod lease;
mod network;
mod output;
mod probe;
mod proxy;
mod question;
mod reply;
mod wishes;

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

pub use lease::{Lease, LeaseState};
pub use network::{Bootp, Mode, Network, NetworkError};
pub use output::{Command, Counters, Datagram, DropReason, Event, Refusal};
pub use wishes::{DhcpOption, Wish, Wishes};

use crate::boot_choice::Offer;
use crate::dhcp::hint::MasterHint;
use crate::dhcp::packet::Request;
use lease::Book;
use network::Networks;
use probe::Probes;
use question::Question;

/// How long an offer keeps its address, unless [`Config`] says otherwise.
pub const OFFER_TIME: Duration = Duration::from_secs(30);

/// How long nobody gets a declined address, unless [`Config`] says otherwise.
pub const QUARANTINE: Duration = Duration::from_secs(600);

/// Offers waiting to be taken up, unless [`Config`] says otherwise.
pub const MAX_OFFERS: usize = 4096;

/// What the server is told to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The networks; one that overlaps an earlier one is not served.
    pub networks: Vec<Network>,
    /// UDP port of the verify protocol, for `init`.
    pub verify_port: u16,
    /// TCP port of HTTP.
    pub http_port: u16,
    /// Most offers that wait to be taken up.
    pub max_offers: usize,
    /// How long an offer keeps its address.
    pub offer_time: Duration,
    /// How long nobody gets a declined address.
    pub quarantine: Duration,
    /// How many nodes the catalog has: so many addresses of each pool are kept for them, up to
    /// a quarter of it.
    pub nodes: u32,
}

impl Config {
    /// These networks and ports, and the usual limits.
    #[must_use]
    pub fn new(networks: Vec<Network>, verify_port: u16, http_port: u16) -> Self {
        Config {
            networks,
            verify_port,
            http_port,
            max_offers: MAX_OFFERS,
            offer_time: OFFER_TIME,
            quarantine: QUARANTINE,
            nodes: 0,
        }
    }
}

/// Where a datagram came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Index of the interface.
    pub interface: u32,
    /// Our address on that interface (for a broadcast, what `IP_PKTINFO` calls
    /// `ipi_spec_dst`): it chooses the [`Network`] of what no relay passed on.
    pub local: Ipv4Addr,
    /// Whether it was sent to everybody and not to this address.
    pub broadcast: bool,
    /// The port it came to: 67, or 4011 for a boot server.
    pub port: u16,
    /// The port it came from.
    pub from_port: u16,
}

/// The server's machine.
#[derive(Debug)]
pub struct Server {
    config: Config,
    networks: Networks,
    book: Book,
    probes: Probes,
    /// Full pools, by network, and when to look again.
    full: BTreeMap<Ipv4Addr, Duration>,
    /// Addresses of each pool that are in use, counted every second.
    used: BTreeMap<Ipv4Addr, u32>,
    /// Foreign servers, and when they were last told of.
    foreign: BTreeMap<Ipv4Addr, Duration>,
    next_sweep: Duration,
    last_ticket: u64,
    counters: Counters,
    commands: VecDeque<Command>,
}

impl Server {
    /// A server that knows of no lease, and the networks that it cannot serve.
    #[must_use]
    pub fn new(config: Config) -> (Self, Vec<NetworkError>) {
        let mut server = Server {
            config: Config::new(Vec::new(), 0, 0),
            networks: Networks::default(),
            book: Book::default(),
            probes: Probes::default(),
            full: BTreeMap::new(),
            used: BTreeMap::new(),
            foreign: BTreeMap::new(),
            next_sweep: Duration::ZERO,
            last_ticket: 0,
            counters: Counters::default(),
            commands: VecDeque::new(),
        };
        let errors = server.reconfigure(config);
        (server, errors)
    }

    /// Serves other networks from now on; leases stay. Gives the networks that it cannot serve.
    pub fn reconfigure(&mut self, mut config: Config) -> Vec<NetworkError> {
        let (networks, errors) = Networks::new(std::mem::take(&mut config.networks));
        self.networks = networks;
        self.config = config;
        self.full.clear();
        self.next_sweep = Duration::ZERO;
        errors
    }

    /// Takes the leases of an earlier run, as [`Command::Persist`] gave them. Before the
    /// first packet.
    pub fn restore(&mut self, leases: impl IntoIterator<Item = Lease>) {
        for lease in leases {
            self.book.enter(lease);
        }
    }

    /// Takes one datagram that came to port 67 or 4011.
    pub fn handle_packet(
        &mut self,
        bytes: &[u8],
        arrival: &Arrival,
        now: Duration,
        wishes: &dyn Wishes,
    ) {
        self.counters.received += 1;
        if now >= self.next_sweep {
            self.sweep(now);
        }
        self.handle(bytes, arrival, None, now, wishes);
    }

    fn handle(
        &mut self,
        bytes: &[u8],
        arrival: &Arrival,
        probed: Option<Ipv4Addr>,
        now: Duration,
        wishes: &dyn Wishes,
    ) {
        let (mac, result) = match Request::parse(bytes) {
            Ok(request) => {
                let mac = request.mac;
                let question = self.question(request, bytes, arrival, probed, now, wishes);
                let result = question.and_then(|question| match question.network.mode {
                    Mode::Full => self.answer(&question),
                    Mode::Proxy => self.proxy(&question),
                    Mode::Off => Err(DropReason::NetworkOff(question.network.name.clone())),
                });
                (Some(mac), result)
            }
            Err(error) => (None, Err(error.into())),
        };
        if let Err(why) = result {
            *self.counters.dropped.entry(why.name()).or_default() += 1;
            self.report(Event::Dropped { mac, why });
        }
    }

    /// Once a second: offers that ran out, and how full the pools are.
    fn sweep(&mut self, now: Duration) {
        self.book.sweep(now);
        self.next_sweep = now.saturating_add(Duration::from_secs(1));
        self.used.clear();
        for network in self.networks.iter() {
            if let Some(pool) = network.range() {
                self.used.insert(network.subnet, self.book.used(pool, now));
            }
        }
    }

    /// When to call [`Server::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.probes.next_timeout()
    }

    /// How many addresses are on record.
    #[must_use]
    pub fn leases(&self) -> usize {
        self.book.len()
    }

    /// The next thing to do.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// What has happened since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn report(&mut self, event: Event) {
        self.commands.push_back(Command::Report(event));
    }

    /// Enters `lease` in the book and has it written; gives the ticket of the write.
    fn persist(&mut self, lease: Lease) -> u64 {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let now_used = lease.state == LeaseState::Bound && self.book.lease(lease.ip).is_none();
        if now_used && let Some(network) = self.networks.of(lease.ip) {
            // Counted again within a second; until then a flood must not overrun the pool.
            *self.used.entry(network.subnet).or_default() += 1;
        }
        self.book.enter(lease.clone());
        self.commands.push_back(Command::Persist { ticket, lease });
        ticket
    }

    fn master(&self, question: &Question<'_>) -> MasterHint {
        MasterHint {
            ip: question.address,
            verify_port: self.config.verify_port,
            http_port: self.config.http_port,
        }
    }
}

#[cfg(test)]
mod tests;
