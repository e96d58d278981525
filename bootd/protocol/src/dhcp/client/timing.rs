//! When to send again.

use std::time::Duration;

/// SplitMix64: spreads one seed over many numbers; nothing secret hangs on them.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u32) -> Self {
        Random(seed.into())
    }

    pub(super) fn next_u32(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [a, b, c, d, ..] = (z ^ (z >> 31)).to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }
}

/// How long to wait for an answer to the `attempt`th packet, counted from 0: 1, 2, 4 ... 64
/// seconds, give or take a quarter, at most one second (RFC 2131, section 4.1, but for the
/// first waits: a blank rack should not idle for 4 seconds for one lost packet).
pub(super) fn backoff(attempt: u32, random: &mut Random) -> Duration {
    let base = 1000_u64 << attempt.min(6);
    let spread = (base / 4).min(1000);
    let jitter = u64::from(random.next_u32()) % (2 * spread + 1);
    Duration::from_millis(base - spread + jitter)
}

/// When to renew again: after half of what is left, but not before a minute has passed nor
/// after `end` (RFC 2131, section 4.4.5).
pub(super) fn again(now: Duration, end: Duration) -> Duration {
    let left = end.saturating_sub(now);
    let wait = (left / 2).max(Duration::from_secs(60));
    now.saturating_add(wait).min(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_a_minute_and_keeps_its_bounds() {
        let mut random = Random::new(1);
        for (attempt, base, spread) in [
            (0, 1000, 250),
            (1, 2000, 500),
            (2, 4000, 1000),
            (6, 64_000, 1000),
            (99, 64_000, 1000),
        ] {
            for _ in 0..1000 {
                let wait = backoff(attempt, &mut random).as_millis();
                assert!((base - spread..=base + spread).contains(&wait), "{wait}");
            }
        }
    }

    #[test]
    fn renewal_halves_what_is_left() {
        let s = Duration::from_secs;
        assert_eq!(again(s(0), s(1000)), s(500));
        assert_eq!(again(s(900), s(1000)), s(960));
        assert_eq!(again(s(960), s(1000)), s(1000));
    }
}
