//! The edge of DHCP: one thread, its sockets, the server's machine.
//!
//! Packets are taken as many as there are, decided one by one, and answered together: offers at
//! once, ACKs when the leases of all of them are on stable storage, which takes one flush for the
//! whole batch.
//!
//! | file | what it does |
//! |---|---|
//! | `sockets.rs` | the sockets, receiving and sending in batches |
//! | `frame.rs` | answers in frames of their own, to clients without an address |
//! | `probe.rs` | asking by ARP and ICMP whether an address is in use |
//! | `networks.rs` | the catalog's networks in the machine's terms |
//! | `news.rs` | what is told of: to the log, to the catalog, of nodes |

mod frame;
mod networks;
mod news;
mod probe;
mod sockets;

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bootd_protocol::dhcp::server::{Command, Config, Datagram, Server};
use bootd_protocol::identity::Mac;
use catalog::state::{self, Record};
use nix::poll::PollTimeout;
use tracing::{debug, warn};

pub use sockets::Sockets;

use crate::counters::Counters;
use crate::desired::{Desired, View};
use crate::locations::Locations;
use crate::presence::Presence;
use crate::recorder::{Recorder, unix_ms};
use crate::registrar::Registrar;
use crate::supervision::{BEAT_INTERVAL, Pulse};
use crate::wishes::Wisher;
use networks::Links;
use news::{Enrolments, Newcomer, Told};
use sockets::Inbox;

/// Interfaces and their addresses are looked at again after this long, for they come and go.
const LINKS_INTERVAL: Duration = BEAT_INTERVAL;

/// What the edge works with.
pub struct Dhcp {
    /// Where packets come in and leave.
    pub sockets: Arc<Sockets>,
    /// The catalog in force.
    pub desired: Desired,
    /// Where leases are written.
    pub recorder: Recorder,
    /// Where machines become nodes.
    pub registrar: Registrar,
    /// Where it is told who got an address.
    pub presence: Presence,
    /// Where it is told where clients are.
    pub locations: Locations,
    /// Its numbers.
    pub counters: Arc<Counters>,
    /// Its sign of life.
    pub pulse: Pulse,
    /// Ports that nodes are told: verify and HTTP.
    pub ports: (u16, u16),
}

/// The clock of the machine: Unix time, so that leases mean the same after a restart. Taken once
/// and counted on by the steady clock, so that a step of the wall clock ends no lease.
struct Clock {
    unix: Duration,
    begun: Instant,
}

impl Clock {
    fn new() -> Self {
        let unix = Duration::from_millis(unix_ms().unsigned_abs());
        Clock {
            unix,
            begun: Instant::now(),
        }
    }

    fn now(&self) -> Duration {
        self.unix + self.begun.elapsed()
    }
}

/// What the answers of one round come to.
#[derive(Default)]
struct Round {
    send: Vec<Datagram>,
    write: Vec<Record>,
    send_after_write: Vec<Datagram>,
}

/// The running server.
struct Running {
    edge: Dhcp,
    server: Server,
    clock: Clock,
    links: Links,
    links_due: Duration,
    told: Told,
    generation: Option<u64>,
    enrolments: Enrolments,
    /// Machines that are being made nodes.
    newcomers: HashMap<Mac, Newcomer>,
    inbox: Inbox,
    round: Round,
}

impl Dhcp {
    /// Serves for ever.
    ///
    /// # Errors
    /// A socket fails.
    pub fn run(self, leases: &[state::Lease]) -> anyhow::Result<()> {
        let (mut server, _) = Server::new(Config::new(Vec::new(), self.ports.0, self.ports.1));
        server.restore(leases.iter().map(networks::restored));
        let mut running = Running {
            edge: self,
            server,
            clock: Clock::new(),
            links: Links::default(),
            links_due: Duration::ZERO,
            told: Told::new(),
            generation: None,
            enrolments: Enrolments::new(),
            newcomers: HashMap::new(),
            inbox: Inbox::new(),
            round: Round::default(),
        };
        loop {
            running.round()?;
        }
    }
}

