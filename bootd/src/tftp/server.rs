//! The server: its limits, and the task at each well-known port.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bootd_protocol::tftp::{Admission, Limits, admit};
use tokio::task::JoinSet;
use tracing::{error, warn};

use super::listener::{Arrival, Listener, prepare};
use super::session::serve;
use super::table::{Client, Placed, Table};
use super::{Counters, Files, Observer};

/// Longest request that is looked at, bytes: a name, a mode and options fit many times over.
const MAX_REQUEST: usize = 1_024;

/// Pause after the well-known port gave an error, so that a lasting one cannot spin.
const PAUSE: Duration = Duration::from_millis(100);

/// What the server allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// What one client may ask for, and how long it is waited for.
    pub limits: Limits,
    /// Transfers at the same time.
    pub max_transfers: usize,
    /// Transfers at the same time to one address: a test bed behind one address has many.
    pub max_per_address: usize,
    /// Progress is told every so many bytes.
    pub progress_every: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            limits: Limits::default(),
            max_transfers: 2_048,
            max_per_address: 64,
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
    /// A listening task has died; its panic is in the log.
    #[error("a TFTP listening task has ended")]
    Ended,
}

/// A TFTP server over given sockets.
pub struct Server {
    sockets: Vec<(SocketAddr, StdSocket)>,
    shared: Arc<Shared>,
}

/// What all tasks share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) files: Arc<dyn Files>,
    pub(super) observer: Box<dyn Observer>,
    pub(super) counters: Arc<Counters>,
    origin: Instant,
}

impl Shared {
    /// Time since the server's start: the machines' clock.
    pub(super) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// A time of the machines on tokio's clock.
    pub(super) fn instant(&self, at: Duration) -> tokio::time::Instant {
        (self.origin + at).into()
    }
}

impl Server {
    /// A server that will listen at `sockets`, bound UDP sockets, IPv4 or IPv6.
    ///
    /// # Errors
    /// [`TftpError::Socket`] if one of them refuses its options.
    pub fn new(
        sockets: Vec<StdSocket>,
        files: impl Files,
        observer: impl Observer,
        config: Config,
    ) -> Result<Self, TftpError> {
        let prepared = sockets.into_iter().map(|socket| match prepare(&socket) {
            Ok(address) => Ok((address, socket)),
            Err(source) => Err(socket_error(SocketAddr::from(([0; 4], 0)), source)),
        });
        Ok(Server {
            sockets: prepared.collect::<Result<_, _>>()?,
            shared: Arc::new(Shared {
                config,
                files: Arc::new(files),
                observer: Box::new(observer),
                counters: Arc::default(),
                origin: Instant::now(),
            }),
        })
    }

    /// The server's counters; they outlive it.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// Serves until the future is dropped, which ends every transfer. Needs a tokio runtime
    /// with I/O and time.
    ///
    /// # Errors
    /// [`TftpError`] if the server cannot listen, or cannot go on.
    pub async fn run(self) -> Result<Infallible, TftpError> {
        let config = &self.shared.config;
        let table = Arc::new(Table::new(config.max_transfers, config.max_per_address));
        let mut listeners = JoinSet::new();
        for (address, socket) in self.sockets {
            let listener = Listener::new(socket).map_err(|source| socket_error(address, source))?;
            let (shared, table) = (Arc::clone(&self.shared), Arc::clone(&table));
            listeners.spawn(listen(listener, shared, table));
        }
        if let Some(Err(panic)) = listeners.join_next().await {
            error!(%panic, "a TFTP listening task has died");
        }
        Err(TftpError::Ended)
    }
}

fn socket_error(address: SocketAddr, source: io::Error) -> TftpError {
    TftpError::Socket { address, source }
}

/// Takes requests for ever. The sessions live and die with this task.
async fn listen(listener: Listener, shared: Arc<Shared>, table: Arc<Table>) {
    let mut sessions = JoinSet::new();
    let mut buffer = [0; MAX_REQUEST];
    loop {
        tokio::select! {
            arrival = listener.receive(&mut buffer) => match arrival {
                Ok(arrival) => dispatch(&arrival, &buffer, &shared, &table, &mut sessions),
                Err(error) => {
                    warn!(%error, "TFTP requests cannot be received");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(ended) = sessions.join_next() => {
                if let Err(panic) = ended {
                    error!(%panic, "a TFTP transfer's task has died");
                }
            }
        }
    }
}

fn dispatch(
    arrival: &Arrival,
    buffer: &[u8],
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    sessions: &mut JoinSet<()>,
) {
    let datagram = &buffer[..arrival.len];
    if matches!(admit(datagram), Admission::Ignore(_)) {
        return Counters::add(&shared.counters.ignored);
    }
    let client = Client {
        peer: arrival.peer,
        local: arrival.local,
    };
    match table.place(client, datagram) {
        Placed::Seat(seat) => {
            sessions.spawn(serve(seat, datagram.to_vec(), Arc::clone(shared)));
        }
        Placed::Forwarded => {}
        Placed::OverLimit => Counters::add(&shared.counters.over_limit),
    }
}
