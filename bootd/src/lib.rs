//! Placeholder.

pub mod tftp;
