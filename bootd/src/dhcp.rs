//! The edge of DHCP: one thread, one socket, the server's machine.

use std::collections::HashSet;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bootd_protocol::boot_choice::{Client, ClientKind};
use bootd_protocol::dhcp::server::{
    Arrival, Command, Config, Datagram, Event, Lease, LeaseState, Network, Server,
};
use catalog::identify::{Match, match_node};
use catalog::snapshot;
use catalog::state::{self, Record};
use nix::cmsg_space;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg,
};
use tracing::{debug, info, warn};

use crate::counters::Counters;
use crate::desired::{Desired, View};
use crate::presence::{Presence, Sighting};
use crate::recorder::{Recorder, unix_ms};
use crate::wishes::{dhcp_identity, machine};

/// The largest datagram that is looked at: no DHCP client sends more than its link carries.
const MAX_DATAGRAM: usize = 2048;

/// What the edge works with.
pub struct Dhcp {
    /// Where packets come in, with their arrival.
    pub socket: Arc<OwnedFd>,
    /// The catalog in force.
    pub desired: Desired,
    /// Where leases are written.
    pub recorder: Recorder,
    /// Where it is told who got an address.
    pub presence: Presence,
    /// Its numbers.
    pub counters: Arc<Counters>,
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

impl Dhcp {
    /// Serves for ever.
    ///
    /// # Errors
    /// The socket fails, or the machine cannot be made.
    pub fn run(self, leases: Vec<state::Lease>) -> anyhow::Result<()> {
        let clock = Clock::new();
        let mut generation = 0;
        // An address that is new to us may be one that a network has been waiting for.
        let mut known = HashSet::new();
        let mut server = Server::new(Config::new(Vec::new(), self.ports.0, self.ports.1))?;
        server.restore(leases.iter().map(restored));
        let mut buffer = vec![0; MAX_DATAGRAM];
        let mut told = HashSet::new();
        tell_networks(&self.desired.view(), &mut told);
        loop {
            let Some((len, arrival)) = self.receive(&mut buffer)? else {
                continue;
            };
            let view = self.desired.view();
            if view.snapshot.generation != generation || known.insert(arrival.local) {
                generation = view.snapshot.generation;
                self.reconfigure(&mut server, &view);
                tell_networks(&view, &mut told);
            }
            server.handle_packet(&buffer[..len], &arrival, clock.now(), &*view);
            while let Some(command) = server.next_command() {
                self.obey(command, &mut server, &view);
            }
            let counters = server.counters();
            self.counters.dhcp_received.set(counters.received);
            self.counters.dhcp_offers.set(counters.offers);
            self.counters.dhcp_acks.set(counters.acks);
            self.counters.dhcp_naks.set(counters.naks);
            self.counters
                .dhcp_dropped
                .set(counters.dropped.values().sum());
        }
    }

    fn reconfigure(&self, server: &mut Server, view: &View) {
        let local = local_addresses();
        let networks = view
            .snapshot
            .networks
            .iter()
            .filter_map(|it| served_network(it, &local));
        let config = Config::new(networks.collect(), self.ports.0, self.ports.1);
        for network in &config.networks {
            debug!(server = %network.server, prefix = network.prefix_len, "network served");
        }
        if let Err(error) = server.reconfigure(config) {
            warn!("DHCP goes on with the networks it had: {error}");
        }
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Arrival)>> {
        let mut control = cmsg_space!(nix::libc::in_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let fd = self.socket.as_raw_fd();
        let message =
            match recvmsg::<SockaddrIn>(fd, &mut parts, Some(&mut control), MsgFlags::empty()) {
                Ok(message) => message,
                Err(nix::Error::EINTR | nix::Error::ECONNREFUSED) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
        let arrival = message.cmsgs()?.find_map(|control| {
            let ControlMessageOwned::Ipv4PacketInfo(info) = control else {
                return None;
            };
            Some(Arrival {
                interface: u32::try_from(info.ipi_ifindex).unwrap_or(0),
                local: Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)),
            })
        });
        Ok(arrival.map(|arrival| (message.bytes, arrival)))
    }

    fn obey(&self, command: Command, server: &mut Server, view: &View) {
        match command {
            Command::Persist { ticket, lease } => {
                // What waits for this write comes right behind it.
                let record = Record::Lease(written(&lease));
                match server.next_command() {
                    Some(Command::SendAfterCommit {
                        ticket: waits,
                        datagram,
                    }) if waits == ticket => {
                        let socket = Arc::clone(&self.socket);
                        self.recorder
                            .commit(record, move || send(&socket, &datagram));
                    }
                    other => {
                        self.recorder.record(record);
                        if let Some(other) = other {
                            self.obey(other, server, view);
                        }
                    }
                }
            }
            Command::Send(datagram) => send(&self.socket, &datagram),
            Command::SendAfterCommit { ticket, .. } => {
                warn!(ticket, "an answer whose lease was not written is not sent");
            }
            Command::Report(event) => self.tell(&event, view),
        }
    }

