//! A network of one server, and a catalog with one image for everybody.

use std::net::Ipv4Addr;

use bootd_protocol::boot_choice::{Client, Offer};
use bootd_protocol::dhcp::server::{Arrival, Config, Network, Reservation, Wishes};
use bootd_protocol::digest::Digest;
use bootd_protocol::identity::Mac;

pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);

pub(crate) const ARRIVAL: Arrival = Arrival {
    interface: 3,
    local: SERVER,
};

pub(crate) struct Catalog;

impl Wishes for Catalog {
    fn reservation(&self, _mac: Mac) -> Reservation {
        Reservation {
            ip: None,
            hostname: Some("node-1".into()),
        }
    }

    fn reserved_for(&self, _ip: Ipv4Addr) -> Option<Mac> {
        None
    }

    fn offer(&self, _client: &Client) -> Offer {
        Offer::Boot {
            uki: Digest::of(b"uki"),
            reason: "class web".into(),
        }
    }
}

/// 100 addresses for an hour each.
pub(crate) fn config() -> Config {
    let network = Network {
        server: SERVER,
        prefix_len: 24,
        pool_first: Ipv4Addr::new(10, 1, 0, 100),
        pool_last: Ipv4Addr::new(10, 1, 0, 199),
        router: Some(Ipv4Addr::new(10, 1, 0, 254)),
        dns: vec![Ipv4Addr::new(10, 1, 0, 253)],
        lease_seconds: 3600,
    };
    Config::new(vec![network], 4068, 4080)
}
