//! The manifests in force, kept on the disk: a master that starts with a bad edit in its catalog has
//! the last good ones to go on with, and tells nodes in what the new ones differ.
//!
//! ```text
//! manifests/<sha256>      a manifest's bytes
//! manifests/index.json    whose they are; written last
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::{Arch, Firmware};
use bootd_protocol::manifest::Manifest;
use serde::{Deserialize, Serialize};

use super::abroad::Abroad;
use super::{Encoded, Entry, Served, Who};
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;
use crate::store::Catalog;

/// Where manifests are kept.
#[derive(Debug, Clone)]
pub struct Kept {
    dir: PathBuf,
}

/// One line of the index.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    class: String,
    node: Option<String>,
    arch: Arch,
    firmware: Firmware,
    manifest: Digest,
    abroad: Abroad,
}

const INDEX: &str = "index.json";

impl Catalog {
    /// The manifests as bootd has them in force: those of `snapshot` where they are right, else what
    /// was kept.
    #[must_use]
    pub fn served(&self, snapshot: &Snapshot) -> Served {
        let kept = Kept::below(self.dir()).read();
        kept.next(&Snapshot::default(), snapshot)
    }
}

impl Kept {
    /// Below a state directory.
    #[must_use]
    pub fn below(state: &Path) -> Self {
        Kept {
            dir: state.join("manifests"),
        }
    }

    /// What an earlier master has kept. What cannot be read is as if it were not there: it is made
    /// again from the catalog, if that is all right.
    #[must_use]
    pub fn read(&self) -> Served {
        let index = fs::read(self.dir.join(INDEX)).unwrap_or_default();
        let lines: Vec<Line> = serde_json::from_slice(&index).unwrap_or_default();
        let mut known: BTreeMap<Digest, Arc<Encoded>> = BTreeMap::new();
        let mut all = BTreeMap::new();
        for line in lines {
            let encoded = match known.get(&line.manifest) {
                Some(encoded) => Arc::clone(encoded),
                None => match self.read_manifest(line.manifest) {
                    Some(encoded) => Arc::new(encoded),
                    None => continue,
                },
            };
            known.insert(line.manifest, Arc::clone(&encoded));
            let entry = Entry {
                as_wished: false,
                encoded,
                abroad: Arc::new(line.abroad),
                notes: Arc::new([]),
            };
            let who = Who {
                class: line.class,
                node: line.node,
                arch: line.arch,
                firmware: line.firmware,
            };
            all.insert(who, entry);
        }
        Served {
            all,
            ..Served::default()
        }
    }

    fn read_manifest(&self, digest: Digest) -> Option<Encoded> {
        let bytes = fs::read(self.path(digest)).ok()?;
        let manifest = Manifest::from_bytes(&bytes, digest).ok()?;
        let encoded = Encoded::new(manifest).ok()?;
        // A program of another version may write the same manifest otherwise.
        (encoded.digest == digest).then_some(encoded)
    }

    /// Keeps what is in force: what is new is written, then the index, and what nobody has any more
    /// goes.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn write(&self, served: &Served) -> Result<()> {
        fs::create_dir_all(&self.dir).map_err(Error::io("create", &self.dir))?;
        let mut named = BTreeSet::new();
        for entry in served.all.values() {
            let digest = entry.encoded.digest;
            if named.insert(digest) && !self.path(digest).exists() {
                self.put(&digest.to_string(), &entry.encoded.bytes)?;
            }
        }
        let lines = served.all.iter().map(|(who, entry)| Line {
            class: who.class.clone(),
            node: who.node.clone(),
            arch: who.arch,
            firmware: who.firmware,
            manifest: entry.encoded.digest,
            abroad: entry.abroad.as_ref().clone(),
        });
        let lines: Vec<Line> = lines.collect();
        let index = serde_json::to_vec(&lines).unwrap_or_default();
        self.put(INDEX, &index)?;
        self.sweep(&named)
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(digest.to_string())
    }

    /// Whole or not at all; what a power cut takes is made again.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.dir.join(name);
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)
            .map_err(Error::io("create a file in", &self.dir))?;
        file.write_all(bytes).map_err(Error::io("write", &path))?;
        let named = file.persist(&path);
        named.map_err(|error| Error::io("create", &path)(error.error))?;
        Ok(())
    }

    fn sweep(&self, named: &BTreeSet<Digest>) -> Result<()> {
        let entries = fs::read_dir(&self.dir).map_err(Error::io("read", &self.dir))?;
        for entry in entries {
            let path = entry.map_err(Error::io("read", &self.dir))?.path();
            let name = path.file_name().and_then(|it| it.to_str());
            let digest = name.and_then(|it| it.parse::<Digest>().ok());
            if digest.is_some_and(|it| !named.contains(&it)) {
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }
}
