//! Boot images of a release.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bootd_protocol::manifest::BlobRef;

use super::format;
use super::release::BootImage;
use crate::blobs::{BlobError, BlobWriter};
use crate::keys::PublicKey;

/// Why there is no boot image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A ready-made part that cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It cannot be stored.
    #[error(transparent)]
    Store(#[from] BlobError),
}

/// Makes a boot image and its loader; their bytes go to `blobs`. Paths are relative to `base`.
pub(super) fn image(
    source: &BootImage,
    base: &Path,
    _trust: &[PublicKey],
    blobs: &BlobWriter,
) -> Result<format::BootImage, ImageError> {
    let store = |path: &Path| store_file(&base.join(path), blobs);
    let loader = &source.loader;
    Ok(format::BootImage {
        name: source.name.clone(),
        version: source.version.clone(),
        arch: source.arch,
        uki: store(&source.uki)?,
        efi: store(&loader.efi)?,
        bios_boot: loader.bios_boot.as_deref().map(store).transpose()?,
        bios_core: loader.bios_core.as_deref().map(store).transpose()?,
    })
}

fn store_file(path: &Path, blobs: &BlobWriter) -> Result<BlobRef, ImageError> {
    let file = File::open(path).map_err(|source| ImageError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(blobs.put(file)?)
}
