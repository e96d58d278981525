//! Power cuts, spread over an installation and an update, on disks that lose what was not
//! flushed. After each one the node has to end up right without help.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bootd_protocol::identity::Firmware;

use super::bench::{BOOT_LIMIT, Bench, INSTALL_LIMIT, say};
use crate::cluster::node::Node;
use crate::lab::Lab;
use crate::nbd::{Counters, CutAt, CutPolicy};

/// Cuts of an installation, on each machine.
const INSTALL_CUTS: u64 = 6;
/// Cuts of an update, on each machine.
const UPDATE_CUTS: u64 = 6;
/// Which sectors a cut loses grows from this.
const SEED: u64 = 0x00b0_07d0;
/// From power on to a cut.
const CUT_LIMIT: Duration = Duration::from_secs(240);

/// The software before and after: site 1.0 on image 1, site 2.0 on image 2.
const OLD: &str =
    "UPDATE class_package SET version = '1.0' WHERE class = 'web' AND package = 'site';
                   UPDATE class_image SET version = '1' WHERE class = 'web' AND image = 'debian'";
const NEW: &str =
    "UPDATE class_package SET version = '2.0' WHERE class = 'web' AND package = 'site';
                   UPDATE class_image SET version = '2' WHERE class = 'web' AND image = 'debian'";

pub(super) fn run(lab: &mut Lab, bench: &mut Bench) -> Result<()> {
    bench.edit(OLD)?;
    let nodes = [
        bench.node(lab, "cut-bios", Firmware::Bios, 11)?,
        bench.node(lab, "cut-uefi", Firmware::Uefi, 12)?,
    ];
    let nodes = on_both(nodes, |node| cut_installation(bench, node))?;
    bench.edit(NEW)?;
    on_both(nodes, |node| cut_update(bench, node))?;
    let cuts = 2 * (INSTALL_CUTS + UPDATE_CUTS);
    say(format_args!(
        "{cuts} cuts: every time the node ended up right"
    ));
    Ok(())
}

/// Does the same with both machines at the same time.
fn on_both(nodes: [Node; 2], act: impl Fn(&mut Node) -> Result<()> + Sync) -> Result<[Node; 2]> {
    let act = &act;
    thread::scope(|scope| {
        let running = nodes.map(|mut node| {
            scope.spawn(move || {
                act(&mut node)
                    .with_context(|| node.name().to_owned())
                    .map(|()| node)
            })
        });
        let [first, second] = running.map(thread::ScopedJoinHandle::join);
        match (first, second) {
            (Ok(first), Ok(second)) => Ok([first?, second?]),
            _ => bail!("a machine's thread has panicked"),
        }
    })
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

/// What a cut loses: everything that was not flushed, or some sectors of it.
fn policy(index: usize) -> CutPolicy {
    if index.is_multiple_of(2) {
        CutPolicy::RandomSectors
    } else {
        CutPolicy::LoseAll
    }
}

/// Each cut begins with a blank disk. What the next start finds is its own affair: it has to
/// end with the software running from the disk.
fn cut_installation(bench: &Bench, node: &mut Node) -> Result<()> {
    let blank = node.snapshot();
    for (index, at) in points(bench.work.install, INSTALL_CUTS)
        .into_iter()
        .enumerate()
    {
        node.restore(&blank);
        forget_key(bench, node)?;
        cut_at(node, index, at)?;
        node.power_on(|_| {})?;
        node.wait_for_line("verified as", INSTALL_LIMIT)?;
        node.wait_for_line("ready:", BOOT_LIMIT)?;
        check(bench, node, "1.0")?;
        say(format_args!(
            "{}: installation cut at {at:?}: right",
            node.name()
        ));
    }
    Ok(())
}

/// Each cut begins with the old software installed. The next start boots the old or the new,
/// and ends with the new.
fn cut_update(bench: &Bench, node: &mut Node) -> Result<()> {
    node.cut_power(CutPolicy::LoseAll, SEED);
    let installed = node.snapshot();
    for (index, at) in points(bench.work.update, UPDATE_CUTS)
        .into_iter()
        .enumerate()
    {
        node.restore(&installed);
        cut_at(node, index, at)?;
        node.power_on(|_| {})?;
        // From the disk: the network would have to install, and there is nothing to install.
        node.wait_for_line("slot b is good", INSTALL_LIMIT)?;
        node.wait_for_line("ready:", BOOT_LIMIT)?;
        check(bench, node, "2.0")?;
        say(format_args!("{}: update cut at {at:?}: right", node.name()));
    }
    Ok(())
}

/// Starts the node and lets the power go at this point of its disk's work.
fn cut_at(node: &mut Node, index: usize, at: CutAt) -> Result<()> {
    node.power_on(|_| {})?;
    node.arm(at)?;
    let seed = SEED + u64::try_from(index)?;
    ensure!(
        node.wait_for_cut(CUT_LIMIT, policy(index), seed),
        "{at:?} did not come"
    );
    Ok(())
}

/// A blank disk has no key: the operator lets the node bind the next one.
fn forget_key(bench: &Bench, node: &Node) -> Result<()> {
    let mac = node.mac();
    // In force a poll of the master later, long before a machine has started.
    bench.master.sql(&format!(
        "UPDATE node SET public_key = NULL WHERE mac = '{mac}'"
    ))
}

fn check(bench: &Bench, node: &Node, site: &str) -> Result<()> {
    bench.check_page(node, site)?;
    let row = bench.row(node)?;
    ensure!(row.stage == "running", "the master sees {row:?}");
    Ok(())
}
