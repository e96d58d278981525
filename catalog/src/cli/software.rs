//! The part of `explain` that is about software: which row gave each package and each file.

use anyhow::{Result, bail};
use bootd_protocol::identity::{Arch, Firmware};
use bootd_protocol::manifest::Content;
use catalog::select::list::{Because, Chosen};
use catalog::select::{Selection, Subject, select};
use catalog::served::Served;
use catalog::snapshot::{KeyPolicy, Node, Scope, Snapshot};

use super::table::table;

/// Explains what nodes of a class get, and `node` of them if there is one.
pub(super) fn explain(
    served: &Served,
    snapshot: &Snapshot,
    class: &str,
    node: Option<&Node>,
    (arch, firmware): (Option<Arch>, Option<Firmware>),
    files: bool,
) -> Result<()> {
    let Some(class) = snapshot.classes.get(class) else {
        bail!("there is no class {class:?}");
    };
    let policy = match class.key_policy {
        KeyPolicy::Open => "at once",
        KeyPolicy::Approval => "after `catalog approve NODE`",
    };
    println!("Class {}: keys are bound {policy}.", class.name);
    let Some(arch) = arch else {
        println!("Its architecture is not known: what it gets depends on that (--arch).");
        return Ok(());
    };
    let firmware = firmware.unwrap_or(Firmware::Uefi);
    let subject = Subject {
        class,
        node,
        test: None,
        arch,
        firmware,
    };
    let selection = select(snapshot, subject);
    print_features(&selection);
    print_packages(&selection);
    if files {
        print_files(&selection);
    }
    if let Some(boot) = selection.boot {
        println!(
            "Boot image for {arch}: {} {} (table class_image).",
            boot.name, boot.version
        );
    }
    print_manifest(served, &selection);
    Ok(())
}

fn print_features(selection: &Selection<'_>) {
    let own = selection.subject.node.and_then(|it| it.apart.as_deref());
    let own = own.into_iter().flat_map(|it| &it.features);
    let own = own.map(|(feature, wanted)| (feature, wanted, "node"));
    let of_class = selection.subject.class.features.iter();
    let of_class = of_class.map(|(feature, wanted)| (feature, wanted, "class"));
    for (feature, wanted, whose) in own.chain(of_class) {
        let asks = if *wanted {
            "asks for"
        } else {
            "does not ask for"
        };
        println!("The {whose} {asks} feature {feature} (table feature).");
    }
}

fn print_packages(selection: &Selection<'_>) {
    let own = selection.subject.node.and_then(|it| it.apart.as_deref());
    let list = match own {
        Some(apart) if apart.own_list => "the node's own list, table node_package",
        Some(_) => "table class_package, with the changes of node_package",
        None => "table class_package",
    };
    println!(
        "Packages for {} ({list}), first wins:",
        selection.subject.arch
    );
    let mut packages = table(&[
        "  PACKAGE",
        "VERSION",
        "BUILD",
        "FROM",
        "FILES",
        "LOST TO EARLIER ONES",
    ]);
    for (index, package) in selection.packages.iter().enumerate() {
        let wins = selection.files.values().filter(|won| won.winner == index);
        let wins = wins.count();
        packages.add_row([
            format!("  {}", package.name),
            package.version.to_owned(),
            package.build.arch.map_or("all", Arch::name).to_owned(),
            from(package),
            wins.to_string(),
            package.build.modules.len().saturating_sub(wins).to_string(),
        ]);
    }
    println!("{packages}");
    for gone in &selection.left_out {
        println!("Without {} {}: {}.", gone.name, gone.version, gone.why);
    }
}

fn from(package: &Chosen<'_>) -> String {
    let whose = match package.because {
        Because::Class => "class".to_owned(),
        Because::Node => "node".to_owned(),
        Because::Test(test) => format!("test {test}"),
        Because::NodeInsteadOf(version) => format!("node, in place of {version}"),
    };
    match package.position {
        Some(position) => format!("{whose}, position {position}"),
        None => format!("{whose}, placed by what it needs"),
    }
}

fn print_files(selection: &Selection<'_>) {
    for (path, won) in &selection.files {
        let name = |index: usize| selection.packages.get(index).map_or("?", |it| it.name);
        let kind = match &won.module.file.content {
            Content::Regular(blob) => blob.sha256.short(),
            Content::Symlink(target) => format!("-> {target}"),
            Content::Directory(_) => "directory".into(),
        };
        let picked = match won.module.function.as_str() {
            "" => String::new(),
            function => format!(" for feature {function}"),
        };
        let losers: Vec<&str> = match won.losers {
            0 => Vec::new(),
            _ => losers(selection, path, won.winner).collect(),
        };
        let over = if losers.is_empty() { "" } else { ", over " };
        println!(
            "  {path}  {kind}  from {}{picked}{over}{}",
            name(won.winner),
            losers.join(", ")
        );
    }
}

/// The packages that have a path, too.
fn losers<'a>(
    selection: &'a Selection<'_>,
    path: &'a str,
    winner: usize,
) -> impl Iterator<Item = &'a str> {
    let later = selection.packages.iter().skip(winner + 1);
    later
        .filter(move |it| {
            it.build
                .modules
                .iter()
                .any(|module| module.file.path == path)
        })
        .map(|it| it.name)
}

/// The manifest as bootd would serve it: other classes have a say in it.
fn print_manifest(served: &Served, selection: &Selection<'_>) {
    let Subject {
        class,
        node,
        arch,
        firmware,
        ..
    } = selection.subject;
    let name = node.map(|it| it.name.as_str());
    let concerns = |scope: &Scope| match scope {
        Scope::Class {
            class: about,
            arch: on,
        } => *about == class.name && *on == arch,
        Scope::Node {
            node: about,
            arch: on,
        } => Some(about.as_str()) == name && *on == arch,
        Scope::Row { .. } => false,
    };
    let problems: Vec<_> = served
        .problems()
        .iter()
        .filter(|it| concerns(&it.scope))
        .collect();
    match served.wanted(&class.name, name, arch, firmware) {
        Some(encoded) if problems.is_empty() => {
            println!("Manifest for {arch} and {firmware}: {}", encoded.digest);
        }
        Some(encoded) => println!(
            "There is no new manifest for {arch} and {firmware}; the last good one stays, {}:",
            encoded.digest
        ),
        None => println!("There is no manifest for {arch} and {firmware}:"),
    }
    for problem in problems {
        println!("  {}", problem.text);
    }
    for note in &selection.notes {
        println!("Note: {}.", note.text);
    }
}
