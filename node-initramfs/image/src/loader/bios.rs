//! GRUB for BIOS: the patches that `grub-bios-setup` would make.

use super::{BIOS_BOOT_CODE, BIOS_CORE_LBA, LoaderError};

/// Room for the core image in bytes.
const CORE_ROOM: usize = 1024 * 1024;

const SECTOR: usize = 512;

/// `boot.img`, GRUB's first sector: where the core image lies goes to 0x5c; two `nop` at 0x66
/// let it correct a BIOS that passes a drive number that is no hard disk's (`grub-bios-setup`
/// does the same).
pub(super) fn patch_boot(boot: &[u8]) -> Result<[u8; BIOS_BOOT_CODE], LoaderError> {
    let unexpected = |why| LoaderError::Unexpected {
        what: "GRUB's boot.img",
        why,
    };
    if boot.len() != SECTOR || boot[510..] != [0x55, 0xaa] {
        return Err(unexpected("it is no boot sector"));
    }
    // The jump over that correction.
    if boot[0x66] != 0xeb {
        return Err(unexpected("there is no jump at 0x66"));
    }
    let mut code = [0; BIOS_BOOT_CODE];
    code.copy_from_slice(&boot[..BIOS_BOOT_CODE]);
    code[0x5c..0x64].copy_from_slice(&BIOS_CORE_LBA.to_le_bytes());
    code[0x66..0x68].copy_from_slice(&[0x90, 0x90]);
    Ok(code)
}

/// The core image's first sector loads the others: its list of blocks ends at 0x200, one entry of
/// (u64 LBA, u16 sectors, u16 segment), and says where they lie and that they go to 0x8200.
pub(super) fn patch_core(core: &mut Vec<u8>) -> Result<(), LoaderError> {
    let unexpected = |why| LoaderError::Unexpected {
        what: "GRUB's core image",
        why,
    };
    core.resize(core.len().next_multiple_of(SECTOR), 0);
    let sectors = u16::try_from(core.len() / SECTOR).unwrap_or(u16::MAX);
    if core.len() > CORE_ROOM {
        return Err(unexpected("it is larger than 1 MiB"));
    }
    let list = core
        .get_mut(0x1f4..0x200)
        .ok_or_else(|| unexpected("it is empty"))?;
    list[..8].copy_from_slice(&(BIOS_CORE_LBA + 1).to_le_bytes());
    list[8..10].copy_from_slice(&(sectors - 1).to_le_bytes());
    list[10..].copy_from_slice(&0x820u16.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_say_where_everything_lies() {
        let mut boot = [0; SECTOR];
        boot[0x66] = 0xeb;
        boot[510..].copy_from_slice(&[0x55, 0xaa]);
        let code = patch_boot(&boot).expect("a boot sector");
        assert_eq!(code[0x5c..0x68], [0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0x90, 0x90]);
        let mut core = vec![7; 1025];
        patch_core(&mut core).expect("fits");
        assert_eq!(core.len(), 1536);
        assert_eq!(core[0x1f4..0x200], [1, 8, 0, 0, 0, 0, 0, 0, 2, 0, 0x20, 8]);
    }

    #[test]
    fn refuses_images_of_another_form() {
        let error = patch_boot(&[0; SECTOR]).expect_err("not a boot sector");
        let text = "GRUB's boot.img is not as expected: it is no boot sector";
        assert_eq!(error.to_string(), text);
        assert!(patch_core(&mut vec![0; CORE_ROOM + 1]).is_err());
        assert!(patch_core(&mut Vec::new()).is_err());
    }
}
