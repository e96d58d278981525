//! What packages say about the nodes of other classes, checked over all manifests.

use std::collections::{BTreeMap, BTreeSet};

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::{Arch, Firmware};
use serde::{Deserialize, Serialize};

use super::{Entry, Served, Who, last};
use crate::relation::Relation;
use crate::select::Selection;
use crate::snapshot::{Problem, RelationKind, Scope};

/// What a manifest's packages are and stand for, and what they say about other nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Abroad {
    offers: Vec<(String, Option<String>)>,
    says: Vec<Says>,
}

/// What one package says about the nodes of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Says {
    /// Name and version.
    package: String,
    kind: RelationKind,
    relation: Relation,
    class: String,
}

impl Abroad {
    pub(super) fn new(selection: &Selection<'_>) -> Self {
        let mut abroad = Abroad::default();
        for package in &selection.packages {
            let offers = package.offers();
            let offers =
                offers.map(|(name, version)| (name.to_owned(), version.map(str::to_owned)));
            abroad.offers.extend(offers);
            for it in &package.build.relations {
                let Some(class) = &it.on_class else { continue };
                if it
                    .for_arch
                    .is_none_or(|arch| arch == selection.subject.arch)
                {
                    abroad.says.push(Says {
                        package: format!("{} {}", package.name, package.version),
                        kind: it.kind,
                        relation: it.relation.clone(),
                        class: class.clone(),
                    });
                }
            }
        }
        abroad
    }

    pub(super) fn says_anything(&self) -> bool {
        !self.says.is_empty()
    }

    fn satisfies(&self, relation: &Relation) -> bool {
        let admits =
            |(name, version): &(String, Option<String>)| relation.admits(name, version.as_deref());
        self.offers.iter().any(admits)
    }

    /// What it has in place of what is meant.
    fn instead(&self, relation: &Relation) -> String {
        let means = |name: &str| relation.alternatives.iter().any(|it| it.name == name);
        let near = self.offers.iter().filter(|(name, _)| means(name));
        let near: Vec<String> = near
            .map(|(name, version)| format!("{name} {}", version.as_deref().unwrap_or_default()))
            .collect();
        match near.is_empty() {
            true => "has none of it".into(),
            false => format!("has {}", near.join(" and ")),
        }
    }
}

impl Says {
    /// Whether it is content with what nodes of its class have.
    fn holds(&self, other: &Abroad) -> bool {
        other.satisfies(&self.relation) == (self.kind == RelationKind::Needs)
    }

    fn complaint(&self, class: &str, other: &str) -> String {
        let verb = match self.kind {
            RelationKind::Conflicts => "conflicts with",
            RelationKind::Needs | RelationKind::Provides | RelationKind::Upgrades => "needs",
        };
        format!(
            "package {} of class {class} {verb} {} on class {} (table package_relation), {other}",
            self.package, self.relation, self.class
        )
    }
}

/// Takes back what would break a promise between classes: whoever takes away what another needs
/// goes on with what was good, if that helps; else the one that needs does. Where there is nothing
/// to go back to, the one that needs gets nothing new. Gives back what is wrong.
pub(super) fn settle(
    entries: &mut BTreeMap<Who, Entry>,
    last_good: &BTreeMap<Who, Entry>,
) -> Vec<Problem> {
    let (mut problems, mut left_alone) = (Vec::new(), BTreeSet::new());
    // Every round settles somebody for good.
    while let Some(broken) = first_broken(entries, &left_alone) {
        let keeps = |who: &Who| format!("{} keeps what it had", name_of(who));
        let (about, remedy) = match &broken.other {
            Some(other) if helps(&broken.says, other, last_good) => {
                go_back(entries, last_good, other);
                (other, keeps(other))
            }
            Some(_) | None if go_back(entries, last_good, &broken.who) => {
                (&broken.who, keeps(&broken.who))
            }
            // It needed this before, and runs: it is not stopped for what others do.
            Some(_) | None if last(last_good, &broken.who).is_some() => {
                left_alone.insert(broken.who.clone());
                (&broken.who, keeps(&broken.who))
            }
            Some(_) | None => {
                entries.remove(&broken.who);
                (&broken.who, "there is nothing to go back to".to_owned())
            }
        };
        problems.push(Problem {
            scope: scope(about),
            text: format!("{}: {remedy}", broken.text),
        });
    }
    problems
}

/// Whether what somebody had before would do.
fn helps(says: &Says, who: &Who, last_good: &BTreeMap<Who, Entry>) -> bool {
    last(last_good, who).is_some_and(|it| says.holds(&it.abroad))
}

