//! Leases, and the book that sees to it that no address is given twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::boot_choice::Place;
use crate::identity::Mac;

/// What became of an address; one for each address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub ip: Ipv4Addr,
    /// The client that has or had it, or that found it in use.
    pub mac: Mac,
    /// The name that the client was given.
    pub hostname: Option<String>,
    /// What became of it.
    pub state: LeaseState,
    /// Until when that holds, since the origin of `now`; [`Duration::MAX`] is for ever.
    pub until: Duration,
    /// Where the client was.
    pub place: Place,
}

/// What became of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeaseState {
    /// The client has it, until the lease ends.
    Bound,
    /// The client gave it back; `until` is when.
    Released,
    /// Somebody else was found to use it; nobody gets it until then.
    Declined,
}

impl Lease {
    /// Whether the address may not be given to anyone but, if bound, its holder.
    #[must_use]
    pub fn is_live(&self, now: Duration) -> bool {
        self.state != LeaseState::Released && now < self.until
    }
}

/// For whom an address is kept, and how firmly.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promise {
    /// To whom.
    pub(super) mac: Mac,
    /// Until when.
    pub(super) until: Duration,
    /// Whether it is a node: strangers' promises give way to nodes'.
    pub(super) known: bool,
}

/// Who has which address, and to whom which is promised.
#[derive(Debug, Default)]
pub(super) struct Book {
    leases: BTreeMap<Ipv4Addr, Lease>,
    /// Each [`Lease::mac`] with its addresses.
    of: BTreeSet<(Mac, Ipv4Addr)>,
    /// Offers not yet taken up; one for each client.
    promises: BTreeMap<Ipv4Addr, Promise>,
    promised_to: BTreeMap<Mac, Ipv4Addr>,
}

impl Book {
    /// Takes a lease in the place of what was known of its address.
    pub(super) fn enter(&mut self, lease: Lease) {
        self.withdraw(lease.mac);
        if let Some(old) = self.leases.remove(&lease.ip) {
            self.of.remove(&(old.mac, old.ip));
        }
        self.of.insert((lease.mac, lease.ip));
        self.leases.insert(lease.ip, lease);
    }

    pub(super) fn lease(&self, ip: Ipv4Addr) -> Option<&Lease> {
        self.leases.get(&ip)
    }

    /// What `mac` has or had, declined addresses left out.
    pub(super) fn history(&self, mac: Mac) -> impl Iterator<Item = &Lease> {
        let all = (mac, Ipv4Addr::UNSPECIFIED)..=(mac, Ipv4Addr::BROADCAST);
        let addresses = self.of.range(all);
        addresses
            .filter_map(|(_, ip)| self.leases.get(ip))
            .filter(|lease| lease.state != LeaseState::Declined)
    }

    /// Whether `mac` may be given `ip` as far as others are concerned.
    pub(super) fn is_free_for(&self, ip: Ipv4Addr, mac: Mac, now: Duration) -> bool {
        let leased = self.leases.get(&ip).is_some_and(|lease| {
            let own = lease.mac == mac && lease.state == LeaseState::Bound;
            lease.is_live(now) && !own
        });
        !leased && self.promise_to_other(ip, mac, now).is_none()
    }

    /// Whether nothing but a promise to a stranger keeps `ip` from `mac`.
    pub(super) fn is_only_promised_to_stranger(
        &self,
        ip: Ipv4Addr,
        mac: Mac,
        now: Duration,
    ) -> bool {
        let leased = self.leases.get(&ip).is_some_and(|it| it.is_live(now));
        let promise = self.promise_to_other(ip, mac, now);
        !leased && promise.is_some_and(|promise| !promise.known)
    }

    fn promise_to_other(&self, ip: Ipv4Addr, mac: Mac, now: Duration) -> Option<&Promise> {
        let promise = self.promises.get(&ip)?;
        (promise.mac != mac && now < promise.until).then_some(promise)
    }

    /// How many addresses from the first to the last of a pool are leased or kept back.
    pub(super) fn used(&self, pool: RangeInclusive<Ipv4Addr>, now: Duration) -> u32 {
        let live = self.leases.range(pool).filter(|(_, it)| it.is_live(now));
        u32::try_from(live.count()).unwrap_or(u32::MAX)
    }

