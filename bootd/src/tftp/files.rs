//! Where the files come from.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bootd_protocol::tftp::Refusal;

/// Gives files by name. What it gives may depend on who asks: a file made for one node is one
/// in memory.
pub trait Files: Send + Sync + 'static {
    /// Opens the file called `name` for `peer`. May block: a helper thread calls it. The name is
    /// UTF-8, without leading slashes, `..` or control characters.
    ///
    /// # Errors
    /// The [`Refusal`] that the client is to be told.
    fn open(&self, name: &str, peer: SocketAddr) -> Result<Source, Refusal>;

    /// The same where it can be said at once, without waiting for a disk, a lock or another
    /// program; none otherwise. Called by the thread that serves everybody.
    fn open_now(&self, name: &str, peer: SocketAddr) -> Option<Result<Source, Refusal>> {
        let _ = (name, peer);
        None
    }
}

/// The bytes of one file, immutable and shared by all its clients; cheap to clone.
#[derive(Debug, Clone)]
pub struct Source {
    pub(super) store: Store,
    pub(super) start: u64,
    pub(super) len: u64,
}

#[derive(Debug, Clone)]
pub(super) enum Store {
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
    /// section of it. Clients share its pages, even if each has opened it for itself.
    #[must_use]
    pub const fn disk(file: Arc<File>, start: u64, len: u64) -> Self {
        Source {
            store: Store::Disk(file),
            start,
            len,
        }
    }

    /// The `len` bytes of it that begin at `start`, which are within it.
    #[must_use]
    pub const fn section(mut self, start: u64, len: u64) -> Self {
        self.start += start;
        self.len = len;
        self
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

    /// Copies the bytes from `offset` into the whole of `bytes`. May wait for a disk.
    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        match &self.store {
            Store::Memory(all) => {
                let start = usize::try_from(self.start + offset).unwrap_or(usize::MAX);
                let part = all.get(start..).and_then(|rest| rest.get(..bytes.len()));
                bytes.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
            Store::Disk(file) => file.read_exact_at(bytes, self.start + offset),
        }
    }
}
