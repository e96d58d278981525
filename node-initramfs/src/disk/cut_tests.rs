//! Power cuts at every point of an installation and of an update, thousands of them.
//!
//! A node is played on a disk that loses what was not flushed. [`firmware`] is the judge: it
//! starts the disk as firmware and GRUB would, and knows nothing of how it was written.

use super::grubenv::BLOCK;
use super::mbr::BOOT_CODE;
use super::memory::{MemoryDisk, Random};
use super::*;
use crate::disk::fat32::Volume;

const SIZE: u64 = layout::MIN_DISK;
const BOOT: [u8; BOOT_CODE] = [0x90; BOOT_CODE];
const SEEDS: u64 = 2000;

/// What a start from the disk comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// The firmware goes on to the network.
    Network,
    /// The software of this version, whole, from this slot.
    Software(u8, Slot),
}

struct World {
    layout: Layout,
    efi: Vec<u8>,
    core: Vec<u8>,
    /// Every byte of the EFI system partition's FATs, as they must be once it can be read.
    fats: Vec<(u64, Vec<u8>)>,
}

impl World {
    fn new() -> Self {
        let layout = Layout::new(SIZE, &[1; 16]).expect("large enough");
        let large = |(_, bytes): &(u64, Vec<u8>)| bytes.len() > 65_536;
        let fats = layout.volume().metadata().into_iter().filter(large);
        World {
            fats: fats.collect(),
            layout,
            efi: pattern(1, 2000),
            core: pattern(2, 3000),
        }
    }

    fn file(&self, disk: &MemoryDisk, file: EspFile) -> Vec<u8> {
        let entry = self.layout.entry(file);
        let (offset, _) = self.layout.volume().entry_sector(entry);
        let sector = disk.bytes(self.layout.esp().offset + offset, SECTOR);
        let size = Volume::size_in(entry, &sector.try_into().expect("a sector"));
        let size = usize::try_from(size).expect("small");
        disk.bytes(self.layout.file(file).offset, size)
    }

    fn fats_are_whole(&self, disk: &MemoryDisk) -> bool {
        let start = self.layout.esp().offset;
        let same =
            |(offset, bytes): &(u64, Vec<u8>)| disk.bytes(start + offset, bytes.len()) == *bytes;
        self.fats.iter().all(same)
    }
}

fn pattern(version: u8, length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| version ^ index.to_le_bytes()[0])
        .collect()
}

fn linux(version: u8) -> Vec<u8> {
    pattern(version, 3000)
}

fn initrd(version: u8) -> Vec<u8> {
    pattern(version | 0x80, 5000)
}

fn config(version: u8) -> String {
    format!("set cmdline=\"version={version}\"\n")
}

/// The version that a slot holds, if it is one that a loader would start.
fn load(world: &World, disk: &MemoryDisk, slot: Slot) -> Option<u8> {
    let found = world.file(disk, EspFile::Linux(slot));
    if found.is_empty() {
        return None;
    }
    let version = found[0];
    assert_eq!(found, linux(version), "slot {slot}: torn kernel");
    let found = world.file(disk, EspFile::Initrd(slot));
    assert_eq!(found, initrd(version), "slot {slot}: torn initramfs");
    let found = world.file(disk, EspFile::Config(slot));
    assert_eq!(
        found,
        config(version).as_bytes(),
        "slot {slot}: torn slot.cfg"
    );
    Some(version)
}

/// All that a disk which says "prepared" promises, whatever starts: nothing on it is torn, and
/// no slot that could be loaded is half-written.
fn whole_state(world: &World, disk: &MemoryDisk) -> LoaderState {
    assert_eq!(world.file(disk, EspFile::Loader), world.efi, "torn loader");
    let core = disk.bytes(world.layout.bios().offset, world.core.len());
    assert_eq!(core, world.core, "torn core image");
    assert!(world.fats_are_whole(disk), "torn FAT");
    for slot in Slot::ALL {
        load(world, disk, slot);
    }
    let block = disk.bytes(world.layout.file(EspFile::Grubenv).offset, BLOCK);
    let rest = &block[SECTOR..];
    assert!(rest.iter().all(|byte| *byte == b'#'), "torn grubenv");
    let state = LoaderState::parse(block[..SECTOR].try_into().expect("half"));
    state.expect("torn grubenv")
}

/// GRUB: spends a try of the slot on trial, and starts what it is told to.
fn grub(world: &World, disk: &mut MemoryDisk) -> Start {
    let state = whole_state(world, disk);
    let slot = state.will_boot().expect("a loader that starts has a slot");
    if state.next == Some(slot) {
        let tries = state.tries - 1;
        let spent = LoaderState { tries, ..state };
        let offset = world.layout.file(EspFile::Grubenv).offset;
        let written = disk.write_at(offset, &spent.encode());
        written.expect("power is on");
    }
    let version = load(world, disk, slot).expect("the slot to start is not empty");
    Start::Software(version, slot)
}

