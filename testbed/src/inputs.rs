//! Debian packages as input: what the composites, the boot images and the self test are
//! made of. Fetched with `apt-get download`, which checks them, and kept by version.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bootd_protocol::identity::Arch;

/// Stands for the kernel package of the day.
const KERNEL: &str = "linux-image-cloud-amd64";
const KERNEL_ARM64: &str = "linux-image-cloud-arm64";

/// GRUB's modules, which for this machine's architecture are installed.
const GRUB_ARM64: &str = "grub-efi-arm64-bin";

/// The programs, and the libraries that they need by their ELF headers.
const PACKAGES: [&str; 18] = [
    "busybox-static",
    // The UEFI stub of a unified kernel image.
    "systemd-boot-efi",
    // mke2fs needs libext2fs and libe2p (libext2fs2), libcom_err, libblkid, libuuid, libc.
    "e2fsprogs",
    "libext2fs2",
    "libcom-err2",
    "libblkid1",
    "libuuid1",
    // The nginx program, which Debian 12's nginx-light only depends on. It needs libcrypt,
    // libpcre2-8, libssl and libcrypto (libssl3), libz (zlib1g), libc.
    "nginx",
    "nginx-common",
    "libcrypt1",
    "libpcre2-8-0",
    "libssl3",
    "zlib1g",
    // An SSH server, for a class of its own.
    "dropbear-bin",
    "libtomcrypt1",
    "libtommath1",
    "libgmp10",
    // Also the program loader, ld-linux-x86-64.so.2.
    "libc6",
];

/// A package could not be had.
#[derive(Debug, thiserror::Error)]
pub enum InputsError {
    /// A directory could not be made.
    #[error("cannot make {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// It ran and failed.
    #[error("{program}: {message}")]
    Failed {
        /// The program.
        program: &'static str,
        /// What it said.
        message: String,
    },
    /// Its answer does not name what was asked for.
    #[error("apt does not know the package {package}; does `apt-get update` help?")]
    Unknown {
        /// The package.
        package: String,
    },
}

/// Packages on this disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packages {
    arch: Arch,
    kernel: String,
    files: BTreeMap<String, PathBuf>,
}

impl Packages {
    /// The file of a package.
    ///
    /// # Errors
    /// It is not one of the packages that are fetched.
    pub fn deb(&self, package: &str) -> Result<&Path, InputsError> {
        let file = self
            .files
            .get(package)
            .ok_or_else(|| InputsError::Unknown {
                package: package.to_owned(),
            })?;
        Ok(file)
    }

    /// The processors that they are for.
    #[must_use]
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// GRUB's modules, where they are not installed here.
    pub fn grub_debs(&self) -> impl Iterator<Item = &Path> {
        self.files.get(GRUB_ARM64).into_iter().map(PathBuf::as_path)
    }

    /// The name of the kernel's package, such as `linux-image-6.1.0-56-cloud-amd64`.
    #[must_use]
    pub fn kernel(&self) -> &str {
        &self.kernel
    }

    /// All packages by name, each with its file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.files
            .iter()
            .map(|(name, file)| (name.as_str(), file.as_path()))
    }
}

/// Brings the current versions of all packages, as apt's lists have them, into
/// `directory`; needs the network only for those that are not there yet.
///
/// # Errors
/// apt does not know a package or cannot fetch it.
pub fn fetch(directory: &Path) -> Result<Packages, InputsError> {
    fetch_with(&Apt::NATIVE, Arch::X86_64, KERNEL, &[], directory)
}

/// The same for aarch64. apt's lists for it are kept below `lists`, so that this machine need
/// not know that architecture; where they are old, they are brought up to date.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_aarch64(directory: &Path, lists: &Path) -> Result<Packages, InputsError> {
    let apt = Apt::foreign("arm64", lists)?;
    let fetch = || fetch_with(&apt, Arch::Aarch64, KERNEL_ARM64, &[GRUB_ARM64], directory);
    fetch().or_else(|_| {
        apt.update()?;
        fetch()
    })
}

fn fetch_with(
    apt: &Apt,
    arch: Arch,
    kernel: &str,
    more: &[&str],
    directory: &Path,
) -> Result<Packages, InputsError> {
    let mut depends = apt.command("apt-cache");
    let depends = run(
        depends.args(["depends", "--important", kernel]),
        "apt-cache",
    )?;
    let kernel = dependency(&depends).ok_or_else(|| unknown(kernel))?;
    let names = PACKAGES.iter().chain(more).copied();
    let names: Vec<&str> = names.chain([kernel.as_str()]).collect();
    let files = download_with(apt, directory, &names)?;
    Ok(Packages {
        arch,
        kernel,
        files,
    })
}

/// Brings the current versions of these packages into `directory`, unless they are there; their
/// files by package.
///
/// # Errors
/// apt does not know a package or cannot fetch it.
pub fn download(
    directory: &Path,
    names: &[&str],
) -> Result<BTreeMap<String, PathBuf>, InputsError> {
    download_with(&Apt::NATIVE, directory, names)
}

fn download_with(
    apt: &Apt,
    directory: &Path,
    names: &[&str],
) -> Result<BTreeMap<String, PathBuf>, InputsError> {
    make_directory(directory)?;
    let uris = run(apt.download().arg("--print-uris").args(names), "apt-get")?;
    let available = files(&uris);
    let mut found = BTreeMap::new();
    let mut missing = Vec::new();
    for name in names {
        let (file, size) = available.get(*name).ok_or_else(|| unknown(name))?;
        let path = directory.join(file);
        if !path
            .metadata()
            .is_ok_and(|metadata| metadata.len() == *size)
        {
            missing.push(*name);
        }
        found.insert((*name).to_owned(), path);
    }
    if !missing.is_empty() {
        let mut download = apt.download();
        run(download.args(&missing).current_dir(directory), "apt-get")?;
    }
    Ok(found)
}