    /// How many leases there are, of any state.
    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    /// The address on offer to `mac`.
    pub(super) fn promised(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.promised_to.get(&mac).copied()
    }

    /// Keeps `ip` for a client for a while, in the place of an earlier promise to it. False if
    /// there are `most` promises to others already; a node's takes the place of a stranger's.
    pub(super) fn promise(&mut self, ip: Ipv4Addr, promise: Promise, most: usize) -> bool {
        self.withdraw(promise.mac);
        if self.promises.len() >= most && !(promise.known && self.drop_stranger()) {
            return false;
        }
        if let Some(old) = self.promises.insert(ip, promise) {
            self.promised_to.remove(&old.mac);
        }
        self.promised_to.insert(promise.mac, ip);
        true
    }

    /// Takes back one promise to a stranger, if there is one.
    fn drop_stranger(&mut self) -> bool {
        let stranger = self.promises.values().find(|it| !it.known).map(|it| it.mac);
        stranger.map(|mac| self.withdraw(mac)).is_some()
    }

    /// Takes back what was promised to `mac`.
    pub(super) fn withdraw(&mut self, mac: Mac) {
        if let Some(ip) = self.promised_to.remove(&mac) {
            self.promises.remove(&ip);
        }
    }

    /// Drops promises that nobody took up in time.
    pub(super) fn sweep(&mut self, now: Duration) {
        self.promises.retain(|_, promise| now < promise.until);
        let promises = &self.promises;
        self.promised_to.retain(|_, ip| promises.contains_key(ip));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const IP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 5);
    const S: Duration = Duration::from_secs(1);

    fn lease(state: LeaseState) -> Lease {
        Lease {
            ip: IP,
            mac: A,
            hostname: None,
            state,
            until: S,
            place: Place::default(),
        }
    }

    fn promise(mac: Mac, until: Duration, known: bool) -> Promise {
        Promise { mac, until, known }
    }

    #[test]
    fn who_may_have_an_address() {
        for (state, now, holder, other) in [
            (LeaseState::Bound, Duration::ZERO, true, false),
            (LeaseState::Bound, S, true, true),
            (LeaseState::Released, Duration::ZERO, true, true),
            (LeaseState::Declined, Duration::ZERO, false, false),
            (LeaseState::Declined, S, true, true),
        ] {
            let mut book = Book::default();
            book.enter(lease(state));
            let got = (book.is_free_for(IP, A, now), book.is_free_for(IP, B, now));
            assert_eq!(got, (holder, other), "{state:?} at {now:?}");
        }
    }

    #[test]
    fn promises_bind_for_a_while_and_are_bounded() {
        let mut book = Book::default();
        assert!(book.promise(IP, promise(A, S, false), 1));
        assert!(!book.is_free_for(IP, B, Duration::ZERO));
        let other = Ipv4Addr::LOCALHOST;
        assert!(!book.promise(other, promise(B, S, false), 1));
        let again = promise(A, S, false);
        assert!(book.promise(IP, again, 1), "the same again is no second");
        book.sweep(S);
        assert_eq!(book.promised(A), None);
        assert!(book.promise(IP, promise(B, S * 2, false), 1));
    }

    #[test]
    fn strangers_give_way_to_nodes() {
        let mut book = Book::default();
        assert!(book.promise(IP, promise(A, S, false), 1));
        assert!(book.is_only_promised_to_stranger(IP, B, Duration::ZERO));
        let other = Ipv4Addr::LOCALHOST;
        assert!(book.promise(other, promise(B, S, true), 1));
        assert_eq!((book.promised(A), book.promised(B)), (None, Some(other)));
        assert!(!book.promise(IP, promise(A, S, true), 1));
        assert!(!book.is_only_promised_to_stranger(other, A, Duration::ZERO));
    }

    #[test]
    fn history_follows_the_address_to_its_next_holder() {
        let mut book = Book::default();
        book.enter(lease(LeaseState::Bound));
        book.enter(Lease {
            mac: B,
            ..lease(LeaseState::Bound)
        });
        assert_eq!(book.history(A).count(), 0);
        assert_eq!(book.history(B).count(), 1);
        book.enter(lease(LeaseState::Declined));
        assert_eq!(book.history(A).chain(book.history(B)).count(), 0);
    }
}
