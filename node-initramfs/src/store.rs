//! The data partition: blobs, manifests, generations, which slot has what, and what the node
//! remembers.
//!
//! ```text
//! blobs/<sha256>            checked; `<sha256>.part` while it is fetched
//! manifests/<sha256>.json
//! generations/<sha256>/     the tree of a manifest, hard links to blobs
//! slots/a, slots/b          manifest and boot image of the slot, the commit of an update
//! persist/                  what processes keep
//! node.key                  seed of the node's ed25519 key
//! state.json                see [`Memory`]
//! ```
//! Whatever stands under its final name is whole: it was flushed under another name first.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bootd_protocol::digest::Digest;
use bootd_protocol::manifest::{BlobRef, Manifest, ManifestError};
use bootd_protocol::verify::key::SecretKey;
use serde::{Deserialize, Serialize};

use crate::disk::grubenv::Slot;
use crate::plan::Software;

/// A failure of the data partition.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The manifest on the disk is not what its name says.
    #[error("{path}: {source}")]
    Manifest {
        /// The manifest's file.
        path: PathBuf,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// A file of the tree is missing or has another length.
    #[error("{path}: missing or incomplete")]
    Incomplete {
        /// The file.
        path: PathBuf,
    },
}

/// What a node remembers from one boot to the next. All of it can be lost: the node then asks
/// and is told again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Number of the last boot.
    pub boot: u64,
    /// The highest epoch heard of.
    pub epoch: u64,
    /// The name the master gave.
    pub hostname: String,
    /// The network as it was last.
    pub lease: Option<RememberedLease>,
    /// The manifest that did not come up.
    pub failed: Option<Digest>,
    /// The manifest before the current one: kept to go back to without a download.
    pub previous: Option<Digest>,
}

/// A lease as it was last, to ask for again and to live on when nobody answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedLease {
    /// The network card.
    pub interface: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix in bits.
    pub prefix_len: u8,
    /// The way out.
    pub router: Option<Ipv4Addr>,
    /// Who gave it.
    pub server: Ipv4Addr,
    /// Name servers.
    #[serde(default)]
    pub dns: Vec<Ipv4Addr>,
    /// The master and its ports for verify (UDP) and HTTP.
    pub master: Option<(Ipv4Addr, u16, u16)>,
}

/// The data partition.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
}

/// Adds the path to an I/O error.
pub(crate) fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, StoreError> {
    result.map_err(|source| StoreError::Io {
        path: path.to_owned(),
        source,
    })
}

impl Store {
    /// Opens the data partition mounted at `root`, making its directories.
    ///
    /// # Errors
    /// The file system says no.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        for name in ["blobs", "manifests", "generations", "slots", "persist"] {
            let path = root.join(name);
            at(
                &path,
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o755)
                    .create(&path),
            )?;
        }
        Ok(Store {
            root: root.to_owned(),
        })
    }

    /// Where processes keep what outlives a restart.
    #[must_use]
    pub fn persist_dir(&self) -> PathBuf {
        self.root.join("persist")
    }

    /// Where a blob stands once it is whole.
    #[must_use]
    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        self.root.join("blobs").join(digest.to_string())
    }

    /// Where a blob stands while it is fetched.
    #[must_use]
    pub fn part_path(&self, digest: Digest) -> PathBuf {
        self.root.join("blobs").join(format!("{digest}.part"))
    }

    /// Where the tree of a manifest stands.
    #[must_use]
    pub fn generation_path(&self, manifest: Digest) -> PathBuf {
        self.root.join("generations").join(manifest.to_string())
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn manifest_path(&self, digest: Digest) -> PathBuf {
        self.root.join("manifests").join(format!("{digest}.json"))
    }

    /// Whether the blob is here, by name and length.
    #[must_use]
    pub fn has_blob(&self, blob: &BlobRef) -> bool {
        fs::metadata(self.blob_path(blob.sha256)).is_ok_and(|it| it.len() == blob.size)
    }

    /// The blobs of `manifest` that are not here, each once.
    #[must_use]
    pub fn missing(&self, manifest: &Manifest) -> Vec<BlobRef> {
        let mut blobs: Vec<BlobRef> = manifest.blobs().collect();
        blobs.sort_unstable();
        blobs.dedup();
        blobs.retain(|blob| !self.has_blob(blob));
        blobs
    }

    /// Keeps a manifest.
    ///
    /// # Errors
    /// The file system says no.
    pub fn put_manifest(&self, digest: Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.replace(&self.manifest_path(digest), bytes, 0o644)
    }

    /// Reads a manifest back.
    ///
    /// # Errors
    /// It is not here, or not what its name says.
    pub fn manifest(&self, digest: Digest) -> Result<Manifest, StoreError> {
        let path = self.manifest_path(digest);
        let bytes = at(&path, fs::read(&path))?;
        Manifest::from_bytes(&bytes, digest).map_err(|source| StoreError::Manifest { path, source })
    }

    /// What belongs to `slot`: nothing, unless its tree is here.
    #[must_use]
    pub fn software(&self, slot: Slot) -> Software {
        let read = || {
            let text = fs::read_to_string(self.slot_path(slot)).ok()?;
            let (manifest, image) = text.trim_end().split_once(' ')?;
            Some(Software {
                manifest: manifest.parse().ok()?,
                image: image.parse().ok()?,
            })
        };
        read()
            .filter(|it| self.generation_path(it.manifest).is_dir())
            .unwrap_or(Software::NONE)
    }

    /// Lets `slot` belong to `software`, in one step.
    ///
    /// # Errors
    /// The file system says no; the slot then belongs to what it belonged to.
    pub fn point_slot(&self, slot: Slot, software: Software) -> Result<(), StoreError> {
        let text = format!("{} {}\n", software.manifest, software.image);
        self.replace(&self.slot_path(slot), text.as_bytes(), 0o644)
    }

    fn slot_path(&self, slot: Slot) -> PathBuf {
        self.root.join("slots").join(slot.name())
    }

    /// The node's key; made from `seed` the first time.
    ///
    /// # Errors
    /// The file system says no.
    pub fn key(&self, seed: &[u8; SecretKey::LEN]) -> Result<SecretKey, StoreError> {
        let path = self.root.join("node.key");
        match fs::read(&path) {
            Ok(bytes) => {
                if let Ok(kept) = <[u8; SecretKey::LEN]>::try_from(bytes.as_slice()) {
                    return Ok(SecretKey::from_seed(&kept));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return at(&path, Err(error)),
        }
        self.replace(&path, seed, 0o600)?;
        Ok(SecretKey::from_seed(seed))
    }

    /// What the node remembers; nothing if it cannot be read.
    #[must_use]
    pub fn memory(&self) -> Memory {
        fs::read(self.root.join("state.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// Remembers; writes nothing where that is what is remembered already.
    ///
    /// # Errors
    /// The file system says no; what was remembered before still is.
    pub fn remember(&self, memory: &Memory) -> Result<(), StoreError> {
        if self.memory() == *memory {
            return Ok(());
        }
        let path = self.root.join("state.json");
        let bytes = serde_json::to_vec(memory).map_err(io::Error::from);
        self.replace(&path, &at(&path, bytes)?, 0o600)
    }

    /// Puts `bytes` in the place of `path` in one step: after a cut there is the old or the new.
    fn replace(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
        let new = path.with_extension("new");
        let write = || {
            let mut options = File::options();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(mode)
                .open(&new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            let dir = path.parent().unwrap_or(&self.root);
            File::open(dir)?.sync_all()
        };
        at(path, write())
    }
}
