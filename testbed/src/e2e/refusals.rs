//! What is refused, and what is said: disks that are not for us or full, blobs that rotted, a
//! master that cannot start, datagrams that deserve no answer.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use bootd_protocol::identity::Firmware;
use bootd_protocol::verify::{DEFAULT_PORT, QUESTION_LEN};

use super::bench::{BOOT_LIMIT, Bench, INSTALL_LIMIT, say};
use super::full_disk;
use crate::cluster::master::Master;
use crate::cluster::node::Node;
use crate::cluster::{program, wait_for};
use crate::lab::{GATEWAY, Lab};
use crate::nbd::Disk;

/// Where an ext4 file system has its magic number, and the number.
const EXT4_MAGIC: (u64, [u8; 2]) = (1024 + 56, [0x53, 0xef]);

/// Options for a bootd beside the one that serves.
const OTHER_PORTS: [&str; 4] = [
    "--verify-port=14068",
    "--http-port=14080",
    "--tftp-port=10069",
    "--no-dhcp",
];

pub(super) fn run(lab: &mut Lab, bench: &mut Bench) -> Result<()> {
    datagrams(bench)?;
    second_master(bench)?;
    newer_catalog(bench)?;
    no_room(lab, bench)?;
    let mut node = stopped_and_mended(lab, bench)?;
    full_disk::run(bench, &mut node)
}

/// Garbage, truncated, of a newer version: counted, unanswered.
fn datagrams(bench: &Bench) -> Result<()> {
    let socket = UdpSocket::bind((GATEWAY, 0))?;
    socket.set_read_timeout(Some(std::time::Duration::from_millis(300)))?;
    let mut newer = vec![0; QUESTION_LEN];
    newer[..6].copy_from_slice(b"bvfy\x63\x01");
    let mut unsigned = newer.clone();
    unsigned[4] = 1;
    let counters = ["verify_garbage", "verify_malformed", "verify_version"];
    let read = || {
        counters
            .map(|it| bench.master.counter(it))
            .into_iter()
            .collect::<Result<Vec<_>>>()
    };
    let before = read()?;
    for datagram in [b"hello".as_slice(), &newer, &newer[..70], &unsigned] {
        socket.send_to(datagram, (GATEWAY, DEFAULT_PORT))?;
    }
    let answer = socket.recv(&mut [0; 64]);
    ensure!(
        answer.is_err(),
        "a datagram that deserves no answer gets one"
    );
    wait_for("they are counted", BOOT_LIMIT, || {
        let now = read()?;
        let grown: Vec<u64> = now
            .iter()
            .zip(&before)
            .map(|(now, before)| now - before)
            .collect();
        Ok((grown == [1, 2, 1]).then_some(()))
    })?;
    say("garbage, a cut datagram and newer versions: counted, unanswered");
    Ok(())
}

/// A port that is taken is named, with what to do; so is a user who is not root.
fn second_master(bench: &Bench) -> Result<()> {
    let run = |prefix: &[&str], options: &[&str]| -> Result<String> {
        let bootd = program("bootd")?;
        let mut command = Command::new(prefix.first().map_or(bootd.as_os_str(), |it| it.as_ref()));
        command.args(prefix.iter().skip(1));
        if !prefix.is_empty() {
            command.arg(&bootd);
        }
        let output = command
            .arg("--state")
            .arg(bench.master.dir())
            .args(options)
            .output()
            .context("run bootd")?;
        ensure!(!output.status.success(), "a second bootd starts");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let taken = run(&[], &[])?;
    ensure!(
        taken.contains("port 4068") && taken.contains("another program has it"),
        "{taken}"
    );
    // With ports of its own it comes as far as TFTP's, which is for root.
    let user = ["setpriv", "--reuid", "65534", "--clear-groups"];
    let user = run(&user, &OTHER_PORTS[..2])?;
    ensure!(user.contains("ermission denied"), "{user}");
    say("a port that is taken and a user who is not root: said in words");
    Ok(())
}

/// A catalog of a newer version is not touched.
fn newer_catalog(bench: &Bench) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (state, log) = (dir.path().join("master"), dir.path().join("bootd.log"));
    let newer = Master::copy(bench.master.dir(), &state, &log)?;
    newer.sql("PRAGMA user_version = 99")?;
    let output = Command::new(program("bootd")?)
        .arg("--state")
        .arg(newer.dir())
        .args(OTHER_PORTS)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("newer"), "{said}");
    say("a catalog of a newer version: refused");
    Ok(())
}

