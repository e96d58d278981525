//! Two machines, one virtual wire, a virtual clock: loss, duplication, jitter under a seed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

/// SplitMix64: a few lines, the same on every machine.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// What the wire does to each datagram, in either direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wire {
    /// Datagrams lost of 1,000.
    pub(super) loss: u64,
    /// Datagrams doubled of 1,000.
    pub(super) double: u64,
    /// One way, microseconds.
    pub(super) delay: u64,
    /// Added at random, microseconds; more than the gap between two datagrams reorders.
    pub(super) jitter: u64,
}

/// A receiver under test.
pub(super) trait Client {
    fn start(&mut self) -> Vec<Vec<u8>>;
    fn packet(&mut self, datagram: &[u8], now: Duration) -> Vec<Vec<u8>>;
    fn timeout(&mut self, now: Duration) -> Vec<Vec<u8>>;
    fn due(&self) -> Option<Duration>;
    /// Bytes received in order, once the file is complete.
    fn complete(&self) -> Option<u64>;
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) received: Option<u64>,
    pub(super) outcome: Option<Outcome>,
    pub(super) blocks_sent: u64,
    pub(super) took: Duration,
}

enum Event {
    ToServer(Vec<u8>),
    ToClient(Vec<u8>),
}

pub(super) struct World<C> {
    pub(super) client: C,
    server: Option<Transfer>,
    size: u64,
    wire: Wire,
    random: Random,
    now: Duration,
    events: BTreeMap<(Duration, u64), Event>,
    sequence: u64,
    blocks_sent: u64,
    outcome: Option<Outcome>,
}

/// The byte at `offset` of every test file.
pub(super) fn byte_at(offset: u64) -> u8 {
    offset.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]
}

impl<C: Client> World<C> {
    pub(super) fn new(client: C, size: u64, wire: Wire, seed: u64) -> Self {
        World {
            client,
            server: None,
            size,
            wire,
            random: Random(seed),
            now: Duration::ZERO,
            events: BTreeMap::new(),
            sequence: 0,
            blocks_sent: 0,
            outcome: None,
        }
    }

    /// Runs until nothing is under way and no timer is set.
    pub(super) fn run(&mut self) -> Report {
        let request = self.client.start();
        self.say_to_server(request);
        loop {
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let timers = [
                self.client.due(),
                self.server.as_ref().and_then(Transfer::poll_timeout),
            ];
            let Some(next) = timers.into_iter().flatten().chain(event).min() else {
                break;
            };
            self.now = self.now.max(next);
            if event == Some(next) {
                self.deliver();
            } else {
                self.fire();
            }
        }
        Report {
            received: self.client.complete(),
            outcome: self.outcome.take(),
            blocks_sent: self.blocks_sent,
            took: self.now,
        }
    }

    fn deliver(&mut self) {
        match self.events.pop_first().unwrap().1 {
            Event::ToClient(datagram) => {
                let answers = self.client.packet(&datagram, self.now);
                self.say_to_server(answers);
            }
            Event::ToServer(datagram) => {
                self.reach_server(&datagram);
                self.obey_server();
            }
        }
    }

    fn fire(&mut self) {
        if self.client.due().is_some_and(|due| due <= self.now) {
            let words = self.client.timeout(self.now);
            self.say_to_server(words);
        }
        if let Some(server) = &mut self.server {
            server.handle_timeout(self.now);
            self.obey_server();
        }
    }

    fn reach_server(&mut self, datagram: &[u8]) {
        let now = self.now;
        match (admit(datagram), &mut self.server) {
            (Admission::Read(read), None) => {
                let limits = Limits::default();
                self.server = Some(Transfer::new(datagram, &read, self.size, &limits, now));
            }
            (Admission::Read(_), Some(server)) => {
                // A late copy may reach a transfer that is over: then it would start another.
                let over = server.poll_timeout().is_none();
                let repeat = server.handle_request(datagram, now);
                assert!(over || repeat == Repeat::Same);
            }
            (Admission::Ignore(_), Some(server)) => server.handle_packet(datagram, now),
            (admission, _) => panic!("{admission:?}"),
        }
    }

    fn obey_server(&mut self) {
        while let Some(command) = self.server.as_mut().and_then(Transfer::next_command) {
            match command {
                Command::Send(bytes) => self.send(Event::ToClient(bytes)),
                Command::SendData(run) => self.send_run(run),
                Command::Done(outcome) => {
                    assert_eq!(self.outcome.replace(outcome), None);
                }
            }
        }
    }

    fn send_run(&mut self, run: Run) {
        for index in 0..run.count {
            let (block, offset, len) = run.block(index);
            assert!(offset + u64::from(len) <= self.size);
            let payload: Vec<u8> = (offset..offset + u64::from(len)).map(byte_at).collect();
            self.blocks_sent += 1;
            self.send(Event::ToClient(
                [&data_header(block)[..], &payload].concat(),
            ));
        }
    }

    fn say_to_server(&mut self, words: Vec<Vec<u8>>) {
        for word in words {
            self.send(Event::ToServer(word));
        }
    }

    fn send(&mut self, event: Event) {
        if self.random.below(1_000) < self.wire.loss {
            return;
        }
        if self.random.below(1_000) < self.wire.double {
            match &event {
                Event::ToServer(bytes) => self.schedule(Event::ToServer(bytes.clone())),
                Event::ToClient(bytes) => self.schedule(Event::ToClient(bytes.clone())),
            }
        }
        self.schedule(event);
    }

    fn schedule(&mut self, event: Event) {
        let micros = self.wire.delay + self.random.below(self.wire.jitter + 1);
        self.sequence += 1;
        let at = self.now + Duration::from_micros(micros);
        self.events.insert((at, self.sequence), event);
    }
}
