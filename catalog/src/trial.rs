//! What an edit would do, seen on a copy in memory: the catalog itself is only read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bootd_protocol::digest::Digest;
use bootd_protocol::manifest::{BlobRef, Manifest, PackageRef};
use rusqlite::Connection;
use rusqlite::backup::Backup;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::composite::archive::Archive;
use crate::composite::commit;
use crate::composite::install::{InstallError, Item};
use crate::error::{Error, Result};
use crate::served::{Encoded, Served, Who};
use crate::snapshot::{self, Install, Node, Problem, Snapshot};
use crate::store::Catalog;

/// A copy of the catalog that may be edited.
#[derive(Debug)]
pub struct Trial {
    copy: Connection,
    before: Snapshot,
    served: Served,
}

/// What an edit does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// Whose manifests change, in order.
    pub changes: Vec<Change>,
    /// Nodes whose rows change otherwise, each with how, by name.
    pub nodes: Vec<(String, String)>,
    /// What is wrong afterwards and was not before.
    pub new_problems: Vec<Problem>,
    /// What was wrong and is so no more.
    pub solved_problems: Vec<Problem>,
}

/// How one manifest changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub who: Who,
    /// The nodes that it is for, by name.
    pub nodes: Vec<String>,
    /// Package versions: before and after, by name.
    pub packages: BTreeMap<String, (Option<String>, Option<String>)>,
    /// Boot image, name and version: before and after, if it changes.
    pub boot: Option<(Option<String>, Option<String>)>,
    /// The digest of the new manifest; `None`: there is none any more.
    pub digest: Option<Digest>,
    /// How many paths of the tree come, change or go.
    pub paths: usize,
    /// What such a node has to fetch: modules and bytes.
    pub fetches: (usize, u64),
}

impl Catalog {
    /// A copy of the catalog as it is now.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn trial(&self) -> Result<Trial> {
        let path = self.db_path();
        let copy = self.copy().map_err(Error::sql(&path))?;
        let before = self.snapshot()?;
        Ok(Trial {
            served: self.served(&before),
            copy,
            before,
        })
    }

    fn copy(&self) -> rusqlite::Result<Connection> {
        let mut copy = Connection::open_in_memory()?;
        let source = Connection::open(self.db_path())?;
        Backup::new(&source, &mut copy)?.run_to_completion(i32::MAX, Duration::ZERO, None)?;
        // As the shell has it.
        copy.execute_batch("PRAGMA foreign_keys = OFF")?;
        // Nothing but the copy is in reach: no other database, no file.
        copy.authorizer(Some(|asked: AuthContext<'_>| {
            let reaches_out = matches!(
                asked.action,
                AuthAction::Attach { .. } | AuthAction::Detach { .. }
            );
            match reaches_out {
                true => Authorization::Deny,
                false => Authorization::Allow,
            }
        }))?;
        Ok(copy)
    }
}

impl Trial {
    /// Runs SQL on the copy; gives back how many rows changed.
    ///
    /// # Errors
    /// What SQLite refuses, with the words of `schema.sql`.
    pub fn sql(&self, script: &str) -> Result<u64> {
        let before = self.copy.total_changes();
        let run = self.copy.execute_batch(script);
        run.map_err(Error::sql(Path::new("the edit")))?;
        if !self.copy.is_autocommit() {
            let why = "it begins a transaction and does not end it: add COMMIT";
            return Err(Error::Refused(why.to_owned()));
        }
        Ok(self.copy.total_changes() - before)
    }

    /// Installs a composite on the copy; modules are not looked at.
    ///
    /// # Errors
    /// A composite that is not accepted, rows that are refused.
    pub fn install(
        &mut self,
        composite: &Path,
        trusted: &[(String, String)],
    ) -> std::result::Result<Vec<Item>, InstallError> {
        let believed = Archive::open(composite)?.believe(trusted)?;
        let sql = Error::sql(composite);
        let transaction = self.copy.transaction().map_err(&sql)?;
        let items = commit::commit(&transaction, &believed.composite).map_err(&sql)?;
        transaction.commit().map_err(&sql)?;
        Ok(items)
    }

    /// What the edits so far would do.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn diff(&self) -> Result<Diff> {
        let after = snapshot::read::snapshot(&self.copy);
        let after = after.map_err(Error::sql(Path::new("the edit")))?;
        let served = self.served.next(&self.before, &after);
        let problems =
            |served: &Served| -> BTreeSet<Problem> { served.problems().iter().cloned().collect() };
        let (old, new) = (problems(&self.served), problems(&served));
        Ok(Diff {
            changes: changes(&self.served, &served, &after),
            nodes: nodes(&self.before, &after),
            new_problems: new.difference(&old).cloned().collect(),
            solved_problems: old.difference(&new).cloned().collect(),
        })
    }
}

