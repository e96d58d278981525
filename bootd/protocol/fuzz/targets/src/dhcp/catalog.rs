//! Four networks, and a catalog that has something of everything.

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use bootd_protocol::boot_choice::{BootBy, BootPolicy, Client, Offer, UefiLoader};
use bootd_protocol::dhcp::server::{Bootp, Config, DhcpOption, Mode, Network, Wish, Wishes};
use bootd_protocol::digest::Digest;
use bootd_protocol::identity::Mac;

/// Our addresses, one in each network.
pub(super) const LOCAL: [Ipv4Addr; 4] = [
    Ipv4Addr::new(10, 1, 0, 1),
    Ipv4Addr::new(10, 2, 0, 1),
    Ipv4Addr::new(10, 3, 0, 1),
    Ipv4Addr::new(10, 4, 0, 1),
];

/// Whether `address` is of a network that is served.
pub(super) fn is_served(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    a == 10 && (1..=3).contains(&b) && c == 0
}

/// Ten addresses each, in all modes; `how` says what else is on.
pub(super) fn config(how: u8) -> Config {
    let modes = [Mode::Full, Mode::Full, Mode::Proxy, Mode::Off];
    let networks = (1..=4).zip(modes).map(|(number, mode)| Network {
        name: format!("net{number}").into(),
        subnet: Ipv4Addr::new(10, number, 0, 0),
        prefix_len: 24,
        server: (how & 1 != 0).then_some(Ipv4Addr::new(10, number, 0, 1)),
        pool: Some((
            Ipv4Addr::new(10, number, 0, 100),
            Ipv4Addr::new(10, number, 0, 109),
        )),
        router: Some(Ipv4Addr::new(10, number, 0, 254)),
        dns: vec![Ipv4Addr::new(10, number, 0, 253)],
        lease_seconds: if how & 2 == 0 { 300 } else { u32::MAX },
        mode,
        bootp: if how & 4 == 0 {
            Bootp::Dynamic
        } else {
            Bootp::Reserved
        },
        probe: how & 8 != 0,
        boot: BootPolicy {
            boot_by: None,
            uefi_loader: (how & 16 != 0).then_some(UefiLoader::Snponly),
        },
        options: vec![option(42, 8), option(72, 120)],
    });
    Config {
        max_offers: 16,
        nodes: 4,
        ..Config::new(networks.collect(), 4068, 4080)
    }
}

fn option(code: u8, len: usize) -> DhcpOption {
    DhcpOption {
        code,
        bytes: vec![code; len],
        always: len > 100,
    }
}

pub(super) struct Catalog;

/// Options of a node and of its class, more than many a client can take.
static OPTIONS: LazyLock<[Vec<DhcpOption>; 2]> = LazyLock::new(|| {
    let own = [(67, 20), (200, 255)].map(|(code, len)| option(code, len));
    let class = [(6, 16), (43, 255), (201, 255)].map(|(code, len)| option(code, len));
    [own.to_vec(), class.to_vec()]
});

/// The last byte of a machine's hardware address says what the catalog has for it.
impl Wishes for Catalog {
    fn wish(&self, client: &Client) -> Wish<'_> {
        let [.., last] = client.mac.0;
        let reason = "a reason".into();
        let offer = match last & 7 {
            0..=3 => Offer::Boot {
                uki: Digest::of(b"uki"),
                reason,
            },
            4 => Offer::Local {
                loader: None,
                reason,
            },
            5 => Offer::Hold { reason },
            6 => Offer::None { reason },
            _ => Offer::Ignore { reason },
        };
        let [own, class] = &*OPTIONS;
        Wish {
            known: last & 8 != 0,
            ip: (last & 16 != 0).then_some(reserved(last)),
            hostname: Some("node-1"),
            boot_by: (last & 32 != 0).then_some(BootBy::Http),
            lease_seconds: (last & 64 != 0).then_some(60),
            options: if last & 128 == 0 {
                [&[], &[]]
            } else {
                [own, class]
            },
            ..Wish::offer_only(offer)
        }
    }

    fn reserved_for(&self, ip: Ipv4Addr) -> Option<Mac> {
        (ip == reserved(16)).then_some(Mac([2, 0, 0, 0, 0, 16]))
    }
}

/// One in the pool, one beside it, one of another network.
fn reserved(last: u8) -> Ipv4Addr {
    match last & 3 {
        0 => Ipv4Addr::new(10, 1, 0, 105),
        1 => Ipv4Addr::new(10, 2, 0, 7),
        _ => Ipv4Addr::new(192, 0, 2, 7),
    }
}
