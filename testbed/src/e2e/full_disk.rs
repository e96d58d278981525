//! A node whose data partition is full: an update that does not fit is refused in words, the
//! node runs what it has, and once there is room all goes on.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::bench::{BOOT_LIMIT, Bench, INSTALL_LIMIT, say};
use crate::cluster::node::Node;
use crate::cluster::release::SHELL_PORT;
use crate::cluster::wait_for;

const WITH_SHELL: &str = "INSERT INTO class_package (class, position, package, version)
    VALUES ('web', 99, 'shell', '1')";
const WITHOUT_SHELL: &str = "DELETE FROM class_package WHERE class = 'web' AND package = 'shell'";
/// Boot images are some dozens of MiB.
const OTHER_IMAGE: &str =
    "UPDATE class_image SET version = iif(version = '1', '2', '1') WHERE class = 'web'";
/// Leaves 8 MiB.
const FILL: &str = "cd /persist
    left=$(/bin/busybox df -kP . | /bin/busybox awk 'NR == 2 { print $4 }')
    /bin/busybox fallocate -l $(((left - 8192) * 1024)) large && /bin/busybox sync && echo done\n";
const FREE: &str = "/bin/busybox rm /persist/large && /bin/busybox sync && echo done\n";
/// What a node may take to do either.
const SHELL_LIMIT: Duration = Duration::from_secs(20);

/// `node` is on its way to its first boot from the disk.
pub(super) fn run(bench: &Bench, node: &mut Node) -> Result<()> {
    node.wait_for_line("ready:", BOOT_LIMIT)?;
    bench.edit(WITH_SHELL)?;
    node.reset()?;
    node.wait_for_line("ready:", BOOT_LIMIT)?;
    shell(bench, node, FILL)?;

    bench.edit(OTHER_IMAGE)?;
    let mut said = String::new();
    // The second time is a restart with a disk as full as before.
    for _ in 0..2 {
        node.reset()?;
        said = node.wait_for_line("installation stopped", BOOT_LIMIT)?;
        node.wait_for_line("running what is installed", BOOT_LIMIT)?;
        node.wait_for_line("ready:", BOOT_LIMIT)?;
        bench.check_page(node, "1.0")?;
        told(bench, node, &said)?;
    }
    say(format_args!(
        "an update that does not fit: {}; the node runs what it had",
        said.split("stopped: ").last().unwrap_or_default()
    ));

    shell(bench, node, FREE)?;
    node.reset()?;
    node.wait_for_line("restarting from the local disk", INSTALL_LIMIT)?;
    node.wait_for_line("slot b is good", BOOT_LIMIT)?;
    node.wait_for_line("ready:", BOOT_LIMIT)?;
    bench.check_page(node, "1.0")?;
    let row = bench.row(node)?;
    ensure!(row.message == "booted from slot b", "{row:?}");
    say("with room, the same update comes to its end");
    bench.edit(OTHER_IMAGE)?;
    bench.edit(WITHOUT_SHELL).map(drop)
}

/// The master knows how much is missing, and `catalog nodes` shows it.
fn told(bench: &Bench, node: &Node, said: &str) -> Result<()> {
    let row = bench.row(node)?;
    let why = said.split("stopped: ").last().unwrap_or_default();
    ensure!(
        why.starts_with("data partition has ") && why.contains("make room for "),
        "{said}"
    );
    ensure!(row.stage == "failed" && row.message == why, "{row:?}");
    let nodes = bench.master.catalog(&["nodes".as_ref()])?;
    ensure!(
        nodes
            .lines()
            .any(|it| it.contains(&row.name) && it.contains(why)),
        "{nodes}"
    );
    Ok(())
}

/// Lets the node do what `script` says.
fn shell(bench: &Bench, node: &Node, script: &str) -> Result<()> {
    let address = bench
        .row(node)?
        .address
        .context("the node has an address")?;
    let target = format!("{address}:{SHELL_PORT}");
    let mut stream = wait_for("the node has a shell", SHELL_LIMIT, || {
        Ok(TcpStream::connect(&target).ok())
    })?;
    stream.set_read_timeout(Some(SHELL_LIMIT))?;
    stream.write_all(script.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer == "done\n", "{target}: {answer:?} for {script}");
    Ok(())
}
