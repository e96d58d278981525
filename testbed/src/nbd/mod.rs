//! A disk for QEMU over NBD whose power can be cut: writes that were not flushed are held
//! back, and a cut loses them. Killing QEMU alone loses nothing that it had written, so
//! only this shows a missing flush.

mod cache;
mod disk;
mod handshake;
mod image;
mod random;
mod server;
mod wire;

pub use cache::{CutPolicy, CutReport, SECTOR};
pub use disk::{Counters, CutAt, Disk, Snapshot};
pub use server::{NbdServer, ServeError};
