mod client;
mod hostile;
mod serving;
mod text;
mod unhappy;

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bootd_protocol::tftp::Refusal;
use tokio::time::{Duration, sleep, timeout};

use super::*;
use crate::supervision::Life;

/// More than anything here takes: a bound, never a wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// Files by name.
#[derive(Default)]
struct Shelf(HashMap<String, Result<Source, Refusal>>);

impl Shelf {
    fn with(mut self, name: &str, file: Result<Source, Refusal>) -> Self {
        self.0.insert(name.to_owned(), file);
        self
    }

    fn memory(self, name: &str, bytes: &[u8]) -> Self {
        self.with(name, Ok(Source::memory(bytes.into())))
    }
}

impl Files for Shelf {
    fn open(&self, name: &str, _peer: SocketAddr) -> Result<Source, Refusal> {
        self.0.get(name).cloned().unwrap_or(Err(Refusal::NotFound))
    }
}

/// Every event, without the peer: file and stage.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<(String, Stage)>>>);

impl Diary {
    fn stages(&self) -> Vec<(String, Stage)> {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for Diary {
    fn observe(&self, event: &Event<'_>) {
        let entry = (event.file.to_owned(), event.stage.clone());
        self.0.lock().unwrap().push(entry);
    }
}

/// A server on a port of its own; ends with the test.
struct Running {
    address: SocketAddr,
    counters: Arc<Counters>,
    diary: Diary,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(shelf: impl Files, config: Config) -> Self {
        Self::start_at("127.0.0.1:0", shelf, config)
    }

    fn start_at(address: &str, shelf: impl Files, config: Config) -> Self {
        let socket = StdSocket::bind(address).unwrap();
        let address = socket.local_addr().unwrap();
        let diary = Diary::default();
        let server = Server::new(vec![socket], shelf, diary.clone(), config).unwrap();
        let counters = server.counters();
        let stopper = server.stopper();
        let thread = Some(std::thread::spawn(move || {
            server.run(&Life::default().part("tftp")).unwrap()
        }));
        Running {
            address,
            counters,
            diary,
            stopper,
            thread,
        }
    }

    /// Waits until the counters are as `wanted` says.
    async fn until(&self, wanted: impl Fn(&Counts) -> bool) -> Counts {
        let look = async {
            loop {
                let counts = self.counters.read();
                if wanted(&counts) {
                    return counts;
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        match timeout(PATIENCE, look).await {
            Ok(counts) => counts,
            Err(_) => panic!("never came: {:?}", self.counters.read()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

/// Bytes that differ from place to place.
fn pattern(len: usize) -> Vec<u8> {
    (0_u32..)
        .map(|index| index.wrapping_mul(0x9e37_79b9).to_be_bytes()[0])
        .take(len)
        .collect()
}
