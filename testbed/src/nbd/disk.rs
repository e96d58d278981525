//! A disk with a volatile write cache, as the power-cut tests need it: what has not been
//! flushed is held back, and a cut loses all of it or a part that a seed chooses.

use std::io;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

/// When the power is cut; counted from [`Disk::arm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutAt {
    /// At the n-th write (of 1): it reaches the cache and is not answered.
    Write(u64),
    /// At the n-th flush (of 1): it does nothing and is not answered.
    Flush(u64),
    /// At the write that brings the bytes written to this number.
    Bytes(u64),
}

/// What a disk has been asked so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Read requests.
    pub reads: u64,
    /// Write, trim and write-zeroes requests.
    pub writes: u64,
    /// Bytes of those write requests.
    pub bytes_written: u64,
    /// Flush requests.
    pub flushes: u64,
    /// Writes with the force-unit-access flag.
    pub fua_writes: u64,
    /// Power cuts.
    pub cuts: u64,
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

/// A disk's durable content at one moment; cheap to make, to keep and to copy.
#[derive(Debug, Clone)]
pub struct Snapshot {
    image: Image,
    size: u64,
}

/// The power is off: the request gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PowerIsOff;

/// A connection's permission to reach the disk: void after the next cut or restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Session(u64);

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
enum Change {
    Data(Vec<u8>),
    Zeros(usize),
}

impl Change {
    fn len(&self) -> usize {
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

type CutCallback = Box<dyn FnOnce() + Send>;

/// Counts down to an armed cut.
struct Armed {
    at: CutAt,
    writes: u64,
    flushes: u64,
    bytes: u64,
    then: CutCallback,
}

impl Armed {
    fn is_due(&self) -> bool {
        match self.at {
            CutAt::Write(nth) => self.writes >= nth,
            CutAt::Flush(nth) => self.flushes >= nth,
            CutAt::Bytes(total) => self.bytes >= total,
        }
    }
}

#[derive(Default)]
struct State {
    durable: Image,
    /// What a reader sees: `durable` with all of `pending`.
    current: Image,
    pending: Vec<Pending>,
    counters: Counters,
    armed: Option<Armed>,
    /// An armed cut has come: nothing is answered until [`Disk::cut`] or a restore.
    frozen: bool,
    session: u64,
}

/// The disk; shared by the server that serves it and the test that cuts its power.
pub struct Disk {
    size: u64,
    state: Mutex<State>,
    froze: Condvar,
}

impl Disk {
    /// A blank disk of `size` bytes, rounded down to whole sectors.
    #[must_use]
    pub fn blank(size: u64) -> Self {
        Disk {
            size: size - size % SECTOR as u64,
            state: Mutex::default(),
            froze: Condvar::new(),
        }
    }

    /// A disk that begins with the content of a snapshot.
    #[must_use]
    pub fn from_snapshot(snapshot: &Snapshot) -> Self {
        let disk = Disk::blank(snapshot.size);
        disk.restore(snapshot);
        disk
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The durable content: what would be found if the power were cut now with
    /// [`CutPolicy::LoseAll`].
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            image: self.lock().durable.clone(),
            size: self.size,
        }
    }

    /// Goes back to a snapshot; connections made before are void, an armed cut is disarmed.
    pub fn restore(&self, snapshot: &Snapshot) {
        let mut state = self.lock();
        state.durable = snapshot.image.clone();
        state.power_cycle();
    }

    /// What was asked since the disk was made.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.lock().counters
    }

