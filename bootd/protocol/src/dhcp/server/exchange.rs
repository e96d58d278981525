//! One packet, one answer: the exchanges of RFC 2131, section 4.3.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::{
    Arrival, Client, Command, DropReason, Event, Lease, LeaseState, Offer, Question, Refusal,
    Request, Server, Wishes, reply,
};
use crate::boot_choice::{self, Choice};
use crate::dhcp::packet::{AnswerKind, Builder, Kind, code};

impl Server {
    pub(super) fn handle_request(
        &mut self,
        request: Request,
        arrival: &Arrival,
        now: Duration,
        wishes: &dyn Wishes,
    ) -> Result<(), DropReason> {
        let network = self.network_of(&request, arrival)?;
        let question = Question {
            client: Client::of(&request),
            request,
            network,
            arrival,
            now,
            wishes,
        };
        match question.request.kind {
            Kind::Bootp => Err(DropReason::Bootp),
            Kind::Discover => self.discover(&question),
            Kind::Request => self.request(&question),
            Kind::Decline => self.decline(&question),
            Kind::Release => self.release(&question),
            Kind::Inform => self.inform(&question),
        }
    }

    /// Section 4.3.1.
    fn discover(&mut self, question: &Question<'_>) -> Result<(), DropReason> {
        let choice = self.choose(question)?;
        let ip = self.allocate(question)?;
        let until = question.now.saturating_add(self.config.offer_time);
        let (mac, most) = (question.request.mac, self.config.max_offers);
        if !self.book.promise(ip, mac, until, most) {
            return Err(DropReason::TooManyOffers);
        }
        let packet = self.packet(AnswerKind::Offer, question, Some(ip), &choice);
        self.counters.offers += 1;
        // By broadcast whatever `ciaddr` says: nobody has our offers sent to a third party.
        let datagram = self.finish(question, Ipv4Addr::UNSPECIFIED, &packet);
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
            (Some(server), _, _) if server != question.network.server => {
                self.book.withdraw(request.mac);
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
        let reserved = question.wishes.reservation(mac).ip;
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
    fn inform(&mut self, question: &Question<'_>) -> Result<(), DropReason> {
        let ip = question.request.ciaddr;
        if !question.network.has_host(ip) {
            return Err(DropReason::Senseless);
        }
        let choice = self.choose(question)?;
        let packet = self
            .packet(AnswerKind::Ack, question, None, &choice)
            .ciaddr(ip);
        self.counters.acks += 1;
        let datagram = self.finish(question, ip, &packet);
        self.commands.push_back(Command::Send(datagram));
        self.report(Event::Informed {
            client: question.client.clone(),
            ip,
            why: choice.why,
        });
        Ok(())
    }

    fn grant(&mut self, question: &Question<'_>, ip: Ipv4Addr, choice: Choice) {
        let (request, network) = (&question.request, &question.network);
        self.give_back_others(question, ip);
        let packet = self
            .packet(AnswerKind::Ack, question, Some(ip), &choice)
            .ciaddr(request.ciaddr);
        let until = question.now.saturating_add(network.lease_time());
        let ticket = self.persist(Lease {
            ip,
            mac: request.mac,
            hostname: question.wishes.reservation(request.mac).hostname,
            state: LeaseState::Bound,
            until,
        });
        self.counters.acks += 1;
        let datagram = self.finish(question, request.ciaddr, &packet);
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
    /// be reached at (section 4.1).
    fn refuse(&mut self, question: &Question<'_>, ip: Ipv4Addr, why: Refusal) {
        let (request, server) = (&question.request, question.network.server);
        self.book.withdraw(request.mac);
        let packet = Builder::answer(AnswerKind::Nak, request, server)
            .option(code::MESSAGE, why.to_string());
        self.counters.naks += 1;
        let datagram = self.finish(question, Ipv4Addr::UNSPECIFIED, &packet);
        self.commands.push_back(Command::Send(datagram));
        self.report(Event::Refused {
            mac: request.mac,
            ip,
            why,
        });
    }

    fn choose(&self, question: &Question<'_>) -> Result<Choice, DropReason> {
        let offer = question.wishes.offer(&question.client);
        if let Offer::Ignore { reason } = offer {
            return Err(DropReason::Ignored(reason));
        }
        let master = self.master(&question.network);
        Ok(boot_choice::choose(&question.client, &offer, &master))
    }

    /// An answer with everything, for the client to have `lease`.
    fn packet(
        &self,
        kind: AnswerKind,
        question: &Question<'_>,
        lease: Option<Ipv4Addr>,
        choice: &Choice,
    ) -> Builder {
        let (request, network) = (&question.request, &question.network);
        let packet = Builder::answer(kind, request, network.server);
        let packet = match lease {
            Some(ip) => reply::lease_times(packet.yiaddr(ip), network.lease_seconds),
            None => packet,
        };
        let kept = question.wishes.reservation(request.mac);
        reply::configuration(packet, network, &choice.file, kept.hostname.as_deref())
    }

    fn finish(
        &mut self,
        question: &Question<'_>,
        to: Ipv4Addr,
        packet: &Builder,
    ) -> super::Datagram {
        let built = packet.build();
        if !built.left_out.is_empty() {
            self.report(Event::LeftOut {
                mac: question.request.mac,
                codes: built.left_out,
            });
        }
        reply::datagram(to, question.network.server, question.arrival, built.bytes)
    }

    fn check_chosen(&self, question: &Question<'_>) -> Result<(), DropReason> {
        match question.request.server_id {
            Some(server) if server != question.network.server => {
                Err(DropReason::OtherServer(server))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The client's lease of `ip`.
    fn lease_of(&self, question: &Question<'_>, ip: Ipv4Addr) -> Option<&Lease> {
        let own =
            |lease: &&Lease| lease.mac == question.request.mac && lease.state == LeaseState::Bound;
        self.book.lease(ip).filter(own)
    }

    /// A client has one address in a network: whoever takes another gives the old one back.
    fn give_back_others(&mut self, question: &Question<'_>, ip: Ipv4Addr) {
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
