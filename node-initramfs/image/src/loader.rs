//! The boot loader that a node writes to its disk: GRUB, for UEFI and for BIOS, with one script.
//!
//! Nothing is installed with `grub-install`. For UEFI the loader is one file. For BIOS it is a
//! core image that lies at LBA 2048 and boot code for LBA 0 that starts it; three patches, which
//! `grub-bios-setup` would make, tell both where they lie.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Bytes of boot code that LBA 0 of a partitioned disk has room for.
pub const BIOS_BOOT_CODE: usize = 440;

/// Where the core image lies, in sectors of 512 bytes.
pub const BIOS_CORE_LBA: u64 = 2048;

/// Room for the core image in bytes.
const BIOS_CORE_ROOM: usize = 1024 * 1024;

const SECTOR: usize = 512;

/// The script, as a person reads it.
const SCRIPT: &str = include_str!("grub.cfg");

/// What the core image runs by itself: its own parser knows no `if`, so it goes on at once.
const EARLY: &str = "normal (memdisk)/grub.cfg\n";

/// The second partition of the disk that GRUB was started from.
const PREFIX: &str = "(,gpt2)/bootd";

const MODULES: [&str; 14] = [
    "boot",
    "configfile",
    "echo",
    "fat",
    "linux",
    "loadenv",
    "memdisk",
    "minicmd",
    "normal",
    "part_gpt",
    "search",
    "search_fs_file",
    "tar",
    "test",
];

/// The host's GRUB tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrubTools {
    /// The program, such as `/usr/bin/grub-mkimage`.
    pub mkimage: PathBuf,
    /// The directory with a directory of modules for each platform, such as `/usr/lib/grub`.
    pub modules: PathBuf,
}

impl Default for GrubTools {
    /// Where Debian has them.
    fn default() -> Self {
        GrubTools {
            mkimage: "/usr/bin/grub-mkimage".into(),
            modules: "/usr/lib/grub".into(),
        }
    }
}

/// The loader in its three parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loader {
    /// `/EFI/BOOT/BOOTX64.EFI`.
    pub efi: Vec<u8>,
    /// Boot code for LBA 0.
    pub bios_boot: [u8; BIOS_BOOT_CODE],
    /// The core image, for [`BIOS_CORE_LBA`]; whole sectors.
    pub bios_core: Vec<u8>,
}

