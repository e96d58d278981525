//! Whether to look for answers for a moment before sleeping until one comes.
//!
//! A client in lock step answers within microseconds on a fast network, and to be woken takes
//! longer than that. So the loop looks again and again for [`MOMENT`], as long as that pays.

use std::time::Duration;

/// How long is looked: about what going to sleep and being woken costs.
pub(super) const MOMENT: Duration = Duration::from_micros(50);

/// After so many waits, at most, it is tried again whether answers come that soon: of a client
/// that is slower, a thousandth of its answers costs a moment.
const MOST_SKIPPED: u32 = 1_023;

/// What recent moments have brought.
#[derive(Debug, Default)]
pub(super) struct BusyPoll {
    vain: u32,
    skip: u32,
}

impl BusyPoll {
    /// Whether to look this time.
    pub(super) fn is_due(&mut self) -> bool {
        let due = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
        due
    }

    /// Something came within the moment.
    pub(super) fn paid(&mut self) {
        self.vain = 0;
    }

    /// Nothing did: twice as many waits as after the one before do without.
    pub(super) fn was_vain(&mut self) {
        self.vain = (2 * self.vain + 1).min(MOST_SKIPPED);
        self.skip = self.vain;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits of `count` that are looked into, each of which brings something or not.
    fn looked(poll: &mut BusyPoll, count: u32, pays: bool) -> u32 {
        let mut looks = 0;
        for _ in 0..count {
            if poll.is_due() {
                looks += 1;
                if pays {
                    poll.paid();
                } else {
                    poll.was_vain();
                }
            }
        }
        looks
    }

    #[test]
    fn who_answers_slowly_is_hardly_looked_for() {
        let mut poll = BusyPoll::default();
        assert_eq!(looked(&mut poll, 100, true), 100);
        // 1, 3, 7 … waits without, then 1,023 each time.
        assert_eq!(looked(&mut poll, 2_046, false), 10);
        assert_eq!(looked(&mut poll, 10_240, false), 10);
    }

    #[test]
    fn who_becomes_fast_is_looked_for_at_once() {
        let mut poll = BusyPoll::default();
        looked(&mut poll, 100_000, false);
        let waits = (1..).find(|_| poll.is_due()).unwrap();
        assert!(waits <= MOST_SKIPPED + 1, "{waits}");
        poll.paid();
        assert_eq!(looked(&mut poll, 100, true), 100);
        poll.was_vain();
        assert_eq!(looked(&mut poll, 3, true), 2);
    }
}
