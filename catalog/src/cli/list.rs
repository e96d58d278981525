//! `list`: classes with their lists, packages, boot images, networks.

use anyhow::Result;
use bootd_protocol::identity::Arch;
use catalog::Catalog;
use catalog::snapshot::{BootBy, Class, KeyPolicy, Snapshot, UefiLoader, Word as _};
use clap::ValueEnum;

use super::table::table;

/// What can be listed alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Classes with their lists
    Classes,
    /// Packages that are there
    Packages,
    /// Networks with all that is set for them
    Networks,
}

pub(super) fn list(catalog: &Catalog, only: Option<Part>) -> Result<()> {
    let snapshot = catalog.snapshot()?;
    let wanted = |part| only.is_none_or(|only| only == part);
    if wanted(Part::Classes) {
        for class in snapshot.classes.values() {
            print_class(&snapshot, class);
        }
    }
    if wanted(Part::Packages) {
        print_packages(&snapshot);
    }
    if only.is_none() {
        println!();
    }
    if wanted(Part::Networks) {
        print_networks(&snapshot);
    }
    Ok(())
}

fn print_packages(snapshot: &Snapshot) {
    let mut packages = table(&["PACKAGE", "VERSION", "FOR", "FILES", "PROCESSES", "CLASSES"]);
    for (package, builds) in &snapshot.packages {
        let users = snapshot.classes.values();
        let users = users.filter(|class| class.packages.iter().any(|it| it.package == *package));
        let users: Vec<&str> = users.map(|class| class.name.as_str()).collect();
        for build in builds {
            packages.add_row([
                package.name.clone(),
                package.version.clone(),
                build.arch.map_or("all", Arch::name).to_owned(),
                build.modules.len().to_string(),
                build.processes.len().to_string(),
                users.join(" "),
            ]);
        }
    }
    println!("{packages}");
}

fn print_networks(snapshot: &Snapshot) {
    let mut networks = table(&[
        "NETWORK", "SUBNET", "POOL", "MODE", "BOOTP", "PROBE", "BOOT BY", "LOADER", "UNKNOWN",
        "LEASE", "OPTIONS",
    ]);
    for network in &snapshot.networks {
        let pool = network.pool.map(|(first, last)| format!("{first} {last}"));
        let codes = network.options.iter().map(|option| option.code.to_string());
        networks.add_row([
            network.name.clone(),
            network.subnet.to_string(),
            pool.unwrap_or_else(|| "none".into()),
            network.mode.name().into(),
            network.bootp.name().into(),
            if network.probe { "yes" } else { "no" }.into(),
            network.boot_by.map_or("as asked", BootBy::name).into(),
            network.uefi_loader.map_or("none", UefiLoader::name).into(),
            network.unknown.name().into(),
            format!("{}s", network.lease.as_secs()),
            codes.collect::<Vec<_>>().join(" "),
        ]);
    }
    println!("{networks}");
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
    for listed in &class.packages {
        let free = if listed.position.is_none() {
            " (placed by what it needs)"
        } else {
            ""
        };
        println!(
            "  has   {} {}{free}",
            listed.package.name, listed.package.version
        );
    }
    for (feature, wanted) in &class.features {
        let asks = if *wanted {
            "asks for"
        } else {
            "does not ask for"
        };
        println!("  {asks} {feature}");
    }
    println!();
}
