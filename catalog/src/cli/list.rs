//! `list`: classes with their lists, packages, boot images.

use anyhow::Result;
use bootd_protocol::identity::Arch;
use catalog::Catalog;
use catalog::snapshot::{Class, KeyPolicy, Snapshot};

use super::table::table;

pub(super) fn list(catalog: &Catalog) -> Result<()> {
    let snapshot = catalog.snapshot()?;
    for class in snapshot.classes.values() {
        print_class(&snapshot, class);
    }
    let mut packages = table(&["PACKAGE", "VERSION", "FOR", "FILES", "PROCESSES", "CLASSES"]);
    for (package, builds) in &snapshot.packages {
        let users = snapshot.classes.values();
        let users = users.filter(|class| class.packages.contains(package));
        let users: Vec<&str> = users.map(|class| class.name.as_str()).collect();
        for build in builds {
            packages.add_row([
                package.name.clone(),
                package.version.clone(),
                build.arch.map_or("all", Arch::name).to_owned(),
                build.files.len().to_string(),
                build.processes.len().to_string(),
                users.join(" "),
            ]);
        }
    }
    println!("{packages}");
    Ok(())
}

fn print_class(snapshot: &Snapshot, class: &Class) {
    let policy = match class.key_policy {
        KeyPolicy::Open => "open",
        KeyPolicy::Approval => "after approval",
    };
    let nodes = snapshot
        .nodes
        .iter()
        .filter(|node| node.class == class.name)
        .count();
    println!("class {}: {nodes} nodes, keys {policy}", class.name);
    for (arch, boot) in &class.images {
        println!("  boots {} {} on {arch}", boot.name, boot.version);
    }
    for package in &class.packages {
        println!("  has   {} {}", package.name, package.version);
    }
    println!();
}
