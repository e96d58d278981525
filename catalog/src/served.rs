//! The manifests in force: of every class, architecture and firmware the newest good one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::{Arch, Firmware};
use bootd_protocol::manifest::Manifest;

use crate::select::{manifest_for, manifest_of};
use crate::snapshot::{Class, Covered, Problem, Scope, Snapshot, Test};

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
    /// What tests make of classes.
    trials: BTreeMap<(i64, String, Arch, Firmware), Arc<Encoded>>,
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
        next.put_trials(snapshot);
        next.problems.sort();
        next.problems.dedup();
        next
    }

    /// What is no other than what the class has anyway is no test.
    fn put_trials(&mut self, snapshot: &Snapshot) {
        for (test, class, arch, firmware) in trials(snapshot) {
            match manifest_of(snapshot, &with_test(class, test), arch, firmware) {
                Ok(manifest) => {
                    if let Ok(encoded) = Encoded::new(manifest) {
                        let usual = self.wanted(&class.name, arch, firmware);
                        if usual.is_some_and(|it| it.digest == encoded.digest) {
                            continue;
                        }
                        let encoded = Arc::new(encoded);
                        let shared = self.by_digest.entry(encoded.digest).or_insert(encoded);
                        let key = (test.id, class.name.clone(), arch, firmware);
                        self.trials.insert(key, Arc::clone(shared));
                    }
                }
                Err(problems) => {
                    let row = |problem: Problem| Problem {
                        scope: Scope::Row {
                            table: "test",
                            name: test.id.to_string(),
                        },
                        text: format!("nobody gets it: {problem}"),
                    };
                    self.problems.extend(problems.into_iter().map(row));
                }
            }
        }
    }

    /// What a test makes of a class.
    #[must_use]
    pub fn trial(
        &self,
        test: i64,
        class: &str,
        arch: Arch,
        firmware: Firmware,
    ) -> Option<&Arc<Encoded>> {
        self.trials.get(&(test, class.to_owned(), arch, firmware))
    }

    /// Every manifest that may be asked for.
    pub fn every(&self) -> impl Iterator<Item = &Arc<Encoded>> {
        self.by_digest.values()
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

/// Every test with what it may be for.
fn trials(snapshot: &Snapshot) -> Vec<(&Test, &Class, Arch, Firmware)> {
    let mut all = Vec::new();
    for test in &snapshot.tests {
        let covered = match &test.covers {
            Covered::Class(class) => Some(class),
            Covered::Node(node) => snapshot.node(node).map(|it| &it.class),
            Covered::All => None,
        };
        let Some(class) = covered.and_then(|it| snapshot.classes.get(it)) else {
            continue;
        };
        let combinations = combinations(snapshot).into_iter();
        let of_class = combinations.filter(|it| it.0 == class.name);
        all.extend(of_class.map(|(_, arch, firmware)| (test, class, arch, firmware)));
    }
    all
}

/// A class with the boot image and the packages of a test: in the place of those of the same name,
/// or before all.
fn with_test(class: &Class, test: &Test) -> Class {
    let mut class = class.clone();
    class.images.extend(test.images.clone());
    for package in &test.packages {
        match class.packages.iter_mut().find(|it| it.name == package.name) {
            Some(there) => *there = package.clone(),
            None => class.packages.insert(0, package.clone()),
        }
    }
    class
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
