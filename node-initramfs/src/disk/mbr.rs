//! LBA 0: the protective MBR (UEFI 2.10, section 5.2.3), our state, and the BIOS boot code.

use super::SECTOR;

/// Bytes of boot code at the start of LBA 0.
pub const BOOT_CODE: usize = 440;

/// Disk signature of a disk that is being prepared: nothing else on it can be trusted.
pub const PREPARING: [u8; 4] = *b"btd0";

/// Disk signature of a disk whose partitions and loader are whole.
pub const PREPARED: [u8; 4] = *b"btd1";

/// Boot code of a disk that cannot start yet: `int 0x18` hands over to the BIOS's next boot
/// device, where zeros would be run as instructions and hang; then `hlt` for ever.
const NOTHING_TO_START: [u8; 5] = [0xcd, 0x18, 0xf4, 0xeb, 0xfd];

const PROTECTIVE_TYPE: u8 = 0xee;

/// LBA 0 of a disk of `sectors` sectors that has nothing to start.
#[must_use]
pub fn without_boot_code(signature: [u8; 4], sectors: u64) -> [u8; SECTOR] {
    let mut code = [0; BOOT_CODE];
    code[..NOTHING_TO_START.len()].copy_from_slice(&NOTHING_TO_START);
    with_boot_code(signature, sectors, &code)
}

/// LBA 0 of a disk of `sectors` sectors that starts by `code`.
#[must_use]
pub fn with_boot_code(signature: [u8; 4], sectors: u64, code: &[u8; BOOT_CODE]) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    sector[..BOOT_CODE].copy_from_slice(code);
    sector[440..444].copy_from_slice(&signature);
    // One partition from LBA 1 to the end, or to what 32 bits can say.
    let entry = &mut sector[446..462];
    entry[1..4].copy_from_slice(&[0x00, 0x02, 0x00]);
    entry[4] = PROTECTIVE_TYPE;
    entry[5..8].copy_from_slice(&[0xff, 0xff, 0xff]);
    entry[8..12].copy_from_slice(&1u32.to_le_bytes());
    let length = u32::try_from(sectors.saturating_sub(1)).unwrap_or(u32::MAX);
    entry[12..16].copy_from_slice(&length.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// The disk signature.
#[must_use]
pub fn signature(sector: &[u8; SECTOR]) -> [u8; 4] {
    [sector[440], sector[441], sector[442], sector[443]]
}

/// Whether LBA 0 holds boot code other than the one that starts nothing.
#[must_use]
pub fn has_boot_code(sector: &[u8; SECTOR]) -> bool {
    sector[..BOOT_CODE] != without_boot_code(PREPARED, 0)[..BOOT_CODE]
}

/// The partition types of an MBR that has the boot signature; unused entries left out.
#[must_use]
pub fn partition_types(sector: &[u8; SECTOR]) -> Vec<u8> {
    if sector[510..] != [0x55, 0xaa] {
        return Vec::new();
    }
    let types = sector[446..510].chunks_exact(16).map(|entry| entry[4]);
    types.filter(|kind| *kind != 0).collect()
}

/// Whether LBA 0 is a protective MBR.
#[must_use]
pub fn is_protective(sector: &[u8; SECTOR]) -> bool {
    partition_types(sector) == [PROTECTIVE_TYPE]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protective_entry_covers_the_disk() {
        let sector = without_boot_code(PREPARING, 0x20_0000);
        assert_eq!(signature(&sector), *b"btd0");
        assert!(is_protective(&sector));
        assert!(!has_boot_code(&sector));
        assert_eq!(sector[454..462], [1, 0, 0, 0, 0xff, 0xff, 0x1f, 0]);
        assert_eq!(&without_boot_code(PREPARED, u64::MAX)[458..462], [0xff; 4]);
    }

    #[test]
    fn boot_code_is_kept_apart_from_the_table() {
        let sector = with_boot_code(PREPARED, 0x20_0000, &[0x90; BOOT_CODE]);
        assert!(has_boot_code(&sector));
        assert_eq!(signature(&sector), *b"btd1");
        assert!(is_protective(&sector));
    }
}
