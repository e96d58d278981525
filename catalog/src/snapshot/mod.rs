//! The whole catalog in memory: immutable, without SQLite, what bootd decides from.

mod list;
mod network;
mod option;
mod orders;
mod package;
pub(crate) mod read;
mod words;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

pub use bootd_protocol::boot_choice::{BootBy, UefiLoader};
pub use bootd_protocol::dhcp::server::{Bootp, DhcpOption, Mode};
use bootd_protocol::identity::{Arch, Firmware, Mac, SystemUuid};
use bootd_protocol::manifest::{Boot, PackageRef, Policy};

pub use list::{Apart, Features, Listed, NodePackage};
pub use orders::{Covered, Install, Preparation, Reset, Test};
pub use package::{Api, Library, Module, ModuleType, Package, RelationKind, Relations, Side};
pub use words::{Unknown, Word};

use crate::keys::PublicKey;

/// The catalog as it was after one commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Grows with every edit.
    pub generation: u64,
    /// Sorted by name.
    pub networks: Vec<Network>,
    /// By name.
    pub classes: BTreeMap<String, Class>,
    /// All builds of each version of each package that is there.
    pub packages: BTreeMap<PackageRef, Vec<Package>>,
    /// In the order in which they are tried.
    pub rules: Vec<Rule>,
    /// Sorted by name.
    pub nodes: Vec<Node>,
    /// By number.
    pub preparations: Vec<Preparation>,
    /// By number.
    pub tests: Vec<Test>,
    /// What makes no sense in single rows. Unless a problem says otherwise, its row is left out.
    pub problems: Vec<Problem>,
    pub(crate) by_mac: HashMap<Mac, usize>,
    pub(crate) by_uuid: HashMap<SystemUuid, usize>,
    pub(crate) by_key: HashMap<PublicKey, usize>,
    /// First addresses, ascending: no two networks overlap.
    pub(crate) by_subnet: Vec<(Ipv4Addr, usize)>,
}

/// A network that bootd answers on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub subnet: Subnet,
    /// First and last address for nodes without a reservation; both inside the subnet.
    pub pool: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Default router, inside the subnet.
    pub router: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// How long a lease lasts.
    pub lease: Duration,
    /// The address bootd gives as its own, if not that of the interface.
    pub server: Option<Ipv4Addr>,
    /// What bootd does here.
    pub mode: Mode,
    /// Who is answered that speaks BOOTP without DHCP.
    pub bootp: Bootp,
    /// Before an address is offered for the first time, the network is asked whether somebody
    /// uses it.
    pub probe: bool,
    /// How boot images are loaded; `None`: as the firmware asks.
    pub boot_by: Option<BootBy>,
    /// The iPXE that UEFI machines load first; `None`: they load the boot image itself.
    pub uefi_loader: Option<UefiLoader>,
    /// What happens to machines that are no node and that no rule takes in.
    pub unknown: Unknown,
    /// Sorted by code.
    pub options: Vec<DhcpOption>,
}

/// An IPv4 network in CIDR notation (RFC 4632, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    /// The network's own address: all host bits are 0.
    pub address: Ipv4Addr,
    /// Number of network bits, 1 to 30.
    pub prefix: u8,
}

impl Subnet {
    /// The network mask.
    #[must_use]
    pub fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::MAX << (32 - u32::from(self.prefix)))
    }

    /// The broadcast address.
    #[must_use]
    pub fn broadcast(&self) -> Ipv4Addr {
        self.address | !self.mask()
    }

    /// Whether `address` is one of this network's, its own and the broadcast address included.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address & self.mask() == self.address
    }

    /// Whether a machine can have `address` here.
    #[must_use]
    pub fn is_host(&self, address: Ipv4Addr) -> bool {
        self.contains(address) && address != self.address && address != self.broadcast()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Nodes that share one software configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// How a node's key is bound.
    pub key_policy: KeyPolicy,
    /// What its nodes do when things are not as usual.
    pub policy: Policy,
    /// By position; those without one come last.
    pub packages: Vec<Listed>,
    /// What its nodes ask for.
    pub features: Features,
    /// One boot image for each architecture.
    pub images: BTreeMap<Arch, Boot>,
    /// How long its nodes' leases last; `None`: as their network says.
    pub lease: Option<Duration>,
    /// How its nodes load their boot image; `None`: as their network says.
    pub boot_by: Option<BootBy>,
    /// Sorted by code. They win over the network's.
    pub options: Vec<DhcpOption>,
    /// Where its nodes install.
    pub install: Install,
    /// How an absent node of it is reset, if it can be.
    pub reset: Option<Reset>,
}

/// How a node's key is bound at first contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPolicy {
    /// At once.
    Open,
    /// After the operator approved it.
    Approval,
}

