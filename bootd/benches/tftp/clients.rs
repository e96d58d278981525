//! The clients: our [`Fetch`] machine on one thread, however many they are.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bootd_protocol::tftp::{Fetch, FetchCommand, FetchOutcome, FetchPlan};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

/// A crowd of clients that start at once.
#[derive(Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) clients: usize,
    pub(crate) window: Option<u16>,
    /// DATA packets that each client drops, of 1,000.
    pub(crate) lost_of_1000: u64,
    /// Ask for the size, abort, ask again from the same port, as EDK2 does.
    pub(crate) probe_first: bool,
    /// Fetches of each client, one after the other.
    pub(crate) repeat: usize,
    pub(crate) deadline: Duration,
}

/// What a crowd got.
pub(crate) struct Tally {
    /// Fetches that were complete by the deadline.
    pub(crate) done: usize,
    bytes: u64,
    took: Duration,
}

impl Tally {
    /// Megabytes (10^6) per second that the clients got, in order and each once, complete files
    /// or not: a server that is cut off by the deadline is not marked down for it.
    pub(crate) fn speed(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.took.as_secs_f64()
    }
}

impl Crowd {
    /// Runs until all are done or the deadline is past.
    pub(crate) fn run(&self, server: SocketAddr, file_len: usize, round: usize) -> Tally {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let goods = Arc::new(AtomicU64::new(0));
        let start = Instant::now();
        let file_len = u64::try_from(file_len).unwrap();
        let done = runtime.block_on(self.gather(server, file_len, round, &goods));
        Tally {
            done,
            bytes: goods.load(Relaxed),
            took: start.elapsed(),
        }
    }

    async fn gather(
        self,
        server: SocketAddr,
        file_len: u64,
        round: usize,
        goods: &Arc<AtomicU64>,
    ) -> usize {
        let mut fetches = JoinSet::new();
        let deadline = tokio::time::Instant::now() + self.deadline;
        for client in 0..self.clients {
            let seed = u64::try_from(round * 10_000 + client).unwrap();
            let client = self.client(server, file_len, seed, Arc::clone(goods));
            fetches.spawn(timeout_at(deadline, client));
        }
        let all = fetches.join_all().await;
        all.into_iter().filter(Result::is_ok).count() * self.repeat
    }

    async fn client(self, server: SocketAddr, file_len: u64, seed: u64, goods: Arc<AtomicU64>) {
        let mut wire = Wire {
            state: seed,
            lost_of_1000: self.lost_of_1000,
            goods,
        };
        for _ in 0..self.repeat {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let plan = FetchPlan {
                name: "image".to_owned(),
                window: self.window,
                ..FetchPlan::default()
            };
            if self.probe_first {
                let probe = FetchPlan {
                    probe: true,
                    ..plan.clone()
                };
                let outcome = fetch(&socket, server, probe, &mut wire).await;
                let size = Some(file_len);
                assert_eq!(outcome, FetchOutcome::Probed { size });
            }
            let outcome = fetch(&socket, server, plan, &mut wire).await;
            assert_eq!(outcome, FetchOutcome::Completed { len: file_len });
        }
    }
}

async fn fetch(
    socket: &UdpSocket,
    server: SocketAddr,
    plan: FetchPlan,
    wire: &mut Wire,
) -> FetchOutcome {
    let origin = Instant::now();
    let mut fetch = Fetch::new(plan, Duration::ZERO);
    let mut to = server;
    let mut buffer = [0; 2_048];
    loop {
        while let Some(command) = fetch.next_command() {
            match command {
                FetchCommand::Send(bytes) => {
                    socket.send_to(&bytes, to).await.unwrap();
                }
                FetchCommand::Done(outcome) => return outcome,
            }
        }
        let left = fetch
            .poll_timeout()
            .unwrap()
            .saturating_sub(origin.elapsed());
        if timeout(left, socket.readable()).await.is_err() {
            fetch.handle_timeout(origin.elapsed());
        }
        loop {
            match socket.try_recv_from(&mut buffer) {
                Ok((len, _)) if wire.loses(&buffer[..len]) => {}
                Ok((len, from)) => {
                    // A dead transfer that still sends must not be taken for the new one.
                    if to == server || to == from {
                        to = from;
                        if let Some(piece) = fetch.handle_packet(&buffer[..len], origin.elapsed()) {
                            let len = u64::try_from(piece.bytes.len()).unwrap();
                            wire.goods.fetch_add(len, Relaxed);
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Seeded loss of DATA (SplitMix64), and what came through.
struct Wire {
    state: u64,
    lost_of_1000: u64,
    goods: Arc<AtomicU64>,
}

impl Wire {
    fn loses(&mut self, datagram: &[u8]) -> bool {
        if self.lost_of_1000 == 0 || !datagram.starts_with(&[0, 3]) {
            return false;
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % 1_000 < self.lost_of_1000
    }
}
