//! What the content of a file tells about it.

use bootd_protocol::digest::Digest;

use crate::elf::{self, ElfError, ElfFacts, Kind};
use crate::signature;
use crate::snapshot::ModuleType;

/// Larger files are not looked at, in bytes.
pub(super) const LARGEST: u64 = 512 << 20;

/// What is known of a module besides its row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) kind: ModuleType,
    /// The change signature, where it is not the digest of the content.
    pub(super) signature: Option<Digest>,
    /// What it says of itself, if it is an ELF file.
    pub(super) elf: Option<ElfFacts>,
    /// Shared libraries that it loads by name.
    pub(super) declared: Vec<String>,
    pub(super) provides: Vec<String>,
    pub(super) consumes: Vec<String>,
}

/// Looks at a file with these permission bits. `sha256` is its digest.
///
/// # Errors
/// An ELF file that is cut short or contradicts itself.
pub(super) fn of(path: &str, mode: u32, bytes: &[u8], sha256: Digest) -> Result<Facts, ElfError> {
    let elf = elf::facts(bytes)?;
    let signature = signature::of(bytes);
    Ok(Facts {
        kind: kind(path, mode, bytes, elf.as_ref()),
        signature: Some(signature).filter(|it| *it != sha256),
        elf,
        ..Facts::default()
    })
}

fn kind(path: &str, mode: u32, bytes: &[u8], elf: Option<&ElfFacts>) -> ModuleType {
    match elf.map(|it| it.kind) {
        Some(Kind::Program) => ModuleType::Program,
        Some(Kind::SharedLibrary) => ModuleType::Library,
        Some(Kind::Relocatable | Kind::Other) => ModuleType::Data,
        None if mode & 0o111 != 0 && bytes.starts_with(b"#!") => ModuleType::Program,
        None if path.starts_with("/etc/") => ModuleType::Config,
        None => ModuleType::Data,
    }
}
