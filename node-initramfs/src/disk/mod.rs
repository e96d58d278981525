//! Stub.
pub mod grubenv;
/// S
pub const SECTOR: usize = 512;
