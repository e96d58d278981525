//! Recognising a disk: what it is, and how far an installation got.

use super::device::{self, Device, DiskError};
use super::gpt::{Gpt, Header};
use super::grubenv::{LoaderState, Slot};
use super::layout::{Layout, MIN_DISK};
use super::slot::loader_state;
use super::{SECTOR, SECTOR_U64, mbr};

/// Bytes at the start of a disk that must be zero for it to count as blank.
const BLANK_HEAD: usize = 4 * 1024 * 1024;

/// The same at its end.
const BLANK_TAIL: usize = 1024 * 1024;

const BLANK_TAIL_U64: u64 = 1024 * 1024;

/// What a disk is to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskState {
    /// The first 4 MiB and the last 1 MiB are zero: nobody's.
    Blank,
    /// Somebody's: not to be overwritten unless the node's class says so.
    Foreign {
        /// What was seen, for people.
        what: String,
    },
    /// Ours, but cut off while it was prepared: prepare it again.
    Preparing,
    /// Ours.
    Prepared(Box<Prepared>),
    /// No room.
    TooSmall {
        /// Its size in bytes.
        bytes: u64,
        /// The smallest size that will do, in bytes.
        needed: u64,
    },
    /// Logical blocks that are not of 512 bytes.
    BadSectorSize {
        /// Its logical block in bytes.
        bytes: u64,
    },
}

/// A disk with our partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Where everything is.
    pub layout: Layout,
    /// What the loader will do.
    pub loader: LoaderState,
    /// Whether UEFI can start the loader.
    pub starts_by_uefi: bool,
    /// Whether BIOS can start the loader.
    pub starts_by_bios: bool,
}

impl Prepared {
    /// The slot whose first commit was cut off half-way: its contents are whole, and
    /// [`commit_first`](super::commit_first) must be run for it again.
    #[must_use]
    pub fn unfinished_commit(&self) -> Option<Slot> {
        let whole = self.starts_by_bios && self.starts_by_uefi;
        self.loader.slot.filter(|_| !whole)
    }
}

/// Looks at a disk; writes nothing.
///
/// # Errors
/// [`DiskError::Io`] when it cannot be read.
pub fn recognise(device: &mut dyn Device) -> Result<DiskState, DiskError> {
    if device.sector_size() != SECTOR_U64 {
        let bytes = device.sector_size();
        return Ok(DiskState::BadSectorSize { bytes });
    }
    if device.size() < MIN_DISK {
        return Ok(DiskState::TooSmall {
            bytes: device.size(),
            needed: MIN_DISK,
        });
    }
    let lba0 = device::read_sector(device, 0)?;
    let gpt = read_gpt(device)?;
    let ours = mbr::is_protective(&lba0).then(|| mbr::signature(&lba0));
    match (ours, gpt) {
        (Some(mbr::PREPARING), gpt) => preparing(device, gpt),
        (Some(mbr::PREPARED), Some(gpt)) => prepared(device, &lba0, gpt),
        (Some(mbr::PREPARED), None) => Ok(foreign(
            "a bootd disk whose partition tables are both damaged",
        )),
        (_, Some(gpt)) => Ok(foreign(&describe_gpt(&gpt))),
        (_, None) => without_gpt(device, &lba0),
    }
}

/// A table that is not ours below our mark: the disk was somebody's a moment ago, or became so
/// again by a tool that kept the mark. Either way its owner is asked again.
fn preparing(device: &dyn Device, gpt: Option<Gpt>) -> Result<DiskState, DiskError> {
    match gpt {
        Some(gpt) if Layout::from_gpt(device.size(), gpt.clone()).is_none() => {
            Ok(foreign(&describe_gpt(&gpt)))
        }
        Some(_) | None => Ok(DiskState::Preparing),
    }
}

fn prepared(
    device: &mut dyn Device,
    lba0: &[u8; SECTOR],
    gpt: Gpt,
) -> Result<DiskState, DiskError> {
    let what = describe_gpt(&gpt);
    let Some(layout) = Layout::from_gpt(device.size(), gpt) else {
        return Ok(foreign(&what));
    };
    let boot_sector = device::read_sector(device, layout.esp().offset)?;
    Ok(DiskState::Prepared(Box::new(Prepared {
        loader: loader_state(device, &layout)?,
        starts_by_uefi: boot_sector == layout.volume().boot_sector(),
        starts_by_bios: mbr::has_boot_code(lba0),
        layout,
    })))
}

