//! From a snapshot: which node a machine is, or which rule takes it in.
//!
//! [`match_node`] and [`match_rule`] run for every DHCP packet: they look up and compare, and
//! allocate nothing. [`passed`], [`differences`] and [`columns`] put into words what they did, for
//! people.
//!
//! What SMBIOS says is told by a machine's init alone, not by DHCP. Until it has spoken, rules that
//! ask for that are a perhaps, and so is every rule after them: [`Match::Perhaps`].

mod columns;

use std::net::Ipv4Addr;

use bootd_protocol::identity::{Arch, Firmware, Mac, SystemUuid};

pub use columns::{Column, Fit, columns, fit};

pub use bootd_protocol::dhcp::packet::location_text;

use crate::keys::PublicKey;
use crate::snapshot::{Action, Node, Rule, Snapshot};

/// What is known of a machine that asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its key, when it has proven that it holds it.
    pub key: Option<PublicKey>,
    /// Its network card.
    pub mac: Option<Mac>,
    /// Its SMBIOS UUID.
    pub uuid: Option<SystemUuid>,
    /// Processor architecture.
    pub arch: Option<Arch>,
    /// Firmware.
    pub firmware: Option<Firmware>,
    /// SMBIOS product. As all that SMBIOS says: `None` until init has told it, empty where the
    /// board says none.
    pub product: Option<String>,
    /// SMBIOS manufacturer.
    pub vendor: Option<String>,
    /// SMBIOS serial number.
    pub serial: Option<String>,
    /// Serial number of its chassis.
    pub chassis: Option<String>,
    /// Where in its chassis it sits.
    pub slot: Option<String>,
    /// The network that it asks from, by name.
    pub network: Option<String>,
    /// The relay that passed its packet on.
    pub relay: Option<Ipv4Addr>,
    /// Agent circuit id (RFC 3046, section 3.1), as [`location_text`] writes it.
    pub circuit: Option<String>,
    /// Agent remote id (RFC 3046, section 3.2), as [`location_text`] writes it.
    pub remote: Option<String>,
    /// DHCP vendor class (RFC 2132, section 9.13), as [`location_text`] writes it.
    pub vendor_class: Option<String>,
}

/// Who a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match<'a> {
    /// A node of the catalog.
    Node {
        /// The node.
        node: &'a Node,
        /// What it was known by.
        by: KnownBy,
    },
    /// No node; this rule says what to do.
    Rule {
        /// The rule.
        rule: &'a Rule,
    },
    /// No node, and what becomes of it depends on what its init tells. It is no node until then.
    Perhaps {
        /// The first rule that may take it in.
        rule: &'a Rule,
    },
    /// No node, and no rule matches.
    Nobody,
}

/// What a node was known by, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownBy {
    /// Its key.
    Key,
    /// Its network card.
    Mac,
    /// Its SMBIOS UUID: the card is another one.
    Uuid,
}

/// A rule that does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// The first column that does not match, in words.
    pub because: String,
}

/// Who is the machine? Its key decides, then its MAC address, then its UUID, then the rules.
#[must_use]
pub fn match_node<'a>(snapshot: &'a Snapshot, identity: &Identity) -> Match<'a> {
    match known(snapshot, identity) {
        Some((node, by)) => Match::Node { node, by },
        None => match_rule(snapshot, identity),
    }
}

/// The rule for a machine that is no node.
#[must_use]
pub fn match_rule<'a>(snapshot: &'a Snapshot, identity: &Identity) -> Match<'a> {
    let mut is_open = false;
    for (rule, fit) in candidates(snapshot, identity) {
        let ignores = rule.action == Action::Ignore;
        // If one before it may ignore the machine as well, that makes no difference.
        if fit == Fit::Yes && (!is_open || ignores) {
            return Match::Rule { rule };
        }
        if !ignores {
            return Match::Perhaps { rule };
        }
        is_open = true;
    }
    Match::Nobody
}

/// The rules that fit or may fit, in their order, up to the first that fits whatever init tells:
/// one of them decides.
pub fn candidates<'a>(
    snapshot: &'a Snapshot,
    identity: &Identity,
) -> impl Iterator<Item = (&'a Rule, Fit)> {
    let mut is_decided = false;
    snapshot
        .rules
        .iter()
        .map_while(move |rule| {
            let fit = (!is_decided).then(|| fit(rule, identity))?;
            is_decided = fit == Fit::Yes;
            Some((rule, fit))
        })
        .filter(|(_, fit)| *fit != Fit::No)
}

/// The rules that were tried before one matched, or all if none does, and why they do not match.
/// Those that may match are not among them.
#[must_use]
pub fn passed<'a>(snapshot: &'a Snapshot, identity: &Identity) -> Vec<Passed<'a>> {
    let decided = |rule: &&Rule| fit(rule, identity) == Fit::Yes;
    let because = |rule| {
        let column = columns(rule, identity).find(|column| column.fit() == Fit::No)?;
        Some(Passed {
            rule,
            because: column.to_string(),
        })
    };
    let tried = snapshot.rules.iter().take_while(|rule| !decided(rule));
    tried.filter_map(because).collect()
}

/// What a machine says of itself that its node's row does not: one sentence each.
#[must_use]
pub fn differences(snapshot: &Snapshot, node: &Node, identity: &Identity) -> Vec<String> {
    let other = identity
        .uuid
        .and_then(|uuid| snapshot.node_by_uuid(uuid))
        .filter(|other| other.name != node.name)
        .map(|other| format!("its uuid is that of node {}", other.name));
    [
        differs("mac", node.mac, identity.mac),
        differs("uuid", node.uuid, identity.uuid),
        differs("arch", node.arch, identity.arch),
        differs("firmware", node.firmware, identity.firmware),
        other,
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn known<'a>(snapshot: &'a Snapshot, identity: &Identity) -> Option<(&'a Node, KnownBy)> {
    let key = identity.key.as_ref();
    let by_key = key.and_then(|key| snapshot.node_by_key(key));
    let by_mac = || snapshot.node_by_mac(identity.mac?);
    let by_uuid = || {
        let uuid = identity.uuid.filter(SystemUuid::is_usable)?;
        snapshot.node_by_uuid(uuid)
    };
    by_key
        .map(|node| (node, KnownBy::Key))
        .or_else(|| by_mac().map(|node| (node, KnownBy::Mac)))
        .or_else(|| by_uuid().map(|node| (node, KnownBy::Uuid)))
}

fn differs<T: PartialEq + std::fmt::Display>(
    what: &str,
    row: Option<T>,
    machine: Option<T>,
) -> Option<String> {
    let (row, machine) = row.zip(machine)?;
    (row != machine).then(|| format!("its {what} is {machine}, its row says {row}"))
}
