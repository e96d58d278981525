//! `check`: everything that is wrong, in words.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Result;
use bootd_protocol::digest::Digest;
use catalog::Catalog;

pub(super) fn check(catalog: &Catalog, deep: bool) -> Result<ExitCode> {
    let snapshot = catalog.snapshot()?;
    let served = catalog.served(&snapshot);
    let mut wrong: Vec<String> = catalog.schema_drift()?;
    wrong.extend(served.problems().iter().map(ToString::to_string));

    let manifests: Vec<_> = served.all().collect();
    let blobs = manifests
        .iter()
        .filter_map(|(_, encoded)| encoded.manifest().ok())
        .flat_map(|manifest| manifest.blobs().collect::<Vec<_>>());
    let blobs: BTreeSet<Digest> = blobs.map(|blob| blob.sha256).collect();
    for digest in &blobs {
        if deep {
            wrong.extend(
                catalog
                    .blobs()
                    .get(*digest)
                    .err()
                    .map(|error| error.to_string()),
            );
        } else if !catalog.blobs().path(*digest).exists() {
            wrong.push(format!(
                "blob {digest} is missing: install its composite again"
            ));
        }
    }
    if catalog.trusted_keys()?.is_empty() {
        wrong.push(
            "no key is trusted: nothing can be installed (catalog trust NAME FILE.pub)".into(),
        );
    }
    if snapshot.networks.is_empty() {
        wrong.push("no network is listed: bootd answers nobody (table network)".into());
    }
    for sentence in &wrong {
        println!("{sentence}");
    }
    for note in served.notes() {
        println!("Note: {note}");
    }
    if !wrong.is_empty() {
        return Ok(ExitCode::from(3));
    }
    println!(
        "All right: {} classes, {} nodes, {} manifests, {} modules.",
        snapshot.classes.len(),
        snapshot.nodes.len(),
        manifests.len(),
        blobs.len()
    );
    Ok(ExitCode::SUCCESS)
}
