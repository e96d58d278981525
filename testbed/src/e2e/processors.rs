//! A cluster out of an empty catalog and one composite: two classes, two processor types, and
//! machines that have nothing in common but the cable. What one class needs of the other holds, is
//! broken by an edit, and that edit is refused.

use std::io::Read as _;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bootd_protocol::identity::{Arch, Firmware};
use node_initramfs::disk::{EspFile, Layout, LoaderState, Slot};

use super::bench::{BOOT_LIMIT, Bench, INSTALL_LIMIT, say};
use super::main_path;
use crate::cluster::master::Master;
use crate::cluster::node::Node;
use crate::cluster::wait_for;
use crate::inputs::{self, InputsError, Packages};
use crate::lab::Lab;
use crate::nbd::CutPolicy;
use crate::qemu::Model;

/// Brings the packages for aarch64.
pub(super) fn fetch(work: &Path) -> Result<Packages, InputsError> {
    inputs::fetch_aarch64(&work.join("debs"), &work.join("apt-arm64"))
}

pub(super) fn run(lab: &mut Lab, bench: &mut Bench) -> Result<()> {
    start_from_nothing(lab, bench)?;
    let anybody = ["--mac=02:00:00:00:00:01", "--firmware=uefi"];
    for (arch, class) in [(Arch::X86_64, "front"), (Arch::Aarch64, "back")] {
        explained(bench, arch, class, &anybody)?;
    }
    say("an empty catalog and one composite: two classes, each with builds for two processors");

    let mut nodes = [
        bench.node(lab, "pc", Firmware::Uefi, 31)?,
        bench
            .node(lab, "arm", Firmware::Uefi, 32)?
            .of_model(Model::Arm),
    ];
    let before = bench.numbers()?;
    main_path::install(bench, &mut nodes)?;
    let loaded = bench.numbers()?.tftp - before.tftp;
    say(format_args!("{} MB by TFTP for both", loaded / 1_000_000));
    let [pc, arm] = &nodes;
    runs_what_was_explained(bench, pc, Arch::X86_64, "front")?;
    runs_what_was_explained(bench, arm, Arch::Aarch64, "back")?;
    check_ssh(bench, arm)?;
    broken_promise(bench, &mut nodes)?;
    let [_, arm] = &mut nodes;
    loader(bench, arm)
}

/// A new master in place of the track's own.
fn start_from_nothing(lab: &Lab, bench: &mut Bench) -> Result<()> {
    bench.master.stop()?;
    let state = lab.run_dir().join("cluster");
    let mut master = Master::empty(&state, &bench.logs.join("bootd.log"))?;
    let mut workshop = bench.workshop_for(&state)?;
    workshop.add(fetch(&bench.work_dir)?);
    master.trust(&workshop.public_key())?;
    master.install(&workshop.compose_cluster()?)?;
    let told = master.catalog(&["check".as_ref()])?;
    ensure!(told.starts_with("All right: 2 classes"), "{told}");
    master.start()?;
    bench.master = master;
    Ok(())
}

/// The front needs a version of the back that an edit takes away: the edit has no effect, it is said
/// why, and both go on.
fn broken_promise(bench: &mut Bench, nodes: &mut [Node; 2]) -> Result<()> {
    let set = |version: &str| {
        format!(
            "UPDATE class_package SET version = '{version}' WHERE class = 'back' AND package = 'ssh'"
        )
    };
    bench.edit(&set("2019"))?;
    let complaint = "package shop 1.4 of class front needs ssh (>= 2022) on class back (table package_relation), but class back on aarch64 has ssh 2019: class back on aarch64 keeps what it had";
    bench.logged(complaint, 1)?;
    let checked = bench.master.catalog(&["check".as_ref()]);
    let told = checked
        .err()
        .context("catalog check says that all is right")?;
    let text = format!("{told:#}");
    ensure!(text.contains("needs ssh (>= 2022) on class back"), "{text}");
    main_path::warm_boot(bench, nodes)?;
    check_ssh(bench, &nodes[1])?;
    say("an edit that breaks what another class needs: told in words, and both go on");
    bench.edit(&set("2022"))?;
    let told = bench.master.catalog(&["check".as_ref()])?;
    ensure!(told.starts_with("All right"), "{told}");
    Ok(())
}

