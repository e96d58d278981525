//! `diff` and `install --dry-run`: what an edit would change, and for which nodes.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use catalog::Catalog;
use catalog::trial::{Change, Diff};

use super::install::print_items;
use super::table::{bytes, table};

/// Nodes that are named; of more, only the number is told.
const NAMED: usize = 8;
/// Nodes that are listed one by one.
const LISTED: usize = 50;

pub(super) fn diff(catalog: &Catalog, sql: &str) -> Result<ExitCode> {
    let mut script = sql.to_owned();
    if sql == "-" {
        script.clear();
        std::io::stdin().read_to_string(&mut script)?;
    }
    let trial = catalog.trial()?;
    let rows = trial.sql(&script).context("the edit would be refused")?;
    let diff = trial.diff()?;
    if rows == 0 {
        println!("No row would change.");
    }
    print(&diff);
    Ok(code(&diff))
}

fn code(diff: &Diff) -> ExitCode {
    match diff.new_problems.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(3),
    }
}

pub(super) fn install(catalog: &Catalog, composite: &Path) -> Result<ExitCode> {
    let mut trial = catalog.trial()?;
    let items = trial
        .install(composite, &catalog.trusted_keys()?)
        .context("it would not be installed")?;
    print_items(&items);
    let diff = trial.diff()?;
    print(&diff);
    Ok(code(&diff))
}

fn print(diff: &Diff) {
    if diff.changes.is_empty() && diff.nodes.is_empty() {
        println!("No node gets anything else.");
    }
    if !diff.changes.is_empty() {
        let mut rows = table(&["FOR", "ON", "NODES", "CHANGES", "PATHS", "TO FETCH"]);
        for change in &diff.changes {
            rows.add_row(row(change));
        }
        println!("{rows}");
    }
    for (node, how) in diff.nodes.iter().take(LISTED) {
        println!("Node {node}: {how}.");
    }
    if diff.nodes.len() > LISTED {
        println!("And {} nodes more.", diff.nodes.len() - LISTED);
    }
    for problem in &diff.new_problems {
        println!("New problem: {problem}");
    }
    for problem in &diff.solved_problems {
        println!("Solved: {problem}");
    }
}

fn row(change: &Change) -> [String; 6] {
    let who = &change.who;
    let (modules, size) = change.fetches;
    let mut changes: Vec<String> = change
        .packages
        .iter()
        .map(|(name, versions)| from_to(name, versions))
        .collect();
    changes.extend(change.boot.as_ref().map(|it| from_to("boot image", it)));
    if changes.is_empty() {
        changes.push("the same packages, other content".into());
    }
    let named = match change.nodes.len() {
        0 => "none yet".to_owned(),
        few if few <= NAMED => change.nodes.join(" "),
        many => format!("{many} nodes"),
    };
    [
        match &who.node {
            Some(node) => format!("node {node}"),
            None => format!("class {}", who.class),
        },
        format!("{} {}", who.arch, who.firmware),
        named,
        changes.join("\n"),
        change.paths.to_string(),
        format!("{modules} modules, {}", bytes(size)),
    ]
}

fn from_to(what: &str, (old, new): &(Option<String>, Option<String>)) -> String {
    match (old, new) {
        (Some(old), Some(new)) if old == new => format!("{what} {new}, otherwise built"),
        (Some(old), Some(new)) => format!("{what} {old} -> {new}"),
        (None, Some(new)) => format!("{what} {new} comes"),
        (Some(old), None) => format!("{what} {old} goes"),
        (None, None) => what.to_owned(),
    }
}
