//! Plain BOOTP (RFC 951, RFC 1542, RFC 1534): one question, one answer, an address for ever.

use std::time::Duration;

use super::reply::{self, To};
use super::{Bootp, Command, DropReason, Event, Lease, LeaseState, Question, Server};
use crate::dhcp::packet::Builder;

impl Server {
    pub(super) fn bootp(&mut self, question: &Question<'_>) -> Result<(), DropReason> {
        let own = Some(question.request.ciaddr).filter(|it| !it.is_unspecified());
        if own.is_some_and(|it| !question.network.has_host(it)) {
            // Answered there, it would be somebody else who gets the packet.
            return Err(DropReason::Senseless);
        }
        let choice = self.choose(question)?;
        let ip = match question.network.bootp {
            Bootp::Off => return Err(DropReason::Bootp),
            Bootp::Reserved => question.reserved().ok_or(DropReason::Bootp)?,
            Bootp::Dynamic => self.allocate(question)?,
        };
        if self.may_keep(question, ip).is_err() {
            return Err(DropReason::PoolFull(ip, ip));
        }
        self.give_back_others(question, ip);
        let packet = Builder::bootp_answer(&question.request)
            .yiaddr(ip)
            .ciaddr(question.request.ciaddr);
        let packet = reply::configuration(packet, question, &choice.file);
        let ticket = self.persist(Lease {
            ip,
            mac: question.request.mac,
            hostname: question.wish.hostname.map(str::to_owned),
            state: LeaseState::Bound,
            until: Duration::MAX,
            place: question.client.place.clone(),
        });
        self.counters.bootp += 1;
        let to = own.map_or(To::Newcomer(ip), To::Owner);
        let datagram = self.finish(question, to, &packet);
        self.commands
            .push_back(Command::SendAfterCommit { ticket, datagram });
        self.report(Event::Leased {
            client: question.client.clone(),
            ip,
            until: Duration::MAX,
            why: choice.why,
        });
        Ok(())
    }
}
