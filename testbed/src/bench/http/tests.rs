//! The load against a few lines of a server, on loopback.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::load::{self, Load, Report};

fn content() -> Vec<u8> {
    (0..=255).cycle().take(300_000).collect()
}

/// Answers four requests with `answer`, head and body, in two pieces.
fn measure(answer: &[u8]) -> Report {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let SocketAddr::V4(server) = listener.local_addr().unwrap() else {
        panic!("IPv4 was bound");
    };
    let load = Load {
        server,
        path: "/file".into(),
        content: Arc::from(content()),
        transfers: 4,
        at_once: 2,
        limit: Duration::from_secs(20),
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..load.transfers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1000];
                let len = stream.read(&mut request).unwrap();
                assert!(request[..len].starts_with(b"GET /file HTTP/1.1\r\n"));
                // The client may have seen enough already.
                let _ = stream.write_all(&answer[..10]);
                let _ = stream.write_all(&answer[10..]);
            }
        });
        load::run(&load).unwrap()
    })
}

fn answer(length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-LENGTH: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

#[test]
fn all_of_it_arrives() {
    let report = measure(&answer(300_000, &content()));
    let all = report.downloads;
    assert_eq!((all.done, all.failed, all.unfinished), (4, 0, 0));
    assert_eq!((report.bytes, all.first_failure), (1_200_000, None));
}

#[test]
fn what_is_wrong_is_found() {
    let mut other = content();
    other[299_999] ^= 1;
    for (bytes, why) in [
        (answer(300_000, &other), "content differs"),
        (
            answer(300_000, &content()[..9]),
            "the connection ended early",
        ),
        (answer(9, &content()), "a length of Some(9)"),
        (
            b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec(),
            "HTTP/1.1 404 Not Found",
        ),
    ] {
        let all = measure(&bytes).downloads;
        assert_eq!((all.done, all.failed), (0, 4));
        assert_eq!(all.first_failure.as_deref(), Some(why));
    }
}
