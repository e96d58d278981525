//! What the server's machine gives out: commands, events, counters.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use super::{Lease, Mode};
use crate::boot_choice::{Client, Why};
use crate::dhcp::packet::PacketError;
use crate::identity::Mac;

/// What the edge is to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Write down what became of an address: one row for each [`Lease::ip`].
    Persist {
        /// Names this write; they grow.
        ticket: u64,
        /// The row.
        lease: Lease,
    },
    /// Send at once.
    Send(Datagram),
    /// Send once the write with this ticket is committed, and never if it fails: a client
    /// must not believe in a lease that a restart forgets.
    SendAfterCommit {
        /// The ticket of the [`Command::Persist`].
        ticket: u64,
        /// What to send.
        datagram: Datagram,
    },
    /// Ask the network whether somebody uses this address, and call
    /// [`handle_in_use`](super::Server::handle_in_use) if so.
    Probe {
        /// The address.
        ip: Ipv4Addr,
        /// The interface to ask on by ARP; `None` is by ICMP echo, wherever the address is.
        interface: Option<u32>,
    },
    /// Tell people.
    Report(Event),
}

/// A UDP datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Index of the interface it leaves by: the one the question came in by, or 0 where the
    /// routes decide.
    pub interface: u32,
    /// Its source: our address, and the port that the question came to.
    pub source: SocketAddrV4,
    /// Its destination.
    pub destination: SocketAddrV4,
    /// The station that it goes to in a frame of its own: the client does not have the address
    /// yet, so nobody could ask it for its station (RFC 2131, section 4.1).
    pub link: Option<Mac>,
    /// Its payload.
    pub bytes: Vec<u8>,
}

/// Something that people may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An address was offered.
    Offered {
        /// To whom.
        client: Client,
        /// Which.
        ip: Ipv4Addr,
        /// What it is sent to boot, and why.
        why: Why,
    },
    /// An address was leased, or a lease renewed.
    Leased {
        /// To whom.
        client: Client,
        /// Which.
        ip: Ipv4Addr,
        /// Until when, since the origin of `now`.
        until: Duration,
        /// What it is sent to boot, and why.
        why: Why,
    },
    /// A client that has an address asked for the rest.
    Informed {
        /// Who.
        client: Client,
        /// Its address.
        ip: Ipv4Addr,
        /// What it is sent to boot, and why.
        why: Why,
    },
    /// A client was told that it may not use an address.
    Refused {
        /// Who.
        mac: Mac,
        /// Which.
        ip: Ipv4Addr,
        /// Why.
        why: Refusal,
    },
    /// A client gave its address back.
    Released {
        /// Who.
        mac: Mac,
        /// Which.
        ip: Ipv4Addr,
    },
    /// A client found its address in use by somebody else: nobody gets it for a while.
    Declined {
        /// Who.
        mac: Mac,
        /// Which.
        ip: Ipv4Addr,
        /// Until when, since the origin of `now`.
        until: Duration,
    },
    /// A probe found an address in use: nobody gets it for a while.
    InUse {
        /// Which.
        ip: Ipv4Addr,
        /// Until when, since the origin of `now`.
        until: Duration,
    },
    /// Another DHCP server is on a network: a client has chosen it. Told once an hour for each.
    ForeignServer {
        /// The server.
        server: Ipv4Addr,
        /// The network.
        network: Arc<str>,
        /// What we are there.
        mode: Mode,
    },
    /// A client did not get the address reserved for it, since somebody else has it.
    ReservationBusy {
        /// Who.
        mac: Mac,
        /// Which.
        ip: Ipv4Addr,
    },
    /// Options did not fit what the client can take.
    LeftOut {
        /// Who.
        mac: Mac,
        /// Their codes.
        codes: Vec<u8>,
    },
    /// A packet was not answered.
    Dropped {
        /// Whose, if it got that far.
        mac: Option<Mac>,
        /// Why.
        why: DropReason,
    },
}

