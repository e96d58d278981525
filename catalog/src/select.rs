//! From a snapshot: the manifest of a class.

use std::collections::BTreeMap;

use bootd_protocol::identity::{Arch, Firmware};
use bootd_protocol::manifest::{self, Boot, Content, Empty, File, Manifest, PackageRef, Process};

use crate::snapshot::{Class, Package, Problem, Scope, Snapshot};

/// A path and the package that won it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Won<'a> {
    /// What stands at the path.
    pub file: &'a File,
    /// Position of the winner in the class's list, from 0.
    pub winner: usize,
    /// Positions of the packages that have the path too, and lost.
    pub losers: usize,
}

/// The manifest for nodes of `class` with this architecture and firmware.
///
/// Packages are taken in the class's order: the first that has a path wins it, the first that
/// names a process wins that. Processes start from the base package (the last) up. Directories
/// that no package has are added, so that every file has its parents.
///
/// # Errors
/// Everything that is wrong, not just the first.
pub fn manifest_for(
    snapshot: &Snapshot,
    class: &str,
    arch: Arch,
    firmware: Firmware,
) -> Result<Manifest, Vec<Problem>> {
    let mut wrong = Wrong {
        class,
        arch,
        problems: Vec::new(),
    };
    let Some(row) = snapshot.classes.get(class) else {
        wrong.say("there is no such class".into());
        return Err(wrong.problems);
    };
    manifest_of(snapshot, row, arch, firmware)
}

/// As [`manifest_for`], for a class that may not be one of the snapshot's.
///
/// # Errors
/// As there.
pub fn manifest_of(
    snapshot: &Snapshot,
    row: &Class,
    arch: Arch,
    firmware: Firmware,
) -> Result<Manifest, Vec<Problem>> {
    let class = row.name.as_str();
    let mut wrong = Wrong {
        class,
        arch,
        problems: Vec::new(),
    };
    let boot = boot_for(row, arch, firmware, &mut wrong);
    let packages = builds_for(snapshot, row, arch, &mut wrong);
    let files = merge_files(&packages);
    check_parents(&files, &packages, &mut wrong);
    let processes = merge_processes(&packages);
    check_programs(&processes, &files, &mut wrong);
    match boot {
        Some(boot) if wrong.problems.is_empty() => Ok(Manifest {
            format: manifest::FORMAT,
            class: class.to_owned(),
            arch,
            boot: boot.clone(),
            packages: row.packages.clone(),
            files: with_parents(&files),
            processes,
            policy: row.policy.clone(),
        }),
        Some(_) | None => Err(wrong.problems),
    }
}

/// Collects problems of one class on one architecture.
struct Wrong<'a> {
    class: &'a str,
    arch: Arch,
    problems: Vec<Problem>,
}

impl Wrong<'_> {
    fn say(&mut self, text: String) {
        self.problems.push(Problem {
            scope: Scope::Class {
                class: self.class.to_owned(),
                arch: self.arch,
            },
            text,
        });
    }
}

fn boot_for<'a>(
    class: &'a Class,
    arch: Arch,
    firmware: Firmware,
    wrong: &mut Wrong<'_>,
) -> Option<&'a Boot> {
    let Some(boot) = class.images.get(&arch) else {
        wrong.say(format!(
            "it has no boot image for {arch}: insert one into class_image"
        ));
        return None;
    };
    if firmware == Firmware::Bios && boot.loader.bios_core.is_none() {
        wrong.say(format!(
            "boot image {} {} has no loader for BIOS machines",
            boot.name, boot.version
        ));
        return None;
    }
    Some(boot)
}

/// The build of `package` that a node of architecture `arch` runs: its own, else the one for all.
#[must_use]
pub fn build_for<'a>(
    snapshot: &'a Snapshot,
    package: &PackageRef,
    arch: Arch,
) -> Option<&'a Package> {
    let builds = snapshot.packages.get(package)?;
    let of = |wanted| builds.iter().find(|build| build.arch == wanted);
    of(Some(arch)).or_else(|| of(None))
}

