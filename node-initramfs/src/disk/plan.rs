//! The steps of every change, as data: what is written, and where it must have reached the disk
//! before the next begins.

use super::fat32::Volume;
use super::gpt::TableBytes;
use super::grubenv::{LoaderState, Slot};
use super::layout::{EspFile, Layout};
use super::mbr::{self, BOOT_CODE, PREPARED, PREPARING};
use super::{SECTOR, SECTOR_U64};

/// The boot loader, as `boot-image` builds it.
#[derive(Debug, Clone, Copy)]
pub struct LoaderBlobs<'a> {
    /// GRUB for UEFI: at most 4 MiB.
    pub efi: &'a [u8],
    /// The boot code for LBA 0; it loads the core image from LBA 2048.
    pub bios_boot: &'a [u8; BOOT_CODE],
    /// GRUB's core image: at most 1 MiB.
    pub bios_core: &'a [u8],
}

/// One step of a change.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    /// Write these bytes at this offset (in bytes).
    Write {
        /// What they are, for messages.
        what: &'static str,
        /// Where.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Wait until all writes so far survive a power cut, and see that they read back.
    Flush,
    /// Make the data partition's file system.
    MakeData,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::Write {
                what,
                offset,
                bytes,
            } => write!(f, "Write({what} at {offset}, {} bytes)", bytes.len()),
            Step::Flush => f.write_str("Flush"),
            Step::MakeData => f.write_str("MakeData"),
        }
    }
}

fn write(what: &'static str, offset: u64, bytes: impl Into<Vec<u8>>) -> Step {
    Step::Write {
        what,
        offset,
        bytes: bytes.into(),
    }
}

/// Makes a disk ours: partitions, file systems, loader; nothing to start yet.
///
/// The first flush makes the disk say "being prepared", and with that nothing else on it counts
/// until the last one. Between them the disk cannot start: a first sector of the EFI system
/// partition that an earlier life left behind goes before anything that it could lead to.
#[must_use]
pub fn prepare(layout: &Layout, loader: &LoaderBlobs<'_>) -> Vec<Step> {
    let sectors = layout.sectors();
    let mut steps = vec![
        write("LBA 0", 0, mbr::without_boot_code(PREPARING, sectors)),
        Step::Flush,
        write("EFI boot sector", layout.esp().offset, [0; SECTOR]),
        Step::Flush,
    ];
    steps.extend(table(layout.gpt().primary(sectors)));
    steps.extend(table(layout.gpt().backup(sectors)));
    steps.extend([Step::Flush, Step::MakeData]);
    steps.extend(esp_metadata(layout, loader));
    steps.extend([
        write(
            "GRUB's core image",
            layout.bios().offset,
            whole_sectors(loader.bios_core),
        ),
        write(
            "GRUB for UEFI",
            layout.file(EspFile::Loader).offset,
            whole_sectors(loader.efi),
        ),
        write(
            "grubenv",
            layout.file(EspFile::Grubenv).offset,
            LoaderState::default().encode(),
        ),
        Step::Flush,
        write("LBA 0", 0, mbr::without_boot_code(PREPARED, sectors)),
        Step::Flush,
    ]);
    steps
}

fn whole_sectors(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
    bytes
}

fn table(bytes: TableBytes) -> [Step; 2] {
    [
        write(
            "partition entries",
            bytes.entries_lba * SECTOR_U64,
            bytes.entries,
        ),
        write(
            "partition table header",
            bytes.header_lba * SECTOR_U64,
            bytes.header,
        ),
    ]
}

fn esp_metadata(layout: &Layout, loader: &LoaderBlobs<'_>) -> Vec<Step> {
    let mut volume = layout.volume().clone();
    let size = u32::try_from(loader.efi.len()).unwrap_or(u32::MAX);
    volume.set_size(layout.entry(EspFile::Loader), size);
    let extents = volume.metadata().into_iter();
    let start = layout.esp().offset;
    extents
        .map(|(offset, bytes)| write("EFI system partition", start + offset, bytes))
        .collect()
}

/// Sizes of a slot's files in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotSizes {
    /// Of the kernel.
    pub linux: u32,
    /// Of the initramfs.
    pub initrd: u32,
    /// Of `slot.cfg`.
    pub config: u32,
}

