//! The main path: installation over the network, boots from the disk, updates, regress, and
//! life without a master.

use anyhow::{Context as _, Result, ensure};
use bootd_protocol::identity::Firmware;

use super::bench::{BOOT_LIMIT, Bench, INSTALL_LIMIT, Work, say};
use crate::cluster::node::Node;
use crate::lab::Lab;
use crate::nbd::Counters;

pub(super) fn run(lab: &mut Lab, bench: &mut Bench) -> Result<()> {
    let mut nodes = [
        bench.node(lab, "bios", Firmware::Bios, 1)?,
        bench.node(lab, "uefi", Firmware::Uefi, 2)?,
    ];
    install(bench, &mut nodes)?;
    warm_boot(bench, &mut nodes)?;
    update_and_regress(bench, &mut nodes[0])?;
    new_boot_image(bench, &mut nodes)?;
    without_master(bench, &mut nodes)?;
    bench.installed = nodes.into();
    Ok(())
}

/// Blank disks, nothing but a network card: both machines end up running from their disks.
pub(super) fn install(bench: &mut Bench, nodes: &mut [Node]) -> Result<()> {
    for node in nodes.iter_mut() {
        node.power_on(|_| {})?;
    }
    for node in nodes.iter_mut() {
        node.wait_for_line("the master says install", INSTALL_LIMIT)?;
        node.wait_for_line("restarting from the local disk", INSTALL_LIMIT)?;
        bench.work.install = node.disk().counters();
        node.wait_for_line("verified as", BOOT_LIMIT)?;
        node.wait_for_line("ready:", BOOT_LIMIT)?;
        bench.check_page(node, "1.0")?;
        let row = bench.row(node)?;
        ensure!(
            row.stage == "running",
            "{}: the master sees {row:?}",
            node.name()
        );
        ensure!(
            row.name.starts_with("node-"),
            "enrolled by the rule: {row:?}"
        );
        ensure!(
            row.message == "booted from slot a",
            "{}: {row:?}",
            node.name()
        );
        say(format_args!(
            "{}: installed as {}, runs from its disk",
            node.name(),
            row.name
        ));
    }
    Ok(())
}

/// A warm boot costs two datagrams of verify and nothing else.
pub(super) fn warm_boot(bench: &Bench, nodes: &mut [Node]) -> Result<()> {
    let before = bench.numbers()?;
    for node in nodes.iter() {
        node.reset()?;
    }
    for node in nodes.iter_mut() {
        let ready = node.wait_for_line("ready:", BOOT_LIMIT)?;
        bench.check_page(node, "1.0")?;
        say(format_args!(
            "{}: warm boot: {}",
            node.name(),
            ready.split("] ").last().unwrap_or_default()
        ));
    }
    let after = bench.numbers()?;
    ensure!(
        (after.tftp, after.http) == (before.tftp, before.http),
        "a warm boot downloads: {before:?} {after:?}"
    );
    let asked = after.asked - before.asked;
    let answered = after.answered - before.answered;
    let boots = u64::try_from(nodes.len())?;
    ensure!(
        (asked, answered) == (boots, boots),
        "{asked} questions, {answered} answers for {boots} boots"
    );
    say("warm boots: 0 bytes of TFTP and HTTP, one question and one answer each");
    Ok(())
}

/// Another version of one package, by an edit in SQL, and back.
fn update_and_regress(bench: &Bench, node: &mut Node) -> Result<()> {
    let set = |version: &str| {
        format!(
            "UPDATE class_package SET version = '{version}' WHERE class = 'web' AND package = 'site'"
        )
    };
    let took = bench.edit(&set("2.0"))?;
    say(format_args!(
        "edit by sqlite3 in force after {} ms",
        took.as_millis()
    ));
    ensure!(
        took.as_millis() < 1000,
        "an edit is in force within a second"
    );
    let before = bench.numbers()?;
    node.reset()?;
    let fetching = node.wait_for_line("fetching", BOOT_LIMIT)?;
    ensure!(
        fetching.contains("fetching 1 of "),
        "only what differs is fetched: {fetching}"
    );
    node.wait_for_line("ready:", BOOT_LIMIT)?;
    bench.check_page(node, "2.0")?;
    let sent = bench.numbers()?.http - before.http;
    say(format_args!(
        "update: {sent} bytes by HTTP, the manifest and one file of {}",
        fetching.split(" of ").last().unwrap_or_default()
    ));

    bench.edit(&set("1.0"))?;
    let before = bench.numbers()?;
    node.reset()?;
    node.wait_for_line("fetching 0 of ", BOOT_LIMIT)?;
    node.wait_for_line("ready:", BOOT_LIMIT)?;
    bench.check_page(node, "1.0")?;
    let after = bench.numbers()?;
    ensure!(
        after.http == before.http,
        "a regress downloads nothing: {before:?} {after:?}"
    );
    say("regress: 0 bytes");
    Ok(())
}

/// A new boot image goes to the other slot, is tried, and found good.
fn new_boot_image(bench: &mut Bench, nodes: &mut [Node]) -> Result<()> {
    bench.edit("UPDATE class_image SET version = '2' WHERE class = 'web' AND image = 'debian'")?;
    let before: Vec<Counters> = nodes.iter().map(|node| node.disk().counters()).collect();
    for node in nodes.iter_mut() {
        node.reset()?;
    }
    for (node, before) in nodes.iter_mut().zip(before) {
        node.wait_for_line("restarting from the local disk", INSTALL_LIMIT)?;
        bench.work.update = difference(node.disk().counters(), before);
        node.wait_for_line("slot b is good", BOOT_LIMIT)?;
        node.wait_for_line("ready:", BOOT_LIMIT)?;
        bench.check_page(node, "1.0")?;
        let row = bench.row(node)?;
        ensure!(
            row.message == "booted from slot b",
            "{}: {row:?}",
            node.name()
        );
    }
    say("a new boot image runs from slot b on both");
    let Work { install, update } = bench.work;
    say(format_args!(
        "disk work: installation {} writes and {} flushes, update {} and {}",
        install.writes, install.flushes, update.writes, update.flushes
    ));
    Ok(())
}

fn difference(after: Counters, before: Counters) -> Counters {
    Counters {
        writes: after.writes - before.writes,
        flushes: after.flushes - before.flushes,
        bytes_written: after.bytes_written - before.bytes_written,
        ..after
    }
}

/// With the master gone, an installed node boots and runs all the same.
fn without_master(bench: &mut Bench, nodes: &mut [Node]) -> Result<()> {
    let addresses: Vec<String> = nodes
        .iter()
        .map(|node| bench.row(node)?.address.context("the node has an address"))
        .collect::<Result<_>>()?;
    bench.master.stop()?;
    for node in nodes.iter() {
        node.reset()?;
    }
    for (node, address) in nodes.iter_mut().zip(&addresses) {
        node.wait_for_line("no master answers: running what is installed", BOOT_LIMIT)?;
        node.wait_for_line("ready:", BOOT_LIMIT)?;
        bench
            .check_page(node, "1.0")
            .with_context(|| format!("at {address}"))?;
    }
    say("without a master: both boot and serve");
    bench.master.start()
}
