//! Leases, and the book that sees to it that no address is given twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

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

#[derive(Debug, Clone, Copy)]
struct Promise {
    mac: Mac,
    until: Duration,
}

/// Who has which address, and to whom which is promised.
#[derive(Debug, Default)]
pub(super) struct Book {
    leases: BTreeMap<Ipv4Addr, Lease>,
    /// Addresses whose [`Lease::mac`] it is.
    of: BTreeMap<Mac, BTreeSet<Ipv4Addr>>,
    /// Offers not yet taken up; one for each client.
    promises: BTreeMap<Ipv4Addr, Promise>,
    promised_to: BTreeMap<Mac, Ipv4Addr>,
}

impl Book {
    /// Takes a lease in the place of what was known of its address.
    pub(super) fn enter(&mut self, lease: Lease) {
        self.withdraw(lease.mac);
        if let Some(old) = self.leases.remove(&lease.ip) {
            self.forget(old.mac, old.ip);
        }
        self.of.entry(lease.mac).or_default().insert(lease.ip);
        self.leases.insert(lease.ip, lease);
    }

    fn forget(&mut self, mac: Mac, ip: Ipv4Addr) {
        if let Some(addresses) = self.of.get_mut(&mac) {
            addresses.remove(&ip);
            if addresses.is_empty() {
                self.of.remove(&mac);
            }
        }
    }

    pub(super) fn lease(&self, ip: Ipv4Addr) -> Option<&Lease> {
        self.leases.get(&ip)
    }

    /// What `mac` has or had, declined addresses left out.
    pub(super) fn history(&self, mac: Mac) -> impl Iterator<Item = &Lease> {
        let addresses = self.of.get(&mac).into_iter().flatten();
        addresses
            .filter_map(|ip| self.leases.get(ip))
            .filter(|lease| lease.state != LeaseState::Declined)
    }

    /// Whether `mac` may be given `ip` as far as others are concerned.
    pub(super) fn is_free_for(&self, ip: Ipv4Addr, mac: Mac, now: Duration) -> bool {
        let leased = self.leases.get(&ip).is_some_and(|lease| {
            let own = lease.mac == mac && lease.state == LeaseState::Bound;
            lease.is_live(now) && !own
        });
        let promised = self
            .promises
            .get(&ip)
            .is_some_and(|promise| promise.mac != mac && now < promise.until);
        !leased && !promised
    }

    /// The address on offer to `mac`.
    pub(super) fn promised(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.promised_to.get(&mac).copied()
    }

    /// Keeps `ip` for `mac` for a while, in the place of an earlier promise to it. False if
    /// there are `most` promises to others already.
    pub(super) fn promise(&mut self, ip: Ipv4Addr, mac: Mac, until: Duration, most: usize) -> bool {
        self.withdraw(mac);
        if self.promises.len() >= most {
            return false;
        }
        if let Some(old) = self.promises.insert(ip, Promise { mac, until }) {
            self.promised_to.remove(&old.mac);
        }
        self.promised_to.insert(mac, ip);
        true
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
        }
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
        assert!(book.promise(IP, A, S, 1));
        assert!(!book.is_free_for(IP, B, Duration::ZERO));
        assert!(!book.promise(Ipv4Addr::LOCALHOST, B, S, 1));
        assert!(book.promise(IP, A, S, 1), "the same again is no second");
        book.sweep(S);
        assert_eq!(book.promised(A), None);
        assert!(book.promise(IP, B, S * 2, 1));
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
