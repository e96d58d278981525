//! A kernel and its modules, from Debian's kernel package.

mod modinfo;
mod select;
mod signature;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use bootd_protocol::modindex::{Index, IndexError};

use crate::deb::{Deb, Entry, decompress};

/// Largest kernel module accepted, unpacked, in bytes.
const MODULE_LIMIT: u64 = 64 << 20;

/// Why a kernel package does not give what was asked of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// No kernel, or no modules, in the package.
    #[error("{deb} is no kernel package: it has no {what}")]
    NoKernel {
        /// The package.
        deb: String,
        /// What was looked for.
        what: &'static str,
    },
    /// A module that must be there is not.
    #[error("{deb} has no kernel module {module}, as a file or built in")]
    NoModule {
        /// The package.
        deb: String,
        /// The module.
        module: String,
    },
    /// A module needs another that is not there.
    #[error("{deb}: kernel module {module} needs {depends}, which is not in the package")]
    NoDependency {
        /// The package.
        deb: String,
        /// The module.
        module: String,
        /// What it needs.
        depends: String,
    },
    /// Modules that need each other.
    #[error("{deb}: kernel module {module} needs itself, by way of others")]
    Cycle {
        /// The package.
        deb: String,
        /// One of them.
        module: String,
    },
    /// A file that is no kernel module.
    #[error("{deb}: {path} is no sound kernel module: {reason}")]
    Damaged {
        /// The package.
        deb: String,
        /// The file's path in it.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A module whose names cannot be written down.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// Which modules a boot image carries, besides those that they need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleSet {
    /// Must be in the kernel package, as files or built in.
    pub required: Vec<String>,
    /// Carried where the kernel package has them.
    pub optional: Vec<String>,
    /// What becomes of Debian's signatures.
    pub signatures: Signatures,
}

/// What becomes of the signatures at the end of Debian's modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signatures {
    /// They stay, and the kernel checks them: SHA-256 over the module and an RSA operation, by
    /// far most of the instructions that loading a module takes.
    Keep,
    /// They go. The kernel says once that a module is not signed, marks itself tainted (`E`) and
    /// loads it; under Secure Boot it would refuse. The boot image as a whole is not signed
    /// either: who can change a module in it can change its init.
    Drop,
}

/// What a node cannot do without: virtio, NVMe and SCSI disks, its file systems.
const REQUIRED: [&str; 8] = [
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    "nvme",
    "ext4",
    "overlay",
];

/// Cards and disks of clouds, hypervisors and common servers. Debian's cloud kernel has the
/// virtual ones only; the big drivers (`mlx5_core` alone is 2.4 MB) are left to those who need
/// them.
const OPTIONAL: [&str; 30] = [
    // SATA, and the IDE of old virtual machines.
    "ahci",
    "ata_piix",
    // Server storage.
    "megaraid_sas",
    "mpt3sas",
    "smartpqi",
    // Hypervisors.
    "hv_netvsc",
    "hv_storvsc",
    "pci_hyperv",
    "virtio_mmio",
    "virtio_rng",
    "vmw_pvscsi",
    "vmxnet3",
    "xen_blkfront",
    "xen_netfront",
    // Clouds.
    "ena",
    "gve",
    "mana",
    // Network cards.
    "atlantic",
    "bnxt_en",
    "e1000",
    "e1000e",
    "i40e",
    "igb",
    "igbvf",
    "igc",
    "ixgbe",
    "ixgbevf",
    "8139cp",
    "r8169",
    "tg3",
];

impl Default for ModuleSet {
    fn default() -> Self {
        ModuleSet {
            required: REQUIRED.map(str::to_owned).to_vec(),
            optional: OPTIONAL.map(str::to_owned).to_vec(),
            signatures: Signatures::Drop,
        }
    }
}

/// A kernel package.
#[derive(Debug)]
pub struct Kernel<'a> {
    deb: &'a Deb,
    release: &'a str,
    image: &'a [u8],
    files: BTreeMap<String, Entry<'a>>,
    builtin: BTreeSet<String>,
}

/// A module picked for a boot image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picked<'a> {
    /// As `/proc/modules` shows it.
    pub name: String,
    /// The module itself, not compressed.
    pub bytes: Cow<'a, [u8]>,
    /// The names of those that must be loaded before it.
    pub depends: Vec<String>,
    /// Patterns of the device names it drives.
    pub aliases: Vec<String>,
}

