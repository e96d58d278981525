//! Which address a client gets.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::lease::Promise;
use super::{DropReason, Event, LeaseState, Question, Refusal, Server};
use crate::identity::Mac;

/// Addresses looked at for one that nobody ever had, once one that is merely free is found.
const LOOK_FOR_UNUSED: usize = 256;

/// A full pool is searched again after this long.
const FULL_FOR: Duration = Duration::from_secs(1);

impl Question<'_> {
    /// The address reserved for the client, if this network can have it.
    pub(super) fn reserved(&self) -> Option<Ipv4Addr> {
        self.wish
            .ip
            .filter(|ip| self.network.has_host(*ip) && *ip != self.address)
    }

    /// Whether the catalog lets the client have `ip`.
    fn allowed(&self, ip: Ipv4Addr) -> Result<(), Refusal> {
        if !self.network.has_host(ip) {
            return Err(Refusal::WrongNetwork);
        }
        if self.reserved() == Some(ip) {
            return Ok(());
        }
        match self.wishes.reserved_for(ip) {
            Some(owner) if owner != self.request.mac => Err(Refusal::ReservedFor(owner)),
            Some(_) | None if self.network.pool_has(ip) && ip != self.address => Ok(()),
            Some(_) | None => Err(Refusal::NotInPool),
        }
    }
}

impl Server {
    /// Whether the client may begin to use `ip`: allowed, free, and not in the place of an
    /// address reserved for it.
    pub(super) fn may_take(&self, question: &Question<'_>, ip: Ipv4Addr) -> Result<(), Refusal> {
        question.allowed(ip)?;
        let free = |ip| self.is_free(question, ip);
        match question.reserved().filter(|it| *it != ip && free(*it)) {
            Some(reserved) => Err(Refusal::ReservedOther(reserved)),
            None if free(ip) => Ok(()),
            None => Err(Refusal::InUse),
        }
    }

    /// Whether the client may go on using `ip`. One that runs is not made to change its
    /// address because of a reservation elsewhere: its next boot will.
    pub(super) fn may_keep(&self, question: &Question<'_>, ip: Ipv4Addr) -> Result<(), Refusal> {
        question.allowed(ip)?;
        if self.is_free(question, ip) {
            Ok(())
        } else {
            Err(Refusal::InUse)
        }
    }

    fn is_free(&self, question: &Question<'_>, ip: Ipv4Addr) -> bool {
        let mac = question.request.mac;
        self.book.is_free_for(ip, mac, question.now)
    }

    /// The address to offer (RFC 2131, section 4.3.1): the reserved one, the one on offer, the
    /// one it has, one it had, the one it asks for, any.
    pub(super) fn allocate(&mut self, question: &Question<'_>) -> Result<Ipv4Addr, DropReason> {
        let mac = question.request.mac;
        if let Some(ip) = question.reserved() {
            if self.is_free(question, ip) {
                return Ok(ip);
            }
            self.report(Event::ReservationBusy { mac, ip });
        }
        let mut history: Vec<_> = self.book.history(mac).collect();
        history.sort_by_key(|lease| (lease.state != LeaseState::Bound, lease.ip));
        let known = self.book.promised(mac).into_iter();
        let known = known.chain(history.iter().map(|lease| lease.ip));
        let mut known = known.chain(question.request.requested_ip);
        match known.find(|ip| self.may_keep(question, *ip).is_ok()) {
            Some(ip) => Ok(ip),
            None => self.search_pool(question),
        }
    }

    /// Keeps `ip` for the client until it takes it up.
    pub(super) fn promise(
        &mut self,
        question: &Question<'_>,
        ip: Ipv4Addr,
    ) -> Result<(), DropReason> {
        let promise = Promise {
            mac: question.request.mac,
            until: question.now.saturating_add(self.config.offer_time),
            known: question.wish.known,
        };
        if self.book.promise(ip, promise, self.config.max_offers) {
            Ok(())
        } else {
            Err(DropReason::TooManyOffers)
        }
    }

    /// Looks through the pool from a place that depends on the client alone, so that a client
    /// tends to get its address again even when all leases are lost.
    fn search_pool(&mut self, question: &Question<'_>) -> Result<Ipv4Addr, DropReason> {
        let network = &question.network;
        let Some((first, last)) = network.pool else {
            return Err(DropReason::NoPool);
        };
        if !question.wish.known && self.only_nodes_left(question) {
            return Err(DropReason::KeptForNodes(first, last));
        }
        let full = DropReason::PoolFull(first, last);
        let look_again = self.full.get(&network.subnet).copied();
        if look_again.is_some_and(|then| question.now < then) {
            return self.rob_stranger(question).ok_or(full);
        }
        let mut oldest: Option<(Duration, Ipv4Addr)> = None;
        let pool = network.pool_from(hash(question.request.mac));
        for (looked_at, ip) in pool.enumerate() {
            if oldest.is_some() && looked_at >= LOOK_FOR_UNUSED {
                break;
            }
            if self.may_keep(question, ip).is_err() {
                continue;
            }
            let Some(lease) = self.book.lease(ip) else {
                return Ok(ip);
            };
            let candidate = (lease.until, ip);
            oldest = Some(oldest.map_or(candidate, |best| best.min(candidate)));
        }
        if let Some((_, ip)) = oldest {
            return Ok(ip);
        }
        let then = question.now.saturating_add(FULL_FOR);
        self.full.insert(network.subnet, then);
        self.rob_stranger(question).ok_or(full)
    }

    /// Whether what is free of the pool is kept for nodes: as many addresses as there are
    /// nodes, up to a quarter of the pool. A flood of strangers then leaves nodes an address.
    fn only_nodes_left(&self, question: &Question<'_>) -> bool {
        let size = question.network.pool_size();
        let kept = self.config.nodes.min(size / 4);
        let used = self.used.get(&question.network.subnet).copied();
        kept > 0 && used.unwrap_or(0) >= size - kept
    }

    /// For a node, an address that is only on offer to a stranger.
    fn rob_stranger(&self, question: &Question<'_>) -> Option<Ipv4Addr> {
        if !question.wish.known {
            return None;
        }
        let mac = question.request.mac;
        let mut pool = question.network.pool_from(hash(mac));
        pool.find(|ip| {
            let promised = self
                .book
                .is_only_promised_to_stranger(*ip, mac, question.now);
            promised && question.allowed(*ip).is_ok()
        })
    }
}

/// FNV-1a.
fn hash(mac: Mac) -> u32 {
    mac.0.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}
