//! The manifests in force: of every class, architecture and firmware the newest good one, and of
//! every node that is set apart from its class.

mod abroad;
mod kept;
mod trials;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::{Arch, Firmware};
use bootd_protocol::manifest::{MAX_LEN, Manifest, ManifestError, PackageRef};

use self::abroad::Abroad;
pub use self::abroad::Running;
pub use self::kept::Kept;
use crate::select::{Selection, Subject, select};
use crate::snapshot::{Class, Node, Problem, Snapshot};

/// A manifest with its canonical bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// What goes over the wire.
    pub bytes: Vec<u8>,
    /// What they say, but for the files: those of a large cluster would take more room than all
    /// else in a master's memory.
    pub head: Manifest,
}

impl Encoded {
    /// Encodes a manifest.
    ///
    /// # Errors
    /// As [`Manifest::to_bytes`].
    pub fn new(manifest: Manifest) -> Result<Self, serde_json::Error> {
        let mut bytes = manifest.to_bytes()?;
        bytes.shrink_to_fit();
        Ok(Encoded {
            digest: Digest::of(&bytes),
            bytes,
            head: Manifest {
                files: Vec::new(),
                ..manifest
            },
        })
    }

    /// The manifest with its files.
    ///
    /// # Errors
    /// None: the bytes are our own.
    pub fn manifest(&self) -> Result<Manifest, ManifestError> {
        Manifest::from_bytes(&self.bytes, self.digest)
    }
}

/// Who gets a manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Who {
    /// The class.
    pub class: String,
    /// A node of it that is set apart; `None`: all others.
    pub node: Option<String>,
    /// Processor architecture.
    pub arch: Arch,
    /// Firmware.
    pub firmware: Firmware,
}

/// One manifest in force.
#[derive(Debug, Clone)]
struct Entry {
    /// Whether it is what the catalog wishes; else it is what was there before.
    as_wished: bool,
    encoded: Arc<Encoded>,
    abroad: Arc<Abroad>,
    notes: Arc<[Problem]>,
}

/// The manifests in force.
#[derive(Debug, Clone, Default)]
pub struct Served {
    by_class: HashMap<String, Slots>,
    by_node: HashMap<String, Slots>,
    by_digest: HashMap<Digest, Arc<Encoded>>,
    /// What everybody had before what is in force: nodes that still have it are told the
    /// difference.
    former: BTreeMap<Who, Entry>,
    /// What tests make of lists, by the test's number.
    trials: HashMap<(i64, Who), Arc<Encoded>>,
    looks_abroad: bool,
    problems: Vec<Problem>,
    notes: Vec<Problem>,
    all: BTreeMap<Who, Entry>,
}

/// A class's or node's manifests.
type Slots = HashMap<(Arch, Firmware), Arc<Encoded>>;

impl Served {
    /// The manifests of a catalog, with nothing to go back to.
    #[must_use]
    pub fn first(snapshot: &Snapshot) -> Served {
        Served::default().next(&Snapshot::default(), snapshot)
    }

    /// The manifests after an edit from the catalog `old` to `new`: new ones where all is right,
    /// the last good ones where it is not. What is not touched is not made again. A class that is
    /// gone is gone.
    #[must_use]
    pub fn next(&self, old: &Snapshot, new: &Snapshot) -> Served {
        let changed = changed_packages(old, new);
        let mut problems = new.problems.clone();
        let mut entries = BTreeMap::new();
        let mut refused = Vec::new();
        let everybody = everybody(new);
        for (who, subject) in &everybody {
            let last_good = self.all.get(who);
            if let Some(entry) =
                last_good.filter(|it| it.as_wished && is_untouched(old, subject, &changed))
            {
                entries.insert(who.clone(), entry.clone());
                continue;
            }
            match Entry::new(&select(new, *subject), last_good) {
                Ok(entry) => drop(entries.insert(who.clone(), entry)),
                Err(wrong) => {
                    problems.extend(wrong);
                    refused.push(who);
                }
            }
        }
        // Other nodes are checked with what this class goes on with.
        for who in refused {
            if let Some(last_good) = last(&self.all, who) {
                entries.insert(who.clone(), last_good.outdated());
            }
        }
        problems.extend(abroad::settle(&mut entries, &self.all));
        let former = self.next_former(&entries);
        let trials = self.make_trials(new, &everybody, &mut problems);
        let mut next = Served {
            former,
            ..Served::of(&everybody, entries, problems)
        };
        next.put_trials(trials);
        next
    }

