//! `explain`: which rule, class and list gave a machine what it has, and what lost.

use anyhow::{Result, bail};
use catalog::Catalog;
use catalog::identify::{
    Fit, Identity, KnownBy, Match, candidates, columns, differences, match_node, passed,
};
use catalog::served::Served;
use catalog::snapshot::{Action, Mode, Node, Rule, Snapshot, Unknown};
use catalog::state::NodeState;

use super::nodes::{key, states};
use super::software;

pub(super) fn explain(catalog: &Catalog, what: &super::Explain) -> Result<()> {
    let snapshot = catalog.snapshot()?;
    let served = catalog.served(&snapshot);
    if let Some(name) = &what.node {
        let Some(node) = snapshot.node(name) else {
            bail!("no node is called {name:?}: see `catalog nodes`");
        };
        let state = states(catalog)?.remove(name);
        println!("{name} is a row of the table node.");
        return explain_node(&served, &snapshot, node, state.as_ref(), what);
    }
    let identity = Identity {
        key: None,
        mac: what.mac,
        uuid: what.uuid,
        arch: what.arch,
        firmware: what.firmware,
        product: what.product.clone(),
        vendor: what.vendor.clone(),
        serial: what.serial.clone(),
        chassis: what.chassis.clone(),
        slot: what.slot.clone(),
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
            explain_node(&served, &snapshot, node, state.as_ref(), what)
        }
        Match::Rule { rule } => {
            println!("This machine is no node yet.");
            print_passed(&snapshot, &identity);
            explain_rule(&served, &snapshot, rule, &identity, what)
        }
        Match::Perhaps { rule } => {
            println!("This machine is no node yet.");
            print_passed(&snapshot, &identity);
            explain_perhaps(&served, &snapshot, rule, &identity, what)
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
    served: &Served,
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
        Action::Enrol { class } | Action::Hold { class } => software::explain(
            served,
            snapshot,
            class,
            None,
            (what.arch, what.firmware),
            what.files,
        ),
    }
}

/// Nobody knows before its init has spoken.
fn explain_perhaps(
    served: &Served,
    snapshot: &Snapshot,
    first: &Rule,
    identity: &Identity,
    what: &super::Explain,
) -> Result<()> {
    for (rule, fit) in candidates(snapshot, identity) {
        print_candidate(rule, fit);
        for column in columns(rule, identity) {
            println!("  {column}");
        }
    }
    let (Action::Enrol { class } | Action::Hold { class }) = &first.action else {
        return Ok(());
    };
    println!(
        "Until it has said what it is, it is no node, and boots what class {class} has for it."
    );
    let machine = (what.arch, what.firmware);
    software::explain(served, snapshot, class, None, machine, what.files)
}

fn print_candidate(rule: &Rule, fit: Fit) {
    let name = &rule.name;
    match (&rule.action, fit == Fit::Yes) {
        (Action::Enrol { class }, true) => {
            println!("Rule {name} else makes it a node of class {class}.");
        }
        (Action::Hold { class }, true) => println!(
            "Rule {name} else makes it a node of class {class} that waits for `catalog approve`."
        ),
        (Action::Ignore, true) => println!("Rule {name} else ignores it."),
        (Action::Enrol { class }, false) => {
            println!("Rule {name} may take it in, into class {class}, once it has said what it is.")
        }
        (Action::Hold { class }, false) => println!(
            "Rule {name} may take it in, into class {class} and to wait for `catalog approve`, once it has said what it is."
        ),
        (Action::Ignore, false) => {
            println!("Rule {name} may ignore it, once it has said what it is.");
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
    served: &Served,
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
    software::explain(
        served,
        snapshot,
        &node.class,
        Some(node),
        (arch, firmware),
        what.files,
    )?;
    if let Some(failed) = state.and_then(|state| state.failed) {
        println!("Manifest {failed} failed on it.");
    }
    match state.and_then(|state| state.running) {
        Some(running) => println!("It runs manifest {running}."),
        None => println!("It runs nothing yet."),
    }
    Ok(())
}
