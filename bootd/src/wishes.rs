//! The catalog, asked by the protocols: what it says about one machine, given what is known of it
//! elsewhere: where DHCP saw it last, and whether it starts from its own disk.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bootd_protocol::boot_choice::{Client, ClientKind, Offer};
use bootd_protocol::dhcp::server::{self as dhcp, Wish};
use bootd_protocol::identity::{Arch, Firmware, Mac};
use bootd_protocol::smbios::meant;
use bootd_protocol::verify::key::PublicKey;
use bootd_protocol::verify::master::{self as verify, KnownNode, Standing, Wanted};
use bootd_protocol::verify::message;
use catalog::edit::newcomer;
use catalog::identify::{Fit, Identity, Match, candidates, columns, fit, match_node, match_rule};
use catalog::served::Encoded;
use catalog::snapshot::{Action, Class, Install, KeyPolicy, Node, Rule, Snapshot, Unknown};

use crate::desired::View;
use crate::locations::Locations;
use crate::presence::Presence;

/// The view in force, and what else is known of machines.
pub struct Wisher<'a> {
    /// The catalog.
    pub view: &'a View,
    /// How nodes are doing.
    pub presence: &'a Presence,
    /// Where machines were last.
    pub locations: &'a Locations,
}

/// Who sends DHCP, in the catalog's words.
#[must_use]
pub fn dhcp_identity(client: &Client) -> Identity {
    let machine = client.kind.machine();
    Identity {
        mac: Some(client.mac),
        uuid: client.uuid,
        arch: machine.map(|(arch, _)| arch),
        firmware: machine.map(|(_, firmware)| firmware),
        network: client.place.network.as_deref().map(str::to_owned),
        relay: client.place.relay,
        circuit: client.place.circuit.as_deref().map(str::to_owned),
        remote: client.place.remote.as_deref().map(str::to_owned),
        vendor_class: client.vendor_class.clone(),
        ..Identity::default()
    }
}

/// What init says is all that it has to say. That of version 1 says placeholders, too.
fn said(text: &str) -> Option<String> {
    Some(meant(text).to_owned())
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
        product: said(&who.smbios.product),
        vendor: said(&who.smbios.vendor),
        serial: said(&who.smbios.serial),
        chassis: said(&who.smbios.chassis),
        slot: said(&who.smbios.slot),
        ..Identity::default()
    }
}

/// Who speaks the verify protocol, and where DHCP saw it last: what rules go by.
#[must_use]
pub fn located(who: &message::Identity, locations: &Locations) -> Identity {
    let mut identity = verify_identity(who);
    if let Some(heard) = locations.of(who.mac) {
        identity.network = heard.place.network.as_deref().map(str::to_owned);
        identity.relay = heard.place.relay;
        identity.circuit = heard.place.circuit.as_deref().map(str::to_owned);
        identity.remote = heard.place.remote.as_deref().map(str::to_owned);
        identity.vendor_class = heard.vendor_class.as_deref().map(str::to_owned);
    }
    identity
}