/// No disk, one too small: said on the console and to the master.
fn no_room(lab: &mut Lab, bench: &Bench) -> Result<()> {
    let mut without = with_disk(lab, bench, "no-disk", 21, Disk::blank(1 << 20))?;
    without.remove_disk();
    let mut small = with_disk(lab, bench, "small-disk", 22, Disk::blank(64 << 20))?;
    without.power_on(|_| {})?;
    small.power_on(|_| {})?;
    stopped(bench, &mut without, "no disk")?;
    stopped(bench, &mut small, "has 64 MiB, 1024 MiB are needed")?;
    say("no disk, a small disk: said");
    Ok(())
}

/// Two installations that stop and go on by themselves once the operator has seen to it: somebody's
/// data stays on the disk until the class says otherwise; a blob that rotted in the store is
/// served to nobody and named in the log. The second node, as it restarts from its disk.
fn stopped_and_mended(lab: &mut Lab, bench: &Bench) -> Result<Node> {
    let blob = a_blob(bench)?;
    let right = fs::read(&blob).with_context(|| blob.display().to_string())?;
    let mut wrong = right.clone();
    wrong[12_345] ^= 1;
    rewrite(&blob, &wrong)?;
    let mut foreign = with_disk(lab, bench, "foreign-disk", 23, Disk::blank(2 << 30))?;
    foreign.disk().write_durable(EXT4_MAGIC.0, &EXT4_MAGIC.1);
    let mut unlucky = bench.node(lab, "unlucky", Firmware::Bios, 24)?;
    foreign.power_on(|_| {})?;
    unlucky.power_on(|_| {})?;

    stopped(
        bench,
        &mut foreign,
        "it is left alone unless the class has foreign_disk = 'overwrite'",
    )?;
    let mut kept = [0; 2];
    foreign.disk().read_durable(EXT4_MAGIC.0, &mut kept);
    ensure!(kept == EXT4_MAGIC.1, "somebody's data is gone");

    let line = unlucky.wait_for_line("installation stopped", INSTALL_LIMIT)?;
    let name = blob.file_name().unwrap_or_default().to_string_lossy();
    ensure!(line.contains(&*name), "{line}");
    let log = fs::read_to_string(bench.logs.join("bootd.log"))?;
    ensure!(
        log.contains("blob not served") && log.contains(&*name),
        "the log does not name it"
    );

    rewrite(&blob, &right)?;
    bench.edit("UPDATE class SET foreign_disk = 'overwrite' WHERE name = 'web'")?;
    foreign.wait_for_line("restarting from the local disk", INSTALL_LIMIT)?;
    bench.edit("UPDATE class SET foreign_disk = 'keep' WHERE name = 'web'")?;
    say("somebody's disk: said, kept, and overwritten only when told to");
    unlucky.wait_for_line("restarting from the local disk", INSTALL_LIMIT)?;
    say("a rotten blob: not served, named, and all goes on once it is mended");
    Ok(unlucky)
}

fn with_disk(lab: &mut Lab, bench: &Bench, name: &str, number: u8, disk: Disk) -> Result<Node> {
    let (firmware, logs) = (Firmware::Bios, &bench.logs);
    Node::with_disk(lab, name, firmware, number, bench.accel, logs, disk)
}

fn stopped(bench: &Bench, node: &mut Node, why: &str) -> Result<()> {
    let line = node.wait_for_line("installation stopped", INSTALL_LIMIT)?;
    ensure!(line.contains(why), "{}: {line}", node.name());
    let row = wait_for("the master is told", BOOT_LIMIT, || {
        let row = bench.master.node(node.mac())?;
        Ok(row.filter(|it| it.stage == "failed"))
    })?;
    ensure!(
        row.message.contains(&why[..20.min(why.len())]) || row.message.contains("/dev/"),
        "{row:?}"
    );
    Ok(())
}

/// The file of a blob that every node needs.
fn a_blob(bench: &Bench) -> Result<PathBuf> {
    let sql = "SELECT sha256 FROM package_file JOIN package ON package.id = package_id
               WHERE package.name = 'site' AND path = '/srv/www/large.bin' LIMIT 1";
    let output = Command::new("sqlite3")
        .arg(bench.master.dir().join("catalog.db"))
        .arg(sql)
        .output()?;
    let digest = String::from_utf8(output.stdout)?.trim().to_owned();
    let store = bench.master.dir().join("blobs/sha256");
    Ok(store.join(&digest[..2]).join(&digest))
}

/// Blobs are read-only files: whoever changes one puts another in its place.
fn rewrite(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    Ok(fs::rename(&new, path)?)
}
