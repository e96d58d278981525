//! DHCPv4 (RFC 2131, RFC 2132): packets, the master's machine and the node's.
//!
//! | module | what it holds |
//! |---|---|
//! | [`packet`] | what a decision needs from a packet, and how packets are built |
//! | [`hint`] | how a master says where it is (option 43) |
//! | [`server`] | the master's side: leases, offers, boot files |
//! | [`client`] | the node's side: an address, and where the master is |

pub mod client;
pub mod hint;
pub mod packet;
pub mod server;

/// UDP port a server listens on (RFC 2131, section 4.1).
pub const SERVER_PORT: u16 = 67;

/// UDP port on which PXE's boot servers listen (PXE 2.1, section 2.2.3).
pub const PROXY_PORT: u16 = 4011;

/// UDP port a client listens on (RFC 2131, section 4.1).
pub const CLIENT_PORT: u16 = 68;

/// Vendor class (option 60) by which our own `init` makes itself known.
pub const NODE_VENDOR_CLASS: &str = "bootd-node";

/// A lease of this many seconds never ends (RFC 2131, section 3.3).
pub const INFINITE_SECONDS: u32 = u32::MAX;
