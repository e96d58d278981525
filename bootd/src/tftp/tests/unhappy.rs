//! What is refused, ignored, limited or lost.

use std::io::Write as _;

use bootd_protocol::tftp::{ErrorCode, FetchOutcome, Packet};
use tokio::net::UdpSocket;

use super::client::{fetch, plan, socket};
use super::*;

async fn ask(socket: &UdpSocket, server: &Running, datagram: &[u8]) {
    socket.send_to(datagram, server.address).await.unwrap();
}

async fn next(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 2_000];
    let received = timeout(PATIENCE, socket.recv_from(&mut buffer))
        .await
        .unwrap();
    let (len, from) = received.unwrap();
    buffer.truncate(len);
    (buffer, from)
}

#[tokio::test]
async fn refusals_carry_the_right_codes() {
    let shelf = Shelf::default()
        .memory("a", b"x")
        .with("secret", Err(Refusal::AccessViolation))
        .with("rotten", Err(Refusal::Unreadable));
    let server = Running::start(shelf, Config::default());
    let table: &[(&[u8], &str, Refusal)] = &[
        (b"\0\x01missing\0octet\0", "missing", Refusal::NotFound),
        (b"\0\x01secret\0octet\0", "secret", Refusal::AccessViolation),
        (b"\0\x01rotten\0octet\0", "rotten", Refusal::Unreadable),
        (b"\0\x01../a\0octet\0", "", Refusal::AccessViolation),
        (b"\0\x01a\0mail\0", "", Refusal::BadMode),
        (b"\0\x02a\0octet\0", "", Refusal::ReadOnly),
    ];
    let client = socket(server.address).await;
    for (request, _, refusal) in table {
        ask(&client, &server, request).await;
        let (answer, from) = next(&client).await;
        assert_eq!(answer, refusal.reply_to(request.len()));
        assert_ne!(
            from, server.address,
            "an answer comes from a port of its own"
        );
    }
    let refused = u64::try_from(table.len()).unwrap();
    let counts = server.until(|counts| counts.refused == refused).await;
    assert_eq!((counts.started, counts.active), (0, 0));
    let told: Vec<_> = table
        .iter()
        .map(|(_, file, refusal)| ((*file).to_owned(), Stage::Refused(*refusal)))
        .collect();
    assert_eq!(server.diary.stages(), told);
}

#[tokio::test]
async fn garbage_is_counted_and_gets_no_answer() {
    let server = Running::start(Shelf::default().memory("a", b"x"), Config::default());
    let client = socket(server.address).await;
    for garbage in [
        &b""[..],
        b"x",
        b"hello",
        b"\0\x04\0\0",
        b"\0\x03\0\x01x",
        b"\0\x05\0\0\0",
    ] {
        ask(&client, &server, garbage).await;
    }
    ask(&client, &server, b"\0\x01a\0octet\0").await;
    // The first answer of all is the file's.
    assert_eq!(next(&client).await.0, b"\0\x03\0\x01x");
    let counts = server.until(|counts| counts.ignored == 6).await;
    assert_eq!((counts.started, counts.refused), (1, 0));
}

#[tokio::test]
async fn a_doubled_request_is_one_transfer() {
    let server = Running::start(Shelf::default().memory("a", b"x"), Config::default());
    let client = socket(server.address).await;
    ask(&client, &server, b"\0\x01a\0octet\0tsize\x000\0").await;
    let (_, port) = next(&client).await;
    ask(&client, &server, b"\0\x01a\0octet\0tsize\x000\0").await;
    let (second, same_port) = next(&client).await;
    assert_eq!(
        (second.as_slice(), same_port),
        (&b"\0\x06tsize\x001\0"[..], port)
    );
    assert_eq!(server.counters.read().started, 1);
}

#[tokio::test]
async fn another_request_from_the_same_port_replaces_the_transfer() {
    let shelf = Shelf::default().memory("a", b"x").memory("b", b"y");
    let server = Running::start(shelf, Config::default());
    let client = socket(server.address).await;
    ask(&client, &server, b"\0\x01a\0octet\0").await;
    let (_, old) = next(&client).await;
    ask(&client, &server, b"\0\x01b\0octet\0").await;
    let (answer, new) = next(&client).await;
    assert_eq!(answer, b"\0\x03\0\x01y");
    assert_ne!(old, new);
    client
        .send_to(&Packet::Ack { block: 1 }.to_bytes(), new)
        .await
        .unwrap();
    let counts = server.until(|counts| counts.active == 0).await;
    assert_eq!((counts.completed, counts.aborted), (1, 1));
}

