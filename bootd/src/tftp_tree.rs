//! Directories whose files TFTP serves: a tree, as other servers serve it, and the loaders.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bootd_protocol::tftp::Refusal;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::libc;
use nix::sys::stat::{Mode, SFlag};

use crate::tftp::Source;

/// Only what the kernel has in memory (openat2(2) `RESOLVE_CACHED`, Linux 5.12).
const RESOLVE_CACHED: u64 = 0x20;

/// Not blocking: a FIFO would wait for a writer.
const READ: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY)
    .union(OFlag::O_CLOEXEC);

/// A directory whose files anyone may read.
///
/// Names are taken as other servers take them: from the directory on, with or without a leading
/// slash, the directory's own path in front of it or not, and with backslashes for slashes.
/// Upper and lower case differ. Served are regular files that everybody may read (`o+r`).
/// Symbolic links are followed as long as they stay inside; the kernel sees to it that nothing
/// leads out (openat2(2) `RESOLVE_BENEATH`), whoever changes the tree meanwhile.
#[derive(Debug, Clone)]
pub struct Tree {
    root: Arc<OwnedFd>,
    /// The directory's path as a client may write it: without the leading slash.
    path: String,
}

/// The directory cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("TFTP directory {}", path.display())]
pub struct TreeError {
    path: PathBuf,
    source: io::Error,
}

impl Tree {
    /// Opens the directory `path`. One that takes its place later is not seen.
    ///
    /// # Errors
    /// It is no directory, or not for us; or nothing below it could be opened, since there is no
    /// openat2(2).
    pub fn open(path: &Path) -> Result<Self, TreeError> {
        let open = || {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let root = nix::fcntl::open(path, flags, Mode::empty())?;
            let itself = OpenHow::new()
                .flags(flags)
                .resolve(ResolveFlag::RESOLVE_BENEATH);
            openat2(&root, ".", itself).map_err(without_openat2)?;
            let path = path.canonicalize()?;
            Ok(Tree {
                root: Arc::new(root),
                path: path.to_string_lossy().trim_matches('/').to_owned(),
            })
        };
        open().map_err(|source| TreeError {
            path: path.to_owned(),
            source,
        })
    }

    /// Finds the file called `name`; may wait for a disk.
    ///
    /// # Errors
    /// What the client is to be told.
    pub fn find(&self, name: &str) -> Result<Source, Refusal> {
        self.look_up(name, ResolveFlag::empty()).map_err(refusal)
    }

    /// The same without waiting; none if that cannot be.
    #[must_use]
    pub fn find_now(&self, name: &str) -> Option<Result<Source, Refusal>> {
        match self.look_up(name, ResolveFlag::from_bits_retain(RESOLVE_CACHED)) {
            Err(Errno::EAGAIN) => None,
            found => Some(found.map_err(refusal)),
        }
    }

    fn look_up(&self, name: &str, how: ResolveFlag) -> nix::Result<Source> {
        let name = plain(name);
        match self.open_file(&name, how) {
            Err(Errno::ENOENT) => {
                let inner = name
                    .strip_prefix(&self.path)
                    .map(|it| it.trim_start_matches('/'));
                self.open_file(inner.ok_or(Errno::ENOENT)?, how)
            }
            found => found,
        }
    }

    fn open_file(&self, name: &str, how: ResolveFlag) -> nix::Result<Source> {
        let beneath = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new().flags(READ).resolve(beneath | how);
        public(openat2(&*self.root, name, how)?.into())
    }
}

/// What a regular file that everybody may read has; anything else is refused.
fn public(file: File) -> nix::Result<Source> {
    let metadata = file.metadata().map_err(|_| Errno::EIO)?;
    let kind = SFlag::from_bits_truncate(metadata.mode() & libc::S_IFMT);
    let readable = Mode::from_bits_truncate(metadata.mode()).contains(Mode::S_IROTH);
    if kind == SFlag::S_IFREG && readable {
        Ok(Source::disk(Arc::new(file), 0, metadata.size()))
    } else {
        Err(Errno::EACCES)
    }
}

/// The programs that firmware loads first: the files of one directory, not of those below it.
///
/// Unlike in a [`Tree`], a symbolic link may lead anywhere: who installed the directory made it, and
/// Debian has its `ipxe.efi` in `/boot`.
#[derive(Debug, Clone)]
pub struct Loaders {
    directory: Arc<Path>,
}

impl Loaders {
    /// The loaders in `directory`; there are none where there is no such directory.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        Loaders {
            directory: directory.into(),
        }
    }

    /// The directory, and those that links in it lead to now; of the root directory, the file alone.
    #[must_use]
    pub fn places(&self) -> BTreeSet<PathBuf> {
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten();
        let targets = entries.filter_map(|entry| entry.ok()?.path().canonicalize().ok());
        let files = targets.filter(|it| it.is_file());
        let places = files.map(|file| match file.parent() {
            Some(parent) if parent.parent().is_some() => parent.to_owned(),
            Some(_) | None => file,
        });
        places.chain([self.directory.to_path_buf()]).collect()
    }

    /// Finds the loader called `name`; may wait for a disk.
    ///
    /// # Errors
    /// What the client is to be told.
    pub fn find(&self, name: &str) -> Result<Source, Refusal> {
        let mut parts = Path::new(name).components();
        let (Some(Component::Normal(file)), None) = (parts.next(), parts.next()) else {
            return Err(Refusal::NotFound);
        };
        nix::fcntl::open(&self.directory.join(file), READ, Mode::empty())
            .and_then(|file| public(file.into()))
            .map_err(refusal)
    }
}