impl Running {
    fn round(&mut self) -> io::Result<()> {
        let sockets = Arc::clone(&self.edge.sockets);
        let ready = sockets.wait(self.pause())?;
        self.edge.pulse.beat();
        let view = self.edge.desired.view();
        self.look_around(&view);
        let wisher = Wisher {
            view: &view,
            presence: &self.edge.presence,
            locations: &self.edge.locations,
        };
        let now = self.clock.now();
        let (server, links) = (&mut self.server, &self.links);
        sockets.receive(&ready, &mut self.inbox, |bytes, mut arrival| {
            arrival.local = links.own_address(&arrival);
            server.handle_packet(bytes, &arrival, now, &wisher);
        })?;
        if ready.probes {
            for ip in sockets.probes.answered() {
                server.handle_in_use(ip, now, &wisher);
            }
        }
        server.handle_timeout(now, &wisher);
        while let Some(command) = self.server.next_command() {
            self.obey(command, &view);
        }
        self.finish_round();
        self.count();
        Ok(())
    }

    fn pause(&self) -> PollTimeout {
        let now = self.clock.now();
        let due = self.server.poll_timeout();
        let due = due.map_or(self.links_due, |due| due.min(self.links_due));
        // Rounded up, so that what is due is due when the wait ends.
        let millis = due.saturating_sub(now).as_millis() + 1;
        PollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
    }

    /// Takes a new catalog, and interfaces that have come or gone.
    fn look_around(&mut self, view: &View) {
        let now = self.clock.now();
        if now >= self.links_due {
            self.links_due = now + LINKS_INTERVAL;
            self.read_links(view);
        }
        let generation = Some(view.snapshot.generation);
        if self.generation == generation {
            return;
        }
        self.generation = generation;
        self.read_links(view);
        self.sight_newcomers(view);
        let (verify, http) = self.edge.ports;
        let networks = view.snapshot.networks.iter().map(networks::served);
        let config = Config {
            nodes: u32::try_from(view.snapshot.nodes.len()).unwrap_or(u32::MAX),
            ..Config::new(networks.collect(), verify, http)
        };
        if config.networks.is_empty() {
            warn!("no network is listed (table network): nobody gets an answer by DHCP");
        }
        for error in self.server.reconfigure(config) {
            warn!("a network is not served: {error}");
        }
    }

    fn read_links(&mut self, view: &View) {
        self.links = Links::read(view);
        news::tell_networks(view, &self.links, &mut self.told);
    }

    fn obey(&mut self, command: Command, view: &View) {
        match command {
            Command::Persist { lease, .. } => {
                self.round
                    .write
                    .push(Record::Lease(networks::written(lease)));
            }
            Command::Send(datagram) => self.round.send.push(datagram),
            // All that a round writes is committed at once.
            Command::SendAfterCommit { datagram, .. } => {
                self.round.send_after_write.push(datagram);
            }
            Command::Probe { ip, interface } => self.probe(ip, interface),
            Command::Report(event) => self.tell(event, view),
        }
    }

    fn probe(&self, ip: Ipv4Addr, interface: Option<u32>) {
        if let Err(error) = self.edge.sockets.probes.ask(ip, interface) {
            debug!(%ip, "not probed: {error}");
        }
    }

    fn finish_round(&mut self) {
        let round = std::mem::take(&mut self.round);
        self.edge.sockets.send(&round.send);
        if !round.write.is_empty() {
            let sockets = Arc::clone(&self.edge.sockets);
            self.edge.recorder.commit(round.write, move || {
                sockets.send(&round.send_after_write);
            });
        }
    }

    fn count(&self) {
        let (counters, told) = (self.server.counters(), &self.edge.counters);
        told.dhcp_received.set(counters.received);
        told.dhcp_offers.set(counters.offers);
        told.dhcp_acks.set(counters.acks);
        told.dhcp_naks.set(counters.naks);
        told.dhcp_bootp.set(counters.bootp);
        told.dhcp_dropped.set(counters.dropped.values().sum());
        told.now.dhcp_leases.set(self.server.leases());
    }
}

/// Where machines were, as their leases tell.
#[must_use]
pub fn locations(leases: &[state::Lease]) -> Locations {
    let bound = leases
        .iter()
        .filter(|it| it.state == state::LeaseState::Bound);
    Locations::restored(bound.map(|it| (it.mac, networks::place(&it.place))))
}
