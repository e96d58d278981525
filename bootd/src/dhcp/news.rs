//! What the server's machine tells of: to the log, to the catalog, of nodes.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bootd_protocol::boot_choice::{Client, Why};
use bootd_protocol::dhcp::server::{Event, Mode};
use catalog::identify::{Match, match_node};
use catalog::snapshot::Word as _;
use tracing::{debug, info, warn};

use super::Running;
use super::networks::Links;
use crate::desired::View;
use crate::presence::Sighting;
use crate::wishes::dhcp_identity;

/// How many machines DHCP may make nodes at once: a room full of new ones.
const ENROLMENTS: f64 = 1024.0;
/// And how many each second after that. The others become nodes when their init introduces
/// itself; a flood of made-up machines does not fill the catalog in a night.
const ENROLMENTS_PER_SECOND: f64 = 1.0;
/// By then the catalog has a machine that was to become a node, or will not have it by this.
const BECOMING: Duration = Duration::from_secs(10);

/// A machine that is being made a node, as DHCP saw it last.
pub(super) struct Newcomer {
    client: Client,
    address: Option<Ipv4Addr>,
    why: Why,
    since: Instant,
}

/// How many machines may yet be made nodes.
pub(super) struct Enrolments {
    left: f64,
    at: Instant,
}

impl Enrolments {
    pub(super) fn new() -> Self {
        Enrolments {
            left: ENROLMENTS,
            at: Instant::now(),
        }
    }

    fn take_one(&mut self) -> bool {
        let earned = self.at.elapsed().as_secs_f64() * ENROLMENTS_PER_SECOND;
        self.left = (self.left + earned).min(ENROLMENTS);
        self.at = Instant::now();
        let allowed = self.left >= 1.0;
        if allowed {
            self.left -= 1.0;
        }
        allowed
    }
}

impl Running {
    pub(super) fn tell(&mut self, event: Event, view: &View) {
        match event {
            Event::Offered { client, ip, why } => {
                debug!(mac = %client.mac, %ip, "offered: {why}");
                if ip.is_unspecified() {
                    // A boot server's offer: there may be nothing after it that we hear.
                    self.sight(&client, None, &why, view);
                }
            }
            Event::Leased {
                client, ip, why, ..
            }
            | Event::Informed { client, ip, why } => {
                debug!(mac = %client.mac, %ip, kind = %client.kind, "leased: {why}");
                if client.kind.boots() {
                    self.sight(&client, Some(ip), &why, view);
                }
            }
            Event::Refused { mac, ip, why } => info!(%mac, %ip, "refused: {why}"),
            Event::Released { mac, ip } => debug!(%mac, %ip, "released"),
            Event::Declined { mac, ip, .. } => {
                warn!(%mac, %ip, "declined: another machine uses it");
            }
            Event::InUse { ip, .. } => {
                warn!(%ip, "in use by a machine that did not get it from here: kept back");
            }
            Event::ForeignServer {
                server,
                network,
                mode,
            } => tell_foreign(server, &network, mode),
            Event::ReservationBusy { mac, ip } => {
                warn!(%mac, %ip, "reserved, but another machine has it");
            }
            Event::LeftOut { mac, codes } => {
                debug!(%mac, ?codes, "options left out for want of room");
            }
            Event::Dropped { mac, why } => debug!(?mac, "dropped: {why}"),
        }
    }

    /// Machines that were being made nodes may be nodes by now.
    pub(super) fn sight_newcomers(&mut self, view: &View) {
        for (mac, newcomer) in std::mem::take(&mut self.newcomers) {
            let identity = dhcp_identity(&newcomer.client);
            match match_node(&view.snapshot, &identity) {
                Match::Node { .. } => {
                    self.sight(&newcomer.client, newcomer.address, &newcomer.why, view);
                }
                Match::Rule { .. } if newcomer.since.elapsed() < BECOMING => {
                    self.newcomers.insert(mac, newcomer);
                }
                Match::Rule { .. } | Match::Perhaps { .. } | Match::Nobody => {}
            }
        }
    }

    /// A machine that a rule takes in becomes a node, once.
    fn make_node(&mut self, client: &Client, address: Option<Ipv4Addr>, why: &Why) {
        let known = self.newcomers.get(&client.mac);
        let since = match known
            .map(|it| it.since)
            .filter(|it| it.elapsed() < BECOMING)
        {
            Some(since) => since,
            None if self.enrolments.take_one() => {
                self.edge.registrar.enrol(dhcp_identity(client));
                Instant::now()
            }
            None => return,
        };
        self.newcomers.retain(|_, it| it.since.elapsed() < BECOMING);
        let (client, why) = (client.clone(), why.clone());
        self.newcomers.insert(
            client.mac,
            Newcomer {
                client,
                address,
                why,
                since,
            },
        );
    }

    /// A machine that boots was given an address or a boot file.
    fn sight(&mut self, client: &Client, address: Option<Ipv4Addr>, why: &Why, view: &View) {
        self.edge.locations.saw(client);
        let identity = dhcp_identity(client);
        let node = match match_node(&view.snapshot, &identity) {
            Match::Node { node, .. } => node,
            Match::Rule { .. } => {
                if client.kind.machine().is_some() {
                    self.make_node(client, address, why);
                }
                return;
            }
            // Its init says what it is, and then it becomes a node.
            Match::Perhaps { .. } | Match::Nobody => return,
        };
        let netboot = client.kind.is_loader();
        let unknown = node.uuid.is_none() || node.arch.is_none() || node.firmware.is_none();
        if netboot && unknown {
            self.edge.registrar.learn(node.name.clone(), identity);
        }
        if netboot {
            info!(node = node.name, mac = %client.mac, "{why}");
        }
        self.edge.presence.saw_dhcp(Sighting {
            node: node.name.clone(),
            mac: client.mac,
            address,
            machine: client.kind.machine(),
            to_disk: matches!(why, Why::Local(_)),
            text: why.to_string(),
            netboot,
        });
    }
}

/// The networks as they were told of last, each with our address there.
pub(super) type Told = HashSet<(String, Mode, Option<Ipv4Addr>)>;

/// Says which networks are served, each state of each once.
pub(super) fn tell_networks(view: &View, links: &Links, told: &mut Told) {
    let networks = view.snapshot.networks.iter();
    let now: Told = networks
        .map(|it| (it.name.clone(), it.mode, links.in_network(it)))
        .collect();
    for (name, mode, address) in now.difference(told) {
        match (mode, address) {
            (Mode::Off, _) => info!("DHCP leaves network {name} alone: its mode is off"),
            (_, Some(address)) => {
                info!(%address, mode = mode.name(), "DHCP serves network {name}");
            }
            (_, None) => info!(
                mode = mode.name(),
                "DHCP serves network {name} through relays alone: this machine has no address there"
            ),
        }
    }
    *told = now;
}

fn tell_foreign(server: Ipv4Addr, network: &str, mode: Mode) {
    match mode {
        Mode::Full => warn!(
            %server, network,
            "another DHCP server gives addresses here: switch it off, or set this network's mode \
             to 'proxy' in the catalog"
        ),
        Mode::Proxy => info!(%server, network, "the DHCP server of this network"),
        Mode::Off => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_makes_few_nodes() {
        let mut enrolments = Enrolments::new();
        let made = (0..5000).filter(|_| enrolments.take_one()).count();
        assert!((1024..1030).contains(&made), "{made}");
    }
}
