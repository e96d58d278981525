//! How long to wait for an answer: measured, with back-off.

use std::time::Duration;

use super::{Agreed, Limits};

/// Timer granularity: no round trip is taken for shorter.
const GRAIN: Duration = Duration::from_millis(1);

/// Round-trip estimate and retransmission time-out (RFC 6298 §2, with our own bounds).
#[derive(Debug, Clone)]
pub(super) struct RoundTrip {
    first_wait: Duration,
    min_wait: Duration,
    max_wait: Duration,
    estimate: Option<Estimate>,
    backoff: u32,
}

#[derive(Debug, Clone, Copy)]
struct Estimate {
    smooth: Duration,
    variation: Duration,
}

impl RoundTrip {
    /// A time-out that the client asked for (RFC 2349) is how long it wants to wait for a
    /// repetition at most. Coming sooner does no harm: a round trip that is long is measured as long, and
    /// a block that comes twice is passed over. Clients ask for whole seconds, of which a thousand
    /// fit into what a loss costs on their network.
    pub(super) fn new(limits: &Limits, agreed: &Agreed) -> Self {
        RoundTrip {
            first_wait: limits.first_wait,
            min_wait: limits.min_wait,
            max_wait: agreed
                .timeout
                .map_or(limits.max_wait, |timeout| timeout.max(limits.max_wait)),
            estimate: None,
            backoff: 0,
        }
    }

    /// Takes one measurement, of a block that was sent only once (Karn's rule).
    pub(super) fn measured(&mut self, sample: Duration) {
        self.backoff = 0;
        self.estimate = Some(match self.estimate {
            None => Estimate {
                smooth: sample,
                variation: sample / 2,
            },
            Some(Estimate { smooth, variation }) => Estimate {
                variation: (variation * 3 + smooth.abs_diff(sample)) / 4,
                smooth: (smooth * 7 + sample) / 8,
            },
        });
    }

    /// The next wait will be twice as long.
    pub(super) fn back_off(&mut self) {
        self.backoff = (self.backoff + 1).min(16);
    }

    /// Time by which an answer has almost surely come, if it comes: an estimate without the
    /// generous lower bound of [`RoundTrip::wait`].
    pub(super) fn trip(&self) -> Duration {
        match self.estimate {
            None => self.first_wait,
            Some(estimate) => (estimate.smooth + estimate.variation * 4)
                .max(GRAIN)
                .min(self.max_wait),
        }
    }

    /// Time after which silence means loss.
    pub(super) fn wait(&self) -> Duration {
        let wait = match self.estimate {
            None => self.first_wait,
            Some(_) => self.trip().max(self.min_wait),
        };
        (wait * (1 << self.backoff)).min(self.max_wait)
    }
}
