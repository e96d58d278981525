//! Carrying out a plan: write, flush, read back.

use bootd_protocol::digest::{Digest, Hasher};

use super::device::{self, Device, DiskError};
use super::layout::{EspFile, Extent, Layout};
use super::plan::{self, LoaderBlobs, Step};

/// What `make_data` may fail with.
pub type DataError = Box<dyn std::error::Error + Send + Sync>;

/// How much is read back at a time, in bytes.
const CHUNK: usize = 256 * 1024;

/// Prepares a disk: partitions, file systems, loader; afterwards nothing on it can start yet.
///
/// Whatever was there is lost. `make_data` is called once, when the partition table is durable,
/// to make the file system of the given part of the disk (the third partition); what it writes
/// must have reached the device when it returns, the flush that makes it durable comes later.
///
/// # Errors
/// Any [`DiskError`]; the disk is then one that is being prepared, or still what it was.
pub fn prepare(
    device: &mut dyn Device,
    layout: &Layout,
    loader: &LoaderBlobs<'_>,
    make_data: &mut dyn FnMut(Extent) -> Result<(), DataError>,
) -> Result<(), DiskError> {
    check_fits(
        device,
        "GRUB for UEFI",
        loader.efi,
        EspFile::Loader.capacity(),
    )?;
    check_fits(
        device,
        "GRUB's core image",
        loader.bios_core,
        layout.bios().length,
    )?;
    let data = layout.data();
    run(device, plan::prepare(layout, loader), &mut || {
        make_data(data)
    })
}

fn check_fits(
    device: &dyn Device,
    what: &str,
    bytes: &[u8],
    capacity: u64,
) -> Result<(), DiskError> {
    let bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    does_fit(device, what, bytes, capacity)
}

/// [`DiskError::DoesNotFit`] when it does not.
pub(super) fn does_fit(
    device: &dyn Device,
    what: &str,
    bytes: u64,
    capacity: u64,
) -> Result<(), DiskError> {
    if bytes <= capacity {
        return Ok(());
    }
    Err(DiskError::DoesNotFit {
        device: device.name().to_owned(),
        what: what.to_owned(),
        bytes,
        capacity,
    })
}

/// Carries out steps that make no file system.
pub(super) fn run_writes(device: &mut dyn Device, steps: Vec<Step>) -> Result<(), DiskError> {
    run(device, steps, &mut || Ok(()))
}

fn run(
    device: &mut dyn Device,
    steps: Vec<Step>,
    make_data: &mut dyn FnMut() -> Result<(), DataError>,
) -> Result<(), DiskError> {
    let mut unflushed = Vec::new();
    for step in steps {
        match step {
            Step::Write {
                what,
                offset,
                bytes,
            } => {
                device::write(device, offset, &bytes)?;
                let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                unflushed.push((what, Extent { offset, length }, Digest::of(&bytes)));
            }
            Step::Flush => {
                device::flush(device)?;
                for (what, extent, wrote) in unflushed.drain(..) {
                    read_back(device, what, extent, wrote)?;
                }
            }
            Step::MakeData => make_data().map_err(|source| DiskError::DataPartition {
                device: device.name().to_owned(),
                source,
            })?,
        }
    }
    Ok(())
}

/// Sees that the device itself, not a cache, gives back what was written.
pub(super) fn read_back(
    device: &mut dyn Device,
    what: &str,
    extent: Extent,
    wrote: Digest,
) -> Result<(), DiskError> {
    device::forget_cached(device, extent.offset, extent.length)?;
    let read = digest_of(device, extent)?;
    if read == wrote {
        return Ok(());
    }
    Err(DiskError::Mismatch {
        device: device.name().to_owned(),
        what: what.to_owned(),
        wrote,
        read,
    })
}

fn digest_of(device: &mut dyn Device, extent: Extent) -> Result<Digest, DiskError> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; CHUNK];
    let (mut offset, mut left) = (extent.offset, extent.length);
    while left > 0 {
        let length = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        device::read(device, offset, &mut buffer[..length])?;
        hasher.update(&buffer[..length]);
        let length = u64::try_from(length).unwrap_or(left);
        offset += length;
        left -= length;
    }
    Ok(hasher.finish())
}
