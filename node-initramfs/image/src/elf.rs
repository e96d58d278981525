//! What the builder wants to know of an ELF file.

use object::read::elf::{ElfFile64, ProgramHeader as _};
use object::{Architecture, Endianness, Object as _, ObjectSection as _};

use bootd_protocol::identity::Arch;

/// What an ELF file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Elf<'a> {
    /// The architecture, if it is one of ours.
    pub(crate) arch: Option<Arch>,
    /// The program that loads its shared libraries (`PT_INTERP`); none if it is static.
    pub(crate) interpreter: Option<&'a str>,
    /// The shared libraries it asks for (`DT_NEEDED`).
    pub(crate) needed: Vec<&'a str>,
    /// The section `.modinfo` of a kernel module; empty if there is none.
    pub(crate) modinfo: &'a [u8],
}

impl<'a> Elf<'a> {
    /// Reads a 64-bit ELF file; the error says what is wrong with it.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let file = ElfFile64::<Endianness>::parse(bytes).map_err(text)?;
        let mut needed = Vec::new();
        for library in file.import_libraries().map_err(text)? {
            needed.push(utf8(library.map_err(text)?.name())?);
        }
        let modinfo = match file.section_by_name(".modinfo") {
            Some(section) => section.data().map_err(text)?,
            None => &[],
        };
        Ok(Elf {
            arch: arch(file.architecture()),
            interpreter: interpreter(&file)?,
            needed,
            modinfo,
        })
    }
}

fn interpreter<'a>(file: &ElfFile64<'a, Endianness>) -> Result<Option<&'a str>, String> {
    for segment in file.elf_program_headers() {
        let found = segment.interpreter(file.endian(), file.data());
        if let Some(path) = found.map_err(text)? {
            return utf8(path).map(Some);
        }
    }
    Ok(None)
}

fn text(error: object::read::Error) -> String {
    error.to_string()
}

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "a name in it is not UTF-8".to_owned())
}

fn arch(architecture: Architecture) -> Option<Arch> {
    if architecture == Architecture::X86_64 {
        Some(Arch::X86_64)
    } else if architecture == Architecture::Aarch64 {
        Some(Arch::Aarch64)
    } else if architecture == Architecture::Riscv64 {
        Some(Arch::Riscv64)
    } else {
        None
    }
}
