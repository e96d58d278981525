//! The manifest: what one node should have, as canonical JSON named by its SHA-256.
//!
//! Canonical means: this struct order, sorted file paths, no white space, so that the same
//! wish always has the same bytes and so the same digest. It names no node: all nodes of one
//! class, architecture and firmware share one manifest.

pub mod delta;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::identity::Arch;

/// The manifest format this code writes and reads.
pub const FORMAT: u32 = 1;

/// Largest manifest a node accepts, in bytes.
pub const MAX_LEN: usize = 16 * 1024 * 1024;

/// What one node should have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always [`FORMAT`].
    pub format: u32,
    /// The class that asked for it.
    pub class: String,
    /// Processor architecture of every program in it.
    pub arch: Arch,
    /// What the node boots.
    pub boot: Boot,
    /// The packages in it, base packages last.
    pub packages: Vec<PackageRef>,
    /// The tree the processes see, sorted by path: one entry for each path, the winner where
    /// packages fought over it.
    pub files: Vec<File>,
    /// What `init` starts, in this order.
    pub processes: Vec<Process>,
    /// What the node does when things are not as usual.
    pub policy: Policy,
}

/// A blob: content by digest and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobRef {
    /// SHA-256 of the content.
    pub sha256: Digest,
    /// Length in bytes.
    pub size: u64,
}

/// The boot image and the loader that starts it from the local disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// Name of the boot image.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The unified kernel image.
    pub image: BlobRef,
    /// The disk's boot loader.
    pub loader: Loader,
}

/// The parts of the boot loader, written once when a disk is installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loader {
    /// `EFI/BOOT/BOOT*.EFI` on the EFI system partition.
    pub efi: BlobRef,
    /// Boot code of the first sector (440 bytes) for BIOS machines.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bios_boot: Option<BlobRef>,
    /// What it loads, in the BIOS boot partition.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bios_core: Option<BlobRef>,
}

/// One package of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageRef {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// One path of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Absolute, without `.`, `..` or a trailing slash.
    pub path: String,
    /// Permission bits (`07777`).
    pub mode: u32,
    /// Owner, numeric.
    pub uid: u32,
    /// Group, numeric.
    pub gid: u32,
    /// What stands there.
    #[serde(flatten)]
    pub content: Content,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// A regular file.
    Regular(BlobRef),
    /// A symbolic link to this target.
    Symlink(String),
    /// A directory.
    Directory(Empty),
}

/// `{}`: a directory has nothing more to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// A process that `init` starts and watches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Unique in its manifest.
    pub name: String,
    /// The package it comes from.
    pub package: String,
    /// Program (absolute path) and arguments.
    pub argv: Vec<String>,
    /// Environment, `KEY=value`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub env: Vec<String>,
    /// What happens when it ends.
    pub restart: Restart,
    /// Who deals with a change of what it uses.
    #[serde(skip_serializing_if = "is_default", default)]
    pub kind: ProcessKind,
    /// When it counts as ready.
    #[serde(skip_serializing_if = "is_default", default)]
    pub readiness: Readiness,
    /// Resource limits by the names of `prlimit(1)`, in its units: soft and hard ones alike.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub limits: BTreeMap<String, u64>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Who deals with a change of what a process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessKind {
    /// `init` does: it restarts the process.
    #[default]
    Simple,
    /// The process does, once it is told.
    SelfManaging,
}

/// When a process counts as ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Readiness {
    /// Once it runs.
    #[default]
    Started,
    /// Once it has sent `READY=1` (`sd_notify(3)`).
    Notify,
    /// Once this TCP port accepts.
    Tcp(u16),
    /// Once this path is there.
    Path(String),
}

impl FromStr for Readiness {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "it is started, notify, tcp:PORT or path:/FILE";
        match text.split_once(':') {
            None if text == "started" => Ok(Readiness::Started),
            None if text == "notify" => Ok(Readiness::Notify),
            Some(("tcp", port)) => port.parse().map(Readiness::Tcp).map_err(|_| wrong),
            Some(("path", path)) if is_clean_path(path) => Ok(Readiness::Path(path.to_owned())),
            _ => Err(wrong),
        }
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Readiness::Started => f.write_str("started"),
            Readiness::Notify => f.write_str("notify"),
            Readiness::Tcp(port) => write!(f, "tcp:{port}"),
            Readiness::Path(path) => write!(f, "path:{path}"),
        }
    }
}

/// The names that [`Process::limits`] may have: those of `prlimit(1)`.
pub const LIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Whether all limits have names that there are.
///
/// # Errors
/// The first that has not, in words.
pub fn check_limits(limits: &BTreeMap<String, u64>) -> Result<(), String> {
    match limits.keys().find(|name| !LIMITS.contains(&name.as_str())) {
        Some(unknown) => {
            let known = LIMITS.join(", ");
            Err(format!("limits names {unknown:?}; there are {known}"))
        }
        None => Ok(()),
    }
}

/// What happens when a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// It is started again, with growing pauses.
    Always,
    /// It is started again unless it ended with status 0.
    OnFailure,
    /// It is left alone: a one-shot; the next process waits for its end.
    Never,
}

/// What the node does when things are not as usual.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// When no master answers.
    pub on_silence: OnSilence,
    /// When the disk holds somebody else's data.
    pub foreign_disk: ForeignDisk,
    /// The disk to install on (`vda`, `nvme0n1`, …); the first fitting one if absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub disk: Option<String>,
}