/// What to do where openat2(2) is missing.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's errors, of which one matters"
)]
fn without_openat2(error: Errno) -> io::Error {
    match error {
        Errno::ENOSYS => io::Error::new(
            io::ErrorKind::Unsupported,
            "no openat2(2): Linux is older than 5.6, or a filter takes it away, as systemd's \
             RestrictSUIDSGID=yes does",
        ),
        other => other.into(),
    }
}

/// A name with slashes alone, none of them in front.
fn plain(name: &str) -> String {
    name.replace('\\', "/").trim_start_matches('/').to_owned()
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's errors, of which a few matter"
)]
fn refusal(error: Errno) -> Refusal {
    match error {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG => Refusal::NotFound,
        // EXDEV: it leads out of the tree. ENXIO: a socket.
        Errno::EXDEV | Errno::EACCES | Errno::EPERM | Errno::ELOOP | Errno::ENXIO => {
            Refusal::AccessViolation
        }
        _ => Refusal::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions, write};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn only_what_is_inside_and_for_everybody_is_served() {
        let outside = tempfile::tempdir().unwrap();
        let dir = outside.path().join("root");
        create_dir(&dir).unwrap();
        create_dir(dir.join("efi")).unwrap();
        let files = ["pxelinux.0", "efi/Boot.efi", "secret", "../outside"];
        for (name, len) in files.iter().zip(1..) {
            write(dir.join(name), vec![b'x'; len]).unwrap();
        }
        set_permissions(dir.join("secret"), Permissions::from_mode(0o640)).unwrap();
        mkfifo(&dir.join("fifo"), Mode::from_bits_truncate(0o644)).unwrap();
        for (target, link) in [
            ("efi/Boot.efi", "inner"),
            ("../root/pxelinux.0", "out-and-in"),
            ("../outside", "outer"),
            ("/etc/hostname", "absolute"),
            ("loop", "loop"),
        ] {
            symlink(target, dir.join(link)).unwrap();
        }
        let tree = Tree::open(&dir).unwrap();
        let whole = dir.canonicalize().unwrap().join("pxelinux.0");
        let table = [
            ("pxelinux.0", Ok(1)),
            ("/pxelinux.0", Ok(1)),
            (whole.to_str().unwrap(), Ok(1)),
            ("efi/Boot.efi", Ok(2)),
            ("efi\\Boot.efi", Ok(2)),
            ("\\efi\\Boot.efi", Ok(2)),
            ("efi//Boot.efi", Ok(2)),
            ("efi/../pxelinux.0", Ok(1)),
            ("inner", Ok(2)),
            ("efi/boot.efi", Err(Refusal::NotFound)),
            ("missing", Err(Refusal::NotFound)),
            ("pxelinux.0/x", Err(Refusal::NotFound)),
            ("", Err(Refusal::NotFound)),
            ("secret", Err(Refusal::AccessViolation)),
            ("efi", Err(Refusal::AccessViolation)),
            ("fifo", Err(Refusal::AccessViolation)),
            ("../outside", Err(Refusal::AccessViolation)),
            ("efi/../../outside", Err(Refusal::AccessViolation)),
            ("outer", Err(Refusal::AccessViolation)),
            ("out-and-in", Err(Refusal::AccessViolation)),
            ("absolute", Err(Refusal::AccessViolation)),
            ("loop", Err(Refusal::AccessViolation)),
        ];
        for (name, expected) in table {
            let found = tree.find(name).map(|source| source.len());
            assert_eq!(found, expected, "{name}");
            if let Some(now) = tree.find_now(name) {
                assert_eq!(now.map(|source| source.len()), expected, "{name}, now");
            }
        }
    }

    #[test]
    fn loaders_may_be_links_to_anywhere() {
        let temporary = tempfile::tempdir().unwrap();
        let outside = temporary.path().canonicalize().unwrap();
        let (dir, boot) = (outside.join("ipxe"), outside.join("boot"));
        for directory in [&dir, &boot, &dir.join("below")] {
            create_dir(directory).unwrap();
        }
        for (path, len) in [
            (dir.join("undionly.kpxe"), 1),
            (boot.join("ipxe.efi"), 2),
            (boot.join("secret"), 3),
            (dir.join("below/rom"), 4),
        ] {
            write(path, vec![b'x'; len]).unwrap();
        }
        set_permissions(boot.join("secret"), Permissions::from_mode(0o640)).unwrap();
        for link in ["ipxe.efi", "secret", "gone"] {
            symlink(boot.join(link), dir.join(link)).unwrap();
        }
        let loaders = Loaders::in_directory(&dir);
        for (name, expected) in [
            ("undionly.kpxe", Ok(1)),
            ("ipxe.efi", Ok(2)),
            ("secret", Err(Refusal::AccessViolation)),
            ("gone", Err(Refusal::NotFound)),
            ("below", Err(Refusal::AccessViolation)),
            ("", Err(Refusal::NotFound)),
            ("..", Err(Refusal::NotFound)),
            ("below/rom", Err(Refusal::NotFound)),
            ("../boot/ipxe.efi", Err(Refusal::NotFound)),
        ] {
            let found = loaders.find(name).map(|source| source.len());
            assert_eq!(found, expected, "{name}");
        }
        assert_eq!(
            loaders.places(),
            BTreeSet::from([dir.clone(), boot.clone()])
        );

        // An upgrade puts a new file in the place of the old one.
        std::fs::remove_file(boot.join("ipxe.efi")).unwrap();
        write(boot.join("ipxe.efi"), vec![b'x'; 5]).unwrap();
        assert_eq!(loaders.find("ipxe.efi").unwrap().len(), 5);
    }

    #[test]
    fn a_directory_that_is_missing_is_named() {
        let error = Tree::open(Path::new("/nonexistent")).unwrap_err();
        assert_eq!(error.to_string(), "TFTP directory /nonexistent");
        assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
    }
}
