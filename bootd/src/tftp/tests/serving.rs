//! The happy path on real sockets.

use std::io::Write as _;

use bootd_protocol::tftp::{FetchOutcome, FetchPlan, Limits, MAX_BLOCK_SIZE, Outcome};

use super::client::{fetch, fetch_over, plan, socket};
use super::*;

fn ended(total: u64) -> Stage {
    Stage::Ended {
        bytes: total,
        total,
        ending: Ending::Finished(Outcome::Completed),
    }
}

#[tokio::test]
async fn a_file_in_memory_is_served_counted_and_told() {
    let bytes = pattern(3_000);
    let config = Config {
        progress_every: 2_000,
        ..Config::default()
    };
    let server = Running::start(Shelf::default().memory("boot/a.efi", &bytes), config);
    let (file, outcome) = fetch(server.address, plan("/boot/a.efi", None)).await;
    assert_eq!(outcome, FetchOutcome::Completed { len: 3_000 });
    assert_eq!(file, bytes);

    let counts = server
        .until(|counts| counts.active == 0 && counts.completed == 1)
        .await;
    let oack = b"\0\x06tsize\x003000\0blksize\x001468\0".len();
    let expected = Counts {
        started: 1,
        completed: 1,
        bytes_sent: u64::try_from(oack + 3 * 4 + 3_000).unwrap(),
        ..Counts::default()
    };
    assert_eq!(counts, expected);
    let (bytes, total) = (2_936, 3_000);
    let told = [
        Stage::Started { total },
        Stage::Progress { bytes, total },
        ended(total),
    ];
    assert_eq!(
        server.diary.stages(),
        told.map(|stage| ("boot/a.efi".to_owned(), stage))
    );
}

#[tokio::test]
async fn a_section_of_a_file_on_disk_is_served_in_windows() {
    let bytes = pattern(1 << 20);
    let mut blob = tempfile::tempfile().unwrap();
    blob.write_all(&bytes).unwrap();
    let source = Source::disk(Arc::new(blob), 1_000, 1_000_000);
    let server = Running::start(
        Shelf::default().with("linux", Ok(source)),
        Config::default(),
    );
    for window in [1, 7, 64] {
        let (file, outcome) = fetch(server.address, plan("linux", Some(window))).await;
        assert_eq!(outcome, FetchOutcome::Completed { len: 1_000_000 });
        assert_eq!(file, bytes[1_000..1_001_000]);
    }
}

#[tokio::test]
async fn every_length_around_a_block_arrives() {
    let lengths = [0, 1, 511, 512, 513, 1_024, 64 * 512, 64 * 512 + 1];
    let shelf = lengths.iter().fold(Shelf::default(), |shelf, len| {
        shelf.memory(&len.to_string(), &pattern(*len))
    });
    let server = Running::start(shelf, Config::default());
    for len in lengths {
        for window in [None, Some(64)] {
            let plan = FetchPlan {
                block_size: None,
                ..plan(&len.to_string(), window)
            };
            let (file, _) = fetch(server.address, plan).await;
            assert_eq!(file, pattern(len), "{len}");
        }
    }
}

#[tokio::test]
async fn the_largest_blocks_arrive() {
    let bytes = pattern(300_000);
    let limits = Limits {
        block_size: MAX_BLOCK_SIZE,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    let server = Running::start(Shelf::default().memory("a", &bytes), config);
    for block_size in [9_000, MAX_BLOCK_SIZE] {
        let plan = FetchPlan {
            block_size: Some(block_size),
            ..plan("a", Some(2))
        };
        assert_eq!(fetch(server.address, plan).await.0, bytes);
    }
}

#[tokio::test]
async fn the_answer_comes_from_the_address_that_was_asked() {
    let server = Running::start_at(
        "0.0.0.0:0",
        Shelf::default().memory("a", b"x"),
        Config::default(),
    );
    for ip in ["127.0.0.1", "127.0.0.2", "127.3.2.1"] {
        let asked = SocketAddr::new(ip.parse().unwrap(), server.address.port());
        // The client asserts the address of every answer.
        let (file, _) = fetch(asked, plan("a", None)).await;
        assert_eq!(file, b"x");
    }
}

#[tokio::test]
async fn ipv6_is_served_too() {
    let server = Running::start_at(
        "[::]:0",
        Shelf::default().memory("a", b"x"),
        Config::default(),
    );
    let asked = SocketAddr::new("::1".parse().unwrap(), server.address.port());
    assert_eq!(fetch(asked, plan("a", None)).await.0, b"x");
}

#[tokio::test]
async fn many_clients_share_one_file() {
    let bytes = pattern(200_000);
    let server = Running::start(Shelf::default().memory("a", &bytes), Config::default());
    let clients: Vec<_> = (0..60)
        .map(|_| tokio::spawn(fetch(server.address, plan("a", Some(4)))))
        .collect();
    for client in clients {
        assert_eq!(client.await.unwrap().0, bytes);
    }
    server
        .until(|counts| counts.completed == 60 && counts.active == 0)
        .await;
}

#[tokio::test]
async fn after_the_probe_the_same_port_reads_at_once() {
    let bytes = pattern(50_000);
    let server = Running::start(Shelf::default().memory("a", &bytes), Config::default());
    let socket = socket(server.address).await;
    for round in 1..=20 {
        let probe = FetchPlan {
            probe: true,
            ..plan("a", Some(4))
        };
        let (_, outcome) = fetch_over(&socket, server.address, probe).await;
        assert_eq!(outcome, FetchOutcome::Probed { size: Some(50_000) });
        // Odd rounds ask in the same words, even ones as EDK2 does: without the size.
        let again = FetchPlan {
            size: round % 2 == 1,
            ..plan("a", Some(4))
        };
        assert_eq!(fetch_over(&socket, server.address, again).await.0, bytes);
    }
    let counts = server.until(|counts| counts.active == 0).await;
    assert_eq!(
        (counts.completed, counts.aborted, counts.failed),
        (20, 20, 0)
    );
}
