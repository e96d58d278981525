//! `compose`, `install`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use bootd_protocol::verify::key::PublicKey;
use catalog::Catalog;
use catalog::composite::compose;
use catalog::composite::install::{Change, Item, Report};
use catalog::composite::sign;
use indicatif::{ProgressBar, ProgressStyle};

use super::table::{bytes, table};

pub(super) fn compose(
    dir: &Path,
    release: &Path,
    output: &Path,
    key: &Path,
    masters: &[PathBuf],
) -> Result<()> {
    let key = sign::read_secret(key).context("the composite was not made")?;
    let own = dir.join("master.pub");
    let masters = match masters {
        [] if own.exists() => std::slice::from_ref(&own),
        masters => masters,
    };
    let trust = masters
        .iter()
        .map(|path| master(path))
        .collect::<Result<Vec<_>>>()?;
    let mut say = |step: &str| eprintln!("{step}");
    let made = compose::compose(release, output, &key, &trust, &mut say)
        .context("the composite was not made")?;
    let composite = &made.composite;
    println!(
        "{}: {} {}, {} boot images, {} packages, {} classes, {} modules, {} (release {})",
        output.display(),
        composite.name,
        composite.version,
        composite.boot_images.len(),
        composite.packages.len(),
        composite.classes.len(),
        composite.blobs().len(),
        bytes(made.size),
        made.digest.short(),
    );
    Ok(())
}

/// Public keys: one in each line, `#` begins a comment.
fn master(path: &Path) -> Result<PublicKey> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the master's public key {}", path.display()))?;
    let key = text.lines().find_map(|line| line.trim().parse().ok());
    match key {
        Some(key) => Ok(key),
        None => bail!(
            "{} holds no public key of 64 hexadecimal digits",
            path.display()
        ),
    }
}

pub(super) fn install(catalog: &mut Catalog, composite: &Path) -> Result<()> {
    let bar = ProgressBar::new(0);
    let style = "installing {wide_bar} {bytes}/{total_bytes} {eta}";
    bar.set_style(ProgressStyle::with_template(style)?);
    let mut progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let report = catalog.install(composite, &mut progress);
    bar.finish_and_clear();
    let report = report.context("nothing was installed")?;
    print_report(&report);

    let snapshot = catalog.snapshot()?;
    for problem in catalog.served(&snapshot).problems() {
        eprintln!("problem: {problem}");
    }
    Ok(())
}

fn print_report(report: &Report) {
    print_items(&report.items);
    println!(
        "{} {} (release {}, signed by {}): {} new modules ({}), {} were here ({})",
        report.release.0,
        report.release.1,
        report.digest.short(),
        report.signer,
        report.stored.0,
        bytes(report.stored.1),
        report.present.0,
        bytes(report.present.1),
    );
}

/// What is new, what changes, what is there just so.
pub(super) fn print_items(items: &[Item]) {
    let mut table = table(&["", "KIND", "NAME"]);
    for item in items {
        let change = match item.change {
            Change::New => "new",
            Change::Changed => "changed",
            Change::Same => "same",
        };
        table.add_row([change, item.kind, &item.name]);
    }
    println!("{table}");
}
