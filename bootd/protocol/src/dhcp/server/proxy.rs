//! The boot server beside another DHCP server (PXE 2.1, section 2.2.3): it answers what boots,
//! with boot information and never with an address. Port 67 hears the broadcasts, port 4011
//! the questions of clients that have an address by then.

use std::net::Ipv4Addr;

use super::reply::To;
use super::{Command, DropReason, Event, Question, Server};
use crate::dhcp::PROXY_PORT;
use crate::dhcp::packet::{AnswerKind, Kind};

impl Server {
    pub(super) fn proxy(&mut self, question: &Question<'_>) -> Result<(), DropReason> {
        let at_boot_server = question.arrival.port == PROXY_PORT;
        let kind = question.request.kind;
        let other = question.request.server_id;
        if let (Kind::Request, false, Some(server)) = (kind, at_boot_server, other)
            && server != question.server
        {
            // Whatever the client is: this is the server that gives the addresses here.
            self.note_foreign(question, server);
            return Err(DropReason::OtherServer(server));
        }
        if !question.client.kind.boots() {
            return Err(DropReason::NotBooting);
        }
        match kind {
            Kind::Discover => self.proxy_offer(question),
            // A client with an address wants the rest, whatever it calls its question here.
            Kind::Request if at_boot_server => self.inform(question),
            Kind::Inform => self.inform(question),
            Kind::Request | Kind::Bootp | Kind::Decline | Kind::Release => Err(DropReason::NotOurs),
        }
    }

    fn proxy_offer(&mut self, question: &Question<'_>) -> Result<(), DropReason> {
        let choice = self.choose(question)?;
        let packet = self.packet(AnswerKind::Offer, question, None, &choice);
        self.counters.offers += 1;
        // The client has no address, and gets none from us.
        let datagram = self.finish(question, To::Everybody, &packet);
        self.commands.push_back(Command::Send(datagram));
        self.report(Event::Offered {
            client: question.client.clone(),
            ip: Ipv4Addr::UNSPECIFIED,
            why: choice.why,
        });
        Ok(())
    }
}