/// Why a client may not use an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refusal {
    /// It is of another network.
    #[error("it is not of this network")]
    WrongNetwork,
    /// It is neither in the pool nor reserved for this client.
    #[error("it is neither in the pool nor reserved for this client")]
    NotInPool,
    /// It is reserved for another client.
    #[error("it is reserved for {0}")]
    ReservedFor(Mac),
    /// Another address is reserved for this client.
    #[error("{0} is reserved for this client")]
    ReservedOther(Ipv4Addr),
    /// Another client has it, or it is kept back after a conflict.
    #[error("it is in use")]
    InUse,
    /// This client's record has another address.
    #[error("the client's lease is for another address")]
    OtherLease,
}

/// Why a packet was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DropReason {
    /// Not a client's packet.
    #[error("malformed: {0}")]
    Malformed(#[from] PacketError),
    /// Plain BOOTP, from a client without a reserved address.
    #[error("plain BOOTP is not served without a reserved address (network.bootp)")]
    Bootp,
    /// It is of an address that no network of the catalog holds.
    #[error("{0} is of no network of the catalog")]
    NoNetwork(Ipv4Addr),
    /// The catalog says that its network is not served.
    #[error("network {0} is off")]
    NetworkOff(Arc<str>),
    /// The catalog says that it is not ours.
    #[error("ignored: {0}")]
    Ignored(Arc<str>),
    /// A boot server beside a DHCP server has nothing for it.
    #[error("it does not boot from the network")]
    NotBooting,
    /// It is for the network's DHCP server.
    #[error("it is for the network's DHCP server")]
    NotOurs,
    /// The network has nothing but reserved addresses.
    #[error("the network has no pool, and the client no reserved address")]
    NoPool,
    /// What is left of the pool is kept for nodes.
    #[error("what is left of the pool {0} to {1} is kept for nodes")]
    KeptForNodes(Ipv4Addr, Ipv4Addr),
    /// The same address is being probed.
    #[error("{0} is being probed")]
    BeingProbed(Ipv4Addr),
    /// The client has chosen another server.
    #[error("the client has chosen server {0}")]
    OtherServer(Ipv4Addr),
    /// A message whose fields fit none of RFC 2131's table 4.
    #[error("the message's addresses make no sense together")]
    Senseless,
    /// A client asks for its old address, and we know nothing of it: perhaps another server
    /// does (RFC 2131, section 4.3.2).
    #[error("no record of {0} for this client")]
    NoRecord(Ipv4Addr),
    /// No address is free.
    #[error("the pool {0} to {1} is full")]
    PoolFull(Ipv4Addr, Ipv4Addr),
    /// Too many offers are waiting to be taken up.
    #[error("too many offers outstanding")]
    TooManyOffers,
}

impl DropReason {
    /// Its name as a counter.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            DropReason::Malformed(_) => "malformed",
            DropReason::Bootp => "bootp",
            DropReason::NoNetwork(_) => "no_network",
            DropReason::NetworkOff(_) => "network_off",
            DropReason::NotBooting => "not_booting",
            DropReason::NotOurs => "not_ours",
            DropReason::NoPool => "no_pool",
            DropReason::KeptForNodes(..) => "kept_for_nodes",
            DropReason::BeingProbed(_) => "being_probed",
            DropReason::Ignored(_) => "ignored",
            DropReason::OtherServer(_) => "other_server",
            DropReason::Senseless => "senseless",
            DropReason::NoRecord(_) => "no_record",
            DropReason::PoolFull(..) => "pool_full",
            DropReason::TooManyOffers => "too_many_offers",
        }
    }
}

/// What has happened since the start, in packets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Came in.
    pub received: u64,
    /// Offers made.
    pub offers: u64,
    /// Leases given or renewed, and clients informed.
    pub acks: u64,
    /// Plain BOOTP answered.
    pub bootp: u64,
    /// Addresses refused.
    pub naks: u64,
    /// Not answered, by [`DropReason::name`].
    pub dropped: BTreeMap<&'static str, u64>,
}
