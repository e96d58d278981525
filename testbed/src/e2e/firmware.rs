//! Every way that firmware loads by: UEFI HTTP boot, iPXE first, beside another DHCP server, U-Boot;
//! and machines whose firmware asks the network before the disk, at every start.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use bootd_protocol::identity::Firmware;

use super::bench::{BOOT_LIMIT, Bench, INSTALL_LIMIT, say};
use super::clients::{CARD, Programs, Station};
use super::u_boot;
use crate::cluster::node::Node;
use crate::lab::{BRIDGE, GATEWAY, Lab};

/// By then its boot image has been loaded, and `init` has the master's word.
const INSTALLS: &str = "the master says install";

/// More than a disk's loader has, in bytes, and less than a boot image.
const LOADER: u64 = 2 << 20;

pub(super) fn run(lab: &mut Lab, bench: &mut Bench) -> Result<()> {
    let mut nodes = [
        bench.node(lab, "first-bios", Firmware::Bios, 41)?,
        bench.node(lab, "first-uefi", Firmware::Uefi, 42)?,
    ];
    network_first(bench, &mut nodes)?;
    let mut blank = [
        bench.node(lab, "blank-bios", Firmware::Bios, 43)?,
        bench.node(lab, "blank-uefi", Firmware::Uefi, 44)?,
    ];
    ipxe_first(bench, &mut blank[1])?;
    beside_another_server(bench, &mut blank)?;
    u_boot::run(bench, &mut nodes[0])
}

/// Installed by HTTP alone where the firmware can; sent to their disks at every start after that,
/// each in the words of its firmware.
fn network_first(bench: &Bench, nodes: &mut [Node; 2]) -> Result<()> {
    bench.edit("UPDATE network SET boot_by = 'http' WHERE name = 'lab'")?;
    let before = bench.numbers()?;
    for node in nodes.iter_mut() {
        node.ask_network_first();
        node.power_on(|_| {})?;
    }
    for node in nodes.iter_mut() {
        node.wait_for_line("restarting from the local disk", INSTALL_LIMIT)?;
    }
    let after = bench.numbers()?;
    ensure!(
        after.tftp == before.tftp,
        "boot_by is http: {} bytes by TFTP",
        after.tftp - before.tftp
    );
    for node in nodes.iter_mut() {
        node.wait_for_line("ready:", BOOT_LIMIT)?;
        bench.check_page(node, "1.0")?;
    }
    say("network first: iPXE and UEFI HTTP boot install, and start from their disks");

    bench.edit("UPDATE network SET boot_by = NULL WHERE name = 'lab'")?;
    let before = bench.numbers()?;
    for node in nodes.iter_mut() {
        node.reset()?;
    }
    for node in nodes.iter_mut() {
        node.wait_for_line("verified as", BOOT_LIMIT)?;
        node.wait_for_line("ready:", BOOT_LIMIT)?;
    }
    let after = bench.numbers()?;
    let (tftp, http) = (after.tftp - before.tftp, after.http - before.http);
    ensure!(
        tftp < LOADER && http < LOADER,
        "sent to the disk: {tftp} bytes by TFTP, {http} by HTTP"
    );
    say(format_args!(
        "network first: a script and a loader of {tftp} bytes send them to their disks"
    ));
    Ok(())
}

/// UEFI loads iPXE by TFTP, which loads the rest by HTTP: with its own drivers, and on the
/// firmware's.
fn ipxe_first(bench: &Bench, node: &mut Node) -> Result<()> {
    for loader in ["ipxe.efi", "snponly.efi"] {
        bench.edit(&format!(
            "UPDATE network SET uefi_loader = '{loader}' WHERE name = 'lab'"
        ))?;
        node.power_on(|_| {})?;
        // Firmware that is refused one file tries another way: only the script is iPXE's own.
        node.wait_for_line(&format!("NBP filename is ipxe/{loader}"), BOOT_LIMIT)?;
        node.wait_for_line("bootd: starting boot image", BOOT_LIMIT)?;
        node.wait_for_line(INSTALLS, INSTALL_LIMIT)?;
        node.power_off();
        bench.logged(&format!("loads {loader} first"), 1)?;
        say(format_args!("UEFI loads {loader}, and that the boot image"));
    }
    bench
        .edit("UPDATE network SET uefi_loader = NULL WHERE name = 'lab'")
        .map(drop)
}

/// dnsmasq gives the addresses, bootd says what to boot, and `init` finds it there.
fn beside_another_server(bench: &Bench, nodes: &mut [Node; 2]) -> Result<()> {
    let programs = Programs::new(&bench.work_dir, &bench.logs.join("firmware"))?;
    let [a, b, c, _] = GATEWAY.octets();
    let host = |number| Ipv4Addr::new(a, b, c, number);
    let server = Station::new(BRIDGE, 40)?;
    server.address(CARD, host(2))?;
    bench.edit("UPDATE network SET mode = 'proxy' WHERE name = 'lab'")?;
    let _dnsmasq = programs.dnsmasq(&server, host(200), host(249))?;
    for node in nodes.iter_mut() {
        node.power_on(|_| {})?;
    }
    for node in nodes.iter_mut() {
        node.wait_for_line(INSTALLS, INSTALL_LIMIT)?;
        let address = bench.row(node)?.address.context("it has an address")?;
        let address: Ipv4Addr = address.parse()?;
        ensure!(
            (host(200)..=host(249)).contains(&address),
            "{}: {address} is not one of the other server's",
            node.name()
        );
        say(format_args!(
            "{}: {address} from dnsmasq, all else from bootd",
            node.name()
        ));
        node.power_off();
    }
    bench
        .edit("UPDATE network SET mode = 'full' WHERE name = 'lab'")
        .map(drop)
}
