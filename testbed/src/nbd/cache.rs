//! The volatile cache in front of a disk's medium, and what of it survives a power cut.

use std::ops::{Range, RangeInclusive};

use super::image::Image;
use super::random::Random;

/// The unit that a power cut keeps or loses whole, in bytes.
pub const SECTOR: usize = 512;

/// What a power cut does to the writes that were not flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutPolicy {
    /// All of them are lost.
    LoseAll,
    /// Each of their sectors is kept or lost on its own, under the seed. How many are
    /// kept (few, half, most) is drawn from the seed too. A later write may survive
    /// where an earlier one is lost: that is what a disk's cache may do.
    RandomSectors,
}

/// What a cut did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CutReport {
    /// Write requests that were not flushed.
    pub pending_writes: u64,
    /// Their sectors that survived.
    pub kept_sectors: u64,
    /// Their sectors that did not.
    pub lost_sectors: u64,
}

/// A change that was not flushed when it was made.
#[derive(Debug)]
struct Pending {
    offset: u64,
    change: Change,
    /// Already durable on its own (FUA); kept in line so that no older write overtakes it.
    forced: bool,
}

/// What a write does to its range.
#[derive(Debug)]
pub(super) enum Change {
    Data(Vec<u8>),
    Zeros(usize),
}

impl Change {
    pub(super) fn len(&self) -> usize {
        match self {
            Change::Data(data) => data.len(),
            Change::Zeros(length) => *length,
        }
    }

    fn apply(&self, image: &mut Image, offset: u64, range: Range<usize>) {
        let at = offset + range.start as u64;
        match self {
            Change::Data(data) => image.write(at, &data[range]),
            Change::Zeros(_) => image.zero(at, range.len()),
        }
    }
}

/// What is on the medium, and what is not yet.
#[derive(Debug, Default)]
pub(super) struct Cache {
    durable: Image,
    /// What a reader sees: `durable` with all of `pending`.
    current: Image,
    pending: Vec<Pending>,
}

impl Cache {
    pub(super) fn durable(&self) -> &Image {
        &self.durable
    }

    pub(super) fn current(&self) -> &Image {
        &self.current
    }

    /// Forgets everything for this content of the medium.
    pub(super) fn reset(&mut self, durable: Image) {
        self.pending.clear();
        self.current = durable.clone();
        self.durable = durable;
    }

    pub(super) fn change(&mut self, offset: u64, change: Change) {
        change.apply(&mut self.current, offset, 0..change.len());
        self.pending.push(Pending {
            offset,
            change,
            forced: false,
        });
    }

    pub(super) fn flush(&mut self) {
        for pending in self.pending.drain(..) {
            self.durable
                .share(&self.current, pending.offset, pending.change.len());
        }
    }

    /// Brings the last change to the medium, and no other (FUA).
    pub(super) fn force_last(&mut self) {
        if let Some(last) = self.pending.last_mut() {
            last.forced = true;
            let length = last.change.len();
            last.change.apply(&mut self.durable, last.offset, 0..length);
        }
    }

    pub(super) fn cut(&mut self, policy: CutPolicy, seed: u64) -> CutReport {
        let pending = std::mem::take(&mut self.pending);
        let mut durable = std::mem::take(&mut self.durable);
        let report = match policy {
            CutPolicy::LoseAll => lose_all(&pending),
            CutPolicy::RandomSectors => keep_some(&mut durable, &pending, seed),
        };
        self.reset(durable);
        report
    }
}

fn sectors(length: usize) -> impl Iterator<Item = Range<usize>> {
    (0..length)
        .step_by(SECTOR)
        .map(move |start| start..length.min(start + SECTOR))
}

fn lose_all(pending: &[Pending]) -> CutReport {
    let mut report = CutReport::default();
    for pending in pending.iter().filter(|pending| !pending.forced) {
        report.pending_writes += 1;
        report.lost_sectors += pending.change.len().div_ceil(SECTOR) as u64;
    }
    report
}

/// Share of sectors kept, of 8, one of which a seed draws.
const KEPT_OF_EIGHT: RangeInclusive<u64> = 1..=7;

fn keep_some(durable: &mut Image, pending: &[Pending], seed: u64) -> CutReport {
    let mut random = Random::new(seed);
    let kept_of_eight = random.within(KEPT_OF_EIGHT);
    let mut report = CutReport::default();
    for Pending {
        offset,
        change,
        forced,
    } in pending
    {
        report.pending_writes += u64::from(!forced);
        for range in sectors(change.len()) {
            let keep = *forced || random.within(1..=8) <= kept_of_eight;
            if keep {
                change.apply(durable, *offset, range);
            }
            report.kept_sectors += u64::from(keep && !forced);
            report.lost_sectors += u64::from(!keep);
        }
    }
    report
}
