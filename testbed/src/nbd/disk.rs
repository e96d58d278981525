//! A disk with a volatile write cache, as the power-cut tests need it: what has not been
//! flushed is held back, and a cut loses all of it or a part that a seed chooses.

use std::io;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::cache::{Cache, Change, CutPolicy, CutReport, SECTOR};
use super::image::Image;

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
    cache: Cache,
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
            image: self.lock().cache.durable().clone(),
            size: self.size,
        }
    }

    /// Goes back to a snapshot; connections made before are void, an armed cut is disarmed.
    pub fn restore(&self, snapshot: &Snapshot) {
        let mut state = self.lock();
        state.cache.reset(snapshot.image.clone());
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
        self.lock().cache.durable().used()
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
        let report = state.cache.cut(policy, seed);
        state.counters.cuts += 1;
        state.power_cycle();
        report
    }

    /// Reads what is durable, as found after a cut that loses everything else.
    pub fn read_durable(&self, offset: u64, buffer: &mut [u8]) {
        self.lock().cache.durable().read(offset, buffer);
    }

    /// Puts bytes on the disk as somebody did before the machine got it.
    pub fn write_durable(&self, offset: u64, bytes: &[u8]) {
        let mut state = self.lock();
        let mut image = state.cache.durable().clone();
        image.write(offset, bytes);
        state.cache.reset(image);
        state.power_cycle();
    }

    /// Writes the durable content to a sparse raw file, for a look with other tools.
    ///
    /// # Errors
    /// What the file system says.
    pub fn export(&self, path: &Path) -> io::Result<()> {
        let image = self.lock().cache.durable().clone();
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
        state.cache.current().read(offset, buffer);
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
        self.freeze_if_due(state)?.cache.flush();
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
        state.count_write(change.len() as u64, force);
        state.cache.change(offset, change);
        // A cut at this very write finds it in the cache, FUA or not.
        let mut state = self.freeze_if_due(state)?;
        if force {
            state.cache.force_last();
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

    /// As switched on again: nobody is connected, nothing is armed.
    fn power_cycle(&mut self) {
        self.armed = None;
        self.frozen = false;
        self.session += 1;
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
