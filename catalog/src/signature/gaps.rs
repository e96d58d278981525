//! What of an ELF file stands in no section: nothing but zeros, as a rule. But programs carry
//! their data behind themselves (AppImage, self-extracting archives).

use object::Endianness;
use object::read::elf::FileHeader;

use super::sections::{Elf, Section};
use super::stream::{Strange, Stream, number};

/// Hashes what is no header and in no section, but for the zeros around it, with the number of
/// sections with substance before it and what `address` says of its place.
pub(super) fn hash<E>(
    file: &Elf<'_, E>,
    stream: &mut Stream,
    address: impl Fn(u64) -> u64,
) -> Result<(), Strange>
where
    E: FileHeader<Endian = Endianness>,
{
    let parts = file.sections().map(|it| (it.range(), 1));
    let others = file.left_out().map(Section::range);
    let others = others.chain(file.header_tables());
    let mut parts: Vec<_> = parts.chain(others.map(|it| (it, 0))).collect();
    let end = number(file.bytes.len());
    parts.push((end..end, 0));
    parts.sort_by_key(|(range, _)| range.start);
    let (mut at, mut before) = (0, 0);
    for (range, counts) in parts {
        if range.start > at {
            let (start, content) = content(file.bytes, at, range.start)?;
            if !content.is_empty() {
                stream.numbers(&[before, address(start)])?;
                stream.bytes(content)?;
            }
        }
        at = at.max(range.end);
        before += counts;
    }
    Ok(())
}

/// What is left of a part of the file without the zeros around it, and where it begins.
fn content(bytes: &[u8], start: u64, end: u64) -> Result<(u64, &[u8]), Strange> {
    let [start, end] = [start, end].map(usize::try_from);
    let (Ok(start), Ok(end)) = (start, end) else {
        return Err(Strange);
    };
    let gap = bytes.get(start..end).ok_or(Strange)?;
    let zeros = gap.iter().take_while(|byte| **byte == 0).count();
    let rest = &gap[zeros..];
    let len = rest
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    Ok((number(start + zeros), &rest[..len]))
}
