//! The test bed.

pub mod nbd;
