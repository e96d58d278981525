//! Boot images of a release: ready-made, or built from Debian packages.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use boot_image::deb::{Deb, DebError};
use boot_image::kernel::ModuleSet;
use boot_image::loader::{GrubTools, Loader, LoaderError, UnpackedModules, build_loader};
use boot_image::{BuildError, ImageSpec, default_cmdline};
use bootd_protocol::manifest::{self, BlobRef};
use bootd_protocol::verify::key::PublicKey;

use super::format;
use super::release::{BootImage, Build};
use crate::blobs::{BlobError, BlobWriter};

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
    /// Neither a ready-made image nor what to build one from, or both.
    #[error("it needs either uki = FILE or a table [boot_image.build]")]
    Source,
    /// It cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Its loader cannot be made.
    #[error("its boot loader")]
    Loader(#[from] LoaderError),
    /// What its loader is made from cannot be read.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// It cannot be stored.
    #[error(transparent)]
    Store(#[from] BlobError),
}

/// Makes a boot image and its loader; their bytes go to `blobs`. Paths are relative to `base`;
/// an image that is built believes the masters in `trust`.
pub(super) fn image(
    source: &BootImage,
    base: &Path,
    trust: &[PublicKey],
    blobs: &BlobWriter,
) -> Result<format::BootImage, ImageError> {
    let uki = match (&source.uki, &source.build) {
        (Some(path), None) => store_file(&base.join(path), blobs)?,
        (None, Some(build)) => {
            let spec = spec(source, build, base, trust);
            blobs.put(boot_image::build(&spec)?.as_slice())?
        }
        (Some(_), Some(_)) | (None, None) => return Err(ImageError::Source),
    };
    let loader = loader(source, base, blobs)?;
    Ok(format::BootImage {
        name: source.name.clone(),
        version: source.version.clone(),
        arch: source.arch,
        uki,
        efi: loader.efi,
        bios_boot: loader.bios_boot,
        bios_core: loader.bios_core,
    })
}

/// The loader: the release's files, or GRUB made by the tools of this machine.
fn loader(
    source: &BootImage,
    base: &Path,
    blobs: &BlobWriter,
) -> Result<manifest::Loader, ImageError> {
    let Some(files) = &source.loader else {
        let built = grub(source, base)?;
        let (mut bios_boot, mut bios_core) = (None, None);
        if let Some(bios) = built.bios {
            bios_boot = Some(blobs.put(bios.boot.as_slice())?);
            bios_core = Some(blobs.put(bios.core.as_slice())?);
        }
        return Ok(manifest::Loader {
            efi: blobs.put(built.efi.as_slice())?,
            bios_boot,
            bios_core,
        });
    };
    let store = |path: &Path| store_file(&base.join(path), blobs);
    Ok(manifest::Loader {
        efi: store(&files.efi)?,
        bios_boot: files.bios_boot.as_deref().map(store).transpose()?,
        bios_core: files.bios_core.as_deref().map(store).transpose()?,
    })
}

/// GRUB, with the modules of the packages that the release names, or with those that are
/// installed here.
fn grub(source: &BootImage, base: &Path) -> Result<Loader, ImageError> {
    let debs = source.build.iter().flat_map(|build| &build.grub_debs);
    let debs: Vec<Deb> = debs
        .map(|path| Deb::open(&base.join(path)))
        .collect::<Result<_, _>>()?;
    if debs.is_empty() {
        return Ok(build_loader(&GrubTools::default(), source.arch)?);
    }
    let modules = UnpackedModules::new(&debs)?;
    Ok(build_loader(&modules.tools(), source.arch)?)
}

fn spec(source: &BootImage, build: &Build, base: &Path, trust: &[PublicKey]) -> ImageSpec {
    let mut modules = ModuleSet::default();
    modules.required.extend(build.modules.iter().cloned());
    let cmdline = build.cmdline.as_deref();
    let cmdline = cmdline.unwrap_or(default_cmdline(source.arch));
    ImageSpec {
        kernel_deb: base.join(&build.kernel_deb),
        stub_deb: base.join(&build.stub_deb),
        tool_debs: build.tool_debs.iter().map(|path| base.join(path)).collect(),
        init: base.join(&build.init),
        modules,
        trust: trust.to_vec(),
        cmdline: cmdline.to_owned(),
        name: source.name.clone(),
        version: source.version.clone(),
        arch: source.arch,
    }
}

fn store_file(path: &Path, blobs: &BlobWriter) -> Result<BlobRef, ImageError> {
    let file = File::open(path).map_err(|source| ImageError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(blobs.put(file)?)
}