    fn tell(&self, event: &Event, view: &View) {
        match event {
            Event::Offered { client, ip, why } => {
                debug!(mac = %client.mac, %ip, "offered: {why}");
                self.enrol(client, view);
            }
            Event::Leased {
                client, ip, why, ..
            }
            | Event::Informed { client, ip, why } => {
                info!(mac = %client.mac, %ip, kind = %client.kind, "leased: {why}");
                self.sight(client, *ip, why.to_string(), view);
            }
            Event::Refused { mac, ip, why } => info!(%mac, %ip, "refused: {why}"),
            Event::Released { mac, ip } => debug!(%mac, %ip, "released"),
            Event::Declined { mac, ip, .. } => {
                warn!(%mac, %ip, "declined: another machine uses it")
            }
            Event::ReservationBusy { mac, ip } => {
                warn!(%mac, %ip, "reserved, but another machine has it")
            }
            Event::LeftOut { mac, codes } => {
                debug!(%mac, ?codes, "options left out for want of room")
            }
            Event::Dropped { mac, why } => debug!(?mac, "dropped: {why}"),
        }
    }

    /// What boots becomes a node; a laptop that asks for an address does not.
    fn enrol(&self, client: &Client, view: &View) {
        if machine(client.kind).is_none() {
            return;
        }
        let identity = dhcp_identity(client);
        if matches!(match_node(&view.snapshot, &identity), Match::Rule { .. }) {
            self.recorder.enrol(identity);
        }
    }

    fn sight(&self, client: &Client, address: Ipv4Addr, text: String, view: &View) {
        let identity = dhcp_identity(client);
        let Match::Node { node, .. } = match_node(&view.snapshot, &identity) else {
            return;
        };
        let netboot = match client.kind {
            ClientKind::BiosRom
            | ClientKind::UefiPxe(_)
            | ClientKind::UefiHttp(_)
            | ClientKind::Ipxe { .. } => true,
            ClientKind::Init { .. } | ClientKind::Unsupported(_) | ClientKind::Plain => false,
        };
        if netboot {
            self.recorder.learn(node.name.clone(), identity);
        }
        self.presence.saw_dhcp(Sighting {
            node: node.name.clone(),
            mac: client.mac,
            address,
            machine: machine(client.kind),
            text,
            netboot,
        });
    }
}

/// A network of the catalog on which this machine has an address.
fn served_network(network: &snapshot::Network, local: &[Ipv4Addr]) -> Option<Network> {
    let found = local
        .iter()
        .copied()
        .find(|it| network.subnet.contains(*it));
    let server = network.server.or(found)?;
    // Without a pool only reservations are given: the server's own address is nobody's.
    let (pool_first, pool_last) = network.pool.unwrap_or((server, server));
    Some(Network {
        server,
        prefix_len: network.subnet.prefix,
        pool_first,
        pool_last,
        router: network.router,
        dns: network.dns.clone(),
        lease_seconds: u32::try_from(network.lease.as_secs()).unwrap_or(u32::MAX),
    })
}

/// Says which networks are served, each state of each once.
fn tell_networks(view: &View, told: &mut HashSet<(String, Option<Ipv4Addr>)>) {
    let local = local_addresses();
    let now: HashSet<_> = view
        .snapshot
        .networks
        .iter()
        .map(|it| {
            let served = served_network(it, &local);
            (it.name.clone(), served.map(|it| it.server))
        })
        .collect();
    for (name, server) in now.difference(told) {
        match server {
            Some(server) => info!(%server, "DHCP serves network {name}"),
            None => {
                warn!("this machine has no address in network {name}: nobody there gets an answer")
            }
        }
    }
    if now.is_empty() {
        warn!("no network is listed (table network): nobody gets an answer by DHCP");
    }
    *told = now;
}

fn local_addresses() -> Vec<Ipv4Addr> {
    let addresses = getifaddrs()
        .into_iter()
        .flatten()
        .filter_map(|it| it.address);
    addresses
        .filter_map(|it| it.as_sockaddr_in().map(SockaddrIn::ip))
        .collect()
}

fn restored(lease: &state::Lease) -> Lease {
    Lease {
        ip: lease.ip,
        mac: lease.mac,
        hostname: Some(lease.hostname.clone()).filter(|it| !it.is_empty()),
        state: LeaseState::Bound,
        until: Duration::from_millis(lease.expires_ms.unsigned_abs()),
    }
}

fn written(lease: &Lease) -> state::Lease {
    state::Lease {
        ip: lease.ip,
        mac: lease.mac,
        expires_ms: i64::try_from(lease.until.as_millis()).unwrap_or(i64::MAX),
        hostname: lease.hostname.clone().unwrap_or_default(),
    }
}

fn send(socket: &OwnedFd, datagram: &Datagram) {
    let mut info: nix::libc::in_pktinfo = packet_info(datagram);
    if *datagram.destination.ip() != Ipv4Addr::BROADCAST {
        info.ipi_ifindex = 0;
    }
    let parts = [IoSlice::new(&datagram.bytes)];
    let control = [ControlMessage::Ipv4PacketInfo(&info)];
    let to = SockaddrIn::from(SocketAddrV4::new(
        *datagram.destination.ip(),
        datagram.destination.port(),
    ));
    if let Err(error) = sendmsg(
        socket.as_raw_fd(),
        &parts,
        &control,
        MsgFlags::empty(),
        Some(&to),
    ) {
        warn!(to = %datagram.destination, "DHCP answer not sent: {error}");
    }
}

fn packet_info(datagram: &Datagram) -> nix::libc::in_pktinfo {
    nix::libc::in_pktinfo {
        ipi_ifindex: i32::try_from(datagram.interface).unwrap_or(0),
        ipi_spec_dst: nix::libc::in_addr {
            s_addr: u32::from(*datagram.source.ip()).to_be(),
        },
        ipi_addr: nix::libc::in_addr { s_addr: 0 },
    }
}
