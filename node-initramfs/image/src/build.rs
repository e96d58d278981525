//! From packages to a boot image.

use std::path::{Path, PathBuf};

use bootd_protocol::identity::Arch;
use bootd_protocol::verify::key::PublicKey;

use crate::deb::{Content, Deb};
use crate::elf::Elf;
use crate::initramfs::{self, Contents};
use crate::kernel::{Kernel, ModuleSet};
use crate::tools::Sysroot;
use crate::uki::{self, Parts};
use crate::{BuildError, arch};

/// The kernel takes no more than this on x86-64 and aarch64, in bytes; a boot loader needs
/// some of it for itself.
const CMDLINE_LIMIT: usize = 2048 - 256;

/// What a boot image is made of.
#[derive(Debug, Clone)]
pub struct ImageSpec {
    /// Debian's kernel package (`linux-image-6.1.0-*-cloud-amd64`).
    pub kernel_deb: PathBuf,
    /// Debian's package with the EFI stub (`systemd-boot-efi`).
    pub stub_deb: PathBuf,
    /// Debian's packages with `mke2fs` and the libraries it needs (`e2fsprogs`, `libext2fs2`,
    /// `libcom-err2`, `libblkid1`, `libuuid1`, `libc6`).
    pub tool_debs: Vec<PathBuf>,
    /// The node's init, a static program.
    pub init: PathBuf,
    /// Kernel modules to carry, besides those that they need.
    pub modules: ModuleSet,
    /// Public keys of the masters that the node believes.
    pub trust: Vec<PublicKey>,
    /// Kernel command line ([`default_cmdline`](crate::default_cmdline)).
    pub cmdline: String,
    /// Name of the boot image, as people call it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Processor architecture of all of it.
    pub arch: Arch,
}

/// Builds a boot image. The same input gives the same bytes.
///
/// # Errors
/// A package or init that cannot be read or is for another architecture; no trust; a module,
/// program or library that is in none of the packages.
pub fn build(spec: &ImageSpec) -> Result<Vec<u8>, BuildError> {
    check_texts(spec)?;
    let init = read_init(&spec.init, spec.arch)?;
    let tools = spec.tool_debs.iter().map(|path| open(path, spec.arch));
    let tools = tools.collect::<Result<Vec<_>, _>>()?;
    let stub_deb = open(&spec.stub_deb, spec.arch)?;
    let stub = find_stub(&stub_deb, spec.arch)?;
    let kernel_deb = open(&spec.kernel_deb, spec.arch)?;
    let kernel = Kernel::find(&kernel_deb)?;
    let modules = kernel.select(&spec.modules)?;

    let archive = initramfs::archive(&Contents {
        init: &init,
        modules: &modules,
        trust: &spec.trust,
        tools: Sysroot::new(&tools, spec.arch),
    })?;
    let initrd = initramfs::compress(&archive)?;
    let image = uki::assemble(
        stub,
        &Parts {
            osrel: os_release(spec, kernel.release()).as_bytes(),
            cmdline: spec.cmdline.as_bytes(),
            initrd: &initrd,
            linux: kernel.image(),
        },
    )?;
    Ok(image)
}

fn check_texts(spec: &ImageSpec) -> Result<(), BuildError> {
    if spec.trust.is_empty() {
        return Err(BuildError::NoTrust);
    }
    let refuse = |what, text: &str, reason| {
        Err(BuildError::Text {
            what,
            text: text.to_owned(),
            reason,
        })
    };
    for (what, text) in [("name", &spec.name), ("version", &spec.version)] {
        if text.is_empty() || text.contains(char::is_control) {
            return refuse(what, text, "is empty or has control characters");
        }
    }
    let cmdline = &spec.cmdline;
    if cmdline.is_empty() || !cmdline.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return refuse("command line", cmdline, "is empty or not one line of ASCII");
    }
    if cmdline.len() > CMDLINE_LIMIT {
        return refuse("command line", cmdline, "is too long for the kernel");
    }
    Ok(())
}

fn read_init(path: &Path, arch: Arch) -> Result<Vec<u8>, BuildError> {
    let init = std::fs::read(path).map_err(|source| BuildError::ReadInit {
        path: path.to_owned(),
        source,
    })?;
    let refuse = |reason: String| BuildError::Init {
        path: path.to_owned(),
        arch,
        reason,
    };
    let elf = Elf::parse(&init).map_err(refuse)?;
    if elf.arch != Some(arch) {
        return Err(refuse("it was built for another architecture".to_owned()));
    }
    if let Some(interpreter) = elf.interpreter {
        return Err(refuse(format!("it needs {interpreter}")));
    }
    Ok(init)
}

fn open(path: &Path, arch: Arch) -> Result<Deb, BuildError> {
    let deb = Deb::open(path)?;
    let found = &deb.control().architecture;
    if found != arch::debian(arch) && found != "all" {
        return Err(BuildError::Architecture {
            deb: deb.name().to_owned(),
            found: found.clone(),
            arch,
        });
    }
    Ok(deb)
}

fn find_stub(deb: &Deb, arch: Arch) -> Result<&[u8], BuildError> {
    let path = arch::stub(arch);
    match deb.find(path).map(|entry| entry.content) {
        Some(Content::Regular(bytes)) => Ok(bytes),
        Some(Content::Symlink(_) | Content::HardLink { .. } | Content::Directory) | None => {
            Err(BuildError::NoStub {
                deb: deb.name().to_owned(),
                path,
            })
        }
    }
}

/// `os-release(5)` text; boot managers show it in their menus.
fn os_release(spec: &ImageSpec, kernel_release: &str) -> String {
    let [name, version, kernel] = [&spec.name, &spec.version, kernel_release].map(quote);
    let pretty = quote(&format!("{} {}", spec.name, spec.version));
    format!(
        "ID=bootd\nNAME={name}\nPRETTY_NAME={pretty}\nVERSION_ID={version}\n\
         BOOTD_KERNEL={kernel}\nBOOTD_ARCH={}\n",
        spec.arch
    )
}

/// A value as a shell reads it.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
