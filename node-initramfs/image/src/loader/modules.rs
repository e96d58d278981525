//! GRUB's modules out of Debian's packages.

use std::fs;

use tempfile::TempDir;

use super::{GrubTools, LoaderError, scratch, write};
use crate::deb::Deb;

/// GRUB's modules for another architecture than this machine's, unpacked from Debian's packages
/// for as long as this lives.
#[derive(Debug)]
pub struct UnpackedModules(TempDir);

impl UnpackedModules {
    /// The modules in `debs` (`grub-efi-arm64-bin`).
    ///
    /// # Errors
    /// They cannot be written.
    pub fn new(debs: &[Deb]) -> Result<Self, LoaderError> {
        let directory = scratch()?;
        for entry in debs.iter().flat_map(Deb::entries) {
            let path = entry.path.strip_prefix("/usr/lib/grub/");
            let (Some(path), Some(bytes)) = (path, entry.bytes()) else {
                continue;
            };
            let path = directory.path().join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(|source| LoaderError::Io {
                    path: parent.to_owned(),
                    source,
                })?;
            }
            write(path, bytes)?;
        }
        Ok(UnpackedModules(directory))
    }

    /// The tools of this machine, with these modules.
    #[must_use]
    pub fn tools(&self) -> GrubTools {
        GrubTools {
            modules: self.0.path().to_owned(),
            ..GrubTools::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bootd_protocol::identity::Arch;

    use super::super::build_loader;
    use super::*;
    use crate::deb::Limits;
    use crate::fixture::{DebBuilder, Packing};

    /// A package with what is installed for one platform.
    fn package(platform: &str) -> Deb {
        let directory = Path::new("/usr/lib/grub").join(platform);
        let mut deb = DebBuilder::new("grub-bin").file("/usr/share/doc/readme", b"to be left out");
        for file in fs::read_dir(directory).expect("GRUB is installed") {
            let path = file.expect("readable").path();
            if path.is_dir() {
                continue;
            }
            let bytes = fs::read(&path).expect("readable");
            deb = deb.file(path.to_str().expect("UTF-8"), &bytes);
        }
        let bytes = deb.build(Packing::Plain);
        Deb::from_bytes(platform, &bytes, Limits::DEFAULT).expect("sound")
    }

    #[test]
    fn packages_do_as_well_as_installed_modules() {
        let debs = ["x86_64-efi", "i386-pc"].map(package);
        let unpacked = UnpackedModules::new(&debs).expect("unpacked");
        let loader = build_loader(&unpacked.tools(), Arch::X86_64).expect("complete");
        let installed = build_loader(&GrubTools::default(), Arch::X86_64);
        assert_eq!(loader, installed.expect("GRUB is installed"));
        let mut left = fs::read_dir(unpacked.tools().modules).expect("there");
        assert!(left.all(|entry| entry.expect("readable").file_name() != "usr"));
    }
}
