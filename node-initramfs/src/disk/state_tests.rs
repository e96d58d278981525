use super::*;
use crate::disk::gpt::{Partition, TYPE_ESP};
use crate::disk::guid::Guid;
use crate::disk::memory::MemoryDisk;

fn disk() -> MemoryDisk {
    MemoryDisk::new(MIN_DISK)
}

fn what(disk: &mut MemoryDisk) -> String {
    match recognise(disk).expect("readable") {
        DiskState::Foreign { what } => what,
        state @ (DiskState::Blank
        | DiskState::Preparing
        | DiskState::Prepared(_)
        | DiskState::TooSmall { .. }
        | DiskState::BadSectorSize { .. }) => panic!("{state:?}"),
    }
}

fn plant_gpt(disk: &mut MemoryDisk, gpt: &Gpt) {
    let sectors = MIN_DISK / SECTOR_U64;
    for table in [gpt.primary(sectors), gpt.backup(sectors)] {
        disk.plant(table.header_lba * SECTOR_U64, &table.header);
        disk.plant(table.entries_lba * SECTOR_U64, &table.entries);
    }
}

fn foreign_gpt() -> Gpt {
    let partition = |name: &str, first_lba| Partition {
        kind: TYPE_ESP,
        unique: Guid::derive(&[1; 16], 1),
        first_lba,
        last_lba: first_lba + 2047,
        name: name.to_owned(),
    };
    Gpt {
        disk: Guid::derive(&[1; 16], 0),
        partitions: vec![partition("EFI", 2048), partition("", 4096)],
    }
}

#[test]
fn blank_small_and_large_blocks() {
    assert_eq!(recognise(&mut disk()).expect("readable"), DiskState::Blank);
    let small = recognise(&mut MemoryDisk::new(MIN_DISK - 512)).expect("readable");
    let expected = DiskState::TooSmall {
        bytes: MIN_DISK - 512,
        needed: MIN_DISK,
    };
    assert_eq!(small, expected);
    let large = recognise(&mut disk().with_sector_size(4096)).expect("readable");
    assert_eq!(large, DiskState::BadSectorSize { bytes: 4096 });
}

#[test]
fn file_systems_on_the_whole_disk() {
    for (offset, magic, name) in MAGICS {
        let mut disk = disk();
        let mut sector = [0; SECTOR];
        let within = offset % SECTOR;
        sector[within..within + magic.len().min(SECTOR - within)]
            .copy_from_slice(&magic[..magic.len().min(SECTOR - within)]);
        disk.plant(u64::try_from(offset - within).expect("small"), &sector);
        assert_eq!(what(&mut disk), name);
    }
}

#[test]
fn an_mbr_and_unknown_data() {
    let mut disk = disk();
    let mut sector = [0; SECTOR];
    sector[450] = 0x83;
    sector[466] = 0x82;
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    disk.plant(0, &sector);
    assert_eq!(what(&mut disk), "an MBR with partitions of type 83, 82");
    let mut disk = self::disk();
    disk.plant(1024, &[0, 1].repeat(256));
    assert_eq!(what(&mut disk), "unknown data at byte 1025");
    let mut disk = self::disk();
    disk.plant(MIN_DISK - 512, &[1; SECTOR]);
    assert_eq!(what(&mut disk), "unknown data at its end");
}

#[test]
fn a_foreign_partition_table_even_below_our_mark_or_with_one_copy() {
    let mut disk = disk();
    plant_gpt(&mut disk, &foreign_gpt());
    let expected = format!("a GUID partition table with \"EFI\", type {TYPE_ESP}");
    assert_eq!(what(&mut disk), expected);
    for mark in [mbr::PREPARING, mbr::PREPARED] {
        disk.plant(0, &mbr::without_boot_code(mark, MIN_DISK / SECTOR_U64));
        assert_eq!(what(&mut disk), expected);
    }
    disk.plant(SECTOR_U64, &[0; SECTOR]);
    assert_eq!(what(&mut disk), expected);
}

#[test]
fn a_table_of_many_partitions_is_told_in_one_line() {
    let mut gpt = foreign_gpt();
    let two = gpt.partitions.clone();
    gpt.partitions = two.iter().cycle().take(100).cloned().collect();
    let named = format!("\"EFI\", type {TYPE_ESP}");
    let named = [named.as_str(); 4].join(", ");
    let expected = format!("a GUID partition table with {named} and 92 more");
    assert_eq!(describe_gpt(&gpt), expected);
}

#[test]
fn our_disk_with_damaged_tables() {
    let layout = Layout::new(MIN_DISK, &[5; 16]).expect("large enough");
    let mut disk = disk();
    plant_gpt(&mut disk, layout.gpt());
    let lba0 = mbr::without_boot_code(mbr::PREPARED, layout.sectors());
    disk.plant(0, &lba0);
    let expected = DiskState::Prepared(Box::new(Prepared {
        layout,
        loader: LoaderState::default(),
        starts_by_uefi: false,
        starts_by_bios: false,
    }));
    assert_eq!(recognise(&mut disk).expect("readable"), expected);
    disk.plant(1024, &[0xff; SECTOR]);
    assert_eq!(recognise(&mut disk).expect("readable"), expected);
    disk.plant(MIN_DISK - SECTOR_U64, &[0; SECTOR]);
    let damaged = "a bootd disk whose partition tables are both damaged";
    assert_eq!(what(&mut disk), damaged);
}
