//! File systems: the kernel's own, the data partition, the tree that processes see.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount, umount};

/// Where the data partition is mounted.
pub const DATA: &str = "/data";
/// Where a test is put together.
pub const RAM: &str = "/run/ram";
/// Where the running tree is put together.
const SYSROOT: &str = "/sysroot";
/// Where processes find what outlives a restart.
const PERSIST: &str = "persist";

/// A mount that failed.
#[derive(Debug, thiserror::Error)]
#[error("mount {target}: {source}")]
pub struct MountError {
    target: String,
    source: io::Error,
}

fn attempt<T>(target: &str, result: io::Result<T>) -> Result<T, MountError> {
    result.map_err(|source| MountError {
        target: target.to_owned(),
        source,
    })
}

fn mount_at(
    source: &str,
    target: &str,
    kind: &str,
    flags: MsFlags,
    data: &str,
) -> Result<(), MountError> {
    let done = fs::create_dir_all(target).and_then(|()| {
        let data = (!data.is_empty()).then_some(data);
        mount(Some(source), target, Some(kind), flags, data).map_err(io::Error::from)
    });
    attempt(target, done)
}

/// Mounts what the kernel offers. The first thing PID 1 does.
///
/// # Errors
/// A mount that fails.
pub fn mount_kernel() -> Result<(), MountError> {
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    mount_at("proc", "/proc", "proc", quiet, "")?;
    mount_at("sysfs", "/sys", "sysfs", quiet, "")?;
    mount_at(
        "devtmpfs",
        "/dev",
        "devtmpfs",
        MsFlags::MS_NOSUID,
        "mode=0755",
    )?;
    mount_at(
        "tmpfs",
        "/run",
        "tmpfs",
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        "mode=0755",
    )
}

/// Mounts the data partition.
///
/// # Errors
/// It carries no file system of ours, or a broken one.
pub fn mount_data(device: &str) -> Result<(), MountError> {
    mount_at(
        device,
        DATA,
        "ext4",
        MsFlags::MS_NOATIME | MsFlags::MS_NODEV,
        "",
    )
}

/// Unmounts the data partition, flushing it.
///
/// # Errors
/// It is in use.
pub fn unmount_data() -> Result<(), MountError> {
    attempt(DATA, umount(DATA).map_err(io::Error::from))
}

/// Mounts a RAM disk for a test. How much goes into it is for the caller to see.
///
/// # Errors
/// The kernel does not want to.
pub fn mount_ram() -> Result<(), MountError> {
    mount_at(
        "tmpfs",
        RAM,
        "tmpfs",
        MsFlags::MS_NODEV,
        "mode=0755,size=100%",
    )
}

/// Gives back the RAM of a test that came to nothing.
pub fn unmount_ram() {
    // What cannot be given back is short until the next restart.
    let _ = umount(RAM);
}

/// Puts the running tree together: `tree` below, a RAM disk above it, so that what a process
/// writes outside `/persist` is gone at the next boot; then makes it the root. What was the
/// root comes back, to be freed when there is time. `has_data`: the data partition is mounted.
///
/// # Errors
/// A mount that fails.
pub fn enter_tree(tree: &Path, persist: &Path, has_data: bool) -> Result<Initramfs, MountError> {
    mount_at(
        "tmpfs",
        "/run/overlay",
        "tmpfs",
        MsFlags::empty(),
        "mode=0755",
    )?;
    for dir in ["/run/overlay/upper", "/run/overlay/work"] {
        attempt(dir, fs::create_dir_all(dir))?;
    }
    let layers = format!(
        "lowerdir={},upperdir=/run/overlay/upper,workdir=/run/overlay/work",
        tree.display()
    );
    mount_at("overlay", SYSROOT, "overlay", MsFlags::MS_NODEV, &layers)?;
    let kept = format!("{SYSROOT}/{PERSIST}");
    bind(&persist.to_string_lossy(), &kept)?;
    let tmp = format!("{SYSROOT}/tmp");
    mount_at(
        "tmpfs",
        &tmp,
        "tmpfs",
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        "mode=1777",
    )?;
    let data = has_data.then_some("data");
    for name in ["dev", "proc", "sys", "run"].into_iter().chain(data) {
        let to = format!("{SYSROOT}/{name}");
        move_mount(&format!("/{name}"), &to)?;
    }
    make_root()
}

fn bind(from: &str, to: &str) -> Result<(), MountError> {
    mount_at(from, to, "none", MsFlags::MS_BIND, "")
}

fn move_mount(from: &str, to: &str) -> Result<(), MountError> {
    mount_at(from, to, "none", MsFlags::MS_MOVE, "")
}

/// As switch_root(8) does: the tree moves over the initramfs.
fn make_root() -> Result<Initramfs, MountError> {
    let enter = || -> io::Result<Initramfs> {
        let initramfs = Initramfs(File::open("/")?);
        nix::unistd::chdir(SYSROOT)?;
        mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
        nix::unistd::chroot(".")?;
        nix::unistd::chdir("/")?;
        Ok(initramfs)
    };
    attempt("/", enter())
}

/// What was the root until the tree took its place: nobody else can reach it any more.
#[derive(Debug)]
pub struct Initramfs(File);

impl Initramfs {
    /// The kernel modules are in, the tools are done: their RAM goes back.
    pub fn free(self) {
        let root = PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()));
        for name in ["lib", "lib64", "usr", "sbin", "bin", "init"] {
            let path = root.join(name);
            // A link is removed as a file; what is not there needs no freeing.
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
    }
}