/// The class of a machine, and how it comes to it.
enum Place<'a> {
    Member(&'a Node, &'a Class),
    /// A rule takes it in.
    Newcomer(&'a Rule, &'a Class),
    /// A rule takes it in, to hold it.
    HeldNewcomer(&'a Rule),
    /// This is the first rule that may take it in, once its init has said what it is.
    Perhaps(&'a Rule),
    Held(Option<&'a Node>, String),
    Ignored(&'a Rule),
    /// No rule takes it in.
    Stranger,
}

impl View {
    fn place(&self, identity: &Identity) -> Place<'_> {
        let class = |name: &str| self.snapshot.classes.get(name);
        match match_node(&self.snapshot, identity) {
            Match::Node { node, .. } => match class(&node.class) {
                _ if node.hold => {
                    let reason = format!("node {0} is held: catalog approve {0}", node.name);
                    Place::Held(Some(node), reason)
                }
                Some(class) if class.install == Install::Hold => {
                    let reason = format!("class {} holds its nodes: install = 'hold'", class.name);
                    Place::Held(Some(node), reason)
                }
                Some(class) => Place::Member(node, class),
                None => {
                    let reason = format!("node {} is of no class that exists", node.name);
                    Place::Held(Some(node), reason)
                }
            },
            Match::Rule { rule, .. } => match &rule.action {
                Action::Enrol { class: name } => match class(name) {
                    Some(class) => Place::Newcomer(rule, class),
                    None => {
                        let reason = format!("rule {} names no class that exists", rule.name);
                        Place::Held(None, reason)
                    }
                },
                Action::Hold { .. } => Place::HeldNewcomer(rule),
                Action::Ignore => Place::Ignored(rule),
            },
            Match::Perhaps { rule } => Place::Perhaps(rule),
            Match::Nobody => Place::Stranger,
        }
    }

    /// In words: why a node gets what its class has.
    fn node_reason(&self, node: &Node) -> Arc<str> {
        let known = self.reasons.classes.get(&node.class);
        known.map_or_else(|| "".into(), Arc::clone)
    }

    fn rule_reason(&self, rule: &Rule) -> Arc<str> {
        let known = self.reasons.rules.get(&rule.name);
        known.map_or_else(|| "".into(), Arc::clone)
    }
}

/// A manifest, as the verify protocol speaks of it.
pub(crate) fn described(encoded: &Encoded) -> Option<Wanted> {
    Some(Wanted {
        manifest: encoded.digest,
        size: u32::try_from(encoded.bytes.len()).ok()?,
        in_ram: false,
    })
}

/// A key of the catalog. That of who speaks has been decoded already: a point of the curve takes a
/// while.
fn known_key(key: &[u8; PublicKey::LEN], who: &message::Identity) -> Option<PublicKey> {
    match key == who.key.as_bytes() {
        true => Some(who.key),
        false => PublicKey::from_bytes(key),
    }
}

impl verify::Wishes for Wisher<'_> {
    fn standing(&self, who: &message::Identity) -> Standing {
        let identity = located(who, self.locations);
        let (name, key, class, enrol) = match self.view.place(&identity) {
            Place::Ignored(_) | Place::Stranger | Place::Perhaps(_) => {
                let reason = unwanted(&self.view.snapshot, &identity);
                return Standing::Ignored { reason };
            }
            Place::HeldNewcomer(rule) => {
                return Standing::Held {
                    name: None,
                    key: None,
                    enrol: true,
                    reason: holds(rule),
                };
            }
            Place::Held(node, reason) => {
                let name = node.map(|node| node.name.clone());
                let key = node.and_then(|node| node.public_key);
                let key = key.and_then(|key| known_key(&key, who)).map(Box::new);
                return Standing::Held {
                    name,
                    key,
                    enrol: false,
                    reason,
                };
            }
            Place::Member(node, class) => (node.name.clone(), node.public_key, class, false),
            Place::Newcomer(rule, class) => (self.newcomer(rule, &identity), None, class, true),
        };
        let key = key.and_then(|key| known_key(&key, who));
        let row = (!enrol).then_some(name.as_str());
        let wanted = self.view.wanted(class, row, who.arch, who.firmware);
        let wanted = wanted.map(|wanted| Wanted {
            in_ram: class.install == Install::Test,
            ..wanted
        });
        Standing::Known(Box::new(KnownNode {
            name,
            enrol,
            key,
            keys_are_open: class.key_policy == KeyPolicy::Open,
            wanted,
        }))
    }
}

impl Wisher<'_> {
    /// The name that a newcomer gets, unless one that comes at the same time has it before.
    fn newcomer(&self, rule: &Rule, identity: &Identity) -> String {
        let mac = identity.mac.unwrap_or(Mac([0; 6]));
        let is_taken = |name: &str| Ok::<_, Infallible>(self.view.snapshot.node(name).is_some());
        let Ok(name) = newcomer(&rule.node_prefix, mac, is_taken);
        name
    }
}

