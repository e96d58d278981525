//! What helpers do: texts, slow files, files larger than what stays in the page tables.

use std::io::Write as _;
use std::sync::mpsc::{Receiver, channel};

use bootd_protocol::tftp::{FetchOutcome, Packet, netascii};

use super::client::{fetch, plan, socket};
use super::*;

#[tokio::test]
async fn a_text_is_sent_with_network_line_ends_and_without_its_size() {
    let file = b"one\ntwo\rthree\r\n".repeat(100);
    let mut text = Vec::new();
    netascii::encode(&file, &mut text);
    let server = Running::start(Shelf::default().memory("a", &file), Config::default());
    let client = socket(server.address).await;
    let mut buffer = [0; 2_000];
    let request = b"\0\x01a\0NetAscii\0tsize\x000\0blksize\x001000\0";
    client.send_to(request, server.address).await.unwrap();
    let (len, port) = client.recv_from(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..len], b"\0\x06blksize\x001000\0");
    let mut got = Vec::new();
    for block in 0.. {
        let ack = Packet::Ack { block }.to_bytes();
        client.send_to(&ack, port).await.unwrap();
        if block > 0 && got.len() < usize::from(block) * 1_000 {
            break;
        }
        let (len, _) = client.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..4], [0, 3, 0, u8::try_from(block + 1).unwrap()]);
        got.extend_from_slice(&buffer[4..len]);
    }
    assert_eq!(got, text);
    server.until(|counts| counts.completed == 1).await;
}

#[tokio::test]
async fn a_file_that_is_too_large_is_no_text() {
    let blob = tempfile::tempfile().unwrap();
    blob.set_len(17 << 20).unwrap();
    let source = Source::disk(Arc::new(blob), 0, 17 << 20);
    let server = Running::start(Shelf::default().with("a", Ok(source)), Config::default());
    let client = socket(server.address).await;
    let request = b"\0\x01a\0netascii\0";
    client.send_to(request, server.address).await.unwrap();
    let mut buffer = [0; 100];
    let (len, _) = client.recv_from(&mut buffer).await.unwrap();
    assert_eq!(buffer[..len], Refusal::NoText.reply_to(request.len()));
}

#[tokio::test]
async fn a_large_file_goes_to_clients_at_different_places() {
    let bytes = pattern(12 << 20);
    let mut blob = tempfile::tempfile().unwrap();
    blob.write_all(&bytes).unwrap();
    let source = Source::disk(Arc::new(blob), 0, 12 << 20);
    let server = Running::start(Shelf::default().with("a", Ok(source)), Config::default());
    let clients: Vec<_> = [2, 16, 64]
        .map(|window| tokio::spawn(fetch(server.address, plan("a", Some(window)))))
        .into();
    for client in clients {
        let (file, outcome) = client.await.unwrap();
        assert_eq!(outcome, FetchOutcome::Completed { len: 12 << 20 });
        assert!(file == bytes);
    }
}

/// Opens a file only when it is told to.
struct Slow(Shelf, Mutex<Receiver<()>>);

impl Files for Slow {
    fn open(&self, name: &str, peer: SocketAddr) -> Result<Source, Refusal> {
        self.1.lock().unwrap().recv().unwrap();
        self.0.open(name, peer)
    }
}

#[tokio::test]
async fn while_a_file_is_opened_the_latest_request_counts() {
    let shelf = Shelf::default().memory("a", b"x").memory("b", b"y");
    let (go, wait) = channel();
    let server = Running::start(Slow(shelf, Mutex::new(wait)), Config::default());
    let client = socket(server.address).await;
    for request in [
        &b"\0\x01a\0octet\0"[..],
        b"\0\x01a\0octet\0",
        b"\0\x01b\0octet\0",
        b"?",
    ] {
        client.send_to(request, server.address).await.unwrap();
    }
    // The last one is no request: all before it have been seen.
    server.until(|counts| counts.ignored == 1).await;
    go.send(()).unwrap();
    go.send(()).unwrap();
    let mut buffer = [0; 100];
    let (len, port) = client.recv_from(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..len], b"\0\x03\0\x01y");
    let ack = Packet::Ack { block: 1 }.to_bytes();
    client.send_to(&ack, port).await.unwrap();
    let counts = server.until(|counts| counts.completed == 1).await;
    assert_eq!((counts.started, counts.active), (1, 0));
}

/// Files that panic.
struct Broken;

impl Files for Broken {
    fn open(&self, _name: &str, _peer: SocketAddr) -> Result<Source, Refusal> {
        panic!("as the test wants it");
    }
}

#[tokio::test]
async fn a_panic_on_the_way_to_a_file_costs_that_request_alone() {
    let server = Running::start(Broken, Config::default());
    for _ in 0..3 {
        let (_, outcome) = fetch(server.address, plan("some-file", None)).await;
        assert!(matches!(outcome, FetchOutcome::Refused(_)), "{outcome:?}");
    }
}
