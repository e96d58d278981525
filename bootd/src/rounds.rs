//! The rounds: what is looked at once a second, whether anybody speaks or not.

use std::time::Instant;

use crate::desired::Desired;
use crate::orders::Orders;
use crate::presence::Presence;
use crate::supervision::{BEAT_INTERVAL, Pulse};

/// Who goes the rounds.
pub struct Rounds {
    /// The catalog in force.
    pub desired: Desired,
    /// How nodes are doing.
    pub presence: Presence,
    /// Orders to many nodes.
    pub orders: Orders,
}

impl Rounds {
    /// Goes on for ever; `pulse` is the sign of life.
    pub fn run(self, pulse: &Pulse) {
        let mut generation = None;
        let mut looked_abroad = true;
        loop {
            pulse.beat();
            let view = self.desired.view();
            if generation != Some(view.snapshot.generation) {
                generation = Some(view.snapshot.generation);
                self.presence.follow(&view);
                self.orders.follow(&view);
            }
            let missing = self.presence.tick(Instant::now());
            self.orders.tick(&missing);
            // Once more after the last such package has gone.
            if view.served.looks_abroad() || looked_abroad {
                self.presence.compare(&view);
            }
            looked_abroad = view.served.looks_abroad();
            std::thread::sleep(BEAT_INTERVAL / 2);
        }
    }
}
