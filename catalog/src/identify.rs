//! From a snapshot: which node a machine is, or which rule takes it in.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use bootd_protocol::identity::{Arch, Firmware, Mac, SystemUuid};

use crate::keys::PublicKey;
use crate::snapshot::{Node, Rule, Snapshot};

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
    /// SMBIOS product.
    pub product: Option<String>,
    /// SMBIOS manufacturer.
    pub vendor: Option<String>,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match<'a> {
    /// A node of the catalog.
    Node {
        /// The node.
        node: &'a Node,
        /// What it was known by.
        by: KnownBy,
        /// What the machine says that the node's row does not: for the log.
        differs: Vec<String>,
    },
    /// No node; this rule says what to do.
    Rule {
        /// The rule.
        rule: &'a Rule,
        /// The rules before it and why they do not match.
        passed: Vec<Passed<'a>>,
    },
    /// No node, and no rule matches: it is not answered.
    Nobody {
        /// All rules and why they do not match.
        passed: Vec<Passed<'a>>,
    },
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
        Some((node, by)) => Match::Node {
            node,
            by,
            differs: differences(snapshot, node, identity),
        },
        None => match_rule(snapshot, identity),
    }
}

/// The rule for a machine that is no node.
#[must_use]
pub fn match_rule<'a>(snapshot: &'a Snapshot, identity: &Identity) -> Match<'a> {
    let mut passed = Vec::new();
    for rule in &snapshot.rules {
        match mismatch(rule, identity) {
            None => return Match::Rule { rule, passed },
            Some(because) => passed.push(Passed { rule, because }),
        }
    }
    Match::Nobody { passed }
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

fn differences(snapshot: &Snapshot, node: &Node, identity: &Identity) -> Vec<String> {
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

fn differs<T: PartialEq + std::fmt::Display>(
    what: &str,
    row: Option<T>,
    machine: Option<T>,
) -> Option<String> {
    let (row, machine) = row.zip(machine)?;
    (row != machine).then(|| format!("its {what} is {machine}, its row says {row}"))
}

/// Why `rule` does not match: its first column that does not.
fn mismatch(rule: &Rule, identity: &Identity) -> Option<String> {
    let equal = |what, wanted: Option<String>, is: Option<String>| {
        let wanted = wanted?;
        (is.as_ref() != Some(&wanted)).then(|| sentence(what, &wanted, is))
    };
    let like = |what, wanted: &Option<String>, is: &Option<String>| {
        let wanted = wanted.as_ref()?;
        let fits = is.as_ref().is_some_and(|is| matches_pattern(wanted, is));
        (!fits).then(|| sentence(what, wanted, is.clone()))
    };
    let mac = identity.mac.map(|mac| mac.to_string());
    let prefix = rule.mac_prefix.as_ref().and_then(|prefix| {
        let fits = mac.as_ref().is_some_and(|mac| mac.starts_with(prefix));
        (!fits).then(|| sentence("mac_prefix", prefix, mac.clone()))
    });
    let text = |value: Option<&'static str>| value.map(str::to_owned);
    equal(
        "arch",
        text(rule.arch.map(Arch::name)),
        text(identity.arch.map(Arch::name)),
    )
    .or_else(|| {
        equal(
            "firmware",
            text(rule.firmware.map(Firmware::name)),
            text(identity.firmware.map(Firmware::name)),
        )
    })
    .or(prefix)
    .or_else(|| like("product", &rule.product, &identity.product))
    .or_else(|| like("vendor", &rule.vendor, &identity.vendor))
    .or_else(|| equal("network", rule.network.clone(), identity.network.clone()))
    .or_else(|| {
        equal(
            "relay",
            rule.relay.map(|relay| relay.to_string()),
            identity.relay.map(|relay| relay.to_string()),
        )
    })
    .or_else(|| like("circuit", &rule.circuit, &identity.circuit))
    .or_else(|| like("remote", &rule.remote, &identity.remote))
    .or_else(|| like("vendor_class", &rule.vendor_class, &identity.vendor_class))
}

/// Bytes that a relay, a switch or a client's program chose, as rules and people write them: as
/// they are if all are printable ASCII, else as hexadecimal digits after `0x`.
#[must_use]
pub fn location_text(bytes: &[u8]) -> String {
    let printable = |byte: &u8| matches!(byte, b' '..=b'~');
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(printable) => text.to_owned(),
        Ok(_) | Err(_) => {
            let mut text = String::with_capacity(2 + 2 * bytes.len());
            text.push_str("0x");
            for byte in bytes {
                // Writing into a String does not fail.
                let _ = write!(text, "{byte:02x}");
            }
            text
        }
    }
}

fn sentence(what: &str, wanted: &str, is: Option<String>) -> String {
    match is {
        Some(is) => format!("{what} should be {wanted}, the machine has {is}"),
        None => format!("{what} should be {wanted}, the machine does not say"),
    }
}

/// Whether `text` fits `pattern`, in which `*` stands for any text. Linear in both: no pattern
/// that an operator writes can stall a packet.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