/// Starts the disk by UEFI or by BIOS.
fn firmware(world: &World, disk: &mut MemoryDisk, uefi: bool) -> Start {
    let lba0 = disk.bytes(0, SECTOR);
    if uefi {
        if disk.bytes(world.layout.esp().offset, SECTOR) != world.layout.volume().boot_sector() {
            return Start::Network;
        }
    } else {
        if lba0[..BOOT_CODE] != BOOT {
            return Start::Network;
        }
    }
    let table = recognise(disk).expect("readable");
    assert!(
        matches!(table, DiskState::Prepared(_)),
        "starts, but is {table:?}"
    );
    grub(world, disk)
}

fn write(world: &World, disk: &mut MemoryDisk, slot: Slot, version: u8) -> Result<(), DiskError> {
    let [linux, initrd] = [linux(version), initrd(version)];
    let part = |bytes: &[u8]| u64::try_from(bytes.len()).expect("small");
    let content = SlotContent {
        linux: SlotPart {
            size: part(&linux),
            reader: &mut linux.as_slice(),
        },
        initrd: SlotPart {
            size: part(&initrd),
            reader: &mut initrd.as_slice(),
        },
        cmdline: &format!("version={version}"),
    };
    write_slot(disk, &world.layout, slot, content)
}

/// What a node that started from the network does to its disk.
fn install(world: &World, disk: &mut MemoryDisk) -> Result<(), DiskError> {
    let blank = match recognise(disk)? {
        DiskState::Blank | DiskState::Preparing => true,
        DiskState::Prepared(found) => {
            assert_eq!(found.layout, world.layout);
            if let Some(slot) = found.unfinished_commit() {
                return commit_first(disk, &world.layout, slot, &BOOT);
            }
            if found.loader.slot.is_some() {
                return Ok(());
            }
            false
        }
        state @ (DiskState::Foreign { .. }
        | DiskState::TooSmall { .. }
        | DiskState::BadSectorSize { .. }) => panic!("{state:?}"),
    };
    if blank {
        let loader = LoaderBlobs {
            efi: &world.efi,
            bios_boot: &BOOT,
            bios_core: &world.core,
        };
        prepare(disk, &world.layout, &loader, &mut |_| Ok(()))?;
    }
    write(world, disk, Slot::A, 1)?;
    commit_first(disk, &world.layout, Slot::A, &BOOT)
}

/// What a node that started from `booted` with `version` does to get to `wanted`.
fn update(world: &World, disk: &mut MemoryDisk, start: Start, wanted: u8) -> Result<(), DiskError> {
    let Start::Software(version, booted) = start else {
        return install(world, disk);
    };
    if version == wanted {
        return mark_good(disk, &world.layout, booted).map(drop);
    }
    let good = mark_good(disk, &world.layout, booted)?;
    write(world, disk, good.spare(), wanted)?;
    commit_trial(disk, &world.layout).map(drop)
}

/// Runs `change` with a cut after a seeded number of operations, out of `operations`.
fn cut(
    world: &World,
    disk: &mut MemoryDisk,
    random: &mut Random,
    operations: u64,
    change: impl FnOnce(&mut MemoryDisk) -> Result<(), DiskError>,
) {
    disk.operations_left = Some(random.below(operations + 1));
    let result = change(disk);
    if let Err(error) = result {
        let gone = matches!(error, DiskError::Io { .. } | DiskError::Flush { .. });
        assert!(gone, "{error}");
    }
    let loss = random.below(9);
    disk.power_cut(random, loss);
    check(world, disk);
}

/// What a disk says of itself is true.
fn check(world: &World, disk: &mut MemoryDisk) {
    if let DiskState::Prepared(_) = recognise(disk).expect("readable") {
        whole_state(world, disk);
    }
}

/// The disk as it is, unflushed writes and all, when the power goes after each number of
/// operations of `change`.
fn before_each_cut(
    start: &MemoryDisk,
    change: impl Fn(&mut MemoryDisk) -> Result<(), DiskError>,
) -> Vec<MemoryDisk> {
    let mut disk = start.clone();
    disk.operations = 0;
    change(&mut disk).expect("power is on");
    let whole = disk.operations;
    let cut_after = |operations| {
        let mut disk = start.clone();
        disk.operations_left = Some(operations);
        let result = change(&mut disk);
        let gone = result.is_err();
        assert_eq!(gone, operations < whole, "after {operations} operations");
        disk
    };
    (0..=whole).map(cut_after).collect()
}

