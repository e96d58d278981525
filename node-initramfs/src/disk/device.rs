//! Reading and writing sectors: the one trait, its file, its errors.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use bootd_protocol::digest::Digest;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use super::grubenv::Slot;

/// Something with sectors. Offsets and lengths are in bytes.
pub trait Device {
    /// How people know it, such as `/dev/vda`.
    fn name(&self) -> &str;

    /// Size in bytes.
    fn size(&self) -> u64;

    /// Bytes in one logical block.
    fn sector_size(&self) -> u64;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// What the device says; reading past its end is an error.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes `bytes` at `offset`. They may be lost until [`Device::flush`] has returned.
    ///
    /// # Errors
    /// What the device says.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns when everything written so far survives a power cut.
    ///
    /// # Errors
    /// What the device says; nothing can be assumed of what was written since the last flush.
    fn flush(&mut self) -> io::Result<()>;

    /// Lets go of cached copies, so that the next read asks the device.
    ///
    /// # Errors
    /// What the operating system says.
    fn forget_cached(&mut self, offset: u64, length: u64) -> io::Result<()>;
}

/// What can go wrong with a disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The device refused to do something.
    #[error("{device}: cannot {action} {length} bytes at byte {offset}")]
    Io {
        /// The device's name.
        device: String,
        /// What was tried.
        action: &'static str,
        /// Where, in bytes.
        offset: u64,
        /// How much, in bytes.
        length: u64,
        /// Why it failed.
        source: io::Error,
    },
    /// The device could not make everything durable.
    #[error("{device}: cannot flush")]
    Flush {
        /// The device's name.
        device: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The device cannot be opened or measured.
    #[error("{device}: cannot open")]
    Open {
        /// The device's name.
        device: String,
        /// Why it failed.
        source: io::Error,
    },
    /// There is no room for the layout.
    #[error("{device}: {bytes} bytes are too few, at least {needed} are needed")]
    TooSmall {
        /// The device's name.
        device: String,
        /// Its size in bytes.
        bytes: u64,
        /// The smallest size that will do, in bytes.
        needed: u64,
    },
    /// The device's logical blocks are not of 512 bytes.
    #[error("{device}: logical blocks of {bytes} bytes are not supported, only 512")]
    BadSectorSize {
        /// The device's name.
        device: String,
        /// Its logical block in bytes.
        bytes: u64,
    },
    /// A file is larger than the room that was laid out for it.
    #[error("{device}: {what} has {bytes} bytes, but there is room for {capacity} only")]
    DoesNotFit {
        /// The device's name.
        device: String,
        /// The file.
        what: String,
        /// Its size in bytes.
        bytes: u64,
        /// The room in bytes.
        capacity: u64,
    },
    /// What should be written could not be read.
    #[error("{device}: {what}: cannot read what should be written")]
    Source {
        /// The device's name.
        device: String,
        /// The file being written.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The disk gives back something else than was written.
    #[error("{device}: {what} was written as {wrote} but reads back as {read}")]
    Mismatch {
        /// The device's name.
        device: String,
        /// The file.
        what: String,
        /// SHA-256 of what was written.
        wrote: Digest,
        /// SHA-256 of what was read back.
        read: Digest,
    },
    /// The slot holds the software that the node falls back to.
    #[error("{device}: slot {slot} is the committed one and must not be overwritten")]
    SlotInUse {
        /// The device's name.
        device: String,
        /// The slot.
        slot: Slot,
    },
    /// There is no committed slot that a trial could fall back to.
    #[error("{device}: nothing is installed yet, so nothing can be tried")]
    NothingInstalled {
        /// The device's name.
        device: String,
    },
    /// A command line that GRUB cannot pass on as it is.
    #[error(
        "{device}: the kernel command line may only hold printable ASCII \
         without quotes and backslashes: {text:?}"
    )]
    BadCommandLine {
        /// The device's name.
        device: String,
        /// The command line.
        text: String,
    },
    /// The caller could not make the data partition's file system.
    #[error("{device}: cannot make the file system of the data partition")]
    DataPartition {
        /// The device's name.
        device: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Reads `length` bytes, naming the device when it fails.
pub(super) fn read(
    device: &mut dyn Device,
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), DiskError> {
    let result = device.read_at(offset, buffer);
    result.map_err(|source| io_error(device, "read", offset, buffer.len(), source))
}

/// Reads one sector, naming the device when it fails.
pub(super) fn read_sector(
    device: &mut dyn Device,
    offset: u64,
) -> Result<[u8; super::SECTOR], DiskError> {
    let mut sector = [0; super::SECTOR];
    read(device, offset, &mut sector)?;
    Ok(sector)
}

/// Writes `bytes`, naming the device when it fails.
pub(super) fn write(device: &mut dyn Device, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
    let result = device.write_at(offset, bytes);
    result.map_err(|source| io_error(device, "write", offset, bytes.len(), source))
}

/// Flushes, naming the device when it fails.
pub(super) fn flush(device: &mut dyn Device) -> Result<(), DiskError> {
    device.flush().map_err(|source| DiskError::Flush {
        device: device.name().to_owned(),
        source,
    })
}

/// Drops cached copies, naming the device when it fails.
pub(super) fn forget_cached(
    device: &mut dyn Device,
    offset: u64,
    length: u64,
) -> Result<(), DiskError> {
    let result = device.forget_cached(offset, length);
    result.map_err(|source| DiskError::Io {
        device: device.name().to_owned(),
        action: "drop the cached copy of",
        offset,
        length,
        source,
    })
}

fn io_error(
    device: &dyn Device,
    action: &'static str,
    offset: u64,
    length: usize,
    source: io::Error,
) -> DiskError {
    DiskError::Io {
        device: device.name().to_owned(),
        action,
        offset,
        length: u64::try_from(length).unwrap_or(u64::MAX),
        source,
    }
}

/// A [`Device`] on a block device or an image file.
#[derive(Debug)]
pub struct FileDevice {
    name: String,
    file: File,
    size: u64,
    sector_size: u64,
}

impl FileDevice {
    /// Opens `path` for reading and writing. `sector_size` is the logical block in bytes, as
    /// `/sys/block/<name>/queue/logical_block_size` has it; 512 for an image file.
    ///
    /// # Errors
    /// [`DiskError::Open`] when it cannot be opened or measured.
    pub fn open(path: &str, sector_size: u64) -> Result<Self, DiskError> {
        let failed = |source| DiskError::Open {
            device: path.to_owned(),
            source,
        };
        let mut file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed)?;
        // A block device's metadata says size 0; its end is found by seeking.
        let size = io::Seek::seek(&mut file, io::SeekFrom::End(0)).map_err(failed)?;
        Ok(FileDevice {
            name: path.to_owned(),
            file,
            size,
            sector_size,
        })
    }
}

impl AsFd for FileDevice {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Device for FileDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u64 {
        self.sector_size
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn forget_cached(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let signed = |value| i64::try_from(value).map_err(io::Error::other);
        posix_fadvise(
            &self.file,
            signed(offset)?,
            signed(length)?,
            PosixFadviseAdvice::POSIX_FADV_DONTNEED,
        )
        .map_err(io::Error::from)
    }
}
