//! From a snapshot: what a node gets, and why.
//!
//! | module | what it decides |
//! |---|---|
//! | [`list`] | the packages and their order |
//! | [`files`] | which package wins which path |
//! | `relations` | whether what the packages say about each other holds |

pub mod files;
pub mod list;
mod relations;

use bootd_protocol::identity::{Arch, Firmware};
use bootd_protocol::manifest::{self, Boot, Manifest, PackageRef, Process};

use self::files::Files;
use self::list::{Chosen, LeftOut};
use crate::snapshot::{Class, Node, Problem, Scope, Snapshot, Test};

/// For whom something is selected.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The class.
    pub class: &'a Class,
    /// A node of it whose rows count, too.
    pub node: Option<&'a Node>,
    /// A test whose packages it has for one boot.
    pub test: Option<&'a Test>,
    /// Processor architecture.
    pub arch: Arch,
    /// Firmware.
    pub firmware: Firmware,
}

/// What a node gets, and why.
#[derive(Debug)]
pub struct Selection<'a> {
    /// For whom.
    pub subject: Subject<'a>,
    /// The packages, first wins.
    pub packages: Vec<Chosen<'a>>,
    /// What is listed and not there all the same.
    pub left_out: Vec<LeftOut>,
    /// Every path with its winner.
    pub files: Files<'a>,
    /// In the order in which they start.
    pub processes: Vec<Process>,
    /// What it boots.
    pub boot: Option<&'a Boot>,
    /// Everything that is wrong: with any, there is no manifest.
    pub problems: Vec<Problem>,
    /// What is odd, and keeps nothing back.
    pub notes: Vec<Problem>,
}

impl Subject<'_> {
    /// Whether something with this function is for it.
    #[must_use]
    pub fn has_function(&self, function: &str) -> bool {
        function.is_empty() || self.asks_for(function)
    }

    /// Whether it asks for a feature: the node's word goes before its class's.
    #[must_use]
    pub fn asks_for(&self, feature: &str) -> bool {
        let apart = self.node.and_then(|it| it.apart.as_deref());
        let own = apart.and_then(|it| it.features.get(feature));
        let asks = own.or_else(|| self.class.features.get(feature));
        asks.copied().unwrap_or(false)
    }

    /// What a problem of it is about.
    #[must_use]
    pub fn scope(&self) -> Scope {
        match self.node.filter(|it| it.apart.is_some()) {
            Some(node) => Scope::Node {
                node: node.name.clone(),
                arch: self.arch,
            },
            None => Scope::Class {
                class: self.class.name.clone(),
                arch: self.arch,
            },
        }
    }
}

/// Collects what is wrong with one subject.
struct Wrong<'a> {
    subject: &'a Subject<'a>,
    problems: Vec<Problem>,
}

impl Wrong<'_> {
    fn say(&mut self, text: String) {
        let scope = self.subject.scope();
        self.problems.push(Problem { scope, text });
    }
}

/// Decides what `subject` gets.
///
/// Packages are taken in their order: the first that has a path wins it, the first that names a
/// process wins that. Processes start from the base package (the last) up.
#[must_use]
pub fn select<'a>(snapshot: &'a Snapshot, subject: Subject<'a>) -> Selection<'a> {
    let mut wrong = Wrong {
        subject: &subject,
        problems: Vec::new(),
    };
    let mut left_out = Vec::new();
    let boot = boot_for(&subject, &mut wrong);
    let packages = list::compose(snapshot, &subject, &mut left_out, &mut wrong);
    relations::check(&packages, &mut wrong);
    let files = files::merge(&subject, &packages, &mut wrong);
    files::check_parents(&files, &packages, &mut wrong);
    files::check_names(&files, &packages, &mut wrong);
    relations::check_apis(&packages, &files, &mut wrong);
    let processes = files::merge_processes(&packages);
    files::check_programs(&processes, &files, &mut wrong);
    let problems = wrong.problems;
    let missing = relations::missing_libraries(&packages, &files).into_iter();
    let notes = missing.map(|text| Problem {
        scope: subject.scope(),
        text,
    });
    Selection {
        notes: notes.collect(),
        subject,
        packages,
        left_out,
        files,
        processes,
        boot,
        problems,
    }
}

impl Selection<'_> {
    /// The manifest. Directories that no package has are added, so that every file has its parents.
    ///
    /// # Errors
    /// Everything that is wrong, not just the first.
    pub fn manifest(&self) -> Result<Manifest, Vec<Problem>> {
        match self.boot {
            Some(boot) if self.problems.is_empty() => Ok(Manifest {
                format: manifest::FORMAT,
                class: self.subject.class.name.clone(),
                arch: self.subject.arch,
                boot: boot.clone(),
                packages: self.packages.iter().map(reference).collect(),
                files: files::with_parents(&self.files),
                processes: self.processes.clone(),
                policy: self.subject.class.policy.clone(),
            }),
            Some(_) | None => Err(self.problems.clone()),
        }
    }
}

fn reference(package: &Chosen<'_>) -> PackageRef {
    PackageRef {
        name: package.name.to_owned(),
        version: package.version.to_owned(),
    }
}

/// The manifest for nodes of `class` with this architecture and firmware.
///
/// # Errors
/// As [`Selection::manifest`], and no such class.
pub fn manifest_for(
    snapshot: &Snapshot,
    class: &str,
    arch: Arch,
    firmware: Firmware,
) -> Result<Manifest, Vec<Problem>> {
    let Some(class) = snapshot.classes.get(class) else {
        return Err(vec![Problem {
            scope: Scope::Class {
                class: class.to_owned(),
                arch,
            },
            text: "there is no such class".into(),
        }]);
    };
    let subject = Subject {
        class,
        node: None,
        test: None,
        arch,
        firmware,
    };
    select(snapshot, subject).manifest()
}

fn boot_for<'a>(subject: &Subject<'a>, wrong: &mut Wrong<'_>) -> Option<&'a Boot> {
    let arch = subject.arch;
    let tried = subject.test.and_then(|it| it.images.get(&arch));
    let Some(boot) = tried.or_else(|| subject.class.images.get(&arch)) else {
        wrong.say(format!(
            "it has no boot image for {arch}: insert one into class_image"
        ));
        return None;
    };
    if subject.firmware == Firmware::Bios && boot.loader.bios_core.is_none() {
        wrong.say(format!(
            "boot image {} {} has no loader for BIOS machines",
            boot.name, boot.version
        ));
        return None;
    }
    Some(boot)
}
