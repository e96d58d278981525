//! `nodes`, `approve`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use bootd_protocol::digest::Digest;
use catalog::Catalog;
use catalog::served::{Encoded, Served};
use catalog::snapshot::{Node, Snapshot};
use catalog::state::{NodeState, NodeStatus, StateStore};
use serde_json::{Value, json};

use super::table::{ago, table};
use super::watch::{now_ms, watch};

/// What is known of every node: its row, and its state if it was ever seen.
struct Joined<'a> {
    node: &'a Node,
    state: Option<NodeState>,
    status: NodeStatus,
    /// What it should have, by the catalog as it is now.
    wanted: Option<&'a Encoded>,
}

pub(super) fn nodes(catalog: &Catalog, as_json: bool, again: bool) -> Result<()> {
    let show = || show(catalog, as_json);
    if again {
        watch(show)
    } else {
        println!("{}", show()?);
        Ok(())
    }
}

fn show(catalog: &Catalog, as_json: bool) -> Result<String> {
    let snapshot = catalog.snapshot()?;
    let served = catalog.served(&snapshot);
    let joined = join(&snapshot, &served, states(catalog)?, statuses(catalog)?);
    let now = now_ms();
    if as_json {
        let rows: Vec<Value> = joined.iter().map(|node| as_value(node, now)).collect();
        return Ok(serde_json::to_string_pretty(&rows)?);
    }
    if joined.is_empty() {
        let none =
            "No nodes yet: a rule makes unknown machines nodes when they ask, see the table rule.";
        return Ok(none.to_owned());
    }
    let mut table = table(&[
        "NODE", "CLASS", "PRESENCE", "STAGE", "SINCE", "SEEN", "RUNS", "ADDRESS", "KEY", "MESSAGE",
    ]);
    for node in &joined {
        table.add_row(row(node, now));
    }
    Ok(table.to_string())
}

/// How they stand against what is wanted, by node.
fn statuses(catalog: &Catalog) -> Result<BTreeMap<String, NodeStatus>> {
    let statuses = match StateStore::read_only(&catalog.state_path())? {
        Some(store) => store.statuses()?,
        None => Vec::new(),
    };
    let named = statuses.into_iter().map(|it| (it.name.clone(), it));
    Ok(named.collect())
}

/// What bootd has observed, by node.
pub(super) fn states(catalog: &Catalog) -> Result<BTreeMap<String, NodeState>> {
    let states = match StateStore::read_only(&catalog.state_path())? {
        Some(store) => store.nodes()?,
        None => Vec::new(),
    };
    Ok(states
        .into_iter()
        .map(|state| (state.node.clone(), state))
        .collect())
}

fn join<'a>(
    snapshot: &'a Snapshot,
    served: &'a Served,
    mut states: BTreeMap<String, NodeState>,
    mut statuses: BTreeMap<String, NodeStatus>,
) -> Vec<Joined<'a>> {
    let nodes = snapshot.nodes.iter();
    let joined = nodes.map(|node| Joined {
        node,
        state: states.remove(&node.name),
        status: statuses.remove(&node.name).unwrap_or_default(),
        wanted: wanted(served, node),
    });
    joined.collect()
}

/// The manifest that a node should have, if its row says what it is.
pub(super) fn wanted<'a>(served: &'a Served, node: &Node) -> Option<&'a Encoded> {
    let wanted = served.wanted(&node.class, Some(&node.name), node.arch?, node.firmware?)?;
    Some(wanted.as_ref())
}

fn row(joined: &Joined<'_>, now: i64) -> [String; 10] {
    let state = joined.state.as_ref();
    let text = |read: &dyn Fn(&NodeState) -> String| state.map(read).unwrap_or_default();
    [
        joined.node.name.clone(),
        joined.node.class.clone(),
        text(&|state| state.presence.name().to_owned()),
        state.map_or_else(|| "never seen".to_owned(), stage),
        text(&|state| ago(now - state.stage_since_ms)),
        text(&|state| ago(now - state.last_seen_ms)),
        compare(
            state.and_then(|state| state.running),
            joined.wanted.map(|it| it.digest),
            &joined.status.differs,
        ),
        text(&|state| state.address.map(|ip| ip.to_string()).unwrap_or_default()),
        key(joined.node, state).to_owned(),
        text(&|state| match state.unmet.as_str() {
            "" => state.message.clone(),
            unmet => unmet.to_owned(),
        }),
    ]
}

