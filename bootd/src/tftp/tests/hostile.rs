//! Garbage, floods, greed: nothing of it stops the server or draws more than was sent.

use bootd_protocol::tftp::{Admission, Packet, admit};

use super::client::{fetch, plan};
use super::*;

/// Files that are there at once: what is answered is answered in order.
struct Prompt(Shelf);

impl Files for Prompt {
    fn open(&self, name: &str, peer: SocketAddr) -> Result<Source, Refusal> {
        self.0.open(name, peer)
    }

    fn open_now(&self, name: &str, peer: SocketAddr) -> Option<Result<Source, Refusal>> {
        Some(self.open(name, peer))
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(bound).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

const GOOD: [&[u8]; 5] = [
    b"\0\x01a\0octet\0",
    b"\0\x01a\0netascii\0tsize\x000\0",
    b"\0\x02some-file\0octet\0blksize\x001468\0",
    b"\0\x01some-file\0octet\0tsize\x000\0blksize\x001468\0windowsize\x0016\0timeout\x001\0",
    b"\0\x01../../etc/passwd\0mail\0multicast\0\0",
];

/// A datagram that is nearly right, or not at all.
fn datagram(random: &mut Random) -> Vec<u8> {
    let mut bytes = if random.below(4) == 0 {
        (0..random.below(80)).map(|_| random.byte()).collect()
    } else {
        GOOD[random.below(GOOD.len())].to_vec()
    };
    for _ in 0..random.below(4) {
        let place = random.below(bytes.len() + 1);
        match random.below(4) {
            0 => bytes.insert(place, random.byte()),
            1 if place < bytes.len() => bytes[place] = random.byte(),
            2 if place < bytes.len() => drop(bytes.remove(place)),
            _ => bytes.truncate(place.max(2)),
        }
    }
    bytes
}

fn blocking_socket() -> StdSocket {
    let socket = StdSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Asks for a file and takes it: by then the server has answered all that came before.
fn take_one(server: SocketAddr) {
    let socket = blocking_socket();
    socket.send_to(b"\0\x01a\0octet\0", server).unwrap();
    let mut buffer = [0; 600];
    let (len, port) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"\0\x03\0\x01x");
    let ack = Packet::Ack { block: 1 }.to_bytes();
    socket.send_to(&ack, port).unwrap();
}

#[test]
fn no_datagram_draws_a_larger_one_but_the_data_that_it_asks_for() {
    let shelf = Shelf::default()
        .memory("a", b"x")
        .memory("some-file", &pattern(5_000));
    let server = Running::start(Prompt(shelf), Config::default());
    let mut random = Random(7);
    let mut buffer = [0; 2_000];
    let mut answered = 0;
    for round in 0..3_000 {
        let bytes = datagram(&mut random);
        let socket = blocking_socket();
        socket.send_to(&bytes, server.address).unwrap();
        take_one(server.address);
        socket.set_nonblocking(true).unwrap();
        while let Ok((len, port)) = socket.recv_from(&mut buffer) {
            answered += 1;
            let (Admission::Read(_) | Admission::Refuse(_)) = admit(&bytes) else {
                panic!("round {round}: {bytes:?} was answered");
            };
            match Packet::parse(&buffer[..len]).unwrap() {
                Packet::Data { block: 1, payload } => assert!(payload.len() <= 512),
                Packet::OptionAck(_) | Packet::Error { .. } => {
                    assert!(len <= bytes.len(), "round {round}: {bytes:?}");
                }
                other @ (Packet::Read(_)
                | Packet::Write(_)
                | Packet::Data { .. }
                | Packet::Ack { .. }) => panic!("round {round}: {other:?}"),
            }
            // The same to the transfer's port, and an end to it.
            socket.send_to(&datagram(&mut random), port).unwrap();
            socket.send_to(b"\0\x05\0\0\0", port).unwrap();
        }
    }
    assert!(answered > 500, "{answered}");
}

#[tokio::test]
async fn the_greedy_leave_room_for_the_modest() {
    let shelf = Shelf::default()
        .memory("large", &pattern(8 << 20))
        .memory("small", &pattern(100_000));
    let server = Running::start(shelf, Config::default());
    let address = server.address;
    let greedy: Vec<_> = (0..8)
        .map(|_| tokio::spawn(fetch(address, plan("large", Some(64)))))
        .collect();
    server.until(|counts| counts.active == 8).await;
    let (file, _) = fetch(address, plan("small", None)).await;
    assert_eq!(file.len(), 100_000);
    let ended = server
        .diary
        .stages()
        .into_iter()
        .filter(|(file, stage)| file == "large" && matches!(stage, Stage::Ended { .. }));
    assert!(ended.count() < 8, "the modest one was served last");
    for client in greedy {
        client.await.unwrap();
    }
}

#[test]
fn many_requests_at_once_are_all_answered() {
    let server = Running::start(Shelf::default().memory("a", b"x"), Config::default());
    let clients: Vec<_> = (0..800).map(|_| blocking_socket()).collect();
    for client in &clients {
        client.send_to(b"\0\x01a\0octet\0", server.address).unwrap();
    }
    let mut buffer = [0; 600];
    for client in &clients {
        let (len, port) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"\0\x03\0\x01x");
        client.send_to(b"\0\x04\0\x01", port).unwrap();
    }
    let wait = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let counts = wait.block_on(server.until(|counts| counts.completed == 800));
    assert_eq!((counts.started, counts.over_limit), (800, 0));
}
