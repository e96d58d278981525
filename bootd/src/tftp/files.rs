//! Where the files come from.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bootd_protocol::tftp::Refusal;

/// Gives files by name.
pub trait Files: Send + Sync + 'static {
    /// Opens the file called `name` for `peer`. May block: it is called outside the event loop.
    /// The name is UTF-8, without a leading slash, `..` or control characters.
    ///
    /// # Errors
    /// The [`Refusal`] that the client is to be told.
    fn open(&self, name: &str, peer: SocketAddr) -> Result<Source, Refusal>;
}

/// The bytes of one file, immutable and shared by all its clients; cheap to clone.
#[derive(Debug, Clone)]
pub struct Source {
    store: Store,
    start: u64,
    len: u64,
}

#[derive(Debug, Clone)]
enum Store {
    Memory(Arc<[u8]>),
    Disk(Arc<File>),
}

impl Source {
    /// A file in memory.
    #[must_use]
    pub fn memory(bytes: Arc<[u8]>) -> Self {
        Source {
            len: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            store: Store::Memory(bytes),
            start: 0,
        }
    }

    /// The `len` bytes of a file on disk that begin at `start`: the whole of a blob, or a
    /// section of it. Clients share the handle; each read names its own place.
    ///
    /// A read that finds the page cache cold holds up the thread for the time of a disk read.
    #[must_use]
    pub const fn disk(file: Arc<File>, start: u64, len: u64) -> Self {
        Source {
            store: Store::Disk(file),
            start,
            len,
        }
    }

    /// Length, bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The `len` bytes from `offset`: borrowed from memory, or read into `scratch`.
    ///
    /// # Errors
    /// Whatever reading gives; `UnexpectedEof` beyond the end.
    pub(super) fn bytes<'a>(
        &'a self,
        offset: u64,
        len: usize,
        scratch: &'a mut Vec<u8>,
    ) -> io::Result<&'a [u8]> {
        let end = offset.checked_add(u64::try_from(len).unwrap_or(u64::MAX));
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match &self.store {
            Store::Memory(bytes) => {
                let start = usize::try_from(self.start + offset).unwrap_or(usize::MAX);
                let part = start.checked_add(len).and_then(|end| bytes.get(start..end));
                part.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
            Store::Disk(file) => {
                scratch.resize(len, 0);
                file.read_exact_at(scratch, self.start + offset)?;
                Ok(scratch)
            }
        }
    }
}
