//! Whether what the packages of one node say about each other holds.

use std::collections::HashSet;

use super::Wrong;
use super::files::Files;
use super::list::Chosen;
use crate::relation::Relation;
use crate::snapshot::{RelationKind, Side};

/// Needs and conflicts of packages.
pub(super) fn check(packages: &[Chosen<'_>], wrong: &mut Wrong<'_>) {
    for package in packages {
        let this = format!("package {} {}", package.name, package.version);
        for relation in package.local(RelationKind::Needs) {
            if !packages.iter().any(|it| it.satisfies(relation)) {
                let instead = instead(relation, packages);
                wrong.say(format!("{this} needs {relation}, {instead}"));
            }
        }
        for relation in package.local(RelationKind::Conflicts) {
            let others = packages.iter().filter(|it| it.name != package.name);
            for other in others.filter(|it| it.satisfies(relation)) {
                wrong.say(format!(
                    "{this} conflicts with {relation}, which {} {} is: take one of them out of the list",
                    other.name, other.version
                ));
            }
        }
    }
}

/// What the list has in place of what is needed.
fn instead(relation: &Relation, packages: &[Chosen<'_>]) -> String {
    let offers = packages.iter().flat_map(|it| {
        let package = it.name;
        it.offers()
            .map(move |(name, version)| (package, name, version))
    });
    let near =
        offers.filter(|(_, name, _)| relation.alternatives.iter().any(|it| it.name == *name));
    let near: Vec<String> = near
        .map(|(package, name, version)| {
            let version = version.unwrap_or("without a version");
            if package == name {
                format!("{name} {version}")
            } else {
                format!("{name} {version} in {package}")
            }
        })
        .collect();
    match near.is_empty() {
        true => "which no package of the list is or provides: put one into the list".into(),
        false => format!(
            "but the list has {}: give it another version",
            near.join(" and ")
        ),
    }
}

/// What modules offer to each other: what one uses, one has to provide.
pub(super) fn check_apis(packages: &[Chosen<'_>], files: &Files<'_>, wrong: &mut Wrong<'_>) {
    let of = |side: Side| {
        packages
            .iter()
            .enumerate()
            .flat_map(move |(index, package)| {
                let apis = package.build.apis.iter();
                // A file that lost its path to another package's offers and uses nothing.
                apis.filter(move |it| it.side == side && is_won(files, &it.path, index))
                    .map(move |it| (package, it))
            })
    };
    let provided: HashSet<&str> = of(Side::Provides).map(|(_, it)| it.api.as_str()).collect();
    for (package, used) in of(Side::Consumes) {
        if !provided.contains(used.api.as_str()) {
            wrong.say(format!(
                "{} of package {} {} uses the interface {}, which no package of the list provides (table package_api)",
                used.path, package.name, package.version, used.api
            ));
        }
    }
}

fn is_won(files: &Files<'_>, path: &str, index: usize) -> bool {
    files.get(path).is_some_and(|won| won.winner == index)
}

/// Shared libraries that nothing on the node has. A program may find them elsewhere, so this is
/// told and keeps nothing back.
pub(super) fn missing_libraries(packages: &[Chosen<'_>], files: &Files<'_>) -> Vec<String> {
    if packages.iter().all(|it| it.build.libraries.is_empty()) {
        return Vec::new();
    }
    let names: HashSet<&str> = files
        .keys()
        .filter_map(|path| path.rsplit('/').next())
        .collect();
    let mut missing = Vec::new();
    for (index, package) in packages.iter().enumerate() {
        for needed in &package.build.libraries {
            let name = needed.library.rsplit('/').next().unwrap_or_default();
            if !names.contains(name) && is_won(files, &needed.path, index) {
                missing.push(format!(
                    "{} of package {} {} needs the library {}, which no package of the list has",
                    needed.path, package.name, package.version, needed.library
                ));
            }
        }
    }
    missing
}
