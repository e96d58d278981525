//! The files of a package, gathered from Debian packages, a directory and inline rows.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use boot_image::deb::{self, Deb};
use bootd_protocol::identity::Arch;
use bootd_protocol::manifest::{Content, Empty, is_clean_path};

use super::facts::{self, Facts};
use super::format::Module;
use super::release::{InlineFile, ModuleRule, Package};
use crate::blobs::{BlobError, BlobWriter};
use crate::elf::ElfError;
use crate::snapshot::ModuleType;

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
    /// A program or library that is none.
    #[error(
        "{path}: to take it as it is, say so: [[package.module]] path = {path:?}, type = \"data\""
    )]
    Elf {
        /// Where it stands on the node.
        path: String,
        /// What is wrong with it.
        source: ElfError,
    },
    /// A file with two contents, or none.
    #[error("file {0} needs either text = … or source = FILE")]
    Content(String),
    /// A pattern that fits nothing.
    #[error("no file of the package fits {0:?}, which a table [[package.module]] is about")]
    Nothing(String),
    /// What was gathered cannot be stored.
    #[error(transparent)]
    Store(#[from] BlobError),
}

/// The modules of a package and the architecture they are for.
#[derive(Debug)]
pub(super) struct Gathered {
    /// Sorted by path, architecture and function, each with what its content tells.
    pub(super) modules: Vec<(Module, Facts)>,
    pub(super) arch: String,
}

struct Tree<'a> {
    package: &'a Package,
    blobs: &'a BlobWriter,
    /// By path, architecture and function, with the source that each came from.
    files: BTreeMap<Key, (Module, Facts, String)>,
}

type Key = (String, String, String);