#[tokio::test]
async fn requests_above_the_limits_get_no_answer() {
    for (max_transfers, max_per_address) in [(2, 64), (64, 2)] {
        let config = Config {
            max_transfers,
            max_per_address,
            ..Config::default()
        };
        let server = Running::start(Shelf::default().memory("a", b"x"), config);
        let mut held = Vec::new();
        for _ in 0..2 {
            let client = socket(server.address).await;
            ask(&client, &server, b"\0\x01a\0octet\0").await;
            let (_, port) = next(&client).await;
            held.push((client, port));
        }
        let third = socket(server.address).await;
        ask(&third, &server, b"\0\x01a\0octet\0").await;
        server.until(|counts| counts.over_limit == 1).await;
        // One leaves: there is room again.
        let (first, port) = &held[0];
        first
            .send_to(&Packet::Ack { block: 1 }.to_bytes(), port)
            .await
            .unwrap();
        server.until(|counts| counts.active == 1).await;
        // The seat is given back just behind the counter.
        let (file, _) = fetch(server.address, plan("a", None)).await;
        assert_eq!(file, b"x");
    }
}

#[tokio::test]
async fn a_client_that_has_gone_ends_its_transfer() {
    let server = Running::start(
        Shelf::default().memory("a", &pattern(5_000)),
        Config::default(),
    );
    let client = socket(server.address).await;
    ask(&client, &server, b"\0\x01a\0octet\0").await;
    let (_, port) = next(&client).await;
    client
        .send_to(&Packet::Ack { block: 1 }.to_bytes(), port)
        .await
        .unwrap();
    drop(client);
    server
        .until(|counts| counts.failed == 1 && counts.active == 0)
        .await;
    let (_, last) = server.diary.stages().pop().unwrap();
    let expected = Stage::Ended {
        bytes: 512,
        total: 5_000,
        ending: Ending::Unreachable,
    };
    assert_eq!(last, expected);
}

#[tokio::test]
async fn a_file_that_ends_too_early_is_reported() {
    let mut blob = tempfile::tempfile().unwrap();
    blob.write_all(&pattern(2_000)).unwrap();
    let source = Source::disk(Arc::new(blob), 0, 10_000);
    let server = Running::start(Shelf::default().with("a", Ok(source)), Config::default());
    let (_, outcome) = fetch(server.address, plan("a", None)).await;
    assert_eq!(outcome, FetchOutcome::Refused(ErrorCode::NotDefined));
    server.until(|counts| counts.failed == 1).await;
    let (_, last) = server.diary.stages().pop().unwrap();
    let expected = Stage::Ended {
        bytes: 1_468,
        total: 10_000,
        ending: Ending::Unreadable,
    };
    assert_eq!(last, expected);
}

#[tokio::test]
async fn stopping_the_server_ends_its_transfers() {
    let server = Running::start(Shelf::default().memory("a", b"x"), Config::default());
    let client = socket(server.address).await;
    ask(&client, &server, b"\0\x01a\0octet\0").await;
    next(&client).await;
    assert_eq!(server.counters.read().active, 1);
    server.stopper.stop();
    server.until(|counts| counts.active == 0).await;
}

/// A client on a thread of its own that aborts and asks again, without a pause between.
fn abort_and_ask_again(server: SocketAddr, rounds: u32) {
    const REQUEST: &[u8] = b"\0\x01a\0octet\0tsize\x000\0";
    let stop = Packet::Error {
        code: ErrorCode::OptionsRefused,
        message: b"",
    };
    let socket = StdSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 600];
    socket.send_to(REQUEST, server).unwrap();
    let (_, mut port) = socket.recv_from(&mut buffer).unwrap();
    for round in 0..rounds {
        socket.send_to(&stop.to_bytes(), port).unwrap();
        socket.send_to(REQUEST, server).unwrap();
        let (_, next) = socket.recv_from(&mut buffer).unwrap();
        assert_ne!(
            port, next,
            "round {round}: answered by the aborted transfer"
        );
        port = next;
    }
}

#[tokio::test]
async fn an_abort_is_seen_before_the_request_that_follows_it() {
    let server = Running::start(Shelf::default().memory("a", b"x"), Config::default());
    let address = server.address;
    let clients: Vec<_> = (0..16)
        .map(|_| tokio::task::spawn_blocking(move || abort_and_ask_again(address, 100)))
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let counts = server.until(|counts| counts.aborted == 1_600).await;
    assert_eq!(counts.started, 1_616);
}
