//! Where everything is on a disk.

use bootd_protocol::identity::Arch;

use super::SECTOR_U64;
use super::fat32::{FatError, File, FileSpec, Volume};
use super::gpt::{Gpt, Partition, TYPE_BIOS_BOOT, TYPE_DATA, TYPE_ESP, last_usable};
use super::grubenv::{BLOCK, Slot};
use super::guid::Guid;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// The smallest disk that will do, in bytes.
pub const MIN_DISK: u64 = 1024 * MIB;

const BIOS: Extent = Extent {
    offset: MIB,
    length: MIB,
};

const ESP: Extent = Extent {
    offset: 2 * MIB,
    length: 512 * MIB,
};

/// Partitions begin and end on multiples of this, in bytes.
const ALIGNMENT: u64 = MIB;

const ESP_LABEL: &[u8; 11] = b"BOOTD-ESP  ";

/// A part of a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

impl Extent {
    fn first_lba(self) -> u64 {
        self.offset / SECTOR_U64
    }

    fn last_lba(self) -> u64 {
        (self.offset + self.length) / SECTOR_U64 - 1
    }

    fn of(partition: &Partition) -> Option<Self> {
        let sectors = partition.last_lba.checked_sub(partition.first_lba)?;
        let extent = Extent {
            offset: partition.first_lba.checked_mul(SECTOR_U64)?,
            length: sectors.checked_add(1)?.checked_mul(SECTOR_U64)?,
        };
        extent.offset.checked_add(extent.length)?;
        Some(extent)
    }
}

/// A file of the EFI system partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EspFile {
    /// GRUB for UEFI.
    Loader,
    /// GRUB's environment block.
    Grubenv,
    /// A slot's kernel.
    Linux(Slot),
    /// A slot's initramfs.
    Initrd(Slot),
    /// A slot's command line, as GRUB script.
    Config(Slot),
}

impl EspFile {
    /// Every file, in the order in which they lie on the disk.
    pub const ALL: [EspFile; 8] = [
        EspFile::Loader,
        EspFile::Grubenv,
        EspFile::Linux(Slot::A),
        EspFile::Initrd(Slot::A),
        EspFile::Config(Slot::A),
        EspFile::Linux(Slot::B),
        EspFile::Initrd(Slot::B),
        EspFile::Config(Slot::B),
    ];

    /// Its path within the partition.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            EspFile::Loader => loader_path(crate::kernel::arch()),
            EspFile::Grubenv => "/bootd/grubenv",
            EspFile::Linux(Slot::A) => "/bootd/a/linux",
            EspFile::Linux(Slot::B) => "/bootd/b/linux",
            EspFile::Initrd(Slot::A) => "/bootd/a/initrd",
            EspFile::Initrd(Slot::B) => "/bootd/b/initrd",
            EspFile::Config(Slot::A) => "/bootd/a/slot.cfg",
            EspFile::Config(Slot::B) => "/bootd/b/slot.cfg",
        }
    }

    /// The room that it has, in bytes.
    #[must_use]
    pub const fn capacity(self) -> u64 {
        match self {
            EspFile::Loader => 4 * MIB,
            EspFile::Grubenv => KIB,
            EspFile::Linux(_) => 64 * MIB,
            EspFile::Initrd(_) => 160 * MIB,
            EspFile::Config(_) => 4 * KIB,
        }
    }
}

/// What firmware of `arch` starts from a disk that it knows nothing of (UEFI 2.10, section
/// 3.5.1.1).
const fn loader_path(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "/EFI/BOOT/BOOTX64.EFI",
        Arch::Aarch64 => "/EFI/BOOT/BOOTAA64.EFI",
        Arch::Riscv64 => "/EFI/BOOT/BOOTRISCV64.EFI",
    }
}

/// Why there is no layout for a disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The disk is too small.
    #[error("{bytes} bytes are too few, at least {needed} are needed")]
    TooSmall {
        /// The disk's size in bytes.
        bytes: u64,
        /// The smallest size that will do, in bytes.
        needed: u64,
    },
    /// The files do not fit the EFI system partition.
    #[error(transparent)]
    Fat(#[from] FatError),
}

/// Where everything is on one disk. Two layouts of one size from one seed are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    sectors: u64,
    gpt: Gpt,
    bios: Extent,
    esp: Extent,
    data: Extent,
    volume: Volume,
}

impl Layout {
    /// For a disk of `bytes` bytes; all GUIDs come from the 16 random bytes of `seed`.
    ///
    /// # Errors
    /// [`LayoutError::TooSmall`] below 1 GiB.
    pub fn new(bytes: u64, seed: &[u8; 16]) -> Result<Self, LayoutError> {
        if bytes < MIN_DISK {
            return Err(LayoutError::TooSmall {
                bytes,
                needed: MIN_DISK,
            });
        }
        let sectors = bytes / SECTOR_U64;
        let begin = ESP.offset + ESP.length;
        let end = (last_usable(sectors) + 1) * SECTOR_U64 / ALIGNMENT * ALIGNMENT;
        let data = Extent {
            offset: begin,
            length: end - begin,
        };
        let partition = |index, kind, name: &str, extent: Extent| Partition {
            kind,
            unique: Guid::derive(seed, index),
            first_lba: extent.first_lba(),
            last_lba: extent.last_lba(),
            name: name.to_owned(),
        };
        let gpt = Gpt {
            disk: Guid::derive(seed, 0),
            partitions: vec![
                partition(1, TYPE_BIOS_BOOT, "bootd-bios", BIOS),
                partition(2, TYPE_ESP, "bootd-esp", ESP),
                partition(3, TYPE_DATA, "bootd-data", data),
            ],
        };
        Ok(Layout {
            sectors,
            volume: volume(&gpt, ESP)?,
            gpt,
            bios: BIOS,
            esp: ESP,
            data,
        })
    }

