use std::path::PathBuf;

use bootd_protocol::identity::Arch;

use crate::deb::DebError;
use crate::initramfs::cpio::CpioError;
use crate::kernel::KernelError;
use crate::tools::ToolError;
use crate::uki::AssembleError;

/// Why a boot image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A package that cannot be read.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// A package for another architecture.
    #[error("{deb} is for {found}, the boot image is for {arch}")]
    Architecture {
        /// The package.
        deb: String,
        /// Its `Architecture` field.
        found: String,
        /// What was asked for.
        arch: Arch,
    },
    /// The node's init cannot be read.
    #[error("init {path} cannot be read: the README says how to build it")]
    ReadInit {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The node's init would not start.
    #[error("init {path} is no static program for {arch}: {reason}")]
    Init {
        /// Its file.
        path: PathBuf,
        /// What was asked for.
        arch: Arch,
        /// What is wrong with it.
        reason: String,
    },
    /// No key: the node could believe nobody.
    #[error("no public key of a master was given: the node would trust nobody")]
    NoTrust,
    /// Text that would break what it is written into.
    #[error("{what} {text:?} {reason}")]
    Text {
        /// What it is.
        what: &'static str,
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Kernel or modules.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Programs and their libraries.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The initramfs.
    #[error(transparent)]
    Cpio(#[from] CpioError),
    /// The initramfs could not be compressed.
    #[error("initramfs cannot be compressed: {0}")]
    Compress(std::io::Error),
    /// The EFI stub is not where Debian puts it.
    #[error("{deb} has no {path}")]
    NoStub {
        /// The package.
        deb: String,
        /// Where it should be.
        path: &'static str,
    },
    /// The image could not be put together.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
}
