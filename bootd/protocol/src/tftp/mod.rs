//! TFTP, both sides, without a socket.
//!
//! | part | what it holds | source |
//! |---|---|---|
//! | [`Packet`] | the six packets: parse and encode, borrowed, total | RFC 1350 §5, RFC 2347 |
//! | [`Options`], [`Agreed`], [`Limits`] | option negotiation | RFC 2347, 2348, 2349, 7440 |
//! | [`admit`] | what the well-known port does with a datagram | RFC 1350 §4 |
//! | [`Transfer`] | the server's side of one read | RFC 1350, 1123 §4.2, 7440 §4 |
//! | [`Fetch`] | the client's side of one read | the same |
//!
//! Reads are served in the modes `octet` and [`netascii`]; other modes are refused with ERROR 4,
//! writes with ERROR 2. No refusal is larger than the request that draws it.
//!
//! Blocks are counted in 64 bits inside and wrap from 65,535 to 0 on the wire, as all firmware
//! known to fetch long files does; RFC 1350 leaves it open.
//!
//! # Who may be believed about a loss
//! RFC 7440 has a receiver acknowledge the last block before a gap at once, so an ACK inside the
//! window, or a repeated one just before it, says that something was lost. But a receiver also
//! repeats itself when it is given a block twice, and a sender that takes every echo for a loss
//! doubles its flow for the rest of the file (the Sorcerer's Apprentice, RFC 1123 §4.2.3.1).
//! [`Transfer`] therefore believes a signal about blocks it has sent **once**, and resumes from
//! there at once. A signal about blocks it has sent **twice** may be an echo: it is held for one
//! measured round trip, and acted upon only if no acknowledgement has moved past it by then.

mod admit;
mod agreed;
mod clock;
mod fetch;
pub mod netascii;
mod options;
mod packet;
mod transfer;

#[cfg(test)]
mod tests;

pub use admit::{Admission, Mode, ReadRequest, Refusal, admit};
pub use agreed::{Agreed, Limits};
pub use fetch::{Fetch, FetchCommand, FetchOutcome, FetchPlan, Piece};
pub use options::{OptionIter, Options};
pub use packet::{ErrorCode, Packet, ParseError, Request, data_header};
pub use transfer::{Command, Outcome, Repeat, Run, Transfer};

/// Bytes in front of the payload of a DATA packet: opcode and block number (RFC 1350 §5).
pub const DATA_HEADER_LEN: usize = 4;

/// Block size without the `blksize` option (RFC 1350 §2).
pub const DEFAULT_BLOCK_SIZE: u16 = 512;

/// Smallest `blksize` (RFC 2348).
pub const MIN_BLOCK_SIZE: u16 = 8;

/// Largest `blksize` (RFC 2348).
pub const MAX_BLOCK_SIZE: u16 = 65_464;