    /// From the partition table of a disk of `bytes` bytes; `None` when that is not ours.
    /// The disk may have grown since it was prepared.
    #[must_use]
    pub fn from_gpt(bytes: u64, gpt: Gpt) -> Option<Self> {
        let [bios, esp, data] = gpt.partitions.as_slice() else {
            return None;
        };
        let kinds = [bios.kind, esp.kind, data.kind];
        let [bios, esp, data] = [bios, esp, data].map(Extent::of);
        let ours = kinds == [TYPE_BIOS_BOOT, TYPE_ESP, TYPE_DATA]
            && bios? == BIOS
            && esp? == ESP
            && data?.offset >= ESP.offset + ESP.length
            && data?.offset + data?.length <= bytes;
        if !ours {
            return None;
        }
        Some(Layout {
            sectors: bytes / SECTOR_U64,
            volume: volume(&gpt, ESP).ok()?,
            gpt,
            bios: BIOS,
            esp: ESP,
            data: data?,
        })
    }

    /// Sectors of 512 bytes on the whole disk.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// The partition table.
    #[must_use]
    pub fn gpt(&self) -> &Gpt {
        &self.gpt
    }

    /// The partition with GRUB's core image.
    #[must_use]
    pub fn bios(&self) -> Extent {
        self.bios
    }

    /// The EFI system partition.
    #[must_use]
    pub fn esp(&self) -> Extent {
        self.esp
    }

    /// The data partition, the table's third.
    #[must_use]
    pub fn data(&self) -> Extent {
        self.data
    }

    /// The EFI system partition's file system; its offsets count from [`Layout::esp`]'s.
    #[must_use]
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Where a file's contents are on the disk; the length is its capacity.
    #[must_use]
    pub fn file(&self, file: EspFile) -> Extent {
        let entry = self.entry(file);
        Extent {
            offset: self.esp.offset + entry.offset,
            length: file.capacity(),
        }
    }

    /// A file's place in [`Layout::volume`].
    #[must_use]
    pub fn entry(&self, file: EspFile) -> &File {
        let index = EspFile::ALL.iter().position(|it| *it == file);
        &self.volume.files()[index.unwrap_or_default()]
    }
}

fn volume(gpt: &Gpt, esp: Extent) -> Result<Volume, FatError> {
    let [a, b, c, d, ..] = gpt.disk.0;
    let files = EspFile::ALL.map(|file| FileSpec {
        path: file.path().to_owned(),
        capacity: file.capacity(),
    });
    let mut volume = Volume::new(esp.length, [a, b, c, d], ESP_LABEL, &files)?;
    // The environment block has its full size from the beginning, and for ever.
    if let Some(file) = volume.file(EspFile::Grubenv.path()).cloned() {
        volume.set_size(&file, u32::try_from(BLOCK).unwrap_or_default());
    }
    Ok(volume)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_of_one_gibibyte() {
        let layout = Layout::new(MIN_DISK, &[3; 16]).expect("large enough");
        assert_eq!(layout.bios().offset, 2048 * 512);
        assert_eq!(
            layout.data(),
            Extent {
                offset: 514 * MIB,
                length: 509 * MIB
            }
        );
        let gpt = layout.gpt().clone();
        assert_eq!(Layout::from_gpt(MIN_DISK, gpt), Some(layout));
    }

    /// The name for riscv64 is too long for a volume of short names: there is no loader yet.
    #[test]
    fn the_loader_has_the_name_that_firmware_looks_for() {
        let x64 = "/EFI/BOOT/BOOTX64.EFI";
        let aa64 = "/EFI/BOOT/BOOTAA64.EFI";
        let riscv64 = "/EFI/BOOT/BOOTRISCV64.EFI";
        let bad_name = FatError::BadName {
            path: riscv64.to_owned(),
        };
        for (arch, path, error) in [
            (Arch::X86_64, x64, None),
            (Arch::Aarch64, aa64, None),
            (Arch::Riscv64, riscv64, Some(bad_name)),
        ] {
            assert_eq!(loader_path(arch), path);
            let file = FileSpec {
                path: path.to_owned(),
                capacity: EspFile::Loader.capacity(),
            };
            let volume = Volume::new(ESP.length, [1, 2, 3, 4], ESP_LABEL, &[file]);
            assert_eq!(volume.err(), error);
        }
    }

    #[test]
    fn too_small() {
        let error = Layout::new(MIN_DISK - 512, &[3; 16]).expect_err("too small");
        let text = "1073741312 bytes are too few, at least 1073741824 are needed";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn a_table_of_another_kind_is_not_ours() {
        let layout = Layout::new(MIN_DISK, &[3; 16]).expect("large enough");
        let mut gpt = layout.gpt().clone();
        gpt.partitions[2].kind = TYPE_ESP;
        assert_eq!(Layout::from_gpt(MIN_DISK, gpt), None);
        let mut gpt = layout.gpt().clone();
        gpt.partitions.pop();
        assert_eq!(Layout::from_gpt(MIN_DISK, gpt), None);
        let gpt = layout.gpt().clone();
        assert_eq!(Layout::from_gpt(MIN_DISK - 2 * MIB, gpt), None);
        // Data over the EFI system partition, at the end of all numbers, and backwards.
        for (first_lba, last_lba) in [(2048, 4096), (u64::MAX >> 9, u64::MAX >> 9), (9, 8)] {
            let mut gpt = layout.gpt().clone();
            gpt.partitions[2].first_lba = first_lba;
            gpt.partitions[2].last_lba = last_lba;
            assert_eq!(Layout::from_gpt(MIN_DISK, gpt), None);
        }
    }
}
