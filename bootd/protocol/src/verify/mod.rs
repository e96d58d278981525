//! The verify protocol: *is what I have still right?*, asked in one datagram.
//!
//! A node signs an [`Ask`](message::Ask), the master signs its [`Verdict`](message::Verdict).
//! On the good path that is all: two datagrams. `docs/protocol.md` has the whole story.
//!
//! # Rules of change
//! - The header ([`header::Header`]) is the same in every version, for ever: any program can
//!   read version, kind and lengths of any datagram before it looks at the body.
//! - A version's bodies never change once released: their bytes are frozen in
//!   `tests/golden/verify-vN/`. A new field or kind is a new version.
//! - A master reads [`MIN_VERSION`]..=[`CURRENT_VERSION`] and answers in the version of the
//!   question. Nodes are updated by the master, so it is the master that must know the old ones.
//! - A version leaves by raising [`MIN_VERSION`], once no boot image speaks it any more.

pub mod codec;
pub mod header;
pub mod key;
pub mod master;
pub mod message;
pub mod node;

/// The oldest version this code reads.
pub const MIN_VERSION: u8 = 1;

/// The version this code writes.
pub const CURRENT_VERSION: u8 = 2;

/// The UDP port a master listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 4068;

/// Length of every datagram from a node, in bytes: padded, so that no answer is ever larger
/// than its question and a forged sender address gains nothing.
pub const QUESTION_LEN: usize = 512;

/// No datagram of this protocol is larger, in bytes: it fits an IPv6 path of minimum MTU
/// (1,280, RFC 8200 section 5) with its IP and UDP headers.
pub const MAX_LEN: usize = 1232;

const _: () = assert!(QUESTION_LEN <= MAX_LEN);