/// Why there is no loader.
#[derive(Debug, thiserror::Error)]
pub enum LoaderError {
    /// A program or directory is missing.
    #[error("{path} is missing: install Debian's package {package}")]
    Missing {
        /// What is missing.
        path: PathBuf,
        /// The package that has it.
        package: &'static str,
    },
    /// `grub-mkimage` ran and failed.
    #[error("{program} failed for {platform}: {message}")]
    Failed {
        /// The program.
        program: PathBuf,
        /// GRUB's name of the platform.
        platform: &'static str,
        /// What it said.
        message: String,
    },
    /// A file cannot be read or written, or a program not be run.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// GRUB's image is not of the form that the patches are made for.
    #[error("{what} is not as expected: {why}")]
    Unexpected {
        /// Which image.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}

struct Platform {
    name: &'static str,
    package: &'static str,
    modules: &'static [&'static str],
}

const BIOS: Platform = Platform {
    name: "i386-pc",
    package: "grub-pc-bin",
    modules: &["biosdisk", "serial", "terminal"],
};

const UEFI: Platform = Platform {
    name: "x86_64-efi",
    package: "grub-efi-amd64-bin",
    modules: &["efi_gop"],
};

/// Builds the loader with the host's tools. The same tools give the same bytes.
///
/// # Errors
/// [`LoaderError::Missing`] names the Debian package to install; for the rest see [`LoaderError`].
pub fn build_loader(tools: &GrubTools) -> Result<Loader, LoaderError> {
    if !tools.mkimage.exists() {
        return Err(LoaderError::Missing {
            path: tools.mkimage.clone(),
            package: "grub-common",
        });
    }
    let mut efi = mkimage(tools, &UEFI)?;
    patch_exit(&mut efi);
    let mut bios_core = mkimage(tools, &BIOS)?;
    let boot_path = tools.modules.join(BIOS.name).join("boot.img");
    let boot = read(&boot_path, BIOS.package)?;
    patch_core(&mut bios_core)?;
    Ok(Loader {
        efi,
        bios_boot: patch_boot(&boot)?,
        bios_core,
    })
}

/// Makes one platform's image from the script and the modules.
fn mkimage(tools: &GrubTools, platform: &Platform) -> Result<Vec<u8>, LoaderError> {
    let modules = tools.modules.join(platform.name);
    let probe = modules.join("normal.mod");
    if !probe.exists() {
        return Err(LoaderError::Missing {
            path: probe,
            package: platform.package,
        });
    }
    let scratch = tempfile::tempdir().map_err(|source| LoaderError::Io {
        path: std::env::temp_dir(),
        source,
    })?;
    let early = write(scratch.path().join("early.cfg"), EARLY.as_bytes())?;
    let archive = memory_disk().map_err(|source| LoaderError::Io {
        path: "grub.cfg".into(),
        source,
    })?;
    let memdisk = write(scratch.path().join("memdisk.tar"), &archive)?;
    let image = scratch.path().join("image");
    let mut arguments: Vec<OsString> = vec!["-O".into(), platform.name.into()];
    // `-m` sets a prefix of its own: ours comes after it.
    for (option, value) in [
        ("-d", modules.as_path()),
        ("-m", &memdisk),
        ("-p", Path::new(PREFIX)),
        ("-c", &early),
        ("-o", &image),
    ] {
        arguments.extend([option.into(), value.into()]);
    }
    arguments.extend(MODULES.iter().chain(platform.modules).map(Into::into));
    run(tools, platform, &arguments)?;
    read(&image, platform.package)
}

fn run(
    tools: &GrubTools,
    platform: &Platform,
    arguments: &[OsString],
) -> Result<Output, LoaderError> {
    let output = Command::new(&tools.mkimage).args(arguments).output();
    let output = output.map_err(|source| LoaderError::Io {
        path: tools.mkimage.clone(),
        source,
    })?;
    if output.status.success() {
        return Ok(output);
    }
    Err(LoaderError::Failed {
        program: tools.mkimage.clone(),
        platform: platform.name,
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// GRUB's memory disk: an archive with the script.
fn memory_disk() -> io::Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(u64::try_from(SCRIPT.len()).map_err(io::Error::other)?);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, "grub.cfg", SCRIPT.as_bytes())?;
    archive.into_inner()
}

/// `boot.img`, GRUB's first sector: where the core image lies goes to 0x5c; two `nop` at 0x66
/// let it correct a BIOS that passes a drive number that is no hard disk's (`grub-bios-setup`
/// does the same).
fn patch_boot(boot: &[u8]) -> Result<[u8; BIOS_BOOT_CODE], LoaderError> {
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

/// `grub_exit` of Debian 12's GRUB (2.06) for x86_64, up to where it sets up `Exit`'s arguments;
/// `None` where an address stands.
#[rustfmt::skip]
const EXIT: [Option<u8>; 23] = [
    Some(0xbf), Some(1), Some(0), Some(0), Some(0), // mov edi, 1
    Some(0x50), // push rax
    Some(0x48), Some(0xb8), None, None, None, None, None, None, None, None, // mov rax, ...
    Some(0xff), Some(0xd0), // call rax: grub_machine_fini
    Some(0x45), Some(0x31), Some(0xc0), // xor r8d, r8d
    Some(0x31), Some(0xc9), // xor ecx, ecx
];

/// What follows: the status, EFI_SUCCESS.
const EXIT_STATUS: [u8; 2] = [0x31, 0xd2]; // xor edx, edx

/// Makes GRUB's `exit` return an error to the firmware. GRUB always returns success, and then
/// EDK2 shows its menu and waits, where it would have gone on to the next boot option, the
/// network. A GRUB that is built otherwise stays as it is: it only gets there when neither
/// slot can be loaded.
fn patch_exit(efi: &mut [u8]) {
    let matches = |window: &[u8]| {
        let (head, status) = window.split_at(EXIT.len());
        let mut pairs = head.iter().zip(EXIT);
        status == EXIT_STATUS && pairs.all(|(byte, wanted)| wanted.is_none_or(|it| it == *byte))
    };
    let length = EXIT.len() + EXIT_STATUS.len();
    let places = efi.windows(length).enumerate();
    let mut found = places.filter(|(_, window)| matches(window));
    let (Some((place, _)), None) = (found.next(), found.next()) else {
        return;
    };
    // push 1; pop rdi; push -1; nop: as long as before, and the stack as deep.
    efi[place..place + 6].copy_from_slice(&[0x6a, 0x01, 0x5f, 0x6a, 0xff, 0x90]);
    // pop rdx; push rdx: the status is that -1, which has an error's top bit.
    let status = place + EXIT.len();
    efi[status..status + 2].copy_from_slice(&[0x5a, 0x52]);
}

/// The core image's first sector loads the others: its list of blocks ends at 0x200, one entry of
/// (u64 LBA, u16 sectors, u16 segment), and says where they lie and that they go to 0x8200.
fn patch_core(core: &mut Vec<u8>) -> Result<(), LoaderError> {
    let unexpected = |why| LoaderError::Unexpected {
        what: "GRUB's core image",
        why,
    };
    core.resize(core.len().next_multiple_of(SECTOR), 0);
    let sectors = u16::try_from(core.len() / SECTOR).unwrap_or(u16::MAX);
    if core.len() > BIOS_CORE_ROOM {
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

fn read(path: &Path, package: &'static str) -> Result<Vec<u8>, LoaderError> {
    fs::read(path).map_err(|source| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            LoaderError::Missing { path, package }
        } else {
            LoaderError::Io { path, source }
        }
    })
}

fn write(path: PathBuf, bytes: &[u8]) -> Result<PathBuf, LoaderError> {
    match fs::write(&path, bytes) {
        Ok(()) => Ok(path),
        Err(source) => Err(LoaderError::Io { path, source }),
    }
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
    fn exit_is_patched_where_it_is_found_once() {
        let exit: Vec<u8> = EXIT.iter().map(|byte| byte.unwrap_or(9)).collect();
        let once = [&[7; 5][..], &exit, &EXIT_STATUS, &[7; 5]].concat();
        let mut patched = once.clone();
        patch_exit(&mut patched);
        assert_eq!(patched[5..11], [0x6a, 0x01, 0x5f, 0x6a, 0xff, 0x90]);
        assert_eq!(patched[11..28], once[11..28]);
        assert_eq!(patched[28..30], [0x5a, 0x52]);
        let twice = [once.as_slice(), &once].concat();
        let mut unpatched = twice.clone();
        patch_exit(&mut unpatched);
        assert_eq!(unpatched, twice);
    }

    #[test]
    fn refuses_images_of_another_form() {
        let error = patch_boot(&[0; SECTOR]).expect_err("not a boot sector");
        let text = "GRUB's boot.img is not as expected: it is no boot sector";
        assert_eq!(error.to_string(), text);
        assert!(patch_core(&mut vec![0; BIOS_CORE_ROOM + 1]).is_err());
        assert!(patch_core(&mut Vec::new()).is_err());
    }

    #[test]
    fn names_the_package_that_is_missing() {
        let nowhere = GrubTools {
            mkimage: "/nonexistent/grub-mkimage".into(),
            ..GrubTools::default()
        };
        let error = build_loader(&nowhere).expect_err("missing");
        let text = "/nonexistent/grub-mkimage is missing: install Debian's package grub-common";
        assert_eq!(error.to_string(), text);
        let empty = tempfile::tempdir().expect("tempdir");
        let tools = GrubTools {
            mkimage: "/bin/sh".into(),
            modules: empty.path().to_owned(),
        };
        let error = build_loader(&tools).expect_err("missing");
        let package = "install Debian's package grub-efi-amd64-bin";
        assert!(error.to_string().ends_with(package), "{error}");
    }

    #[test]
    fn the_same_tools_give_the_same_bytes() {
        let loader = build_loader(&GrubTools::default()).expect("GRUB is installed");
        let again = build_loader(&GrubTools::default()).expect("GRUB is installed");
        assert_eq!(loader, again);
        assert!(loader.efi.starts_with(b"MZ"));
        assert!(loader.efi.len() < 4 << 20, "{}", loader.efi.len());
    }
}
