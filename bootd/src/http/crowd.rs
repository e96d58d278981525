//! Who is connected, and who has to go when there is no room: whoever has kept us waiting for a
//! request the longest, then whoever has not taken a byte for a while.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How long a client may take no byte before a newcomer may have its place.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everybody who is connected. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Crowd(Arc<Mutex<Places>>);

/// One connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Crowd,
    id: u64,
    leave: Arc<Notify>,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// Not for its client.
    No,
    /// For the next request; the number tells since when, in order.
    Request(u64),
    /// For the client to take bytes.
    Room(u64),
}

#[derive(Debug, Default)]
struct Places {
    limit: usize,
    /// The next number: of a place, or of a wait.
    next: u64,
    taken: HashMap<u64, (Waits, Arc<Notify>)>,
    idle: BTreeMap<u64, u64>,
    stalled: BTreeMap<u64, (Instant, u64)>,
}

impl Crowd {
    /// Room for `limit` connections.
    pub(super) fn new(limit: usize) -> Self {
        Crowd(Arc::new(Mutex::new(Places {
            limit,
            ..Places::default()
        })))
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a newcomer, who owes a request from now on; none if everybody is busy.
    pub(super) fn admit(&self, now: Instant) -> Option<Place> {
        let leave = Arc::new(Notify::new());
        let id = {
            let mut places = self.places();
            if places.taken.len() >= places.limit && !places.send_away(now) {
                return None;
            }
            let id = places.number();
            places.taken.insert(id, (Waits::No, Arc::clone(&leave)));
            places.set(id, Waits::Request(id), now);
            id
        };
        let crowd = self.clone();
        Some(Place { crowd, id, leave })
    }

    /// Makes room; whether there was anybody who could go.
    pub(super) fn send_away(&self, now: Instant) -> bool {
        self.places().send_away(now)
    }

    /// How many are connected, and how many of them are being answered.
    pub(super) fn count(&self) -> (usize, usize) {
        let places = self.places();
        let all = places.taken.len();
        (all, all - places.idle.len())
    }
}

impl Places {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Takes the place of a connection that goes out of all lists but `taken`.
    fn set(&mut self, id: u64, waits: Waits, now: Instant) {
        let Some((held, _)) = self.taken.get_mut(&id) else {
            return;
        };
        match std::mem::replace(held, waits) {
            Waits::No => {}
            Waits::Request(number) => drop(self.idle.remove(&number)),
            Waits::Room(number) => drop(self.stalled.remove(&number)),
        }
        match waits {
            Waits::No => {}
            Waits::Request(number) => drop(self.idle.insert(number, id)),
            Waits::Room(number) => drop(self.stalled.insert(number, (now, id))),
        }
    }

    fn send_away(&mut self, now: Instant) -> bool {
        let idle = self.idle.first_key_value().map(|(_, id)| *id);
        let stalled = || {
            let (_, (since, id)) = self.stalled.first_key_value()?;
            (now.saturating_duration_since(*since) >= PATIENCE).then_some(*id)
        };
        let Some(id) = idle.or_else(stalled) else {
            return false;
        };
        self.set(id, Waits::No, now);
        if let Some((_, leave)) = self.taken.remove(&id) {
            leave.notify_one();
        }
        true
    }
}

impl Place {
    fn set(&self, waits: impl FnOnce(u64) -> Waits) {
        let mut places = self.crowd.places();
        let number = places.number();
        places.set(self.id, waits(number), Instant::now());
    }

    /// The client owes a request.
    pub(super) fn waits_for_request(&self) {
        self.set(Waits::Request);
    }

    /// The client has to take bytes before there is more to do.
    pub(super) fn waits_for_room(&self) {
        self.set(Waits::Room);
    }

    /// The client is being served.
    pub(super) fn is_served(&self) {
        self.set(|_| Waits::No);
    }

    /// Comes back when this connection has to make room.
    pub(super) async fn must_leave(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.crowd.places();
        places.set(self.id, Waits::No, Instant::now());
        places.taken.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn must_leave(place: &Place) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        pin!(place.must_leave()).poll(&mut context) == Poll::Ready(())
    }

    #[test]
    fn the_oldest_idle_one_goes_then_who_takes_nothing() {
        let crowd = Crowd::new(2);
        let now = Instant::now();
        let first = crowd.admit(now).unwrap();
        let second = crowd.admit(now).unwrap();
        assert_eq!(crowd.count(), (2, 0));
        first.is_served();
        first.waits_for_request();
        assert_eq!(crowd.count(), (2, 0));

        // The second has waited longer than the first, who has just been served.
        let third = crowd.admit(now).unwrap();
        assert_eq!((must_leave(&first), must_leave(&second)), (false, true));
        drop(second);
        assert_eq!(crowd.count(), (2, 0));

        first.is_served();
        third.waits_for_room();
        assert_eq!(crowd.count(), (2, 2));
        assert!(crowd.admit(Instant::now()).is_none());
        let fourth = crowd.admit(Instant::now() + PATIENCE).unwrap();
        assert_eq!((must_leave(&first), must_leave(&third)), (false, true));
        // One that was sent away has no say any more.
        third.waits_for_request();
        drop(third);
        fourth.is_served();
        assert!(crowd.admit(now + PATIENCE).is_none());
        drop((first, fourth));
        assert_eq!(crowd.count(), (0, 0));
    }
}