/// What happens to machines that are no nodes yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Lower is tried first.
    pub priority: i64,
    /// Processor architecture.
    pub arch: Option<Arch>,
    /// Firmware.
    pub firmware: Option<Firmware>,
    /// Beginning of the MAC address in its text form.
    pub mac_prefix: Option<String>,
    /// SMBIOS product, `*` stands for any text.
    pub product: Option<String>,
    /// SMBIOS manufacturer, `*` stands for any text.
    pub vendor: Option<String>,
    /// The network that it asks from, by name.
    pub network: Option<String>,
    /// The relay that passes its packets on.
    pub relay: Option<Ipv4Addr>,
    /// Circuit id of option 82, as [`crate::identify::location_text`] writes it; `*` stands for
    /// any text.
    pub circuit: Option<String>,
    /// Remote id of option 82, likewise.
    pub remote: Option<String>,
    /// DHCP vendor class (option 60), likewise.
    pub vendor_class: Option<String>,
    /// SMBIOS serial number, `*` stands for any text.
    pub serial: Option<String>,
    /// Serial number of its chassis, likewise.
    pub chassis: Option<String>,
    /// Where in its chassis it sits, likewise.
    pub slot: Option<String>,
    /// What to do.
    pub action: Action,
    /// Names of new nodes begin so.
    pub node_prefix: String,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make it a node of this class.
    Enrol {
        /// The class.
        class: String,
    },
    /// Make it a node of this class that waits.
    Hold {
        /// The class.
        class: String,
    },
    /// Do not answer.
    Ignore,
}

/// A machine that the catalog knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its network card.
    pub mac: Option<Mac>,
    /// Its SMBIOS UUID.
    pub uuid: Option<SystemUuid>,
    /// Processor architecture, if the operator or the first contact set it.
    pub arch: Option<Arch>,
    /// Firmware, likewise.
    pub firmware: Option<Firmware>,
    /// The class whose software it runs.
    pub class: String,
    /// The key bound to it.
    pub public_key: Option<PublicKey>,
    /// Reserved address.
    pub ip: Option<Ipv4Addr>,
    /// It waits and runs nothing.
    pub hold: bool,
    /// How it loads its boot image; `None`: as its class says.
    pub boot_by: Option<BootBy>,
    /// Sorted by code. They win over the class's and the network's.
    pub options: Vec<DhcpOption>,
    /// In what its software differs from its class's; `None`: in nothing.
    pub apart: Option<Box<Apart>>,
}

/// Something in the catalog that makes no sense, in words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// What it is about.
    pub scope: Scope,
    /// What is wrong and what to do.
    pub text: String,
}

/// What a problem is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// This class for this architecture gets no new manifest.
    Class {
        /// The class.
        class: String,
        /// The architecture.
        arch: Arch,
    },
    /// This node for this architecture gets no new manifest.
    Node {
        /// The node.
        node: String,
        /// The architecture.
        arch: Arch,
    },
    /// This row of this table is left out, or is good for less than it says.
    Row {
        /// The table.
        table: &'static str,
        /// The row's name.
        name: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            Scope::Class { class, arch } => write!(f, "class {class} on {arch}: ")?,
            Scope::Node { node, arch } => write!(f, "node {node} on {arch}: ")?,
            Scope::Row { table, name } => write!(f, "{table} {name}: ")?,
        }
        f.write_str(&self.text)
    }
}

impl Snapshot {
    /// The node with this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        let index = self
            .nodes
            .binary_search_by(|node| node.name.as_str().cmp(name))
            .ok()?;
        self.nodes.get(index)
    }

    /// The node with this network card.
    #[must_use]
    pub fn node_by_mac(&self, mac: Mac) -> Option<&Node> {
        self.nodes.get(*self.by_mac.get(&mac)?)
    }

    /// The node with this SMBIOS UUID.
    #[must_use]
    pub fn node_by_uuid(&self, uuid: SystemUuid) -> Option<&Node> {
        self.nodes.get(*self.by_uuid.get(&uuid)?)
    }

    /// The node that this key is bound to.
    #[must_use]
    pub fn node_by_key(&self, key: &PublicKey) -> Option<&Node> {
        self.nodes.get(*self.by_key.get(key)?)
    }

    /// The network that `address` belongs to.
    #[must_use]
    pub fn network_of(&self, address: Ipv4Addr) -> Option<&Network> {
        let after = self
            .by_subnet
            .partition_point(|(first, _)| *first <= address);
        let (_, index) = self.by_subnet.get(after.checked_sub(1)?)?;
        let network = self.networks.get(*index)?;
        network.subnet.contains(address).then_some(network)
    }

    /// The network with this name.
    #[must_use]
    pub fn network(&self, name: &str) -> Option<&Network> {
        let index = self
            .networks
            .binary_search_by(|network| network.name.as_str().cmp(name))
            .ok()?;
        self.networks.get(index)
    }

    /// Sorts networks and nodes and builds the indexes. To be called after both were filled.
    pub fn index(&mut self) {
        self.networks.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let networks = self.networks.iter().enumerate();
        self.by_subnet = networks.map(|(i, n)| (n.subnet.address, i)).collect();
        self.by_subnet.sort_unstable();
        self.nodes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let nodes = || self.nodes.iter().enumerate();
        self.by_mac = nodes().filter_map(|(i, n)| Some((n.mac?, i))).collect();
        self.by_uuid = nodes().filter_map(|(i, n)| Some((n.uuid?, i))).collect();
        self.by_key = nodes()
            .filter_map(|(i, n)| Some((n.public_key?, i)))
            .collect();
    }
}
