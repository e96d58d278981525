//! The files that TFTP serves: boot images and their parts, by digest; configurations, by who asks.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use bootd_protocol::boot_choice::pxelinux::Name;
use bootd_protocol::digest::Digest;
use bootd_protocol::tftp::{Outcome, Refusal};
use bootd_protocol::uki::{Part, Section};
use catalog::blobs::{BlobError, BlobStore};
use tracing::{debug, error, info};

use crate::boot_configs::{Asked, BootConfigs};
use crate::chain::chain;
use crate::counters::Counters;
use crate::presence::Presence;
use crate::tftp::{Config, Ending, Event, Files, Observer, Server, Source, Stage};
use crate::tftp_tree::{Loaders, Tree};

/// The builds of iPXE that firmware loads first are below this.
const LOADERS: &str = "ipxe/";

/// What TFTP serves: `boot/<sha256>.efi` and `boot/<sha256>/{linux,initrd}`, configurations that
/// the catalog has something for, then the loaders below `ipxe/`, then the files of a directory
/// tree. The first that has the name wins.
#[derive(Clone)]
pub struct TftpFiles {
    blobs: BlobStore,
    configs: BootConfigs,
    counters: Arc<Counters>,
    tree: Option<Tree>,
    loaders: Option<Loaders>,
}

impl TftpFiles {
    /// The boot images of this store, and configurations for nodes.
    #[must_use]
    pub fn new(blobs: BlobStore, configs: BootConfigs, counters: Arc<Counters>) -> Self {
        TftpFiles {
            blobs,
            configs,
            counters,
            tree: None,
            loaders: None,
        }
    }

    /// The files of this tree, too.
    #[must_use]
    pub fn with_tree(mut self, tree: Option<Tree>) -> Self {
        self.tree = tree;
        self
    }

    /// These loaders, under `ipxe/`.
    #[must_use]
    pub fn with_loaders(mut self, loaders: Loaders) -> Self {
        self.loaders = Some(loaders);
        self
    }

    /// The loader of this name, or the tree's file; may wait for a disk.
    fn find(&self, name: &str) -> Result<Source, Refusal> {
        let loader = name.strip_prefix(LOADERS).zip(self.loaders.as_ref());
        let found = loader.map_or(Err(Refusal::NotFound), |(name, all)| all.find(name));
        match (&self.tree, found) {
            (Some(tree), Err(Refusal::NotFound)) => tree.find(name),
            (_, found) => found,
        }
    }

    fn blob(&self, digest: Digest, peer: SocketAddr) -> Result<Source, Refusal> {
        match self.blobs.get(digest) {
            Ok(blob) => Ok(Source::disk(Arc::new(blob.file), 0, blob.size)),
            Err(problem) => {
                self.counters.blobs_refused.add(1);
                error!(%peer, "blob not served: {}", chain(&problem));
                let missing = matches!(problem, BlobError::Missing { .. });
                Err(if missing {
                    Refusal::NotFound
                } else {
                    Refusal::Unreadable
                })
            }
        }
    }

    /// A range of the boot image's file.
    fn part(&self, digest: Digest, part: Part, peer: SocketAddr) -> Result<Source, Refusal> {
        let whole = self.blob(digest, peer)?;
        let parts = self.configs.boot_files.parts(digest).map_err(|problem| {
            error!(%peer, "no part of {digest}: {}", chain(&problem));
            Refusal::NotFound
        })?;
        let Section { offset, size, .. } = parts.part(part);
        Ok(whole.section(offset, size))
    }

    /// The configuration of whoever is meant, else the tree's file of that name.
    fn config(&self, asked: Asked, name: &str, peer: SocketAddr) -> Result<Source, Refusal> {
        match self.configs.of(asked, peer)? {
            Some(text) => Ok(Source::memory(text.into_bytes().into())),
            None => self.find(name),
        }
    }
}

impl Files for TftpFiles {
    fn open(&self, name: &str, peer: SocketAddr) -> Result<Source, Refusal> {
        if let Some(digest) = image(name) {
            return self.blob(digest, peer);
        }
        match Name::parse(name) {
            Some(Name::Part(digest, part)) => self.part(digest, part, peer),
            Some(Name::OfCard(mac)) => self.config(Asked::Card(mac), name, peer),
            Some(Name::OfMachine(uuid)) => self.config(Asked::Machine(uuid), name, peer),
            None => self.find(name),
        }
    }

    fn open_now(&self, name: &str, _peer: SocketAddr) -> Option<Result<Source, Refusal>> {
        let looked_up =
            image(name).is_some() || Name::parse(name).is_some() || name.starts_with(LOADERS);
        match &self.tree {
            _ if looked_up => None,
            Some(tree) => tree.find_now(name),
            None => Some(Err(Refusal::NotFound)),
        }
    }
}

/// The boot image that a name means.
fn image(name: &str) -> Option<Digest> {
    let digest = name.strip_prefix("boot/")?.strip_suffix(".efi")?;
    digest.parse().ok()
}

/// Whether a name is that of a boot image, or of a part of one.
fn is_boot_image(name: &str) -> bool {
    image(name).is_some() || matches!(Name::parse(name), Some(Name::Part(..)))
}

/// Tells what TFTP does.
struct Teller {
    presence: Presence,
}

impl Observer for Teller {
    fn observe(&self, event: &Event<'_>) {
        let Event { peer, file, stage } = event;
        match stage {
            Stage::Refused(refusal) => info!(%peer, file, "TFTP refused: {refusal}"),
            Stage::Started { total } => debug!(%peer, file, total, "TFTP transfer"),
            Stage::Progress { bytes, total } => self.loading(file, *peer, *bytes, *total),
            Stage::Ended {
                bytes,
                total,
                ending,
            } => {
                if *ending == Ending::Finished(Outcome::Completed) && is_boot_image(file) {
                    self.loading(file, *peer, *total, *total);
                    info!(%peer, file, bytes, "TFTP transfer complete");
                } else {
                    debug!(%peer, file, bytes, ?ending, "TFTP transfer ended");
                }
            }
        }
    }
}

impl Teller {
    fn loading(&self, file: &str, peer: SocketAddr, done: u64, total: u64) {
        if let SocketAddr::V4(from) = peer
            && is_boot_image(file)
        {
            self.presence.saw_boot_image(*from.ip(), done, total);
        }
    }
}

/// A TFTP server at `socket`.
///
/// # Errors
/// The socket refuses its options.
pub fn server(
    socket: std::net::UdpSocket,
    files: TftpFiles,
    presence: Presence,
) -> anyhow::Result<Server> {
    let observer = Teller { presence };
    Server::new(vec![socket], files, observer, Config::default()).context("TFTP")
}

/// Copies TFTP's own numbers among the others.
pub fn count(counters: &Counters, tftp: &crate::tftp::Counters) {
    let counts = tftp.read();
    counters.tftp_transfers.set(counts.started);
    counters.tftp_completed.set(counts.completed);
    counters.tftp_aborted.set(counts.aborted + counts.failed);
    counters.tftp_refused.set(counts.refused);
    counters.tftp_over_limit.set(counts.over_limit);
    counters.tftp_timed_out.set(counts.timed_out);
    counters.tftp_repeated.set(counts.repeated);
    counters.tftp_bytes.set(counts.bytes_sent);
}
