//! The files that TFTP serves: boot images, by digest.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use bootd_protocol::digest::Digest;
use bootd_protocol::tftp::{Outcome, Refusal};
use catalog::blobs::{BlobError, BlobStore};
use tracing::{debug, error, info};

use crate::chain::chain;
use crate::counters::Counters;
use crate::presence::Presence;
use crate::tftp::{Config, Ending, Event, Files, Observer, Server, Source, Stage};
use crate::tftp_tree::Tree;

/// The builds of iPXE that firmware loads first are below this.
const LOADERS: &str = "ipxe/";

/// What TFTP serves: `boot/<sha256>.efi`, then the loaders below `ipxe/`, then the files of a
/// directory tree. The first that has the name wins.
#[derive(Clone)]
pub struct TftpFiles {
    blobs: BlobStore,
    counters: Arc<Counters>,
    tree: Option<Tree>,
    loaders: Option<Tree>,
}

impl TftpFiles {
    /// The boot images of this store.
    #[must_use]
    pub fn new(blobs: BlobStore, counters: Arc<Counters>) -> Self {
        TftpFiles {
            blobs,
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

    /// The loaders of this directory, under `ipxe/`.
    #[must_use]
    pub fn with_loaders(mut self, loaders: Option<Tree>) -> Self {
        self.loaders = loaders;
        self
    }

    /// The tree that has `name`, and its name there.
    fn in_tree<'n>(&self, name: &'n str) -> Option<(&Tree, &'n str)> {
        let loader = name.strip_prefix(LOADERS);
        match (&self.loaders, loader) {
            (Some(loaders), Some(loader)) => Some((loaders, loader)),
            (None, _) | (_, None) => self.tree.as_ref().map(|tree| (tree, name)),
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
}

impl Files for TftpFiles {
    fn open(&self, name: &str, peer: SocketAddr) -> Result<Source, Refusal> {
        if let Some(opened) = self.open_now(name, peer) {
            return opened;
        }
        match (image(name), self.in_tree(name)) {
            (Some(digest), _) => self.blob(digest, peer),
            (None, Some((tree, name))) => tree.find(name),
            (None, None) => Err(Refusal::NotFound),
        }
    }

    fn open_now(&self, name: &str, _peer: SocketAddr) -> Option<Result<Source, Refusal>> {
        match (image(name), self.in_tree(name)) {
            (Some(_), _) => None,
            (None, Some((tree, name))) => tree.find_now(name),
            (None, None) => Some(Err(Refusal::NotFound)),
        }
    }
}

/// The boot image that a name means.
fn image(name: &str) -> Option<Digest> {
    let digest = name.strip_prefix("boot/")?.strip_suffix(".efi")?;
    digest.parse().ok()
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
                if *ending == Ending::Finished(Outcome::Completed) && image(file).is_some() {
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
        if let (SocketAddr::V4(from), Some(_)) = (peer, image(file)) {
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
