//! The initramfs of a boot image.
//!
//! | path | what stands there |
//! |---|---|
//! | `/init` | the node's init, static |
//! | `/dev/console`, `/dev/null` | so that init can speak before it has mounted `/dev` |
//! | `/proc /sys /run /data /sysroot` | empty, for mounts |
//! | `/lib/modules/*.ko`, `/lib/modules/index` | kernel modules: [`bootd_protocol::modindex`] |
//! | `/etc/bootd/trust` | public keys of the master, 64 hexadecimal digits on each line |
//! | `/sbin/mke2fs`, `/etc/mke2fs.conf` | with its libraries: makes the data partition |

pub mod cpio;

use bootd_protocol::verify::key::PublicKey;
use zstd::zstd_safe::CParameter;

use crate::BuildError;
use crate::kernel::{self, Picked};
use crate::tools::Sysroot;
use cpio::Archive;

/// Level of zstd. The kernel unpacks what levels 1 to 22 made in the same time, give or take a
/// fiftieth of its whole start; this level's output is two thirds of the first level's, and 22
/// gains 0.2 % more.
const LEVEL: i32 = 19;

/// Logarithm of the largest distance of a repetition, in bytes: the kernel allocates as much
/// to decompress.
const WINDOW_LOG: u32 = 23;

/// What goes into an initramfs.
#[derive(Debug)]
pub struct Contents<'a> {
    /// The node's init.
    pub init: &'a [u8],
    /// Kernel modules, each behind what it needs.
    pub modules: &'a [Picked<'a>],
    /// Public keys of the masters that the node believes.
    pub trust: &'a [PublicKey],
    /// Where `mke2fs` and its libraries come from.
    pub tools: Sysroot<'a>,
}

/// Builds the archive, not compressed.
///
/// # Errors
/// A module that cannot stand in the index; `mke2fs`, its configuration or a library of its
/// that is in none of the packages.
pub fn archive(contents: &Contents<'_>) -> Result<Vec<u8>, BuildError> {
    let mut archive = Archive::default();
    archive.file("/init", 0o755, contents.init)?;
    for path in ["/dev", "/proc", "/sys", "/run", "/data", "/sysroot"] {
        archive.directory(path)?;
    }
    archive.character_device("/dev/console", 0o600, 5, 1)?;
    archive.character_device("/dev/null", 0o666, 1, 3)?;

    let files: Vec<String> = contents.modules.iter().map(Picked::file).collect();
    let index = kernel::index(contents.modules, &files)?.to_string();
    archive.file("/lib/modules/index", 0o644, index.into_bytes())?;
    for (module, file) in contents.modules.iter().zip(&files) {
        archive.file(&format!("/lib/modules/{file}"), 0o644, &*module.bytes)?;
    }

    let trust: String = contents
        .trust
        .iter()
        .map(|key| format!("{key}\n"))
        .collect();
    archive.file("/etc/bootd/trust", 0o644, trust.into_bytes())?;

    contents.tools.add_program(&mut archive, "/sbin/mke2fs")?;
    contents.tools.add_file(&mut archive, "/etc/mke2fs.conf")?;
    Ok(archive.to_bytes()?)
}

/// Compresses an archive as the kernel reads it.
///
/// # Errors
/// Only if zstd fails, which it does not on memory.
pub fn compress(archive: &[u8]) -> Result<Vec<u8>, BuildError> {
    let compress = || {
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        compressor.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
        compressor.compress(archive)
    };
    compress().map_err(BuildError::Compress)
}
