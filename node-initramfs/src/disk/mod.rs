//! The node's local disk: its layout, and writing it so that every power cut leaves the old
//! software or the new.
//!
//! ```text
//! LBA 0      protective MBR; its disk signature is our state ("btd0" being prepared, "btd1" prepared),
//!            its boot code is written last: the commit of the first installation for BIOS
//! p1         "bootd-bios", LBA 2048, 1 MiB: GRUB's core image
//! p2         "bootd-esp", 512 MiB FAT32; its first sector is written last: the same commit for UEFI
//!              /EFI/BOOT/BOOTX64.EFI   GRUB for UEFI (BOOTAA64.EFI on aarch64)
//!              /bootd/grubenv          which slot starts (one sector: changes at once or not at all)
//!              /bootd/{a,b}/{linux,initrd,slot.cfg}
//! p3         "bootd-data", ext4, the rest
//! ```
//!
//! Nobody ever mounts p2. All its files are laid out once, contiguously and at a fixed capacity
//! ([`fat32`]), so that an update writes file contents and one directory sector, never a FAT.
//!
//! The first installation is [`prepare`](prepare()), [`write_slot`], [`commit_first`]; an update is
//! [`write_slot`], [`commit_trial`], a restart, and [`mark_good`]. [`recognise`] says where a disk
//! stands after whatever happened.
//!
//! | module | what it holds |
//! |---|---|
//! | [`device`] | the one trait through which sectors are read and written, and its errors |
//! | [`guid`], [`mbr`], [`gpt`], [`fat32`], [`grubenv`] | bytes as pure functions |
//! | [`layout`] | where everything is on a disk of a given size |
//! | [`plan`] | the writes and flushes of each change, in the order that makes every cut safe |
//! | [`state`] | recognising a disk |

pub mod device;
pub mod fat32;
pub mod gpt;
pub mod grubenv;
pub mod guid;
pub mod layout;
pub mod mbr;
pub mod plan;
mod prepare;
mod slot;
pub mod state;

#[cfg(test)]
mod cut_tests;
#[cfg(test)]
mod memory;

pub use device::{Device, DiskError, FileDevice};
pub use grubenv::{LoaderState, Slot, Trial};
pub use layout::{EspFile, Extent, Layout};
pub use plan::LoaderBlobs;
pub use prepare::{DataError, prepare};
pub use slot::{SlotContent, SlotPart, commit_first, commit_trial, mark_good, write_slot};
pub use state::{DiskState, Prepared, recognise};

/// Bytes in a logical block; disks with other blocks are refused.
pub const SECTOR: usize = 512;

/// [`SECTOR`] as an offset on a disk.
pub const SECTOR_U64: u64 = 512;