/// A real SSH server answers.
fn check_ssh(bench: &Bench, node: &Node) -> Result<()> {
    let address = bench
        .row(node)?
        .address
        .context("the node has an address")?;
    let target = format!("{address}:22").parse()?;
    wait_for("an SSH server answers", Duration::from_secs(20), || {
        let mut banner = [0; 16];
        let greeted = TcpStream::connect_timeout(&target, Duration::from_secs(5))
            .and_then(|mut it| it.read_exact(&mut banner));
        Ok((greeted.is_ok() && banner.starts_with(b"SSH-2.0-dropbear")).then_some(()))
    })
}

/// The manifest that a machine of this kind is given, by the catalog's own words.
fn explained(bench: &Bench, arch: Arch, class: &str, which: &[&str]) -> Result<String> {
    let arch_option = format!("--arch={arch}");
    let mut arguments = vec!["explain", &arch_option];
    arguments.extend(which);
    let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    let told = bench.master.catalog(&arguments)?;
    for wanted in [
        format!("Class {class}: keys are bound at once.\n"),
        format!("Packages for {arch} (table class_package), first wins:\n"),
        format!("Boot image for {arch}: debian 1 (table class_image).\n"),
    ] {
        ensure!(told.contains(&wanted), "{told} has no {wanted}");
    }
    let builds: Vec<&str> = told.lines().filter_map(build).collect();
    let own = arch.name();
    ensure!(builds == ["all", own, own], "{told}");
    let manifest = format!("Manifest for {arch} and uefi: ");
    let line = told.lines().find_map(|line| line.strip_prefix(&manifest));
    Ok(line
        .with_context(|| format!("{told} has no {manifest}"))?
        .to_owned())
}

/// The build in a row of the table of packages.
fn build(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let build = words.nth(1)?;
    (line.starts_with("  ") && ["site", "nginx", "base"].contains(&name)).then_some(build)
}

fn runs_what_was_explained(bench: &Bench, node: &Node, arch: Arch, class: &str) -> Result<()> {
    let row = bench.row(node)?;
    let manifest = explained(bench, arch, class, &[&row.name])?;
    ensure!(
        row.running.as_deref() == Some(&manifest),
        "{} runs {row:?}, not {manifest}",
        node.name()
    );
    Ok(())
}

/// GRUB on the firmware that no other test has: where the slot on trial cannot be loaded, it counts
/// that and starts the other; where there is no slot at all, the firmware goes on to the network, and
/// by HTTP to a boot image.
fn loader(bench: &Bench, arm: &mut Node) -> Result<()> {
    let on_trial = LoaderState {
        slot: Some(Slot::A),
        next: Some(Slot::B),
        tries: 2,
    };
    restart_with(arm, on_trial)?;
    arm.wait_for_line("bootd: slot b cannot be loaded", BOOT_LIMIT)?;
    arm.wait_for_line("ready:", BOOT_LIMIT)?;
    // With its key, it would be sent to its disk.
    let mac = arm.mac();
    bench.edit(&format!(
        "UPDATE network SET boot_by = 'http' WHERE name = 'lab';
         UPDATE node SET public_key = NULL WHERE mac = '{mac}'"
    ))?;
    restart_with(arm, LoaderState::default())?;
    arm.wait_for_line("bootd: nothing is installed on this disk", BOOT_LIMIT)?;
    arm.wait_for_line("Start HTTP Boot over IPv4", BOOT_LIMIT)?;
    arm.wait_for_line("bootd-init", INSTALL_LIMIT)?;
    say("arm: falls back from a slot that cannot be loaded; without a slot boots by HTTP");
    bench
        .edit("UPDATE network SET boot_by = NULL WHERE name = 'lab'")
        .map(drop)
}

/// Cuts the power, sets what GRUB starts next, and switches the machine on.
fn restart_with(node: &mut Node, state: LoaderState) -> Result<()> {
    node.cut_power(CutPolicy::LoseAll, 0);
    // Files lie at the same place on all disks of one size.
    let layout = Layout::new(node.disk().size(), &[0; 16])?;
    let grubenv = layout.file(EspFile::Grubenv).offset;
    node.disk().write_durable(grubenv, &state.encode());
    node.power_on(|_| {})
}
