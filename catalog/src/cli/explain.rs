//! `explain`: which rule, class and list gave a machine what it has, and what lost.

use anyhow::{Result, bail};
use bootd_protocol::identity::{Arch, Firmware};
use bootd_protocol::manifest::{Content, PackageRef};
use catalog::Catalog;
use catalog::identify::{Identity, KnownBy, Match, columns, differences, match_node, passed};
use catalog::select::{build_for, manifest_for, merge_files};
use catalog::served::Encoded;
use catalog::snapshot::{Action, Class, KeyPolicy, Mode, Node, Package, Rule, Snapshot, Unknown};
use catalog::state::NodeState;

use super::nodes::{key, states};
use super::table::table;

pub(super) fn explain(catalog: &Catalog, what: &super::Explain) -> Result<()> {
    let snapshot = catalog.snapshot()?;
    if let Some(name) = &what.node {
        let Some(node) = snapshot.node(name) else {
            bail!("no node is called {name:?}: see `catalog nodes`");
        };
        let state = states(catalog)?.remove(name);
        println!("{name} is a row of the table node.");
        return explain_node(&snapshot, node, state.as_ref(), what);
    }
    let identity = Identity {
        key: None,
        mac: what.mac,
        uuid: what.uuid,
        arch: what.arch,
        firmware: what.firmware,
        product: what.product.clone(),
        vendor: what.vendor.clone(),
        network: what.network.clone(),
        relay: what.relay,
        circuit: what.circuit.clone(),
        remote: what.remote.clone(),
        vendor_class: what.vendor_class.clone(),
    };
    match match_node(&snapshot, &identity) {
        Match::Node { node, by } => {
            let by = match by {
                KnownBy::Key => "key",
                KnownBy::Mac => "MAC address",
                KnownBy::Uuid => "UUID",
            };
            println!("This machine is node {}, known by its {by}.", node.name);
            for difference in differences(&snapshot, node, &identity) {
                println!("  but {difference}");
            }
            let state = states(catalog)?.remove(&node.name);
            explain_node(&snapshot, node, state.as_ref(), what)
        }
        Match::Rule { rule } => {
            println!("This machine is no node yet.");
            print_passed(&snapshot, &identity);
            explain_rule(&snapshot, rule, &identity, what)
        }
        Match::Nobody => {
            println!("This machine is no node, and no rule matches: it gets nothing to boot.");
            print_passed(&snapshot, &identity);
            explain_unknown(&snapshot, &identity);
            Ok(())
        }
    }
}

fn print_passed(snapshot: &Snapshot, identity: &Identity) {
    for passed in passed(snapshot, identity) {
        println!(
            "  rule {} does not match: {}",
            passed.rule.name, passed.because
        );
    }
}

/// What a network does with machines that nobody takes in.
fn explain_unknown(snapshot: &Snapshot, identity: &Identity) {
    for network in &snapshot.networks {
        if identity
            .network
            .as_ref()
            .is_some_and(|name| *name != network.name)
        {
            continue;
        }
        let says = match (network.mode, network.unknown) {
            (Mode::Off, _) => "it gets no answer (network.mode is off)",
            (Mode::Proxy, _) => {
                "its address comes from another DHCP server (network.mode is proxy)"
            }
            (Mode::Full, Unknown::Serve) => "it gets an address (network.unknown is serve)",
            (Mode::Full, Unknown::Ignore) => "it gets no answer (network.unknown is ignore)",
        };
        println!("On network {}: {says}.", network.name);
    }
}

fn explain_rule(
    snapshot: &Snapshot,
    rule: &Rule,
    identity: &Identity,
    what: &super::Explain,
) -> Result<()> {
    print_action(rule);
    for column in columns(rule, identity) {
        println!("  {column}");
    }
    match &rule.action {
        Action::Ignore => Ok(()),
        Action::Enrol { class } | Action::Hold { class } => {
            explain_class(snapshot, class, what.arch, what.firmware, what.files)
        }
    }
}

fn print_action(rule: &Rule) {
    let name = &rule.name;
    match &rule.action {
        Action::Ignore => println!("Rule {name} matches: it is not answered."),
        Action::Enrol { class } => {
            println!("Rule {name} matches: it becomes a node of class {class}.");
        }
        Action::Hold { class } => println!(
            "Rule {name} matches: it becomes a node of class {class} that waits for `catalog approve`."
        ),
    }
}

