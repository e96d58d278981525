//! Which packages a node has, and in which order: the first that has a path wins it.

use bootd_protocol::identity::Arch;
use bootd_protocol::manifest::PackageRef;

use super::{Subject, Wrong};
use crate::relation::Relation;
use crate::snapshot::{Class, Node, Package, RelationKind, Relations, Snapshot, Test};

/// A package of a node.
#[derive(Debug, Clone, Copy)]
pub struct Chosen<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The build that suits the node.
    pub build: &'a Package,
    /// The node's processor.
    pub arch: Arch,
    /// Where the row says it stands.
    pub position: Option<i64>,
    /// Which row it comes from.
    pub because: Because<'a>,
}

/// Which row a package comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because<'a> {
    /// The class's list (table `class_package`).
    Class,
    /// The node's (table `node_package`).
    Node,
    /// The node's, in place of this version of the class's list.
    NodeInsteadOf(&'a str),
    /// That of this test (table `test_package`).
    Test(i64),
}

/// A package that is listed, and that the node does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Why.
    pub why: String,
}

/// A row of a list, before its build is looked for.
struct Row<'a> {
    name: &'a str,
    version: &'a str,
    position: Option<i64>,
    because: Because<'a>,
}

impl<'a> Chosen<'a> {
    /// Everything that it is or stands for: names, with versions where it says so.
    pub fn offers(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        let provided = self.relations(RelationKind::Provides).filter_map(|it| {
            let provided = it.relation.alternatives.first()?;
            let version = provided.range.first().map(|bound| bound.version.as_str());
            Some((provided.name.as_str(), version))
        });
        std::iter::once((self.name, Some(self.version))).chain(provided)
    }

    /// Whether it is or stands for what a relation means.
    #[must_use]
    pub fn satisfies(&self, relation: &Relation) -> bool {
        self.offers()
            .any(|(name, version)| relation.admits(name, version))
    }

    /// What it says of this kind for the node's processor.
    pub(super) fn relations(
        &self,
        kind: RelationKind,
    ) -> impl Iterator<Item = &'a Relations> + use<'a> {
        let arch = self.arch;
        let relations = self.build.relations.iter();
        relations
            .filter(move |it| it.kind == kind && it.for_arch.is_none_or(|wanted| wanted == arch))
    }

    /// What it says of this kind about its own node.
    pub(super) fn local(&self, kind: RelationKind) -> impl Iterator<Item = &'a Relation> + use<'a> {
        self.relations(kind)
            .filter(|it| it.on_class.is_none())
            .map(|it| &it.relation)
    }

    fn needs(&self, other: &Chosen<'_>) -> bool {
        self.local(RelationKind::Needs)
            .any(|relation| other.satisfies(relation))
    }
}

/// The packages of a node in their order.
pub(super) fn compose<'a>(
    snapshot: &'a Snapshot,
    subject: &Subject<'a>,
    left_out: &mut Vec<LeftOut>,
    wrong: &mut Wrong<'_>,
) -> Vec<Chosen<'a>> {
    let mut rows = rows(subject.class, subject.node, left_out);
    if let Some(test) = subject.test {
        apply_test(&mut rows, test);
    }
    let mut chosen = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(build) = build_for(snapshot, row.name, row.version, subject.arch) else {
            wrong.say(format!(
                "package {} {} is not there for {}: install it, or give the {} another version",
                row.name,
                row.version,
                subject.arch,
                if row.because == Because::Class {
                    "class"
                } else {
                    "node"
                },
            ));
            continue;
        };
        if build.damaged {
            wrong.say(format!(
                "package {} {} has a row that makes no sense: see catalog check",
                row.name, row.version
            ));
        }
        if !subject.has_function(&build.function) {
            let why = format!("it is for nodes that ask for feature {}", build.function);
            left_out.push(row.left_out(why));
            continue;
        }
        chosen.push(Chosen {
            name: row.name,
            version: row.version,
            build,
            arch: subject.arch,
            position: row.position,
            because: row.because,
        });
    }
    chosen.sort_by_key(|it| (it.position.is_none(), it.position, it.name));
    let first = chosen.partition_point(|it| it.position.is_some());
    let waiting = chosen.split_off(first);
    let chosen = place(chosen, waiting, wrong);
    settle_upgrades(chosen, left_out, wrong)
}

