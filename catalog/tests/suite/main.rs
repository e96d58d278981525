//! The crate's tests through its public side and the `catalog` command. One test program: its
//! files share [`common`] and are linked once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod cli;
mod common;
mod composite;
mod docs;
mod edits;
mod elf;
mod killed;
mod lists;
mod networks;
mod packing;
mod refused;
mod schema;
mod select;
mod signature;
mod upgrade;
