//! GUID partition tables (UEFI 2.10, section 5.3): both copies, built and parsed.

use super::guid::Guid;
use super::{SECTOR, SECTOR_U64};

/// Type of an EFI system partition (UEFI 2.10, table 5-7).
pub const TYPE_ESP: Guid = Guid::new(0xC12A7328_F81F_11D2_BA4B_00A0C93EC93B);

/// Type of a BIOS boot partition (GRUB's manual, "BIOS installation").
pub const TYPE_BIOS_BOOT: Guid = Guid::new(0x21686148_6449_6E6F_744E_656564454649);

/// Type of bootd's data partition: our own, so that nothing mounts it by its type.
pub const TYPE_DATA: Guid = Guid::new(0x2D0BDA7A_6E0F_4C58_9F1B_0B00D0DA7A01);

/// Entries in a table that we write.
const ENTRIES: usize = 128;

/// Bytes of one entry that we write.
const ENTRY: usize = 128;

/// Sectors that the entries take.
const ENTRY_SECTORS: u64 = 32;

/// Bytes of the header that its CRC covers.
const HEADER: usize = 92;

/// The longest entry array that is read, in bytes: ours, four times.
const MAX_ENTRIES_BYTES: usize = 4 * ENTRIES * ENTRY;

/// One partition; LBAs are of 512 bytes, `last_lba` is inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// What it is for.
    pub kind: Guid,
    /// This one partition's name for machines.
    pub unique: Guid,
    /// First sector.
    pub first_lba: u64,
    /// Last sector.
    pub last_lba: u64,
    /// At most 36 characters (UTF-16 units); longer names are cut.
    pub name: String,
}

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpt {
    /// The disk's name for machines.
    pub disk: Guid,
    /// The used entries in order.
    pub partitions: Vec<Partition>,
}

/// One copy of a table as bytes: where its parts go (in LBAs) and what they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableBytes {
    /// LBA of the header.
    pub header_lba: u64,
    /// The header's sector.
    pub header: [u8; SECTOR],
    /// LBA of the entries.
    pub entries_lba: u64,
    /// The entries.
    pub entries: Vec<u8>,
}

/// The first sector a partition may use.
#[must_use]
pub const fn first_usable() -> u64 {
    2 + ENTRY_SECTORS
}

/// The last sector a partition may use on a disk of `sectors` sectors.
#[must_use]
pub const fn last_usable(sectors: u64) -> u64 {
    sectors.saturating_sub(2 + ENTRY_SECTORS)
}

impl Gpt {
    /// The copy at the start of a disk of `sectors` sectors.
    #[must_use]
    pub fn primary(&self, sectors: u64) -> TableBytes {
        self.encode(sectors, 1, sectors - 1, 2)
    }

    /// The copy at the end of a disk of `sectors` sectors.
    #[must_use]
    pub fn backup(&self, sectors: u64) -> TableBytes {
        self.encode(sectors, sectors - 1, 1, last_usable(sectors) + 1)
    }

    fn encode(&self, sectors: u64, own: u64, other: u64, entries_lba: u64) -> TableBytes {
        let mut entries = vec![0; ENTRIES * ENTRY];
        for (bytes, partition) in entries.chunks_exact_mut(ENTRY).zip(&self.partitions) {
            partition.encode(bytes);
        }
        let mut header = [0; SECTOR];
        header[..8].copy_from_slice(b"EFI PART");
        header[8..12].copy_from_slice(&[0, 0, 1, 0]);
        put_u32(&mut header, 12, 92);
        put_u64(&mut header, 24, own);
        put_u64(&mut header, 32, other);
        put_u64(&mut header, 40, first_usable());
        put_u64(&mut header, 48, last_usable(sectors));
        header[56..72].copy_from_slice(&self.disk.to_disk());
        put_u64(&mut header, 72, entries_lba);
        put_u32(&mut header, 80, 128);
        put_u32(&mut header, 84, 128);
        put_u32(&mut header, 88, crc32fast::hash(&entries));
        let crc = crc32fast::hash(&header[..HEADER]);
        put_u32(&mut header, 16, crc);
        TableBytes {
            header_lba: own,
            header,
            entries_lba,
            entries,
        }
    }
}

