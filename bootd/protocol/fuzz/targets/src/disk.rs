//! A disk of 2 GiB: ours, somebody's or nobody's, with any bytes changed anywhere.

use std::collections::BTreeMap;
use std::io;
use std::sync::LazyLock;

use node_initramfs::disk::fat32::Volume;
use node_initramfs::disk::gpt::Header;
use node_initramfs::disk::{
    self, Device, DiskState, EspFile, Extent, Layout, LoaderBlobs, LoaderState, SECTOR, SECTOR_U64,
    Slot, mbr,
};

use crate::input::Input;

const SIZE: u64 = 2 << 30;

type Sectors = BTreeMap<u64, [u8; SECTOR]>;

/// Sectors that are not zero.
#[derive(Clone, Default)]
struct MemoryDisk(Sectors);

impl MemoryDisk {
    fn sector(&mut self, lba: u64) -> &mut [u8; SECTOR] {
        self.0.entry(lba).or_insert([0; SECTOR])
    }
}

/// Sectors begin the range, as they do wherever a file is read.
fn check_range(offset: u64, length: usize) -> io::Result<()> {
    let whole = offset.is_multiple_of(SECTOR_U64);
    let length = u64::try_from(length).map_err(io::Error::other)?;
    let end = offset.checked_add(length);
    let within = whole && end.is_some_and(|end| end <= SIZE);
    within
        .then_some(())
        .ok_or_else(|| io::Error::other("no sectors of this disk"))
}

impl Device for MemoryDisk {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn size(&self) -> u64 {
        SIZE
    }

