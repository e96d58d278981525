//! Before a new address is offered, the network is asked whether somebody uses it
//! (RFC 2131, section 3.1, step 2): by ARP on a link of ours (RFC 5227, section 2.1.1), by echo
//! elsewhere. The question waits meanwhile.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::{Arrival, Command, DropReason, Event, Lease, LeaseState, Question, Server, Wishes};

/// How long an answer may take: a host on the link answers within milliseconds.
const ON_LINK: Duration = Duration::from_millis(200);

/// The same behind a relay.
const ELSEWHERE: Duration = Duration::from_millis(500);

/// Probes at the same time; an address beyond them is offered unprobed.
const MOST: usize = 256;

/// Questions that wait.
#[derive(Debug, Default)]
pub(super) struct Probes(BTreeMap<Ipv4Addr, Waiting>);

#[derive(Debug)]
struct Waiting {
    until: Duration,
    question: Vec<u8>,
    arrival: Arrival,
}

impl Probes {
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        self.0.values().map(|it| it.until).min()
    }

    fn take_due(&mut self, now: Duration) -> Option<(Ipv4Addr, Waiting)> {
        let due = self.0.iter().find(|(_, it)| it.until <= now);
        let ip = *due?.0;
        Some((ip, self.0.remove(&ip)?))
    }
}

impl Server {
    /// Whether the offer of `ip` has to wait for a probe, which it begins: the address is new
    /// to this client.
    ///
    /// # Errors
    /// The same client's question waits already.
    pub(super) fn must_probe(
        &mut self,
        question: &Question<'_>,
        ip: Ipv4Addr,
    ) -> Result<bool, DropReason> {
        if self.probes.0.contains_key(&ip) {
            return Err(DropReason::BeingProbed(ip));
        }
        let had_it = self
            .book
            .history(question.request.mac)
            .any(|it| it.ip == ip);
        let probed = question.probed == Some(ip);
        if !question.network.probe || probed || had_it || self.probes.0.len() >= MOST {
            return Ok(false);
        }
        let on_link = question.request.giaddr.is_unspecified();
        let patience = if on_link { ON_LINK } else { ELSEWHERE };
        self.promise(question, ip)?;
        let waiting = Waiting {
            until: question.now.saturating_add(patience),
            question: question.bytes.to_vec(),
            arrival: *question.arrival,
        };
        self.probes.0.insert(ip, waiting);
        let interface = on_link.then_some(question.arrival.interface);
        self.commands.push_back(Command::Probe { ip, interface });
        Ok(true)
    }

    /// Somebody answered a probe of `ip`: nobody gets it for a while, and the client gets
    /// another. Nothing if there is no such probe.
    pub fn handle_in_use(&mut self, ip: Ipv4Addr, now: Duration, wishes: &dyn Wishes) {
        let Some(waiting) = self.probes.0.remove(&ip) else {
            return;
        };
        let until = now.saturating_add(self.config.quarantine);
        // Whose it is nobody knows; the client it was meant for stands for it.
        let Ok(request) = super::Request::parse(&waiting.question) else {
            return;
        };
        self.persist(Lease {
            ip,
            mac: request.mac,
            hostname: None,
            state: LeaseState::Declined,
            until,
            place: crate::boot_choice::Place::default(),
        });
        self.report(Event::InUse { ip, until });
        self.handle_waiting(&waiting, None, now, wishes);
    }

    /// Does what is due by `now`.
    pub fn handle_timeout(&mut self, now: Duration, wishes: &dyn Wishes) {
        while let Some((ip, waiting)) = self.probes.take_due(now) {
            self.handle_waiting(&waiting, Some(ip), now, wishes);
        }
    }

    fn handle_waiting(
        &mut self,
        waiting: &Waiting,
        probed: Option<Ipv4Addr>,
        now: Duration,
        wishes: &dyn Wishes,
    ) {
        self.handle(&waiting.question, &waiting.arrival, probed, now, wishes);
    }
}
