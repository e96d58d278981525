//! A network of one server, and a catalog with one image for everybody.

use std::net::Ipv4Addr;

use bootd_protocol::boot_choice::{BootPolicy, Client, Offer};
use bootd_protocol::dhcp::server::{Arrival, Bootp, Config, Mode, Network, Wish, Wishes};
use bootd_protocol::digest::Digest;
use bootd_protocol::identity::Mac;

pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);

pub(crate) const ARRIVAL: Arrival = Arrival {
    interface: 3,
    local: SERVER,
    broadcast: true,
    port: 67,
    from_port: 68,
};

pub(crate) struct Catalog;

impl Wishes for Catalog {
    fn wish(&self, _client: &Client) -> Wish<'_> {
        let offer = Offer::Boot {
            uki: Digest::of(b"uki"),
            reason: "class web".into(),
        };
        Wish {
            hostname: Some("node-1"),
            ..Wish::offer_only(offer)
        }
    }

    fn reserved_for(&self, _ip: Ipv4Addr) -> Option<Mac> {
        None
    }
}

/// 100 addresses for an hour each.
pub(crate) fn config() -> Config {
    let network = Network {
        name: "lan".into(),
        subnet: Ipv4Addr::new(10, 1, 0, 0),
        prefix_len: 24,
        server: Some(SERVER),
        pool: Some((Ipv4Addr::new(10, 1, 0, 100), Ipv4Addr::new(10, 1, 0, 199))),
        router: Some(Ipv4Addr::new(10, 1, 0, 254)),
        dns: vec![Ipv4Addr::new(10, 1, 0, 253)],
        lease_seconds: 3600,
        mode: Mode::Full,
        bootp: Bootp::Dynamic,
        probe: false,
        boot: BootPolicy::default(),
        options: vec![],
    };
    Config::new(vec![network], 4068, 4080)
}
