//! Nodes and a server on a virtual wire that loses, doubles and delays, under a seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use bootd_protocol::dhcp::client::{self, Client, LeaseInfo};
use bootd_protocol::dhcp::server::{Command, Lease, Server};
use bootd_protocol::identity::{Arch, Firmware, Mac};

use crate::world::{ARRIVAL, Catalog, SERVER, config};

/// Virtual time that a run may take until every node is bound.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is under way, by when it arrives; the second number keeps the order of equals.
type Flight = Reverse<(Duration, u64, End, Vec<u8>)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Server,
    Nodes,
}

struct Wire {
    seed: u64,
    /// Lost datagrams of a thousand.
    loss: u64,
    now: Duration,
    sent: u64,
    flights: BinaryHeap<Flight>,
    server: Server,
    /// The rows that a restart of the server finds.
    committed: BTreeMap<std::net::Ipv4Addr, Lease>,
    nodes: Vec<Client>,
    configured: Vec<Option<LeaseInfo>>,
}

impl Wire {
    fn new(seed: u64, nodes: u8, loss: u64) -> Self {
        let now = Duration::from_secs(1_000_000);
        let node = |number| client::Config {
            mac: Mac([2, 0, 0, 0, 0, number]),
            uuid: None,
            machine: (Arch::X86_64, Firmware::Uefi),
        };
        let mut wire = Wire {
            seed,
            loss,
            now,
            sent: 0,
            flights: BinaryHeap::new(),
            server: Server::new(config()).0,
            committed: BTreeMap::new(),
            nodes: Vec::new(),
            configured: vec![None; nodes.into()],
        };
        for number in 0..nodes {
            let seed = u32::try_from(wire.random(1 << 32)).unwrap_or(0);
            wire.nodes.push(Client::new(node(number), seed, now));
        }
        wire
    }

    /// xorshift64*
    fn random(&mut self, below: u64) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.seed >> 24) % below
    }

    fn send(&mut self, to: End, bytes: &[u8]) {
        let copies = match self.random(1000) {
            it if it < self.loss => 0,
            it if it < self.loss + 50 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let delay = Duration::from_millis(self.random(300));
            self.sent += 1;
            let flight = (self.now + delay, self.sent, to, bytes.to_vec());
            self.flights.push(Reverse(flight));
        }
    }

    /// Everything that wants to be done at this moment.
    fn settle(&mut self) {
        for index in 0..self.nodes.len() {
            while let Some(command) = self.nodes[index].next_command() {
                match command {
                    client::Command::SendBroadcast(bytes) => self.send(End::Server, &bytes),
                    client::Command::SendUnicast(to, bytes) => {
                        assert_eq!(to, SERVER);
                        self.send(End::Server, &bytes);
                    }
                    client::Command::Configure(lease) => self.configured[index] = Some(lease),
                    client::Command::Settled(_) => {}
                    client::Command::Deconfigure => self.configured[index] = None,
                }
            }
        }
        while let Some(command) = self.server.next_command() {
            match command {
                Command::Persist { lease, .. } => {
                    self.committed.insert(lease.ip, lease);
                }
                Command::Send(datagram) | Command::SendAfterCommit { datagram, .. } => {
                    self.send(End::Nodes, &datagram.bytes);
                }
                Command::Probe { .. } | Command::Report(_) => {}
            }
        }
    }

    /// Goes to the next moment at which something happens; false if that is after `end`.
    fn step(&mut self, end: Duration) -> bool {
        self.settle();
        let arrival = self.flights.peek().map(|Reverse((when, ..))| *when);
        let timeout = self.nodes.iter().filter_map(Client::poll_timeout).min();
        let Some(next) = arrival
            .into_iter()
            .chain(timeout)
            .min()
            .filter(|it| *it <= end)
        else {
            return false;
        };
        self.now = next;
        for node in &mut self.nodes {
            node.handle_timeout(next);
        }
        while self
            .flights
            .peek()
            .is_some_and(|Reverse((when, ..))| *when <= next)
        {
            let Some(Reverse((_, _, to, bytes))) = self.flights.pop() else {
                break;
            };
            match to {
                End::Server => self.server.handle_packet(&bytes, &ARRIVAL, next, &Catalog),
                End::Nodes => {
                    for node in &mut self.nodes {
                        node.handle_packet(&bytes, next);
                    }
                }
            }
        }
        self.settle();
        self.no_address_twice();
        true
    }

    fn no_address_twice(&self) {
        let addresses: Vec<_> = self
            .configured
            .iter()
            .flatten()
            .map(|it| it.address)
            .collect();
        let distinct: BTreeSet<_> = addresses.iter().collect();
        assert_eq!(addresses.len(), distinct.len(), "{addresses:?}");
    }

    fn run_until_bound(&mut self) {
        let end = self.now + PATIENCE;
        while self.configured.iter().any(Option::is_none) {
            assert!(self.step(end), "not bound in time: {:?}", self.configured);
        }
    }

    fn run_until(&mut self, end: Duration) {
        while self.step(end) {}
        self.now = end;
    }

    fn addresses(&self) -> Vec<Option<std::net::Ipv4Addr>> {
        let address = |lease: &Option<LeaseInfo>| lease.as_ref().map(|it| it.address);
        self.configured.iter().map(address).collect()
    }
}

