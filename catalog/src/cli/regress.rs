//! `regress`: an earlier version of a package, for a class or a node.

use anyhow::{Context as _, Result, bail};
use catalog::Catalog;
use catalog::select::list::build_for;
use catalog::snapshot::{Class, Snapshot};
use catalog::version::compare;

pub(super) fn regress(catalog: &mut Catalog, what: &super::Regress) -> Result<()> {
    let snapshot = catalog.snapshot()?;
    let package = what.package.as_str();
    let (whose, class, listed) = listed(&snapshot, what)?;
    let version = match &what.version {
        Some(version) => version.clone(),
        None => before(&snapshot, class, package, &listed).with_context(|| {
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

/// Whose list it is, its class, and the version that it has now.
fn listed<'a>(
    snapshot: &'a Snapshot,
    what: &super::Regress,
) -> Result<(String, &'a Class, String)> {
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
    let row = snapshot.classes.get(class);
    let row = row.with_context(|| format!("there is no class {class}"))?;
    let whose = node.map_or_else(
        || format!("class {class}"),
        |it| format!("node {}", it.name),
    );
    let apart = node.and_then(|it| it.apart.as_deref());
    let own = apart.and_then(|it| it.packages.iter().find(|it| it.name == what.package));
    let of_class = row.packages.iter();
    let of_class = of_class.filter(|_| !apart.is_some_and(|it| it.own_list));
    let mut of_class = of_class.map(|it| &it.package);
    let version = match own {
        Some(own) => own.version.clone(),
        None => of_class
            .find(|it| it.name == what.package)
            .map(|it| it.version.clone()),
    };
    match version {
        Some(version) => Ok((whose, row, version)),
        None => bail!("the list of {whose} has no package {}", what.package),
    }
}

/// The newest older version that there is for all machines of the class.
fn before(snapshot: &Snapshot, class: &Class, package: &str, listed: &str) -> Option<String> {
    let is_for_all = |version: &str| {
        let mut archs = class.images.keys();
        archs.all(|arch| build_for(snapshot, package, version, *arch).is_some())
    };
    let versions = snapshot.packages.keys().filter(|it| it.name == package);
    let older = versions
        .filter(|it| compare(&it.version, listed).is_lt())
        .filter(|it| is_for_all(&it.version));
    let newest = older.max_by(|a, b| compare(&a.version, &b.version))?;
    Some(newest.version.clone())
}
