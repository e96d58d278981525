//! Which package wins which path.

use std::collections::BTreeMap;

use bootd_protocol::manifest::{Content, Empty, File, Process};

use super::list::Chosen;
use super::{Subject, Wrong};
use crate::snapshot::Module;

/// A path and the package that won it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Won<'a> {
    /// What stands at the path.
    pub module: &'a Module,
    /// Position of the winner in the list, from 0.
    pub winner: usize,
    /// How many packages have the path too, and lost.
    pub losers: usize,
}

/// Paths with their winners.
pub type Files<'a> = BTreeMap<&'a str, Won<'a>>;

/// Every path with its winner, sorted by path.
pub(super) fn merge<'a>(
    subject: &Subject<'_>,
    packages: &[Chosen<'a>],
    wrong: &mut Wrong<'_>,
) -> Files<'a> {
    let mut files = Files::new();
    for (winner, package) in packages.iter().enumerate() {
        for module in suitable(subject, package, wrong) {
            let Some(won) = files.get_mut(module.file.path.as_str()) else {
                let won = Won {
                    module,
                    winner,
                    losers: 0,
                };
                files.insert(&module.file.path, won);
                continue;
            };
            won.losers += 1;
            if let Some(first) = packages.get(won.winner) {
                check_fight(first, package, won.module, module, wrong);
            }
        }
    }
    files
}

/// Two packages at the same position have no order: neither may win over the other.
fn check_fight(
    first: &Chosen<'_>,
    second: &Chosen<'_>,
    one: &Module,
    other: &Module,
    wrong: &mut Wrong<'_>,
) {
    let is_directory = |module: &Module| matches!(module.file.content, Content::Directory(_));
    let same = one.file == other.file || (is_directory(one) && is_directory(other));
    if first.position.is_some() && first.position == second.position && !same {
        wrong.say(format!(
            "packages {} {} and {} {} both have {}, and both stand at position {}: give one of them another position",
            first.name,
            first.version,
            second.name,
            second.version,
            one.file.path,
            first.position.unwrap_or_default(),
        ));
    }
}

/// The modules of a package that suit a node: of each path one at most.
fn suitable<'a>(
    subject: &Subject<'_>,
    package: &Chosen<'a>,
    wrong: &mut Wrong<'_>,
) -> Vec<&'a Module> {
    let suits = |module: &&Module| {
        module.arch.is_none_or(|it| it == subject.arch) && subject.has_function(&module.function)
    };
    let mut all: Vec<&Module> = Vec::with_capacity(package.build.modules.len());
    for module in package.build.modules.iter().filter(suits) {
        let Some(last) = all.last_mut().filter(|it| it.file.path == module.file.path) else {
            all.push(module);
            continue;
        };
        if closeness(last) == closeness(module) {
            wrong.say(format!(
                "package {} {} has {} for feature {} and for feature {}, and both are asked for: leave one out (table feature)",
                package.name, package.version, module.file.path, last.function, module.function
            ));
        } else if closeness(last) < closeness(module) {
            *last = module;
        }
    }
    all
}

/// How much a module is made for some nodes rather than for all.
fn closeness(module: &Module) -> (bool, bool) {
    (!module.function.is_empty(), module.arch.is_some())
}

/// A path below something that is no directory could not be laid out.
pub(super) fn check_parents(files: &Files<'_>, packages: &[Chosen<'_>], wrong: &mut Wrong<'_>) {
    for (path, won) in files {
        let Some(parent) = parents(path).find_map(|parent| files.get(parent)) else {
            continue;
        };
        let what = match parent.module.file.content {
            Content::Directory(_) => continue,
            Content::Regular(_) => "a file",
            Content::Symlink(_) => "a link",
        };
        let owner = |won: &Won<'_>| packages.get(won.winner).map_or("?", |it| it.name);
        wrong.say(format!(
            "package {} has {path}, but package {} makes {} {what}",
            owner(won),
            owner(parent),
            parent.module.file.path
        ));
    }
}

/// Longest part of a path, and longest target of a link, that Linux takes (`NAME_MAX`, `PATH_MAX`).
const NAME_MAX: usize = 255;
const TARGET_MAX: usize = 4095;

/// What the kernel of a node would refuse.
pub(super) fn check_names(files: &Files<'_>, packages: &[Chosen<'_>], wrong: &mut Wrong<'_>) {
    for (path, won) in files {
        let target = match &won.module.file.content {
            Content::Symlink(target) => target.as_str(),
            Content::Regular(_) | Content::Directory(_) => "",
        };
        let why = if path.split('/').any(|part| part.len() > NAME_MAX) {
            "a part of its path is longer than 255 bytes"
        } else if target.len() > TARGET_MAX || target.contains('\0') {
            "the target of the link is longer than 4095 bytes, or has a NUL in it"
        } else {
            continue;
        };
        let owner = packages.get(won.winner).map_or("?", |it| it.name);
        wrong.say(format!("package {owner} has {path:?}: {why}"));
    }
}

/// The parents of an absolute path, nearest first, without the root.
pub(super) fn parents(path: &str) -> impl Iterator<Item = &str> {
    let up = |path: &str| path.rfind('/').filter(|at| *at > 0);
    std::iter::successors(up(path), move |at| up(&path[..*at])).map(|at| &path[..at])
}

/// The files with the directories that nobody has.
pub(super) fn with_parents(files: &Files<'_>) -> Vec<File> {
    let mut missing = std::collections::BTreeSet::new();
    let mut last = "";
    for path in files.keys() {
        // Neighbours share their parents.
        let parent = parents(path).next().unwrap_or_default();
        if parent != last {
            missing.extend(parents(path).filter(|parent| !files.contains_key(parent)));
        }
        last = parent;
    }
    let mut all: Vec<File> = files.values().map(|won| won.module.file.clone()).collect();
    if !missing.is_empty() {
        all.extend(missing.into_iter().map(directory));
        all.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    }
    all
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
pub(super) fn merge_processes(packages: &[Chosen<'_>]) -> Vec<Process> {
    let mut merged: Vec<Process> = Vec::new();
    for process in packages.iter().rev().flat_map(|it| &it.build.processes) {
        match merged.iter_mut().find(|other| other.name == process.name) {
            Some(other) => *other = process.clone(),
            None => merged.push(process.clone()),
        }
    }
    merged
}

/// A program that nothing provides would fail on every node.
pub(super) fn check_programs(processes: &[Process], files: &Files<'_>, wrong: &mut Wrong<'_>) {
    for process in processes {
        let Some(program) = process.argv.first() else {
            wrong.say(format!("process {} has an empty argv", process.name));
            continue;
        };
        let is =
            |path: &str, link_only: bool| match files.get(path).map(|it| &it.module.file.content) {
                Some(Content::Symlink(_)) => true,
                Some(Content::Regular(_)) => !link_only,
                Some(Content::Directory(_)) | None => false,
            };
        // What lies behind a linked directory is the kernel's to find.
        if !is(program, false) && !parents(program).any(|parent| is(parent, true)) {
            wrong.say(format!(
                "process {} of package {} starts {program}, which no package of the list has",
                process.name, process.package
            ));
        }
    }
}
