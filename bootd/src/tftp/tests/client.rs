//! Our own client on a real socket.

use std::net::SocketAddr;
use std::time::Instant;

use bootd_protocol::tftp::{Fetch, FetchCommand, FetchOutcome, FetchPlan};
use tokio::net::UdpSocket;
use tokio::time::{Duration, timeout, timeout_at};

use super::PATIENCE;

pub(super) async fn socket(server: SocketAddr) -> UdpSocket {
    let any = if server.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    UdpSocket::bind(any).await.unwrap()
}

/// Fetches over `socket`; gives back the bytes and how it ended.
pub(super) async fn fetch_over(
    socket: &UdpSocket,
    server: SocketAddr,
    plan: FetchPlan,
) -> (Vec<u8>, FetchOutcome) {
    let origin = Instant::now();
    let mut fetch = Fetch::new(plan, Duration::ZERO);
    let (mut file, mut to) = (Vec::new(), server);
    let mut buffer = vec![0; 65_536];
    let converse = async {
        loop {
            while let Some(command) = fetch.next_command() {
                match command {
                    FetchCommand::Send(bytes) => {
                        socket.send_to(&bytes, to).await.unwrap();
                    }
                    FetchCommand::Done(outcome) => return outcome,
                }
            }
            let due = tokio::time::Instant::from_std(origin + fetch.poll_timeout().unwrap());
            match timeout_at(due, socket.recv_from(&mut buffer)).await {
                Ok(received) => {
                    let (len, from) = received.unwrap();
                    assert_eq!(from.ip(), server.ip());
                    to = from;
                    if let Some(piece) = fetch.handle_packet(&buffer[..len], origin.elapsed()) {
                        file.extend_from_slice(piece.bytes);
                    }
                }
                Err(_) => fetch.handle_timeout(origin.elapsed()),
            }
        }
    };
    let outcome = timeout(PATIENCE, converse).await.unwrap();
    (file, outcome)
}

pub(super) async fn fetch(server: SocketAddr, plan: FetchPlan) -> (Vec<u8>, FetchOutcome) {
    fetch_over(&socket(server).await, server, plan).await
}

pub(super) fn plan(name: &str, window: Option<u16>) -> FetchPlan {
    FetchPlan {
        name: name.to_owned(),
        window,
        ..FetchPlan::default()
    }
}
