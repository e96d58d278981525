//! Which clients have a transfer, and where their further requests go.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

/// Requests that may wait for one transfer's task; a client that sends more is talking to itself.
const MAILBOX: usize = 4;

/// A client's port, and the address of ours that it asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Client {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

/// All transfers under way, by client.
#[derive(Debug)]
pub(super) struct Table {
    max: usize,
    max_per_address: usize,
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    mailboxes: HashMap<Client, mpsc::Sender<Vec<u8>>>,
    per_address: HashMap<IpAddr, usize>,
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Placed {
    /// The client has no transfer: this is its seat for one.
    Seat(Seat),
    /// It waits for the client's running transfer.
    Forwarded,
    /// There are too many transfers, or too many requests wait.
    OverLimit,
}

/// The right to serve one client; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) client: Client,
    /// Requests of the client that came meanwhile.
    pub(super) mailbox: mpsc::Receiver<Vec<u8>>,
    table: Arc<Table>,
}

impl Table {
    pub(super) fn new(max: usize, max_per_address: usize) -> Self {
        Table {
            max,
            max_per_address,
            rows: Mutex::default(),
        }
    }

    /// Finds a place for a request.
    pub(super) fn place(self: &Arc<Self>, client: Client, request: &[u8]) -> Placed {
        let mut rows = self.rows();
        if let Some(mailbox) = rows.mailboxes.get(&client) {
            return match mailbox.try_send(request.to_vec()) {
                Ok(()) => Placed::Forwarded,
                Err(_) => Placed::OverLimit,
            };
        }
        let address = client.peer.ip();
        let here = rows.per_address.get(&address).copied().unwrap_or(0);
        if rows.mailboxes.len() >= self.max || here >= self.max_per_address {
            return Placed::OverLimit;
        }
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        rows.mailboxes.insert(client, sender);
        rows.per_address.insert(address, here + 1);
        Placed::Seat(Seat {
            client,
            mailbox,
            table: Arc::clone(self),
        })
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Nothing panics while it holds the lock, and every state in between is a valid one.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn remove(&mut self, client: &Client) {
        if self.mailboxes.remove(client).is_none() {
            return;
        }
        let address = client.peer.ip();
        if let Some(count) = self.per_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
    }
}

impl Seat {
    /// The client's next request, or else the end of the seat: no request can fall in between.
    pub(super) fn next_or_leave(&mut self) -> Option<Vec<u8>> {
        let mut rows = self.table.rows();
        let next = self.mailbox.try_recv().ok();
        if next.is_none() {
            rows.remove(&self.client);
            self.mailbox.close();
        }
        next
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // After next_or_leave the client may have a new seat, which is not ours to remove.
        if !self.mailbox.is_closed() {
            self.table.rows().remove(&self.client);
        }
    }
}
