//! The TOML file that a composite is made from.
//!
//! Paths in it are relative to the file. [`Release`] has an example.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bootd_protocol::identity::Arch;
use bootd_protocol::manifest::{self, ProcessKind, Readiness, Restart};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::format::{self, Row};
use crate::snapshot::ModuleType;

/// A release.
///
/// ```toml
/// name = "demo"
/// version = "1"
///
/// [[boot_image]]
/// name = "debian"
/// version = "6.1"
/// arch = "x86_64"
///
/// [boot_image.build]
/// kernel_deb = "debs/linux-image.deb"
/// stub_deb = "debs/systemd-boot-efi.deb"
/// tool_debs = ["debs/e2fsprogs.deb", "debs/libc6.deb"]
/// init = "target/init"
///
/// [[package]]
/// name = "site"
/// version = "1.0"
/// directory = "site"
/// prefix = "/srv/www"
///
/// [[package]]
/// name = "nginx"
/// version = "1.22"
/// debs = ["debs/nginx-light.deb", "debs/libpcre.deb"]
/// exclude = ["/usr/share/doc/**"]
///
/// [[package.process]]
/// name = "nginx"
/// argv = ["/usr/sbin/nginx", "-g", "daemon off;"]
///
/// [[class]]
/// name = "web"
/// packages = ["site", "nginx=1.22"]
/// images = ["debian"]
///
/// [[rule]]
/// name = "all"
/// class = "web"
/// ```
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Name of the release.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `[[boot_image]]`
    #[serde(default, rename = "boot_image")]
    pub boot_images: Vec<BootImage>,
    /// `[[package]]`
    #[serde(default, rename = "package")]
    pub packages: Vec<Package>,
    /// `[[class]]`
    #[serde(default, rename = "class")]
    pub classes: Vec<Class>,
    /// `[[rule]]`: rows of the table `rule`.
    #[serde(default, rename = "rule")]
    pub rules: Vec<Row>,
    /// `[[network]]`: rows of the table `network`, with `[[network.option]]`.
    #[serde(default, rename = "network")]
    pub networks: Vec<format::Network>,
    /// `[[node]]`: rows of the table `node`, with `[[node.package]]` and `[[node.option]]`.
    #[serde(default, rename = "node")]
    pub nodes: Vec<format::Node>,
    /// `[[update]]`
    #[serde(default, rename = "update")]
    pub updates: Vec<Update>,
}

/// `[[boot_image]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootImage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Processor architecture.
    pub arch: Arch,
    /// A ready-made unified kernel image; or `build`.
    pub uki: Option<PathBuf>,
    /// What it is built from; or `uki`.
    pub build: Option<Build>,
    /// Ready-made files that start it from the local disk; if absent, GRUB is made with the
    /// tools of this machine.
    pub loader: Option<Loader>,
}

/// `[boot_image.build]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Debian's kernel package.
    pub kernel_deb: PathBuf,
    /// Debian's package with the EFI stub (systemd-boot-efi).
    pub stub_deb: PathBuf,
    /// Debian's packages with mke2fs and the libraries it needs.
    pub tool_debs: Vec<PathBuf>,
    /// Debian's packages with GRUB's modules, for another architecture than this machine's
    /// (grub-efi-arm64-bin); if empty, those that are installed here.
    #[serde(default)]
    pub grub_debs: Vec<PathBuf>,
    /// The node's init, a static program.
    pub init: PathBuf,
    /// Kernel modules to carry, besides those for common machines and those that they need.
    #[serde(default)]
    pub modules: Vec<String>,
    /// Kernel command line; if absent, one that is quick and tells of trouble.
    pub cmdline: Option<String>,
}

/// `[boot_image.loader]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loader {
    /// The loader for UEFI.
    pub efi: PathBuf,
    /// The loader's first sector for BIOS.
    pub bios_boot: Option<PathBuf>,
    /// The loader for BIOS.
    pub bios_core: Option<PathBuf>,
}

