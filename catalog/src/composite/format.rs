//! What is in a composite: its description, and the OCI documents around it.

use std::collections::BTreeMap;

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::Arch;
use bootd_protocol::manifest::{BlobRef, Content, File, PackageRef, Process};
use serde::{Deserialize, Serialize};

/// The composite format this code writes and reads.
pub const FORMAT: u32 = 1;
/// `artifactType` of the OCI manifest.
pub const ARTIFACT_TYPE: &str = "application/vnd.bootd.composite.v1";
/// Media type of the description.
pub const CONFIG_TYPE: &str = "application/vnd.bootd.composite.v1+json";
/// Media type of a module.
pub const MODULE_TYPE: &str = "application/vnd.bootd.module.v1";
/// Media type of an OCI image manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Manifest annotation that holds the signature.
pub const SIGNATURE: &str = "org.bootd.composite.signature";

/// The description of a composite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Composite {
    /// Always [`FORMAT`].
    pub format: u32,
    /// Name of the release.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Boot images.
    pub boot_images: Vec<BootImage>,
    /// Packages.
    pub packages: Vec<Package>,
    /// Classes with their lists.
    pub classes: Vec<Class>,
    /// Rules.
    pub rules: Vec<Rule>,
    /// Networks.
    pub networks: Vec<Network>,
}

/// A boot image and its loader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootImage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Processor architecture.
    pub arch: Arch,
    /// The unified kernel image.
    pub uki: BlobRef,
    /// The loader for UEFI.
    pub efi: BlobRef,
    /// The loader's first sector for BIOS.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bios_boot: Option<BlobRef>,
    /// The loader for BIOS.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bios_core: Option<BlobRef>,
}

/// One build of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// An architecture's name, or `all`.
    pub arch: String,
    /// Sorted by path.
    pub files: Vec<File>,
    /// In the order in which they start.
    pub processes: Vec<Process>,
}

/// A class with its lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Column of the same name.
    pub key_policy: String,
    /// Column of the same name.
    pub on_silence: String,
    /// Column of the same name.
    pub foreign_disk: String,
    /// Column of the same name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub disk: Option<String>,
    /// Column of the same name.
    pub comment: String,
    /// First wins.
    pub packages: Vec<PackageRef>,
    /// Boot image (name and version) by architecture.
    pub images: BTreeMap<String, PackageRef>,
}

/// A rule; every field is the column of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the columns of schema.sql")]
pub struct Rule {
    pub name: String,
    #[serde(default = "default_priority")]
    pub priority: i64,
    pub arch: Option<String>,
    pub firmware: Option<String>,
    pub mac_prefix: Option<String>,
    pub product: Option<String>,
    pub vendor: Option<String>,
    #[serde(default = "default_action")]
    pub action: String,
    pub class: Option<String>,
    #[serde(default = "default_prefix")]
    pub node_prefix: String,
    #[serde(default)]
    pub comment: String,
}

/// A network; every field is the column of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the columns of schema.sql")]
pub struct Network {
    pub name: String,
    pub subnet: String,
    pub pool_first: Option<String>,
    pub pool_last: Option<String>,
    pub router: Option<String>,
    #[serde(default)]
    pub dns: String,
    #[serde(default = "default_lease")]
    pub lease_seconds: i64,
    pub server: Option<String>,
}

fn default_priority() -> i64 {
    100
}

fn default_action() -> String {
    "enrol".into()
}

fn default_prefix() -> String {
    "node-".into()
}

fn default_lease() -> i64 {
    3600
}

impl Composite {
    /// Every blob in it, once, by digest. A digest with two sizes keeps the first: the second
    /// cannot be right.
    #[must_use]
    pub fn blobs(&self) -> BTreeMap<Digest, u64> {
        let images = self.boot_images.iter().flat_map(|image| {
            [
                Some(image.uki),
                Some(image.efi),
                image.bios_boot,
                image.bios_core,
            ]
        });
        let files = self.packages.iter().flat_map(|package| &package.files);
        let files = files.map(|file| match &file.content {
            Content::Regular(blob) => Some(*blob),
            Content::Symlink(_) | Content::Directory(_) => None,
        });
        let mut blobs = BTreeMap::new();
        for blob in images.chain(files).flatten() {
            blobs.entry(blob.sha256).or_insert(blob.size);
        }
        blobs
    }
}

/// `oci-layout` (OCI Image Layout, "oci-layout file").
pub const OCI_LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// `index.json` (OCI Image Index).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// One for a composite.
    pub manifests: Vec<Descriptor>,
}

/// OCI content descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// Length in bytes.
    pub size: u64,
    /// For what kind of artifact.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub artifact_type: Option<String>,
    /// Names and the like.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Describes a blob.
    #[must_use]
    pub fn new(media_type: &str, blob: BlobRef) -> Self {
        Descriptor {
            media_type: media_type.to_owned(),
            digest: format!("sha256:{}", blob.sha256),
            size: blob.size,
            artifact_type: None,
            annotations: BTreeMap::new(),
        }
    }

    /// The blob it describes; `None` for a digest that is not SHA-256.
    #[must_use]
    pub fn blob(&self) -> Option<BlobRef> {
        let sha256 = self.digest.strip_prefix("sha256:")?.parse().ok()?;
        Some(BlobRef {
            sha256,
            size: self.size,
        })
    }
}

/// OCI image manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OciManifest {
    /// Always 2.
    pub schema_version: u32,
    /// [`MANIFEST_TYPE`].
    pub media_type: String,
    /// [`ARTIFACT_TYPE`].
    #[serde(default)]
    pub artifact_type: String,
    /// The description.
    pub config: Descriptor,
    /// The modules.
    pub layers: Vec<Descriptor>,
    /// The signature among them.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}