fn stage(state: &NodeState) -> String {
    match (state.progress_done * 100).checked_div(state.progress_total) {
        Some(percent) => format!("{} {percent}%", state.stage),
        None => state.stage.clone(),
    }
}

/// What it runs, against what it should.
fn compare(running: Option<Digest>, wanted: Option<Digest>, differs: &str) -> String {
    match (running, wanted) {
        (None, None) => "nothing".into(),
        (None, Some(wanted)) => format!("nothing, wants {}", wanted.short()),
        (Some(running), None) => format!("{}, wants nothing", running.short()),
        (Some(running), Some(wanted)) if running == wanted => format!("{} =", running.short()),
        (Some(running), Some(wanted)) if differs.is_empty() => {
            format!("{}, wants {}", running.short(), wanted.short())
        }
        (Some(running), Some(_)) => format!("{}: {differs}", running.short()),
    }
}

/// What is to be said of a node's key.
pub(super) fn key(node: &Node, state: Option<&NodeState>) -> &'static str {
    let offered = state.and_then(|state| state.offered_key);
    match (node.public_key, offered) {
        (Some(bound), Some(offered)) if bound != offered => "bound, offers another",
        (Some(_), _) => "bound",
        (None, Some(_)) => "waits for approval",
        (None, None) => "none",
    }
}

fn as_value(joined: &Joined<'_>, now: i64) -> Value {
    let (node, state) = (joined.node, joined.state.as_ref());
    let digest = |digest: Option<Digest>| digest.map(|digest| digest.to_string());
    json!({
        "node": node.name,
        "class": node.class,
        "mac": node.mac,
        "uuid": node.uuid,
        "arch": node.arch,
        "firmware": node.firmware,
        "hold": node.hold,
        "key": key(node, state),
        "presence": state.map(|state| state.presence.name()),
        "presence_since_ms": state.map(|state| state.presence_since_ms),
        "report_seconds": state.and_then(|state| state.report_seconds),
        "stage": state.map(|state| &state.stage),
        "stage_since_ms": state.map(|state| state.stage_since_ms),
        "last_seen_ms": state.map(|state| state.last_seen_ms),
        "now_ms": now,
        "address": state.and_then(|state| state.address),
        "progress": state.map(|state| [state.progress_done, state.progress_total]),
        "running": digest(state.and_then(|state| state.running)),
        "wanted": digest(joined.wanted.map(|wanted| wanted.digest)),
        "failed": digest(state.and_then(|state| state.failed)),
        "running_packages": joined.status.packages,
        "differs": joined.status.differs,
        "packages": joined.wanted.map(|wanted| &wanted.head.packages),
        "unmet": state.map(|state| &state.unmet),
        "message": state.map(|state| &state.message),
    })
}

pub(super) fn approve(catalog: &mut Catalog, node: &str) -> Result<()> {
    let snapshot = catalog.snapshot()?;
    let Some(row) = snapshot.node(node) else {
        bail!("no node is called {node:?}: see `catalog nodes`");
    };
    let offered = states(catalog)?
        .get(node)
        .and_then(|state| state.offered_key);
    match offered {
        Some(key) => {
            catalog
                .bind_key(node, &key)
                .context("the node was not approved")?;
            println!("{node}: its key is bound.");
        }
        None if row.public_key.is_some() => println!("{node}: its key is bound already."),
        None if row.hold => {}
        None => bail!("{node} offers no key yet: let it boot first"),
    }
    if row.hold {
        catalog.release(node)?;
        println!("{node}: its hold has ended.");
    }
    Ok(())
}
