//! Test bed.
pub mod sim;