/// A promise that does not hold.
struct Broken {
    says: Says,
    who: Who,
    /// With whom; `None`: nobody is there.
    other: Option<Who>,
    text: String,
}

fn first_broken(entries: &BTreeMap<Who, Entry>, left_alone: &BTreeSet<Who>) -> Option<Broken> {
    let entries_to_check = entries.iter().filter(|(who, _)| !left_alone.contains(who));
    entries_to_check.into_iter().find_map(|(who, entry)| {
        let mut says = entry.abroad.says.iter();
        says.find_map(|it| broken(who, it, entries))
    })
}

fn broken(who: &Who, says: &Says, entries: &BTreeMap<Who, Entry>) -> Option<Broken> {
    let broken = |other: Option<&Who>, instead: &str| Broken {
        says: says.clone(),
        who: who.clone(),
        other: other.cloned(),
        text: says.complaint(&who.class, instead),
    };
    let mut others = of_class(entries, &says.class).peekable();
    if others.peek().is_none() && says.kind == RelationKind::Needs {
        return Some(broken(None, "which does not exist or has no manifest"));
    }
    let (other, entry) = others.find(|(_, entry)| !says.holds(&entry.abroad))?;
    let instead = entry.abroad.instead(&says.relation);
    let instead = format!("but {} {instead}", name_of(other));
    Some(broken(Some(other), &instead))
}

fn name_of(who: &Who) -> String {
    match &who.node {
        Some(node) => format!("node {node} on {}", who.arch),
        None => format!("class {} on {}", who.class, who.arch),
    }
}

/// Everybody of a class; they stand together in the order of [`Who`].
fn of_class<'a>(
    entries: &'a BTreeMap<Who, Entry>,
    class: &'a str,
) -> impl Iterator<Item = (&'a Who, &'a Entry)> {
    let first = Who {
        class: class.to_owned(),
        node: None,
        arch: Arch::X86_64,
        firmware: Firmware::Bios,
    };
    entries
        .range(first..)
        .take_while(move |(who, _)| who.class == class)
}

/// Whether there was something else to go back to.
fn go_back(
    entries: &mut BTreeMap<Who, Entry>,
    last_good: &BTreeMap<Who, Entry>,
    who: &Who,
) -> bool {
    let (Some(entry), Some(before)) = (entries.get_mut(who), last(last_good, who)) else {
        return false;
    };
    let changed = entry.abroad != before.abroad || entry.encoded.digest != before.encoded.digest;
    if changed {
        *entry = before.outdated();
    }
    changed
}

fn scope(who: &Who) -> Scope {
    match &who.node {
        Some(node) => Scope::Node {
            node: node.clone(),
            arch: who.arch,
        },
        None => Scope::Class {
            class: who.class.clone(),
            arch: who.arch,
        },
    }
}

/// Which nodes run which manifest: names by digest, by class.
pub type Running = BTreeMap<String, BTreeMap<Digest, Vec<String>>>;

impl Served {
    /// What nodes need of others by what all of them run now, whatever they should: in words, by
    /// node. Manifests that were in force long ago say nothing.
    #[must_use]
    pub fn unmet(&self, running: &Running) -> BTreeMap<String, String> {
        let known = self.all.values().chain(self.former.values());
        let known: BTreeMap<Digest, &Abroad> = known
            .map(|it| (it.encoded.digest, it.abroad.as_ref()))
            .collect();
        let mut unmet = BTreeMap::new();
        for (class, manifests) in running {
            for (digest, nodes) in manifests {
                let says = known.get(digest).map_or(&[][..], |it| &it.says);
                let texts = says
                    .iter()
                    .filter_map(|it| it.unmet(class, running, &known));
                let text = texts.collect::<Vec<_>>().join("; ");
                if !text.is_empty() {
                    unmet.extend(nodes.iter().map(|node| (node.clone(), text.clone())));
                }
            }
        }
        unmet
    }
}

impl Says {
    /// The first node of the class it is about that does not run what it should.
    fn unmet(
        &self,
        class: &str,
        running: &Running,
        known: &BTreeMap<Digest, &Abroad>,
    ) -> Option<String> {
        let mut others = running.get(&self.class)?.iter();
        let (others, abroad) = others.find_map(|(digest, nodes)| {
            let abroad = known.get(digest)?;
            (!self.holds(abroad)).then_some((nodes, abroad))
        })?;
        let more = match others.len() {
            0 | 1 => String::new(),
            many => format!(" (and {} more)", many - 1),
        };
        let instead = abroad.instead(&self.relation).replacen("has", "runs", 1);
        let name = others.first().map_or("?", String::as_str);
        Some(self.complaint(class, &format!("but node {name}{more} {instead}")))
    }
}
