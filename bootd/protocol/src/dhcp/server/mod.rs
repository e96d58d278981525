//! The master's DHCP server (RFC 2131, section 4.3) for directly connected networks.
//!
//! Feed it every datagram by [`Server::handle_packet`], then do what [`Server::next_command`]
//! gives, in order. It does nothing of its own accord: whether a lease or an offer has run out
//! is judged when its address is next asked for. `now` must have an origin that survives a
//! restart (the Unix epoch, say), since leases do.
//!
//! One lease for each client and network, by hardware address: the ROM, the loader and `init`
//! of one machine send different client identifiers (option 61) and must get one address.

mod address;
mod exchange;
mod lease;
mod network;
mod output;
mod reply;

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

pub use lease::{Lease, LeaseState};
pub use network::{Network, NetworkError};
pub use output::{Command, Counters, Datagram, DropReason, Event, Refusal};

use crate::boot_choice::{Client, Offer};
use crate::dhcp::hint::MasterHint;
use crate::dhcp::packet::Request;
use crate::identity::Mac;
use lease::Book;

/// How long an offer keeps its address, unless [`Config`] says otherwise.
pub const OFFER_TIME: Duration = Duration::from_secs(30);

/// How long nobody gets a declined address, unless [`Config`] says otherwise.
pub const QUARANTINE: Duration = Duration::from_secs(600);

/// Offers waiting to be taken up, unless [`Config`] says otherwise.
pub const MAX_OFFERS: usize = 4096;

/// What the server is told to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The networks; none may overlap another.
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
        }
    }
}

/// What the catalog keeps for one client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reservation {
    /// Its address, in the pool or beside it.
    pub ip: Option<Ipv4Addr>,
    /// Its name (option 12).
    pub hostname: Option<String>,
}

/// What the catalog wishes: answered from its snapshot in memory, without I/O.
pub trait Wishes {
    /// What is kept for `mac`.
    fn reservation(&self, mac: Mac) -> Reservation;

    /// Whose address `ip` is by reservation.
    fn reserved_for(&self, ip: Ipv4Addr) -> Option<Mac>;

    /// What `client` is to boot.
    fn offer(&self, client: &Client) -> Offer;
}

/// Where a datagram came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Index of the interface.
    pub interface: u32,
    /// Our address on that interface (for a broadcast, what `IP_PKTINFO` calls
    /// `ipi_spec_dst`): it chooses the [`Network`].
    pub local: Ipv4Addr,
}

/// The server's machine.
#[derive(Debug)]
pub struct Server {
    config: Config,
    book: Book,
    /// Full pools, by the network's server address, and when to look again.
    full: BTreeMap<Ipv4Addr, Duration>,
    next_sweep: Duration,
    last_ticket: u64,
    counters: Counters,
    commands: VecDeque<Command>,
}

/// What the exchanges of one packet have in common.
struct Question<'a> {
    request: Request,
    client: Client,
    network: Network,
    arrival: &'a Arrival,
    now: Duration,
    wishes: &'a dyn Wishes,
}

impl Server {
    /// A server that knows of no lease.
    ///
    /// # Errors
    /// A network that cannot be served.
    pub fn new(config: Config) -> Result<Self, NetworkError> {
        network::check_all(&config.networks)?;
        Ok(Server {
            config,
            book: Book::default(),
            full: BTreeMap::new(),
            next_sweep: Duration::ZERO,
            last_ticket: 0,
            counters: Counters::default(),
            commands: VecDeque::new(),
        })
    }

    /// Serves other networks from now on; leases stay.
    ///
    /// # Errors
    /// A network that cannot be served; the old ones are then served on.
    pub fn reconfigure(&mut self, config: Config) -> Result<(), NetworkError> {
        network::check_all(&config.networks)?;
        self.config = config;
        self.full.clear();
        Ok(())
    }

    /// Takes the leases of an earlier run, as [`Command::Persist`] gave them. Before the
    /// first packet.
    pub fn restore(&mut self, leases: impl IntoIterator<Item = Lease>) {
        for lease in leases {
            self.book.enter(lease);
        }
    }

    /// Takes one datagram that came to port 67.
    pub fn handle_packet(
        &mut self,
        bytes: &[u8],
        arrival: &Arrival,
        now: Duration,
        wishes: &dyn Wishes,
    ) {
        self.counters.received += 1;
        if now >= self.next_sweep {
            self.book.sweep(now);
            self.next_sweep = now.saturating_add(Duration::from_secs(1));
        }
        let (mac, result) = match Request::parse(bytes) {
            Ok(request) => (
                Some(request.mac),
                self.handle_request(request, arrival, now, wishes),
            ),
            Err(error) => (None, Err(error.into())),
        };
        if let Err(why) = result {
            *self.counters.dropped.entry(why.name()).or_default() += 1;
            self.report(Event::Dropped { mac, why });
        }
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
        self.book.enter(lease.clone());
        self.commands.push_back(Command::Persist { ticket, lease });
        ticket
    }

    fn master(&self, network: &Network) -> MasterHint {
        MasterHint {
            ip: network.server,
            verify_port: self.config.verify_port,
            http_port: self.config.http_port,
        }
    }

    /// The network that a request is of. Relayed ones will go by `giaddr` here.
    fn network_of(&self, request: &Request, arrival: &Arrival) -> Result<Network, DropReason> {
        if !request.giaddr.is_unspecified() {
            return Err(DropReason::Relayed(request.giaddr));
        }
        let mut networks = self.config.networks.iter();
        networks
            .find(|network| network.server == arrival.local)
            .cloned()
            .ok_or(DropReason::NoNetwork(arrival.local))
    }
}

#[cfg(test)]
mod tests;
