//! The networks a server serves, and what makes one impossible.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::dhcp::INFINITE_SECONDS;

/// A directly connected network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Our own address in it; packets that arrive at this address are of this network.
    pub server: Ipv4Addr,
    /// Length of its prefix: 8 to 30.
    pub prefix_len: u8,
    /// First address of the pool.
    pub pool_first: Ipv4Addr,
    /// Last address of the pool, itself in it.
    pub pool_last: Ipv4Addr,
    /// Default router, if there is one.
    pub router: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Seconds of a lease: 60 or more; [`INFINITE_SECONDS`] is for ever.
    pub lease_seconds: u32,
}

/// Why a network cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Not 8 to 30.
    #[error("network of {server}: prefix length {prefix_len} is not between 8 and 30")]
    PrefixLength {
        /// Our address in it.
        server: Ipv4Addr,
        /// Its prefix length.
        prefix_len: u8,
    },
    /// An address that no host of this network can have.
    #[error("network of {server}: {what} {address} is no host address in {subnet}/{prefix_len}")]
    Outside {
        /// Our address in it.
        server: Ipv4Addr,
        /// Which address.
        what: &'static str,
        /// The address.
        address: Ipv4Addr,
        /// The network.
        subnet: Ipv4Addr,
        /// Its prefix length.
        prefix_len: u8,
    },
    /// The pool ends before it begins.
    #[error("network of {server}: the pool ends at {last}, before it begins at {first}")]
    EmptyPool {
        /// Our address in it.
        server: Ipv4Addr,
        /// Its first address.
        first: Ipv4Addr,
        /// Its last address.
        last: Ipv4Addr,
    },
    /// Shorter than a client can sensibly renew.
    #[error("network of {server}: a lease of {seconds} seconds is below 60")]
    LeaseTime {
        /// Our address in it.
        server: Ipv4Addr,
        /// The lease time.
        seconds: u32,
    },
    /// Two networks hold the same addresses.
    #[error("the networks of {0} and {1} overlap")]
    Overlap(Ipv4Addr, Ipv4Addr),
}

impl Network {
    /// The network mask (option 1).
    #[must_use]
    pub fn mask(&self) -> Ipv4Addr {
        let host_bits = 32 - u32::from(self.prefix_len.min(32));
        Ipv4Addr::from_bits(u32::MAX.checked_shl(host_bits).unwrap_or(0))
    }

    /// The network's own address.
    #[must_use]
    pub fn subnet(&self) -> Ipv4Addr {
        self.server & self.mask()
    }

    /// Whether a host of this network can have `address`.
    #[must_use]
    pub fn has_host(&self, address: Ipv4Addr) -> bool {
        let broadcast = self.subnet() | !self.mask();
        address & self.mask() == self.subnet() && address != self.subnet() && address != broadcast
    }

    /// Whether the pool has `address`; our own and the router's are never in it.
    #[must_use]
    pub fn pool_has(&self, address: Ipv4Addr) -> bool {
        let infrastructure = address == self.server || Some(address) == self.router;
        !infrastructure && (self.pool_first..=self.pool_last).contains(&address)
    }

    /// How long a lease runs; [`Duration::MAX`] is for ever.
    #[must_use]
    pub fn lease_time(&self) -> Duration {
        match self.lease_seconds {
            INFINITE_SECONDS => Duration::MAX,
            seconds => Duration::from_secs(seconds.into()),
        }
    }

    /// Every address from the first to the last of the pool, once, from a place that `seed`
    /// picks.
    pub(super) fn pool_from(&self, seed: u32) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let (first, last) = (self.pool_first.to_bits(), self.pool_last.to_bits());
        // No overflow: `check` keeps pools within a prefix of 8 bits or more.
        let start = first + seed % (last - first + 1);
        (start..=last).chain(first..start).map(Ipv4Addr::from_bits)
    }

    fn check(&self) -> Result<(), NetworkError> {
        let server = self.server;
        if !(8..=30).contains(&self.prefix_len) {
            return Err(NetworkError::PrefixLength {
                server,
                prefix_len: self.prefix_len,
            });
        }
        let hosts = [
            ("server", Some(server)),
            ("first pool address", Some(self.pool_first)),
            ("last pool address", Some(self.pool_last)),
            ("router", self.router),
        ];
        for (what, address) in hosts {
            let outside = address.filter(|it| !self.has_host(*it));
            if let Some(address) = outside {
                return Err(NetworkError::Outside {
                    server,
                    what,
                    address,
                    subnet: self.subnet(),
                    prefix_len: self.prefix_len,
                });
            }
        }
        let (first, last) = (self.pool_first, self.pool_last);
        if last < first {
            return Err(NetworkError::EmptyPool {
                server,
                first,
                last,
            });
        }
        let seconds = self.lease_seconds;
        if seconds < 60 {
            return Err(NetworkError::LeaseTime { server, seconds });
        }
        Ok(())
    }
}

/// Checks every network, and that no two overlap.
pub(super) fn check_all(networks: &[Network]) -> Result<(), NetworkError> {
    for (index, network) in networks.iter().enumerate() {
        network.check()?;
        let clash = networks[..index].iter().find(|other| {
            let mask = network.mask().min(other.mask());
            other.server & mask == network.server & mask
        });
        if let Some(other) = clash {
            return Err(NetworkError::Overlap(other.server, network.server));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        Network {
            server: Ipv4Addr::new(10, 1, 0, 1),
            prefix_len: 24,
            pool_first: Ipv4Addr::new(10, 1, 0, 100),
            pool_last: Ipv4Addr::new(10, 1, 0, 102),
            router: None,
            dns: vec![],
            lease_seconds: 3600,
        }
    }

    #[test]
    fn pool_is_walked_once_from_anywhere() {
        for (seed, expected) in [(0, [100, 101, 102]), (4, [101, 102, 100])] {
            let walked: Vec<u8> = network().pool_from(seed).map(|it| it.octets()[3]).collect();
            assert_eq!(walked, expected);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        type Edit = fn(&mut Network);
        let cases: [(Edit, &str); 6] = [
            (
                |it| it.prefix_len = 31,
                "network of 10.1.0.1: prefix length 31 is not between 8 and 30",
            ),
            (
                |it| it.pool_last = Ipv4Addr::new(10, 1, 0, 255),
                "network of 10.1.0.1: last pool address 10.1.0.255 is no host address in 10.1.0.0/24",
            ),
            (
                |it| it.router = Some(Ipv4Addr::new(10, 2, 0, 1)),
                "network of 10.1.0.1: router 10.2.0.1 is no host address in 10.1.0.0/24",
            ),
            (
                |it| it.pool_last = Ipv4Addr::new(10, 1, 0, 99),
                "network of 10.1.0.1: the pool ends at 10.1.0.99, before it begins at 10.1.0.100",
            ),
            (
                |it| it.lease_seconds = 59,
                "network of 10.1.0.1: a lease of 59 seconds is below 60",
            ),
            (|_| {}, "the networks of 10.1.0.1 and 10.1.0.1 overlap"),
        ];
        for (edit, expected) in cases {
            let mut edited = network();
            edit(&mut edited);
            let error = check_all(&[edited, network()]).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        assert_eq!(check_all(&[network()]), Ok(()));
    }
}
