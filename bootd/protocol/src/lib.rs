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
//! | [`dhcp`] | DHCPv4: packets, the server's machine, the node's machine |
//! | [`boot_choice`] | what each kind of client is sent to boot, and why |
//! | [`tftp`] | TFTP: packets, the sender's machine, the fetcher's machine |
//! | [`modindex`] | the index of the kernel modules that a boot image carries |
//! | [`smbios`] | what a board says of itself |
//! | [`uki`] | where kernel and initramfs stand in a boot image |
//! | [`once`] | tests: what a node does in one boot and in no other |
//! | [`preparation`] | many nodes are prepared, wait for each other, restart together |
//! | [`verify`] | the verify protocol: messages, the node's machine, the master's machine |

pub mod boot_choice;
pub mod dhcp;
pub mod digest;
pub mod identity;
pub mod manifest;
pub mod modindex;
pub mod once;
pub mod preparation;
pub mod smbios;
pub mod tftp;
pub mod uki;
pub mod verify;
