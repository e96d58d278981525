//! The two servers, each on a thread of its own.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_tftp::packet;
use async_tftp::server::{Handler, TftpServerBuilder};
use bootd::supervision::Life;
use bootd::tftp::{Config, Files, Server, Source};
use bootd_protocol::tftp::Refusal;
use futures_lite::future;
use futures_lite::io::{Cursor, Sink};
use tokio::sync::oneshot;

/// Which server.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Ours,
    /// async-tftp with this retransmission time.
    Theirs(Duration),
}

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Kind {
    pub(crate) fn start(self, file_len: usize) -> Running {
        let file: Arc<[u8]> = vec![0x5a; file_len].into();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || match self {
            Kind::Ours => serve_ours(socket, file, stopped),
            Kind::Theirs(timer) => serve_theirs(socket, file, timer, stopped),
        });
        Running {
            address,
            stop,
            thread,
        }
    }
}

impl Running {
    pub(crate) fn stop(self) {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

struct OneFile(Arc<[u8]>);

impl Files for OneFile {
    fn open(&self, _name: &str, _peer: SocketAddr) -> Result<Source, Refusal> {
        Ok(Source::memory(Arc::clone(&self.0)))
    }
}

fn serve_ours(socket: UdpSocket, file: Arc<[u8]>, stopped: oneshot::Receiver<()>) {
    let config = Config {
        max_per_address: 2_000,
        ..Config::default()
    };
    let server = Server::new(vec![socket], OneFile(file), (), config).unwrap();
    let stopper = server.stopper();
    let waiter = std::thread::spawn(move || {
        stopped.blocking_recv().unwrap();
        stopper.stop();
    });
    server.run(&Life::default().part("tftp")).unwrap();
    waiter.join().unwrap();
}

impl Handler for OneFile {
    type Reader = Cursor<Arc<[u8]>>;
    type Writer = Sink;

    async fn read_req_open(
        &mut self,
        _client: &SocketAddr,
        _path: &Path,
    ) -> Result<(Self::Reader, Option<u64>), packet::Error> {
        let size = u64::try_from(self.0.len()).ok();
        Ok((Cursor::new(Arc::clone(&self.0)), size))
    }

    async fn write_req_open(
        &mut self,
        _client: &SocketAddr,
        _path: &Path,
        _size: Option<u64>,
    ) -> Result<Self::Writer, packet::Error> {
        Err(packet::Error::PermissionDenied)
    }
}

fn serve_theirs(
    socket: UdpSocket,
    file: Arc<[u8]>,
    timer: Duration,
    stopped: oneshot::Receiver<()>,
) {
    // Its own reactor on its own thread: kinder to it than a helper thread for the reactor.
    async_io::block_on(async {
        let builder = TftpServerBuilder::with_handler(OneFile(file)).timeout(timer);
        let server = builder.std_socket(socket).unwrap().build().await.unwrap();
        let serve = async {
            server.serve().await.unwrap();
        };
        let stop = async {
            stopped.await.unwrap();
        };
        future::or(serve, stop).await;
    });
}
