//! Makes a composite from a release file.
//!
//! The same input, signed with the same key, gives the same bytes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use bootd_protocol::digest::Digest;
use bootd_protocol::manifest::{BlobRef, PackageRef};
use bootd_protocol::verify::key::PublicKey;
use minisign::SecretKey;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::columns::{self, NoColumn};
use super::format::{self, Composite, Descriptor, Index, OciManifest};
use super::image::{self, ImageError};
use super::package::{self, PackageError};
use super::release::{self, Release};
use super::sign::{self, SignError};
use crate::blobs::{BlobError, BlobStore, BlobWriter};
use crate::error::Error;

/// Why a composite could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The release file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The release file is no release.
    #[error("{} is not a release file, or no description of a package", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A boot image that cannot be built.
    #[error("boot image {name} {version}")]
    Image {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// Why not.
        source: Box<ImageError>,
    },
    /// A package that cannot be gathered.
    #[error("package {name} {version}")]
    Package {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// Why not.
        source: Box<PackageError>,
    },
    /// A row with a column that its table does not have.
    #[error(transparent)]
    Column(#[from] NoColumn),
    /// A package or boot image that no catalog would take.
    #[error("no catalog would take it: {0}")]
    Refused(#[from] rusqlite::Error),
    /// An update that is for nobody, or for both.
    #[error("an update needs either class = NAME or nodes = [NAME, …]")]
    Update,
    /// A list that names what is not in the release.
    #[error("{whose} names {what} {name:?}, which is not in this release once: write NAME=VERSION")]
    List {
        /// Whose list.
        whose: String,
        /// `package` or `boot image`.
        what: &'static str,
        /// What it names.
        name: String,
    },
    /// The work directory or the composite cannot be written.
    #[error(transparent)]
    Store(#[from] BlobError),
    /// The composite cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl From<Error> for ComposeError {
    fn from(error: Error) -> Self {
        ComposeError::Store(error.into())
    }
}

/// A composite that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its description.
    pub composite: Composite,
    /// Digest of the description.
    pub digest: Digest,
    /// Size of the file in bytes.
    pub size: u64,
}

/// Makes the composite `output` from the release file `release`, signed with `key`. Boot images
/// that are built believe the masters in `trust`. `say` is told each step.
///
/// # Errors
/// See [`ComposeError`]; `output` is not touched then.
pub fn compose(
    release: &Path,
    output: &Path,
    key: &SecretKey,
    trust: &[PublicKey],
    say: &mut dyn FnMut(&str),
) -> Result<Made, ComposeError> {
    let base = release.parent().unwrap_or(Path::new("."));
    write_composite(read(release)?, base, output, key, trust, say)
}

/// Makes the composite `output` with one package, signed with `key`. Paths are relative to `base`.
///
/// # Errors
/// As [`compose`].
pub fn pack(
    package: release::Package,
    base: &Path,
    output: &Path,
    key: &SecretKey,
    say: &mut dyn FnMut(&str),
) -> Result<Made, ComposeError> {
    let release = Release {
        name: package.name.clone(),
        version: package.version.clone(),
        packages: vec![package],
        ..Release::default()
    };
    write_composite(release, base, output, key, &[], say)
}

/// The description of a package in a TOML file: what stands below `[[package]]` in a release file.
///
/// # Errors
/// A file that cannot be read, or is no such description.
pub fn read_package(path: &Path) -> Result<release::Package, ComposeError> {
    read(path)
}

fn write_composite(
    release: Release,
    base: &Path,
    output: &Path,
    key: &SecretKey,
    trust: &[PublicKey],
    say: &mut dyn FnMut(&str),
) -> Result<Made, ComposeError> {
    let parent = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    // Beside the output: the same file system, with room for what is going to be there anyway.
    let work = tempfile::Builder::new()
        .prefix(".compose")
        .tempdir_in(parent);
    let work = work.map_err(write_error(output))?;
    let store = BlobStore::create(work.path())?;
    let writer = store.writer()?;

    let composite = describe(release, base, &writer, trust, say)?;
    let (manifest, config) = documents(&composite, key, &writer)?;
    say("writing the composite");
    let temporary = work.path().join("composite");
    write(&temporary, &composite, manifest, config, &store).map_err(write_error(output))?;
    let size = fs::metadata(&temporary).map_err(write_error(output))?.len();
    fs::rename(&temporary, output).map_err(write_error(output))?;
    Ok(Made {
        composite,
        digest: config.sha256,
        size,
    })
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ComposeError> {
    let text = fs::read_to_string(path).map_err(|source| ComposeError::Read {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|source| ComposeError::Toml {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

fn describe(
    release: Release,
    base: &Path,
    blobs: &BlobWriter,
    trust: &[PublicKey],
    say: &mut dyn FnMut(&str),
) -> Result<Composite, ComposeError> {
    let mut boot_images = Vec::new();
    for source in &release.boot_images {
        say(&format!(
            "boot image {} {} ({})",
            source.name, source.version, source.arch
        ));
        let image = image::image(source, base, trust, blobs);
        boot_images.push(image.map_err(|error| ComposeError::Image {
            name: source.name.clone(),
            version: source.version.clone(),
            source: Box::new(error),
        })?);
    }
    let mut packages = Vec::new();
    for source in release.packages {
        say(&format!("package {} {}", source.name, source.version));
        packages.push(package(&source, base, blobs)?);
    }
    let classes = release.classes.into_iter();
    let classes = classes.map(|row| class(row, &packages, &boot_images));
    let classes = classes.collect::<Result<_, _>>()?;
    let updates = release.updates.into_iter();
    let updates = updates.map(|it| update(it, &packages));
    let updates = updates.collect::<Result<_, _>>()?;
    let composite = Composite {
        format: format::FORMAT,
        name: release.name,
        version: release.version,
        classes,
        boot_images,
        packages,
        rules: release.rules,
        networks: release.networks,
        nodes: release.nodes,
        updates,
    };
    columns::check(&composite)?;
    columns::try_out(&composite)?;
    Ok(composite)
}

/// Gathers a package.
pub(super) fn package(
    source: &release::Package,
    base: &Path,
    blobs: &BlobWriter,
) -> Result<format::Package, ComposeError> {
    package::package(source, base, blobs).map_err(|error| ComposeError::Package {
        name: source.name.clone(),
        version: source.version.clone(),
        source: Box::new(error),
    })
}

fn names(packages: &[format::Package]) -> Vec<PackageRef> {
    let names = packages.iter().map(|it| known(&it.name, &it.version));
    names.collect()
}

fn known(name: &str, version: &str) -> PackageRef {
    PackageRef {
        name: name.to_owned(),
        version: version.to_owned(),
    }
}

fn class(
    source: release::Class,
    packages: &[format::Package],
    images: &[format::BootImage],
) -> Result<format::Class, ComposeError> {
    let name = format::text(&source.row, "name").to_owned();
    let packages = names(packages);
    let whose = format!("class {name}");
    let list = source.packages.iter();
    let list = list.map(|text| resolve(&whose, "package", text, &packages));
    let list = list.collect::<Result<_, _>>()?;
    let mut by_arch = BTreeMap::new();
    for text in &source.images {
        let names: Vec<PackageRef> = images.iter().map(|i| known(&i.name, &i.version)).collect();
        let wanted = resolve(&whose, "boot image", text, &names)?;
        let builds = images
            .iter()
            .filter(|i| i.name == wanted.name && i.version == wanted.version);
        by_arch.extend(builds.map(|image| (image.arch.name().to_owned(), wanted.clone())));
    }
    Ok(format::Class {
        packages: list,
        images: by_arch,
        features: source.features,
        options: source.options,
        row: source.row,
    })
}

fn update(
    source: release::Update,
    packages: &[format::Package],
) -> Result<format::Update, ComposeError> {
    if source.class.is_some() != source.nodes.is_empty() {
        return Err(ComposeError::Update);
    }
    let packages = names(packages);
    let list = source.packages.iter();
    let list = list.map(|text| resolve("an update", "package", text, &packages));
    Ok(format::Update {
        packages: list.collect::<Result<_, _>>()?,
        class: source.class,
        nodes: source.nodes,
    })
}

/// `name=version` as it stands (it may be in the catalog already); `name` if the release has one
/// version of it.
fn resolve(
    whose: &str,
    what: &'static str,
    text: &str,
    known: &[PackageRef],
) -> Result<PackageRef, ComposeError> {
    if let Some((name, version)) = text.split_once('=') {
        return Ok(PackageRef {
            name: name.to_owned(),
            version: version.to_owned(),
        });
    }
    let mut named: Vec<&PackageRef> = known.iter().filter(|it| it.name == text).collect();
    named.dedup();
    match named.as_slice() {
        [one] => Ok((*one).clone()),
        _ => Err(ComposeError::List {
            whose: whose.to_owned(),
            what,
            name: text.to_owned(),
        }),
    }
}

/// Stores description and manifest beside the modules; gives back both.
fn documents(
    composite: &Composite,
    key: &SecretKey,
    blobs: &BlobWriter,
) -> Result<(BlobRef, BlobRef), ComposeError> {
    let description = json(composite)?;
    let comment = format!("{} {}", composite.name, composite.version);
    let signature = sign::sign(key, &description, &comment)?;
    let config = blobs.put(description.as_slice())?;
    let layers = composite
        .blobs()
        .into_iter()
        .map(|(sha256, size)| Descriptor::new(format::MODULE_TYPE, BlobRef { sha256, size }));
    let manifest = OciManifest {
        schema_version: 2,
        media_type: format::MANIFEST_TYPE.to_owned(),
        artifact_type: format::ARTIFACT_TYPE.to_owned(),
        config: Descriptor::new(format::CONFIG_TYPE, config),
        layers: layers.collect(),
        annotations: BTreeMap::from([
            (
                "org.opencontainers.image.title".to_owned(),
                composite.name.clone(),
            ),
            (
                "org.opencontainers.image.version".to_owned(),
                composite.version.clone(),
            ),
            (format::SIGNATURE.to_owned(), signature),
        ]),
    };
    let manifest = blobs.put(json(&manifest)?.as_slice())?;
    Ok((manifest, config))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, ComposeError> {
    serde_json::to_vec(value).map_err(|error| BlobError::Source(error.into()).into())
}

/// Writes the OCI layout: the small documents first, then the modules by digest.
fn write(
    path: &Path,
    composite: &Composite,
    manifest: BlobRef,
    config: BlobRef,
    store: &BlobStore,
) -> io::Result<()> {
    let mut tar = tar::Builder::new(BufWriter::with_capacity(1 << 20, File::create(path)?));
    let mut descriptor = Descriptor::new(format::MANIFEST_TYPE, manifest);
    descriptor.artifact_type = Some(format::ARTIFACT_TYPE.to_owned());
    let reference = "org.opencontainers.image.ref.name".to_owned();
    descriptor
        .annotations
        .insert(reference, composite.version.clone());
    let index = Index {
        schema_version: 2,
        manifests: vec![descriptor],
    };
    let index = serde_json::to_vec(&index)?;
    member(
        &mut tar,
        "oci-layout",
        format::OCI_LAYOUT.len(),
        format::OCI_LAYOUT.as_bytes(),
    )?;
    member(&mut tar, "index.json", index.len(), index.as_slice())?;
    let modules = composite.blobs().into_keys();
    for digest in [manifest.sha256, config.sha256].into_iter().chain(modules) {
        let blob = store.get(digest).map_err(io::Error::other)?;
        let name = format!("blobs/sha256/{digest}");
        let header = &mut header(blob.size);
        tar.append_data(header, name, blob.file)?;
    }
    let mut file = tar.into_inner()?;
    file.flush()?;
    file.get_ref().sync_all()
}

fn member(
    tar: &mut tar::Builder<impl Write>,
    name: &str,
    length: usize,
    bytes: &[u8],
) -> io::Result<()> {
    let length = u64::try_from(length).map_err(io::Error::other)?;
    tar.append_data(&mut header(length), name, bytes)
}

/// The same for everybody at any time: no owner, no date.
fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> ComposeError + use<> {
    let path = path.to_owned();
    move |source| ComposeError::Write { path, source }
}
