//! The networks a server serves, and what makes one impossible.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::DhcpOption;
use crate::boot_choice::BootPolicy;
use crate::dhcp::INFINITE_SECONDS;

/// What bootd is on a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Its DHCP server.
    #[default]
    Full,
    /// The boot server beside another DHCP server: it gives boot files, no addresses
    /// (PXE 2.1, section 2.2.3).
    Proxy,
    /// Nothing.
    Off,
}

/// Whom plain BOOTP gets an address on a network (RFC 951; RFC 1534).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bootp {
    /// Nobody.
    Off,
    /// Clients with a reserved address.
    #[default]
    Reserved,
    /// Everybody, and for ever: a BOOTP client does not renew.
    Dynamic,
}

/// A network, on a link of ours or behind a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its name in the catalog.
    pub name: Arc<str>,
    /// Its own address.
    pub subnet: Ipv4Addr,
    /// Length of its prefix: 8 to 30.
    pub prefix_len: u8,
    /// The address that we go by there (option 54, next-server); `None` is the one that the
    /// question came to.
    pub server: Option<Ipv4Addr>,
    /// First and last address of the pool; without it, reserved addresses are all there is.
    pub pool: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Default router, if there is one.
    pub router: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Seconds of a lease: 60 or more; [`INFINITE_SECONDS`] is for ever.
    pub lease_seconds: u32,
    /// What we are there.
    pub mode: Mode,
    /// Whom plain BOOTP gets an address.
    pub bootp: Bootp,
    /// Whether the network is asked for an address before it is first offered
    /// (RFC 2131, section 3.1, step 2).
    pub probe: bool,
    /// How machines load there, unless class or node say otherwise.
    pub boot: BootPolicy,
    /// Options of all its clients.
    pub options: Vec<DhcpOption>,
}

/// Why a network cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Not 8 to 30.
    #[error("network {name}: prefix length {prefix_len} is not between 8 and 30")]
    PrefixLength {
        /// The network.
        name: Arc<str>,
        /// Its prefix length.
        prefix_len: u8,
    },
    /// An address that no host of this network can have.
    #[error("network {name}: {what} {address} is no host address in {subnet}/{prefix_len}")]
    Outside {
        /// The network.
        name: Arc<str>,
        /// Which address.
        what: &'static str,
        /// The address.
        address: Ipv4Addr,
        /// The network's own address.
        subnet: Ipv4Addr,
        /// Its prefix length.
        prefix_len: u8,
    },
    /// The pool ends before it begins.
    #[error("network {name}: the pool ends at {last}, before it begins at {first}")]
    EmptyPool {
        /// The network.
        name: Arc<str>,
        /// Its first address.
        first: Ipv4Addr,
        /// Its last address.
        last: Ipv4Addr,
    },
    /// Shorter than a client can sensibly renew.
    #[error("network {name}: a lease of {seconds} seconds is below 60")]
    LeaseTime {
        /// The network.
        name: Arc<str>,
        /// The lease time.
        seconds: u32,
    },
    /// Two networks hold the same addresses.
    #[error("networks {0} and {1} overlap")]
    Overlap(Arc<str>, Arc<str>),
}

impl Network {
    /// The network mask (option 1).
    #[must_use]
    pub fn mask(&self) -> Ipv4Addr {
        let host_bits = 32 - u32::from(self.prefix_len.min(32));
        Ipv4Addr::from_bits(u32::MAX.checked_shl(host_bits).unwrap_or(0))
    }

    /// Whether `address` is of this network.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address & self.mask() == self.subnet
    }

    /// Whether a host of this network can have `address`.
    #[must_use]
    pub fn has_host(&self, address: Ipv4Addr) -> bool {
        let broadcast = self.subnet | !self.mask();
        self.contains(address) && address != self.subnet && address != broadcast
    }

    /// Whether the pool has `address`; our own and the router's are never in it.
    #[must_use]
    pub fn pool_has(&self, address: Ipv4Addr) -> bool {
        let infrastructure = Some(address) == self.server || Some(address) == self.router;
        !infrastructure && self.range().is_some_and(|it| it.contains(&address))
    }

    pub(super) fn range(&self) -> Option<RangeInclusive<Ipv4Addr>> {
        self.pool.map(|(first, last)| first..=last)
    }

    /// Addresses from the first to the last of the pool.
    pub(super) fn pool_size(&self) -> u32 {
        self.pool
            .map_or(0, |(first, last)| last.to_bits() - first.to_bits() + 1)
    }

    /// Every address from the first to the last of the pool, once, from a place that `seed`
    /// picks.
    pub(super) fn pool_from(&self, seed: u32) -> impl Iterator<Item = Ipv4Addr> + use<> {
        self.pool.into_iter().flat_map(move |(first, last)| {
            let (first, last) = (first.to_bits(), last.to_bits());
            // No overflow: `check` keeps pools within a prefix of 8 bits or more.
            let start = first + seed % (last - first + 1);
            (start..=last).chain(first..start).map(Ipv4Addr::from_bits)
        })
    }

    /// Whether it can be served.
    ///
    /// # Errors
    /// In words: why not.
    pub fn check(&self) -> Result<(), NetworkError> {
        let name = || Arc::clone(&self.name);
        if !(8..=30).contains(&self.prefix_len) {
            return Err(NetworkError::PrefixLength {
                name: name(),
                prefix_len: self.prefix_len,
            });
        }
        let hosts = [
            ("first pool address", self.pool.map(|it| it.0)),
            ("last pool address", self.pool.map(|it| it.1)),
            ("router", self.router),
        ];
        for (what, address) in hosts {
            let outside = address.filter(|it| !self.has_host(*it));
            if let Some(address) = outside {
                return Err(NetworkError::Outside {
                    name: name(),
                    what,
                    address,
                    subnet: self.subnet,
                    prefix_len: self.prefix_len,
                });
            }
        }
        if let Some((first, last)) = self.pool.filter(|(first, last)| last < first) {
            return Err(NetworkError::EmptyPool {
                name: name(),
                first,
                last,
            });
        }
        let seconds = self.lease_seconds;
        if seconds < 60 {
            return Err(NetworkError::LeaseTime {
                name: name(),
                seconds,
            });
        }
        Ok(())
    }
}

