//! Orders to many: two nodes are prepared and go together; tests in RAM, of a package and of a boot
//! image, that are gone after one restart; a class that runs from RAM.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bootd_protocol::identity::Firmware;

use super::bench::{BOOT_LIMIT, Bench, INSTALL_LIMIT, say};
use super::main_path;
use crate::cluster::node::Node;
use crate::cluster::wait_for;
use crate::lab::Lab;

/// A node that runs is told of an order within the time between two reports, and some.
const ORDER_LIMIT: Duration = Duration::from_secs(60);

pub(super) fn run(lab: &mut Lab, bench: &mut Bench) -> Result<()> {
    // Nothing to wait for where it is so already.
    bench.master.sql(&versions("2", "1.0"))?;
    let mut nodes = std::mem::take(&mut bench.installed);
    if nodes.is_empty() {
        nodes = vec![
            bench.node(lab, "together-bios", Firmware::Bios, 51)?,
            bench.node(lab, "together-uefi", Firmware::Uefi, 52)?,
        ];
        main_path::install(bench, &mut nodes)?;
    }
    prepare(bench, &mut nodes)?;
    try_images_once(bench, &mut nodes)?;
    nodes.truncate(1);
    for node in &mut nodes {
        try_once(bench, node)?;
        run_from_ram(bench, node)?;
    }
    bench.edit(&versions("2", "1.0")).map(drop)
}

/// Lets class web have these.
fn versions(image: &str, site: &str) -> String {
    format!(
        "UPDATE class_image SET version = '{image}' WHERE class = 'web';
         UPDATE class_package SET version = '{site}' WHERE class = 'web' AND package = 'site'"
    )
}

/// Another site on another boot image, for both at once.
fn prepare(bench: &Bench, nodes: &mut [Node]) -> Result<()> {
    bench.edit(&versions("1", "2.0"))?;
    let told = bench
        .master
        .catalog(&["prepare".as_ref(), "--all".as_ref()])?;
    say(told.lines().next().unwrap_or_default());
    for node in nodes.iter_mut() {
        node.wait_for_line("the master says restart: preparation", ORDER_LIMIT)?;
    }
    for node in nodes.iter_mut() {
        node.wait_for_line("the master says install", BOOT_LIMIT)?;
        node.wait_for_line("restarting from the local disk", INSTALL_LIMIT)?;
        node.wait_for_line("the master says hold: preparation", BOOT_LIMIT)?;
        say(format_args!("{}: ready, and waits", node.name()));
    }
    for node in nodes.iter_mut() {
        node.wait_for_line("all are ready", ORDER_LIMIT)?;
    }
    let before = bench.numbers()?;
    for node in nodes.iter_mut() {
        node.wait_for_line("verified as", BOOT_LIMIT)?;
        node.wait_for_line("ready:", BOOT_LIMIT)?;
        bench.check_page(node, "2.0")?;
    }
    let after = bench.numbers()?;
    ensure!(
        (after.tftp, after.http) == (before.tftp, before.http),
        "the boot after a preparation downloads: {before:?} {after:?}"
    );
    for node in nodes.iter() {
        let name = bench.row(node)?.name;
        wait_for("the preparation is over", Duration::from_secs(10), || {
            let stage = bench.master.prepared(&name)?;
            Ok((stage.as_deref() == Some("done")).then_some(()))
        })?;
    }
    say("both restarted together into a warm boot: 0 bytes of TFTP and HTTP");
    Ok(())
}

/// The old site for one boot.
fn try_once(bench: &Bench, node: &mut Node) -> Result<()> {
    let name = bench.row(node)?.name;
    bench.edit(&format!(
        "BEGIN;
         INSERT INTO test (scope, name) VALUES ('node', '{name}');
         INSERT INTO test_package SELECT max(id), 'site', '1.0' FROM test;
         COMMIT"
    ))?;
    node.reset()?;
    node.wait_for_line("the master says test", BOOT_LIMIT)?;
    let tree = node.wait_for_line("runs class web", BOOT_LIMIT)?;
    ensure!(tree.contains("in RAM"), "{tree}");
    node.wait_for_line("ready:", BOOT_LIMIT)?;
    bench.check_page(node, "1.0")?;
    let row = bench.row(node)?;
    ensure!(row.message == "runs from RAM", "{row:?}");

    let before = bench.numbers()?;
    node.reset()?;
    node.wait_for_line("verified as", BOOT_LIMIT)?;
    node.wait_for_line("ready:", BOOT_LIMIT)?;
    bench.check_page(node, "2.0")?;
    let after = bench.numbers()?;
    ensure!(
        (after.tftp, after.http) == (before.tftp, before.http),
        "the boot after a test downloads: {before:?} {after:?}"
    );
    say("a test ran from RAM, and was gone after one restart");
    Ok(())
}

/// Another boot image for one boot: init starts its kernel by itself.
fn try_images_once(bench: &Bench, nodes: &mut [Node]) -> Result<()> {
    let mut before = Vec::new();
    for node in nodes.iter() {
        let row = bench.row(node)?;
        bench.edit(&format!(
            "INSERT INTO test (scope, name, image, version) VALUES ('node', '{}', 'debian', '2')",
            row.name
        ))?;
        before.push(row.message);
        node.reset()?;
    }
    for node in nodes.iter_mut() {
        node.wait_for_line("starts boot image debian 2 from RAM", BOOT_LIMIT)?;
        node.wait_for_line("the master says test", BOOT_LIMIT)?;
        let tree = node.wait_for_line("runs class web", BOOT_LIMIT)?;
        ensure!(tree.contains("in RAM"), "{tree}");
        node.wait_for_line("ready:", BOOT_LIMIT)?;
        bench.check_page(node, "2.0")?;
    }
    let numbers = bench.numbers()?;
    for node in nodes.iter() {
        node.reset()?;
    }
    for (node, before) in nodes.iter_mut().zip(before) {
        node.wait_for_line("verified as", BOOT_LIMIT)?;
        node.wait_for_line("ready:", BOOT_LIMIT)?;
        let row = bench.row(node)?;
        ensure!(row.message == before, "{row:?}, and not {before}");
    }
    let after = bench.numbers()?;
    ensure!(
        (after.tftp, after.http) == (numbers.tftp, numbers.http),
        "the boot after a test downloads: {numbers:?} {after:?}"
    );
    say("on both, another boot image ran from RAM, and was gone after one restart");
    Ok(())
}

/// A class that runs from RAM, on a machine without a disk.
fn run_from_ram(bench: &Bench, node: &mut Node) -> Result<()> {
    bench.edit("UPDATE class SET install = 'test' WHERE name = 'web'")?;
    // Whoever it was, a machine without a disk has another key each time.
    let name = bench.row(node)?.name;
    bench.edit(&format!(
        "UPDATE node SET public_key = NULL WHERE name = '{name}'"
    ))?;
    node.remove_disk();
    node.power_on(|_| {})?;
    node.wait_for_line("the master says test", INSTALL_LIMIT)?;
    node.wait_for_line("ready:", BOOT_LIMIT)?;
    bench.check_page(node, "2.0")?;
    let row = bench.row(node)?;
    row.running.context("the master knows what it runs")?;
    bench.edit("UPDATE class SET install = 'persist' WHERE name = 'web'")?;
    say("a machine without a disk runs its class from RAM");
    Ok(())
}
