//! `regress`: an earlier version of a package, for a class or a node.

use anyhow::{Context as _, Result, bail};
use catalog::Catalog;
use catalog::snapshot::Snapshot;
use catalog::version::compare;

pub(super) fn regress(catalog: &mut Catalog, what: &super::Regress) -> Result<()> {
    let snapshot = catalog.snapshot()?;
    let package = what.package.as_str();
    let (whose, listed) = listed(&snapshot, what)?;
    let version = match &what.version {
        Some(version) => version.clone(),
        None => before(&snapshot, package, &listed).with_context(|| {
            format!(
                "{package} {listed} is the oldest version that is kept: see catalog list packages"
            )
        })?,
    };
    match (&what.class, &what.node) {
        (Some(class), _) => catalog.list_for_class(class, package, &version),
        (None, Some(node)) => catalog.list_for_node(node, package, &version),
        (None, None) => bail!("give --class CLASS or --node NODE"),
    }?;
    println!("{whose}: {package} {listed} -> {version}");
    Ok(())
}

/// Whose list it is, and the version that it has now.
fn listed(snapshot: &Snapshot, what: &super::Regress) -> Result<(String, String)> {
    let node = match &what.node {
        Some(name) => Some(
            snapshot
                .node(name)
                .with_context(|| format!("there is no node {name}"))?,
        ),
        None => None,
    };
    let class = node.map(|it| it.class.as_str()).or(what.class.as_deref());
    let class = class.unwrap_or_default();
    let own = node.and_then(|it| it.apart.as_deref());
    let own = own.and_then(|it| it.packages.iter().find(|it| it.name == what.package));
    let own = own.and_then(|it| it.version.clone());
    let of_class = snapshot.classes.get(class);
    let of_class = of_class.with_context(|| format!("there is no class {class}"))?;
    let of_class = of_class
        .packages
        .iter()
        .find(|it| it.package.name == what.package);
    let of_class = of_class.map(|it| it.package.version.clone());
    let whose = node.map_or_else(
        || format!("class {class}"),
        |it| format!("node {}", it.name),
    );
    match own.or(of_class) {
        Some(version) => Ok((whose, version)),
        None => bail!("the list of {whose} has no package {}", what.package),
    }
}

/// The newest version that is older.
fn before(snapshot: &Snapshot, package: &str, listed: &str) -> Option<String> {
    let versions = snapshot.packages.keys().filter(|it| it.name == package);
    let older = versions.filter(|it| compare(&it.version, listed).is_lt());
    let newest = older.max_by(|a, b| compare(&a.version, &b.version))?;
    Some(newest.version.clone())
}
