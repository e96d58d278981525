//! Whole transfers over a wire that loses, doubles and reorders.

use std::time::Duration;

use super::world::{Client, Random, Report, Wire, World, byte_at};
use super::*;

/// Our own client, checking every byte.
struct Ours {
    fetch: Fetch,
    complete: Option<u64>,
}

impl Ours {
    fn new(block_size: Option<u16>, window: Option<u16>, size: bool) -> Self {
        let plan = FetchPlan {
            name: "file".to_owned(),
            block_size,
            window,
            size,
            tries: 30,
            ..FetchPlan::default()
        };
        Ours {
            fetch: Fetch::new(plan, Duration::ZERO),
            complete: None,
        }
    }

    fn words(&mut self) -> Vec<Vec<u8>> {
        let mut words = Vec::new();
        while let Some(command) = self.fetch.next_command() {
            match command {
                FetchCommand::Send(bytes) => words.push(bytes),
                FetchCommand::Done(FetchOutcome::Completed { len }) => {
                    assert_eq!(self.complete.replace(len), None);
                }
                FetchCommand::Done(other) => panic!("{other:?}"),
            }
        }
        words
    }
}

impl Client for Ours {
    fn start(&mut self) -> Vec<Vec<u8>> {
        self.words()
    }

    fn packet(&mut self, datagram: &[u8], now: Duration) -> Vec<Vec<u8>> {
        if let Some(piece) = self.fetch.handle_packet(datagram, now) {
            let expected = (piece.offset..).map(byte_at);
            assert!(
                piece
                    .bytes
                    .iter()
                    .copied()
                    .eq(expected.take(piece.bytes.len()))
            );
        }
        self.words()
    }

    fn timeout(&mut self, now: Duration) -> Vec<Vec<u8>> {
        self.fetch.handle_timeout(now);
        self.words()
    }

    fn due(&self) -> Option<Duration> {
        self.fetch.poll_timeout()
    }

    fn complete(&self) -> Option<u64> {
        self.complete
    }
}

/// A receiver that answers **every** block that is not the next one, as EDK2's does
/// (MdeModulePkg/NetworkPkg, Mtftp4RrqHandleData): the worst source of echoes.
struct Echoing {
    window: u16,
    block_size: u64,
    started: bool,
    received: u64,
    unacked: u16,
    len: u64,
    done: bool,
    deadline: Duration,
}

impl Echoing {
    fn new(window: u16) -> Self {
        Echoing {
            window,
            block_size: 512,
            started: false,
            received: 0,
            unacked: 0,
            len: 0,
            done: false,
            deadline: Duration::from_secs(4),
        }
    }

    fn ack(&mut self, now: Duration) -> Vec<Vec<u8>> {
        self.unacked = 0;
        self.deadline = now + Duration::from_secs(4);
        let block = u16::try_from(self.received % 65_536).unwrap();
        vec![Packet::Ack { block }.to_bytes()]
    }
}

impl Client for Echoing {
    fn start(&mut self) -> Vec<Vec<u8>> {
        let window = self.window.to_string();
        vec![read_request(&[("windowsize", &window)])]
    }

    fn packet(&mut self, datagram: &[u8], now: Duration) -> Vec<Vec<u8>> {
        match Packet::parse(datagram).unwrap() {
            Packet::OptionAck(_) if self.received == 0 => {
                self.started = true;
                self.ack(now)
            }
            Packet::Data { block, payload } if u64::from(block) == (self.received + 1) % 65_536 => {
                self.received += 1;
                self.unacked += 1;
                let len = u64::try_from(payload.len()).unwrap();
                self.len += len;
                self.done = len < self.block_size;
                if self.done || self.unacked == self.window {
                    self.ack(now)
                } else {
                    Vec::new()
                }
            }
            Packet::Data { .. } | Packet::OptionAck(_) => self.ack(now),
            other @ (Packet::Read(_)
            | Packet::Write(_)
            | Packet::Ack { .. }
            | Packet::Error { .. }) => {
                panic!("{other:?}")
            }
        }
    }

    fn timeout(&mut self, now: Duration) -> Vec<Vec<u8>> {
        if self.started {
            self.ack(now)
        } else {
            self.deadline = now + Duration::from_secs(4);
            self.start()
        }
    }

    fn due(&self) -> Option<Duration> {
        (!self.done).then_some(self.deadline)
    }

    fn complete(&self) -> Option<u64> {
        self.done.then_some(self.len)
    }
}

const QUIET: Wire = Wire {
    loss: 0,
    double: 0,
    delay: 500,
    jitter: 0,
};