/// Gives a slot's files these sizes, all in one sector. Sizes of 0 make the slot one that the
/// loader cannot start, so half-written contents never run.
#[must_use]
pub fn set_slot_sizes(layout: &Layout, slot: Slot, sizes: SlotSizes) -> Vec<Step> {
    let mut volume: Volume = layout.volume().clone();
    volume.set_size(layout.entry(EspFile::Linux(slot)), sizes.linux);
    volume.set_size(layout.entry(EspFile::Initrd(slot)), sizes.initrd);
    volume.set_size(layout.entry(EspFile::Config(slot)), sizes.config);
    let (offset, sector) = volume.entry_sector(layout.entry(EspFile::Linux(slot)));
    let offset = layout.esp().offset + offset;
    vec![write("the slot's directory", offset, sector), Step::Flush]
}

/// Changes what the loader starts next, in one sector.
#[must_use]
pub fn set_loader_state(layout: &Layout, state: LoaderState) -> Vec<Step> {
    let offset = layout.file(EspFile::Grubenv).offset;
    let sector = &state.encode()[..SECTOR];
    vec![write("grubenv", offset, sector), Step::Flush]
}

/// Makes a prepared disk start from a slot whose contents have been flushed: for the loader, then
/// for UEFI, then for BIOS. Run again after a cut, it ends the same.
#[must_use]
pub fn commit_first(layout: &Layout, slot: Slot, boot_code: &[u8; BOOT_CODE]) -> Vec<Step> {
    let mut steps = set_loader_state(layout, LoaderState::commit_first(slot));
    let lba0 = mbr::with_boot_code(PREPARED, layout.sectors(), boot_code);
    let boot_sector = layout.volume().boot_sector();
    steps.extend([
        write("EFI boot sector", layout.esp().offset, boot_sector),
        Step::Flush,
        write("LBA 0", 0, lba0),
        Step::Flush,
    ]);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(steps: &[Step]) -> Vec<String> {
        let mut names: Vec<String> = steps.iter().map(|step| format!("{step:?}")).collect();
        names.dedup();
        names
    }

    fn layout() -> Layout {
        Layout::new(1 << 30, &[9; 16]).expect("large enough")
    }

    #[test]
    fn preparing_in_order() {
        let loader = LoaderBlobs {
            efi: &[1; 700],
            bios_boot: &[2; BOOT_CODE],
            bios_core: &[3; 900],
        };
        let names = names(&prepare(&layout(), &loader));
        let esp = 2 << 20;
        let expected = [
            "Write(LBA 0 at 0, 512 bytes)".to_owned(),
            "Flush".to_owned(),
            format!("Write(EFI boot sector at {esp}, 512 bytes)"),
            "Flush".to_owned(),
            "Write(partition entries at 1024, 16384 bytes)".to_owned(),
            "Write(partition table header at 512, 512 bytes)".to_owned(),
            format!(
                "Write(partition entries at {}, 16384 bytes)",
                (1 << 30) - 33 * 512
            ),
            format!(
                "Write(partition table header at {}, 512 bytes)",
                (1 << 30) - 512
            ),
            "Flush".to_owned(),
            "MakeData".to_owned(),
        ];
        assert_eq!(names[..expected.len()], expected);
        let tail = [
            "Flush".to_owned(),
            "Write(LBA 0 at 0, 512 bytes)".to_owned(),
            "Flush".to_owned(),
        ];
        assert_eq!(names[names.len() - 3..], tail);
        let boot_sector = format!("Write(EFI system partition at {esp}, ");
        assert!(!names.iter().any(|name| name.starts_with(&boot_sector)));
    }

    #[test]
    fn the_first_commit_in_order() {
        let steps = commit_first(&layout(), Slot::A, &[2; BOOT_CODE]);
        let grubenv = layout().file(EspFile::Grubenv).offset;
        let expected = [
            format!("Write(grubenv at {grubenv}, 512 bytes)"),
            "Flush".to_owned(),
            "Write(EFI boot sector at 2097152, 512 bytes)".to_owned(),
            "Flush".to_owned(),
            "Write(LBA 0 at 0, 512 bytes)".to_owned(),
            "Flush".to_owned(),
        ];
        assert_eq!(names(&steps), expected);
    }
}
