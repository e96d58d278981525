//! The manifests in force: of every class, architecture and firmware the newest good one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::{Arch, Firmware};
use bootd_protocol::manifest::Manifest;

use crate::select::manifest_for;
use crate::snapshot::{Problem, Scope, Snapshot};

/// A manifest with its canonical bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// What goes over the wire.
    pub bytes: Vec<u8>,
    /// What they say.
    pub manifest: Manifest,
}

impl Encoded {
    /// Encodes a manifest.
    ///
    /// # Errors
    /// As [`Manifest::to_bytes`].
    pub fn new(manifest: Manifest) -> Result<Self, serde_json::Error> {
        let bytes = manifest.to_bytes()?;
        Ok(Encoded {
            digest: Digest::of(&bytes),
            bytes,
            manifest,
        })
    }
}

/// The manifests in force.
#[derive(Debug, Clone, Default)]
pub struct Served {
    wanted: BTreeMap<(String, Arch, Firmware), Arc<Encoded>>,
    by_digest: HashMap<Digest, Arc<Encoded>>,
    problems: Vec<Problem>,
}

impl Served {
    /// The manifests after an edit: new ones where the class is all right, the last good one
    /// where it is not. A class that is gone is gone.
    #[must_use]
    pub fn next(&self, snapshot: &Snapshot) -> Served {
        let mut next = Served {
            problems: snapshot.problems.clone(),
            ..Served::default()
        };
        for (class, arch, firmware) in combinations(snapshot) {
            let key = (class.to_owned(), arch, firmware);
            match encode(snapshot, class, arch, firmware) {
                Ok(encoded) => next.put(key, encoded),
                Err(problems) => {
                    next.problems.extend(problems);
                    if let Some(last_good) = self.wanted.get(&key) {
                        next.put_shared(key, Arc::clone(last_good));
                    }
                }
            }
        }
        next.problems.sort();
        next.problems.dedup();
        next
    }

    /// What a node of this class, architecture and firmware should have.
    #[must_use]
    pub fn wanted(&self, class: &str, arch: Arch, firmware: Firmware) -> Option<&Arc<Encoded>> {
        self.wanted.get(&(class.to_owned(), arch, firmware))
    }

    /// The manifest with this digest.
    #[must_use]
    pub fn manifest(&self, digest: Digest) -> Option<&Arc<Encoded>> {
        self.by_digest.get(&digest)
    }

    /// Every class, architecture and firmware that has a manifest, in order.
    pub fn all(&self) -> impl Iterator<Item = (&str, Arch, Firmware, &Arc<Encoded>)> {
        self.wanted
            .iter()
            .map(|((class, arch, firmware), encoded)| (class.as_str(), *arch, *firmware, encoded))
    }

    /// What is wrong, sorted: rows that were left out, classes that keep their last good
    /// manifest or have none.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    fn put(&mut self, key: (String, Arch, Firmware), encoded: Encoded) {
        // BIOS and UEFI nodes share one manifest: keep its bytes once.
        let shared = match self.by_digest.get(&encoded.digest) {
            Some(same) => Arc::clone(same),
            None => Arc::new(encoded),
        };
        self.put_shared(key, shared);
    }

    fn put_shared(&mut self, key: (String, Arch, Firmware), encoded: Arc<Encoded>) {
        self.by_digest.insert(encoded.digest, Arc::clone(&encoded));
        self.wanted.insert(key, encoded);
    }
}

/// Every class with every architecture and firmware it has an image for, or a node of.
fn combinations(snapshot: &Snapshot) -> Vec<(&str, Arch, Firmware)> {
    let mut all: Vec<(&str, Arch, Firmware)> = Vec::new();
    for class in snapshot.classes.values() {
        for (arch, boot) in &class.images {
            all.push((&class.name, *arch, Firmware::Uefi));
            if boot.loader.bios_core.is_some() {
                all.push((&class.name, *arch, Firmware::Bios));
            }
        }
    }
    let nodes = snapshot.nodes.iter().filter_map(|node| {
        let class = snapshot.classes.get(&node.class)?;
        Some((class.name.as_str(), node.arch?, node.firmware?))
    });
    all.extend(nodes);
    all.sort_unstable();
    all.dedup();
    all
}

fn encode(
    snapshot: &Snapshot,
    class: &str,
    arch: Arch,
    firmware: Firmware,
) -> Result<Encoded, Vec<Problem>> {
    let manifest = manifest_for(snapshot, class, arch, firmware)?;
    Encoded::new(manifest).map_err(|error| {
        vec![Problem {
            scope: Scope::Class {
                class: class.to_owned(),
                arch,
            },
            text: format!("its manifest cannot be written: {error}"),
        }]
    })
}