/// When no master answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnSilence {
    /// Run what is there.
    Run,
    /// Keep asking, run nothing.
    Hold,
}

/// When the disk holds somebody else's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForeignDisk {
    /// Leave it alone and say so.
    Keep,
    /// Overwrite it.
    Overwrite,
}

/// Why a manifest was refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not the bytes that were asked for.
    #[error("manifest is {actual}, expected {expected}")]
    WrongDigest {
        /// The digest that names it.
        expected: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// Not a manifest of this format.
    #[error("manifest cannot be read: {0}")]
    Syntax(#[from] serde_json::Error),
    /// A manifest of another format.
    #[error("manifest has format {0}, this program reads format {FORMAT}")]
    Format(u32),
    /// A path that leaves the tree or stands twice.
    #[error("manifest path {0:?} is not absolute and clean, or not in sorted order")]
    Path(String),
}

impl Manifest {
    /// The canonical bytes.
    ///
    /// # Errors
    /// Only if serde_json fails, which it does not for these types.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads a manifest that must have the digest `expected`.
    ///
    /// # Errors
    /// Another digest, another format, a path that is not clean or not in order.
    pub fn from_bytes(bytes: &[u8], expected: Digest) -> Result<Self, ManifestError> {
        let actual = Digest::of(bytes);
        if actual != expected {
            return Err(ManifestError::WrongDigest { expected, actual });
        }
        #[derive(Deserialize)]
        struct Probe {
            format: u32,
        }
        let Probe { format } = serde_json::from_slice(bytes)?;
        if format != FORMAT {
            return Err(ManifestError::Format(format));
        }
        let manifest: Manifest = serde_json::from_slice(bytes)?;
        manifest.check_paths()?;
        Ok(manifest)
    }

    fn check_paths(&self) -> Result<(), ManifestError> {
        let mut last = "";
        for file in &self.files {
            if !is_clean_path(&file.path) || file.path.as_str() <= last {
                return Err(ManifestError::Path(file.path.clone()));
            }
            last = &file.path;
        }
        Ok(())
    }

    /// Every blob in it, loader and boot image included; one that stands at several paths
    /// comes several times.
    pub fn blobs(&self) -> impl Iterator<Item = BlobRef> + '_ {
        let loader = &self.boot.loader;
        let boot = [
            Some(self.boot.image),
            Some(loader.efi),
            loader.bios_boot,
            loader.bios_core,
        ];
        boot.into_iter().flatten().chain(self.file_blobs())
    }

    /// The blobs of the tree alone.
    pub fn file_blobs(&self) -> impl Iterator<Item = BlobRef> + '_ {
        self.files.iter().filter_map(|file| match &file.content {
            Content::Regular(blob) => Some(*blob),
            Content::Symlink(_) | Content::Directory(_) => None,
        })
    }
}

/// Whether `path` is absolute, below `/`, and free of `.`, `..`, empty parts and NUL.
#[must_use]
pub fn is_clean_path(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|rest| {
        rest.split('/')
            .all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn sample() -> Manifest {
        let blob = BlobRef {
            sha256: Digest::of(b"x"),
            size: 1,
        };
        Manifest {
            format: FORMAT,
            class: "web".into(),
            arch: Arch::X86_64,
            boot: Boot {
                name: "debian".into(),
                version: "6.1".into(),
                image: blob,
                loader: Loader {
                    efi: blob,
                    bios_boot: Some(blob),
                    bios_core: None,
                },
            },
            packages: vec![PackageRef {
                name: "site".into(),
                version: "1".into(),
            }],
            files: vec![
                File {
                    path: "/srv".into(),
                    mode: 0o755,
                    uid: 0,
                    gid: 0,
                    content: Content::Directory(Empty {}),
                },
                File {
                    path: "/srv/a".into(),
                    mode: 0o644,
                    uid: 0,
                    gid: 0,
                    content: Content::Regular(blob),
                },
            ],
            processes: vec![],
            policy: Policy {
                on_silence: OnSilence::Run,
                foreign_disk: ForeignDisk::Keep,
                disk: None,
            },
        }
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let bytes = sample().to_bytes().unwrap();
        assert_eq!(
            Manifest::from_bytes(&bytes, Digest::of(&bytes)).unwrap(),
            sample()
        );
        assert_eq!(sample().blobs().count(), 4);
    }

    #[test]
    fn refuses_other_bytes_formats_and_paths() {
        let bytes = sample().to_bytes().unwrap();
        assert!(matches!(
            Manifest::from_bytes(&bytes, Digest::NONE),
            Err(ManifestError::WrongDigest { .. })
        ));

        let newer = br#"{"format":2,"unheard":"of"}"#;
        assert!(matches!(
            Manifest::from_bytes(newer, Digest::of(newer)),
            Err(ManifestError::Format(2))
        ));

        for path in ["/srv/../etc", "srv", "/srv/", "/", "/a//b", "/srv"] {
            let mut manifest = sample();
            manifest.files[1].path = path.into();
            let bytes = manifest.to_bytes().unwrap();
            let result = Manifest::from_bytes(&bytes, Digest::of(&bytes));
            assert!(matches!(result, Err(ManifestError::Path(_))), "{path}");
        }
    }
}
