//! U-Boot, which asks TFTP for a configuration under its own name: the build for x86 of Debian's
//! package u-boot-qemu, whose commands are typed at its console.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::bench::{BOOT_LIMIT, Bench, say};
use crate::bench::debian;
use crate::cluster::node::Node;

/// How long a command may take, loading a kernel included.
const LIMIT: Duration = Duration::from_secs(60);

/// Finds the card. Nothing is loaded unasked.
const START: &str = "setenv autoload no; setenv pxefile_addr_r 3000000; pci enum; virtio scan";

/// Where the initramfs goes: farther up than by default (64 MiB), where the kernel unpacks itself.
const RAMDISK: &str = "8000000";

/// Brings the package; its build for x86.
pub(super) fn fetch(work_dir: &Path) -> Result<PathBuf> {
    let root = debian::unpacked(work_dir, "u-boot", &["u-boot-qemu"])?;
    Ok(root.join("usr/lib/u-boot/qemu-x86/u-boot.rom"))
}

/// A node that has been installed, and runs from its disk when its firmware is not U-Boot: it is
/// sent there, twice, and as nothing comes of that, it gets its boot image.
pub(super) fn run(bench: &Bench, node: &mut Node) -> Result<()> {
    node.power_off();
    node.take_u_boot(&fetch(&bench.work_dir)?);
    let before = bench.master.counter("tftp_configs")?;
    node.power_on(|_| {})?;
    stop_autoboot(node)?;
    node.type_line(&format!("{START}; dhcp; pxe get; pxe boot"))?;
    node.wait_for_line("DHCP client bound to address", LIMIT)?;
    let own = node.mac().to_string().replace(':', "-");
    node.wait_for_line(&format!("Retrieving file: pxelinux.cfg/01-{own}"), LIMIT)?;
    // What a board would have for its disk, and this one has not.
    node.wait_for_line("missing environment variable: localcmd", LIMIT)?;
    say("U-Boot: its configuration sends it to its disk");

    node.type_line("pxe get; pxe get; pxe boot")?;
    let initrd = node.wait_for_line("Retrieving file: /boot/", LIMIT)?;
    let linux = node.wait_for_line("Retrieving file: /boot/", LIMIT)?;
    node.wait_for_line("Starting kernel", LIMIT)?;
    let numbers = bench.numbers()?;
    let configs = bench.master.counter("tftp_configs")? - before;
    ensure!(configs == 3, "{configs} configurations, {numbers:?}");
    bench.logged("configuration: starts from its disk", 2)?;
    let [linux, initrd] = [file(&linux)?, file(&initrd)?];
    for part in [linux, initrd] {
        bench.logged(&format!("file=\"{part}\""), 1)?;
    }
    say("U-Boot: the next one loads kernel and initramfs of its boot image");
    by_hand(node, linux, initrd)
}

/// This build forgets how long the initramfs is (mended by its commit 1a075d4e0de), so that the
/// kernel finds none; typed, it is the same.
fn by_hand(node: &mut Node, linux: &str, initrd: &str) -> Result<()> {
    node.reset()?;
    stop_autoboot(node)?;
    node.type_line(&format!(
        "{START}; dhcp; setenv bootargs console=ttyS0; tftp ${{kernel_addr_r}} {linux}; \
         tftp {RAMDISK} {initrd}; zboot ${{kernel_addr_r}} 0 {RAMDISK} ${{filesize}}"
    ))?;
    node.wait_for_line("verified as", BOOT_LIMIT)?;
    node.power_off();
    say("U-Boot: they start, and the node is verified");
    Ok(())
}

fn stop_autoboot(node: &mut Node) -> Result<()> {
    node.wait_for_line("Net:", LIMIT)?;
    node.type_line("")?;
    node.wait_for_line("Hit any key to stop autoboot", LIMIT)?;
    Ok(())
}

/// The file in a line of `Retrieving file: /…`, as bootd's log has it.
fn file(line: &str) -> Result<&str> {
    let (_, name) = line.split_once(": /").context("a file's name")?;
    Ok(name)
}
