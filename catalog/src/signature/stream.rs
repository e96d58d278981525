//! A normal form on its way into the hash.

use bootd_protocol::digest::{Digest, Hasher};

/// What every normal form begins with. What is written after it may change only together with
/// the number in here: then every module of another form than plain content counts as changed.
pub(super) const FORMAT: &[u8] = b"change-signature-v1\0";

/// Something that has no normal form that is sure to hold all of its substance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Strange;

impl From<object::read::Error> for Strange {
    fn from(_: object::read::Error) -> Self {
        Strange
    }
}

/// Hashes numbers and texts so that no two sequences of them give the same bytes.
pub(super) struct Stream {
    hasher: Hasher,
    /// How many bytes it still takes: tables of a hostile file may lie one over the other.
    room: usize,
}

impl Stream {
    /// The normal form of something of this kind, at most `room` bytes long.
    pub(super) fn new(kind: &str, room: usize) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(FORMAT);
        hasher.update(kind.as_bytes());
        hasher.update(b"\0");
        Stream { hasher, room }
    }

    pub(super) fn numbers(&mut self, numbers: &[u64]) -> Result<(), Strange> {
        for number in numbers {
            self.take(&number.to_le_bytes())?;
        }
        Ok(())
    }

    /// A text, with its length before it.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Strange> {
        self.numbers(&[number(bytes.len())])?;
        self.take(bytes)
    }

    /// A list, with its length before it.
    pub(super) fn list<T>(
        &mut self,
        items: &[T],
        mut hash: impl FnMut(&T, &mut Self) -> Result<(), Strange>,
    ) -> Result<(), Strange> {
        self.numbers(&[number(items.len())])?;
        items.iter().try_for_each(|it| hash(it, self))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Strange> {
        self.room = self.room.checked_sub(bytes.len()).ok_or(Strange)?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// A piece of the last text: it has no length before it.
    pub(super) fn unbounded(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    pub(super) fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

pub(super) fn number(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