/// `[[package]]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// An architecture, or `all`; if absent, that of its Debian packages, or `all`.
    pub arch: Option<String>,
    /// Debian packages whose files it has.
    #[serde(default)]
    pub debs: Vec<PathBuf>,
    /// A directory whose files it has, owned by root.
    pub directory: Option<PathBuf>,
    /// Where the directory stands on the node; `/` if absent.
    pub prefix: Option<String>,
    /// Patterns of paths to take; all if empty. `*` stands for any text without `/`, `**` for any.
    #[serde(default)]
    pub include: Vec<String>,
    /// Patterns of paths to leave out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// The feature that it is there for.
    #[serde(default)]
    pub function: String,
    /// What must be on the node, in the words of Debian's control files.
    #[serde(default)]
    pub needs: Vec<String>,
    /// What must not be on the node.
    #[serde(default)]
    pub conflicts: Vec<String>,
    /// What it stands for.
    #[serde(default)]
    pub provides: Vec<String>,
    /// What it stands before, and goes with.
    #[serde(default)]
    pub upgrades: Vec<String>,
    /// `[[package.relation]]`: those with a class or for one architecture.
    #[serde(default, rename = "relation")]
    pub relations: Vec<format::Relation>,
    /// Names, as patterns, that its Debian packages depend on and that it does without.
    #[serde(default)]
    pub without_needs: Vec<String>,
    /// `[[package.module]]`: more about single files.
    #[serde(default, rename = "module")]
    pub modules: Vec<ModuleRule>,
    /// `[[package.file]]`: win over what the Debian packages and the directory have.
    #[serde(default, rename = "file")]
    pub files: Vec<InlineFile>,
    /// `[package.links]`: path = target.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// Empty directories.
    #[serde(default)]
    pub directories: Vec<String>,
    /// `[[package.process]]`
    #[serde(default, rename = "process")]
    pub processes: Vec<Process>,
}

/// `[[package.file]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InlineFile {
    /// Where it stands on the node.
    pub path: String,
    /// Its content; or `source`.
    pub text: Option<String>,
    /// A file that has its content; or `text`.
    pub source: Option<PathBuf>,
    /// Permission bits as octal digits; `0644` if absent.
    pub mode: Option<String>,
    /// Only for nodes with this processor; for all if absent.
    pub arch: Option<Arch>,
    /// Only for nodes that ask for this feature; for all if absent.
    #[serde(default)]
    pub function: String,
}

/// `[[package.module]]`: what is known of the files that a pattern fits.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleRule {
    /// A pattern of paths.
    pub path: String,
    /// What they are, if that is not to be seen.
    #[serde(rename = "type")]
    pub kind: Option<ModuleType>,
    /// Only for nodes with this processor.
    pub arch: Option<Arch>,
    /// Only for nodes that ask for this feature.
    pub function: Option<String>,
    /// Permission bits as octal digits.
    pub mode: Option<String>,
    /// Owner, numeric.
    pub uid: Option<u32>,
    /// Group, numeric.
    pub gid: Option<u32>,
    /// Shared libraries that they load by name.
    #[serde(default)]
    pub libraries: Vec<String>,
    /// Interfaces that they offer.
    #[serde(default)]
    pub provides: Vec<String>,
    /// Interfaces that they use.
    #[serde(default)]
    pub consumes: Vec<String>,
}

/// `[[package.process]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its name.
    pub name: String,
    /// Program (absolute path) and arguments.
    pub argv: Vec<String>,
    /// Environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What happens when it ends; `always` if absent.
    #[serde(default = "always")]
    pub restart: Restart,
    /// `simple` or `self-managing`.
    #[serde(default)]
    pub kind: ProcessKind,
    /// `started`, `notify`, `tcp:PORT` or `path:/FILE`.
    #[serde(default, deserialize_with = "readiness")]
    pub readiness: Readiness,
    /// Resource limits by the names of `prlimit(1)`.
    #[serde(default, deserialize_with = "limits")]
    pub limits: BTreeMap<String, u64>,
}

fn readiness<'de, D: Deserializer<'de>>(text: D) -> Result<Readiness, D::Error> {
    let text = String::deserialize(text)?;
    text.parse().map_err(D::Error::custom)
}

fn always() -> Restart {
    Restart::Always
}

fn limits<'de, D: Deserializer<'de>>(table: D) -> Result<BTreeMap<String, u64>, D::Error> {
    let limits = BTreeMap::deserialize(table)?;
    manifest::check_limits(&limits).map_err(D::Error::custom)?;
    Ok(limits)
}

/// `[[class]]`: a row of the table `class`, with its lists.
#[derive(Debug, Clone, Deserialize)]
pub struct Class {
    /// `name=version`, or `name` for the version in this release; first wins.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Boot images, likewise; all architectures of each.
    #[serde(default)]
    pub images: Vec<String>,
    /// What its nodes ask for.
    #[serde(default)]
    pub features: Vec<String>,
    /// `[[class.option]]`
    #[serde(default, rename = "option")]
    pub options: Vec<Row>,
    /// Its columns.
    #[serde(flatten)]
    pub row: Row,
}

/// `[[update]]`: who gets which packages from now on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// The class whose list changes; or `nodes`.
    pub class: Option<String>,
    /// The nodes whose lists change; or `class`.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// `name=version`, or `name` for the version in this release.
    pub packages: Vec<String>,
}
