//! The notes of an ELF file: some tell the kernel or ld.so something, others only who has made
//! the file, and when.

use object::{Endian as _, Endianness};

use super::sections::Section;
use super::stream::{Strange, Stream, number};

/// Longest build id, in bytes. Go's, the longest, is a text of 83.
const MAX_BUILD_ID: usize = 128;

/// Those that tell of the making: owner and type.
const MAKING: [(&[u8], u32); 4] = [
    // NT_GNU_BUILD_ID, NT_GNU_GOLD_VERSION.
    (b"GNU\0", 3),
    (b"GNU\0", 4),
    // The build id of Go.
    (b"Go\0\0", 4),
    // The distribution's package, which carries a version.
    (b"FDO\0", 0xcafe_1a7e),
];

pub(super) struct Note<'data> {
    owner: &'data [u8],
    kind: u32,
    content: &'data [u8],
}

impl Note<'_> {
    fn has_substance(&self) -> bool {
        let package = self.kind == MAKING[3].1;
        let short = package || self.content.len() <= MAX_BUILD_ID;
        !(short && MAKING.contains(&(self.owner, self.kind)))
    }

    pub(super) fn hash(&self, stream: &mut Stream) -> Result<(), Strange> {
        stream.bytes(self.owner)?;
        stream.numbers(&[self.kind.into()])?;
        stream.bytes(self.content)
    }
}

/// The notes of a section but for those that tell of the making.
pub(super) fn with_substance<'data>(
    section: &Section<'data>,
    endian: Endianness,
) -> Result<Vec<Note<'data>>, Strange> {
    let align = if section.align == 8 { 8 } else { 4 };
    let mut notes = Vec::new();
    let mut rest = section.data;
    while !rest.is_empty() {
        let note = note(&mut rest, align, endian).ok_or(Strange)?;
        if note.has_substance() {
            notes.push(note);
        }
    }
    Ok(notes)
}

/// Takes the next note off `rest`: lengths of owner and content, type, owner, content. Nothing
/// stands between them but zeros.
fn note<'data>(rest: &mut &'data [u8], align: usize, endian: Endianness) -> Option<Note<'data>> {
    let (head, _) = rest.split_first_chunk::<12>()?;
    let word = |at: usize| {
        let word = head.get(at..)?.first_chunk::<4>()?;
        Some(endian.read_u32(*word))
    };
    let lens = [word(0)?, word(4)?].map(usize::try_from);
    let [Ok(owner_len), Ok(len)] = lens else {
        return None;
    };
    let owner_end = owner_len.checked_add(12)?;
    let start = owner_end.checked_next_multiple_of(align)?;
    let end = start.checked_add(len)?;
    let next = end.checked_next_multiple_of(align)?.min(rest.len());
    let note = Note {
        owner: rest.get(12..owner_end)?,
        kind: word(8)?,
        content: rest.get(start..end)?,
    };
    let padding = rest
        .get(owner_end..start)?
        .iter()
        .chain(rest.get(end..next)?);
    if padding.copied().any(|byte| byte != 0) {
        return None;
    }
    *rest = rest.get(next..)?;
    Some(note)
}

/// The normal form of a section of notes.
pub(super) fn hash(
    section: &Section<'_>,
    endian: Endianness,
    stream: &mut Stream,
) -> Result<(), Strange> {
    let notes = with_substance(section, endian)?;
    stream.numbers(&[number(notes.len())])?;
    notes.iter().try_for_each(|it| it.hash(stream))
}