fn blocks_of(size: u64, block_size: u16) -> u64 {
    size / u64::from(block_size) + 1
}

#[test]
fn every_size_and_window_arrives_over_every_wire() {
    let wires = [
        QUIET,
        Wire { loss: 10, ..QUIET },
        Wire {
            loss: 100,
            double: 20,
            jitter: 300,
            ..QUIET
        },
        Wire {
            loss: 200,
            double: 50,
            jitter: 3_000,
            ..QUIET
        },
    ];
    for seed in 0..400 {
        let mut random = Random(seed);
        let block_size = [None, Some(8), Some(100), Some(1_468)][small(random.below(4))];
        let window = [None, Some(1), Some(4), Some(16), Some(64)][small(random.below(5))];
        let unit = u64::from(block_size.unwrap_or(512));
        let size = [
            0,
            1,
            unit - 1,
            unit,
            unit + 1,
            16 * unit,
            64 * unit,
            301 * unit + 7,
        ][small(random.below(8))];
        let wire = wires[small(random.below(4))];
        let client = Ours::new(block_size, window, seed % 3 == 0);
        let report = World::new(client, size, wire, seed).run();
        let context = format!("seed {seed}: {size} bytes, {block_size:?}, {window:?}, {wire:?}");
        assert_eq!(report.received, Some(size), "{context}: {report:?}");
        assert_eq!(
            report.outcome,
            Some(Outcome::Completed),
            "{context}: {report:?}"
        );
    }
}

#[test]
fn nothing_is_sent_twice_over_a_good_wire() {
    for window in [1, 4, 16, 64] {
        let size = 100_000;
        let client = Ours::new(Some(100), Some(window), true);
        let report = World::new(client, size, QUIET, 1).run();
        assert_eq!(report.received, Some(size));
        assert_eq!(report.blocks_sent, blocks_of(size, 100));
    }
}

#[test]
fn a_file_may_have_more_than_65535_blocks() {
    for (seed, wire) in [
        (1, QUIET),
        (
            2,
            Wire {
                loss: 5,
                double: 5,
                jitter: 300,
                ..QUIET
            },
        ),
    ] {
        let size = 8 * 70_000;
        let report = World::new(Ours::new(Some(8), Some(16), true), size, wire, seed).run();
        assert_eq!(report.received, Some(size));
        assert_eq!(report.outcome, Some(Outcome::Completed));
    }
}

/// The flow for one seed: blocks sent for each block of the file, in hundredths.
fn cost<C: Client>(client: C, size: u64, block_size: u16, wire: Wire, seed: u64) -> (u64, Report) {
    let report = World::new(client, size, wire, seed).run();
    assert_eq!(report.received, Some(size), "seed {seed}: {report:?}");
    (
        report.blocks_sent * 100 / blocks_of(size, block_size),
        report,
    )
}

#[test]
fn doubled_datagrams_do_not_double_the_flow() {
    // In lock step nothing is ever sent for a doubled ACK; in windows one of twenty blocks that
    // is answered twice costs at most the rest of its window, once, and starts no chain.
    let wire = Wire {
        double: 50,
        ..QUIET
    };
    for (window, most) in [(1, 100), (4, 120), (16, 160)] {
        for seed in 0..10 {
            let (cost, report) = cost(Echoing::new(window), 500_000, 512, wire, seed);
            assert!(
                cost <= most,
                "window {window}, seed {seed}: {cost} %, {report:?}"
            );
        }
    }
}

#[test]
fn a_receiver_that_echoes_is_not_flooded() {
    for (loss, window, most) in [(2, 4, 105), (2, 16, 110), (20, 4, 115), (20, 16, 140)] {
        for seed in 0..10 {
            let wire = Wire { loss, ..QUIET };
            let (cost, report) = cost(Echoing::new(window), 1_000_000, 512, wire, seed);
            assert!(
                cost <= most,
                "loss {loss}, window {window}, seed {seed}: {cost} %, {report:?}"
            );
        }
    }
}

#[test]
fn a_loss_costs_a_round_trip_and_not_a_time_out() {
    // About 28 of 14,000 blocks are lost. Were each to cost a time-out of 200 ms, that would be
    // 5.6 s; at one round trip each it is 28 ms on top of 0.9 s.
    let wire = Wire { loss: 2, ..QUIET };
    for seed in 0..10 {
        let client = Ours::new(Some(64), Some(16), true);
        let (_, report) = cost(client, 64 * 14_000, 64, wire, seed);
        assert!(
            report.took < Duration::from_millis(2_600),
            "seed {seed}: {report:?}"
        );
    }
}

fn small(value: u64) -> usize {
    usize::try_from(value).unwrap()
}
