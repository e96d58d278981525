//! Writing a boot slot, and saying which one starts.

use std::io::{self, Read};

use bootd_protocol::digest::{Digest, Hasher};

use super::device::{self, Device, DiskError};
use super::grubenv::{LoaderState, Slot};
use super::layout::{EspFile, Extent, Layout};
use super::mbr::BOOT_CODE;
use super::plan::{self, SlotSizes};
use super::prepare::{does_fit, read_back, run_writes};

/// How much is streamed at a time, in bytes.
const CHUNK: usize = 256 * 1024;

/// One file on its way into a slot.
pub struct SlotPart<'a> {
    /// Gives the contents.
    pub reader: &'a mut dyn Read,
    /// How many bytes that will be.
    pub size: u64,
}

/// What a slot shall hold.
pub struct SlotContent<'a> {
    /// The kernel.
    pub linux: SlotPart<'a>,
    /// The initramfs.
    pub initrd: SlotPart<'a>,
    /// The kernel's command line; the loader adds `bootd.slot=`.
    pub cmdline: &'a str,
}

/// Writes a slot that is not the committed one. It cannot start until its last byte has been
/// flushed and read back. A trial of this slot is called off first.
///
/// # Errors
/// [`DiskError::SlotInUse`] for the committed slot, [`DiskError::DoesNotFit`] and
/// [`DiskError::BadCommandLine`] before anything is written; otherwise whatever reading or
/// writing ran into: the slot is then empty.
pub fn write_slot(
    device: &mut dyn Device,
    layout: &Layout,
    slot: Slot,
    content: SlotContent<'_>,
) -> Result<(), DiskError> {
    let config = slot_config(device, content.cmdline)?;
    let sizes = SlotSizes {
        linux: size(device, EspFile::Linux(slot), content.linux.size)?,
        initrd: size(device, EspFile::Initrd(slot), content.initrd.size)?,
        config: size(device, EspFile::Config(slot), length_of(&config))?,
    };
    call_off(device, layout, slot)?;
    run_writes(
        device,
        plan::set_slot_sizes(layout, slot, SlotSizes::default()),
    )?;
    let mut config = config.as_bytes();
    let config = SlotPart {
        size: u64::from(sizes.config),
        reader: &mut config,
    };
    let written = [
        stream(device, layout, EspFile::Linux(slot), content.linux)?,
        stream(device, layout, EspFile::Initrd(slot), content.initrd)?,
        stream(device, layout, EspFile::Config(slot), config)?,
    ];
    device::flush(device)?;
    for (file, extent, digest) in written {
        read_back(device, file.path(), extent, digest)?;
    }
    run_writes(device, plan::set_slot_sizes(layout, slot, sizes))
}

/// Makes the disk start from `slot`, which has been written, where nothing was installed before.
/// Run again after a cut, with the same slot, it ends the same.
///
/// # Errors
/// Whatever the device says.
pub fn commit_first(
    device: &mut dyn Device,
    layout: &Layout,
    slot: Slot,
    boot_code: &[u8; BOOT_CODE],
) -> Result<(), DiskError> {
    run_writes(device, plan::commit_first(layout, slot, boot_code))
}

/// Puts the spare slot, which has been written, on trial: the loader starts it
/// [`LoaderState::TRIES`] times before it goes back to the committed one.
///
/// # Errors
/// [`DiskError::NothingInstalled`] when no slot is committed, or whatever the device says.
pub fn commit_trial(device: &mut dyn Device, layout: &Layout) -> Result<LoaderState, DiskError> {
    let state = loader_state(device, layout)?;
    let trial = state
        .start_trial()
        .ok_or_else(|| DiskError::NothingInstalled {
            device: device.name().to_owned(),
        })?;
    run_writes(device, plan::set_loader_state(layout, trial))?;
    Ok(trial)
}

/// Commits the slot that the node started from; writes only where that changes something.
///
/// # Errors
/// Whatever the device says.
pub fn mark_good(
    device: &mut dyn Device,
    layout: &Layout,
    booted: Slot,
) -> Result<LoaderState, DiskError> {
    let state = loader_state(device, layout)?;
    let good = state.mark_good(booted);
    if good != state {
        run_writes(device, plan::set_loader_state(layout, good))?;
    }
    Ok(good)
}

/// What the loader will do. An environment block that is none counts as empty: the loader sees
/// it in the same way.
pub(super) fn loader_state(
    device: &mut dyn Device,
    layout: &Layout,
) -> Result<LoaderState, DiskError> {
    let sector = device::read_sector(device, layout.file(EspFile::Grubenv).offset)?;
    Ok(LoaderState::parse(&sector).unwrap_or_default())
}

/// Sees that the loader has no reason to start `slot`.
fn call_off(device: &mut dyn Device, layout: &Layout, slot: Slot) -> Result<(), DiskError> {
    let state = loader_state(device, layout)?;
    if state.slot == Some(slot) {
        return Err(DiskError::SlotInUse {
            device: device.name().to_owned(),
            slot,
        });
    }
    if state.next.is_none() {
        return Ok(());
    }
    run_writes(
        device,
        plan::set_loader_state(layout, state.without_trial()),
    )
}

/// A file's size as FAT has it, if it fits.
fn size(device: &dyn Device, file: EspFile, bytes: u64) -> Result<u32, DiskError> {
    does_fit(device, file.path(), bytes, file.capacity())?;
    Ok(u32::try_from(bytes).unwrap_or(u32::MAX))
}

fn length_of(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// `slot.cfg`: GRUB script (GRUB's manual, "Quoting"). Quotes and backslashes are refused because
/// GRUB's `linux` command would put backslashes before them, which the kernel does not undo.
fn slot_config(device: &dyn Device, cmdline: &str) -> Result<String, DiskError> {
    let printable = |letter: char| letter == ' ' || letter.is_ascii_graphic();
    let passes = |letter| printable(letter) && !matches!(letter, '"' | '\'' | '\\');
    if !cmdline.chars().all(passes) {
        return Err(DiskError::BadCommandLine {
            device: device.name().to_owned(),
            text: cmdline.to_owned(),
        });
    }
    let quoted = cmdline.replace('$', "\\$");
    Ok(format!("set cmdline=\"{quoted}\"\n"))
}

/// Copies one part to its place; the last sector is filled up with zeros.
/// Where it is, and what must read back.
fn stream(
    device: &mut dyn Device,
    layout: &Layout,
    file: EspFile,
    part: SlotPart<'_>,
) -> Result<(EspFile, Extent, Digest), DiskError> {
    let start = layout.file(file).offset;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; CHUNK];
    let (mut offset, mut left) = (start, part.size);
    while left > 0 {
        let length = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        let read = part.reader.read_exact(&mut buffer[..length]);
        read.map_err(|source| unreadable(device, file, source))?;
        let padded = length.next_multiple_of(super::SECTOR);
        buffer[length..padded].fill(0);
        device::write(device, offset, &buffer[..padded])?;
        hasher.update(&buffer[..padded]);
        offset += u64::try_from(padded).unwrap_or_default();
        left -= u64::try_from(length).unwrap_or(left);
    }
    let extent = Extent {
        offset: start,
        length: offset - start,
    };
    Ok((file, extent, hasher.finish()))
}

fn unreadable(device: &dyn Device, file: EspFile, source: io::Error) -> DiskError {
    DiskError::Source {
        device: device.name().to_owned(),
        what: file.path().to_owned(),
        source,
    }
}

#[cfg(test)]
#[path = "slot_tests.rs"]
mod tests;
