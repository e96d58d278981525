//! The state directory: `catalog.db`, `state.db`, `blobs/`, `master.key`, `master.pub`.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::blobs::BlobStore;
use crate::error::{Error, Result};
use crate::keys::MasterKey;
use crate::schema;
use crate::snapshot::{self, Snapshot};
use crate::watch::Watcher;

/// An open state directory.
#[derive(Debug)]
pub struct Catalog {
    dir: PathBuf,
    pub(crate) connection: Connection,
    blobs: BlobStore,
}

impl Catalog {
    /// Makes an empty catalog, a blob store and a master key in `dir`, which is made if need be.
    ///
    /// A cut in the middle leaves a directory that this can complete.
    ///
    /// # Errors
    /// [`Error::AlreadyThere`] for a directory that has a catalog; what the file system refuses.
    pub fn create(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        if !dir.join("master.key").exists() {
            MasterKey::generate()?.write(dir)?;
        }
        let blobs = BlobStore::create(&dir.join("blobs"))?;
        let connection = match schema::create(&dir.join("catalog.db")) {
            Err(Error::AlreadyThere(_)) => return Err(Error::AlreadyThere(dir.to_owned())),
            other => other?,
        };
        Ok(Catalog {
            dir: dir.to_owned(),
            connection,
            blobs,
        })
    }

    /// Opens the catalog in `dir`.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Newer`], [`Error::Foreign`].
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("catalog.db");
        if !path.exists() {
            return Err(Error::Missing(dir.to_owned()));
        }
        Ok(Catalog {
            dir: dir.to_owned(),
            connection: schema::open(&path)?,
            blobs: BlobStore::open(&dir.join("blobs")),
        })
    }

    /// The state directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Path of `catalog.db`.
    #[must_use]
    pub fn db_path(&self) -> PathBuf {
        self.dir.join("catalog.db")
    }

    /// Path of `state.db`.
    #[must_use]
    pub fn state_path(&self) -> PathBuf {
        self.dir.join("state.db")
    }

    /// The blobs; a cheap clone shares its cache.
    #[must_use]
    pub fn blobs(&self) -> &BlobStore {
        &self.blobs
    }

    /// The master's key.
    ///
    /// # Errors
    /// A file that cannot be read or holds no key.
    pub fn master_key(&self) -> Result<MasterKey> {
        MasterKey::read(&self.dir.join("master.key"))
    }

    /// Reads the whole catalog in one transaction.
    ///
    /// # Errors
    /// What SQLite refuses. Rows that make no sense are [`Snapshot::problems`], not errors.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let path = self.db_path();
        let sql = Error::sql(&path);
        let transaction = self.connection.unchecked_transaction().map_err(&sql)?;
        snapshot::read::snapshot(&transaction).map_err(&sql)
    }

    /// A watcher for the edits of others, on a connection of its own.
    ///
    /// # Errors
    /// As [`Catalog::open`].
    pub fn watcher(&self) -> Result<Watcher> {
        Watcher::open(&self.db_path())
    }

    /// How the tables differ from `schema.sql`: one sentence each.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn schema_drift(&self) -> Result<Vec<String>> {
        schema::drift(&self.connection).map_err(Error::sql(&self.db_path()))
    }
}