/// Gathers the files of `package`; paths in it are relative to `base`. Contents go to `blobs`.
pub(super) fn gather(
    package: &Package,
    base: &Path,
    debs: &[Deb],
    blobs: &BlobWriter,
) -> Result<Gathered, TreeError> {
    let mut tree = Tree {
        package,
        blobs,
        files: BTreeMap::new(),
    };
    let mut arch = package.arch.clone();
    for deb in debs {
        settle_arch(&mut arch, package, deb)?;
        tree.add_deb(deb)?;
    }
    if let Some(directory) = &package.directory {
        let prefix = package.prefix.as_deref().unwrap_or("/");
        let prefix = prefix.trim_end_matches('/');
        if !prefix.is_empty() && !is_clean_path(prefix) {
            return Err(TreeError::Path(prefix.to_owned()));
        }
        tree.add_directory(&base.join(directory), prefix)?;
    }
    tree.add_inline(base)?;
    tree.apply_rules()?;
    let modules = tree.files.into_values();
    Ok(Gathered {
        modules: modules.map(|(module, facts, _)| (module, facts)).collect(),
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
        let conffiles = deb.control().conffiles();
        for entry in deb.entries() {
            if !self.takes(entry.path) {
                continue;
            }
            let (content, facts) = match entry.content {
                deb::Content::Regular(bytes) | deb::Content::HardLink { bytes, .. } => {
                    self.store(entry.path, entry.mode, bytes)?
                }
                deb::Content::Symlink(target) => {
                    (Content::Symlink(target.to_owned()), Facts::default())
                }
                deb::Content::Directory => (Content::Directory(Empty {}), Facts::default()),
            };
            let mut module = module(entry.path, entry.mode, content, &facts);
            (module.uid, module.gid) = (entry.uid, entry.gid);
            if conffiles.contains(entry.path) {
                module.kind = ModuleType::Config;
            }
            self.add(module, facts, deb.name())?;
        }
        Ok(())
    }

    /// Stores the bytes of a file, and looks at what they are.
    fn store(&self, path: &str, mode: u32, bytes: &[u8]) -> Result<(Content, Facts), TreeError> {
        let blob = self.blobs.put(bytes)?;
        let is_data =
            |rule: &ModuleRule| rule.kind == Some(ModuleType::Data) && fits(&rule.path, path);
        let facts = match self.package.modules.iter().any(is_data) {
            true => Facts::default(),
            false => {
                facts::of(path, mode, bytes, blob.sha256).map_err(|source| TreeError::Elf {
                    path: path.to_owned(),
                    source,
                })?
            }
        };
        Ok((Content::Regular(blob), facts))
    }

    /// Directories may come from several sources; everything else from one.
    fn add(&mut self, module: Module, facts: Facts, source: &str) -> Result<(), TreeError> {
        let directory = |module: &Module| matches!(module.content, Content::Directory(_));
        match self.files.get(&key(&module)) {
            Some((other, _, _)) if directory(other) && directory(&module) => Ok(()),
            Some((other, _, first)) if *other != module => Err(TreeError::Conflict {
                first: first.clone(),
                second: source.to_owned(),
                path: module.path,
            }),
            Some(_) | None => {
                let source = source.to_owned();
                self.files.insert(key(&module), (module, facts, source));
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
            let mode = meta.permissions().mode() & 0o7777;
            let none = Facts::default();
            let (content, facts) = if meta.is_dir() {
                (Content::Directory(Empty {}), none)
            } else if meta.is_symlink() {
                (Content::Symlink(link_target(&from)?), none)
            } else if meta.is_file() && self.takes(&path) {
                self.store_file(&path, mode, &from)?
            } else if meta.is_file() {
                continue;
            } else {
                return Err(TreeError::Kind(from));
            };
            if self.takes(&path) {
                let module = module(&path, mode, content, &facts);
                self.add(module, facts, &source)?;
            }
            if meta.is_dir() {
                self.add_directory(&from, &path)?;
            }
        }
        Ok(())
    }

    /// Stores a file. What is larger than [`facts::LARGEST`] is not looked at.
    fn store_file(
        &self,
        path: &str,
        mode: u32,
        from: &Path,
    ) -> Result<(Content, Facts), TreeError> {
        let read = |source| TreeError::Read {
            path: from.to_owned(),
            source,
        };
        // A pipe would wait for ever, a device might never end.
        if !fs::metadata(from).map_err(read)?.is_file() {
            return Err(TreeError::Kind(from.to_owned()));
        }
        let file = fs::File::open(from).map_err(read)?;
        if file.metadata().map_err(read)?.len() > facts::LARGEST {
            return Ok((Content::Regular(self.blobs.put(file)?), Facts::default()));
        }
        let bytes = fs::read(from).map_err(read)?;
        self.store(path, mode, &bytes)
    }

    fn add_inline(&mut self, base: &Path) -> Result<(), TreeError> {
        for file in &self.package.files {
            let mode = mode(file.mode.as_deref(), &file.path)?.unwrap_or(0o644);
            let (content, facts) = match (&file.text, &file.source) {
                (Some(text), None) => self.store(&file.path, mode, text.as_bytes())?,
                (None, Some(source)) => self.store_file(&file.path, mode, &base.join(source))?,
                (Some(_), Some(_)) | (None, None) => {
                    return Err(TreeError::Content(file.path.clone()));
                }
            };
            self.put(&file.path, mode, content, facts, Some(file))?;
        }
        for (path, target) in &self.package.links {
            let target = Content::Symlink(target.clone());
            self.put(path, 0o777, target, Facts::default(), None)?;
        }
        for path in &self.package.directories {
            let empty = Content::Directory(Empty {});
            self.put(path, 0o755, empty, Facts::default(), None)?;
        }
        Ok(())
    }

    /// What the release says in person wins.
    fn put(
        &mut self,
        path: &str,
        mode: u32,
        content: Content,
        facts: Facts,
        inline: Option<&InlineFile>,
    ) -> Result<(), TreeError> {
        if !is_clean_path(path) {
            return Err(TreeError::Path(path.to_owned()));
        }
        let mut module = module(path, mode, content, &facts);
        if let Some(inline) = inline {
            module.arch = inline.arch.map_or("all", Arch::name).to_owned();
            module.function.clone_from(&inline.function);
        }
        self.files
            .insert(key(&module), (module, facts, "release".into()));
        Ok(())
    }

    /// What the release says of files wherever they come from.
    fn apply_rules(&mut self) -> Result<(), TreeError> {
        for rule in &self.package.modules {
            let fitting = |key: &&Key| fits(&rule.path, &key.0);
            let keys: Vec<Key> = self.files.keys().filter(fitting).cloned().collect();
            if keys.is_empty() {
                return Err(TreeError::Nothing(rule.path.clone()));
            }
            for old in keys {
                if let Some((mut module, mut facts, source)) = self.files.remove(&old) {
                    apply(rule, &mut module, &mut facts)?;
                    self.files.insert(key(&module), (module, facts, source));
                }
            }
        }
        Ok(())
    }
}

fn key(module: &Module) -> Key {
    let Module {
        path,
        arch,
        function,
        ..
    } = module;
    (path.clone(), arch.clone(), function.clone())
}

fn module(path: &str, mode: u32, content: Content, facts: &Facts) -> Module {
    Module {
        path: path.to_owned(),
        mode,
        uid: 0,
        gid: 0,
        content,
        arch: "all".into(),
        function: String::new(),
        kind: facts.kind,
        signature: facts.signature,
    }
}

fn apply(rule: &ModuleRule, module: &mut Module, facts: &mut Facts) -> Result<(), TreeError> {
    if let Some(mode) = mode(rule.mode.as_deref(), &rule.path)? {
        module.mode = mode;
    }
    module.kind = rule.kind.unwrap_or(module.kind);
    module.uid = rule.uid.unwrap_or(module.uid);
    module.gid = rule.gid.unwrap_or(module.gid);
    if let Some(arch) = rule.arch {
        arch.name().clone_into(&mut module.arch);
    }
    if let Some(function) = &rule.function {
        module.function.clone_from(function);
    }
    facts.declared.extend(rule.libraries.iter().cloned());
    facts.provides.extend(rule.provides.iter().cloned());
    facts.consumes.extend(rule.consumes.iter().cloned());
    Ok(())
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

fn mode(text: Option<&str>, path: &str) -> Result<Option<u32>, TreeError> {
    let Some(text) = text else {
        return Ok(None);
    };
    let mode = u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777);
    let wrong = || TreeError::Mode(text.to_owned(), path.to_owned());
    mode.ok_or_else(wrong).map(Some)
}

/// Whether `path` fits `pattern`: `*` stands for any text without `/`, `**` for any text. Takes as
/// long as the two are long, multiplied.
pub(super) fn fits(pattern: &str, path: &str) -> bool {
    let path = path.as_bytes();
    // Where in the path the pattern so far may end.
    let mut ends = vec![false; path.len() + 1];
    ends[0] = true;
    let mut rest = pattern.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'*' {
            let any = after.first() == Some(&b'*');
            rest = if any { &after[1..] } else { after };
            for (at, byte) in path.iter().enumerate() {
                ends[at + 1] |= ends[at] && (any || *byte != b'/');
            }
        } else {
            rest = after;
            for (at, byte) in path.iter().enumerate().rev() {
                ends[at + 1] = ends[at] && byte == first;
            }
            ends[0] = false;
        }
    }
    ends.last().copied().unwrap_or(false)
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
            ("", "", true),
            ("**", "", true),
            ("a", "", false),
        ] {
            assert_eq!(fits(pattern, path), expected, "{pattern} {path}");
        }
        let long = "a".repeat(200);
        assert!(!fits(
            &"**a".repeat(30).replace("**a", "**a**a"),
            &long[..50]
        ));
        assert!(!fits("/**a**a**a**a**a**a**a**b", &format!("/{long}")));
    }
}