    fn next_former(&self, entries: &BTreeMap<Who, Entry>) -> BTreeMap<Who, Entry> {
        let former = entries.iter().filter_map(|(who, entry)| {
            let last = self.all.get(who);
            let replaced = last.filter(|it| it.encoded.digest != entry.encoded.digest);
            let former = replaced.or_else(|| self.former.get(who))?;
            Some((who.clone(), former.clone()))
        });
        former.collect()
    }

    fn of(
        everybody: &BTreeMap<Who, Subject<'_>>,
        mut entries: BTreeMap<Who, Entry>,
        mut problems: Vec<Problem>,
    ) -> Served {
        problems.sort();
        problems.dedup();
        let mut served = Served {
            problems,
            ..Served::default()
        };
        // Who is set apart and has no manifest does not get its class's instead.
        for node in everybody.keys().filter_map(|who| who.node.as_ref()) {
            served.by_node.entry(node.clone()).or_default();
        }
        let mut notes = BTreeSet::new();
        for (who, entry) in &mut entries {
            let slots = match &who.node {
                Some(node) => served.by_node.entry(node.clone()),
                None => served.by_class.entry(who.class.clone()),
            };
            // BIOS and UEFI nodes share one manifest, and so do nodes apart in the same way: its
            // bytes are kept once.
            let digest = entry.encoded.digest;
            let shared = served
                .by_digest
                .entry(digest)
                .or_insert_with(|| Arc::clone(&entry.encoded));
            entry.encoded = Arc::clone(shared);
            slots
                .or_default()
                .insert((who.arch, who.firmware), Arc::clone(shared));
            notes.extend(entry.notes.iter().cloned());
        }
        served.looks_abroad = entries.values().any(|it| it.abroad.says_anything());
        served.notes = notes.into_iter().collect();
        served.all = entries;
        served
    }

    /// What `node` of this class should have; `None` for a node that has no row yet.
    #[must_use]
    pub fn wanted(
        &self,
        class: &str,
        node: Option<&str>,
        arch: Arch,
        firmware: Firmware,
    ) -> Option<&Arc<Encoded>> {
        let own = node.and_then(|node| self.by_node.get(node));
        own.or_else(|| self.by_class.get(class))?
            .get(&(arch, firmware))
    }

    /// The manifest with this digest.
    #[must_use]
    pub fn manifest(&self, digest: Digest) -> Option<&Arc<Encoded>> {
        self.by_digest.get(&digest)
    }

    /// The manifest with this digest, if somebody had it before what is in force now.
    #[must_use]
    pub fn former(&self, digest: Digest) -> Option<&Arc<Encoded>> {
        let mut former = self.former.values().map(|it| &it.encoded);
        former.find(|it| it.digest == digest)
    }

    /// Whether everybody has the same as in `other`.
    #[must_use]
    pub fn is_as(&self, other: &Served) -> bool {
        let digests = |it: &Served| -> Vec<Digest> {
            it.all.values().map(|entry| entry.encoded.digest).collect()
        };
        self.all.keys().eq(other.all.keys()) && digests(self) == digests(other)
    }

    /// Everybody who has a manifest, in order.
    pub fn all(&self) -> impl Iterator<Item = (&Who, &Arc<Encoded>)> {
        self.all.iter().map(|(who, entry)| (who, &entry.encoded))
    }

    /// Whether a package in force says anything about the nodes of other classes.
    #[must_use]
    pub fn looks_abroad(&self) -> bool {
        self.looks_abroad
    }

    /// Every manifest that may be asked for.
    pub fn every(&self) -> impl Iterator<Item = &Arc<Encoded>> {
        self.by_digest.values()
    }

    /// What is wrong, sorted: rows that were left out, classes that keep their last good
    /// manifest or have none.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What is odd and keeps nothing back, sorted.
    #[must_use]
    pub fn notes(&self) -> &[Problem] {
        &self.notes
    }
}

impl Entry {
    fn new(selection: &Selection<'_>, last_good: Option<&Entry>) -> Result<Self, Vec<Problem>> {
        let wrong = |text: String| {
            vec![Problem {
                scope: selection.subject.scope(),
                text,
            }]
        };
        let encoded = Encoded::new(selection.manifest()?)
            .map_err(|error| wrong(format!("its manifest cannot be written: {error}")))?;
        let length = encoded.bytes.len();
        if length > MAX_LEN {
            return Err(wrong(format!(
                "its manifest has {length} bytes, nodes take {MAX_LEN}: take packages out of its list"
            )));
        }
        let same = last_good.filter(|it| it.encoded.digest == encoded.digest);
        Ok(Entry {
            as_wished: true,
            encoded: same.map_or_else(|| Arc::new(encoded), |it| Arc::clone(&it.encoded)),
            abroad: Arc::new(Abroad::new(selection)),
            notes: selection.notes.clone().into(),
        })
    }

