//! What the exchanges of one packet have in common: who asks, of which network, and by which
//! of our names.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::{Arrival, DropReason, Mode, Network, Server, Wish, Wishes};
use crate::boot_choice::{BootPolicy, Client};
use crate::dhcp::PROXY_PORT;
use crate::dhcp::packet::{Kind, Request};

/// One packet, with all that its answer hangs on.
pub(super) struct Question<'a> {
    pub(super) request: Request,
    /// The packet as it came.
    pub(super) bytes: &'a [u8],
    pub(super) client: Client,
    pub(super) network: Arc<Network>,
    /// What we are called in option 54: our address, or the relay's that stands for us
    /// (RFC 5107).
    pub(super) server: Ipv4Addr,
    /// Our address.
    pub(super) address: Ipv4Addr,
    pub(super) arrival: &'a Arrival,
    /// The address that a probe has found unused for this very question.
    pub(super) probed: Option<Ipv4Addr>,
    pub(super) now: Duration,
    pub(super) wish: Wish<'a>,
    pub(super) wishes: &'a dyn Wishes,
}

impl Question<'_> {
    pub(super) fn is_us(&self, server: Ipv4Addr) -> bool {
        server == self.server || server == self.address
    }

    pub(super) fn is_proxy(&self) -> bool {
        self.network.mode == Mode::Proxy || self.arrival.port == PROXY_PORT
    }

    pub(super) fn lease_seconds(&self) -> u32 {
        let own = self.wish.lease_seconds;
        own.unwrap_or(self.network.lease_seconds)
    }

    pub(super) fn policy(&self) -> BootPolicy {
        BootPolicy {
            boot_by: self.wish.boot_by.or(self.network.boot.boot_by),
            ..self.network.boot
        }
    }
}

impl Server {
    pub(super) fn question<'a>(
        &self,
        request: Request,
        bytes: &'a [u8],
        arrival: &'a Arrival,
        probed: Option<Ipv4Addr>,
        now: Duration,
        wishes: &'a dyn Wishes,
    ) -> Result<Question<'a>, DropReason> {
        let network = self.network_of(&request, arrival)?;
        let address = network.server.unwrap_or(arrival.local);
        let agent = request.relay_agent.as_ref();
        let client = Client::of(&request, &network.name);
        Ok(Question {
            server: agent.and_then(|it| it.server).unwrap_or(address),
            wish: wishes.wish(&client),
            client,
            request,
            bytes,
            network,
            address,
            arrival,
            probed,
            now,
            wishes,
        })
    }

    /// The network of a question: the one that the relay or the client names (RFC 3527,
    /// RFC 3011), else the relay's, else that of the client's address if it speaks to us alone,
    /// else that of the link.
    fn network_of(&self, request: &Request, arrival: &Arrival) -> Result<Arc<Network>, DropReason> {
        let named = request.relay_agent.as_ref().and_then(|it| it.link);
        let relay = Some(request.giaddr).filter(|it| !it.is_unspecified());
        let has_address = match request.kind {
            Kind::Request | Kind::Release | Kind::Inform => !arrival.broadcast,
            Kind::Discover | Kind::Decline | Kind::Bootp => false,
        };
        let own = Some(request.ciaddr).filter(|it| has_address && !it.is_unspecified());
        let address = named
            .or(request.subnet_selection)
            .or(relay)
            .or(own)
            .unwrap_or(arrival.local);
        let network = self.networks.of(address);
        network.cloned().ok_or(DropReason::NoNetwork(address))
    }
}
