//! What is in a composite: its description, and the OCI documents around it.

use std::collections::BTreeMap;
use std::fmt;

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::Arch;
use bootd_protocol::manifest::{BlobRef, Content, PackageRef, Process};
use serde::{Deserialize, Serialize};

use crate::snapshot::{ModuleType, RelationKind, Side};

/// The composite format this code writes and reads.
pub const FORMAT: u32 = 2;
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
    /// Rules: rows of the table `rule`.
    pub rules: Vec<Row>,
    /// Networks with their options.
    pub networks: Vec<Network>,
    /// Machines that are known beforehand.
    pub nodes: Vec<Node>,
    /// Who gets which packages from now on, besides what the classes say.
    pub updates: Vec<Update>,
}

/// A row of a table of `schema.sql`: values by column. What is not there stays as it is, or is
/// what the table says where the row is new.
pub type Row = BTreeMap<String, Value>;

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a value of a row is a text, a whole number, true or false"
)]
pub enum Value {
    /// 0 or 1.
    Flag(bool),
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Flag(flag) => write!(f, "{flag}"),
            Value::Number(number) => write!(f, "{number}"),
            Value::Text(text) => f.write_str(text),
        }
    }
}

/// The text in a column of a row; empty if there is none.
#[must_use]
pub fn text<'a>(row: &'a Row, column: &str) -> &'a str {
    match row.get(column) {
        Some(Value::Text(text)) => text,
        Some(Value::Flag(_) | Value::Number(_)) | None => "",
    }
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
    /// The feature that it is there for; empty: for all nodes.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub function: String,
    /// Sorted by path, architecture and function.
    pub modules: Vec<Module>,
    /// In the order in which they start.
    pub processes: Vec<Process>,
    /// What it says about other packages.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub relations: Vec<Relation>,
    /// Shared libraries that its modules need.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub libraries: Vec<Library>,
    /// Interfaces between modules.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub apis: Vec<Api>,
}

/// One path of a package: a row of `package_file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Absolute and clean.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner, numeric.
    pub uid: u32,
    /// Group, numeric.
    pub gid: u32,
    /// What stands there.
    #[serde(flatten)]
    pub content: Content,
    /// An architecture's name, or `all`.
    #[serde(skip_serializing_if = "is_all", default = "all")]
    pub arch: String,
    /// The feature that it is there for; empty: for all nodes.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub function: String,
    /// What it is.
    #[serde(rename = "type", skip_serializing_if = "is_data", default)]
    pub kind: ModuleType,
    /// Its change signature, where that is not the SHA-256 of its content.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signature: Option<Digest>,
}

fn all() -> String {
    "all".into()
}

fn is_all(arch: &str) -> bool {
    arch == "all"
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_data(kind: &ModuleType) -> bool {
    *kind == ModuleType::Data
}

/// A row of `package_relation`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relation {
    /// `needs`, `conflicts`, `provides` or `upgrades`.
    pub kind: RelationKind,
    /// About whom.
    pub relation: String,
    /// The class whose nodes it is about; empty: the node itself.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub on_class: String,
    /// Only for nodes with this processor, or `all`.
    #[serde(skip_serializing_if = "is_all", default = "all")]
    pub for_arch: String,
}

/// A row of `package_library`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Library {
    /// The module.
    pub path: String,
    /// The name that the loader looks for.
    pub library: String,
    /// `direct`, `transitive` or `declared`.
    pub how: String,
}

/// A row of `package_api`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// The module.
    pub path: String,
    /// `provides` or `consumes`.
    pub side: Side,
    /// The interface.
    pub api: String,
}

/// A class with its lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// First wins.
    pub packages: Vec<PackageRef>,
    /// Boot image (name and version) by architecture.
    pub images: BTreeMap<String, PackageRef>,
    /// What its nodes ask for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub features: Vec<String>,
    /// Rows of `dhcp_option`, without scope and owner.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub options: Vec<Row>,
    /// Its row.
    #[serde(flatten)]
    pub row: Row,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Rows of `dhcp_option`, without scope and owner.
    #[serde(skip_serializing_if = "Vec::is_empty", default, rename = "option")]
    pub options: Vec<Row>,
    /// Its row.
    #[serde(flatten)]
    pub row: Row,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Rows of `node_package`, without the node.
    #[serde(skip_serializing_if = "Vec::is_empty", default, rename = "package")]
    pub list: Vec<Row>,
    /// What it asks for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub features: Vec<String>,
    /// Rows of `dhcp_option`, without scope and owner.
    #[serde(skip_serializing_if = "Vec::is_empty", default, rename = "option")]
    pub options: Vec<Row>,
    /// Its row.
    #[serde(flatten)]
    pub row: Row,
}

/// Who gets which packages from now on: a class, or single nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// The class whose list changes; or `nodes`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub class: Option<String>,
    /// The nodes whose lists change; or `class`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub nodes: Vec<String>,
    /// The packages, in the versions that they get.
    pub packages: Vec<PackageRef>,
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
        let modules = self.packages.iter().flat_map(|package| &package.modules);
        let files = modules.map(|module| match &module.content {
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
