//! One packet, one answer: the exchanges of RFC 2131, section 4.3.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::network::lease_time;
use super::reply::{self, To};
use super::{Command, DropReason, Event, Lease, LeaseState, Offer, Question, Refusal, Server};
use crate::boot_choice::{self, Choice};
use crate::dhcp::packet::{AnswerKind, Builder, Kind, code};

/// A foreign server is told of again after this long.
const FOREIGN_AGAIN: Duration = Duration::from_secs(3600);

/// Foreign servers that are remembered: whoever makes up more is not told of.
const MAX_FOREIGN: usize = 64;

impl Server {
    pub(super) fn answer(&mut self, question: &Question<'_>) -> Result<(), DropReason> {
        match question.request.kind {
            Kind::Bootp => self.bootp(question),
            Kind::Discover => self.discover(question),
            Kind::Request => self.request(question),
            Kind::Decline => self.decline(question),
            Kind::Release => self.release(question),
            Kind::Inform => self.inform(question),
        }
    }

    /// Section 4.3.1.
    fn discover(&mut self, question: &Question<'_>) -> Result<(), DropReason> {
        let choice = self.choose(question)?;
        let ip = self.allocate(question)?;
        if self.must_probe(question, ip)? {
            return Ok(());
        }
        self.promise(question, ip)?;
        let packet = self.packet(AnswerKind::Offer, question, Some(ip), &choice);
        self.counters.offers += 1;
        // Whatever `ciaddr` says: nobody has our offers sent to a third party.
        let datagram = self.finish(question, To::Newcomer(ip), &packet);
        self.commands.push_back(Command::Send(datagram));
        self.report(Event::Offered {
            client: question.client.clone(),
            ip,
            why: choice.why,
        });
        Ok(())
    }

    /// Section 4.3.2: which of the four a request is shows in its addresses (table 4).
    fn request(&mut self, question: &Question<'_>) -> Result<(), DropReason> {
        let request = &question.request;
        let ciaddr = Some(request.ciaddr).filter(|it| !it.is_unspecified());
        match (request.server_id, request.requested_ip, ciaddr) {
            (Some(server), _, _) if !question.is_us(server) => {
                self.book.withdraw(request.mac);
                self.note_foreign(question, server);
                Err(DropReason::OtherServer(server))
            }
            (Some(_), Some(ip), None) => self.selecting(question, ip),
            (None, Some(ip), None) => self.rebooting(question, ip),
            (None, None, Some(ip)) => self.extending(question, ip),
            _ => Err(DropReason::Senseless),
        }
    }

    /// The client takes up an offer; that of an earlier run of ours as well.
    fn selecting(&mut self, question: &Question<'_>, ip: Ipv4Addr) -> Result<(), DropReason> {
        let choice = self.choose(question)?;
        match self.may_take(question, ip) {
            Ok(()) => self.grant(question, ip, choice),
            Err(why) => self.refuse(question, ip, why),
        }
        Ok(())
    }

    /// The client asks for the address of its last boot.
    fn rebooting(&mut self, question: &Question<'_>, ip: Ipv4Addr) -> Result<(), DropReason> {
        let choice = self.choose(question)?;
        match (self.may_take(question, ip), self.record(question, ip)) {
            (Err(why), _) => self.refuse(question, ip, why),
            (Ok(()), Some(true)) => self.grant(question, ip, choice),
            (Ok(()), Some(false)) => self.refuse(question, ip, Refusal::OtherLease),
            (Ok(()), None) => return Err(DropReason::NoRecord(ip)),
        }
        Ok(())
    }

    /// The client renews or rebinds.
    fn extending(&mut self, question: &Question<'_>, ip: Ipv4Addr) -> Result<(), DropReason> {
        let choice = self.choose(question)?;
        match (self.may_keep(question, ip), self.record(question, ip)) {
            (Err(why), _) => self.refuse(question, ip, why),
            (Ok(()), Some(true)) => self.grant(question, ip, choice),
            (Ok(()), Some(false)) => self.refuse(question, ip, Refusal::OtherLease),
            (Ok(()), None) => return Err(DropReason::NoRecord(ip)),
        }
        Ok(())
    }

