//! Reads `/sys` and loads modules.

use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bootd_protocol::modindex::{Index, Module};
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use super::plan;

/// Where the boot image has the modules and their index.
const DIRECTORY: &str = "/lib/modules";

/// There where the firmware describes the machine by a device tree.
const DEVICE_TREE: &str = "/sys/firmware/devicetree";

/// The index of the modules in the boot image.
pub const INDEX: &str = "/lib/modules/index";

/// What became of one module.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// Its name.
    pub module: &'a str,
    /// Whether the kernel took it.
    pub result: io::Result<()>,
}

/// Loads what the devices of this machine need, as they appear.
#[derive(Debug)]
pub struct Loader<'i, 'a> {
    index: &'i Index<'a>,
    /// For each module of the index, whether it has had its turn.
    done: Vec<bool>,
    /// The buses whose devices a module of the index could drive.
    buses: BTreeSet<&'a str>,
    /// Devices whose name has been read.
    seen: BTreeSet<OsString>,
}

impl<'i, 'a> Loader<'i, 'a> {
    /// A loader that has loaded nothing yet.
    #[must_use]
    pub fn new(index: &'i Index<'a>) -> Self {
        let has_tree = Path::new(DEVICE_TREE).exists();
        let aliases = index.modules().iter().flat_map(|module| &module.aliases);
        // A machine with ACPI has dozens of other devices on the bus of a device tree's.
        let aliases = aliases.filter(|alias| has_tree || !alias.starts_with("of:"));
        Loader {
            index,
            done: vec![false; index.modules().len()],
            buses: aliases.filter_map(|alias| bus(alias)).collect(),
            seen: BTreeSet::new(),
        }
    }

    /// Loads the modules called `names`, and those that devices need which are there but were
    /// not at the last call, until that brings no new devices. Some devices appear a while
    /// after their bus has been found (SCSI disks): whoever waits for one calls again.
    ///
    /// Every module gets one turn; one that fails is reported once and does not keep the others
    /// from being loaded.
    pub fn load(&mut self, names: &[&str]) -> Vec<Outcome<'a>> {
        let mut outcomes = Vec::new();
        loop {
            let modaliases = new_modaliases(Path::new("/sys/bus"), &self.buses, &mut self.seen);
            let planned = plan(self.index, &modaliases, names, &self.done);
            if planned.is_empty() {
                return outcomes;
            }
            for module in planned {
                if let Some(at) = self.index.position(module.name) {
                    self.done[at] = true;
                }
                outcomes.push(Outcome {
                    module: module.name,
                    result: insert(module),
                });
            }
        }
    }
}

/// Gives one module to the kernel. One that is there already is no error.
fn insert(module: &Module<'_>) -> io::Result<()> {
    let file = File::open(Path::new(DIRECTORY).join(module.file))?;
    match finit_module(&file, &CString::default(), ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The bus in `/sys/bus` of the devices that an alias is for: most machines have far more
/// devices on other buses, and reading all their names would take longer than loading modules.
fn bus(alias: &str) -> Option<&str> {
    match alias.split_once(':')?.0 {
        // Devices from a device tree.
        "of" => Some("platform"),
        bus => Some(bus),
    }
}

/// The names (`modalias`) of all devices of `buses` below `root` that are not in `seen`, which
/// they are afterwards. A device without a name, or one that goes away meanwhile, is passed over.
fn new_modaliases(
    root: &Path,
    buses: &BTreeSet<&str>,
    seen: &mut BTreeSet<OsString>,
) -> Vec<String> {
    let mut modaliases = Vec::new();
    for bus in buses {
        for device in children(&root.join(bus).join("devices")) {
            if seen.contains(device.as_os_str()) {
                continue;
            }
            modaliases.extend(modalias(&device));
            seen.insert(device.into_os_string());
        }
    }
    modaliases
}

/// The name of one device. The kernel gives all of it at the first read, at most a page: this
/// takes half the system calls of [`fs::read`], which every boot makes for every device.
fn modalias(device: &Path) -> Option<String> {
    let mut page = [0; 4096];
    let mut file = File::open(device.join("modalias")).ok()?;
    let len = file.read(&mut page).ok()?;
    let text = std::str::from_utf8(page.get(..len)?).ok()?;
    Some(text.trim_end().to_owned())
}

fn children(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_device_once() {
        let root = tempfile::tempdir().unwrap();
        let device = |bus: &str, name: &str, modalias: Option<&str>| {
            let path = root.path().join(bus).join("devices").join(name);
            fs::create_dir_all(&path).unwrap();
            if let Some(modalias) = modalias {
                fs::write(path.join("modalias"), format!("{modalias}\n")).unwrap();
            }
        };
        let buses = ["pci:v*", "virtio:d1", "of:N*"]
            .iter()
            .filter_map(|it| bus(it))
            .collect();
        assert_eq!(buses, BTreeSet::from(["pci", "platform", "virtio"]));
        let mut seen = BTreeSet::new();
        let mut read = || {
            let mut modaliases = new_modaliases(root.path(), &buses, &mut seen);
            modaliases.sort();
            modaliases
        };
        assert_eq!(read(), [""; 0]);
        device("pci", "0000:00:01.0", Some("pci:a"));
        device("virtio", "virtio0", Some("virtio:b"));
        device("virtio", "nameless", None);
        device("acpi", "PNP0A08:00", Some("acpi:PNP0A08:"));
        fs::create_dir_all(root.path().join("empty")).unwrap();
        assert_eq!(read(), ["pci:a", "virtio:b"]);
        device("virtio", "virtio1", Some("virtio:c"));
        assert_eq!(read(), ["virtio:c"]);
        assert_eq!(read(), [""; 0]);
    }
}
