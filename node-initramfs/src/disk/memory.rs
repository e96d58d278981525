//! A disk in memory that holds back what has not been flushed, and loses a seeded part of it.

use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use super::device::Device;
use super::{SECTOR, SECTOR_U64};

/// Bytes are kept in pages that clones share: thousands of disks differ in a few sectors.
const PAGE: usize = 64 * 1024;

/// A small deterministic random source (SplitMix64).
#[derive(Debug, Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct MemoryDisk {
    size: u64,
    sector_size: u64,
    durable: HashMap<usize, Rc<Vec<u8>>>,
    unflushed: Vec<(usize, Rc<Vec<u8>>)>,
    /// Writes and flushes until the power goes; `None` when it stays.
    pub(super) operations_left: Option<u64>,
    /// Writes and flushes so far.
    pub(super) operations: u64,
}

impl MemoryDisk {
    pub(super) fn new(size: u64) -> Self {
        MemoryDisk {
            size,
            sector_size: SECTOR_U64,
            durable: HashMap::new(),
            unflushed: Vec::new(),
            operations_left: None,
            operations: 0,
        }
    }

    pub(super) fn with_sector_size(self, sector_size: u64) -> Self {
        MemoryDisk {
            sector_size,
            ..self
        }
    }

    /// The power goes: every sector that was not flushed is lost with a probability of
    /// `loss` in 8. Then the power comes back.
    pub(super) fn power_cut(&mut self, random: &mut Random, loss: u64) {
        for (offset, bytes) in std::mem::take(&mut self.unflushed) {
            for (index, sector) in bytes.chunks_exact(SECTOR).enumerate() {
                if random.below(8) >= loss {
                    self.store(offset + index * SECTOR, sector);
                }
            }
        }
        self.operations_left = None;
    }

    /// Puts bytes on the disk as if they had always been there.
    pub(super) fn plant(&mut self, offset: u64, bytes: &[u8]) {
        self.write_at(offset, bytes).expect("power is on");
        self.flush().expect("power is on");
    }

    pub(super) fn bytes(&self, offset: u64, length: usize) -> Vec<u8> {
        let start = usize::try_from(offset).expect("64 bits");
        let mut buffer = vec![0; length];
        for (page, within, place) in pieces(start, length) {
            if let Some(bytes) = self.durable.get(&page) {
                let length = place.len();
                buffer[place].copy_from_slice(&bytes[within..within + length]);
            }
        }
        for (at, bytes) in &self.unflushed {
            let from = start.max(*at);
            let to = (start + length).min(at + bytes.len());
            if from < to {
                buffer[from - start..to - start].copy_from_slice(&bytes[from - at..to - at]);
            }
        }
        buffer
    }

    fn store(&mut self, offset: usize, bytes: &[u8]) {
        for (page, within, place) in pieces(offset, bytes.len()) {
            let page = self.durable.entry(page);
            let page = Rc::make_mut(page.or_insert_with(|| Rc::new(vec![0; PAGE])));
            page[within..within + place.len()].copy_from_slice(&bytes[place]);
        }
    }

    fn spend(&mut self) -> io::Result<()> {
        match &mut self.operations_left {
            Some(0) => return Err(io::Error::other("the power is gone")),
            Some(left) => *left -= 1,
            None => (),
        }
        self.operations += 1;
        Ok(())
    }

    fn check_range(&self, offset: u64, length: usize) -> io::Result<()> {
        let aligned = offset.is_multiple_of(SECTOR_U64) && length.is_multiple_of(SECTOR);
        let length = u64::try_from(length).map_err(io::Error::other)?;
        if aligned && offset + length <= self.size {
            return Ok(());
        }
        let text = format!("{length} bytes at {offset} are not sectors of this disk");
        Err(io::Error::other(text))
    }
}

/// A range cut at page boundaries: page, offset in it, and the part of the range.
fn pieces(
    offset: usize,
    length: usize,
) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done;
        let count = (PAGE - at % PAGE).min(length - done);
        let place = done..done + count;
        done += count;
        (count > 0).then_some((at / PAGE, at % PAGE, place))
    })
}

impl Device for MemoryDisk {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u64 {
        self.sector_size
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.check_range(offset, buffer.len())?;
        buffer.copy_from_slice(&self.bytes(offset, buffer.len()));
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_range(offset, bytes.len())?;
        self.spend()?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.unflushed.push((offset, Rc::new(bytes.to_vec())));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.spend()?;
        for (offset, bytes) in std::mem::take(&mut self.unflushed) {
            self.store(offset, &bytes);
        }
        Ok(())
    }

    fn forget_cached(&mut self, _offset: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }
}
