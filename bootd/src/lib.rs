//! The master daemon, as a library: the edge around `bootd-protocol`.
//!
//! | module | what it holds |
//! |---|---|
//! | [`server`] | puts the parts together |
//! | [`desired`] | the catalog in memory, swapped whole after every edit |
//! | [`wishes`] | what it says about one machine |
//! | [`recorder`] | the one thread that writes what is observed |
//! | [`registrar`] | the one thread that edits the catalog: new nodes, keys |
//! | [`presence`], [`locations`] | how every node is doing, and where DHCP saw it |
//! | [`orders`], [`hooks`] | orders to many nodes; commands that reset one |
//! | [`rounds`] | what is looked at once a second |
//! | [`dhcp`], [`verify`], [`http`], [`tftp_files`] | one edge for each protocol |
//! | `unwanted` | machines that get no answer, told of once |
//! | [`tftp`] | the TFTP server: sockets around the pure engine |
//! | [`tftp_tree`] | a directory tree for it |
//! | [`boot_files`] | boot images taken apart, scripts for iPXE |
//! | [`boot_configs`] | configurations for PXELINUX and U-Boot |
//! | [`privileges`] | what is given up once the sockets are bound |
//! | [`supervision`] | what the service manager is told, and signs of life |
//! | [`chain`], [`counters`], [`sockets`] | small things they share |
//! | [`sys`] | the one place with `unsafe` |

pub mod boot_configs;
pub mod boot_files;
pub mod chain;
pub mod counters;
pub mod desired;
pub mod dhcp;
pub mod hooks;
pub mod http;
pub mod locations;
pub mod orders;
pub mod presence;
pub mod privileges;
pub mod recorder;
pub mod registrar;
pub mod rounds;
pub mod server;
pub mod sockets;
pub mod supervision;
pub mod sys;
pub mod tftp;
pub mod tftp_files;
pub mod tftp_tree;
mod unwanted;
pub mod verify;
pub mod wishes;
