//! Reads a composite's file, trusting nothing: it may be cut short, altered, or made to hurt.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Take};
use std::path::{Path, PathBuf};

use bootd_protocol::digest::Digest;
use bootd_protocol::manifest::{BlobRef, Content, is_clean_path};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::format::{self, Composite, Index, OciManifest};
use super::sign::{self, SignError};

/// Most files that an archive may hold.
const MAX_ENTRIES: usize = 500_000;
/// Largest `index.json`, in bytes.
const MAX_INDEX: u64 = 1 << 20;
/// Largest OCI manifest or description, in bytes.
const MAX_DOCUMENT: u64 = 128 << 20;
/// Size of a tar block, in bytes (POSIX.1-2017, pax, "ustar Interchange Format").
const BLOCK: u64 = 512;

/// Why a composite is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file cannot be read.
    #[error("cannot read composite {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not a tar archive, or one with a damaged header.
    #[error("the composite is damaged, or no composite: {0}")]
    Damaged(String),
    /// The end is missing.
    #[error("the composite is truncated: {0} ends too early")]
    Truncated(String),
    /// A member that no composite has.
    #[error("the composite has a member that it must not have: {0:?}: {1}")]
    Member(String, &'static str),
    /// A document that is not what it should be.
    #[error("{document} of the composite cannot be read: {reason}")]
    Document {
        /// Which document.
        document: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// More than any composite has.
    #[error("{what} of the composite is larger than the {limit} bytes allowed")]
    TooLarge {
        /// What is.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A blob that is named and not there.
    #[error("the composite lacks {0}")]
    Lacks(Digest),
    /// A blob whose bytes are not what its name says.
    #[error("the composite was altered: {expected} has other bytes ({actual})")]
    Altered {
        /// Its name.
        expected: Digest,
        /// What its bytes hash to.
        actual: Digest,
    },
    /// A blob with another size than announced.
    #[error("the composite was altered: {digest} has {found} bytes, {announced} were announced")]
    Size {
        /// Its name.
        digest: Digest,
        /// As announced.
        announced: u64,
        /// As it is.
        found: u64,
    },
    /// Nobody signed it.
    #[error("the composite is not signed: nobody says that its content is right")]
    Unsigned,
    /// The wrong one signed it, or it was altered.
    #[error("the composite is not believed")]
    Signature(#[from] SignError),
    /// A description that a newer program wrote.
    #[error("the composite has format {0}, this program reads format {known}", known = format::FORMAT)]
    Format(u32),
    /// A path that leaves the tree.
    #[error("package {package} has the path {path:?}, which is not absolute and clean")]
    Path {
        /// The package.
        package: String,
        /// The path.
        path: String,
    },
    /// A path that stands twice for the same nodes.
    #[error("package {package} has the path {path:?} twice, or not in sorted order")]
    Twice {
        /// The package.
        package: String,
        /// The path.
        path: String,
    },
}

/// An open composite: where each member begins.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    file: File,
    /// Offset and size of each member by name.
    members: BTreeMap<String, (u64, u64)>,
}

/// A composite whose signature is good.
#[derive(Debug)]
pub struct Believed {
    /// What is in it.
    pub composite: Composite,
    /// Digest of the description: names the release.
    pub digest: Digest,
    /// Name of the trusted key.
    pub signer: String,
}

impl Archive {
    /// Opens a composite and finds its members. Reads headers alone: the contents come later.
    ///
    /// # Errors
    /// A file that cannot be read, is no tar archive, ends early or has strange members.
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        let read = |source| ArchiveError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        let mut archive = Archive {
            path: path.to_owned(),
            file,
            members: BTreeMap::new(),
        };
        let end = archive.index(length)?;
        archive.check_end(end, length)?;
        Ok(archive)
    }

    /// Finds the members; gives back where the last one ends.
    fn index(&mut self, length: u64) -> Result<u64, ArchiveError> {
        let mut end = 0;
        let mut tar = tar::Archive::new(&self.file);
        let damaged = |error: io::Error| ArchiveError::Damaged(error.to_string());
        // Raw: long names and the like would be read into memory, however long, and none is needed.
        for entry in tar.entries_with_seek().map_err(damaged)?.raw(true) {
            let entry = entry.map_err(|error| self.broken(error, length))?;
            let path = entry.path_bytes();
            let name = String::from_utf8_lossy(&path).into_owned();
            let (start, size) = (entry.raw_file_position(), entry.size());
            let past = start.checked_add(size).filter(|past| *past <= length);
            let past = past.ok_or_else(|| ArchiveError::Truncated(name.clone()))?;
            end = past.next_multiple_of(BLOCK);
            let kind = entry.header().entry_type();
            if kind == tar::EntryType::Directory {
                continue;
            }
            if kind != tar::EntryType::Regular {
                return Err(ArchiveError::Member(name, "it is no plain file"));
            }
            let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
            if name.starts_with('/') || name.split('/').any(|part| part == "..") {
                return Err(ArchiveError::Member(name, "it leaves the archive"));
            }
            if self.members.len() >= MAX_ENTRIES {
                return Err(ArchiveError::Member(name, "there are too many"));
            }
            if self.members.insert(name.clone(), (start, size)).is_some() {
                return Err(ArchiveError::Member(name, "it is there twice"));
            }
        }
        Ok(end)
    }

    /// A header that cannot be read is cut off or damaged.
    fn broken(&self, error: io::Error, length: u64) -> ArchiveError {
        // A first header that is whole and wrong: this never was an archive.
        let foreign = self.members.is_empty() && length >= BLOCK;
        let cut = error.kind() == io::ErrorKind::UnexpectedEof || !length.is_multiple_of(BLOCK);
        if cut && !foreign {
            return ArchiveError::Truncated("the archive".into());
        }
        // What the tar library says quotes the bytes, whatever they are.
        ArchiveError::Damaged(match self.members.last_key_value() {
            None => "it does not begin with a tar header".into(),
            Some(_) => format!("a tar header after {} members", self.members.len()),
        })
    }

    /// An archive ends with two empty blocks: without them something was cut off.
    fn check_end(&mut self, end: u64, length: u64) -> Result<(), ArchiveError> {
        let mut trailer = Vec::new();
        if length.saturating_sub(end) >= 2 * BLOCK {
            self.slice(end, 2 * BLOCK)?
                .read_to_end(&mut trailer)
                .map_err(|source| self.unreadable(source))?;
        }
        let complete = trailer.len() == 1024 && trailer.iter().all(|byte| *byte == 0);
        complete
            .then_some(())
            .ok_or_else(|| ArchiveError::Truncated("the archive".into()))
    }

    /// Reads and believes the description: the only thing in a composite that says what to do.
    ///
    /// # Errors
    /// Documents that are missing, damaged or too large; no signature, or not of a `trusted` key
    /// (name and minisign public key); paths that leave the tree.
    pub fn believe(&mut self, trusted: &[(String, String)]) -> Result<Believed, ArchiveError> {
        let index: Index = self.document("index.json", MAX_INDEX, "the index")?;
        let [descriptor] = index.manifests.as_slice() else {
            return Err(bad("the index", "it should name one manifest"));
        };
        let manifest = self.described(descriptor, "the manifest")?;
        let manifest: OciManifest = parse(&manifest, "the manifest")?;
        if manifest.artifact_type != format::ARTIFACT_TYPE {
            let reason = format!("it is a {:?}, no composite", manifest.artifact_type);
            return Err(bad("the manifest", &reason));
        }
        let description = self.described(&manifest.config, "the description")?;
        let signature = manifest.annotations.get(format::SIGNATURE);
        let signature = signature.ok_or(ArchiveError::Unsigned)?;
        let signer = sign::verify(trusted, &description, signature)?;

        #[derive(Deserialize)]
        struct Probe {
            format: u32,
        }
        let Probe { format } = parse(&description, "the description")?;
        if format != format::FORMAT {
            return Err(ArchiveError::Format(format));
        }
        let composite: Composite = parse(&description, "the description")?;
        check_paths(&composite)?;
        Ok(Believed {
            composite,
            digest: Digest::of(&description),
            signer,
        })
    }

    /// A reader of a blob's bytes, which nobody has checked yet.
    ///
    /// # Errors
    /// [`ArchiveError::Lacks`], [`ArchiveError::Size`], [`ArchiveError::Read`].
    pub fn blob(&mut self, blob: BlobRef) -> Result<Take<&File>, ArchiveError> {
        let name = format!("blobs/sha256/{}", blob.sha256);
        let (start, size) = *self
            .members
            .get(&name)
            .ok_or(ArchiveError::Lacks(blob.sha256))?;
        if size != blob.size {
            return Err(ArchiveError::Size {
                digest: blob.sha256,
                announced: blob.size,
                found: size,
            });
        }
        self.slice(start, size)
    }

    fn slice(&self, start: u64, size: u64) -> Result<Take<&File>, ArchiveError> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(start))
            .map_err(|source| self.unreadable(source))?;
        Ok(file.take(size))
    }

    fn unreadable(&self, source: io::Error) -> ArchiveError {
        ArchiveError::Read {
            path: self.path.clone(),
            source,
        }
    }

    /// A JSON document by its member name.
    fn document<T: DeserializeOwned>(
        &mut self,
        name: &str,
        limit: u64,
        document: &'static str,
    ) -> Result<T, ArchiveError> {
        let member = self.members.get(name).copied();
        let (start, size) = member.ok_or_else(|| bad(document, "it is not there"))?;
        let bytes = self.bytes(start, size, limit, document)?;
        parse(&bytes, document)
    }

    /// A blob by its descriptor, checked.
    fn described(
        &mut self,
        descriptor: &format::Descriptor,
        document: &'static str,
    ) -> Result<Vec<u8>, ArchiveError> {
        let blob = descriptor.blob();
        let blob = blob.ok_or_else(|| bad(document, "its digest is no SHA-256"))?;
        self.blob(blob)?;
        let name = format!("blobs/sha256/{}", blob.sha256);
        let (start, size) = self.members.get(&name).copied().unwrap_or_default();
        let bytes = self.bytes(start, size, MAX_DOCUMENT, document)?;
        let actual = Digest::of(&bytes);
        if actual != blob.sha256 {
            return Err(ArchiveError::Altered {
                expected: blob.sha256,
                actual,
            });
        }
        Ok(bytes)
    }

    fn bytes(
        &mut self,
        start: u64,
        size: u64,
        limit: u64,
        what: &str,
    ) -> Result<Vec<u8>, ArchiveError> {
        if size > limit {
            return Err(ArchiveError::TooLarge {
                what: what.to_owned(),
                limit,
            });
        }
        let mut bytes = Vec::new();
        self.slice(start, size)?
            .read_to_end(&mut bytes)
            .map_err(|source| self.unreadable(source))?;
        Ok(bytes)
    }
}

/// The description is signed, so this is for mistakes, not for attackers.
fn check_paths(composite: &Composite) -> Result<(), ArchiveError> {
    for package in &composite.packages {
        let keys = package.modules.iter();
        let keys = keys.map(|it| (&it.path, &it.arch, &it.function));
        if let Some((later, _)) = keys.clone().skip(1).zip(keys).find(|(b, a)| b <= a) {
            return Err(ArchiveError::Twice {
                package: package.name.clone(),
                path: later.0.clone(),
            });
        }
        for file in &package.modules {
            let link_is_empty =
                matches!(&file.content, Content::Symlink(target) if target.is_empty());
            if !is_clean_path(&file.path) || link_is_empty {
                return Err(ArchiveError::Path {
                    package: package.name.clone(),
                    path: file.path.clone(),
                });
            }
        }
    }
    Ok(())
}

fn bad(document: &'static str, reason: &str) -> ArchiveError {
    ArchiveError::Document {
        document,
        reason: reason.to_owned(),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8], document: &'static str) -> Result<T, ArchiveError> {
    serde_json::from_slice(bytes).map_err(|error| bad(document, &error.to_string()))
}
