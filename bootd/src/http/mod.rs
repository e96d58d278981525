//! HTTP: manifests, blobs, the parts of boot images that iPXE wants, its scripts, and numbers.
//!
//! | path | what |
//! |---|---|
//! | `/manifest/<sha256>` | a manifest in force |
//! | `/blob/<sha256>` | a blob, checked |
//! | `/boot/<sha256>.efi` | a boot image, for UEFI HTTP boot |
//! | `/boot/<sha256>/linux`, `/initrd` | a section of a boot image |
//! | `/ipxe?mac=…` | the script for a machine |
//! | `/metrics` | numbers, as Prometheus reads them |
//!
//! GET and HEAD; ranges, conditions and entity tags for whatever a digest names. The server is
//! our own because files go out by `sendfile`, which no HTTP library does (`docs/decisions/0014`):
//!
//! | module | what it holds |
//! |---|---|
//! | [`request`] | a head read (`httparse`), bounded; pure |
//! | [`reply`], [`range`] | what is answered: conditions, ranges, fields; pure |
//! | [`routes`] | what each path leads to |
//! | [`connection`] | one connection from its first byte to its last, and how long each may take |
//! | [`transmit`] | bytes out |
//! | [`crowd`] | who is connected, and who goes when there is no room |
//! | [`metrics`] | `/metrics` |

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::blobs::BlobStore;
use nix::sys::socket::{Backlog, listen};
use tokio::net::TcpStream;
use tracing::{debug, warn};

use crate::boot_files::BootFiles;
use crate::counters::Counters;
use crate::desired::Desired;
use crate::locations::Locations;
use crate::presence::Presence;
use crate::supervision::Pulse;

pub mod connection;
mod crowd;
pub mod deltas;
pub mod metrics;
pub mod range;
pub mod reply;
pub mod request;
mod routes;
#[cfg(test)]
mod tests;
mod transmit;

use connection::Connection;
pub use connection::Limits;
use crowd::Crowd;
pub use deltas::Deltas;
pub use routes::Turns;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// Threads that hash blobs and write scripts.
const HELPERS: usize = 4;
/// How long to wait when the machine has no socket for one more connection.
const OUT_OF_FILES: Duration = Duration::from_millis(50);
/// Between two updates of what is counted in [`Crowd`].
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// What is said to a newcomer when everybody is busy.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\n\
                      Connection: close\r\n\r\n";

/// What requests are answered from.
pub struct Http {
    /// The catalog in force.
    pub desired: Desired,
    /// The blobs.
    pub blobs: BlobStore,
    /// Blobs that are being checked.
    pub turns: Turns,
    /// Boot images and scripts.
    pub boot_files: BootFiles,
    /// Where it is told who fetches a boot image.
    pub presence: Presence,
    /// Where machines were when DHCP heard of them.
    pub locations: Locations,
    /// Differences of manifests that were asked for last.
    pub deltas: Deltas,
    /// Its numbers.
    pub counters: Arc<Counters>,
    /// Its port, for scripts.
    pub port: u16,
}

/// Serves for ever, on a thread of its own: a file that is not in memory stops nobody but HTTP.
///
/// # Errors
/// The socket cannot be used.
pub fn serve(listener: TcpListener, http: Http, limits: Limits, pulse: Pulse) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(HELPERS)
        .build()?;
    runtime.block_on(accept(listener, Arc::new(http), limits, pulse))
}

async fn accept(
    listener: TcpListener,
    http: Arc<Http>,
    limits: Limits,
    pulse: Pulse,
) -> io::Result<()> {
    listen(&listener, Backlog::new(BACKLOG)?)?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let crowd = Crowd::new(limits.connections);
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    let mut out_of_files = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = housekeeping.tick() => {
                pulse.beat();
                let (connections, busy) = crowd.count();
                http.counters.now.http_connections.set(connections);
                http.counters.now.http_transfers.set(busy);
                continue;
            }
        };
        match accepted {
            Ok((stream, peer)) => {
                out_of_files = false;
                welcome(stream, peer, &http, limits, &crowd);
            }
            Err(error) if is_of_one_connection(&error) => debug!("HTTP accept: {error}"),
            Err(error) => {
                if !out_of_files {
                    warn!("HTTP takes no connections for now: {error}");
                }
                out_of_files = true;
                crowd.send_away(Instant::now());
                tokio::time::sleep(OUT_OF_FILES).await;
            }
        }
    }
}

/// Errors of accept(2) that say something of the connection and not of us.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn welcome(stream: TcpStream, peer: SocketAddr, http: &Arc<Http>, limits: Limits, crowd: &Crowd) {
    let Some(place) = crowd.admit(Instant::now()) else {
        http.counters.http_turned_away.add(1);
        debug!(%peer, "HTTP: too many connections");
        if let Ok(stream) = stream.into_std() {
            // There is room for it in the buffer of a new connection.
            let _ = io::Write::write(&mut &stream, BUSY);
        }
        return;
    };
    // Answers are written whole, so there is nothing to wait for.
    let _ = stream.set_nodelay(true);
    let connection = Connection {
        stream,
        peer,
        http: Arc::clone(http),
        limits,
        place,
        buffer: Vec::new(),
    };
    tokio::spawn(connection.run());
}
