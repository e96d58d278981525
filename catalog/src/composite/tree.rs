//! The files of a package, gathered from Debian packages, a directory and inline rows.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use boot_image::deb::{self, Deb};
use bootd_protocol::manifest::{Content, Empty, File, is_clean_path};

use super::release::{InlineFile, Package};
use crate::blobs::{BlobError, BlobWriter};

/// Why a package's files cannot be gathered.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A Debian package that cannot be used.
    #[error(transparent)]
    Deb(#[from] deb::DebError),
    /// Two Debian packages with one path.
    #[error("{path} is in {first} and in {second}: exclude it from the package, or leave one out")]
    Conflict {
        /// The path.
        path: String,
        /// One Debian package.
        first: String,
        /// The other.
        second: String,
    },
    /// A Debian package for another machine.
    #[error("{deb} is for {found}, the package is for {wanted}")]
    Arch {
        /// The Debian package.
        deb: String,
        /// Its architecture.
        found: String,
        /// The package's.
        wanted: String,
    },
    /// A file of a directory that cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something that no package can hold.
    #[error("{} is neither a file nor a link nor a directory, or its name is not UTF-8", .0.display())]
    Kind(PathBuf),
    /// A path that leaves the tree.
    #[error("path {0:?} is not absolute and clean")]
    Path(String),
    /// Permission bits that are none.
    #[error("mode {0:?} of {1} is not octal permission bits such as 0644")]
    Mode(String, String),
    /// What was gathered cannot be stored.
    #[error(transparent)]
    Store(#[from] BlobError),
}

/// The files of a package and the architecture they are for.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) files: Vec<File>,
    pub(super) arch: String,
}

struct Tree<'a> {
    package: &'a Package,
    blobs: &'a BlobWriter,
    /// By path, with the source that it came from.
    files: BTreeMap<String, (File, String)>,
}

/// Gathers the files of `package`; paths in it are relative to `base`. Contents go to `blobs`.
pub(super) fn gather(
    package: &Package,
    base: &Path,
    blobs: &BlobWriter,
) -> Result<Gathered, TreeError> {
    let mut tree = Tree {
        package,
        blobs,
        files: BTreeMap::new(),
    };
    let mut arch = package.arch.clone();
    for path in &package.debs {
        let deb = Deb::open(&base.join(path))?;
        settle_arch(&mut arch, package, &deb)?;
        tree.add_deb(&deb)?;
    }
    if let Some(directory) = &package.directory {
        let prefix = package.prefix.as_deref().unwrap_or("/");
        let prefix = prefix.trim_end_matches('/');
        if !prefix.is_empty() && !is_clean_path(prefix) {
            return Err(TreeError::Path(prefix.to_owned()));
        }
        tree.add_directory(&base.join(directory), prefix)?;
    }
    tree.add_inline()?;
    Ok(Gathered {
        files: tree.files.into_values().map(|(file, _)| file).collect(),
        arch: arch.unwrap_or_else(|| "all".into()),
    })
}

/// A package without an architecture takes that of its first Debian package that has one.
fn settle_arch(arch: &mut Option<String>, package: &Package, deb: &Deb) -> Result<(), TreeError> {
    let found = match deb.control().architecture.as_str() {
        "all" => return Ok(()),
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    };
    let wanted = arch.get_or_insert_with(|| found.to_owned());
    if wanted == found {
        return Ok(());
    }
    Err(TreeError::Arch {
        deb: deb.name().to_owned(),
        found: found.to_owned(),
        wanted: format!("{wanted} ({} {})", package.name, package.version),
    })
}

