//! The server from outside: its limits, its start and its end.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bootd_protocol::tftp::Limits;
use nix::sys::eventfd::EventFd;

use super::engine::Engine;
use super::helpers::bell;
use super::ports::WellKnown;
use super::{Counters, Files, Observer};
use crate::supervision::Pulse;

/// What the server allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// What one client may ask for, and how long it is waited for.
    pub limits: Limits,
    /// Transfers at the same time.
    pub max_transfers: usize,
    /// Transfers at the same time to one address: a test bed behind one address has hundreds,
    /// and yet nobody can take all the seats.
    pub max_per_address: usize,
    /// Progress is told every so many bytes.
    pub progress_every: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            limits: Limits::default(),
            max_transfers: 4_096,
            max_per_address: 1_024,
            progress_every: 1 << 20,
        }
    }
}

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum TftpError {
    /// A socket that was handed in is unusable.
    #[error("the TFTP socket at {address} cannot be used")]
    Socket {
        /// Its address; unspecified if even that cannot be had.
        address: SocketAddr,
        /// The kernel's word.
        #[source]
        source: io::Error,
    },
    /// It cannot begin, or not go on: no further socket, thread or event can be had.
    #[error("TFTP cannot be served")]
    Failed(#[source] io::Error),
}

/// A TFTP server over given sockets.
pub struct Server {
    sockets: Vec<WellKnown>,
    shared: Arc<Shared>,
}

/// What does not change while it runs.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) files: Arc<dyn Files>,
    pub(super) observer: Box<dyn Observer>,
    pub(super) counters: Arc<Counters>,
    pub(super) bell: Arc<EventFd>,
    pub(super) stop: AtomicBool,
}

/// Ends a server.
#[derive(Clone)]
pub struct Stopper(Arc<Shared>);

impl Stopper {
    /// Has [`Server::run`] return soon; its transfers end without a word.
    pub fn stop(&self) {
        self.0.stop.store(true, Relaxed);
        // Full only if it has been ringing for 2^64 times.
        let _ = self.0.bell.write(1);
    }
}

impl Server {
    /// A server that will listen at `sockets`, bound UDP sockets, IPv4 or IPv6.
    ///
    /// # Errors
    /// [`TftpError::Socket`] if one of them refuses its options; [`TftpError::Failed`].
    pub fn new(
        sockets: Vec<UdpSocket>,
        files: impl Files,
        observer: impl Observer,
        config: Config,
    ) -> Result<Self, TftpError> {
        let prepared = sockets.into_iter().map(|socket| {
            let unknown = SocketAddr::from(([0; 4], 0));
            let address = socket.local_addr().unwrap_or(unknown);
            WellKnown::new(socket).map_err(|source| TftpError::Socket { address, source })
        });
        Ok(Server {
            sockets: prepared.collect::<Result<_, _>>()?,
            shared: Arc::new(Shared {
                config,
                files: Arc::new(files),
                observer: Box::new(observer),
                counters: Arc::default(),
                bell: bell().map_err(TftpError::Failed)?,
                stop: AtomicBool::new(false),
            }),
        })
    }

    /// The server's counters; they outlive it.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// What ends it.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.shared))
    }

    /// Serves until it is stopped, on this thread and a few helpers; `pulse` is its sign of life.
    ///
    /// # Errors
    /// [`TftpError::Failed`].
    pub fn run(self, pulse: &Pulse) -> Result<(), TftpError> {
        let engine = Engine::new(self.sockets, self.shared).map_err(TftpError::Failed)?;
        engine.run(pulse).map_err(TftpError::Failed)
    }
}