impl View {
    fn wanted(
        &self,
        class: &Class,
        node: Option<&str>,
        arch: Arch,
        firmware: Firmware,
    ) -> Result<Wanted, String> {
        let missing = || no_list(&class.name, node, arch, firmware);
        let manifest = self
            .served
            .wanted(&class.name, node, arch, firmware)
            .ok_or_else(missing)?;
        described(manifest).ok_or_else(|| "manifest too large".to_owned())
    }

    /// Whether strangers get an address on this network.
    fn serves_strangers(&self, network: Option<&str>) -> bool {
        let named = |it: &&catalog::snapshot::Network| Some(it.name.as_str()) == network;
        let network = self.snapshot.networks.iter().find(named);
        network.is_none_or(|network| network.unknown == Unknown::Serve)
    }

    fn boot(
        &self,
        class: &Class,
        node: Option<&str>,
        machine: Option<(Arch, Firmware)>,
        reason: Arc<str>,
    ) -> Offer {
        let Some((arch, firmware)) = machine else {
            return Offer::None { reason };
        };
        match self.served.wanted(&class.name, node, arch, firmware) {
            Some(encoded) => Offer::Boot {
                uki: encoded.head.boot.image.sha256,
                reason,
            },
            None => Offer::Hold {
                reason: no_list(&class.name, node, arch, firmware).into(),
            },
        }
    }
}

fn no_list(class: &str, node: Option<&str>, arch: Arch, firmware: Firmware) -> String {
    let node = node.map_or_else(String::new, |it| format!("node {it} of "));
    format!("{node}class {class} has no complete list for {arch} with {firmware}")
}

/// What a node is whose U-Boot does not say.
fn as_its_row_says(node: &Node, kind: ClientKind) -> Option<(Arch, Firmware)> {
    match kind {
        ClientKind::UBoot(None) => Some((node.arch?, node.firmware.unwrap_or(Firmware::Uefi))),
        ClientKind::BiosRom
        | ClientKind::UefiPxe(_)
        | ClientKind::UefiHttp(_)
        | ClientKind::Ipxe { .. }
        | ClientKind::UBoot(Some(_))
        | ClientKind::Init { .. }
        | ClientKind::Unsupported(_)
        | ClientKind::Plain => None,
    }
}

impl Wisher<'_> {
    /// What a node is to boot: its own disk, where that has been seen to work. Whoever takes a node's
    /// key away, because its disk was replaced, takes away that, too.
    fn node_offer(&self, node: &Node, class: &Class, kind: ClientKind) -> Offer {
        let reason = self.view.node_reason(node);
        let machine = kind.machine().or_else(|| as_its_row_says(node, kind));
        if let Some((arch, firmware)) = machine
            && node.public_key.is_some()
            && self.presence.starts_from_disk(&node.name)
        {
            let name = Some(node.name.as_str());
            let wanted = self.view.served.wanted(&class.name, name, arch, firmware);
            let loader = wanted.filter(|_| firmware == Firmware::Uefi);
            return Offer::Local {
                loader: loader.map(|it| it.head.boot.loader.efi.sha256),
                reason,
            };
        }
        self.view.boot(class, Some(&node.name), machine, reason)
    }
}

impl Wisher<'_> {
    /// What a machine boots to say what it is: what the first rule that may take it in has for it.
    /// Its init is the same whatever the class.
    fn perhaps(&self, first: &Rule, identity: &Identity, kind: ClientKind) -> Wish<'_> {
        let machine = kind.machine();
        let class = |rule: &Rule| match &rule.action {
            Action::Enrol { class } | Action::Hold { class } => {
                self.view.snapshot.classes.get(class)
            }
            Action::Ignore => None,
        };
        let has_image = |class: &&Class| {
            let (arch, firmware) = machine?;
            self.view.served.wanted(&class.name, None, arch, firmware)
        };
        let rules = candidates(&self.view.snapshot, identity).map(|(rule, _)| rule);
        let bootable = rules.filter_map(class).find(|it| has_image(it).is_some());
        let Some(class) = bootable.or_else(|| class(first)) else {
            let reason = format!("rule {} names no class that exists", first.name);
            let reason = reason.into();
            return of_node(None, None, Offer::Hold { reason });
        };
        let reason = self.view.reasons.perhaps.get(&first.name);
        let reason = reason.map_or_else(|| "".into(), Arc::clone);
        let offer = self.view.boot(class, None, machine, reason);
        of_node(None, Some(class), offer)
    }
}

