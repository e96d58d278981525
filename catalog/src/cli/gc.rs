//! `gc`: clears away.

use anyhow::{Context as _, Result};
use catalog::Catalog;
use catalog::gc::Swept;

use super::table::{bytes, table};

pub(super) fn gc(catalog: &mut Catalog, keep: usize, dry_run: bool) -> Result<()> {
    let swept = catalog
        .gc(keep, dry_run)
        .context("gc has stopped; what it removed by then is not needed")?;
    let Swept {
        packages,
        images,
        blobs: (number, size),
    } = &swept;
    if !(packages.is_empty() && images.is_empty()) {
        let mut rows = table(&["KIND", "NAME", "VERSION", "FOR"]);
        for (kind, all) in [("package", packages), ("boot image", images)] {
            for (name, version, arch) in all {
                rows.add_row([kind, name, version, arch]);
            }
        }
        println!("{rows}");
    }
    let verb = if dry_run {
        "would be removed"
    } else {
        "removed"
    };
    println!(
        "{} packages, {} boot images, {number} modules ({}) {verb}.",
        packages.len(),
        images.len(),
        bytes(*size)
    );
    Ok(())
}
