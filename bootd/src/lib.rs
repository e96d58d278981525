//! The master daemon, as a library: the edge around `bootd-protocol`.
//!
//! | module | what it holds |
//! |---|---|
//! | [`server`] | puts the parts together |
//! | [`desired`] | the catalog in memory, swapped whole after every edit |
//! | [`wishes`] | what it says about one machine |
//! | [`recorder`] | the one thread that writes databases |
//! | [`presence`] | how every node is doing |
//! | [`dhcp`], [`verify`], [`http`], [`tftp_files`] | one edge for each protocol |
//! | [`tftp`] | the TFTP server: sockets around the pure engine |
//! | [`tftp_tree`] | a directory tree for it |
//! | [`boot_files`] | boot images taken apart, scripts for iPXE |
//! | [`counters`], [`range`], [`sockets`] | small things they share |

pub mod boot_files;
pub mod counters;
pub mod desired;
pub mod dhcp;
pub mod http;
pub mod presence;
pub mod range;
pub mod recorder;
pub mod server;
pub mod sockets;
pub mod tftp;
pub mod tftp_files;
pub mod tftp_tree;
pub mod verify;
pub mod wishes;
