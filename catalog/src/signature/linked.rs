//! Programs and shared libraries: what is loaded, and where.
//!
//! Code finds data by its distance, so the addresses of both belong to the substance. What ld.so
//! finds by the dynamic section alone (names, symbols, relocations) stands in front of them and
//! moves when a build id becomes longer: its addresses do not count, and what points to it is
//! hashed as the part that it points to.

use object::read::elf::{Dyn as _, FileHeader, ProgramHeader, Sym as _};
use object::{Endianness, elf};

use super::gaps;
use super::notes;
use super::sections::{Elf, Section, entries};
use super::stream::{Strange, Stream, number};

/// Most segments: each is compared with each section.
const MAX_SEGMENTS: usize = 64;

/// The flags that say how a section is loaded. Others are the linker's own matter.
const FLAGS: u64 = elf::SHF_WRITE.0 | elf::SHF_ALLOC.0 | elf::SHF_EXECINSTR.0 | elf::SHF_TLS.0;

/// Where a number stands for no address.
const NOWHERE: u64 = u64::MAX;

pub(super) fn hash<E>(file: &Elf<'_, E>, stream: &mut Stream) -> Result<(), Strange>
where
    E: FileHeader<Endian = Endianness>,
{
    if file.segments.len() > MAX_SEGMENTS {
        return Err(Strange);
    }
    let map = Map::new(file)?;
    let segments: Vec<_> = file
        .segments
        .iter()
        .filter(|it| counts(*it, file.endian))
        .collect();
    stream.list(&segments, |segment, stream| {
        hash_segment(*segment, file.endian, &map, stream)
    })?;
    stream.numbers(&[number(map.floats.len())])?;
    for (section, floats) in file.sections().zip(&map.floats) {
        let fixed = section.is_loaded() && !floats;
        stream.bytes(section.name)?;
        stream.numbers(&[
            section.kind.0.into(),
            section.flags.0 & FLAGS,
            if fixed { section.address } else { NOWHERE },
        ])?;
        hash_content(section, file, &map, stream)?;
    }
    gaps::hash(file, stream, |offset| {
        map.address(offset).unwrap_or(NOWHERE)
    })
}

/// What is loaded where.
struct Map {
    /// Segments to load: offset, length, address.
    loads: Vec<(u64, u64, u64)>,
    /// By number of the section: whether its address does not count.
    floats: Vec<bool>,
    /// Those, by address, with length and number.
    floating: Vec<(u64, u64, u64)>,
}

impl Map {
    /// Sections say which parts have substance, but segments say what is loaded: both must agree.
    fn new<E>(file: &Elf<'_, E>) -> Result<Self, Strange>
    where
        E: FileHeader<Endian = Endianness>,
    {
        let segments = file.segments.iter();
        let of = |kind| {
            segments
                .clone()
                .filter(move |it| it.p_type(file.endian) == kind)
        };
        let place = |it: &E::ProgramHeader| {
            let (offset, len) = it.file_range(file.endian);
            (offset, len, it.p_vaddr(file.endian).into())
        };
        let mut map = Map {
            loads: of(elf::PT_LOAD).map(place).collect(),
            floats: Vec::new(),
            floating: Vec::new(),
        };
        let interpreter: Vec<_> = of(elf::PT_INTERP).map(place).collect();
        for (number, section) in (0..).zip(file.sections()) {
            let place = (section.offset, section.size, section.address);
            let floats = section.is_loaded()
                && (interpreter.contains(&place) || is_found_by_tag(section.kind));
            map.floats.push(floats);
            if floats {
                map.floating.push((section.address, section.size, number));
            }
            if section.is_loaded() && !section.data.is_empty() {
                let address = map.address(section.offset);
                let end = map.address(section.range().end - 1);
                let last = section.address.checked_add(section.size - 1);
                if address != Some(section.address) || end.is_none() || end != last {
                    return Err(Strange);
                }
            }
        }
        map.floating.sort_unstable();
        map.check_left_out(file)?;
        Ok(map)
    }

    /// Nothing that is loaded may be left out but for notes.
    fn check_left_out<E>(&self, file: &Elf<'_, E>) -> Result<(), Strange>
    where
        E: FileHeader<Endian = Endianness>,
    {
        let [_, _, section_headers] = file.header_tables();
        let parts = file
            .left_out()
            .filter(|it| !it.is_loaded())
            .map(Section::range);
        for part in parts.chain([section_headers]) {
            let hidden = |(offset, len, _): &(u64, u64, u64)| {
                part.start < offset.saturating_add(*len) && *offset < part.end
            };
            if !part.is_empty() && self.loads.iter().any(hidden) {
                return Err(Strange);
            }
        }
        Ok(())
    }

    /// Where the byte at `offset` of the file is loaded.
    fn address(&self, offset: u64) -> Option<u64> {
        let mut loads = self.loads.iter();
        loads.find_map(|(start, len, address)| {
            let distance = offset.checked_sub(*start)?;
            (distance < *len).then(|| address.checked_add(distance))?
        })
    }

    /// What stands for an address: what does not count is named by its section.
    fn point(&self, address: u64) -> [u64; 2] {
        let next = self
            .floating
            .partition_point(|(start, _, _)| *start <= address);
        let found = next.checked_sub(1).and_then(|it| self.floating.get(it));
        match found {
            Some((start, len, number)) if address - start <= *len => [*number, address - start],
            _ => [NOWHERE, address],
        }
    }
}

/// Whether a section is found by an entry of the dynamic section, or is a note.
fn is_found_by_tag(kind: elf::SectionType) -> bool {
    [
        elf::SHT_NOTE,
        elf::SHT_HASH,
        elf::SHT_GNU_HASH,
        elf::SHT_DYNSYM,
        elf::SHT_STRTAB,
        elf::SHT_GNU_VERSYM,
        elf::SHT_GNU_VERDEF,
        elf::SHT_GNU_VERNEED,
        elf::SHT_REL,
        elf::SHT_RELA,
        elf::SHT_RELR,
    ]
    .contains(&kind)
}

/// Segments of notes are as many as there are kinds of notes, and the table of segments grows
/// with them: neither counts. The notes themselves are hashed as sections.
fn counts<P: ProgramHeader<Endian = Endianness>>(segment: &P, endian: Endianness) -> bool {
    let others = [elf::PT_NOTE, elf::PT_GNU_PROPERTY, elf::PT_PHDR];
    !others.contains(&segment.p_type(endian))
}

fn hash_segment<P>(
    segment: &P,
    endian: Endianness,
    map: &Map,
    stream: &mut Stream,
) -> Result<(), Strange>
where
    P: ProgramHeader<Endian = Endianness>,
{
    let start: u64 = segment.p_vaddr(endian).into();
    // The kernel reads some by their place in the file, ld.so by their address.
    let (offset, len) = segment.file_range(endian);
    let agrees = len == 0 || map.address(offset) == Some(start);
    let physical: u64 = segment.p_paddr(endian).into();
    let end = |len: u64| start.checked_add(len).ok_or(Strange);
    let in_file = end(len)?;
    let in_memory = end(segment.p_memsz(endian).into())?;
    stream.numbers(&[
        if agrees { NOWHERE } else { offset },
        segment.p_type(endian).0.into(),
        segment.p_flags(endian).0.into(),
        segment.p_align(endian).into(),
        physical.wrapping_sub(start),
    ])?;
    for address in [start, in_file, in_memory] {
        stream.numbers(&map.point(address))?;
    }
    Ok(())
}

fn hash_content<E>(
    section: &Section<'_>,
    file: &Elf<'_, E>,
    map: &Map,
    stream: &mut Stream,
) -> Result<(), Strange>
where
    E: FileHeader<Endian = Endianness>,
{
    match section.kind {
        elf::SHT_NOBITS => stream.numbers(&[section.size]),
        elf::SHT_NOTE => notes::hash(section, file.endian, stream),
        elf::SHT_DYNAMIC => stream.list(entries::<E::Dyn>(section)?, |entry, stream| {
            let (tag, value) = (entry.tag(file.endian), entry.val(file.endian));
            let is_address = entry.is_address(file.endian) || tag == elf::DT_RELR;
            let [part, value] = if is_address {
                map.point(value)
            } else {
                [NOWHERE, value]
            };
            stream.numbers(&[tag.0.cast_unsigned(), part, value])
        }),
        elf::SHT_DYNSYM => stream.list(entries::<E::Sym>(section)?, |symbol, stream| {
            stream.numbers(&[
                symbol.st_name(file.endian).into(),
                u64::from(symbol.st_info().0) << 8 | u64::from(symbol.st_other().0),
                file.place(symbol.st_shndx(file.endian)),
                symbol.st_value(file.endian).into(),
                symbol.st_size(file.endian).into(),
            ])
        }),
        _ => stream.bytes(section.data),
    }
}
