//! `prepare`, `decide`.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use bootd_protocol::preparation::{Decision, Progress};
use catalog::Catalog;
use catalog::snapshot::{Covered, Preparation};
use catalog::state::StateStore;
use clap::Args;

use super::table::{ago, table};
use super::watch::{now_ms, watch};

#[derive(Debug, Args)]
pub(crate) struct Prepare {
    /// Nodes of this class; may be given several times
    #[arg(long)]
    class: Vec<String>,
    /// This node; may be given several times
    #[arg(long)]
    node: Vec<String>,
    /// All nodes
    #[arg(long, conflicts_with_all = ["class", "node"])]
    all: bool,
    /// What for, in words
    #[arg(long, default_value = "")]
    comment: String,
    /// Show how far the nodes of this preparation are, again every second
    #[arg(long, value_name = "N", conflicts_with_all = ["class", "node", "all"])]
    watch: Option<i64>,
}

pub(super) fn prepare(catalog: &mut Catalog, what: &Prepare) -> Result<()> {
    if let Some(id) = what.watch {
        return watch(|| show(catalog, Some(id)));
    }
    let classes = what.class.iter().cloned().map(Covered::Class);
    let nodes = what.node.iter().cloned().map(Covered::Node);
    let all = what.all.then_some(Covered::All);
    let covers: Vec<Covered> = all.into_iter().chain(classes).chain(nodes).collect();
    if covers.is_empty() {
        println!("{}", show(catalog, None)?);
        return Ok(());
    }
    let id = catalog.prepare(&covers, &what.comment)?;
    println!(
        "Preparation {id}: its nodes restart, install what they lack and wait for each other.\n\
         catalog prepare --watch {id}       how far they are\n\
         catalog decide {id} go|cancel      without those that are not ready; or not at all"
    );
    Ok(())
}

pub(super) fn decide(catalog: &mut Catalog, id: i64, decision: Decision) -> Result<()> {
    catalog.decide(id, decision)?;
    println!("Preparation {id}: {decision}.");
    Ok(())
}

/// One preparation, or all of them.
fn show(catalog: &Catalog, only: Option<i64>) -> Result<String> {
    let preparations = catalog.snapshot()?.preparations;
    let mut progress = progress(catalog)?;
    let Some(id) = only else {
        return Ok(overview(&preparations, &progress));
    };
    let Some(preparation) = preparations.iter().find(|it| it.id == id) else {
        bail!("no preparation has the number {id}: see `catalog prepare`");
    };
    let mut table = table(&["NODE", "STAGE", "SINCE", "MESSAGE"]);
    let now = now_ms();
    for node in progress.remove(&id).unwrap_or_default() {
        let since = i64::try_from(node.since.as_millis()).unwrap_or(now);
        table.add_row([
            node.node,
            node.stage.to_string(),
            ago(now - since),
            node.message,
        ]);
    }
    Ok(format!(
        "Preparation {id}: {}\n{table}",
        standing(preparation)
    ))
}

fn overview(preparations: &[Preparation], progress: &BTreeMap<i64, Vec<Progress>>) -> String {
    if preparations.is_empty() {
        return "No preparations: see `catalog prepare --help`.".to_owned();
    }
    let mut table = table(&["NUMBER", "DECISION", "NODES"]);
    for preparation in preparations {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for node in progress.get(&preparation.id).into_iter().flatten() {
            *counts.entry(node.stage.name()).or_default() += 1;
        }
        let counts: Vec<String> = counts
            .into_iter()
            .map(|(stage, count)| format!("{count} {stage}"))
            .collect();
        table.add_row([
            preparation.id.to_string(),
            standing(preparation),
            counts.join(", "),
        ]);
    }
    table.to_string()
}

fn standing(preparation: &Preparation) -> String {
    let decision = preparation.decision;
    decision.map_or_else(|| "not decided yet".to_owned(), |it| it.to_string())
}

fn progress(catalog: &Catalog) -> Result<BTreeMap<i64, Vec<Progress>>> {
    let all = match StateStore::read_only(&catalog.state_path())? {
        Some(store) => store.prepared()?,
        None => Vec::new(),
    };
    let mut by_id: BTreeMap<i64, Vec<Progress>> = BTreeMap::new();
    for progress in all {
        by_id
            .entry(progress.preparation)
            .or_default()
            .push(progress);
    }
    Ok(by_id)
}
