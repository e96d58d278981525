//! What can go wrong with a state directory and its databases.

use std::io;
use std::path::{Path, PathBuf};

/// A failure of the catalog, with the file it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried: `read`, `create` …
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No space left for writing.
    #[error("the disk of {} is full: free some space and do it again", path.display())]
    DiskFull {
        /// The file that was being written.
        path: PathBuf,
    },
    /// There is no catalog.
    #[error("{} holds no catalog: make one with `catalog init {}`", .0.display(), .0.display())]
    Missing(PathBuf),
    /// There is one already.
    #[error("{} holds a catalog already: nothing was changed", .0.display())]
    AlreadyThere(PathBuf),
    /// A database of something else.
    #[error("{} is not a {expected} database of bootd", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// `catalog` or `state`.
        expected: &'static str,
    },
    /// A database made by a newer program.
    #[error(
        "{} was made by a newer bootd (schema {found}, this program knows {known}): use that \
         version, or restore the copy that was made before the upgrade", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// Somebody else holds the write lock.
    #[error(
        "{} is being written by another program (an open transaction in sqlite3?): \
         end that and do it again", path.display()
    )]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// A database that lost its shape, or a file that never was one.
    #[error(
        "{} is damaged, or no database: put a copy of it in its place; a state.db may also be \
         moved away, with its -wal and -shm: bootd makes an empty one when it starts",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// SQLite refused; a check or trigger of the schema says why in words.
    #[error("{}", path.display())]
    Sql {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// A key file that holds no key.
    #[error("{} holds no key: {why}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A row that was asked for is not there.
    #[error("no {kind} is called {name:?}")]
    NoSuch {
        /// `node`, `class` …
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// An edit that would break what holds now.
    #[error("{0}")]
    Refused(String),
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Wraps an operating system error; a full disk becomes [`Error::DiskFull`].
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| {
            let path = path.to_owned();
            let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
            if full.contains(&source.kind()) {
                return Error::DiskFull { path };
            }
            Error::Io { what, path, source }
        }
    }

    /// Wraps an SQLite error; a locked or full database gets its own variant.
    pub(crate) fn sql(path: &Path) -> impl Fn(rusqlite::Error) -> Error {
        move |source| {
            let path = path.to_owned();
            match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                    Error::Busy { path }
                }
                Some(rusqlite::ErrorCode::DiskFull) => Error::DiskFull { path },
                Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                    Error::Damaged { path }
                }
                _ => Error::Sql { path, source },
            }
        }
    }
}