impl Partition {
    fn encode(&self, bytes: &mut [u8]) {
        bytes[..16].copy_from_slice(&self.kind.to_disk());
        bytes[16..32].copy_from_slice(&self.unique.to_disk());
        put_u64(bytes, 32, self.first_lba);
        put_u64(bytes, 40, self.last_lba);
        let units = self.name.encode_utf16();
        for (place, unit) in bytes[56..128].chunks_exact_mut(2).zip(units) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let kind = Guid::from_disk(get(bytes, 0)?);
        if kind == Guid::ZERO {
            return None;
        }
        let units = bytes.get(56..128)?.chunks_exact(2);
        let units = units.map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        let name: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        Some(Partition {
            kind,
            unique: Guid::from_disk(get(bytes, 16)?),
            first_lba: u64::from_le_bytes(get(bytes, 32)?),
            last_lba: u64::from_le_bytes(get(bytes, 40)?),
            name: String::from_utf16_lossy(&name),
        })
    }
}

/// A header that passed its checks: where its entries are, and what they must hash to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    disk: Guid,
    entries_lba: u64,
    entry_bytes: usize,
    total_bytes: usize,
    entries_crc: u32,
}

impl Header {
    /// Reads the header at `own_lba`; `None` when it is not one, or not whole.
    #[must_use]
    pub fn parse(sector: &[u8; SECTOR], own_lba: u64) -> Option<Self> {
        let mut covered: [u8; HEADER] = get(sector, 0)?;
        let length = u32::from_le_bytes(get(sector, 12)?);
        let crc = u32::from_le_bytes(get(sector, 16)?);
        covered[16..20].fill(0);
        let whole = sector.starts_with(b"EFI PART")
            && usize::try_from(length) == Ok(HEADER)
            && crc32fast::hash(&covered) == crc
            && u64::from_le_bytes(get(sector, 24)?) == own_lba;
        if !whole {
            return None;
        }
        let count = usize::try_from(u32::from_le_bytes(get(sector, 80)?)).ok()?;
        let entry_bytes = usize::try_from(u32::from_le_bytes(get(sector, 84)?)).ok()?;
        let total_bytes = count.checked_mul(entry_bytes)?;
        if entry_bytes < ENTRY || total_bytes > MAX_ENTRIES_BYTES {
            return None;
        }
        Some(Header {
            disk: Guid::from_disk(get(sector, 56)?),
            entries_lba: u64::from_le_bytes(get(sector, 72)?),
            entry_bytes,
            total_bytes,
            entries_crc: u32::from_le_bytes(get(sector, 88)?),
        })
    }

    /// Where the entries are: offset and length in bytes.
    #[must_use]
    pub fn entries(&self) -> (u64, usize) {
        (
            self.entries_lba.saturating_mul(SECTOR_U64),
            self.total_bytes,
        )
    }

    /// Reads the entries; `None` when they are not the ones that the header was made for.
    #[must_use]
    pub fn parse_entries(&self, bytes: &[u8]) -> Option<Gpt> {
        if bytes.len() != self.total_bytes || crc32fast::hash(bytes) != self.entries_crc {
            return None;
        }
        let partitions = bytes.chunks_exact(self.entry_bytes);
        Some(Gpt {
            disk: self.disk,
            partitions: partitions.filter_map(Partition::parse).collect(),
        })
    }
}

fn get<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset + N)?.try_into().ok()
}

fn put_u32(bytes: &mut [u8], offset: usize, value: u32) {
    bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_u64(bytes: &mut [u8], offset: usize, value: u64) {
    bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Gpt {
        Gpt {
            disk: Guid::derive(&[1; 16], 0),
            partitions: vec![Partition {
                kind: TYPE_ESP,
                unique: Guid::derive(&[1; 16], 1),
                first_lba: 2048,
                last_lba: 4095,
                name: "bootd-esp".into(),
            }],
        }
    }

    #[test]
    fn both_copies_read_back() {
        for bytes in [table().primary(1 << 21), table().backup(1 << 21)] {
            let header = Header::parse(&bytes.header, bytes.header_lba).expect("whole");
            assert_eq!(header.entries(), (bytes.entries_lba * 512, 16384));
            assert_eq!(header.parse_entries(&bytes.entries), Some(table()));
        }
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let bytes = table().primary(1 << 21);
        for index in 0..HEADER {
            let mut header = bytes.header;
            header[index] ^= 1;
            assert_eq!(Header::parse(&header, 1), None, "byte {index}");
        }
        assert_eq!(Header::parse(&bytes.header, 2), None);
        let header = Header::parse(&bytes.header, 1).expect("whole");
        let mut entries = bytes.entries;
        entries[100] ^= 1;
        assert_eq!(header.parse_entries(&entries), None);
    }
}
