//! The boot loader that a node writes to its disk: GRUB, for UEFI and for BIOS, with one script.
//!
//! Nothing is installed with `grub-install`. For UEFI the loader is one file. For BIOS, which
//! only x86 has, it is a core image that lies at LBA 2048 and boot code for LBA 0 that starts
//! it; three patches, which `grub-bios-setup` would make, tell both where they lie.

mod bios;
mod exit;
mod modules;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bootd_protocol::identity::Arch;
use tempfile::TempDir;

pub use modules::UnpackedModules;

use exit::Patch;

/// Bytes of boot code that LBA 0 of a partitioned disk has room for.
pub const BIOS_BOOT_CODE: usize = 440;

/// Where the core image lies, in sectors of 512 bytes.
pub const BIOS_CORE_LBA: u64 = 2048;

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

/// The loader in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loader {
    /// For UEFI: `/EFI/BOOT/BOOTX64.EFI` or `BOOTAA64.EFI`.
    pub efi: Vec<u8>,
    /// For BIOS, where machines of this architecture have one.
    pub bios: Option<BiosLoader>,
}

/// The loader's parts for BIOS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BiosLoader {
    /// Boot code for LBA 0.
    pub boot: [u8; BIOS_BOOT_CODE],
    /// The core image, for [`BIOS_CORE_LBA`]; whole sectors.
    pub core: Vec<u8>,
}

/// Why there is no loader.
#[derive(Debug, thiserror::Error)]
pub enum LoaderError {
    /// The program is missing.
    #[error("{path} is missing: install Debian's package grub-common")]
    NoProgram {
        /// The program.
        path: PathBuf,
    },
    /// A module is missing.
    #[error("{path} is missing: install Debian's package {package}, or name its file in grub_debs")]
    NoModules {
        /// What is missing.
        path: PathBuf,
        /// The package that has it.
        package: &'static str,
    },
    /// GRUB is not known to run there.
    #[error("no boot loader can be made for {0}: give one, [boot_image.loader] with efi = FILE")]
    NoPlatform(Arch),
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

const UEFI_X86_64: Platform = Platform {
    name: "x86_64-efi",
    package: "grub-efi-amd64-bin",
    modules: &["efi_gop"],
};

const UEFI_AARCH64: Platform = Platform {
    name: "arm64-efi",
    package: "grub-efi-arm64-bin",
    modules: &["efi_gop"],
};

/// Builds the loader for machines of `arch` with the host's tools. The same tools give the same
/// bytes.
///
/// # Errors
/// [`LoaderError::NoProgram`] and [`LoaderError::NoModules`] name the Debian package that is
/// missing; for the rest see [`LoaderError`].
pub fn build_loader(tools: &GrubTools, arch: Arch) -> Result<Loader, LoaderError> {
    match arch {
        Arch::X86_64 => Ok(Loader {
            efi: build_efi(tools, &UEFI_X86_64, &exit::X86_64)?,
            bios: Some(build_bios(tools)?),
        }),
        Arch::Aarch64 => Ok(Loader {
            efi: build_efi(tools, &UEFI_AARCH64, &exit::AARCH64)?,
            bios: None,
        }),
        Arch::Riscv64 => Err(LoaderError::NoPlatform(arch)),
    }
}

fn build_efi(tools: &GrubTools, platform: &Platform, exit: &Patch) -> Result<Vec<u8>, LoaderError> {
    let mut efi = mkimage(tools, platform)?;
    exit::patch(&mut efi, exit);
    Ok(efi)
}

fn build_bios(tools: &GrubTools) -> Result<BiosLoader, LoaderError> {
    let mut core = mkimage(tools, &BIOS)?;
    let boot = read_module(tools, &BIOS, "boot.img")?;
    bios::patch_core(&mut core)?;
    Ok(BiosLoader {
        boot: bios::patch_boot(&boot)?,
        core,
    })
}

/// Makes one platform's image from the script and the modules.
fn mkimage(tools: &GrubTools, platform: &Platform) -> Result<Vec<u8>, LoaderError> {
    if !tools.mkimage.exists() {
        return Err(LoaderError::NoProgram {
            path: tools.mkimage.clone(),
        });
    }
    read_module(tools, platform, "normal.mod")?;
    let modules = tools.modules.join(platform.name);
    let scratch = scratch()?;
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
    fs::read(&image).map_err(|source| LoaderError::Io {
        path: image.clone(),
        source,
    })
}

fn scratch() -> Result<TempDir, LoaderError> {
    tempfile::tempdir().map_err(|source| LoaderError::Io {
        path: std::env::temp_dir(),
        source,
    })
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

fn read_module(tools: &GrubTools, platform: &Platform, name: &str) -> Result<Vec<u8>, LoaderError> {
    let path = tools.modules.join(platform.name).join(name);
    fs::read(&path).map_err(|source| {
        if source.kind() == io::ErrorKind::NotFound {
            LoaderError::NoModules {
                path,
                package: platform.package,
            }
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
    fn names_the_package_that_is_missing() {
        let nowhere = GrubTools {
            mkimage: "/nonexistent/grub-mkimage".into(),
            ..GrubTools::default()
        };
        let error = build_loader(&nowhere, Arch::X86_64).expect_err("missing");
        let text = "/nonexistent/grub-mkimage is missing: install Debian's package grub-common";
        assert_eq!(error.to_string(), text);
        let empty = tempfile::tempdir().expect("tempdir");
        let tools = GrubTools {
            mkimage: "/bin/sh".into(),
            modules: empty.path().to_owned(),
        };
        for (arch, expected) in [
            (
                Arch::X86_64,
                "DIR/x86_64-efi/normal.mod is missing: install Debian's package \
                 grub-efi-amd64-bin, or name its file in grub_debs",
            ),
            (
                Arch::Aarch64,
                "DIR/arm64-efi/normal.mod is missing: install Debian's package \
                 grub-efi-arm64-bin, or name its file in grub_debs",
            ),
            (
                Arch::Riscv64,
                "no boot loader can be made for riscv64: give one, [boot_image.loader] with \
                 efi = FILE",
            ),
        ] {
            let error = build_loader(&tools, arch).expect_err("missing").to_string();
            let directory = empty.path().to_str().expect("UTF-8");
            assert_eq!(error.replace(directory, "DIR"), expected);
        }
    }

    #[test]
    fn the_same_tools_give_the_same_bytes() {
        let build = || build_loader(&GrubTools::default(), Arch::X86_64);
        let loader = build().expect("GRUB is installed");
        assert_eq!(loader, build().expect("GRUB is installed"));
        assert!(loader.efi.starts_with(b"MZ"));
        assert!(loader.efi.len() < 4 << 20, "{}", loader.efi.len());
    }
}