/// How long a lease of so many seconds runs; [`Duration::MAX`] is for ever.
pub(super) fn lease_time(seconds: u32) -> Duration {
    match seconds {
        INFINITE_SECONDS => Duration::MAX,
        seconds => Duration::from_secs(seconds.into()),
    }
}

/// The networks, by address.
#[derive(Debug, Clone, Default)]
pub(super) struct Networks(Vec<Arc<Network>>);

impl Networks {
    /// Takes those that can be served; says why the others cannot.
    pub(super) fn new(networks: Vec<Network>) -> (Self, Vec<NetworkError>) {
        let (mut taken, mut errors) = (Vec::<Arc<Network>>::new(), Vec::new());
        for network in networks {
            let clash = taken.iter().find(|other| {
                let mask = network.mask().min(other.mask());
                other.subnet & mask == network.subnet & mask
            });
            match (network.check(), clash) {
                (Err(error), _) => errors.push(error),
                (Ok(()), Some(other)) => {
                    let pair = (Arc::clone(&other.name), Arc::clone(&network.name));
                    errors.push(NetworkError::Overlap(pair.0, pair.1));
                }
                (Ok(()), None) => taken.push(Arc::new(network)),
            }
        }
        taken.sort_by_key(|it| it.subnet);
        (Networks(taken), errors)
    }

    /// The network that `address` is of.
    pub(super) fn of(&self, address: Ipv4Addr) -> Option<&Arc<Network>> {
        let after = self.0.partition_point(|it| it.subnet <= address);
        let network = self.0.get(after.checked_sub(1)?)?;
        network.contains(address).then_some(network)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Network>> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str) -> Network {
        Network {
            name: name.into(),
            subnet: Ipv4Addr::new(10, 1, 0, 0),
            prefix_len: 24,
            server: None,
            pool: Some((Ipv4Addr::new(10, 1, 0, 100), Ipv4Addr::new(10, 1, 0, 102))),
            router: None,
            dns: vec![],
            lease_seconds: 3600,
            mode: Mode::Full,
            bootp: Bootp::Reserved,
            probe: false,
            boot: BootPolicy::default(),
            options: vec![],
        }
    }

    #[test]
    fn pool_is_walked_once_from_anywhere() {
        for (seed, expected) in [(0, [100, 101, 102]), (4, [101, 102, 100])] {
            let pool = network("a").pool_from(seed);
            let walked: Vec<u8> = pool.map(|it| it.octets()[3]).collect();
            assert_eq!(walked, expected);
        }
    }

    #[test]
    fn what_cannot_be_served_is_left_out_and_told() {
        type Edit = fn(&mut Network);
        let cases: [(Edit, &str); 6] = [
            (
                |it| it.prefix_len = 31,
                "network b: prefix length 31 is not between 8 and 30",
            ),
            (
                |it| {
                    it.pool = it
                        .pool
                        .map(|(first, _)| (first, Ipv4Addr::new(10, 1, 0, 255)))
                },
                "network b: last pool address 10.1.0.255 is no host address in 10.1.0.0/24",
            ),
            (
                |it| it.router = Some(Ipv4Addr::new(10, 2, 0, 1)),
                "network b: router 10.2.0.1 is no host address in 10.1.0.0/24",
            ),
            (
                |it| it.pool = it.pool.map(|(first, last)| (last, first)),
                "network b: the pool ends at 10.1.0.100, before it begins at 10.1.0.102",
            ),
            (
                |it| it.lease_seconds = 59,
                "network b: a lease of 59 seconds is below 60",
            ),
            (|_| {}, "networks a and b overlap"),
        ];
        for (edit, expected) in cases {
            let mut edited = network("b");
            edit(&mut edited);
            let (taken, errors) = Networks::new(vec![network("a"), edited]);
            let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(words, [expected]);
            assert_eq!(taken.iter().count(), 1);
        }
    }

    #[test]
    fn an_address_finds_its_network() {
        let far = Network {
            subnet: Ipv4Addr::new(10, 9, 0, 0),
            pool: None,
            ..network("far")
        };
        let (networks, errors) = Networks::new(vec![far, network("near")]);
        assert_eq!(errors, []);
        for (address, expected) in [
            ([10, 0, 255, 255], None),
            ([10, 1, 0, 0], Some("near")),
            ([10, 1, 0, 255], Some("near")),
            ([10, 1, 1, 0], None),
            ([10, 9, 0, 7], Some("far")),
            ([10, 9, 1, 0], None),
        ] {
            let found = networks.of(Ipv4Addr::from(address));
            assert_eq!(found.map(|it| &*it.name), expected, "{address:?}");
        }
    }
}
