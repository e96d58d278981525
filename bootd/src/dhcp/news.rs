//! What the server's machine tells of: to the log, to the catalog, of nodes.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Instant;

use bootd_protocol::boot_choice::{Client, ClientKind, Why};
use bootd_protocol::dhcp::server::{Event, Mode};
use catalog::identify::{Match, match_node};
use catalog::snapshot::Word as _;
use tracing::{debug, info, warn};

use super::Running;
use super::networks::Links;
use crate::desired::View;
use crate::presence::Sighting;
use crate::wishes::{dhcp_identity, machine};

/// How many machines DHCP may make nodes at once, and how many each second after that. The
/// others become nodes when their init introduces itself; a flood of made-up machines does not
/// fill the catalog.
const ENROLMENTS: f64 = 64.0;
const ENROLMENTS_PER_SECOND: f64 = 1.0;

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
                if machine(client.kind).is_some() {
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
        for (client, address, why) in std::mem::take(&mut self.newcomers) {
            self.sight(&client, address, &why, view);
        }
    }

    /// A machine that boots was given an address or a boot file.
    fn sight(&mut self, client: &Client, address: Option<Ipv4Addr>, why: &Why, view: &View) {
        self.edge.locations.saw(client);
        let identity = dhcp_identity(client);
        let node = match match_node(&view.snapshot, &identity) {
            Match::Node { node, .. } => node,
            Match::Rule { .. } => {
                if machine(client.kind).is_some() && self.enrolments.take_one() {
                    self.edge.recorder.enrol(identity);
                    self.newcomers.push((client.clone(), address, why.clone()));
                }
                return;
            }
            Match::Nobody { .. } => return,
        };
        let netboot = match client.kind {
            ClientKind::BiosRom
            | ClientKind::UefiPxe(_)
            | ClientKind::UefiHttp(_)
            | ClientKind::Ipxe { .. } => true,
            ClientKind::Init { .. } | ClientKind::Unsupported(_) | ClientKind::Plain => false,
        };
        let unknown = node.uuid.is_none() || node.arch.is_none() || node.firmware.is_none();
        if netboot && unknown {
            self.edge.recorder.learn(node.name.clone(), identity);
        }
        if netboot {
            info!(node = node.name, mac = %client.mac, "{why}");
        }
        self.edge.presence.saw_dhcp(Sighting {
            node: node.name.clone(),
            mac: client.mac,
            address,
            machine: machine(client.kind),
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
        let made = (0..1000).filter(|_| enrolments.take_one()).count();
        assert!((64..70).contains(&made), "{made}");
    }
}
