//! The TFTP server: sockets and tasks around [`bootd_protocol::tftp`].
//!
//! One task listens at each well-known port. Every transfer has a task of its own and a socket
//! of its own, bound to the address that the client asked and connected to the client, so that
//! the kernel keeps strangers out and reports a client that has gone. The file's bytes are
//! shared by all clients: they go from the page cache or from memory to the socket, a window at
//! a time.
//!
//! Limits of a hostile or broken network (invariant 9): what is no request gets no answer;
//! requests above [`Config::max_transfers`] or [`Config::max_per_address`] get none either, so
//! that the client asks again later, as firmware does on its own; a silent client gets two
//! windows and a few blocks.

mod counters;
mod files;
mod listener;
mod outlet;
mod server;
mod session;
mod table;

#[cfg(test)]
mod tests;

pub use counters::{Counters, Counts, Ending, Event, Observer, Stage};
pub use files::{Files, Source};
pub use server::{Config, Server, TftpError};
