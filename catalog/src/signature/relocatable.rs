//! Kernel modules and object files: sections, what they ask the linker to put where, and the
//! symbols that others see.
//!
//! Debug sections have symbols and indexes, too, so that all indexes move with them. A section is
//! named by its place among those with substance, a symbol that others see by its place among
//! those, a local one by what it stands for.

use object::read::elf::{FileHeader, Rel as _, Rela as _, Sym};
use object::{Endianness, elf};

use super::gaps;
use super::notes;
use super::sections::{Elf, Section, entries, name, words};
use super::stream::{Strange, Stream, number};

/// The flags that linkers and the kernel go by.
const FLAGS: u64 = elf::SHF_WRITE.0
    | elf::SHF_ALLOC.0
    | elf::SHF_EXECINSTR.0
    | elf::SHF_TLS.0
    | elf::SHF_MERGE.0
    | elf::SHF_STRINGS.0
    | elf::SHF_LINK_ORDER.0;

/// What a relocation is for, if it is for no symbol.
const NO_SYMBOL: [u64; 4] = [0; 4];

pub(super) fn hash<E>(file: &Elf<'_, E>, stream: &mut Stream) -> Result<(), Strange>
where
    E: FileHeader<Endian = Endianness>,
{
    if !file.segments.is_empty() {
        return Err(Strange);
    }
    let symbols = Symbols::of(file)?;
    symbols.hash(file, stream)?;
    stream.numbers(&[number(file.sections().count())])?;
    for section in file.sections() {
        let next = if section.flags.contains(elf::SHF_LINK_ORDER) {
            file.number(section.link)
        } else {
            0
        };
        stream.bytes(section.name)?;
        stream.numbers(&[
            section.kind.0.into(),
            section.flags.0 & FLAGS,
            section.align,
            next,
        ])?;
        hash_content(section, file, &symbols, stream)?;
    }
    gaps::hash(file, stream, |_| 0)
}

fn hash_content<E>(
    section: &Section<'_>,
    file: &Elf<'_, E>,
    symbols: &Symbols<'_, E::Sym>,
    stream: &mut Stream,
) -> Result<(), Strange>
where
    E: FileHeader<Endian = Endianness>,
{
    let endian = file.endian;
    match section.kind {
        elf::SHT_NOBITS => stream.numbers(&[section.size]),
        elf::SHT_NOTE => notes::hash(section, endian, stream),
        elf::SHT_RELA => {
            stream.numbers(&[file.number(section.info)])?;
            symbols.check(section)?;
            stream.list(entries::<E::Rela>(section)?, |entry, stream| {
                let addend: i64 = entry.r_addend(endian).into();
                stream.numbers(&[
                    entry.r_offset(endian).into(),
                    entry.r_type(endian, false).0.into(),
                    addend.cast_unsigned(),
                ])?;
                stream.numbers(&symbols.stand_in(file, entry.r_sym(endian, false))?)
            })
        }
        elf::SHT_REL => {
            stream.numbers(&[file.number(section.info)])?;
            symbols.check(section)?;
            stream.list(entries::<E::Rel>(section)?, |entry, stream| {
                stream.numbers(&[entry.r_offset(endian).into(), entry.r_type(endian).0.into()])?;
                stream.numbers(&symbols.stand_in(file, entry.r_sym(endian))?)
            })
        }
        elf::SHT_GROUP => {
            let mut words = words(section.data, endian)?;
            stream.numbers(&[number(words.next().ok_or(Strange)?)])?;
            let members: Vec<usize> = words.collect();
            stream.list(&members, |it, stream| stream.numbers(&[file.number(*it)]))?;
            symbols.check(section)?;
            stream.bytes(symbols.name(section.info, endian)?)
        }
        _ => stream.bytes(section.data),
    }
}

/// The one table of symbols.
struct Symbols<'data, S> {
    /// The index of its section; 0 if there is none.
    section: usize,
    all: &'data [S],
    names: &'data [u8],
    /// How many are local: they stand first.
    locals: usize,
}

impl<'data, S: Sym<Endian = Endianness>> Symbols<'data, S> {
    fn of<E>(file: &Elf<'data, E>) -> Result<Self, Strange>
    where
        E: FileHeader<Endian = Endianness, Sym = S>,
    {
        let is_table = |(_, it): &(usize, &Section<'data>)| it.kind == elf::SHT_SYMTAB;
        let mut tables = file.all.iter().enumerate().filter(is_table);
        let Some((section, table)) = tables.next() else {
            return Ok(Symbols {
                section: 0,
                all: &[],
                names: &[],
                locals: 0,
            });
        };
        // More sections than a symbol has bits for are counted in a table of their own.
        let many = file.all.iter().any(|it| it.kind == elf::SHT_SYMTAB_SHNDX);
        if tables.next().is_some() || many {
            return Err(Strange);
        }
        Ok(Symbols {
            section,
            all: entries(table)?,
            names: file.all.get(table.link).ok_or(Strange)?.data,
            locals: table.info,
        })
    }

    /// Those that others see.
    fn hash<E>(&self, file: &Elf<'_, E>, stream: &mut Stream) -> Result<(), Strange>
    where
        E: FileHeader<Endian = Endianness, Sym = S>,
    {
        let seen = self.all.get(self.locals..).ok_or(Strange)?;
        stream.list(seen, |symbol, stream| {
            stream.bytes(name(self.names, symbol.st_name(file.endian))?)?;
            stream.numbers(&[
                u64::from(symbol.st_info().0) << 8 | u64::from(symbol.st_other().0),
                file.place(symbol.st_shndx(file.endian)),
                symbol.st_value(file.endian).into(),
                symbol.st_size(file.endian).into(),
            ])
        })
    }

    /// Whether a section goes by this table.
    fn check(&self, section: &Section<'_>) -> Result<(), Strange> {
        (section.link == self.section).then_some(()).ok_or(Strange)
    }

    fn name(&self, index: usize, endian: Endianness) -> Result<&'data [u8], Strange> {
        let symbol = self.all.get(index).ok_or(Strange)?;
        name(self.names, symbol.st_name(endian))
    }

    /// What stands for the symbol of this index.
    fn stand_in<E>(&self, file: &Elf<'_, E>, index: u32) -> Result<[u64; 4], Strange>
    where
        E: FileHeader<Endian = Endianness, Sym = S>,
    {
        let index = usize::try_from(index).map_err(|_| Strange)?;
        if index == 0 {
            return Ok(NO_SYMBOL);
        }
        let symbol = self.all.get(index).ok_or(Strange)?;
        Ok(match index.checked_sub(self.locals) {
            Some(place) => [1, number(place), 0, 0],
            None => [
                2,
                symbol.st_info().0.into(),
                file.place(symbol.st_shndx(file.endian)),
                symbol.st_value(file.endian).into(),
            ],
        })
    }
}
