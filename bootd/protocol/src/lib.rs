//! The pure half of bootd: wire formats and the state machines of both sides.
//!
//! Nothing here opens a socket, reads a clock, draws a random number or touches a file.
//! Every machine has the same shape: `handle_*(input, now)` takes bytes and the time,
//! `next_command()` gives back what to do, `poll_timeout()` says when to come again.
//! Time is a [`std::time::Duration`] since an origin that the caller picks and keeps.
//!
//! | module | what it holds |
//! |---|---|
//! | [`digest`] | SHA-256 names of everything that is delivered |
//! | [`identity`] | what a machine is: MAC, system UUID, architecture, firmware |
//! | [`manifest`] | what one node should have, as canonical JSON |
//! | [`modindex`] | the index of the kernel modules that a boot image carries |
//! | [`uki`] | where the parts of a boot image stand in its file |
//! | [`verify`] | the verify protocol, both sides |

pub mod digest;
pub mod identity;
pub mod manifest;
pub mod modindex;
pub mod uki;
pub mod verify;