fn changes(old: &Served, new: &Served, after: &Snapshot) -> Vec<Change> {
    let wanted = |served: &Served, who: &Who| {
        let node = who.node.as_deref();
        let wanted = served.wanted(&who.class, node, who.arch, who.firmware);
        wanted.map(Arc::clone)
    };
    let everybody: BTreeSet<&Who> = old.all().chain(new.all()).map(|(who, _)| who).collect();
    let mut changes = Vec::new();
    for who in everybody {
        let (old, new) = (wanted(old, who), wanted(new, who));
        let digest = new.as_ref().map(|it| it.digest);
        if digest == old.as_ref().map(|it| it.digest) {
            continue;
        }
        let whole = |it: Option<Arc<Encoded>>| it.and_then(|it| it.manifest().ok());
        let (old, new) = (whole(old), whole(new));
        changes.push(Change {
            who: who.clone(),
            nodes: nodes_of(who, after),
            digest,
            packages: packages(old.as_ref(), new.as_ref()),
            boot: boot(old.as_ref(), new.as_ref()),
            paths: paths(old.as_ref(), new.as_ref()),
            fetches: fetches(old.as_ref(), new.as_ref()),
        });
    }
    changes
}

/// Nodes that come, go, wait or change their class; and those whose class installs otherwise.
fn nodes(before: &Snapshot, after: &Snapshot) -> Vec<(String, String)> {
    let all = before.nodes.iter().chain(&after.nodes);
    let names: BTreeSet<&str> = all.map(|node| node.name.as_str()).collect();
    let mut changed = Vec::new();
    for name in names {
        let how = match (before.node(name), after.node(name)) {
            (Some(old), Some(new)) => differences(before, old, after, new),
            (None, Some(new)) => vec![format!("comes, of class {}", new.class)],
            (Some(_), None) => vec!["goes".to_owned()],
            (None, None) => Vec::new(),
        };
        if !how.is_empty() {
            changed.push((name.to_owned(), how.join(", ")));
        }
    }
    changed
}

fn differences(before: &Snapshot, old: &Node, after: &Snapshot, new: &Node) -> Vec<String> {
    let mut how = Vec::new();
    if old.class != new.class {
        how.push(format!("class {} -> {}", old.class, new.class));
    }
    match (old.hold, new.hold) {
        (false, true) => how.push("waits, and runs nothing".to_owned()),
        (true, false) => how.push("waits no more".to_owned()),
        (true, true) | (false, false) => {}
    }
    let install = |snapshot: &Snapshot, node: &Node| {
        let class = snapshot.classes.get(&node.class);
        class.map(|class| class.install)
    };
    let installs = (install(before, old), install(after, new));
    if old.class == new.class && installs.0 != installs.1 {
        how.push(match installs.1 {
            Some(Install::Persist) => "installs on its disk".to_owned(),
            Some(Install::Test) => "runs from RAM".to_owned(),
            Some(Install::Hold) | None => "waits, and runs nothing".to_owned(),
        });
    }
    how
}

/// Nodes of this class and kind that are not set apart, or the one that is.
fn nodes_of(who: &Who, after: &Snapshot) -> Vec<String> {
    let fits = |node: &&snapshot::Node| match &who.node {
        Some(name) => node.name == *name,
        None => {
            node.apart.is_none()
                && node.class == who.class
                && node.arch.is_none_or(|it| it == who.arch)
                && node.firmware.is_none_or(|it| it == who.firmware)
        }
    };
    let nodes = after.nodes.iter().filter(fits);
    nodes.map(|node| node.name.clone()).collect()
}

fn packages(
    old: Option<&Manifest>,
    new: Option<&Manifest>,
) -> BTreeMap<String, (Option<String>, Option<String>)> {
    let versions = |manifest: Option<&Manifest>| -> BTreeMap<String, String> {
        let packages = manifest.map_or(&[][..], |it| &it.packages).iter();
        let packages = packages.map(|PackageRef { name, version }| (name.clone(), version.clone()));
        packages.collect()
    };
    let (old, new) = (versions(old), versions(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let both = names.into_iter().map(|name| {
        let versions = (old.get(name).cloned(), new.get(name).cloned());
        (name.clone(), versions)
    });
    both.filter(|(_, (old, new))| old != new).collect()
}

fn boot(
    old: Option<&Manifest>,
    new: Option<&Manifest>,
) -> Option<(Option<String>, Option<String>)> {
    let name = |it: Option<&Manifest>| it.map(|it| format!("{} {}", it.boot.name, it.boot.version));
    let differs = old.map(|it| &it.boot) != new.map(|it| &it.boot);
    differs.then(|| (name(old), name(new)))
}

fn paths(old: Option<&Manifest>, new: Option<&Manifest>) -> usize {
    let files = |manifest: Option<&Manifest>| -> BTreeMap<String, _> {
        let files = manifest.map_or(&[][..], |it| &it.files).iter();
        files
            .map(|file| (file.path.clone(), file.clone()))
            .collect()
    };
    let (old, new) = (files(old), files(new));
    let gone = old.keys().filter(|path| !new.contains_key(*path)).count();
    let other = new
        .iter()
        .filter(|(path, file)| old.get(*path) != Some(file));
    gone + other.count()
}

fn fetches(old: Option<&Manifest>, new: Option<&Manifest>) -> (usize, u64) {
    let blobs = |manifest: Option<&Manifest>| -> BTreeSet<BlobRef> {
        manifest.into_iter().flat_map(Manifest::blobs).collect()
    };
    let (old, new) = (blobs(old), blobs(new));
    let missing = || new.difference(&old);
    (missing().count(), missing().map(|blob| blob.size).sum())
}