    /// Memory that the durable content takes, in bytes.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lock().durable.used()
    }

    /// Cuts the power at a coming request: from then on nothing is answered, and `then`
    /// is called once, on the server's thread, to kill the machine at once. Follow with
    /// [`Disk::cut`] when the machine is dead. Arming again replaces an armed cut.
    pub fn arm(&self, at: CutAt, then: impl FnOnce() + Send + 'static) {
        self.lock().armed = Some(Armed {
            at,
            writes: 0,
            flushes: 0,
            bytes: 0,
            then: Box::new(then),
        });
    }

    /// Takes an armed cut back; does nothing to one that has come.
    pub fn disarm(&self) {
        self.lock().armed = None;
    }

    /// Waits until an armed cut has come; `false` when it has not by then.
    #[must_use]
    pub fn wait_for_cut(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        while !state.frozen {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return false;
            }
            state = self
                .froze
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// Cuts the power: of what was not flushed, the policy and the seed say what survives.
    /// Connections made before are void; new ones find the disk as a machine that is
    /// switched on again would.
    pub fn cut(&self, policy: CutPolicy, seed: u64) -> CutReport {
        let mut state = self.lock();
        let pending = std::mem::take(&mut state.pending);
        let report = match policy {
            CutPolicy::LoseAll => lose_all(&pending),
            CutPolicy::RandomSectors => keep_some(&mut state.durable, &pending, seed),
        };
        state.counters.cuts += 1;
        state.power_cycle();
        report
    }

    /// Reads what is durable, as found after a cut that loses everything else.
    pub fn read_durable(&self, offset: u64, buffer: &mut [u8]) {
        self.lock().durable.read(offset, buffer);
    }

    /// Writes the durable content to a sparse raw file, for a look with other tools.
    ///
    /// # Errors
    /// What the file system says.
    pub fn export(&self, path: &Path) -> io::Result<()> {
        let image = self.lock().durable.clone();
        image.export(self.size, &mut std::fs::File::create(path)?)
    }

    /// A machine connects.
    pub(super) fn open(&self) -> Session {
        Session(self.lock().session)
    }

    pub(super) fn read(
        &self,
        session: Session,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), PowerIsOff> {
        let mut state = self.on(session)?;
        state.counters.reads += 1;
        state.current.read(offset, buffer);
        Ok(())
    }

    pub(super) fn write(
        &self,
        session: Session,
        offset: u64,
        data: &[u8],
        force: bool,
    ) -> Result<(), PowerIsOff> {
        self.change(session, offset, Change::Data(data.to_vec()), force)
    }

    pub(super) fn zero(
        &self,
        session: Session,
        offset: u64,
        length: usize,
        force: bool,
    ) -> Result<(), PowerIsOff> {
        self.change(session, offset, Change::Zeros(length), force)
    }

    pub(super) fn flush(&self, session: Session) -> Result<(), PowerIsOff> {
        let mut state = self.on(session)?;
        state.counters.flushes += 1;
        if let Some(armed) = &mut state.armed {
            armed.flushes += 1;
        }
        self.freeze_if_due(state)?.flush();
        Ok(())
    }

    fn change(
        &self,
        session: Session,
        offset: u64,
        change: Change,
        force: bool,
    ) -> Result<(), PowerIsOff> {
        let mut state = self.on(session)?;
        let length = change.len();
        state.count_write(length as u64, force);
        change.apply(&mut state.current, offset, 0..length);
        state.pending.push(Pending {
            offset,
            change,
            forced: false,
        });
        // A cut at this very write finds it in the cache, FUA or not.
        let mut state = self.freeze_if_due(state)?;
        if force {
            state.force_last();
        }
        Ok(())
    }

    /// Stops answering when an armed cut has come.
    fn freeze_if_due<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> Result<MutexGuard<'a, State>, PowerIsOff> {
        let Some(armed) = state.armed.take_if(|armed| armed.is_due()) else {
            return Ok(state);
        };
        state.frozen = true;
        drop(state);
        self.froze.notify_all();
        (armed.then)();
        Err(PowerIsOff)
    }

    fn on(&self, session: Session) -> Result<MutexGuard<'_, State>, PowerIsOff> {
        let state = self.lock();
        if state.frozen || session != Session(state.session) {
            return Err(PowerIsOff);
        }
        Ok(state)
    }

    /// No operation leaves the state half done, so one that panicked spoils nothing.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn count_write(&mut self, bytes: u64, force: bool) {
        self.counters.writes += 1;
        self.counters.bytes_written += bytes;
        self.counters.fua_writes += u64::from(force);
        if let Some(armed) = &mut self.armed {
            armed.writes += 1;
            armed.bytes += bytes;
        }
    }

    fn flush(&mut self) {
        for pending in self.pending.drain(..) {
            self.durable
                .share(&self.current, pending.offset, pending.change.len());
        }
    }

    /// The last write is on the medium before it is answered (FUA).
    fn force_last(&mut self) {
        if let Some(last) = self.pending.last_mut() {
            last.forced = true;
            let length = last.change.len();
            last.change.apply(&mut self.durable, last.offset, 0..length);
        }
    }

    /// Only the durable content is left.
    fn power_cycle(&mut self) {
        self.pending.clear();
        self.current = self.durable.clone();
        self.armed = None;
        self.frozen = false;
        self.session += 1;
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

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
