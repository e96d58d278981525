//! A file as it goes to one client: its bytes in memory or in pages, or its text.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bootd_protocol::tftp::netascii;
use bootd_protocol::tftp::{Refusal, Run};

use super::files::{Source, Store};
use super::pages::{Paged, Pages};
use super::sys::{Part, read_resident};

/// Files up to here are copied into memory instead of mapped, bytes: a page costs as much.
const SMALL: usize = 4_096;

/// Longest file that is taken for text, bytes.
const MAX_TEXT: u64 = 16 << 20;

/// How much of a text is encoded to find a place in it, bytes.
const STRIDE: usize = 16 << 10;

/// Bytes that stay where they are while somebody holds this.
#[derive(Clone)]
pub(super) enum Body {
    Memory(Arc<[u8]>),
    Paged(Arc<Paged>),
}

impl Body {
    /// Where the bytes from `start` lie; none beyond the end.
    pub(super) fn part(&self, start: u64, len: u16) -> Option<Part<'_>> {
        let (start, len) = (usize::try_from(start).ok()?, usize::from(len));
        match self {
            Body::Memory(bytes) => bytes.get(start..)?.get(..len).map(Part::of),
            Body::Paged(paged) => paged.part(start, len),
        }
    }
}

/// What one client reads.
pub(super) enum Content {
    /// Bytes as they are, from `start` on.
    Plain { body: Body, start: u64, len: u64 },
    /// A text, encoded on its way out.
    Text(Arc<Text>),
}

/// Blocks that can be sent now: those of `run`, the first of them at `start` in `body`.
pub(super) struct Burst {
    pub(super) run: Run,
    pub(super) body: Body,
    pub(super) start: u64,
}

impl Content {
    pub(super) fn plain(source: &Source, pages: &mut Pages) -> io::Result<Self> {
        let (start, len) = (source.start, source.len);
        Ok(match &source.store {
            Store::Memory(bytes) => Content::Plain {
                body: Body::Memory(Arc::clone(bytes)),
                start,
                len,
            },
            Store::Disk(file) => match small(file, start, len) {
                Some(bytes) => Content::Plain {
                    body: Body::Memory(bytes),
                    start: 0,
                    len,
                },
                None => Content::Plain {
                    body: match pages.of(file)? {
                        Some(paged) => Body::Paged(paged),
                        None => Body::Memory(Arc::default()),
                    },
                    start,
                    len,
                },
            },
        })
    }

    /// Length on the wire, bytes.
    pub(super) fn len(&self) -> u64 {
        match self {
            Content::Plain { len, .. } => *len,
            Content::Text(text) => text.len,
        }
    }

    /// The pages it lies in, and where it begins there.
    pub(super) fn paged(&self) -> Option<(&Arc<Paged>, u64)> {
        match self {
            Content::Plain {
                body: Body::Paged(paged),
                start,
                ..
            } => Some((paged, *start)),
            Content::Plain { .. } | Content::Text(_) => None,
        }
    }

    /// The blocks of `run`.
    pub(super) fn burst(&self, run: Run) -> io::Result<Burst> {
        match self {
            Content::Plain { body, start, .. } => Ok(Burst {
                run,
                body: body.clone(),
                start: start + run.offset,
            }),
            Content::Text(text) => Ok(Burst {
                run,
                body: Body::Memory(text.read(run.offset, run.bytes())?.into()),
                start: 0,
            }),
        }
    }
}

/// A small file that is in the page cache.
fn small(file: &File, start: u64, len: u64) -> Option<Arc<[u8]>> {
    let mut buffer = [0; SMALL];
    let bytes = buffer.get_mut(..usize::try_from(len).ok()?)?;
    (read_resident(file, start, bytes).ok()? == bytes.len()).then(|| Arc::from(&*bytes))
}

/// A file in netascii: where each stride of the file begins on the wire.
pub(super) struct Text {
    source: Source,
    strides: Box<[u64]>,
    len: u64,
}

impl Text {
    /// Reads the whole file, to learn how long it is on the wire.
    ///
    /// # Errors
    /// [`Refusal::NoText`] if it is too large, [`Refusal::Unreadable`].
    pub(super) fn open(source: Source) -> Result<Self, Refusal> {
        if source.len > MAX_TEXT {
            return Err(Refusal::NoText);
        }
        let mut text = Text {
            strides: Box::default(),
            len: 0,
            source,
        };
        let mut strides = Vec::new();
        while let Some(bytes) = text.stride(strides.len()) {
            let bytes = bytes.map_err(|_| Refusal::Unreadable)?;
            strides.push(text.len);
            text.len += u64::try_from(netascii::encoded_len(&bytes)).unwrap_or(0);
        }
        text.strides = strides.into();
        Ok(text)
    }

    /// Stride `index` of the file; none behind its end.
    fn stride(&self, index: usize) -> Option<io::Result<Vec<u8>>> {
        let start = u64::try_from(index.checked_mul(STRIDE)?).ok()?;
        let left = usize::try_from(self.source.len.checked_sub(start)?).ok()?;
        let mut bytes = vec![0; left.min(STRIDE)];
        (left > 0).then(|| self.source.read(start, &mut bytes).map(|()| bytes))
    }

    /// `len` bytes of the wire from `offset`.
    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let first = self.strides.partition_point(|&start| start <= offset);
        let first = first.saturating_sub(1);
        let before = self.strides.get(first).map_or(0, |start| offset - start);
        let before = usize::try_from(before).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let mut wire = Vec::new();
        for index in first.. {
            if wire.len() >= before + len {
                break;
            }
            let bytes = self.stride(index).ok_or(io::ErrorKind::UnexpectedEof)??;
            netascii::encode(&bytes, &mut wire);
        }
        wire.truncate(before + len);
        wire.drain(..before);
        Ok(wire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_can_be_read_anywhere() {
        let file: Vec<u8> = (0..50_000_u32)
            .map(|index| {
                if index % 7 == 0 {
                    b'\n'
                } else {
                    b'\r' - u8::from(index % 5 > 0)
                }
            })
            .collect();
        let mut wire = Vec::new();
        netascii::encode(&file, &mut wire);
        let text = Text::open(Source::memory(file.into())).unwrap();
        assert_eq!(usize::try_from(text.len).unwrap(), wire.len());
        for (offset, len) in [
            (0, 10),
            (16_383, 40_000),
            (wire.len() - 1, 1),
            (wire.len(), 0),
        ] {
            let read = text.read(u64::try_from(offset).unwrap(), len).unwrap();
            assert_eq!(read, wire[offset..offset + len]);
        }
        assert!(text.read(text.len, 1).is_err());
    }
}
