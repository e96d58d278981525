//! The sections of an ELF file, by what of them has substance.

use std::ops::Range;

use object::read::elf::{FileHeader, SectionHeader as _};
use object::{Endianness, elf};

use super::notes;
use super::stream::{Strange, number};

/// Longest name of a section or symbol, in bytes: those of C++ and Rust are long.
const MAX_NAME: usize = 64 << 10;

/// Sections that tell of the making, or of the source, by the beginning of their names. Those
/// with other names stay even if they are not loaded: PyInstaller keeps whole programs in one.
const LEFT_OUT: &[&[u8]] = &[
    b".debug_",
    b".zdebug_",
    b".stab",
    b".gdb_index",
    b".comment",
    b".gnu_debuglink",
    b".gnu_debugaltlink",
    b".gnu_debugdata",
    b".gnu.build.attributes",
];

/// An ELF file and its sections.
pub(super) struct Elf<'data, E: FileHeader> {
    pub(super) bytes: &'data [u8],
    pub(super) endian: Endianness,
    pub(super) header: &'data E,
    pub(super) segments: &'data [E::ProgramHeader],
    /// All of them, by index.
    pub(super) all: Vec<Section<'data>>,
    /// The indexes of those with substance, in the order of the file.
    order: Vec<usize>,
    /// By index: the place in that order.
    numbers: Vec<Option<usize>>,
}

pub(super) struct Section<'data> {
    pub(super) name: &'data [u8],
    pub(super) kind: elf::SectionType,
    pub(super) flags: elf::SectionFlags,
    pub(super) address: u64,
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) align: u64,
    pub(super) link: usize,
    pub(super) info: usize,
    /// Empty if it has no bytes in the file (`SHT_NOBITS`).
    pub(super) data: &'data [u8],
}

impl<'data, E: FileHeader<Endian = Endianness>> Elf<'data, E> {
    pub(super) fn parse(bytes: &'data [u8]) -> Result<Self, Strange> {
        let header = E::parse(bytes)?;
        let endian = header.endian()?;
        let all = sections(header, endian, bytes)?;
        let stays = substance(&all, endian)?;
        let mut order: Vec<usize> = (0..all.len()).filter(|it| stays[*it]).collect();
        order.sort_by_key(|index| (all[*index].offset, *index));
        let mut numbers = vec![None; all.len()];
        for (number, index) in order.iter().enumerate() {
            numbers[*index] = Some(number);
        }
        Ok(Elf {
            bytes,
            endian,
            header,
            segments: header.program_headers(endian, bytes)?,
            all,
            order,
            numbers,
        })
    }

    /// Those with substance, in the order of the file.
    pub(super) fn sections(&self) -> impl Iterator<Item = &Section<'data>> {
        self.order.iter().filter_map(|index| self.all.get(*index))
    }

    /// Those without.
    pub(super) fn left_out(&self) -> impl Iterator<Item = &Section<'data>> {
        let all = self.all.iter().zip(&self.numbers);
        all.filter_map(|(section, number)| number.is_none().then_some(section))
    }

    /// What stands for the section of this index: its place among those with substance.
    pub(super) fn number(&self, index: usize) -> u64 {
        let found = self.numbers.get(index).copied().flatten();
        found.map_or(u64::MAX, number)
    }

    /// What stands for the section of a symbol, or for one of the special ones.
    pub(super) fn place(&self, section: elf::SymbolSection) -> u64 {
        match section.index() {
            Some(index) => self.number(index.into()),
            None => u64::from(section.0) | 1 << 32,
        }
    }

    /// Where the tables of headers are.
    pub(super) fn header_tables(&self) -> [Range<u64>; 3] {
        let table = |start: u64, one: usize, count: usize| {
            let len = number(one.saturating_mul(count));
            start..start.saturating_add(len)
        };
        let segments = self.header.e_phoff(self.endian).into();
        let sections = self.header.e_shoff(self.endian).into();
        [
            table(0, size_of::<E>(), 1),
            table(segments, size_of::<E::ProgramHeader>(), self.segments.len()),
            table(sections, size_of::<E::SectionHeader>(), self.all.len()),
        ]
    }
}

