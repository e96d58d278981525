//! Power cuts, spread over an installation and an update, on disks that lose what was not
//! flushed. After each one the node has to end up right without help.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bootd_protocol::identity::Firmware;

use super::bench::{Bench, INSTALL_LIMIT, say};
use crate::cluster::node::Node;
use crate::cluster::{http, wait_for};
use crate::lab::Lab;
use crate::nbd::{Counters, CutAt, CutPolicy};

/// Series of cuts: of an installation and of an update, on BIOS and on UEFI.
const BIOS: Series = Series {
    install: 3,
    update: 1,
};
const UEFI: Series = Series {
    install: 1,
    update: 2,
};
/// Which sectors a cut loses grows from this.
const SEED: u64 = 0x00b0_07d0;
/// From power on to a cut.
const CUT_LIMIT: Duration = Duration::from_secs(240);

/// A class with the next software: site 2.0 on boot image 2, where `web` has 1.0 on 1.
const NEXT_CLASS: &str = "
    INSERT INTO class (name, key_policy) VALUES ('next', 'open');
    INSERT INTO class_package (class, position, package, version)
        SELECT 'next', position, package, iif(package = 'site', '2.0', version)
        FROM class_package WHERE class = 'web';
    INSERT INTO class_image (class, arch, image, version)
        SELECT 'next', arch, image, '2' FROM class_image WHERE class = 'web'";

/// Each series begins anew with a cut somewhere in the work; the next ones strike the recovery.
#[derive(Debug, Clone, Copy)]
struct Series {
    install: u64,
    update: u64,
}

/// Cuts of a series.
const IN_A_ROW: u64 = 3;

impl Series {
    const fn cuts(self) -> u64 {
        IN_A_ROW * (self.install + self.update)
    }
}

pub(super) fn run(lab: &mut Lab, bench: &mut Bench) -> Result<()> {
    bench
        .master
        .sql("UPDATE class_image SET version = '1' WHERE class = 'web'")?;
    bench.edit(NEXT_CLASS)?;
    let mut bios = bench.node(lab, "cut-bios", Firmware::Bios, 11)?;
    let mut uefi = bench.node(lab, "cut-uefi", Firmware::Uefi, 12)?;
    let bench = &*bench;
    thread::scope(|scope| {
        let bios = scope.spawn(move || cut(bench, &mut bios, BIOS).context("cut-bios"));
        let uefi = scope.spawn(move || cut(bench, &mut uefi, UEFI).context("cut-uefi"));
        match (bios.join(), uefi.join()) {
            (Ok(bios), Ok(uefi)) => bios.and(uefi),
            _ => bail!("a machine's thread has panicked"),
        }
    })?;
    let cuts = BIOS.cuts() + UEFI.cuts();
    say(format_args!(
        "{cuts} cuts: every time the node ended up right"
    ));
    Ok(())
}

fn cut(bench: &Bench, node: &mut Node, series: Series) -> Result<()> {
    cut_installation(bench, node, series.install)?;
    cut_update(bench, node, series.update)
}

/// The points of the disk's work at which the power goes: by writes and by flushes in turn,
/// spread from the first to nearly the last.
fn points(work: Counters, count: u64) -> Vec<CutAt> {
    let spread = |total: u64, index: u64| (total * (2 * index + 1) / (2 * count)).max(1);
    (0..count)
        .map(|index| {
            if index % 2 == 0 {
                CutAt::Write(spread(work.writes, index))
            } else {
                CutAt::Flush(spread(work.flushes, index))
            }
        })
        .collect()
}

/// Where the later cuts of a series strike: early in what every recovery does.
fn later(index: u64, cut: u64) -> CutAt {
    if index.is_multiple_of(2) {
        CutAt::Write(20 * cut)
    } else {
        CutAt::Flush(cut)
    }
}

/// What a cut loses: everything that was not flushed, or some sectors of it.
fn policy(seed: u64) -> CutPolicy {
    if seed.is_multiple_of(2) {
        CutPolicy::RandomSectors
    } else {
        CutPolicy::LoseAll
    }
}

/// Each series begins with a blank disk. What the next starts find is their own affair: they have
/// to end with the software running from the disk.
fn cut_installation(bench: &Bench, node: &mut Node, series: u64) -> Result<()> {
    let blank = node.snapshot();
    for (index, first) in (0..).zip(points(bench.work.install, series)) {
        node.restore(&blank);
        forget_key(bench, node)?;
        cut_in_a_row(node, index, first)?;
        node.power_on(|_| {})?;
        node.wait_for_line("verified as", INSTALL_LIMIT)?;
        finish(bench, node, "1.0")?;
        say(format_args!(
            "{}: installation cut at {first:?} and twice again: right",
            node.name()
        ));
    }
    Ok(())
}

/// Each series begins with the old software installed. The next starts boot the old or the new,
/// and end with the new.
fn cut_update(bench: &Bench, node: &mut Node, series: u64) -> Result<()> {
    node.cut_power(CutPolicy::LoseAll, SEED);
    let installed = node.snapshot();
    let mac = node.mac();
    bench.edit(&format!(
        "UPDATE node SET class = 'next' WHERE mac = '{mac}'"
    ))?;
    for (index, first) in (0..).zip(points(bench.work.update, series)) {
        node.restore(&installed);
        cut_in_a_row(node, index, first)?;
        node.power_on(|_| {})?;
        finish(bench, node, "2.0")?;
        say(format_args!(
            "{}: update cut at {first:?} and twice again: right",
            node.name()
        ));
    }
    Ok(())
}

fn cut_in_a_row(node: &mut Node, index: u64, first: CutAt) -> Result<()> {
    for cut in 0..IN_A_ROW {
        let at = if cut == 0 { first } else { later(index, cut) };
        let seed = SEED + IN_A_ROW * index + cut;
        node.power_on(|_| {})?;
        node.arm(at)?;
        ensure!(
            node.wait_for_cut(CUT_LIMIT, policy(seed), seed),
            "{at:?} did not come"
        );
    }
    Ok(())
}

/// The node comes to rest on this version of the site, from its own disk.
fn finish(bench: &Bench, node: &mut Node, site: &str) -> Result<()> {
    wait_for("the node runs from its disk", INSTALL_LIMIT, || {
        let row = bench.row(node)?;
        let rest = row.stage == "running" && row.message.starts_with("booted from slot");
        let page = row
            .address
            .and_then(|it| http::get(&it, "/").ok())
            .unwrap_or_default();
        Ok((rest && page.contains(&format!("<h1>site {site}</h1>"))).then_some(()))
    })
}

/// A blank disk has no key: the operator lets the node bind the next one.
fn forget_key(bench: &Bench, node: &Node) -> Result<()> {
    let mac = node.mac();
    // In force a poll of the master later, long before a machine has started.
    bench.master.sql(&format!(
        "UPDATE node SET public_key = NULL WHERE mac = '{mac}'"
    ))
}
