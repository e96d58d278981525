//! The view, asked by the protocols: what the catalog says about one machine.

use std::net::Ipv4Addr;

use bootd_protocol::boot_choice::{Client, ClientKind, Offer};
use bootd_protocol::dhcp::server::{self as dhcp, Reservation};
use bootd_protocol::identity::{Arch, Firmware, Mac};
use bootd_protocol::verify::key::PublicKey;
use bootd_protocol::verify::master::{self as verify, KnownNode, Standing, Wanted};
use bootd_protocol::verify::message;
use catalog::identify::{Identity, Match, match_node};
use catalog::snapshot::{Action, Class, KeyPolicy, Node};

use crate::desired::View;

/// Who sends DHCP, in the catalog's words.
#[must_use]
pub fn dhcp_identity(client: &Client) -> Identity {
    let machine = machine(client.kind);
    Identity {
        mac: Some(client.mac),
        uuid: client.uuid,
        arch: machine.map(|(arch, _)| arch),
        firmware: machine.map(|(_, firmware)| firmware),
        ..Identity::default()
    }
}

/// What machine this is, if the client says.
#[must_use]
pub fn machine(kind: ClientKind) -> Option<(Arch, Firmware)> {
    match kind {
        ClientKind::BiosRom => Some((Arch::X86_64, Firmware::Bios)),
        ClientKind::UefiPxe(arch) | ClientKind::UefiHttp(arch) => Some((arch, Firmware::Uefi)),
        ClientKind::Ipxe { arch, firmware } => Some((arch, firmware)),
        ClientKind::Init { machine } => machine,
        ClientKind::Unsupported(_) | ClientKind::Plain => None,
    }
}

/// Who speaks the verify protocol, in the catalog's words.
#[must_use]
pub fn verify_identity(who: &message::Identity) -> Identity {
    Identity {
        key: Some(*who.key.as_bytes()),
        mac: Some(who.mac),
        uuid: Some(who.uuid),
        arch: Some(who.arch),
        firmware: Some(who.firmware),
        product: Some(who.product.clone()),
        ..Identity::default()
    }
}

/// The class of a machine, and how it comes to it.
enum Place<'a> {
    Member(&'a Node, &'a Class),
    /// A rule takes it in, under this name.
    Newcomer(String, &'a Class, &'a str),
    Held(Option<String>, String),
    Ignored(String),
}

impl View {
    fn place(&self, identity: &Identity) -> Place<'_> {
        let class = |name: &str| self.snapshot.classes.get(name);
        match match_node(&self.snapshot, identity) {
            Match::Node { node, .. } => match class(&node.class) {
                _ if node.hold => {
                    let reason = format!("node {0} is held: catalog approve {0}", node.name);
                    Place::Held(Some(node.name.clone()), reason)
                }
                Some(class) => Place::Member(node, class),
                None => {
                    let reason = format!("node {} is of no class that exists", node.name);
                    Place::Held(Some(node.name.clone()), reason)
                }
            },
            Match::Rule { rule, .. } => match &rule.action {
                Action::Enrol { class: name } => match class(name) {
                    Some(class) => {
                        Place::Newcomer(newcomer(&rule.node_prefix, identity), class, &rule.name)
                    }
                    None => Place::Held(
                        None,
                        format!("rule {} names no class that exists", rule.name),
                    ),
                },
                Action::Hold { .. } => {
                    Place::Held(None, format!("rule {} holds new machines", rule.name))
                }
                Action::Ignore => Place::Ignored(format!("rule {} ignores it", rule.name)),
            },
            Match::Nobody { .. } => Place::Ignored("no rule takes it in".into()),
        }
    }
}

/// The name that a newcomer gets unless another node has it already.
fn newcomer(prefix: &str, identity: &Identity) -> String {
    let mac = identity
        .mac
        .unwrap_or(Mac([0; 6]))
        .to_string()
        .replace(':', "");
    format!("{prefix}{}", &mac[6..])
}

impl verify::Wishes for View {
    fn standing(&self, who: &message::Identity) -> Standing {
        let identity = verify_identity(who);
        let (name, key, class, enrol) = match self.place(&identity) {
            Place::Ignored(_) => return Standing::Ignored,
            Place::Held(name, reason) => return Standing::Held { name, reason },
            Place::Member(node, class) => (node.name.clone(), node.public_key, class, false),
            Place::Newcomer(name, class, _) => (name, None, class, true),
        };
        // Its own key has been decoded already: a point of the curve takes a while.
        let key = key.and_then(|key| match key == *who.key.as_bytes() {
            true => Some(who.key),
            false => PublicKey::from_bytes(&key),
        });
        let wanted = self.wanted(&class.name, who.arch, who.firmware);
        Standing::Known(Box::new(KnownNode {
            name,
            enrol,
            key,
            keys_are_open: class.key_policy == KeyPolicy::Open,
            wanted,
        }))
    }
}

impl View {
    fn wanted(&self, class: &str, arch: Arch, firmware: Firmware) -> Result<Wanted, String> {
        let missing = || format!("class {class} has no complete list for {arch} with {firmware}");
        let manifest = self
            .served
            .wanted(class, arch, firmware)
            .ok_or_else(missing)?;
        Ok(Wanted {
            manifest: manifest.digest,
            size: u32::try_from(manifest.bytes.len())
                .map_err(|_| "manifest too large".to_owned())?,
        })
    }
}

impl dhcp::Wishes for View {
    fn reservation(&self, mac: Mac) -> Reservation {
        let node = self.snapshot.node_by_mac(mac);
        Reservation {
            ip: node.and_then(|node| node.ip),
            hostname: node.map(|node| node.name.clone()),
        }
    }

    fn reserved_for(&self, ip: Ipv4Addr) -> Option<Mac> {
        self.reserved.get(&ip).copied()
    }

    fn offer(&self, client: &Client) -> Offer {
        let identity = dhcp_identity(client);
        let (class, reason) = match self.place(&identity) {
            Place::Ignored(reason) => return Offer::Ignore { reason },
            Place::Held(_, reason) => return Offer::Hold { reason },
            Place::Member(node, class) => {
                (class, format!("node {} of class {}", node.name, class.name))
            }
            Place::Newcomer(_, class, rule) => (
                class,
                format!("rule {rule} takes it into class {}", class.name),
            ),
        };
        let (Some(arch), Some(firmware)) = (identity.arch, identity.firmware) else {
            return Offer::None { reason };
        };
        match self.served.wanted(&class.name, arch, firmware) {
            Some(encoded) => Offer::Boot {
                uki: encoded.manifest.boot.image.sha256,
                reason,
            },
            None => Offer::Hold {
                reason: format!(
                    "class {} has no complete list for {arch} with {firmware}",
                    class.name
                ),
            },
        }
    }
}
