//! Programs from Debian packages, with the shared libraries they need.

use std::collections::BTreeSet;

use bootd_protocol::identity::Arch;

use crate::arch;
use crate::deb::{Content, Deb, Entry};
use crate::elf::Elf;
use crate::initramfs::cpio::{Archive, CpioError};

/// Why a program cannot be carried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// A file is in none of the packages.
    #[error("{path} is in none of the packages given ({debs})")]
    NoFile {
        /// The file.
        path: String,
        /// The packages that were searched.
        debs: String,
    },
    /// A shared library is in none of the packages.
    #[error(
        "shared library {library}, which {needed_by} needs, is in none of the packages given ({debs})"
    )]
    NoLibrary {
        /// The library, as `DT_NEEDED` names it.
        library: String,
        /// The program or library that needs it.
        needed_by: String,
        /// The packages that were searched.
        debs: String,
    },
    /// A program or library that is no sound ELF file, or one of another architecture.
    #[error("{path} is no program or library for {arch}: {reason}")]
    Elf {
        /// The file.
        path: String,
        /// The architecture it should be of.
        arch: Arch,
        /// What is wrong with it.
        reason: String,
    },
    /// The initramfs cannot hold it.
    #[error(transparent)]
    Cpio(#[from] CpioError),
}

/// Packages as one tree of files.
#[derive(Debug, Clone, Copy)]
pub struct Sysroot<'a> {
    debs: &'a [Deb],
    arch: Arch,
}

/// A file found in a package.
#[derive(Debug, Clone, Copy)]
struct Found<'a> {
    mode: u32,
    bytes: &'a [u8],
}

/// Symbolic links followed before a path counts as a loop, as in Linux.
const MAX_LINKS: usize = 40;

impl<'a> Sysroot<'a> {
    /// Packages for one architecture; where two hold the same path, the first counts.
    #[must_use]
    pub fn new(debs: &'a [Deb], arch: Arch) -> Self {
        Sysroot { debs, arch }
    }

    /// Adds the file at `path` to `archive`, at the same path.
    ///
    /// # Errors
    /// [`ToolError::NoFile`], or something else stands there in the archive.
    pub fn add_file(&self, archive: &mut Archive<'a>, path: &str) -> Result<(), ToolError> {
        let found = self.find(path)?;
        Ok(archive.file(path, found.mode, found.bytes)?)
    }

    /// Adds the program at `path` with its loader and its shared libraries, direct and
    /// transitive. Each library stands at the path where its loader looks for it, as a file.
    ///
    /// # Errors
    /// Program, loader or a library is missing or of another architecture.
    pub fn add_program(&self, archive: &mut Archive<'a>, path: &str) -> Result<(), ToolError> {
        let program = self.find(path)?;
        archive.file(path, program.mode, program.bytes)?;
        let elf = self.parse(path, program.bytes)?;
        let mut done = BTreeSet::new();
        if let Some(interpreter) = elf.interpreter {
            self.add_file(archive, interpreter)?;
            // Libraries may name their loader, which is there by then.
            done.insert(interpreter.rsplit('/').next().unwrap_or_default());
        }
        let mut open: Vec<(String, &str)> = Vec::new();
        let queue = |open: &mut Vec<_>, by: &str, needed: Vec<&'a str>| {
            open.extend(needed.into_iter().map(|library| (by.to_owned(), library)));
        };
        queue(&mut open, path, elf.needed);
        while let Some((needed_by, library)) = open.pop() {
            if !done.insert(library) {
                continue;
            }
            let (path, found) = self.find_library(library, &needed_by)?;
            archive.file(&path, found.mode, found.bytes)?;
            let elf = self.parse(&path, found.bytes)?;
            queue(&mut open, &path, elf.needed);
        }
        Ok(())
    }

    fn parse(&self, path: &str, bytes: &'a [u8]) -> Result<Elf<'a>, ToolError> {
        let bad = |reason| ToolError::Elf {
            path: path.to_owned(),
            arch: self.arch,
            reason,
        };
        let elf = Elf::parse(bytes).map_err(bad)?;
        if elf.arch != Some(self.arch) {
            return Err(bad("it was built for another".to_owned()));
        }
        Ok(elf)
    }

    fn find_library(
        &self,
        library: &str,
        needed_by: &str,
    ) -> Result<(String, Found<'a>), ToolError> {
        let triplet = arch::triplet(self.arch);
        // The default path of Debian's ld.so; `/usr` is covered by `Sysroot::entry`.
        let directories = [format!("/lib/{triplet}"), "/lib".to_owned()];
        directories
            .iter()
            .map(|directory| format!("{directory}/{library}"))
            .find_map(|path| Some((self.resolve(&path)?, path)))
            .map(|(found, path)| (path, found))
            .ok_or_else(|| ToolError::NoLibrary {
                library: library.to_owned(),
                needed_by: needed_by.to_owned(),
                debs: self.names(),
            })
    }

    fn find(&self, path: &str) -> Result<Found<'a>, ToolError> {
        self.resolve(path).ok_or_else(|| ToolError::NoFile {
            path: path.to_owned(),
            debs: self.names(),
        })
    }

    /// The regular file at `path`, links followed.
    fn resolve(&self, path: &str) -> Option<Found<'a>> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            let entry = self.entry(&path)?;
            match entry.content {
                Content::Regular(bytes) | Content::HardLink { bytes, .. } => {
                    return Some(Found {
                        mode: entry.mode,
                        bytes,
                    });
                }
                Content::Symlink(target) => path = join(entry.path, target),
                Content::Directory => return None,
            }
        }
        None
    }

    /// What stands at `path`; `/lib` and `/usr/lib` and their like are one, as on a system
    /// whose `/usr` is merged.
    fn entry(&self, path: &str) -> Option<Entry<'a>> {
        let twin = match path.strip_prefix("/usr") {
            Some(rest) => rest.to_owned(),
            None => format!("/usr{path}"),
        };
        let find = |path: &str| self.debs.iter().find_map(|deb| deb.find(path));
        find(path).or_else(|| find(&twin))
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.debs.iter().map(Deb::name).collect();
        names.join(", ")
    }
}

/// The path that the link at `link` leads to.
fn join(link: &str, target: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    if !target.starts_with('/') {
        parts.extend(link.split('/'));
        parts.pop();
    }
    for part in target.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            "." => {}
            _ => parts.push(part),
        }
    }
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests;
