//! The catalog's networks and leases in the machine's terms, and the links of this host.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bootd_protocol::boot_choice::{BootPolicy, Place};
use bootd_protocol::dhcp::server::{Arrival, Lease, LeaseState, Network};
use catalog::snapshot;
use catalog::state;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;

use crate::desired::View;

/// A network of the catalog.
pub(super) fn served(network: &snapshot::Network) -> Network {
    Network {
        name: network.name.as_str().into(),
        subnet: network.subnet.address,
        prefix_len: network.subnet.prefix,
        server: network.server,
        pool: network.pool,
        router: network.router,
        dns: network.dns.clone(),
        lease_seconds: u32::try_from(network.lease.as_secs()).unwrap_or(u32::MAX),
        mode: network.mode,
        bootp: network.bootp,
        probe: network.probe,
        boot: BootPolicy {
            boot_by: network.boot_by,
            uefi_loader: network.uefi_loader,
        },
        options: network.options.clone(),
    }
}

/// The addresses of this host's interfaces, those that are of a network of the catalog first.
#[derive(Debug, Default)]
pub(super) struct Links(HashMap<u32, Vec<Ipv4Addr>>);

impl Links {
    pub(super) fn read(view: &View) -> Self {
        let mut links: HashMap<u32, Vec<Ipv4Addr>> = HashMap::new();
        let served = |address| {
            let mut networks = view.snapshot.networks.iter();
            networks.any(|it| it.subnet.contains(address))
        };
        for interface in getifaddrs().into_iter().flatten() {
            let address = interface
                .address
                .and_then(|it| it.as_sockaddr_in().map(nix::sys::socket::SockaddrIn::ip));
            let index = if_nametoindex(interface.interface_name.as_str());
            if let (Some(address), Ok(index)) = (address, index) {
                links.entry(index).or_default().push(address);
            }
        }
        for addresses in links.values_mut() {
            addresses.sort_by_key(|it| !served(*it));
        }
        Links(links)
    }

    /// Our address in this network, if we are on it.
    pub(super) fn in_network(&self, network: &snapshot::Network) -> Option<Ipv4Addr> {
        let mut addresses = self.0.values().flatten();
        addresses.find(|it| network.subnet.contains(**it)).copied()
    }

    /// Our address on the link that a packet came in by: what was broadcast on a link with
    /// several addresses is for the one that a network of the catalog has.
    pub(super) fn own_address(&self, arrival: &Arrival) -> Ipv4Addr {
        if !arrival.broadcast {
            return arrival.local;
        }
        let addresses = self.0.get(&arrival.interface);
        let best = addresses.and_then(|it| it.first());
        best.copied().unwrap_or(arrival.local)
    }
}

pub(super) fn restored(lease: &state::Lease) -> Lease {
    Lease {
        ip: lease.ip,
        mac: lease.mac,
        hostname: Some(lease.hostname.clone()).filter(|it| !it.is_empty()),
        state: match lease.state {
            state::LeaseState::Bound => LeaseState::Bound,
            state::LeaseState::Released => LeaseState::Released,
            state::LeaseState::Declined => LeaseState::Declined,
        },
        until: until(lease.expires_ms),
        place: place(&lease.place),
    }
}

/// Where a lease says its client was.
pub(crate) fn place(place: &state::Place) -> Place {
    Place {
        network: place.network.as_deref().map(Into::into),
        relay: place.relay,
        circuit: place.circuit.as_deref().map(Arc::from),
        remote: place.remote.as_deref().map(Arc::from),
    }
}

fn until(expires_ms: i64) -> Duration {
    match expires_ms {
        i64::MAX => Duration::MAX,
        millis => Duration::from_millis(millis.unsigned_abs()),
    }
}

pub(super) fn written(lease: Lease) -> state::Lease {
    state::Lease {
        ip: lease.ip,
        mac: lease.mac,
        expires_ms: i64::try_from(lease.until.as_millis()).unwrap_or(i64::MAX),
        hostname: lease.hostname.unwrap_or_default(),
        state: match lease.state {
            LeaseState::Bound => state::LeaseState::Bound,
            LeaseState::Released => state::LeaseState::Released,
            LeaseState::Declined => state::LeaseState::Declined,
        },
        place: state::Place {
            network: lease.place.network.map(|it| it.to_string()),
            relay: lease.place.relay,
            circuit: lease.place.circuit.as_deref().map(str::to_owned),
            remote: lease.place.remote.as_deref().map(str::to_owned),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootd_protocol::identity::Mac;

    #[test]
    fn leases_survive_the_database() {
        for until in [Duration::from_millis(1234), Duration::MAX] {
            for state in [
                LeaseState::Bound,
                LeaseState::Released,
                LeaseState::Declined,
            ] {
                let lease = Lease {
                    ip: Ipv4Addr::new(10, 1, 0, 7),
                    mac: Mac([2, 0, 0, 0, 0, 7]),
                    hostname: Some("a".into()),
                    state,
                    until,
                    place: Place {
                        network: Some("lan".into()),
                        relay: Some(Ipv4Addr::new(10, 2, 0, 1)),
                        circuit: Some("ge-0/0/7".into()),
                        remote: None,
                    },
                };
                assert_eq!(restored(&written(lease.clone())), lease);
            }
        }
    }
}