impl Section<'_> {
    pub(super) fn is_loaded(&self) -> bool {
        self.flags.contains(elf::SHF_ALLOC)
    }

    /// Where it stands in the file.
    pub(super) fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(number(self.data.len()))
    }

    pub(super) fn is_relocation(&self) -> bool {
        [elf::SHT_REL, elf::SHT_RELA].contains(&self.kind)
    }

    /// Whether it has no substance by what it says itself.
    fn is_left_out(&self) -> bool {
        let tables = [
            elf::SHT_NULL,
            elf::SHT_SYMTAB,
            elf::SHT_STRTAB,
            elf::SHT_SYMTAB_SHNDX,
        ];
        let named = || LEFT_OUT.iter().any(|start| self.name.starts_with(start));
        !self.is_loaded() && (tables.contains(&self.kind) || named())
    }
}

/// Reads the section headers. A file without any has no parts that could be told apart.
fn sections<'data, E>(
    header: &E,
    endian: Endianness,
    bytes: &'data [u8],
) -> Result<Vec<Section<'data>>, Strange>
where
    E: FileHeader<Endian = Endianness>,
{
    let headers = header.section_headers(endian, bytes)?;
    let names = header.section_strings_index(endian, bytes)?;
    let names = headers.get(names.0).ok_or(Strange)?.data(endian, bytes)?;
    // One over the other they could be far more than the file is long, and take as long to read.
    let mut room = bytes.len();
    let mut name_room = bytes.len();
    let section = |header: &E::SectionHeader| {
        let name = name(names, header.sh_name(endian))?;
        let data = header.data(endian, bytes)?;
        name_room = name_room.checked_sub(name.len()).ok_or(Strange)?;
        room = room.checked_sub(data.len()).ok_or(Strange)?;
        Ok(Section {
            name,
            kind: header.sh_type(endian),
            flags: header.sh_flags(endian),
            address: header.sh_addr(endian).into(),
            offset: header.sh_offset(endian).into(),
            size: header.sh_size(endian).into(),
            align: header.sh_addralign(endian).into(),
            link: header.link(endian).0,
            info: usize::try_from(header.sh_info(endian)).map_err(|_| Strange)?,
            data,
        })
    };
    headers.iter().map(section).collect()
}

/// Which sections have substance.
fn substance(all: &[Section<'_>], endian: Endianness) -> Result<Vec<bool>, Strange> {
    let mut stays = Vec::with_capacity(all.len());
    for section in all {
        let notes = section.kind == elf::SHT_NOTE;
        let out =
            section.is_left_out() || notes && notes::with_substance(section, endian)?.is_empty();
        stays.push(!out);
    }
    // Relocations share the fate of what they are for, a group that of its members.
    for (index, section) in all.iter().enumerate() {
        if section.is_relocation() && !section.is_loaded() && section.info != 0 {
            stays[index] = *stays.get(section.info).ok_or(Strange)?;
        }
    }
    for (index, section) in all.iter().enumerate() {
        if section.kind == elf::SHT_GROUP {
            let mut members = words(section.data, endian)?.skip(1);
            stays[index] = members.any(|it| stays.get(it).copied().unwrap_or(true));
        }
    }
    Ok(stays)
}

/// The name at this offset of a table of names.
pub(super) fn name(names: &[u8], offset: u32) -> Result<&[u8], Strange> {
    let start = usize::try_from(offset).map_err(|_| Strange)?;
    let rest = names.get(start..).ok_or(Strange)?;
    let near = rest.get(..MAX_NAME).unwrap_or(rest);
    let len = near.iter().position(|byte| *byte == 0);
    near.get(..len.ok_or(Strange)?).ok_or(Strange)
}

/// The words of 32 bits of a group of sections.
pub(super) fn words(
    data: &[u8],
    endian: Endianness,
) -> Result<impl Iterator<Item = usize>, Strange> {
    use object::Endian as _;
    let (words, []) = data.as_chunks::<4>() else {
        return Err(Strange);
    };
    let word = move |word: &[u8; 4]| endian.read_u32(*word);
    Ok(words
        .iter()
        .map(move |it| usize::try_from(word(it)).unwrap_or(usize::MAX)))
}

/// The entries of a table, if they fill the section.
pub(super) fn entries<'data, T: object::pod::Pod>(
    section: &Section<'data>,
) -> Result<&'data [T], Strange> {
    let entries = object::pod::slice_from_all_bytes(section.data).map_err(|()| Strange)?;
    if size_of_val(entries) == section.data.len() {
        Ok(entries)
    } else {
        Err(Strange)
    }
}