    fn sector_size(&self) -> u64 {
        SECTOR_U64
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        check_range(offset, buffer.len())?;
        buffer.fill(0);
        let first = offset / SECTOR_U64;
        let end = first + u64::try_from(buffer.len().div_ceil(SECTOR)).map_err(io::Error::other)?;
        for (lba, sector) in self.0.range(first..end) {
            let at = usize::try_from(lba - first).map_err(io::Error::other)? * SECTOR;
            let room = &mut buffer[at..];
            let len = room.len().min(SECTOR);
            room[..len].copy_from_slice(&sector[..len]);
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        check_range(offset, bytes.len())?;
        for (lba, sector) in (offset / SECTOR_U64..).zip(bytes.chunks_exact(SECTOR)) {
            if sector == [0; SECTOR] {
                self.0.remove(&lba);
            } else {
                self.sector(lba).copy_from_slice(sector);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn forget_cached(&mut self, _offset: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }
}

static LAYOUT: LazyLock<Layout> = LazyLock::new(|| {
    Layout::new(SIZE, &[1; 16]).unwrap_or_else(|error| panic!("a layout: {error}"))
});

/// A blank disk, and one of ours with software in slot a.
static DISKS: LazyLock<[MemoryDisk; 2]> = LazyLock::new(|| {
    let mut disk = MemoryDisk::default();
    let layout = &*LAYOUT;
    let loader = LoaderBlobs {
        efi: &[8; 2048],
        bios_boot: &[7; 440],
        bios_core: &[9; 2048],
    };
    let data = &mut |_: Extent| Ok(());
    disk::prepare(&mut disk, layout, &loader, data)
        .and_then(|()| disk::commit_first(&mut disk, layout, Slot::A, loader.bios_boot))
        .unwrap_or_else(|error| panic!("a disk of ours: {error}"));
    [MemoryDisk::default(), disk]
});

/// Where changes begin: both partition tables, the file system and its files, unknown places.
fn places() -> [u64; 12] {
    let layout = &*LAYOUT;
    let last = SIZE / SECTOR_U64 - 1;
    let [esp, grubenv] = [layout.esp(), layout.file(EspFile::Grubenv)].map(|it| it.offset);
    let [esp, grubenv] = [esp, grubenv].map(|offset| offset / SECTOR_U64);
    let super_block = 2;
    [
        0,
        1,
        super_block,
        3,
        8,
        64,
        128,
        esp,
        grubenv,
        last - 32,
        last,
        last / 2,
    ]
}

pub(crate) fn recognise(data: &[u8]) {
    let mut input = Input::new(data);
    let how = input.u8();
    let mut disk = DISKS[usize::from(how & 1)].clone();
    let places = places();
    while !input.is_empty() {
        let place = places[usize::from(input.u8()) % places.len()];
        let at = usize::from(input.u16()) % (4 * SECTOR);
        let len = usize::from(input.u8());
        for (at, byte) in (at..).zip(input.bytes(len)) {
            let lba = place + u64::try_from(at / SECTOR).unwrap_or(0);
            if lba < SIZE / SECTOR_U64 {
                disk.sector(lba)[at % SECTOR] = *byte;
            }
        }
    }
    if how & 2 != 0 {
        let last = SIZE / SECTOR_U64 - 1;
        make_sums_right(&mut disk, 1);
        make_sums_right(&mut disk, last);
    }
    parse_parts(&mut disk);
    let state = disk::recognise(&mut disk);
    let state = state.unwrap_or_else(|error| panic!("a disk that can be read: {error}"));
    match state {
        DiskState::Prepared(prepared) => check_prepared(&mut disk, &prepared),
        DiskState::Foreign { what } => assert!(!what.is_empty() && what.len() < 4096),
        DiskState::Blank
        | DiskState::Preparing
        | DiskState::TooSmall { .. }
        | DiskState::BadSectorSize { .. } => {}
    }
}

/// Checksums of the table whose header stands at `lba`, so that what is behind them is reached.
fn make_sums_right(disk: &mut MemoryDisk, lba: u64) {
    let header = disk.sector(lba);
    let number = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap_or_default());
    let entries = number(72);
    let (count, size) = (number(80) & 0xffff_ffff, number(80) >> 32);
    let len = count.saturating_mul(size).min(64 * 1024);
    let mut bytes = vec![0; usize::try_from(len.next_multiple_of(SECTOR_U64)).unwrap_or(0)];
    let offset = entries.saturating_mul(SECTOR_U64);
    if disk.read_at(offset, &mut bytes).is_ok() {
        bytes.truncate(usize::try_from(len).unwrap_or(0));
        let sum = crc32fast::hash(&bytes);
        disk.sector(lba)[88..92].copy_from_slice(&sum.to_le_bytes());
    }
    let header = disk.sector(lba);
    header[16..20].fill(0);
    let sum = crc32fast::hash(&header[..92]);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
}

/// Each sector by everything that reads sectors.
fn parse_parts(disk: &mut MemoryDisk) {
    let layout = &*LAYOUT;
    for place in places() {
        let sector = *disk.sector(place);
        let _ = Header::parse(&sector, place);
        let _ = (mbr::signature(&sector), mbr::has_boot_code(&sector));
        let protective = mbr::is_protective(&sector);
        assert!(protective <= (mbr::partition_types(&sector).len() == 1));
        if let Some(state) = LoaderState::parse(&sector) {
            check_loader(state);
        }
        for file in EspFile::ALL {
            let _ = Volume::size_in(layout.entry(file), &sector);
        }
    }
}

fn check_loader(state: LoaderState) {
    let mut sector = [0; SECTOR];
    sector.copy_from_slice(&state.encode()[..SECTOR]);
    // Without a slot on trial there is nothing to try.
    let tries = state.next.map_or(0, |_| state.tries);
    let expected = LoaderState { tries, ..state };
    assert_eq!(LoaderState::parse(&sector), Some(expected));
    let _ = (state.will_boot(), state.spare(), state.start_trial());
    for slot in Slot::ALL {
        let _ = state.judge(slot);
    }
}

fn check_prepared(disk: &mut MemoryDisk, prepared: &disk::Prepared) {
    let layout = &prepared.layout;
    let mut end = 0;
    for extent in [layout.bios(), layout.esp(), layout.data()] {
        assert!(extent.offset >= end, "partitions overlap");
        end = extent.offset + extent.length;
    }
    assert!(end <= SIZE, "a partition reaches past the end");
    check_loader(prepared.loader);
    let _ = prepared.unfinished_commit();
    let _ = disk::commit_trial(disk, layout);
    let state = disk::recognise(disk);
    assert!(matches!(state, Ok(DiskState::Prepared(_))), "{state:?}");
}
