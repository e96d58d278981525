//! What the kernel tells through its file systems: command line, firmware, board, cards, disks.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::{Arch, Firmware, Mac, SystemUuid};
use bootd_protocol::smbios::{self, Smbios};
use bootd_protocol::verify::message::BootedFrom;

/// So much of the SMBIOS table is read: many times what machines have.
const MAX_SMBIOS_TABLE: u64 = 1 << 20;

/// The kernel command line, as far as it is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// `bootd.slot=a|b`, which the disk's boot loader adds; else the network.
    pub booted_from: BootedFrom,
    /// `bootd.trial=BOOT,IMAGE`, where init itself has started this kernel for a test: the number of
    /// this boot, and the boot image that the kernel is of.
    pub trial: Option<(u64, Digest)>,
}

impl CommandLine {
    /// Finds our words among the others.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let value = |key| {
            let mut words = text.split_ascii_whitespace();
            words.find_map(|it| it.strip_prefix(key))
        };
        let booted_from = value("bootd.slot=").and_then(|it| it.parse().ok());
        let trial = value("bootd.trial=").and_then(|it| it.split_once(','));
        let trial = trial.and_then(|(boot, image)| boot.parse().ok().zip(image.parse().ok()));
        CommandLine {
            booted_from: booted_from.unwrap_or(BootedFrom::Network),
            trial,
        }
    }

    /// Our words for the kernel of a test.
    #[must_use]
    pub fn for_trial(booted_from: BootedFrom, boot: u64, image: Digest) -> String {
        let slot = match booted_from {
            BootedFrom::Network => String::new(),
            BootedFrom::SlotA | BootedFrom::SlotB => format!(" bootd.slot={booted_from}"),
        };
        format!("{slot} bootd.trial={boot},{image}")
    }

    /// The running kernel's.
    #[must_use]
    pub fn read() -> Self {
        CommandLine::parse(&text("/proc/cmdline"))
    }
}

/// How this machine starts: a PC without UEFI has a BIOS. Others have UEFI, though U-Boot may have
/// started this kernel without it.
#[must_use]
pub fn firmware() -> Firmware {
    if cfg!(not(target_arch = "x86_64")) || Path::new("/sys/firmware/efi").exists() {
        Firmware::Uefi
    } else {
        Firmware::Bios
    }
}

/// The processor this program was built for.
#[must_use]
pub const fn arch() -> Arch {
    if cfg!(target_arch = "aarch64") {
        Arch::Aarch64
    } else if cfg!(target_arch = "riscv64") {
        Arch::Riscv64
    } else {
        Arch::X86_64
    }
}

/// The board's UUID; all zeros where it has none.
#[must_use]
pub fn system_uuid() -> SystemUuid {
    text("/sys/class/dmi/id/product_uuid")
        .to_ascii_lowercase()
        .parse()
        .unwrap_or(SystemUuid([0; 16]))
}

/// What the board says of itself.
#[must_use]
pub fn smbios() -> Smbios {
    let said = |field: &str| smbios::meant(&text(&format!("/sys/class/dmi/id/{field}"))).to_owned();
    Smbios {
        product: said("product_name"),
        vendor: said("sys_vendor"),
        serial: said("product_serial"),
        chassis: said("chassis_serial"),
        slot: slot(),
    }
}

/// The one text that the kernel does not take out of the table by itself.
fn slot() -> String {
    let mut table = Vec::new();
    if let Ok(file) = File::open("/sys/firmware/dmi/tables/DMI") {
        // What cannot be read is not there: the parser takes what is whole.
        let _ = file.take(MAX_SMBIOS_TABLE).read_to_end(&mut table);
    }
    smbios::slot(&table).to_owned()
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its name (`eth0`).
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its address.
    pub mac: Mac,
}

/// The Ethernet cards, by name.
#[must_use]
pub fn cards() -> Vec<Card> {
    const ARPHRD_ETHER: &str = "1";
    let card = |name: String| {
        let field = |field: &str| text(&format!("/sys/class/net/{name}/{field}"));
        let ethernet = field("type") == ARPHRD_ETHER;
        let (index, mac) = (
            field("ifindex").parse().ok()?,
            field("address").parse().ok()?,
        );
        ethernet.then_some(Card { name, index, mac })
    };
    names("/sys/class/net")
        .into_iter()
        .filter_map(card)
        .collect()
}

/// Whether the card, which has been brought up, has a link to its peer.
#[must_use]
pub fn has_link(card: &str) -> bool {
    text(&format!("/sys/class/net/{card}/carrier")) == "1"
}

/// The names of the disks that could be installed on: writable, not removable, not virtual.
#[must_use]
pub fn disks() -> Vec<String> {
    let mut disks = names("/sys/block");
    disks.retain(|name| {
        let field = |field: &str| text(&format!("/sys/block/{name}/{field}"));
        let real = Path::new(&format!("/sys/block/{name}/device")).exists();
        real && field("removable") == "0" && field("ro") == "0" && field("size") != "0"
    });
    disks
}

/// The name of a partition's device: `vda3`, `nvme0n1p3`.
#[must_use]
pub fn partition(disk: &str, number: u8) -> String {
    let separator = if disk.ends_with(|it: char| it.is_ascii_digit()) {
        "p"
    } else {
        ""
    };
    format!("{disk}{separator}{number}")
}

/// Memory of this process that is in RAM, in KiB (`VmRSS`, proc(5)); 0 if it cannot be read.
#[must_use]
pub fn resident_kib() -> u64 {
    kib("/proc/self/status", "VmRSS:")
}

/// Memory that is to be had, in KiB (`MemAvailable`, proc(5)); 0 if it cannot be read.
#[must_use]
pub fn available_kib() -> u64 {
    kib("/proc/meminfo", "MemAvailable:")
}

fn kib(file: &str, field: &str) -> u64 {
    let text = text(file);
    let line = text.lines().find_map(|it| it.strip_prefix(field));
    line.and_then(|it| it.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

fn text(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn names(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|it| it.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_names_the_slot() {
        let from = |text| CommandLine::parse(text).booted_from;
        assert_eq!(
            from("console=ttyS0 panic=10 bootd.slot=b\n"),
            BootedFrom::SlotB
        );
        assert_eq!(from("console=ttyS0 bootd.slot=c"), BootedFrom::Network);
        assert_eq!(from(""), BootedFrom::Network);
        let image = Digest::of(b"image");
        for slot in [BootedFrom::SlotA, BootedFrom::Network] {
            let words = CommandLine::for_trial(slot, 7, image);
            let line = CommandLine::parse(&format!("console=ttyS0{words}"));
            assert_eq!(
                (line.booted_from, line.trial),
                (slot, Some((7, image))),
                "{words}"
            );
        }
        assert_eq!(CommandLine::parse("bootd.trial=x,y").trial, None);
    }

    #[test]
    fn partitions_are_named_as_the_kernel_does() {
        assert_eq!(partition("vda", 3), "vda3");
        assert_eq!(partition("nvme0n1", 2), "nvme0n1p2");
    }
}
