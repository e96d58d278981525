//! Files on disk as their clients share them: mapped once, read ahead by a helper thread.
//!
//! A page that is not in memory would stop the one thread that serves everybody for the time of
//! a disk read. So blocks leave only from chunks that a helper has brought in; the next chunk is
//! asked for when one is begun. If memory is so short that a chunk has gone again, its pages are
//! read on the spot. Few chunks are kept in the process's own page tables, so that its resident
//! size does not grow with the files.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, Metadata};
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::sys::{Mapping, Part};

/// What is read ahead at once, bytes.
const CHUNK: usize = 256 << 10;

/// Chunks that stay in the page tables: 8 MiB.
const KEPT: usize = 32;

/// Files that stay mapped when nobody reads them, for the next who asks.
const RECENT: usize = 4;

const COLD: u8 = 0;
const ASKED: u8 = 1;
const WARM: u8 = 2;

/// A mapped file.
pub(super) struct Paged {
    mapping: Mapping,
    chunks: Box<[AtomicU8]>,
}

impl Paged {
    fn new(file: &File, len: NonZeroUsize) -> io::Result<Self> {
        let chunks = (0..len.get().div_ceil(CHUNK)).map(|_| AtomicU8::new(COLD));
        Ok(Paged {
            mapping: Mapping::new(file, len)?,
            chunks: chunks.collect(),
        })
    }

    /// Where the bytes from `start` lie; none beyond the end of the file.
    pub(super) fn part(&self, start: usize, len: usize) -> Option<Part<'_>> {
        self.mapping.part(start, len)
    }

    /// Whether the bytes can leave, and which chunks a helper is to bring in for that, or for
    /// those that follow: each is named once.
    pub(super) fn ready(&self, start: usize, len: usize) -> (bool, impl Iterator<Item = usize>) {
        let first = start / CHUNK;
        let last = (start + len.saturating_sub(1)) / CHUNK;
        let within = self.chunks.get(first..=last).unwrap_or(&[]);
        let ready = within.iter().all(|chunk| chunk.load(Relaxed) == WARM);
        let wanted = first..(last + 2).min(self.chunks.len());
        (ready, wanted.filter(|&chunk| self.ask(chunk)))
    }

    fn ask(&self, chunk: usize) -> bool {
        let chunk = &self.chunks[chunk];
        chunk.load(Relaxed) == COLD
            && chunk
                .compare_exchange(COLD, ASKED, Relaxed, Relaxed)
                .is_ok()
    }

    /// A failure is left to be found by the one who sends.
    fn bring_in(&self, chunk: usize) {
        let _ = self.mapping.populate(chunk * CHUNK, CHUNK);
        self.chunks[chunk].store(WARM, Relaxed);
    }

    fn let_go(&self, chunk: usize) {
        self.chunks[chunk].store(COLD, Relaxed);
        let _ = self.mapping.release(chunk * CHUNK, CHUNK);
    }
}

/// The chunks in the page tables, the oldest first. Shared by the helpers.
#[derive(Default)]
pub(super) struct Kept(Mutex<VecDeque<(Weak<Paged>, usize)>>);

impl Kept {
    /// Brings a chunk in; the oldest one goes for it.
    pub(super) fn bring_in(&self, paged: &Arc<Paged>, chunk: usize) {
        paged.bring_in(chunk);
        // Nothing panics while it holds the lock.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((Arc::downgrade(paged), chunk));
        while kept.len() > KEPT {
            if let Some((old, chunk)) = kept.pop_front()
                && let Some(old) = old.upgrade()
            {
                old.let_go(chunk);
            }
        }
    }
}

/// What a file was when it was mapped: one that has changed is another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Stamp([i64; 4], [u64; 3]);

impl Stamp {
    fn of(it: &Metadata) -> Self {
        let times = [it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec()];
        Stamp(times, [it.dev(), it.ino(), it.size()])
    }
}

/// The files that are mapped.
#[derive(Default)]
pub(super) struct Pages {
    known: HashMap<Stamp, Weak<Paged>>,
    recent: VecDeque<Arc<Paged>>,
}

impl Pages {
    /// The pages of a file: those that others use already, where it is the same. None if it is
    /// empty.
    pub(super) fn of(&mut self, file: &File) -> io::Result<Option<Arc<Paged>>> {
        let metadata = file.metadata()?;
        let len = usize::try_from(metadata.size()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let Some(len) = NonZeroUsize::new(len) else {
            return Ok(None);
        };
        let stamp = Stamp::of(&metadata);
        if let Some(paged) = self.known.get(&stamp).and_then(Weak::upgrade) {
            return Ok(Some(paged));
        }
        self.known.retain(|_, paged| paged.strong_count() > 0);
        let paged = Arc::new(Paged::new(file, len)?);
        self.known.insert(stamp, Arc::downgrade(&paged));
        self.recent.push_back(Arc::clone(&paged));
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        Ok(Some(paged))
    }

    /// Whether files are kept for nobody's sake but the next who asks.
    pub(super) fn keeps(&self) -> bool {
        !self.recent.is_empty()
    }

    /// Keeps no file any longer than its clients.
    pub(super) fn forget(&mut self) {
        self.recent.clear();
    }
}
