//! Clears away what nothing names any more.
//!
//! A package or boot image stays while a class, a node or a test lists it, while it is part of a
//! manifest that `state.db` knows (those in force, those that a node runs, should run or failed
//! on, and for a week those of before), and while it is one of the newest versions of its name,
//! which are kept to go back to. Blobs stay while a row names them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bootd_protocol::digest::Digest;
use bootd_protocol::manifest::PackageRef;
use rusqlite::{Connection, Transaction, params};

use crate::blobs::BlobError;
use crate::error::Error;
use crate::state::StateStore;
use crate::store::Catalog;
use crate::version::compare;

/// What was cleared away, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Packages: name, version, architecture.
    pub packages: Vec<(String, String, String)>,
    /// Boot images, likewise.
    pub images: Vec<(String, String, String)>,
    /// Blobs, their number and bytes: those of these packages and images, and those that have no
    /// row at all.
    pub blobs: (u64, u64),
}

/// A kind of thing with versions.
struct Kind {
    table: &'static str,
    /// Names and versions that rows of other tables list.
    listed: &'static str,
}

const PACKAGES: Kind = Kind {
    table: "package",
    listed: "SELECT package, version FROM class_package
             UNION SELECT package, version FROM node_package WHERE version IS NOT NULL
             UNION SELECT package, version FROM test_package",
};

const IMAGES: Kind = Kind {
    table: "boot_image",
    listed: "SELECT image, version FROM class_image
             UNION SELECT image, version FROM test WHERE image IS NOT NULL",
};

impl Catalog {
    /// Clears away, keeping the `newest` versions of each name; only looks if it is a `dry_run`.
    ///
    /// # Errors
    /// Another program installs at the same time; what SQLite or the file system refuses.
    pub fn gc(&mut self, newest: usize, dry_run: bool) -> Result<Swept, BlobError> {
        // Held to the end: an installation stores blobs before it writes their rows.
        let _no_installation = self.blobs().writer()?;
        let state = StateStore::read_only(&self.state_path())?;
        let (packages, images) = match &state {
            Some(state) => state.in_manifests()?,
            None if self.has_nodes()? => {
                let why = "there is no state.db, so nobody knows what nodes run: start bootd first";
                return Err(Error::Refused(why.to_owned()).into());
            }
            None => Default::default(),
        };
        let mut swept = Swept::default();
        let kept = self.write_or_not(!dry_run, |db| {
            swept.packages = sweep(db, &PACKAGES, &packages, newest)?;
            swept.images = sweep(db, &IMAGES, &images, newest)?;
            db.execute(UNNAMED_BLOBS, [])?;
            blobs(db)
        })?;
        let root = self.blobs().root().to_owned();
        remove_others(&root, &kept, dry_run, &mut swept)?;
        Ok(swept)
    }
}

impl Catalog {
    fn has_nodes(&self) -> Result<bool, Error> {
        let any = self.connection.prepare("SELECT 1 FROM node");
        let any = any.and_then(|mut it| it.exists([]));
        any.map_err(Error::sql(&self.db_path()))
    }
}

const UNNAMED_BLOBS: &str = "
    DELETE FROM blob WHERE sha256 NOT IN (
        SELECT sha256 FROM package_file WHERE sha256 IS NOT NULL
        UNION SELECT uki FROM boot_image UNION SELECT efi FROM boot_image
        UNION SELECT bios_boot FROM boot_image WHERE bios_boot IS NOT NULL
        UNION SELECT bios_core FROM boot_image WHERE bios_core IS NOT NULL)";

/// Deletes the rows that go; their names, versions and architectures.
fn sweep(
    db: &Transaction<'_>,
    kind: &Kind,
    in_manifests: &BTreeSet<PackageRef>,
    newest: usize,
) -> rusqlite::Result<Vec<(String, String, String)>> {
    let table = kind.table;
    let all = pairs(db, &format!("SELECT DISTINCT name, version FROM {table}"))?;
    let listed = pairs(db, kind.listed)?;
    let stays = |it: &PackageRef| {
        let is_newer = |other: &&PackageRef| {
            other.name == it.name && compare(&other.version, &it.version).is_gt()
        };
        listed.contains(it)
            || in_manifests.contains(it)
            || all.iter().filter(is_newer).count() < newest
    };
    let mut gone = Vec::new();
    for it in all.iter().filter(|it| !stays(it)) {
        let delete = format!("DELETE FROM {table} WHERE name = ?1 AND version = ?2 RETURNING arch");
        let mut delete = db.prepare_cached(&delete)?;
        let archs =
            delete.query_map(params![it.name, it.version], |row| row.get::<_, String>(0))?;
        for arch in archs {
            gone.push((it.name.clone(), it.version.clone(), arch?));
        }
    }
    Ok(gone)
}

fn pairs(db: &Connection, query: &str) -> rusqlite::Result<BTreeSet<PackageRef>> {
    let mut statement = db.prepare(query)?;
    let pairs = statement.query_map([], |row| {
        Ok(PackageRef {
            name: row.get(0)?,
            version: row.get(1)?,
        })
    })?;
    pairs.collect()
}

fn blobs(db: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    db.prepare("SELECT sha256 FROM blob")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Removes the files of blobs without a row. Whoever has one open reads it to its end.
fn remove_others(
    root: &Path,
    kept: &BTreeSet<String>,
    dry_run: bool,
    swept: &mut Swept,
) -> Result<(), Error> {
    for shard in entries(&root.join("sha256"))? {
        for path in entries(&shard)? {
            let name = path.file_name().and_then(|it| it.to_str());
            // What has no digest for a name is not ours.
            let Some(name) = name.filter(|it| it.parse::<Digest>().is_ok()) else {
                continue;
            };
            if kept.contains(name) || !path.is_file() {
                continue;
            }
            let size = fs::metadata(&path)
                .map_err(Error::io("look at", &path))?
                .len();
            if !dry_run {
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
            swept.blobs = (swept.blobs.0 + 1, swept.blobs.1 + size);
        }
    }
    Ok(())
}

fn entries(dir: &Path) -> Result<Vec<std::path::PathBuf>, Error> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).map_err(Error::io("read", dir))?;
    let paths = entries.map(|it| it.map(|it| it.path()));
    paths
        .collect::<Result<_, _>>()
        .map_err(Error::io("read", dir))
}
