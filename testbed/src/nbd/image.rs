//! A sparse disk image in memory; a copy of it costs a pointer for each 64 KiB in use.

use std::collections::BTreeMap;
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::Arc;

/// Bytes of one chunk: small enough that a one-sector change copies little.
const CHUNK: usize = 64 * 1024;

/// The bytes of a disk, in chunks; a chunk that is absent reads as zeros.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    chunks: BTreeMap<u64, Arc<[u8]>>,
}

/// A stretch of a byte range that lies within one chunk.
struct Piece {
    chunk: u64,
    /// Where in the chunk it begins.
    start: usize,
    /// Where in the caller's buffer it lies.
    buffer: Range<usize>,
}

/// Cuts `length` bytes from `offset` at the chunks' borders.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        (done < length).then(|| {
            let at = offset + done as u64;
            let start = usize::try_from(at % CHUNK as u64).unwrap_or(0);
            let take = (CHUNK - start).min(length - done);
            let piece = Piece {
                chunk: at / CHUNK as u64,
                start,
                buffer: done..done + take,
            };
            done += take;
            piece
        })
    })
}

impl Image {
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) {
        for piece in pieces(offset, buffer.len()) {
            let target = &mut buffer[piece.buffer];
            match self.chunks.get(&piece.chunk) {
                Some(chunk) => target.copy_from_slice(&chunk[piece.start..][..target.len()]),
                None => target.fill(0),
            }
        }
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        for piece in pieces(offset, data.len()) {
            let source = &data[piece.buffer];
            self.change(piece.chunk, source.iter().all(|&byte| byte == 0), |chunk| {
                chunk[piece.start..][..source.len()].copy_from_slice(source);
            });
        }
    }

    pub(super) fn zero(&mut self, offset: u64, length: usize) {
        for piece in pieces(offset, length) {
            if piece.buffer.len() == CHUNK {
                self.chunks.remove(&piece.chunk);
            } else {
                self.change(piece.chunk, true, |chunk| {
                    chunk[piece.start..][..piece.buffer.len()].fill(0);
                });
            }
        }
    }

    /// Changes one chunk; one that is absent stays so where only zeros are written.
    fn change(&mut self, index: u64, only_zeros: bool, write: impl FnOnce(&mut [u8])) {
        if only_zeros && !self.chunks.contains_key(&index) {
            return;
        }
        let chunk = self
            .chunks
            .entry(index)
            .or_insert_with(|| Arc::from(vec![0; CHUNK]));
        write(Arc::make_mut(chunk));
    }

    /// Makes the chunks of a byte range the same as in `other`, by sharing them.
    pub(super) fn share(&mut self, other: &Image, offset: u64, length: usize) {
        for piece in pieces(offset, length) {
            match other.chunks.get(&piece.chunk) {
                Some(chunk) => self.chunks.insert(piece.chunk, Arc::clone(chunk)),
                None => self.chunks.remove(&piece.chunk),
            };
        }
    }

    /// Memory in use, in bytes, were nothing shared.
    pub(super) fn used(&self) -> u64 {
        self.chunks.len() as u64 * CHUNK as u64
    }

    /// Writes the image to a file as a sparse raw disk of `size` bytes.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn export(&self, size: u64, file: &mut std::fs::File) -> io::Result<()> {
        file.set_len(size)?;
        for (index, chunk) in &self.chunks {
            let at = index * CHUNK as u64;
            let length =
                usize::try_from(size.saturating_sub(at)).map_or(CHUNK, |rest| rest.min(CHUNK));
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&chunk[..length])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_across_chunk_borders_and_keeps_zeros_sparse() {
        let mut image = Image::default();
        image.write(CHUNK as u64 - 3, b"abcdef");
        image.write(10 * CHUNK as u64, &vec![0; 2 * CHUNK]);
        let mut buffer = [9; 8];
        image.read(CHUNK as u64 - 4, &mut buffer);
        assert_eq!(&buffer, b"\0abcdef\0");
        assert_eq!(image.used(), 2 * CHUNK as u64);
        image.zero(0, CHUNK);
        assert_eq!(image.used(), CHUNK as u64);
    }

    #[test]
    fn a_copy_is_independent_and_share_copies_a_range() {
        let mut first = Image::default();
        first.write(0, b"old");
        let mut second = first.clone();
        second.write(0, b"new");
        let mut buffer = [0; 3];
        first.read(0, &mut buffer);
        assert_eq!(&buffer, b"old");
        first.share(&second, 0, 3);
        first.read(0, &mut buffer);
        assert_eq!(&buffer, b"new");
    }
}
