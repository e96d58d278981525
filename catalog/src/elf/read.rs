//! The dynamic section and the program headers of an ELF file.

use object::Endianness;
use object::elf;
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};

use super::{Abi, ElfError, ElfFacts, Kind, MAX_NAME, MAX_NEEDED};

/// Facts of a file whose magic, encoding and version were looked at.
pub(super) fn facts<E>(bytes: &[u8]) -> Result<ElfFacts, ElfError>
where
    E: FileHeader<Endian = Endianness>,
{
    let file = File::<E>::parse(bytes)?;
    let interpreter = file.interpreter()?;
    let dynamic = file.dynamic()?;
    let names = Names {
        table: dynamic.names(&file)?,
        room: bytes.len(),
    };
    let soname = dynamic.last(elf::DT_SONAME);
    let soname = soname.map(|it| names.name("the file's own name (DT_SONAME)", it));
    let soname = soname.transpose()?;
    let directories = |what, tag| match dynamic.last(tag) {
        None => Ok(None),
        // patchelf leaves empty ones.
        Some(it) => names
            .text(what, it, bytes.len())
            .map(|it| (!it.is_empty()).then_some(it)),
    };
    let runpath = directories("DT_RUNPATH", elf::DT_RUNPATH)?;
    let rpath = directories("DT_RPATH", elf::DT_RPATH)?;
    let needed = needed(&dynamic, names)?;
    let abi = file.abi();
    let pie = dynamic
        .last(elf::DT_FLAGS_1)
        .is_some_and(|flags| flags & elf::DF_1_PIE.0 != 0);
    let kind = file.header.e_type(file.endian);
    Ok(ElfFacts {
        arch: abi.arch(),
        abi,
        kind: Kind::of(kind, pie, soname.is_some(), interpreter.is_some()),
        soname,
        needed,
        runpath,
        rpath,
        interpreter,
    })
}

/// All names together are no longer than the file: else many entries would name one long text
/// over and over.
fn needed(dynamic: &Dynamic, mut names: Names<'_>) -> Result<Vec<String>, ElfError> {
    let mut needed = Vec::new();
    for offset in dynamic.all(elf::DT_NEEDED) {
        let name = names.name("a library's name (DT_NEEDED)", offset)?;
        let room = names.room.checked_sub(name.len());
        names.room = room.ok_or(ElfError::TooMany)?;
        if needed.len() == MAX_NEEDED {
            return Err(ElfError::TooMany);
        }
        needed.push(name);
    }
    Ok(needed)
}

/// An ELF file all of whose tables and segments are within it.
struct File<'data, E: FileHeader> {
    bytes: &'data [u8],
    header: &'data E,
    endian: Endianness,
    segments: &'data [E::ProgramHeader],
}

impl<'data, E: FileHeader<Endian = Endianness>> File<'data, E> {
    fn parse(bytes: &'data [u8]) -> Result<Self, ElfError> {
        let table = |what| move |source| ElfError::Table { what, source };
        let header = E::parse(bytes).map_err(table("header"))?;
        let endian = header.endian().map_err(table("header"))?;
        let segments = header.program_headers(endian, bytes);
        let file = File {
            bytes,
            header,
            endian,
            segments: segments.map_err(table("program headers"))?,
        };
        // Linkers write it last: if it is there, nothing was cut off.
        let sections = header.section_headers(endian, bytes);
        sections.map_err(table("section headers"))?;
        for segment in file.segments {
            file.check(segment)?;
        }
        Ok(file)
    }

    fn check(&self, segment: &E::ProgramHeader) -> Result<(), ElfError> {
        let what = match segment.p_type(self.endian) {
            elf::PT_LOAD => "a segment to load",
            elf::PT_DYNAMIC => "the dynamic section",
            elf::PT_INTERP => "the interpreter's name",
            _ => return Ok(()),
        };
        let (start, len) = segment.file_range(self.endian);
        let file_len = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        if start.checked_add(len).is_some_and(|end| end <= file_len) {
            return Ok(());
        }
        Err(ElfError::Bounds {
            what,
            start,
            len,
            file_len,
        })
    }

    fn abi(&self) -> Abi {
        Abi {
            machine: self.header.e_machine(self.endian).0,
            wide: self.header.is_type_64(),
            big_endian: self.header.is_big_endian(),
        }
    }

