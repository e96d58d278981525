//! Builds boot images (unified kernel images) from Debian packages, on the master's side.
//!
//! [`build()`] is the whole way; the modules are its steps:
//!
//! | module | what it holds |
//! |---|---|
//! | [`deb`] | reads a Debian package: control fields and files |
//! | [`kernel`] | picks the kernel and the modules with what they need |
//! | [`tools`] | picks programs with the shared libraries they need |
//! | [`initramfs`] | puts them into a cpio archive |
//! | [`loader`] | GRUB for the node's disk, for UEFI and BIOS |
//! | [`uki`] | puts kernel, initramfs and command line behind an EFI stub |

mod arch;
mod build;
pub mod deb;
mod elf;
mod error;
pub mod initramfs;
pub mod kernel;
pub mod loader;
pub mod tools;
pub mod uki;

pub use arch::default_cmdline;
pub use build::{ImageSpec, build};
pub use error::BuildError;

#[cfg(test)]
mod fixture;