impl Picked<'_> {
    /// Its path below `/lib/modules` of the boot image.
    #[must_use]
    pub fn file(&self) -> String {
        format!("{}.ko", self.name)
    }
}

impl<'a> Kernel<'a> {
    /// Finds the kernel in its package.
    ///
    /// # Errors
    /// [`KernelError::NoKernel`].
    pub fn find(deb: &'a Deb) -> Result<Self, KernelError> {
        let missing = |what| KernelError::NoKernel {
            deb: deb.name().to_owned(),
            what,
        };
        let (release, image) = deb
            .entries()
            .find_map(|entry| Some((entry.path.strip_prefix("/boot/vmlinuz-")?, entry.bytes()?)))
            .ok_or_else(|| missing("/boot/vmlinuz-*"))?;
        let base = [
            format!("/lib/modules/{release}/"),
            format!("/usr/lib/modules/{release}/"),
        ];
        let below = |entry: &Entry<'a>| base.iter().find_map(|base| entry.path.strip_prefix(base));
        let mut kernel = Kernel {
            deb,
            release,
            image,
            files: BTreeMap::new(),
            builtin: BTreeSet::new(),
        };
        for entry in deb.entries() {
            match below(&entry) {
                Some("modules.builtin") => kernel.builtin = builtin(entry.bytes()),
                Some(path) => {
                    if let Some(name) = module_name(path) {
                        kernel.files.insert(name, entry);
                    }
                }
                None => {}
            }
        }
        if kernel.files.is_empty() {
            return Err(missing("/lib/modules/*/*.ko"));
        }
        Ok(kernel)
    }

    /// The kernel's release (`6.1.0-56-cloud-amd64`).
    #[must_use]
    pub fn release(&self) -> &'a str {
        self.release
    }

    /// The kernel itself, as firmware and loaders start it.
    #[must_use]
    pub fn image(&self) -> &'a [u8] {
        self.image
    }

    /// Whether `name` is part of the kernel itself.
    #[must_use]
    pub fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains(&canonical(name))
    }

    /// The modules of `set` and those they need, each behind what it needs. What is built in
    /// needs no module and gives none.
    ///
    /// # Errors
    /// A required module, or one that another needs, is not there; a module is damaged.
    pub fn select(&self, set: &ModuleSet) -> Result<Vec<Picked<'a>>, KernelError> {
        select::select(self, set)
    }

    fn deb_name(&self) -> String {
        self.deb.name().to_owned()
    }

    /// The bytes of a module's file, not compressed.
    fn read(&self, entry: &Entry<'a>) -> Result<Cow<'a, [u8]>, KernelError> {
        let bytes = entry.bytes().unwrap_or_default();
        let (_, suffix) = entry.path.rsplit_once(".ko").unwrap_or_default();
        if suffix.is_empty() {
            return Ok(Cow::Borrowed(bytes));
        }
        decompress(entry.path, suffix, bytes, MODULE_LIMIT)
            .map(Cow::Owned)
            .map_err(|fault| KernelError::Damaged {
                deb: self.deb_name(),
                path: entry.path.to_owned(),
                reason: fault.to_string(),
            })
    }
}

/// The index of picked modules.
///
/// # Errors
/// A module has a name or an alias that cannot be written down.
pub fn index<'p>(picked: &'p [Picked<'_>], files: &'p [String]) -> Result<Index<'p>, KernelError> {
    let mut index = Index::default();
    for (module, file) in picked.iter().zip(files) {
        let depends = module.depends.iter().map(String::as_str);
        let aliases = module.aliases.iter().map(String::as_str).collect();
        index.push(&module.name, file, depends, aliases)?;
    }
    Ok(index)
}

/// Debian writes `virtio-rng.ko`, the kernel says `virtio_rng`.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The module's name, if a path is one of a module: `kernel/drivers/net/virtio_net.ko.xz`.
fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (name, suffix) = file.rsplit_once(".ko")?;
    let module = matches!(suffix, "" | ".xz" | ".zst" | ".gz") && !name.is_empty();
    module.then(|| canonical(name))
}

/// The names in `modules.builtin`: one path of a module that would have been on each line.
fn builtin(bytes: Option<&[u8]>) -> BTreeSet<String> {
    String::from_utf8_lossy(bytes.unwrap_or_default())
        .lines()
        .filter_map(module_name)
        .collect()
}

#[cfg(test)]
mod tests;