    /// The same, when something else is wished.
    fn outdated(&self) -> Self {
        Entry {
            as_wished: false,
            ..self.clone()
        }
    }
}

/// What somebody had; a node that was not set apart before had what its class has.
fn last<'a>(all: &'a BTreeMap<Who, Entry>, who: &Who) -> Option<&'a Entry> {
    all.get(who).or_else(|| {
        let of_class = Who {
            node: None,
            ..who.clone()
        };
        all.get(&of_class)
    })
}

/// Packages that one of two catalogs has and the other has not, or otherwise.
fn changed_packages<'a>(old: &'a Snapshot, new: &'a Snapshot) -> BTreeSet<&'a PackageRef> {
    let differs = |(name, builds): &(&PackageRef, _)| old.packages.get(name) != Some(*builds);
    let added = new.packages.iter().filter(differs).map(|(name, _)| name);
    let gone = old
        .packages
        .keys()
        .filter(|name| !new.packages.contains_key(name));
    added.chain(gone).collect()
}

/// Whether nothing that a manifest is made of has changed.
fn is_untouched(old: &Snapshot, new: &Subject<'_>, changed: &BTreeSet<&PackageRef>) -> bool {
    let same_class = old.classes.get(&new.class.name) == Some(new.class);
    let apart = new.node.and_then(|it| it.apart.as_deref());
    let before = new.node.and_then(|it| old.node(&it.name));
    let same_node = before.and_then(|it| it.apart.as_deref()) == apart;
    same_class && same_node && (changed.is_empty() || !names_any(new.class, new.node, changed))
}

fn names_any(class: &Class, node: Option<&Node>, changed: &BTreeSet<&PackageRef>) -> bool {
    let own = node.and_then(|it| it.apart.as_deref());
    let own = own.into_iter().flat_map(|it| &it.packages);
    let own = own.filter_map(|it| {
        Some(PackageRef {
            name: it.name.clone(),
            version: it.version.clone()?,
        })
    });
    class
        .packages
        .iter()
        .any(|it| changed.contains(&it.package))
        || own.into_iter().any(|it| changed.contains(&it))
}

/// Every class with every architecture and firmware it has an image for, or a node of; and every
/// node that is set apart.
fn everybody(snapshot: &Snapshot) -> BTreeMap<Who, Subject<'_>> {
    let mut all = BTreeMap::new();
    let mut add = |class, node: Option<_>, arch, firmware| {
        let who = who(class, node, arch, firmware);
        let subject = Subject {
            class,
            node,
            test: None,
            arch,
            firmware,
        };
        all.insert(who, subject);
    };
    for class in snapshot.classes.values() {
        for (arch, firmware) in kinds(class) {
            add(class, None, arch, firmware);
        }
    }
    let mut of_nodes = BTreeSet::new();
    for node in &snapshot.nodes {
        let known = node.arch.zip(node.firmware);
        let Some(class) = snapshot.classes.get(&node.class) else {
            continue;
        };
        if node.apart.is_some() {
            // What it is is known by its row, or may be anything that its class has images for.
            let any = kinds(class).filter(|_| known.is_none());
            for (arch, firmware) in any.chain(known) {
                add(class, Some(node), arch, firmware);
            }
        } else if let Some((arch, firmware)) = known
            && of_nodes.insert((&class.name, arch, firmware))
        {
            add(class, None, arch, firmware);
        }
    }
    all
}

fn who(class: &Class, node: Option<&Node>, arch: Arch, firmware: Firmware) -> Who {
    Who {
        class: class.name.clone(),
        node: node.map(|it| it.name.clone()),
        arch,
        firmware,
    }
}

/// The kinds of machines that a class has boot images for.
fn kinds(class: &Class) -> impl Iterator<Item = (Arch, Firmware)> + '_ {
    class.images.iter().flat_map(|(arch, boot)| {
        let bios = boot.loader.bios_core.map(|_| (*arch, Firmware::Bios));
        std::iter::once((*arch, Firmware::Uefi)).chain(bios)
    })
}
