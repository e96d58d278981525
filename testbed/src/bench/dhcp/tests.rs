//! The load against the ideal server, on loopback: neither needs root.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::ideal::Ideal;
use super::load::{self, Load, Report, Way, mac};
use crate::bench::serving::while_it_serves;

fn loopback(last: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), 0)
}

fn load(server: SocketAddrV4) -> Load {
    Load {
        way: Way::Relay {
            from: loopback(2),
            server,
            circuits: true,
        },
        first: 7,
        clients: 1000,
        outstanding: 32,
        timer: Duration::from_secs(5),
        tries: 3,
        limit: Duration::from_secs(30),
    }
}

fn measure(journal: Option<std::fs::File>, clients: u32) -> Report {
    let mut ideal = Ideal::new(loopback(1), journal).unwrap();
    let load = Load {
        clients,
        ..load(ideal.address().unwrap())
    };
    while_it_serves(|stop| ideal.run(stop), || load::run(&load).unwrap())
}

#[test]
fn everybody_gets_an_address_of_their_own() {
    let report = measure(None, 1000);
    let counts = (report.done, report.failed, report.unfinished, report.naks);
    assert_eq!(counts, (1000, 0, 0, 0));
    assert_eq!(
        (report.bad, report.given_twice, report.without_file),
        (0, 0, 0)
    );
    assert_eq!(report.latencies.len(), 1000);
}

#[test]
fn a_durable_one_writes_a_record_for_each_lease() {
    let journal = tempfile::NamedTempFile::new().unwrap();
    let report = measure(Some(journal.reopen().unwrap()), 100);
    assert_eq!(report.done, 100);
    let written = journal.path().metadata().unwrap().len();
    // One more for each request that was sent again.
    assert_eq!(written % 64, 0);
    assert!((6400..=12_800).contains(&written), "{written}");
}

#[test]
fn nobody_answers() {
    let silent = std::net::UdpSocket::bind(loopback(1)).unwrap();
    let std::net::SocketAddr::V4(address) = silent.local_addr().unwrap() else {
        panic!("IPv4 was bound");
    };
    let report = load::run(&Load {
        clients: 2,
        timer: Duration::from_millis(20),
        tries: 2,
        ..load(address)
    });
    let report = report.unwrap();
    assert_eq!(
        (report.done, report.failed, report.retransmissions),
        (0, 2, 4)
    );
    assert_ne!(mac(1), mac(2));
}