fn explain_node(
    snapshot: &Snapshot,
    node: &Node,
    state: Option<&NodeState>,
    what: &super::Explain,
) -> Result<()> {
    if node.hold {
        println!(
            "Its hold is 1: it waits and runs nothing (catalog approve {}).",
            node.name
        );
    }
    println!("Its key: {}.", key(node, state));
    if let Some(ip) = node.ip {
        println!("Its address {ip} is reserved.");
    }
    if let Some(state) = state {
        println!("It was last in stage {}. {}", state.stage, state.message);
    }
    // What the row leaves open, the machine has told.
    let observed = |state: &NodeState| (state.arch, state.firmware);
    let (arch, firmware) = state.map_or((None, None), observed);
    let arch = what.arch.or(node.arch).or(arch);
    let firmware = what.firmware.or(node.firmware).or(firmware);
    explain_class(snapshot, &node.class, arch, firmware, what.files)?;
    if let Some(failed) = state.and_then(|state| state.failed) {
        println!("Manifest {failed} failed on it.");
    }
    match state.and_then(|state| state.running) {
        Some(running) => println!("It runs manifest {running}."),
        None => println!("It runs nothing yet."),
    }
    Ok(())
}

fn explain_class(
    snapshot: &Snapshot,
    name: &str,
    arch: Option<Arch>,
    firmware: Option<Firmware>,
    files: bool,
) -> Result<()> {
    let Some(class) = snapshot.classes.get(name) else {
        bail!("there is no class {name:?}");
    };
    let policy = match class.key_policy {
        KeyPolicy::Open => "at once",
        KeyPolicy::Approval => "after `catalog approve NODE`",
    };
    println!("Class {name}: keys are bound {policy}.");
    let Some(arch) = arch else {
        println!("Its architecture is not known: what it gets depends on that (--arch).");
        return Ok(());
    };
    let firmware = firmware.unwrap_or(Firmware::Uefi);
    print_packages(snapshot, class, arch, files);
    if let Some(boot) = class.images.get(&arch) {
        println!(
            "Boot image for {arch}: {} {} (table class_image).",
            boot.name, boot.version
        );
    }
    match manifest_for(snapshot, name, arch, firmware) {
        Ok(manifest) => {
            let encoded = Encoded::new(manifest)?;
            println!("Manifest for {arch} and {firmware}: {}", encoded.digest);
        }
        Err(problems) => {
            println!(
                "There is no new manifest for {arch} and {firmware}; the last good one stays:"
            );
            for problem in problems {
                println!("  {}", problem.text);
            }
        }
    }
    Ok(())
}

fn print_packages(snapshot: &Snapshot, class: &Class, arch: Arch, files: bool) {
    println!("Packages for {arch} (table class_package), first wins:");
    let builds: Vec<(&PackageRef, &Package)> = class
        .packages
        .iter()
        .filter_map(|package| Some((package, build_for(snapshot, package, arch)?)))
        .collect();
    let won = merge_files(&builds);
    let mut packages = table(&[
        "  PACKAGE",
        "VERSION",
        "BUILD",
        "FILES",
        "LOST TO EARLIER ONES",
    ]);
    for package in &class.packages {
        let found = builds
            .iter()
            .enumerate()
            .find(|(_, (name, _))| *name == package);
        let (build, count, lost) = match found {
            None => ("missing", String::new(), String::new()),
            Some((index, (_, build))) => {
                let wins = won.values().filter(|won| won.winner == index).count();
                let lost = build.files.len() - wins;
                (
                    build.arch.map_or("all", Arch::name),
                    wins.to_string(),
                    lost.to_string(),
                )
            }
        };
        let name = format!("  {}", package.name);
        packages.add_row([name, package.version.clone(), build.to_owned(), count, lost]);
    }
    println!("{packages}");
    if files {
        for (path, won) in &won {
            let owner = builds
                .get(won.winner)
                .map_or("?", |(package, _)| &package.name);
            let kind = match &won.file.content {
                Content::Regular(blob) => blob.sha256.short(),
                Content::Symlink(target) => format!("-> {target}"),
                Content::Directory(_) => "directory".into(),
            };
            println!("  {path}  {kind}  from {owner}");
        }
    }
}