/// The libraries that these packages need, directly or not, and that are not installed here.
///
/// # Errors
/// apt does not know a package.
pub fn missing_libraries(names: &[&str]) -> Result<Vec<String>, InputsError> {
    let mut depends = Command::new("apt-cache");
    depends.args(["depends", "--recurse", "--important"]);
    depends.args(["--no-conflicts", "--no-breaks", "--no-replaces"]);
    let needed = run(depends.args(names), "apt-cache")?;
    let mut query = Command::new("dpkg-query");
    query.args([
        "--show",
        "--showformat",
        "${Package} ${db:Status-Status}\\n",
    ]);
    let installed = run(&mut query, "dpkg-query")?;
    Ok(not_installed(&needed, &installed))
}

/// Unpacks a package's files below `target`, which is made if it is not there.
///
/// # Errors
/// The directory cannot be made; dpkg-deb is missing or refuses the package.
pub fn unpack(deb: &Path, target: &Path) -> Result<(), InputsError> {
    make_directory(target)?;
    run(
        Command::new("dpkg-deb")
            .arg("--extract")
            .args([deb, target]),
        "dpkg-deb",
    )
    .map(|_| ())
}

fn make_directory(path: &Path) -> Result<(), InputsError> {
    std::fs::create_dir_all(path).map_err(|source| InputsError::Directory {
        path: path.to_owned(),
        source,
    })
}

/// apt, with these options.
struct Apt(Vec<OsString>);

impl Apt {
    /// For this machine's own architecture, with this machine's lists.
    const NATIVE: Apt = Apt(Vec::new());

    /// For another one, as Debian calls it, with its lists below `lists`.
    fn foreign(architecture: &str, lists: &Path) -> Result<Self, InputsError> {
        make_directory(&lists.join("lists/partial"))?;
        let lists = std::path::absolute(lists).map_err(|source| InputsError::Directory {
            path: lists.to_owned(),
            source,
        })?;
        let option = |name: &str, value: &OsStr| {
            let mut option = OsString::from(format!("--option={name}="));
            option.push(value);
            option
        };
        Ok(Apt(vec![
            option("APT::Architecture", architecture.as_ref()),
            option("APT::Architectures", architecture.as_ref()),
            option("Dir::State", lists.as_os_str()),
            option("Dir::State::status", "/dev/null".as_ref()),
            option("Dir::Cache", lists.as_os_str()),
        ]))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // As root, apt would fetch as its own user, who may not write here.
        command.args(["--quiet=2", "--option=APT::Sandbox::User=root"]);
        command.args(&self.0);
        command
    }

    fn download(&self) -> Command {
        let mut command = self.command("apt-get");
        command.arg("download");
        command
    }

    fn update(&self) -> Result<(), InputsError> {
        run(self.command("apt-get").arg("update"), "apt-get").map(drop)
    }
}

fn run(command: &mut Command, program: &'static str) -> Result<String, InputsError> {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .env("LC_ALL", "C")
        .output()
        .map_err(|source| InputsError::Start { program, source })?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    Err(InputsError::Failed {
        program,
        message: String::from_utf8_lossy(&stderr).trim().to_owned(),
    })
}

fn unknown(package: &str) -> InputsError {
    InputsError::Unknown {
        package: package.to_owned(),
    }
}

/// The first dependency in the output of `apt-cache depends`.
fn dependency(text: &str) -> Option<String> {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.trim().strip_prefix("Depends: "))?;
    Some(line.to_owned())
}

/// The libraries among the packages that `apt-cache depends --recurse` has a paragraph for, without
/// those that dpkg-query says are installed.
fn not_installed(needed: &str, installed: &str) -> Vec<String> {
    let installed: BTreeSet<&str> = installed
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .collect();
    let libraries: BTreeSet<&str> = needed
        .lines()
        .filter(|line| line.starts_with("lib") && !line.contains(':'))
        .filter(|name| !installed.contains(name))
        .collect();
    libraries.into_iter().map(str::to_owned).collect()
}

/// File name and size in bytes by package, from `apt-get download --print-uris`: lines of
/// `'URI' FILE SIZE HASH`, where FILE begins with the package's name and `_`.
fn files(uris: &str) -> BTreeMap<String, (String, u64)> {
    let parse = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let file = words.next()?;
        let size = words.next()?.parse().ok()?;
        let (name, _) = file.split_once('_')?;
        Some((name.to_owned(), (file.to_owned(), size)))
    };
    uris.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apts_answers_are_understood() {
        let depends = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        let expected = "linux-image-6.1.0-56-cloud-amd64";
        assert_eq!(dependency(depends).as_deref(), Some(expected));
        assert_eq!(dependency("N: nothing"), None);
        let needed =
            "server\n  Depends: libone\n |Depends: libtwo\nlibtwo\nlibone\nlibc6\nadduser\n";
        let here = "libc6 installed\nlibtwo not-installed\n";
        assert_eq!(not_installed(needed, here), ["libone", "libtwo"]);
        let uris = "'http://host/pool/b_1.deb' busybox-static_1%3a1.35_amd64.deb 928188 SHA256:3d\n\
                    W: something\n\
                    'http://host/pool/z_1.deb' zlib1g_1_amd64.deb 12 SHA256:3e\n";
        let expected = BTreeMap::from([
            (
                "busybox-static".to_owned(),
                ("busybox-static_1%3a1.35_amd64.deb".to_owned(), 928_188),
            ),
            ("zlib1g".to_owned(), ("zlib1g_1_amd64.deb".to_owned(), 12)),
        ]);
        assert_eq!(files(uris), expected);
    }
}
