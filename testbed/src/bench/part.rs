//! Contestants that are this program itself: the ideal servers, and async-tftp, which is a
//! library. Each runs as a process of its own, as the others do.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use async_tftp::server::TftpServerBuilder;

use super::{dhcp, tftp};

/// Which one. It serves until it is ended.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Part {
    /// DHCP that does nothing but the packets
    IdealDhcp {
        /// Where it answers
        at: SocketAddrV4,
        /// Write a record for each lease here, and flush each batch
        #[arg(long)]
        journal: Option<PathBuf>,
    },
    /// TFTP that does nothing but the packets
    IdealTftp {
        /// Where it answers
        at: SocketAddrV4,
        /// Files to keep in memory: all below this directory
        root: PathBuf,
        /// Which sockets answers leave by
        #[arg(long, value_enum)]
        sockets: tftp::Sockets,
    },
    /// TFTP by the async-tftp library
    AsyncTftp {
        /// Where it answers
        at: SocketAddrV4,
        /// Its files
        root: PathBuf,
    },
}

impl Part {
    /// Serves.
    ///
    /// # Errors
    /// The address is taken, a file cannot be read, or a socket fails.
    pub fn run(self) -> Result<()> {
        let for_ever = AtomicBool::new(false);
        match self {
            Part::IdealDhcp { at, journal } => {
                let journal = journal.map(File::create).transpose()?;
                dhcp::Ideal::new(at, journal)?.run(&for_ever)
            }
            Part::IdealTftp { at, root, sockets } => {
                let mut files = HashMap::new();
                collect(&root, "", &mut files)?;
                tftp::Ideal::new(at, sockets, files)?.run(&for_ever)
            }
            Part::AsyncTftp { at, root } => async_io::block_on(async {
                let builder = TftpServerBuilder::with_dir_ro(&root)?.bind(at.into());
                builder.build().await?.serve().await
            })
            .with_context(|| format!("async-tftp at {at}")),
        }
    }
}

/// All files below a directory by their names from there.
fn collect(dir: &Path, prefix: &str, files: &mut HashMap<String, Arc<[u8]>>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.insert(name, fs::read(entry.path())?.into());
        }
    }
    Ok(())
}

/// A command that runs this program as one of these.
pub(super) fn command(kind: &str, at: (Ipv4Addr, u16)) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let at = SocketAddrV4::new(at.0, at.1).to_string();
    command.args(["bench", "part", kind, &at]);
    Ok(command)
}
