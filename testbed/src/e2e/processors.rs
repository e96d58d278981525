//! A class with two processor types: one release, one class, one rule, and two machines that have
//! nothing in common but the cable. Both install themselves and run the class's packages.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bootd_protocol::identity::{Arch, Firmware};
use node_initramfs::disk::{EspFile, Layout, LoaderState, Slot};

use super::bench::{BOOT_LIMIT, Bench, INSTALL_LIMIT, say};
use super::main_path;
use crate::cluster::node::Node;
use crate::cluster::release::FIRST;
use crate::inputs::{self, InputsError, Packages};
use crate::lab::Lab;
use crate::nbd::CutPolicy;
use crate::qemu::Model;

/// Brings the packages for aarch64.
pub(super) fn fetch(work: &Path) -> Result<Packages, InputsError> {
    inputs::fetch_aarch64(&work.join("debs"), &work.join("apt-arm64"))
}

pub(super) fn run(lab: &mut Lab, bench: &mut Bench) -> Result<()> {
    let mut workshop = bench.workshop()?;
    workshop.add(fetch(&bench.work_dir)?);
    let release = workshop.compose(FIRST)?;
    bench.change(|| bench.master.install(&release).map(drop))?;
    for arch in [Arch::X86_64, Arch::Aarch64] {
        explained(bench, arch, &["--mac=02:00:00:00:00:01", "--firmware=uefi"])?;
    }
    say("one class has an image and packages for x86_64 and for aarch64");

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
    main_path::warm_boot(bench, &mut nodes)?;
    for (node, arch) in nodes.iter().zip([Arch::X86_64, Arch::Aarch64]) {
        runs_what_was_explained(bench, node, arch)?;
    }
    let [_, arm] = &mut nodes;
    loader(bench, arm)
}

/// The manifest that a machine of this kind is given, by the catalog's own words.
fn explained(bench: &Bench, arch: Arch, which: &[&str]) -> Result<String> {
    let arch_option = format!("--arch={arch}");
    let mut arguments = vec!["explain", &arch_option];
    arguments.extend(which);
    let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    let told = bench.master.catalog(&arguments)?;
    for wanted in [
        format!("Packages for {arch} (table class_package), first wins:\n"),
        format!("Boot image for {arch}: debian 1 (table class_image).\n"),
    ] {
        ensure!(told.contains(&wanted), "{told} has no {wanted}");
    }
    let builds: Vec<&str> = told.lines().filter_map(|line| build(line)).collect();
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

fn runs_what_was_explained(bench: &Bench, node: &Node, arch: Arch) -> Result<()> {
    let row = bench.row(node)?;
    let manifest = explained(bench, arch, &[&row.name])?;
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
