//! The load against the ideal servers, on loopback: neither needs root.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use super::ideal::{Ideal, Sockets, TIMER};
use super::load::{self, Load, Report};
use super::transfer::Wanted;
use crate::bench::serving::while_it_serves;

const SIZE: usize = 100_000;

fn content(first: u8) -> Arc<[u8]> {
    let mut content: Vec<u8> = (0..=250).cycle().take(SIZE).collect();
    content[0] = first;
    content.into()
}

fn load(at_once: usize, window: u16) -> Load {
    Load {
        server: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0),
        wanted: Wanted {
            file: "boot/f".into(),
            content: content(1),
            block: 1000,
            window,
            timeout: Some(1),
        },
        transfers: at_once * 3,
        at_once,
        loss: 0.0,
        seed: 3,
        timer: Duration::from_secs(5),
        tries: 3,
        limit: Duration::from_secs(30),
    }
}

/// Loads an ideal server whose file has `served` as its first byte.
fn measure(sockets: Sockets, load: &Load, served: u8) -> Report {
    let files = HashMap::from([("boot/f".to_owned(), content(served))]);
    let own = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let mut ideal = Ideal::new(own, sockets, files).unwrap();
    let load = Load {
        server: ideal.address(),
        ..load.clone()
    };
    while_it_serves(|stop| ideal.run(stop), || load::run(&load).unwrap())
}

#[test]
fn all_of_it_arrives() {
    for sockets in [Sockets::Shared, Sockets::Own] {
        for (at_once, window) in [(1, 1), (1, 16), (20, 1), (20, 16)] {
            let load = load(at_once, window);
            let report = measure(sockets, &load, 1);
            let all = report.downloads;
            let failures = (all.failed, all.unfinished, all.first_failure);
            assert_eq!(failures, (0, 0, None), "{sockets:?} {at_once} {window}");
            assert_eq!(all.done, load.transfers);
            // Each byte once, and an empty block behind the last full one.
            let transfers = u64::try_from(load.transfers).unwrap();
            assert_eq!(report.counts.bytes, transfers * 100_000);
            assert_eq!(report.counts.blocks, transfers * 101);
        }
    }
}

#[test]
fn what_differs_is_found() {
    let report = measure(Sockets::Shared, &load(1, 1), 2);
    let all = report.downloads;
    assert_eq!((all.done, all.failed), (0, 3));
    assert_eq!(all.first_failure.as_deref(), Some("content differs"));
}

#[test]
fn losses_are_made_good_by_the_server() {
    let lossy = Load {
        loss: 0.05,
        transfers: 10,
        ..load(1, 1)
    };
    for sockets in [Sockets::Shared, Sockets::Own] {
        let report = measure(sockets, &lossy, 1);
        let all = report.downloads;
        assert_eq!((all.done, all.failed), (10, 0));
        assert_eq!((report.counts.gaps, report.counts.bytes), (0, 1_000_000));
        // Of 1,020 answers and what replaced them.
        assert!((25..=100).contains(&report.lost), "{}", report.lost);
        assert_eq!(report.timeouts, 0, "the server sends again by itself");
        // In lock step each loss waits for the server's timer; a block that came twice because
        // this machine was busy may have saved a few.
        let lost = u32::try_from(report.lost).unwrap();
        assert!(all.elapsed > TIMER * lost / 2, "{:?}", all.elapsed);
    }
    let lossy = Load {
        loss: 0.05,
        ..load(10, 8)
    };
    let report = measure(Sockets::Shared, &lossy, 1);
    let all = report.downloads;
    assert_eq!((all.done, all.failed), (30, 0));
    assert!(report.counts.gaps > 0);
}

#[test]
fn nobody_answers() {
    let silent = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let std::net::SocketAddr::V4(server) = silent.local_addr().unwrap() else {
        panic!("IPv4 was bound");
    };
    let report = load::run(&Load {
        server,
        transfers: 2,
        timer: Duration::from_millis(10),
        tries: 2,
        ..load(2, 1)
    });
    let report = report.unwrap();
    let all = report.downloads;
    assert_eq!((all.done, all.failed, report.timeouts), (0, 2, 4));
    assert_eq!(all.first_failure.as_deref(), Some("no answer"));
}
