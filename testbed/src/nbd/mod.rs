//! A disk for QEMU over NBD whose power can be cut: writes that were not flushed are held
//! back, and a cut loses them. Killing QEMU alone loses nothing that it had written, so
//! only this shows a missing flush.

mod disk;
mod handshake;
mod image;
mod random;
mod server;
mod wire;

pub use disk::{Counters, CutAt, CutPolicy, CutReport, Disk, SECTOR, Snapshot};
pub use server::{NbdServer, ServeError};
