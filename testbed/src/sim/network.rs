//! A network that loses, repeats and delays.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use fastrand::Rng;

/// Who a datagram is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// A node, by its number.
    Node(usize),
    /// The master.
    Master,
}

/// How bad the network is, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Datagrams that never arrive.
    pub loss: u8,
    /// Datagrams that arrive twice.
    pub duplication: u8,
    /// Longest delay in milliseconds: datagrams overtake each other within it.
    pub delay_ms: u64,
}

impl Faults {
    /// A network that only takes a millisecond.
    pub const NONE: Faults = Faults {
        loss: 0,
        duplication: 0,
        delay_ms: 1,
    };
}

/// A datagram on its way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivery {
    /// When it arrives.
    pub at: Duration,
    /// In the order of sending, where two arrive at once.
    order: u64,
    /// From whom.
    pub from: Address,
    /// For whom.
    pub to: Address,
    /// Its bytes.
    pub datagram: Vec<u8>,
}

/// The datagrams on their way.
#[derive(Debug)]
pub struct Network {
    /// How bad it is now.
    pub faults: Faults,
    queue: BinaryHeap<Reverse<Delivery>>,
    order: u64,
}

impl Network {
    /// An empty network.
    #[must_use]
    pub fn new(faults: Faults) -> Self {
        Network {
            faults,
            queue: BinaryHeap::new(),
            order: 0,
        }
    }

    /// Sends a datagram: it arrives later, twice, or never.
    pub fn send(
        &mut self,
        from: Address,
        to: Address,
        datagram: &[u8],
        now: Duration,
        rng: &mut Rng,
    ) {
        if rng.u8(..100) < self.faults.loss {
            return;
        }
        let copies = 1 + u64::from(rng.u8(..100) < self.faults.duplication);
        for _ in 0..copies {
            self.order += 1;
            let at = now + Duration::from_millis(rng.u64(1..=self.faults.delay_ms));
            let order = self.order;
            let datagram = datagram.to_vec();
            self.queue.push(Reverse(Delivery {
                at,
                order,
                from,
                to,
                datagram,
            }));
        }
    }

    /// When the next datagram arrives.
    #[must_use]
    pub fn next_at(&self) -> Option<Duration> {
        self.queue.peek().map(|it| it.0.at)
    }

    /// The next datagram that has arrived by `now`.
    pub fn deliver(&mut self, now: Duration) -> Option<Delivery> {
        let due = self.next_at().is_some_and(|at| at <= now);
        due.then(|| self.queue.pop()).flatten().map(|it| it.0)
    }
}
