//! Builds what a node boots: images and boot loaders, from Debian's packages.
//!
//! | module | what it holds |
//! |---|---|
//! | [`loader`] | GRUB for the node's disk, for UEFI and BIOS |

pub mod loader;