/// The builds of a class's packages, each with its name, in the class's order.
fn builds_for<'a>(
    snapshot: &'a Snapshot,
    class: &'a Class,
    arch: Arch,
    wrong: &mut Wrong<'_>,
) -> Vec<(&'a PackageRef, &'a Package)> {
    let mut builds = Vec::new();
    for package in &class.packages {
        match build_for(snapshot, package, arch) {
            Some(build) => builds.push((package, build)),
            None => wrong.say(format!(
                "package {} {} is not there for {arch}: install it, or give the class another version",
                package.name, package.version
            )),
        }
    }
    builds
}

/// Every path with its winner, sorted by path.
#[must_use]
pub fn merge_files<'a>(packages: &[(&'a PackageRef, &'a Package)]) -> BTreeMap<&'a str, Won<'a>> {
    let mut files: BTreeMap<&str, Won<'_>> = BTreeMap::new();
    for (winner, (_, package)) in packages.iter().enumerate() {
        for file in &package.files {
            files
                .entry(&file.path)
                .and_modify(|won| won.losers += 1)
                .or_insert(Won {
                    file,
                    winner,
                    losers: 0,
                });
        }
    }
    files
}

/// A path below something that is no directory could not be laid out.
fn check_parents(
    files: &BTreeMap<&str, Won<'_>>,
    packages: &[(&PackageRef, &Package)],
    wrong: &mut Wrong<'_>,
) {
    for (path, won) in files {
        let Some(parent) = parents(path).find_map(|parent| files.get(parent)) else {
            continue;
        };
        let what = match parent.file.content {
            Content::Directory(_) => continue,
            Content::Regular(_) => "a file",
            Content::Symlink(_) => "a link",
        };
        let owner = |won: &Won<'_>| packages.get(won.winner).map_or("?", |(p, _)| &p.name);
        wrong.say(format!(
            "package {} has {path}, but package {} makes {} {what}",
            owner(won),
            owner(parent),
            parent.file.path
        ));
    }
}

/// The parents of an absolute path, nearest first, without the root.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    let up = |path: &str| path.rfind('/').filter(|at| *at > 0);
    std::iter::successors(up(path), move |at| up(&path[..*at])).map(|at| &path[..at])
}

/// The files with the directories that nobody has.
fn with_parents(files: &BTreeMap<&str, Won<'_>>) -> Vec<File> {
    let mut all: BTreeMap<&str, File> = BTreeMap::new();
    for (path, won) in files {
        for parent in parents(path).filter(|parent| !files.contains_key(parent)) {
            all.entry(parent).or_insert_with(|| directory(parent));
        }
        all.insert(path, won.file.clone());
    }
    all.into_values().collect()
}

fn directory(path: &str) -> File {
    File {
        path: path.to_owned(),
        mode: 0o755,
        uid: 0,
        gid: 0,
        content: Content::Directory(Empty {}),
    }
}

/// Base package first; where two name the same process, the one earlier in the list wins.
fn merge_processes(packages: &[(&PackageRef, &Package)]) -> Vec<Process> {
    let mut merged: Vec<Process> = Vec::new();
    for process in packages
        .iter()
        .rev()
        .flat_map(|(_, package)| &package.processes)
    {
        match merged.iter_mut().find(|other| other.name == process.name) {
            Some(other) => *other = process.clone(),
            None => merged.push(process.clone()),
        }
    }
    merged
}

/// A program that nothing provides would fail on every node.
fn check_programs(processes: &[Process], files: &BTreeMap<&str, Won<'_>>, wrong: &mut Wrong<'_>) {
    for process in processes {
        let Some(program) = process.argv.first() else {
            wrong.say(format!("process {} has an empty argv", process.name));
            continue;
        };
        let is = |path: &str, link_only: bool| match files.get(path).map(|won| &won.file.content) {
            Some(Content::Symlink(_)) => true,
            Some(Content::Regular(_)) => !link_only,
            Some(Content::Directory(_)) | None => false,
        };
        // What lies behind a linked directory is the kernel's to find.
        if !is(program, false) && !parents(program).any(|parent| is(parent, true)) {
            wrong.say(format!(
                "process {} of package {} starts {program}, which no package of the class has",
                process.name, process.package
            ));
        }
    }
}
