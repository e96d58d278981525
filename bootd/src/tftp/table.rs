//! Which clients have a transfer, through which port of ours.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};

use super::session::Session;

/// A place in the table. It is never taken for that of a later client in the same slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Seat {
    slot: usize,
    age: u64,
}

/// Clients whose turns are counted apart from each other.
const TURNS: usize = 1_024;

/// All sessions under way.
pub(super) struct Table {
    max: usize,
    max_per_address: usize,
    slots: Vec<Option<(u64, Session)>>,
    free: Vec<usize>,
    by_client: HashMap<(SocketAddr, usize), Seat>,
    per_address: HashMap<IpAddr, usize>,
    turns: Box<[u8; TURNS]>,
    hasher: RandomState,
    age: u64,
}

impl Table {
    pub(super) fn new(max: usize, max_per_address: usize) -> Self {
        Table {
            max,
            max_per_address,
            slots: Vec::new(),
            free: Vec::new(),
            by_client: HashMap::new(),
            per_address: HashMap::new(),
            turns: Box::new([0; TURNS]),
            hasher: RandomState::new(),
            age: 0,
        }
    }

    /// Whether nobody is served.
    pub(super) fn is_empty(&self) -> bool {
        self.by_client.is_empty()
    }

    /// Whether there is room for a further session of this client's address.
    pub(super) fn has_room(&self, address: IpAddr) -> bool {
        let here = self.per_address.get(&address).copied().unwrap_or(0);
        self.by_client.len() < self.max && here < self.max_per_address
    }

    /// The port of ours, of `count` from `first`, that is to serve a new session of `peer`. One
    /// client port meets another port of ours each time: what is late from one session cannot be
    /// taken for part of the next (RFC 1350 §4). None if it has sessions at all of them.
    pub(super) fn next_port(
        &mut self,
        peer: SocketAddr,
        first: usize,
        count: usize,
    ) -> Option<usize> {
        let hash = usize::try_from(self.hasher.hash_one(peer) % 1_024).unwrap_or(0);
        let turn = &mut self.turns[hash];
        for _ in 0..count {
            *turn = turn.wrapping_add(1);
            let port = first + usize::from(*turn) % count;
            if !self.by_client.contains_key(&(peer, port)) {
                return Some(port);
            }
        }
        None
    }

    /// Seats a session.
    pub(super) fn insert(&mut self, session: Session) -> Seat {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.age += 1;
        let seat = Seat {
            slot,
            age: self.age,
        };
        self.by_client.insert((session.peer, session.port), seat);
        *self.per_address.entry(session.peer.ip()).or_insert(0) += 1;
        self.slots[slot] = Some((self.age, session));
        seat
    }

    pub(super) fn get(&mut self, seat: Seat) -> Option<&mut Session> {
        let (age, session) = self.slots.get_mut(seat.slot)?.as_mut()?;
        (*age == seat.age).then_some(session)
    }

    /// The session that a datagram of `peer` at `port` belongs to.
    pub(super) fn at(&self, peer: SocketAddr, port: usize) -> Option<Seat> {
        self.by_client.get(&(peer, port)).copied()
    }

    /// The session of `peer` with our address `local`, through one of the `ports`.
    pub(super) fn find(
        &self,
        peer: SocketAddr,
        local: SocketAddr,
        ports: std::ops::Range<usize>,
    ) -> Option<Seat> {
        ports.filter_map(|port| self.at(peer, port)).find(|seat| {
            let slot = self.slots.get(seat.slot).and_then(Option::as_ref);
            slot.is_some_and(|(_, session)| session.local == local)
        })
    }

    /// Ends a session.
    pub(super) fn remove(&mut self, seat: Seat) -> Option<Session> {
        self.get(seat)?;
        let (_, session) = self.slots.get_mut(seat.slot)?.take()?;
        self.free.push(seat.slot);
        self.by_client.remove(&(session.peer, session.port));
        let address = session.peer.ip();
        if let Some(count) = self.per_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
        Some(session)
    }

    /// All seats that are taken.
    pub(super) fn seats(&self) -> impl Iterator<Item = Seat> {
        self.by_client.values().copied()
    }
}
