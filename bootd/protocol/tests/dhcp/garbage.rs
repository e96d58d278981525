//! No bytes make any of it panic, and none make the server give an address twice.

use std::collections::BTreeMap;
use std::time::Duration;

use bootd_protocol::boot_choice;
use bootd_protocol::dhcp::client;
use bootd_protocol::dhcp::packet::{Answer, Builder, Kind, Request, code};
use bootd_protocol::dhcp::server::{Command, LeaseState, Server};
use bootd_protocol::identity::{Arch, Firmware, Mac};
use proptest::prelude::*;

use crate::golden::from_hex;
use crate::world::{ARRIVAL, Catalog, SERVER, config};

const FIXTURES: [&str; 5] = [
    include_str!("../fixtures/dhcp/ipxe-discover.hex"),
    include_str!("../fixtures/dhcp/ovmf-pxe-request.hex"),
    include_str!("../fixtures/dhcp/ovmf-http-discover.hex"),
    include_str!("../fixtures/dhcp/ovmf-pxe-discover.answer.hex"),
    include_str!("../fixtures/dhcp/init-request.answer.hex"),
];

/// Gives `bytes` to all that reads bytes.
fn everyone_reads(bytes: &[u8]) {
    let now = Duration::from_secs(1000);
    let answer = Answer::parse(bytes);
    if let Ok(request) = Request::parse(bytes) {
        let _client = boot_choice::Client::of(&request, &"lan".into());
    }
    let (mut server, _) = Server::new(config());
    server.handle_packet(bytes, &ARRIVAL, now, &Catalog);
    let node = client::Config {
        mac: answer.map_or(Mac([2; 6]), |answer| answer.mac),
        uuid: None,
        machine: (Arch::X86_64, Firmware::Bios),
    };
    let mut client = client::Client::new(node, 1, now);
    client.handle_packet(bytes, now);
}

proptest! {
    #[test]
    fn anything(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        everyone_reads(&bytes);
    }

    /// A good header before random options.
    #[test]
    fn any_options(which in 0..FIXTURES.len(), options in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = from_hex(FIXTURES[which]);
        bytes.truncate(240);
        bytes.extend(options);
        everyone_reads(&bytes);
    }

    /// A real packet, cut or with some bytes changed.
    #[test]
    fn nearly_right(
        which in 0..FIXTURES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = from_hex(FIXTURES[which]);
        for (index, value) in changes {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        everyone_reads(&bytes);
    }

    /// Few clients, fewer addresses, every kind of question in any order at any pace.
    #[test]
    fn no_address_is_held_twice(
        steps in prop::collection::vec((0..8_u8, 0..7_u8, 0..8_u8, 0..200_u64), 1..200),
    ) {
        let mut config = config();
        let pool = config.networks[0].pool.as_mut().expect("it has a pool");
        pool.1 = std::net::Ipv4Addr::new(10, 1, 0, 103);
        config.networks[0].lease_seconds = 300;
        let (mut server, _) = Server::new(config);
        let mut held = BTreeMap::new();
        let mut now = Duration::from_secs(1);
        for (who, what, which, wait) in steps {
            now += Duration::from_secs(wait);
            let packet = question(Mac([2, 0, 0, 0, 0, who]), what, which);
            server.handle_packet(&packet.build().bytes, &ARRIVAL, now, &Catalog);
            while let Some(command) = server.next_command() {
                let Command::Persist { lease, .. } = command else { continue };
                if let Some((mac, until)) = held.remove(&lease.ip) {
                    prop_assert!(mac == lease.mac || until <= now, "{} had {:?}", mac, lease);
                }
                if lease.state == LeaseState::Bound {
                    let of_this: Vec<_> = held.iter().filter(|(_, (mac, until))| *mac == lease.mac && *until > now).collect();
                    prop_assert!(of_this.is_empty(), "{:?} besides {:?}", of_this, lease);
                    held.insert(lease.ip, (lease.mac, lease.until));
                }
            }
        }
    }
}

/// One of the questions that a client may ask, sensible or not.
fn question(mac: Mac, what: u8, which: u8) -> Builder {
    let ip = std::net::Ipv4Addr::new(10, 1, 0, 98 + which);
    let new = |kind| Builder::request(kind, 7, mac);
    let server = |packet: Builder| packet.option(code::SERVER_ID, SERVER.octets());
    let wants = |packet: Builder| packet.option(code::REQUESTED_ADDRESS, ip.octets());
    match what {
        0 => new(Kind::Discover),
        1 => server(wants(new(Kind::Request))),
        2 => wants(new(Kind::Request)),
        3 => new(Kind::Request).ciaddr(ip),
        4 => server(wants(new(Kind::Decline))),
        5 => server(new(Kind::Release).ciaddr(ip)),
        _ => wants(new(Kind::Discover)),
    }
}
