//! What manifests are made of, for as long as somebody may ask.

use std::collections::BTreeSet;

use bootd_protocol::manifest::PackageRef;
use rusqlite::{Transaction, params};

use super::{Contents, NodeStatus, StateStore};
use crate::error::Result;

/// A manifest that nobody names is kept for so long after it was in force: a node that was told to
/// install it may still come to run it.
const KEPT_MS: i64 = 7 * 24 * 3600 * 1000;

pub(super) fn write(db: &Transaction<'_>, in_force: &[Contents], now: i64) -> rusqlite::Result<()> {
    // What was in force until now begins to be old only now.
    let over = "UPDATE manifest SET seen_ms = ?1, in_force = 0 WHERE in_force = 1";
    db.execute(over, [now])?;
    for contents in in_force {
        let digest = contents.digest.to_string();
        let seen = "UPDATE manifest SET seen_ms = ?2, in_force = 1 WHERE digest = ?1";
        if db.prepare_cached(seen)?.execute(params![digest, now])? > 0 {
            continue;
        }
        let insert = "INSERT INTO manifest
                          (digest, class, arch, image, image_version, seen_ms, in_force)
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1)";
        db.prepare_cached(insert)?.execute(params![
            digest,
            contents.class,
            contents.arch.name(),
            contents.image.name,
            contents.image.version,
            now
        ])?;
        let insert = "INSERT OR REPLACE INTO manifest_package VALUES (?1, ?2, ?3, ?4)";
        let mut insert = db.prepare_cached(insert)?;
        for (position, package) in (0_i64..).zip(&contents.packages) {
            insert.execute(params![digest, position, package.name, package.version])?;
        }
    }
    prune(db, now)
}

fn prune(db: &Transaction<'_>, now: i64) -> rusqlite::Result<()> {
    let old = "DELETE FROM manifest WHERE seen_ms < ?1 AND digest NOT IN (
        SELECT running FROM node_state WHERE running IS NOT NULL
        UNION SELECT wanted FROM node_state WHERE wanted IS NOT NULL
        UNION SELECT failed FROM node_state WHERE failed IS NOT NULL)";
    if db.execute(old, [now.saturating_sub(KEPT_MS)])? > 0 {
        let rows = "DELETE FROM manifest_package WHERE digest NOT IN (SELECT digest FROM manifest)";
        db.execute(rows, [])?;
    }
    Ok(())
}

impl StateStore {
    /// The packages, and the boot images, of all manifests that are known.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn in_manifests(&self) -> Result<(BTreeSet<PackageRef>, BTreeSet<PackageRef>)> {
        let pairs = |query: &str| {
            let pairs = self.all(query, |row| {
                Ok(PackageRef {
                    name: row.get(0)?,
                    version: row.get(1)?,
                })
            })?;
            Ok::<_, crate::Error>(pairs.into_iter().collect())
        };
        Ok((
            pairs("SELECT DISTINCT package, version FROM manifest_package")?,
            pairs("SELECT DISTINCT image, image_version FROM manifest")?,
        ))
    }

    /// How all nodes stand against what is wanted of them, by name.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn statuses(&self) -> Result<Vec<NodeStatus>> {
        self.all("SELECT name, packages, differs FROM node_status", |row| {
            Ok(NodeStatus {
                name: row.get(0)?,
                packages: row.get(1)?,
                differs: row.get(2)?,
            })
        })
    }
}