fn holds(rule: &Rule) -> String {
    format!("rule {} holds new machines", rule.name)
}

fn ignores(rule: &Rule) -> String {
    format!("rule {} ignores it", rule.name)
}

/// So many rules are named that do not take in a machine.
const MAX_NAMED: usize = 3;

/// In words: why a machine whose init has spoken gets no answer. Rules that could have fitted before
/// it spoke are those that an operator asks about.
fn unwanted(snapshot: &Snapshot, identity: &Identity) -> String {
    if let Match::Rule { rule } = match_rule(snapshot, identity) {
        return ignores(rule);
    }
    let before = Identity {
        product: None,
        vendor: None,
        serial: None,
        chassis: None,
        slot: None,
        ..identity.clone()
    };
    let mut text = "no rule takes it in".to_owned();
    let could = |rule: &&Rule| fit(rule, &before) == Fit::Perhaps;
    for rule in snapshot.rules.iter().filter(could).take(MAX_NAMED) {
        let column = columns(rule, identity).find(|it| it.fit() == Fit::No);
        text += &column.map_or_else(String::new, |it| format!("; rule {}: {it}", rule.name));
    }
    text
}

impl dhcp::Wishes for Wisher<'_> {
    fn wish(&self, client: &Client) -> Wish<'_> {
        let identity = dhcp_identity(client);
        match self.view.place(&identity) {
            Place::Ignored(rule) => {
                let reason = ignores(rule).into();
                Wish::offer_only(Offer::Ignore { reason })
            }
            // Others than those that boot never come to say what they are.
            Place::Perhaps(first) if client.kind.boots() => {
                self.perhaps(first, &identity, client.kind)
            }
            Place::HeldNewcomer(rule) => {
                let reason = holds(rule).into();
                of_node(None, None, Offer::Hold { reason })
            }
            Place::Stranger | Place::Perhaps(_) => {
                let reason = Arc::clone(&self.view.reasons.stranger);
                let offer = match self.view.serves_strangers(client.place.network.as_deref()) {
                    true => Offer::None { reason },
                    false => Offer::Ignore { reason },
                };
                Wish::offer_only(offer)
            }
            Place::Held(node, reason) => {
                let reason = reason.into();
                of_node(node, None, Offer::Hold { reason })
            }
            Place::Newcomer(rule, class) => {
                let reason = self.view.rule_reason(rule);
                let offer = self.view.boot(class, None, client.kind.machine(), reason);
                of_node(None, Some(class), offer)
            }
            Place::Member(node, class) => {
                let offer = self.node_offer(node, class, client.kind);
                of_node(Some(node), Some(class), offer)
            }
        }
    }

    fn reserved_for(&self, ip: Ipv4Addr) -> Option<Mac> {
        self.view.reserved.get(&ip).copied()
    }
}

fn of_node<'a>(node: Option<&'a Node>, class: Option<&'a Class>, offer: Offer) -> Wish<'a> {
    let lease = class.and_then(|class| class.lease);
    Wish {
        known: node.is_some(),
        ip: node.and_then(|node| node.ip),
        hostname: node.map(|node| node.name.as_str()),
        offer,
        boot_by: node
            .and_then(|node| node.boot_by)
            .or_else(|| class.and_then(|class| class.boot_by)),
        lease_seconds: lease.map(|it| u32::try_from(it.as_secs()).unwrap_or(u32::MAX)),
        options: [
            node.map_or(&[], |node| &node.options),
            class.map_or(&[], |class| &class.options),
        ],
    }
}

#[cfg(test)]
mod tests;