impl Tree<'_> {
    /// Whether the package's patterns take `path`.
    fn takes(&self, path: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, path));
        (self.package.include.is_empty() || any(&self.package.include))
            && !any(&self.package.exclude)
    }

    fn add_deb(&mut self, deb: &Deb) -> Result<(), TreeError> {
        for entry in deb.entries() {
            if !self.takes(entry.path) {
                continue;
            }
            let content = match entry.content {
                deb::Content::Regular(bytes) | deb::Content::HardLink { bytes, .. } => {
                    Content::Regular(self.blobs.put(bytes)?)
                }
                deb::Content::Symlink(target) => Content::Symlink(target.to_owned()),
                deb::Content::Directory => Content::Directory(Empty {}),
            };
            let file = File {
                path: entry.path.to_owned(),
                mode: entry.mode,
                uid: entry.uid,
                gid: entry.gid,
                content,
            };
            self.add(file, deb.name())?;
        }
        Ok(())
    }

    /// Directories may come from several sources; everything else from one.
    fn add(&mut self, file: File, source: &str) -> Result<(), TreeError> {
        let directory = |file: &File| matches!(file.content, Content::Directory(_));
        match self.files.get(&file.path) {
            Some((other, _)) if directory(other) && directory(&file) => Ok(()),
            Some((other, first)) if *other != file => Err(TreeError::Conflict {
                first: first.clone(),
                second: source.to_owned(),
                path: file.path,
            }),
            Some(_) | None => {
                self.files
                    .insert(file.path.clone(), (file, source.to_owned()));
                Ok(())
            }
        }
    }

    fn add_directory(&mut self, directory: &Path, prefix: &str) -> Result<(), TreeError> {
        let source = directory.display().to_string();
        let read = |path: &Path| {
            let path = path.to_owned();
            move |source| TreeError::Read { path, source }
        };
        let entries = fs::read_dir(directory).map_err(read(directory))?;
        for entry in entries {
            let entry = entry.map_err(read(directory))?;
            let (from, meta) = (entry.path(), entry.metadata());
            let meta = meta.map_err(read(&from))?;
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| TreeError::Kind(from.clone()))?;
            let path = format!("{prefix}/{name}");
            let content = if meta.is_dir() {
                Content::Directory(Empty {})
            } else if meta.is_symlink() {
                Content::Symlink(link_target(&from)?)
            } else if meta.is_file() && self.takes(&path) {
                let file = fs::File::open(&from).map_err(read(&from))?;
                Content::Regular(self.blobs.put(file)?)
            } else if meta.is_file() {
                continue;
            } else {
                return Err(TreeError::Kind(from));
            };
            let file = File {
                path: path.clone(),
                mode: meta.permissions().mode() & 0o7777,
                uid: 0,
                gid: 0,
                content,
            };
            if self.takes(&path) {
                self.add(file, &source)?;
            }
            if meta.is_dir() {
                self.add_directory(&from, &path)?;
            }
        }
        Ok(())
    }

    fn add_inline(&mut self) -> Result<(), TreeError> {
        for file in &self.package.files {
            let content = Content::Regular(self.blobs.put(file.text.as_bytes())?);
            self.put(&file.path, mode(file)?, content)?;
        }
        for (path, target) in &self.package.links {
            self.put(path, 0o777, Content::Symlink(target.clone()))?;
        }
        for path in &self.package.directories {
            self.put(path, 0o755, Content::Directory(Empty {}))?;
        }
        Ok(())
    }

    /// What the release says in person wins.
    fn put(&mut self, path: &str, mode: u32, content: Content) -> Result<(), TreeError> {
        if !is_clean_path(path) {
            return Err(TreeError::Path(path.to_owned()));
        }
        let file = File {
            path: path.to_owned(),
            mode,
            uid: 0,
            gid: 0,
            content,
        };
        self.files.insert(path.to_owned(), (file, "release".into()));
        Ok(())
    }
}

fn link_target(path: &Path) -> Result<String, TreeError> {
    let target = fs::read_link(path).map_err(|source| TreeError::Read {
        path: path.to_owned(),
        source,
    })?;
    let text = target.to_str();
    text.map(str::to_owned)
        .ok_or_else(|| TreeError::Kind(path.to_owned()))
}

fn mode(file: &InlineFile) -> Result<u32, TreeError> {
    let Some(text) = &file.mode else {
        return Ok(0o644);
    };
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| TreeError::Mode(text.clone(), file.path.clone()))
}

/// Whether `path` fits `pattern`: `*` stands for any text without `/`, `**` for any text.
fn fits(pattern: &str, path: &str) -> bool {
    let Some(star) = pattern.find('*') else {
        return pattern == path;
    };
    let (head, rest) = pattern.split_at(star);
    let Some(tail) = path.strip_prefix(head) else {
        return false;
    };
    let (rest, any) = match rest.strip_prefix("**") {
        Some(rest) => (rest, true),
        None => (&rest[1..], false),
    };
    let ends = tail
        .char_indices()
        .map(|(at, _)| at)
        .chain([tail.len()])
        .take_while(|at| any || !tail[..*at].contains('/'));
    ends.into_iter().any(|at| fits(rest, &tail[at..]))
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns() {
        for (pattern, path, expected) in [
            ("/usr/bin/true", "/usr/bin/true", true),
            ("/usr/bin/true", "/usr/bin/truer", false),
            ("/usr/*/true", "/usr/bin/true", true),
            ("/usr/*", "/usr/bin/true", false),
            ("/usr/**", "/usr/bin/true", true),
            ("/usr/share/doc/**", "/usr/share/doc", false),
            ("**/*.mo", "/usr/share/locale/de/x.mo", true),
            ("**.so.*", "/lib/libc.so.6", true),
            ("/*", "/é", true),
        ] {
            assert_eq!(fits(pattern, path), expected, "{pattern} {path}");
        }
    }
}
