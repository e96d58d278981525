//! The TFTP server: sockets and threads around [`bootd_protocol::tftp`].
//!
//! | part | what it holds |
//! |---|---|
//! | `server` | limits, start and end |
//! | `engine`, `serve` | the loop of the one thread that serves everybody; what it does with one client |
//! | `busy_poll` | whether that thread looks for answers before it sleeps |
//! | `table`, `session` | who is served, and what with |
//! | `ports`, `outbox` | sockets; many datagrams with one system call |
//! | `files`, `content`, `pages` | where bytes come from, and how all clients share them |
//! | `helpers` | the threads that may wait for a disk |
//! | `sys` | the system calls for it: the only `unsafe` |
//!
//! Nothing is copied or allocated for a block: its bytes go from the page cache, or from memory,
//! to the socket. Transfers take turns of one burst, at most 64 KiB.
//!
//! Limits of a hostile or broken network (invariant 9): what is no request gets no answer;
//! requests above [`Config::max_transfers`] or [`Config::max_per_address`] get none either, so
//! that the client asks again later, as firmware does on its own; no refusal is larger than its
//! request; a silent client gets five windows at most, one that was never heard a few blocks.

mod busy_poll;
mod content;
mod counters;
mod engine;
mod files;
mod helpers;
mod outbox;
mod pages;
mod ports;
mod serve;
mod server;
mod session;
mod sys;
mod table;

#[cfg(test)]
mod tests;

pub use counters::{Counters, Counts, Ending, Event, Observer, Stage};
pub use files::{Files, Source};
pub use server::{Config, Server, Stopper, TftpError};
