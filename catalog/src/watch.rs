//! Has somebody edited the catalog?

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::schema;

/// Sees commits of every other connection, in this process and in others.
///
/// `PRAGMA data_version` has a meaning on one connection alone, so this one is kept open for as
/// long as the watch goes on. A poll costs some microseconds.
#[derive(Debug)]
pub struct Watcher {
    path: PathBuf,
    connection: Connection,
    seen: i64,
}

impl Watcher {
    /// Begins to watch: what was committed before is not reported.
    ///
    /// # Errors
    /// As [`schema::open`].
    pub fn open(path: &Path) -> Result<Self> {
        let connection = schema::open(path)?;
        let seen = data_version(&connection).map_err(Error::sql(path))?;
        Ok(Watcher {
            path: path.to_owned(),
            connection,
            seen,
        })
    }

    /// Whether anything was committed since the last call (or since [`Watcher::open`]).
    ///
    /// # Errors
    /// What SQLite refuses; [`Error::Busy`] while another program holds the file: poll again.
    pub fn changed(&mut self) -> Result<bool> {
        let now = data_version(&self.connection).map_err(Error::sql(&self.path))?;
        let changed = now != self.seen;
        self.seen = now;
        Ok(changed)
    }
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}
