//! Files in which others are packed: gzip, and archives of `ar`.

use std::io::{BufRead as _, BufReader};

use bootd_protocol::digest::Digest;
use flate2::bufread::MultiGzDecoder;
use object::read::archive::ArchiveFile;

use super::stream::{Strange, Stream};

/// How a gzip file begins (RFC 1952 section 2.3): compressed by `deflate`.
pub(super) const GZIP: &[u8] = &[0x1f, 0x8b, 8];

/// As many bytes of a gzip file's content are looked at. Files with more are hashed as they are.
pub const MAX_UNPACKED: usize = 256 << 20;

/// Size of one read, in bytes.
const PIECE: usize = 64 << 10;

/// The content. Time, name and level of compression are left out.
pub(super) fn gzip(bytes: &[u8]) -> Result<Digest, Strange> {
    let mut stream = Stream::new("gzip", 0);
    let mut room = MAX_UNPACKED;
    let mut content = BufReader::with_capacity(PIECE, MultiGzDecoder::new(bytes));
    loop {
        let piece = content.fill_buf().map_err(|_| Strange)?;
        if piece.is_empty() {
            return Ok(stream.finish());
        }
        let len = piece.len();
        room = room.checked_sub(len).ok_or(Strange)?;
        stream.unbounded(piece);
        content.consume(len);
    }
}

/// Names, modes and contents of the members, in order. Times, owners and the index of symbols,
/// which follows from the members, are left out.
pub(super) fn archive(bytes: &[u8]) -> Result<Digest, Strange> {
    let mut stream = Stream::new("ar", bytes.len().saturating_mul(4));
    for member in ArchiveFile::parse(bytes)?.members() {
        let member = member?;
        let content = member.data(bytes)?;
        check_padding(bytes, member.file_range())?;
        stream.bytes(member.name())?;
        stream.numbers(&[member.mode().ok_or(Strange)?])?;
        let is_elf = content.starts_with(&object::elf::ELFMAG);
        let elf = is_elf.then(|| super::elf::signature(content));
        let digest = match elf {
            Some(Ok(digest)) => digest,
            Some(Err(Strange)) | None => Digest::of(content),
        };
        stream.bytes(digest.as_bytes())?;
    }
    Ok(stream.finish())
}

/// Members of odd length are followed by one byte that says nothing.
fn check_padding(bytes: &[u8], (start, len): (u64, u64)) -> Result<(), Strange> {
    let end = start.saturating_add(len);
    let next = usize::try_from(end).ok().and_then(|end| bytes.get(end));
    match next {
        Some(byte) if end % 2 == 1 && *byte != b'\n' => Err(Strange),
        Some(_) | None => Ok(()),
    }
}
