//! What became of the datagrams that came.

use crate::verify::header::Drop;

/// Datagrams counted by fate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// All that came.
    pub received: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Of these, reports.
    pub reports: u64,
    dropped: [u64; DROPS.len()],
}

const DROPS: [Drop; 9] = [
    Drop::Garbage,
    Drop::Malformed,
    Drop::Version,
    Drop::Kind,
    Drop::Signature,
    Drop::Replayed,
    Drop::Unasked,
    Drop::PastEpoch,
    Drop::Ignored,
];

impl Counters {
    /// How many were dropped for `reason`.
    #[must_use]
    pub fn dropped(&self, reason: Drop) -> u64 {
        self.by_reason()
            .find(|(it, _)| *it == reason)
            .map_or(0, |(_, count)| count)
    }

    /// Every reason with its count.
    pub fn by_reason(&self) -> impl Iterator<Item = (Drop, u64)> + '_ {
        DROPS.into_iter().zip(self.dropped.iter().copied())
    }

    pub(super) fn drop(&mut self, reason: Drop) {
        for (it, count) in DROPS.iter().zip(&mut self.dropped) {
            *count += u64::from(*it == reason);
        }
    }
}
