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

/// Serves `boot/<sha256>.efi`.
#[derive(Debug, Clone)]
pub struct TftpFiles {
    blobs: BlobStore,
    counters: Arc<Counters>,
}

impl TftpFiles {
    /// The boot images of this store.
    #[must_use]
    pub fn new(blobs: BlobStore, counters: Arc<Counters>) -> Self {
        TftpFiles { blobs, counters }
    }
}

impl Files for TftpFiles {
    fn open(&self, name: &str, peer: SocketAddr) -> Result<Source, Refusal> {
        let digest: Option<Digest> = name
            .strip_prefix("boot/")
            .and_then(|it| it.strip_suffix(".efi"))
            .and_then(|it| it.parse().ok());
        let digest = digest.ok_or(Refusal::NotFound)?;
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
            Stage::Progress { bytes, total } => self.loading(*peer, *bytes, *total),
            Stage::Ended {
                bytes,
                total,
                ending,
            } => {
                if *ending == Ending::Finished(Outcome::Completed) {
                    self.loading(*peer, *total, *total);
                    info!(%peer, file, bytes, "TFTP transfer complete");
                } else {
                    debug!(%peer, file, bytes, ?ending, "TFTP transfer ended");
                }
            }
        }
    }
}

impl Teller {
    fn loading(&self, peer: SocketAddr, done: u64, total: u64) {
        if let SocketAddr::V4(from) = peer {
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
    counters
        .tftp_refused
        .set(counts.refused + counts.over_limit);
    counters.tftp_bytes.set(counts.bytes_sent);
}