/// The primary table, or the backup where the primary is damaged.
fn read_gpt(device: &mut dyn Device) -> Result<Option<Gpt>, DiskError> {
    let last = device.size() / SECTOR_U64 - 1;
    for lba in [1, last] {
        let sector = device::read_sector(device, lba * SECTOR_U64)?;
        let Some(header) = Header::parse(&sector, lba) else {
            continue;
        };
        let (offset, length) = header.entries();
        let length_u64 = u64::try_from(length).unwrap_or(u64::MAX);
        if offset.saturating_add(length_u64) > device.size() {
            continue;
        }
        let mut entries = vec![0; length];
        device::read(device, offset, &mut entries)?;
        if let Some(gpt) = header.parse_entries(&entries) {
            return Ok(Some(gpt));
        }
    }
    Ok(None)
}

fn without_gpt(device: &mut dyn Device, lba0: &[u8; SECTOR]) -> Result<DiskState, DiskError> {
    let mut head = vec![0; BLANK_HEAD];
    device::read(device, 0, &mut head)?;
    if let Some(offset) = first_used(&head) {
        let types = mbr::partition_types(lba0);
        let unknown = || format!("unknown data at byte {offset}");
        let what = describe_magic(&head)
            .map(str::to_owned)
            .or_else(|| describe_mbr(&types));
        return Ok(foreign(&what.unwrap_or_else(unknown)));
    }
    let mut tail = vec![0; BLANK_TAIL];
    let start = device.size() - BLANK_TAIL_U64;
    device::read(device, start, &mut tail)?;
    Ok(first_used(&tail).map_or(DiskState::Blank, |_| foreign("unknown data at its end")))
}

/// The first byte that is not zero.
fn first_used(bytes: &[u8]) -> Option<usize> {
    // Whole sectors are compared at once: megabytes must not take long, even unoptimised.
    let sector = bytes
        .chunks(SECTOR)
        .position(|sector| *sector != [0; SECTOR][..sector.len()])?;
    let start = sector * SECTOR;
    let within = bytes[start..].iter().position(|byte| *byte != 0)?;
    Some(start + within)
}

fn foreign(what: &str) -> DiskState {
    DiskState::Foreign {
        what: what.to_owned(),
    }
}

/// Partitions that are named: a table may hold thousands, and this goes to a screen.
const MOST_NAMES: usize = 8;

fn describe_gpt(gpt: &Gpt) -> String {
    let names = gpt.partitions.iter().map(|partition| {
        if partition.name.is_empty() {
            format!("type {}", partition.kind)
        } else {
            format!("{:?}", partition.name)
        }
    });
    let names: Vec<String> = names.take(MOST_NAMES).collect();
    if names.is_empty() {
        return "an empty GUID partition table".to_owned();
    }
    let more = match gpt.partitions.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("a GUID partition table with {}{more}", names.join(", "))
}

fn describe_mbr(types: &[u8]) -> Option<String> {
    let types: Vec<String> = types.iter().map(|kind| format!("{kind:02x}")).collect();
    (!types.is_empty()).then(|| format!("an MBR with partitions of type {}", types.join(", ")))
}

/// File systems and volumes that fill a whole disk: where their mark is, and what it is.
const MAGICS: [(usize, &[u8], &str); 10] = [
    (0x438, &[0x53, 0xef], "an ext2, ext3 or ext4 file system"),
    (0, b"XFSB", "an XFS file system"),
    (0x10040, b"_BHRfS_M", "a Btrfs file system"),
    (0x200, b"LABELONE", "an LVM physical volume"),
    (3, b"NTFS    ", "an NTFS file system"),
    (0, b"LUKS\xba\xbe", "a LUKS encrypted volume"),
    (4086, b"SWAPSPACE2", "swap space"),
    (4096, &[0xfc, 0x4e, 0x2b, 0xa9], "a member of a Linux RAID"),
    (82, b"FAT32   ", "a FAT32 file system"),
    (0x8001, b"CD001", "an ISO 9660 image"),
];

fn describe_magic(head: &[u8]) -> Option<&'static str> {
    let found = MAGICS
        .iter()
        .find(|(offset, magic, _)| head.get(*offset..).is_some_and(|it| it.starts_with(magic)));
    found.map(|(_, _, name)| *name)
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