/// Bound through loss; renewed and still on the same address after three lease times.
#[test]
fn nodes_get_and_keep_their_addresses() {
    for seed in 0..60 {
        let mut wire = Wire::new(seed, 20, 200);
        wire.run_until_bound();
        let first = wire.addresses();
        let hints = wire
            .configured
            .iter()
            .flatten()
            .filter(|it| it.master.is_some());
        assert_eq!(hints.count(), 20, "seed {seed}");
        wire.run_until(wire.now + Duration::from_secs(3 * 3600));
        assert_eq!(wire.addresses(), first, "seed {seed}");
    }
}

/// A clean wire costs each node two datagrams each way to be bound, and one to renew.
#[test]
fn a_clean_wire_costs_no_time() {
    let mut wire = Wire::new(1, 1, 0);
    wire.run_until_bound();
    let bound = wire.now;
    assert!(bound < Duration::from_secs(1_000_002), "{bound:?}");
    let counters = wire.server.counters().clone();
    let (received, offers, acks) = (counters.received, counters.offers, counters.acks);
    assert!(received <= 4 && offers <= 2 && acks <= 2, "{counters:?}");
    wire.run_until(bound + Duration::from_secs(1900));
    assert_eq!(wire.server.counters().acks, acks + 1);
}

/// The server restarts with what it wrote down; every node keeps its address.
#[test]
fn a_restarted_server_knows_its_leases() {
    for seed in 0..20 {
        let mut wire = Wire::new(seed, 20, 100);
        wire.run_until_bound();
        let first = wire.addresses();
        wire.server = Server::new(config()).0;
        wire.server.restore(wire.committed.values().cloned());
        wire.run_until(wire.now + Duration::from_secs(2 * 3600));
        assert_eq!(wire.addresses(), first, "seed {seed}");
    }
}

/// With the server gone the leases end, and with it back everybody is bound again.
#[test]
fn a_silent_server_is_outlived() {
    let mut wire = Wire::new(7, 10, 0);
    wire.run_until_bound();
    let first = wire.addresses();
    wire.loss = 1000;
    wire.run_until(wire.now + Duration::from_secs(3700));
    assert_eq!(wire.addresses(), vec![None; 10]);
    wire.loss = 0;
    wire.run_until_bound();
    assert_eq!(wire.addresses(), first);
}

/// Nodes that restart ask for the address that they remember, and get it.
#[test]
fn restarted_nodes_are_bound_by_one_question() {
    let mut wire = Wire::new(3, 5, 0);
    wire.run_until_bound();
    let first = wire.addresses();
    let remembered: Vec<_> = std::mem::replace(&mut wire.configured, vec![None; 5]);
    wire.run_until(wire.now + Duration::from_secs(10));
    for (number, lease) in (0..).zip(remembered.into_iter().flatten()) {
        let node = client::Config {
            mac: Mac([2, 0, 0, 0, 0, number]),
            uuid: None,
            machine: (Arch::X86_64, Firmware::Uefi),
        };
        let seed = u32::from(number) + 100;
        wire.nodes[usize::from(number)] = Client::with_remembered(node, seed, lease, wire.now);
    }
    let offers = wire.server.counters().offers;
    wire.run_until_bound();
    assert_eq!(wire.addresses(), first);
    assert_eq!(wire.server.counters().offers, offers);
}
