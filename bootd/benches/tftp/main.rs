//! Our TFTP server and async-tftp's, side by side on loopback.
//!
//! `cargo bench -p bootd --bench tftp` prints the table of
//! `docs/decisions/0001-own-tftp-engine.md`. Each server runs on one thread and all clients,
//! which are ours, on another. Every measurement starts its server afresh; the servers take
//! turns, and the mean of the rounds is shown. Nothing runs longer than its deadline.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark: prints its result, stops at the first surprise"
)]
#![expect(
    clippy::cast_precision_loss,
    reason = "figures for people, far below 2^52"
)]

mod clients;
mod servers;

use std::time::Duration;

use clients::{Crowd, Tally};
use servers::Kind;

/// What is fetched: the size of a small boot image.
const FILE_LEN: usize = 2 << 20;

/// Times each server is measured in each scenario.
const ROUNDS: usize = 2;

const SERVERS: [(Kind, &str); 3] = [
    (Kind::Ours, "bootd"),
    (
        Kind::Theirs(Duration::from_secs(3)),
        "async-tftp, as it comes (3 s timer)",
    ),
    (
        Kind::Theirs(Duration::from_millis(250)),
        "async-tftp, 250 ms timer",
    ),
];

fn scenarios() -> Vec<(&'static str, Crowd)> {
    let plain = Crowd {
        clients: 1,
        window: None,
        lost_of_1000: 0,
        probe_first: false,
        repeat: 1,
        deadline: Duration::from_secs(4),
    };
    vec![
        (
            "1 client, no window, 10 times",
            Crowd {
                repeat: 10,
                ..plain
            },
        ),
        (
            "1 client, window 16, 20 times",
            Crowd {
                window: Some(16),
                repeat: 20,
                ..plain
            },
        ),
        (
            "100 clients, window 4, 0.2 % of DATA lost",
            Crowd {
                clients: 100,
                window: Some(4),
                lost_of_1000: 2,
                ..plain
            },
        ),
        (
            "250 clients, window 16",
            Crowd {
                clients: 250,
                window: Some(16),
                ..plain
            },
        ),
        (
            "50 clients, size probe ended by ERROR 8, then the same port asks again",
            Crowd {
                clients: 50,
                window: Some(4),
                probe_first: true,
                ..plain
            },
        ),
    ]
}

fn main() {
    // `cargo test --all-targets` starts benchmarks, too, without this.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!("| scenario | server | MB/s (each round) | complete within 4 s | ratio |");
    println!("|---|---|---|---|---|");
    for (title, crowd) in scenarios() {
        let mut tallies = SERVERS.map(|_| Vec::new());
        for round in 0..ROUNDS {
            for ((kind, _), tallies) in SERVERS.iter().zip(&mut tallies) {
                tallies.push(measure(*kind, &crowd, round));
            }
        }
        print_rows(title, &crowd, &tallies);
    }
}

fn measure(kind: Kind, crowd: &Crowd, round: usize) -> Tally {
    let server = kind.start(FILE_LEN);
    let tally = crowd.run(server.address, FILE_LEN, round);
    server.stop();
    tally
}

fn print_rows(title: &str, crowd: &Crowd, tallies: &[Vec<Tally>]) {
    let means: Vec<f64> = tallies.iter().map(|tallies| mean(tallies)).collect();
    for ((_, name), (tallies, speed)) in SERVERS.iter().zip(tallies.iter().zip(&means)) {
        let rounds: Vec<_> = tallies
            .iter()
            .map(|it| format!("{:.0}", it.speed()))
            .collect();
        let done: usize = tallies.iter().map(|it| it.done).sum();
        let all = crowd.clients * crowd.repeat * ROUNDS;
        let ratio = if *speed < 0.05 {
            "-".to_owned()
        } else {
            format!("{:.2}", means[0] / speed)
        };
        println!(
            "| {title} | {name} | **{speed:.0}** ({}) | {done} of {all} | {ratio} |",
            rounds.join(", ")
        );
    }
}

fn mean(tallies: &[Tally]) -> f64 {
    tallies.iter().map(Tally::speed).sum::<f64>() / tallies.len() as f64
}