#[test]
fn a_cut_installation_starts_again_or_is_whole() {
    let world = World::new();
    let cuts = before_each_cut(&MemoryDisk::new(SIZE), |disk| install(&world, disk));
    let whole = Start::Software(1, Slot::A);
    let mut whole_by_uefi_only = 0;
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let mut disk = pick(&cuts, &mut random);
        let loss = random.below(9);
        disk.power_cut(&mut random, loss);
        check(&world, &mut disk);
        let [bios, uefi] = [false, true].map(|uefi| firmware(&world, &mut disk, uefi));
        assert!(
            [Start::Network, whole].contains(&bios),
            "seed {seed}: {bios:?}"
        );
        assert!(
            [Start::Network, whole].contains(&uefi),
            "seed {seed}: {uefi:?}"
        );
        whole_by_uefi_only += u64::from(uefi != bios);
        // The rest takes longer: some seeds must do.
        if seed % 40 == 0 {
            recover(&world, &mut disk, &mut random, seed);
        }
    }
    assert!(whole_by_uefi_only > 0, "the cuts reached the last step");
}

fn pick(disks: &[MemoryDisk], random: &mut Random) -> MemoryDisk {
    let count = u64::try_from(disks.len()).expect("small");
    disks[usize::try_from(random.below(count)).expect("small")].clone()
}

/// Cut once more while it starts again, and then left alone, the node gets there.
fn recover(world: &World, disk: &mut MemoryDisk, random: &mut Random, seed: u64) {
    cut(world, disk, random, 30, |disk| install(world, disk));
    install(world, disk).expect("power is on");
    for uefi in [false, true] {
        let start = firmware(world, disk, uefi);
        assert_eq!(start, Start::Software(1, Slot::A), "seed {seed}");
    }
}

#[test]
fn a_disk_prepared_again_never_starts_what_it_held() {
    let world = World::new();
    let mut installed = MemoryDisk::new(SIZE);
    install(&world, &mut installed).expect("power is on");
    let again = |disk: &mut MemoryDisk| {
        let loader = LoaderBlobs {
            efi: &world.efi,
            bios_boot: &BOOT,
            bios_core: &world.core,
        };
        prepare(disk, &world.layout, &loader, &mut |_| Ok(()))
    };
    let cuts = before_each_cut(&installed, again);
    for seed in 0..SEEDS / 4 {
        let mut random = Random(seed);
        let mut disk = pick(&cuts, &mut random);
        let loss = random.below(9);
        disk.power_cut(&mut random, loss);
        check(&world, &mut disk);
        // Until its first sector is gone, UEFI starts the old system: whole.
        let esp = disk.bytes(world.layout.esp().offset, SECTOR);
        if esp == world.layout.volume().boot_sector() {
            let start = grub(&world, &mut disk);
            assert_eq!(start, Start::Software(1, Slot::A), "seed {seed}");
        }
        if seed % 40 == 0 {
            recover(&world, &mut disk, &mut random, seed);
        }
    }
}

#[test]
fn a_cut_update_is_old_or_new() {
    let world = World::new();
    let mut installed = MemoryDisk::new(SIZE);
    install(&world, &mut installed).expect("power is on");
    // The spare slot still holds what ran before.
    write(&world, &mut installed, Slot::B, 3).expect("power is on");
    let mut disk = installed.clone();
    disk.operations = 0;
    let old = Start::Software(1, Slot::A);
    update(&world, &mut disk, old, 2).expect("power is on");
    let operations = disk.operations;
    let mut seen = [0; 2];
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let uefi = seed % 2 == 0;
        let mut disk = installed.clone();
        let mut start = old;
        for _ in 0..=random.below(4) {
            cut(&world, &mut disk, &mut random, operations, |disk| {
                update(&world, disk, start, 2)
            });
            start = firmware(&world, &mut disk, uefi);
            let Start::Software(version, _) = start else {
                panic!("seed {seed}: {start:?}");
            };
            assert!([1, 2].contains(&version), "seed {seed}: {start:?}");
            seen[usize::from(version - 1)] += 1;
        }
        settle(&world, &mut disk, start, uefi, seed);
    }
    assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
}

/// Without further cuts the node gets to version 2, and stays there.
fn settle(world: &World, disk: &mut MemoryDisk, mut start: Start, uefi: bool, seed: u64) {
    for _ in 0..2 {
        update(world, disk, start, 2).expect("power is on");
        start = firmware(world, disk, uefi);
    }
    let Start::Software(2, slot) = start else {
        panic!("seed {seed}: {start:?}");
    };
    let offset = world.layout.file(EspFile::Grubenv).offset;
    let sector = disk.bytes(offset, SECTOR).try_into().expect("a sector");
    let expected = LoaderState::commit_first(slot);
    assert_eq!(LoaderState::parse(&sector), Some(expected), "seed {seed}");
}

#[test]
fn a_version_that_never_reports_is_given_up_after_three_tries() {
    let world = World::new();
    let mut disk = MemoryDisk::new(SIZE);
    install(&world, &mut disk).expect("power is on");
    let old = Start::Software(1, Slot::A);
    update(&world, &mut disk, old, 2).expect("power is on");
    let new = Start::Software(2, Slot::B);
    let starts: Vec<Start> = (0..5).map(|_| firmware(&world, &mut disk, true)).collect();
    assert_eq!(starts, [new, new, new, old, old]);
}