    /// The one segment of this type. Files that hold debug information alone have empty ones.
    fn only(
        &self,
        name: &'static str,
        kind: elf::ProgramType,
    ) -> Result<Option<&'data E::ProgramHeader>, ElfError> {
        let fits = |segment: &&E::ProgramHeader| {
            segment.p_type(self.endian) == kind && segment.p_filesz(self.endian).into() != 0
        };
        let mut found = self.segments.iter().filter(fits);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(ElfError::Twice(name)),
            (first, None) => Ok(first),
        }
    }

    fn interpreter(&self) -> Result<Option<String>, ElfError> {
        let what = "the interpreter's name";
        let Some(segment) = self.only("PT_INTERP", elf::PT_INTERP)? else {
            return Ok(None);
        };
        let path = segment.interpreter(self.endian, self.bytes);
        let path = path.map_err(|source| ElfError::Table { what, source })?;
        name(what, path.unwrap_or_default()).map(|it| Some(it.to_owned()))
    }

    fn dynamic(&self) -> Result<Dynamic, ElfError> {
        let what = "dynamic section";
        let Some(segment) = self.only("PT_DYNAMIC", elf::PT_DYNAMIC)? else {
            return Ok(Dynamic(Vec::new()));
        };
        let entries = segment.dynamic(self.endian, self.bytes);
        let entries = entries.map_err(|source| ElfError::Table { what, source })?;
        let pairs = entries.unwrap_or_default().iter();
        let pairs = pairs.map(|entry| (entry.tag(self.endian), entry.val(self.endian)));
        Ok(Dynamic(
            pairs.take_while(|(tag, _)| *tag != elf::DT_NULL).collect(),
        ))
    }

    /// What is loaded at `address`.
    fn loaded(&self, address: u64, len: u64) -> Option<&'data [u8]> {
        let mut segments = self.segments.iter();
        segments.find_map(|segment| {
            if segment.p_type(self.endian) != elf::PT_LOAD {
                return None;
            }
            let range = segment.data_range(self.endian, self.bytes, address, len);
            range.ok().flatten()
        })
    }
}

/// The entries of a dynamic section, up to its end.
struct Dynamic(Vec<(elf::DynamicTag, u64)>);

impl Dynamic {
    fn all(&self, tag: elf::DynamicTag) -> impl Iterator<Item = u64> + '_ {
        let fits = move |(found, value): &(elf::DynamicTag, u64)| (*found == tag).then_some(*value);
        self.0.iter().filter_map(fits)
    }

    /// As ld.so reads it: the last one counts.
    fn last(&self, tag: elf::DynamicTag) -> Option<u64> {
        self.all(tag).last()
    }

    /// The table of names; empty if no name is asked for.
    fn names<'data, E>(&self, file: &File<'data, E>) -> Result<&'data [u8], ElfError>
    where
        E: FileHeader<Endian = Endianness>,
    {
        let named = [
            elf::DT_NEEDED,
            elf::DT_SONAME,
            elf::DT_RUNPATH,
            elf::DT_RPATH,
        ];
        if !self.0.iter().any(|(tag, _)| named.contains(tag)) {
            return Ok(&[]);
        }
        let address = self.last(elf::DT_STRTAB);
        let address = address.zip(self.last(elf::DT_STRSZ));
        let table = address.and_then(|(address, len)| file.loaded(address, len));
        table.ok_or(ElfError::NoNames)
    }
}

struct Names<'data> {
    table: &'data [u8],
    /// How long all names may still be together, in bytes.
    room: usize,
}

impl Names<'_> {
    fn name(&self, what: &'static str, offset: u64) -> Result<String, ElfError> {
        let text = self.text(what, offset, MAX_NAME)?;
        name(what, text.as_bytes()).map(str::to_owned)
    }

    /// The text at `offset`, of at most `longest` bytes.
    fn text(&self, what: &'static str, offset: u64, longest: usize) -> Result<String, ElfError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.table.get(start..);
        let rest = rest.ok_or(ElfError::NameBounds { what })?;
        // No further than a name may be long: many entries may point into one long text.
        let near = rest.get(..=longest).unwrap_or(rest);
        let mut pieces = near.splitn(2, |byte| *byte == 0);
        match (pieces.next(), pieces.next()) {
            (Some(text), Some(_)) => utf8(what, text).map(str::to_owned),
            _ if near.len() > longest => Err(ElfError::Name { what }),
            _ => Err(ElfError::NameBounds { what }),
        }
    }
}

fn name<'data>(what: &'static str, bytes: &'data [u8]) -> Result<&'data str, ElfError> {
    if bytes.is_empty() || bytes.len() > MAX_NAME {
        return Err(ElfError::Name { what });
    }
    utf8(what, bytes)
}

fn utf8<'data>(what: &'static str, bytes: &'data [u8]) -> Result<&'data str, ElfError> {
    str::from_utf8(bytes).map_err(|_| ElfError::Name { what })
}
