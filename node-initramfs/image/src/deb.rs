//! Reads Debian packages (`deb(5)`, format 2.0) without dpkg and without unpacking anything.
//!
//! A package is read whole into memory and checked whole when it is opened: what
//! [`Deb::open`] accepts has clean paths, only regular files, links and directories, and
//! nothing that ends early. Looking at its entries afterwards cannot fail.

mod archive;
mod control;
mod tree;

use std::path::Path;

pub use control::Control;
use tree::Tree;

/// Most a package may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest package file, in bytes.
    pub package: u64,
    /// Largest unpacked `control.tar`, in bytes.
    pub control: u64,
    /// Largest unpacked `data.tar`, in bytes.
    pub data: u64,
}

impl Limits {
    /// Room for every package of Debian 12 that a node could want.
    pub const DEFAULT: Limits = Limits {
        package: 1 << 30,
        control: 16 << 20,
        data: 2 << 30,
    };
}

/// What is wrong with a package, and with which one.
#[derive(Debug, thiserror::Error)]
#[error("Debian package {name}: {fault}")]
pub struct DebError {
    /// Path of the package, or the name its reader gave it.
    pub name: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a Debian package.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(std::io::Error),
    /// Some other kind of file.
    #[error("this is no Debian package: {0}")]
    NotADeb(String),
    /// A format that dpkg of Debian 12 does not know either.
    #[error("package format {0:?}, this program reads 2.x")]
    Format(String),
    /// A member that every package has is not there.
    #[error("has no {0} member")]
    Missing(&'static str),
    /// A compression this program does not read.
    #[error("member {0} is compressed in an unknown way: xz, zst, gz or none are read")]
    Compression(String),
    /// The file ends too early.
    #[error("is truncated: {0} ends too early")]
    Truncated(String),
    /// The bytes contradict themselves.
    #[error("is damaged: {member}: {reason}")]
    Damaged {
        /// Member or path that is damaged.
        member: String,
        /// What the decoder said.
        reason: String,
    },
    /// More than a package may hold.
    #[error("{what} is larger than the {limit} bytes allowed")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The most that is allowed, in bytes.
        limit: u64,
    },
    /// A control field that every package has is not there, or a line is no field.
    #[error("control file: {0}")]
    Control(String),
    /// A path that leaves the package's tree, or is not UTF-8.
    #[error("path {0:?} leaves the tree or is not clean UTF-8")]
    Path(String),
    /// A path that stands twice.
    #[error("path {0} stands twice")]
    Twice(String),
    /// A device, a pipe or something else that no package should bring.
    #[error("{path} is a {kind}: only files, links and directories are accepted")]
    Kind {
        /// Where it stands.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// A hard link to something that is no file of this package.
    #[error("{path} is a hard link to {target}, which is no file that stands before it")]
    HardLink {
        /// Where the link stands.
        path: String,
        /// Where it points.
        target: String,
    },
}

/// A Debian package, opened and checked.
#[derive(Debug)]
pub struct Deb {
    name: String,
    control: Control,
    tree: Tree,
}

/// One path of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Absolute and clean (`/usr/bin/true`).
    pub path: &'a str,
    /// Permission bits (`07777`).
    pub mode: u32,
    /// Owner, numeric.
    pub uid: u32,
    /// Group, numeric.
    pub gid: u32,
    /// What stands there.
    pub content: Content<'a>,
}

/// What stands at a path of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// A regular file with these bytes.
    Regular(&'a [u8]),
    /// A symbolic link; the target is as it stands in the package: it may be relative, and
    /// may name what is not in the package.
    Symlink(&'a str),
    /// Another name of a regular file that stands before it.
    HardLink {
        /// The other name, absolute and clean.
        target: &'a str,
        /// The file's bytes.
        bytes: &'a [u8],
    },
    /// A directory.
    Directory,
}

impl<'a> Entry<'a> {
    /// The bytes of a regular file, under whichever of its names.
    #[must_use]
    pub fn bytes(&self) -> Option<&'a [u8]> {
        match self.content {
            Content::Regular(bytes) | Content::HardLink { bytes, .. } => Some(bytes),
            Content::Symlink(_) | Content::Directory => None,
        }
    }
}

impl Deb {
    /// Opens the package at `path`, within [`Limits::DEFAULT`].
    ///
    /// # Errors
    /// The file cannot be read, or is not a sound Debian package: see [`Fault`].
    pub fn open(path: &Path) -> Result<Self, DebError> {
        let name = path.display().to_string();
        match archive::read_file(path, Limits::DEFAULT.package) {
            Ok(bytes) => Deb::from_bytes(&name, &bytes, Limits::DEFAULT),
            Err(fault) => Err(DebError { name, fault }),
        }
    }

    /// Reads the package in `bytes`; `name` is what errors call it.
    ///
    /// # Errors
    /// Not a sound Debian package: see [`Fault`].
    pub fn from_bytes(name: &str, bytes: &[u8], limits: Limits) -> Result<Self, DebError> {
        let named = |fault| DebError {
            name: name.to_owned(),
            fault,
        };
        let parts = archive::unpack(bytes, limits).map_err(named)?;
        Ok(Deb {
            name: name.to_owned(),
            control: control::from_tar(&parts.control).map_err(named)?,
            tree: Tree::from_tar(parts.data).map_err(named)?,
        })
    }

    /// The path it was opened at, or the name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its control fields.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Every path in it but `/`, in the order of the package.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.tree.entries()
    }

    /// What stands at `path` (absolute and clean), without following symbolic links.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<Entry<'_>> {
        self.tree.find(path)
    }
}

#[cfg(test)]
mod tests;
