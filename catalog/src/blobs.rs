//! Content-addressed files: `blobs/sha256/<first two digits>/<64 digits>`.
//!
//! A blob gets its name only after its last byte was hashed, and is hashed once more when it is
//! first read: what is missing or rotten is served to nobody, and named.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bootd_protocol::digest::{Digest, Hasher};
use bootd_protocol::manifest::BlobRef;

use crate::error;

/// Size of one read while hashing, in bytes.
const PIECE: usize = 128 * 1024;

/// Why a blob cannot be served or stored.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// It is not in the store.
    #[error("blob {digest} is missing: {} is not there", path.display())]
    Missing {
        /// Its name.
        digest: Digest,
        /// Where it should be.
        path: PathBuf,
    },
    /// Its content is not what its name says.
    #[error("blob {digest} is rotten: the bytes in {} are {actual}; install it again", path.display())]
    Rotten {
        /// Its name.
        digest: Digest,
        /// The file.
        path: PathBuf,
        /// What its bytes hash to.
        actual: Digest,
    },
    /// What was put is not what was announced.
    #[error("expected blob {expected}, got {actual}")]
    NotAsAnnounced {
        /// The announced digest.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// Another program is writing to the store.
    #[error("another program is installing into {}: wait for its end", .0.display())]
    Locked(PathBuf),
    /// The operating system refused, or the disk is full.
    #[error(transparent)]
    Store(#[from] error::Error),
    /// The source of a new blob failed.
    #[error("reading what should be stored")]
    Source(#[source] io::Error),
}

/// The store. Clones share one cache of what was checked.
#[derive(Debug, Clone)]
pub struct BlobStore {
    root: PathBuf,
    checked: Arc<Mutex<HashMap<Digest, (Stamp, Digest)>>>,
}

/// What tells that a file was not touched since it was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A blob whose content is what its name says.
#[derive(Debug)]
pub struct Blob {
    /// At its first byte.
    pub file: File,
    /// Length in bytes.
    pub size: u64,
    /// Where it is.
    pub path: PathBuf,
}

impl BlobStore {
    /// The store in `root`, which exists.
    #[must_use]
    pub fn open(root: &Path) -> Self {
        BlobStore {
            root: root.to_owned(),
            checked: Arc::default(),
        }
    }

    /// Makes the directories of a store.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn create(root: &Path) -> error::Result<Self> {
        for dir in [root.join("sha256"), root.join("tmp")] {
            fs::create_dir_all(&dir).map_err(error::Error::io("create", &dir))?;
        }
        Ok(BlobStore::open(root))
    }

    /// Its directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the blob `digest` is, or would be.
    #[must_use]
    pub fn path(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join("sha256").join(&name[..2]).join(name)
    }

    /// Opens a blob whose bytes are known to be right: hashed now, or hashed before and not
    /// touched since (device, inode, size, modification and change time).
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Rotten`], [`BlobError::Store`].
    pub fn get(&self, digest: Digest) -> Result<Blob, BlobError> {
        let (mut blob, stamp) = self.open_blob(digest)?;
        let actual = match self.known(digest, stamp) {
            Some(actual) => actual,
            None => {
                let actual = hash(&mut blob.file).map_err(error::Error::io("read", &blob.path))?;
                self.remember(digest, stamp, actual);
                actual
            }
        };
        right(blob, digest, actual)
    }

    /// As [`BlobStore::get`], in no time: `None` where the blob would have to be hashed.
    ///
    /// # Errors
    /// As [`BlobStore::get`].
    pub fn get_known(&self, digest: Digest) -> Result<Option<Blob>, BlobError> {
        let (blob, stamp) = self.open_blob(digest)?;
        let actual = self.known(digest, stamp);
        actual.map(|it| right(blob, digest, it)).transpose()
    }

    fn open_blob(&self, digest: Digest) -> Result<(Blob, Stamp), BlobError> {
        let path = self.path(digest);
        let file = File::open(&path).map_err(|source| missing_or_io(digest, &path, source))?;
        let stamp = Stamp::of(&file).map_err(error::Error::io("read", &path))?;
        let size = stamp.size;
        Ok((Blob { file, size, path }, stamp))
    }

    /// The whole content of a blob.
    ///
    /// # Errors
    /// As [`BlobStore::get`].
    pub fn read(&self, digest: Digest) -> Result<Vec<u8>, BlobError> {
        let mut blob = self.get(digest)?;
        let mut bytes = Vec::new();
        blob.file
            .read_to_end(&mut bytes)
            .map_err(error::Error::io("read", &blob.path))?;
        Ok(bytes)
    }

    /// The right to add blobs: one program at a time. Clears away what a cut left half written.
    ///
    /// # Errors
    /// [`BlobError::Locked`], [`BlobError::Store`].
    pub fn writer(&self) -> Result<BlobWriter, BlobError> {
        let path = self.root.join("lock");
        let lock = File::create(&path).map_err(error::Error::io("create", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(BlobError::Locked(self.root.clone())),
            Err(fs::TryLockError::Error(source)) => {
                return Err(error::Error::io("lock", &path)(source).into());
            }
        }
        let writer = BlobWriter {
            store: self.clone(),
            tmp: self.root.join("tmp"),
            _lock: lock,
        };
        writer.sweep()?;
        Ok(writer)
    }

    /// What a file hashed to, unless it was touched since.
    fn known(&self, digest: Digest, stamp: Stamp) -> Option<Digest> {
        let checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        let (then, actual) = checked.get(&digest)?;
        (*then == stamp).then_some(*actual)
    }

    fn remember(&self, digest: Digest, stamp: Stamp, actual: Digest) {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.insert(digest, (stamp, actual));
    }
}

/// Adds blobs. Nothing it added is sure to survive a power cut before [`BlobWriter::sync`].
#[derive(Debug)]
pub struct BlobWriter {
    store: BlobStore,
    tmp: PathBuf,
    /// Held, not used: the lock ends with it.
    _lock: File,
}

impl BlobWriter {
    /// Stores what `source` gives, up to its end.
    ///
    /// # Errors
    /// [`BlobError::Source`] when it cannot be read, [`BlobError::Store`] when it cannot be
    /// written.
    pub fn put(&self, source: impl Read) -> Result<BlobRef, BlobError> {
        self.put_checked(source, None)
    }

    /// Stores what `source` gives if it is `expected`; whatever else comes is thrown away.
    ///
    /// # Errors
    /// As [`BlobWriter::put`], and [`BlobError::NotAsAnnounced`].
    pub fn put_expected(&self, source: impl Read, expected: BlobRef) -> Result<(), BlobError> {
        // One byte more than announced is enough to know that it is too long.
        let limited = source.take(expected.size.saturating_add(1));
        self.put_checked(limited, Some(expected)).map(|_| ())
    }

    fn put_checked(
        &self,
        mut source: impl Read,
        expected: Option<BlobRef>,
    ) -> Result<BlobRef, BlobError> {
        let mut temporary = tempfile::NamedTempFile::new_in(&self.tmp)
            .map_err(error::Error::io("create a file in", &self.tmp))?;
        let mut hasher = Hasher::new();
        let mut size = 0u64;
        let mut piece = vec![0; PIECE];
        loop {
            let length = match source.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(BlobError::Source(error)),
            };
            hasher.update(&piece[..length]);
            size = size.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
            temporary
                .write_all(&piece[..length])
                .map_err(error::Error::io("write", temporary.path()))?;
        }
        let sha256 = hasher.finish();
        let blob = BlobRef { sha256, size };
        match expected {
            Some(expected) if expected != blob => Err(BlobError::NotAsAnnounced {
                expected: expected.sha256,
                actual: sha256,
            }),
            Some(_) | None => self.name(temporary, blob),
        }
    }

    /// Gives a finished file its name.
    fn name(&self, file: tempfile::NamedTempFile, blob: BlobRef) -> Result<BlobRef, BlobError> {
        let path = self.store.path(blob.sha256);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(error::Error::io("create", parent))?;
        }
        let readable = fs::Permissions::from_mode(0o644);
        file.as_file()
            .set_permissions(readable)
            .map_err(error::Error::io("set the mode of", &path))?;
        file.persist(&path)
            .map_err(|error| error::Error::io("create", &path)(error.error))?;
        Ok(blob)
    }

    /// Whether the blob is here and right.
    ///
    /// # Errors
    /// [`BlobError::Store`]; a rotten blob is `false`: putting it again heals it.
    pub fn has(&self, digest: Digest) -> Result<bool, BlobError> {
        match self.store.get(digest) {
            Ok(_) => Ok(true),
            Err(BlobError::Missing { .. } | BlobError::Rotten { .. }) => Ok(false),
            Err(
                error @ (BlobError::NotAsAnnounced { .. }
                | BlobError::Locked(_)
                | BlobError::Store(_)
                | BlobError::Source(_)),
            ) => Err(error),
        }
    }

    /// Makes everything that was put survive a power cut. To be called before the row that
    /// names it is committed.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub fn sync(&self) -> Result<(), BlobError> {
        // One flush of the file system costs much less than one for each of ten thousand files.
        let root = &self.store.root;
        let dir = File::open(root).map_err(error::Error::io("open", root))?;
        nix::unistd::syncfs(&dir)
            .map_err(|errno| error::Error::io("flush the disk of", root)(errno.into()))?;
        Ok(())
    }

    fn sweep(&self) -> error::Result<()> {
        fs::create_dir_all(&self.tmp).map_err(error::Error::io("create", &self.tmp))?;
        let entries = fs::read_dir(&self.tmp).map_err(error::Error::io("read", &self.tmp))?;
        for entry in entries {
            let path = entry.map_err(error::Error::io("read", &self.tmp))?.path();
            fs::remove_file(&path).map_err(error::Error::io("remove", &path))?;
        }
        Ok(())
    }
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

/// The blob, if its bytes are what its name says.
fn right(blob: Blob, digest: Digest, actual: Digest) -> Result<Blob, BlobError> {
    if actual == digest {
        return Ok(blob);
    }
    Err(BlobError::Rotten {
        digest,
        path: blob.path,
        actual,
    })
}

fn missing_or_io(digest: Digest, path: &Path, source: io::Error) -> BlobError {
    let path = path.to_owned();
    if source.kind() == io::ErrorKind::NotFound {
        return BlobError::Missing { digest, path };
    }
    error::Error::io("open", &path)(source).into()
}

/// Hashes a whole file and goes back to its first byte.
fn hash(file: &mut File) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    let mut reader = BufReader::with_capacity(PIECE, &mut *file);
    loop {
        let piece = io::BufRead::fill_buf(&mut reader)?;
        if piece.is_empty() {
            break;
        }
        hasher.update(piece);
        let length = piece.len();
        io::BufRead::consume(&mut reader, length);
    }
    file.rewind()?;
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, BlobStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::create(&dir.path().join("blobs")).unwrap();
        (dir, store)
    }

    #[test]
    fn stores_once_and_gives_back() {
        let (_dir, store) = store();
        let writer = store.writer().unwrap();
        let blob = writer.put(&b"abc"[..]).unwrap();
        assert_eq!(blob.sha256, Digest::of(b"abc"));
        assert_eq!(blob.size, 3);
        assert_eq!(writer.put(&b"abc"[..]).unwrap(), blob);
        writer.sync().unwrap();
        assert_eq!(store.read(blob.sha256).unwrap(), b"abc");
        assert_eq!(fs::read_dir(store.root.join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn missing_and_rotten_blobs_are_named_and_not_served() {
        let (_dir, store) = store();
        let digest = Digest::of(b"abc");
        let error = store.get(digest).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "blob {digest} is missing: {} is not there",
                store.path(digest).display()
            )
        );

        store.writer().unwrap().put(&b"abc"[..]).unwrap();
        store.get(digest).unwrap();
        // Same length, after it was checked once: the stamp tells.
        fs::write(store.path(digest), b"abd").unwrap();
        let error = store.get(digest).unwrap_err();
        assert!(
            matches!(error, BlobError::Rotten { actual, .. } if actual == Digest::of(b"abd")),
            "{error}"
        );

        // The verdict is kept, good or bad, and known without hashing.
        let known = store.get_known(digest);
        assert!(matches!(known, Err(BlobError::Rotten { .. })), "{known:?}");

        let writer = store.writer().unwrap();
        assert!(!writer.has(digest).unwrap());
        writer.put(&b"abc"[..]).unwrap();
        assert!(store.get_known(digest).unwrap().is_none());
        assert!(writer.has(digest).unwrap());
        assert_eq!(store.get_known(digest).unwrap().unwrap().size, 3);
    }

    #[test]
    fn refuses_what_was_not_announced_and_keeps_nothing_of_it() {
        let (_dir, store) = store();
        let writer = store.writer().unwrap();
        let expected = BlobRef {
            sha256: Digest::of(b"abc"),
            size: 3,
        };
        for wrong in [&b"abd"[..], b"ab", b"abcd", b""] {
            assert!(matches!(
                writer.put_expected(wrong, expected),
                Err(BlobError::NotAsAnnounced { .. })
            ));
        }
        assert!(matches!(
            store.get(expected.sha256),
            Err(BlobError::Missing { .. })
        ));
        writer.put_expected(&b"abc"[..], expected).unwrap();
        store.get(expected.sha256).unwrap();
    }

    #[test]
    fn one_writer_at_a_time_sweeps_what_a_cut_left() {
        let (_dir, store) = store();
        let first = store.writer().unwrap();
        assert!(matches!(store.writer(), Err(BlobError::Locked(_))));
        drop(first);
        fs::write(store.root.join("tmp/left"), b"half").unwrap();
        store.writer().unwrap();
        assert_eq!(fs::read_dir(store.root.join("tmp")).unwrap().count(), 0);
    }
}