/// The class's rows with the node's changes.
fn rows<'a>(class: &'a Class, node: Option<&'a Node>, left_out: &mut Vec<LeftOut>) -> Vec<Row<'a>> {
    let apart = node.and_then(|it| it.apart.as_deref());
    let own = apart.map_or(&[][..], |it| &it.packages);
    let class_list = match apart {
        Some(apart) if apart.own_list => &[],
        Some(_) | None => class.packages.as_slice(),
    };
    let mut rows = Vec::with_capacity(class_list.len() + own.len());
    for listed in class_list {
        let mut row = Row {
            name: &listed.package.name,
            version: &listed.package.version,
            position: listed.position,
            because: Because::Class,
        };
        if let Some(change) = own.iter().find(|it| it.name == row.name) {
            let Some(version) = &change.version else {
                let why = "the node's row says so (table node_package)";
                left_out.push(row.left_out(why.into()));
                continue;
            };
            row.because = Because::NodeInsteadOf(row.version);
            row.version = version;
            row.position = change.position.or(row.position);
        }
        rows.push(row);
    }
    let added = own
        .iter()
        .filter(|it| {
            class_list
                .iter()
                .all(|listed| listed.package.name != it.name)
        })
        .filter_map(|it| {
            Some(Row {
                name: &it.name,
                version: it.version.as_deref()?,
                position: it.position,
                because: Because::Node,
            })
        });
    rows.extend(added);
    rows
}

/// Packages of a test stand in the place of those of the same name, or are added.
fn apply_test<'a>(rows: &mut Vec<Row<'a>>, test: &'a Test) {
    for package in &test.packages {
        match rows.iter_mut().find(|it| it.name == package.name) {
            Some(row) => {
                row.version = &package.version;
                row.because = Because::Test(test.id);
            }
            None => rows.push(Row {
                name: &package.name,
                version: &package.version,
                position: None,
                because: Because::Test(test.id),
            }),
        }
    }
}

impl Row<'_> {
    fn left_out(&self, why: String) -> LeftOut {
        LeftOut {
            name: self.name.to_owned(),
            version: self.version.to_owned(),
            why,
        }
    }
}

/// The build of a package that a node with this processor runs: its own, else the one for all.
#[must_use]
pub fn build_for<'a>(
    snapshot: &'a Snapshot,
    name: &str,
    version: &str,
    arch: Arch,
) -> Option<&'a Package> {
    let key = PackageRef {
        name: name.to_owned(),
        version: version.to_owned(),
    };
    let builds = snapshot.packages.get(&key)?;
    let of = |wanted| builds.iter().find(|build| build.arch == wanted);
    of(Some(arch)).or_else(|| of(None))
}

/// Puts what has no position just before the first package that it needs, or first of all.
fn place<'a>(
    mut placed: Vec<Chosen<'a>>,
    mut waiting: Vec<Chosen<'a>>,
    wrong: &mut Wrong<'_>,
) -> Vec<Chosen<'a>> {
    while !waiting.is_empty() {
        // What it needs has to stand before it can be put before that.
        let ready = waiting.iter().position(|it| {
            let mut others = waiting.iter().filter(|other| other.name != it.name);
            !others.any(|other| it.needs(other))
        });
        let Some(ready) = ready else {
            let names: Vec<&str> = waiting.iter().map(|it| it.name).collect();
            wrong.say(format!(
                "packages {} need each other in a circle, and have no position: give them one (UPDATE class_package SET position = …)",
                names.join(", ")
            ));
            placed.splice(0..0, waiting);
            return placed;
        };
        let next = waiting.remove(ready);
        let at = placed.iter().position(|it| next.needs(it));
        placed.insert(at.unwrap_or(0), next);
    }
    placed
}

/// Upgrades stand before what they upgrade, and go where that is not there.
fn settle_upgrades<'a>(
    mut list: Vec<Chosen<'a>>,
    left_out: &mut Vec<LeftOut>,
    wrong: &mut Wrong<'_>,
) -> Vec<Chosen<'a>> {
    // Every round takes one away or moves one forward; two that upgrade each other never settle.
    for _ in 0..=4 * list.len() {
        match next_move(&list) {
            None => return list,
            Some(Move::Out(index, why)) => {
                let gone = list.remove(index);
                left_out.push(LeftOut {
                    name: gone.name.to_owned(),
                    version: gone.version.to_owned(),
                    why,
                });
            }
            Some(Move::Before(index, target)) => {
                let upgrade = list.remove(index);
                list.insert(target, upgrade);
            }
        }
    }
    let upgrades = list
        .iter()
        .filter(|it| it.relations(RelationKind::Upgrades).next().is_some());
    let names: Vec<&str> = upgrades.map(|it| it.name).collect();
    wrong.say(format!(
        "packages {} upgrade each other in a circle: take one out of the list, or its upgrades out of package_relation",
        names.join(", ")
    ));
    list
}

enum Move {
    Out(usize, String),
    Before(usize, usize),
}

fn next_move(list: &[Chosen<'_>]) -> Option<Move> {
    for (index, it) in list.iter().enumerate() {
        for upgraded in it.relations(RelationKind::Upgrades).map(|it| &it.relation) {
            let means = |other: &&Chosen<'_>| upgraded.admits(other.name, Some(other.version));
            match list
                .iter()
                .position(|other| means(&other) && other.name != it.name)
            {
                None => {
                    let why = format!("it upgrades {upgraded}, which the list does not have");
                    return Some(Move::Out(index, why));
                }
                Some(target) if target < index => return Some(Move::Before(index, target)),
                Some(_) => {}
            }
        }
    }
    None
}
