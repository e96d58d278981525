//! What an ELF file says of itself, and which libraries a tree's programs need.
//!
//! [`facts`] reads one file as ld.so(8) would: by its program headers, not by its sections.
//! [`resolve`] finds the libraries in a whole tree. Both are pure.

mod read;
mod resolve;
mod tree;

use bootd_protocol::identity::Arch;
use object::elf::{ELFCLASS32, ELFCLASS64, ELFMAG, FileHeader32, FileHeader64, FileType, Machine};
use object::{Endianness, elf};

pub use resolve::{Link, Missing, Module, Needs, resolve};

/// Longest name in a dynamic section, in bytes: PATH_MAX of Linux, for a library may be named
/// by its path. A list of directories may be as long as the file.
pub const MAX_NAME: usize = 4096;

/// Most libraries that one file may ask for.
pub const MAX_NEEDED: usize = 4096;

/// What an ELF file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElfFacts {
    /// The architecture, if it is one of ours.
    pub arch: Option<Arch>,
    /// The kind of processor and of addresses: only what agrees in it is loaded together.
    pub abi: Abi,
    /// What it is.
    pub kind: Kind,
    /// The name by which others ask for it (`DT_SONAME`).
    pub soname: Option<String>,
    /// The libraries that it asks for (`DT_NEEDED`), in order.
    pub needed: Vec<String>,
    /// Where its own libraries are looked for after `LD_LIBRARY_PATH` (`DT_RUNPATH`): a list
    /// with colons.
    pub runpath: Option<String>,
    /// Where libraries are looked for first, those of its libraries, too (`DT_RPATH`).
    pub rpath: Option<String>,
    /// The program that loads it (`PT_INTERP`); none if it is static, or a mere library.
    pub interpreter: Option<String>,
}

/// The kind of processor and of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Abi {
    /// The processor, as in the file's header (`e_machine`).
    pub machine: u16,
    /// Whether addresses have 64 bits, not 32.
    pub wide: bool,
    /// Whether the most significant byte comes first.
    pub big_endian: bool,
}

/// What an ELF file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A program, linked dynamically or not.
    Program,
    /// A shared library. One that can be started too, as `libc.so.6` can, is a library.
    SharedLibrary,
    /// Not linked yet: an object file, a kernel module.
    Relocatable,
    /// A core dump, or something that only an operating system of its own knows.
    Other,
}

/// What is wrong with a file that begins as an ELF file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// It ends before the header says of what kind it is.
    #[error("ELF file ends at byte {0}, within its header")]
    Cut(usize),
    /// A header of no known form.
    #[error("ELF header has {field} {value}, which is not known")]
    Header {
        /// The field: class, data encoding or version.
        field: &'static str,
        /// What it holds.
        value: u8,
    },
    /// A table that is not where the header says, or not of its size.
    #[error("cannot read the {what} of the ELF file")]
    Table {
        /// Which table.
        what: &'static str,
        /// Why not.
        source: object::read::Error,
    },
    /// A part reaches past the end of the file.
    #[error(
        "{what} of the ELF file begins at byte {start} and has {len} bytes, the file ends at {file_len}"
    )]
    Bounds {
        /// Which part.
        what: &'static str,
        /// Where it begins.
        start: u64,
        /// Its length, in bytes.
        len: u64,
        /// Length of the file, in bytes.
        file_len: u64,
    },
    /// What there may be one of stands twice.
    #[error("ELF file has two {0} segments")]
    Twice(&'static str),
    /// Names are asked for, and there is no table of names.
    #[error("dynamic section of the ELF file has names, but no table of names that is loaded")]
    NoNames,
    /// A name that is not in the table of names.
    #[error("{what} of the ELF file is outside of its table of names")]
    NameBounds {
        /// Which name.
        what: &'static str,
    },
    /// A name that is none.
    #[error("{what} of the ELF file is empty, not UTF-8, or longer than {MAX_NAME} bytes")]
    Name {
        /// Which name.
        what: &'static str,
    },
    /// More libraries than anybody has.
    #[error(
        "ELF file asks for more than {MAX_NEEDED} libraries, or their names are longer than the file"
    )]
    TooMany,
}

/// Reads what a module says of itself; `None` if it is no ELF file.
///
/// # Errors
/// It begins as an ELF file and is cut short, contradictory or absurd.
pub fn facts(bytes: &[u8]) -> Result<Option<ElfFacts>, ElfError> {
    if !bytes.starts_with(&ELFMAG) {
        return Ok(None);
    }
    let &[_, _, _, _, class, data, version, ..] = bytes else {
        return Err(ElfError::Cut(bytes.len()));
    };
    let unknown = |field, value| Err(ElfError::Header { field, value });
    if ![elf::ELFDATA2LSB.0, elf::ELFDATA2MSB.0].contains(&data) {
        return unknown("data encoding", data);
    }
    if version != elf::EV_CURRENT.0 {
        return unknown("version", version);
    }
    if class == ELFCLASS64.0 {
        read::facts::<FileHeader64<Endianness>>(bytes).map(Some)
    } else if class == ELFCLASS32.0 {
        read::facts::<FileHeader32<Endianness>>(bytes).map(Some)
    } else {
        unknown("class", class)
    }
}

impl Abi {
    /// The architecture, if it is one of ours.
    #[must_use]
    pub fn arch(self) -> Option<Arch> {
        if !self.wide || self.big_endian {
            return None;
        }
        let machine = Machine(self.machine);
        if machine == elf::EM_X86_64 {
            Some(Arch::X86_64)
        } else if machine == elf::EM_AARCH64 {
            Some(Arch::Aarch64)
        } else if machine == elf::EM_RISCV {
            Some(Arch::Riscv64)
        } else {
            None
        }
    }
}

impl Kind {
    /// `pie` is what the linker says of a program (`DF_1_PIE`). Old ones do not say it: there an
    /// interpreter makes the program, unless there is a name for others to ask by.
    fn of(kind: FileType, pie: bool, soname: bool, interpreter: bool) -> Self {
        if kind == elf::ET_REL {
            Kind::Relocatable
        } else if kind == elf::ET_EXEC || kind == elf::ET_DYN && (pie || interpreter && !soname) {
            Kind::Program
        } else if kind == elf::ET_DYN {
            Kind::SharedLibrary
        } else {
            Kind::Other
        }
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod resolve_tests;
#[cfg(test)]
mod tests;
