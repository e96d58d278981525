//! Configurations for PXELINUX, U-Boot and the like: made when TFTP is asked for them, by the
//! decision that DHCP and iPXE's script go by.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bootd_protocol::boot_choice::{Client, ClientKind, Offer, pxelinux};
use bootd_protocol::dhcp::server::Wishes as _;
use bootd_protocol::identity::{Mac, SystemUuid};
use bootd_protocol::tftp::Refusal;
use catalog::identify::{Match, match_node};
use catalog::snapshot::Node;
use tracing::{error, info};

use crate::boot_files::BootFiles;
use crate::chain::chain;
use crate::counters::Counters;
use crate::desired::{Desired, View};
use crate::locations::{Heard, Locations};
use crate::presence::Presence;
use crate::wishes::{Wisher, dhcp_identity};

/// What configurations are made from. Clones share it.
#[derive(Clone)]
pub struct BootConfigs {
    /// The catalog in force.
    pub desired: Desired,
    /// How nodes are doing.
    pub presence: Presence,
    /// Where machines were, and what they said.
    pub locations: Locations,
    /// Boot images.
    pub boot_files: BootFiles,
    /// Where it is counted.
    pub counters: Arc<Counters>,
}

/// By what a configuration's name knows a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Its network card.
    Card(Mac),
    /// Its UUID.
    Machine(SystemUuid),
}

impl BootConfigs {
    /// The configuration for a machine, at the request of `peer`; none where the catalog has
    /// nothing for it. May wait for a disk.
    ///
    /// # Errors
    /// The machine is on hold, or its boot image cannot be used.
    pub fn of(&self, asked: Asked, peer: SocketAddr) -> Result<Option<String>, Refusal> {
        let view = self.desired.view();
        let client = self.client(&view, asked);
        let wisher = Wisher {
            view: &view,
            presence: &self.presence,
            locations: &self.locations,
        };
        let offer = wisher.wish(&client).offer;
        if matches!(offer, Offer::None { .. } | Offer::Ignore { .. }) {
            return Ok(None);
        }
        let text = self.text(client.mac, &offer)?;
        self.counters.tftp_configs.add(1);
        if matches!(offer, Offer::Local { .. }) {
            self.told_of_disk(&client, &view, peer);
        }
        Ok(Some(text))
    }

    /// Who is meant, with what is known of it.
    fn client(&self, view: &View, asked: Asked) -> Client {
        let (mac, uuid) = match asked {
            Asked::Card(mac) => (mac, None),
            Asked::Machine(uuid) => {
                let node = node_of(view, uuid);
                let mac = node.and_then(|it| it.mac).unwrap_or(Mac([0; 6]));
                (mac, node.and_then(|it| it.uuid).or(Some(uuid)))
            }
        };
        let Heard {
            place,
            kind,
            vendor_class,
        } = self.locations.of(mac).unwrap_or_default();
        let kind = kind.filter(|it| it.machine().is_some());
        Client {
            mac,
            uuid,
            kind: kind.unwrap_or(ClientKind::UBoot(None)),
            vendor_class: vendor_class.as_deref().map(str::to_owned),
            place,
        }
    }

    fn text(&self, mac: Mac, offer: &Offer) -> Result<String, Refusal> {
        let reason = offer.reason();
        match offer {
            Offer::Boot { uki, .. } => {
                let cmdline = self.boot_files.cmdline(*uki).map_err(|problem| {
                    error!(%mac, "no configuration: boot image {uki}: {}", chain(&problem));
                    Refusal::Unreadable
                })?;
                let text = pxelinux::boot(reason, uki, &cmdline).map_err(|problem| {
                    error!(%mac, "no configuration: boot image {uki}: {problem}");
                    Refusal::NotFound
                })?;
                info!(%mac, "configuration: gets boot image {}: {reason}", uki.short());
                Ok(text)
            }
            Offer::Local { .. } => {
                info!(%mac, "configuration: starts from its disk: {reason}");
                Ok(pxelinux::local(reason))
            }
            Offer::Hold { .. } | Offer::None { .. } | Offer::Ignore { .. } => {
                info!(%mac, "no configuration: held: {reason}");
                Err(Refusal::NotFound)
            }
        }
    }

    /// DHCP has not told U-Boot of its disk; this does. Who only looks at a node's configuration,
    /// from another address than the node's, has told nobody.
    fn told_of_disk(&self, client: &Client, view: &View, peer: SocketAddr) {
        if !matches!(client.kind, ClientKind::UBoot(_)) {
            return;
        }
        if let Match::Node { node, .. } = match_node(&view.snapshot, &dhcp_identity(client))
            && self.presence.address(&node.name).map(IpAddr::V4) == Some(peer.ip())
        {
            self.presence.sent_to_disk(&node.name);
        }
    }
}

/// The node with this UUID. U-Boot writes its own in the order of the text into option 97 where
/// PXE has the order of SMBIOS, so that DHCP may have learnt it the other way round.
fn node_of(view: &View, uuid: SystemUuid) -> Option<&Node> {
    let either = [uuid, SystemUuid::from_smbios(uuid.0)];
    let mut nodes = view.snapshot.nodes.iter();
    nodes.find(|node| node.uuid.is_some_and(|it| either.contains(&it)))
}

#[cfg(test)]
mod tests;