    /// Whether `ip` is on record as the client's; `None` if nothing of this network is.
    fn record(&self, question: &Question<'_>, ip: Ipv4Addr) -> Option<bool> {
        let mac = question.request.mac;
        let reserved = question.wish.ip;
        let leased = self.book.history(mac).map(|lease| lease.ip);
        let mut known = leased
            .chain(reserved)
            .filter(|it| question.network.has_host(*it))
            .peekable();
        known.peek()?;
        Some(known.any(|it| it == ip))
    }

    /// Section 4.3.3: somebody else uses the address.
    fn decline(&mut self, question: &Question<'_>) -> Result<(), DropReason> {
        let request = &question.request;
        let ip = request.requested_ip.ok_or(DropReason::Senseless)?;
        self.check_chosen(question)?;
        let leased = self.lease_of(question, ip).is_some();
        if !leased && self.book.promised(request.mac) != Some(ip) {
            return Err(DropReason::NoRecord(ip));
        }
        let until = question.now.saturating_add(self.config.quarantine);
        self.persist(Lease {
            ip,
            mac: request.mac,
            hostname: None,
            state: LeaseState::Declined,
            until,
            place: question.client.place.clone(),
        });
        self.report(Event::Declined {
            mac: request.mac,
            ip,
            until,
        });
        Ok(())
    }

    /// Section 4.3.4: the client gives its address back.
    fn release(&mut self, question: &Question<'_>) -> Result<(), DropReason> {
        let (mac, ip) = (question.request.mac, question.request.ciaddr);
        self.check_chosen(question)?;
        let lease = self.lease_of(question, ip);
        let lease = lease.cloned().ok_or(DropReason::NoRecord(ip))?;
        self.give_back(lease, question.now);
        self.report(Event::Released { mac, ip });
        Ok(())
    }

    /// Section 4.3.5: the client has an address and wants the rest. Only to an address of
    /// this network, so that nobody can have our packets sent elsewhere.
    pub(super) fn inform(&mut self, question: &Question<'_>) -> Result<(), DropReason> {
        let ip = question.request.ciaddr;
        if !question.network.has_host(ip) {
            return Err(DropReason::Senseless);
        }
        let choice = self.choose(question)?;
        let packet = self
            .packet(AnswerKind::Ack, question, None, &choice)
            .ciaddr(ip);
        self.counters.acks += 1;
        let datagram = self.finish(question, To::Owner(ip), &packet);
        self.commands.push_back(Command::Send(datagram));
        self.report(Event::Informed {
            client: question.client.clone(),
            ip,
            why: choice.why,
        });
        Ok(())
    }

    fn grant(&mut self, question: &Question<'_>, ip: Ipv4Addr, choice: Choice) {
        let request = &question.request;
        self.give_back_others(question, ip);
        let packet = self
            .packet(AnswerKind::Ack, question, Some(ip), &choice)
            .ciaddr(request.ciaddr);
        let until = question
            .now
            .saturating_add(lease_time(question.lease_seconds()));
        let ticket = self.persist(Lease {
            ip,
            mac: request.mac,
            hostname: question.wish.hostname.map(str::to_owned),
            state: LeaseState::Bound,
            until,
            place: question.client.place.clone(),
        });
        self.counters.acks += 1;
        let to = if request.ciaddr.is_unspecified() {
            To::Newcomer(ip)
        } else {
            To::Owner(request.ciaddr)
        };
        let datagram = self.finish(question, to, &packet);
        self.commands
            .push_back(Command::SendAfterCommit { ticket, datagram });
        self.report(Event::Leased {
            client: question.client.clone(),
            ip,
            until,
            why: choice.why,
        });
    }

    /// A NAK goes to everyone on the wire: the client may not use the address that it could
    /// be reached at (section 4.1). A relay is told to broadcast it (section 4.3.2).
    fn refuse(&mut self, question: &Question<'_>, ip: Ipv4Addr, why: Refusal) {
        let request = &question.request;
        self.book.withdraw(request.mac);
        let mut packet = Builder::answer(AnswerKind::Nak, request, question.server)
            .option(code::MESSAGE, why.to_string());
        if !request.giaddr.is_unspecified() {
            packet = packet.broadcast();
        }
        self.counters.naks += 1;
        let datagram = self.finish(question, To::Everybody, &packet);
        self.commands.push_back(Command::Send(datagram));
        self.report(Event::Refused {
            mac: request.mac,
            ip,
            why,
        });
    }

    pub(super) fn choose(&self, question: &Question<'_>) -> Result<Choice, DropReason> {
        if let Offer::Ignore { reason } = &question.wish.offer {
            return Err(DropReason::Ignored(Arc::clone(reason)));
        }
        let (client, offer) = (&question.client, &question.wish.offer);
        let master = self.master(question);
        Ok(boot_choice::choose(
            client,
            offer,
            question.policy(),
            &master,
        ))
    }

    /// An answer with everything, for the client to have `lease`.
    pub(super) fn packet(
        &self,
        kind: AnswerKind,
        question: &Question<'_>,
        lease: Option<Ipv4Addr>,
        choice: &Choice,
    ) -> Builder {
        let packet = Builder::answer(kind, &question.request, question.server);
        let packet = match lease {
            Some(ip) => reply::lease_times(packet.yiaddr(ip), question.lease_seconds()),
            None => packet,
        };
        reply::configuration(packet, question, &choice.file)
    }

    pub(super) fn finish(
        &mut self,
        question: &Question<'_>,
        to: To,
        packet: &Builder,
    ) -> super::Datagram {
        let built = packet.build();
        if !built.left_out.is_empty() {
            self.report(Event::LeftOut {
                mac: question.request.mac,
                codes: built.left_out,
            });
        }
        reply::datagram(question, to, built.bytes)
    }

    fn check_chosen(&self, question: &Question<'_>) -> Result<(), DropReason> {
        match question.request.server_id {
            Some(server) if !question.is_us(server) => Err(DropReason::OtherServer(server)),
            Some(_) | None => Ok(()),
        }
    }

    /// A client has chosen another server: people are told, once an hour.
    pub(super) fn note_foreign(&mut self, question: &Question<'_>, server: Ipv4Addr) {
        let again = question.now.saturating_sub(FOREIGN_AGAIN);
        let told = self.foreign.get(&server);
        if told.is_some_and(|then| *then > again) || self.foreign.len() >= MAX_FOREIGN {
            return;
        }
        self.foreign.insert(server, question.now);
        self.report(Event::ForeignServer {
            server,
            network: Arc::clone(&question.network.name),
            mode: question.network.mode,
        });
    }

    /// The client's lease of `ip`.
    fn lease_of(&self, question: &Question<'_>, ip: Ipv4Addr) -> Option<&Lease> {
        let own =
            |lease: &&Lease| lease.mac == question.request.mac && lease.state == LeaseState::Bound;
        self.book.lease(ip).filter(own)
    }

    /// A client has one address in a network: whoever takes another gives the old one back.
    pub(super) fn give_back_others(&mut self, question: &Question<'_>, ip: Ipv4Addr) {
        let others: Vec<Lease> = self
            .book
            .history(question.request.mac)
            .filter(|lease| lease.ip != ip && lease.is_live(question.now))
            .filter(|lease| question.network.has_host(lease.ip))
            .cloned()
            .collect();
        for lease in others {
            self.give_back(lease, question.now);
        }
    }

    fn give_back(&mut self, lease: Lease, now: Duration) {
        self.full.clear();
        self.persist(Lease {
            state: LeaseState::Released,
            until: now,
            ..lease
        });
    }
}
