//! What the server's machine gives out: commands, events, counters.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::Lease;
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
    /// Tell people.
    Report(Event),
}

/// A UDP datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Index of the interface it leaves by: the one the question came in by.
    pub interface: u32,
    /// Its source: the address that option 54 names, port 67.
    pub source: SocketAddrV4,
    /// Its destination.
    pub destination: SocketAddrV4,
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
    /// Plain BOOTP.
    #[error("plain BOOTP is not served")]
    Bootp,
    /// It came through a relay.
    #[error("relay {0}: relayed networks are not served")]
    Relayed(Ipv4Addr),
    /// It came in at an address that no network names as its server.
    #[error("no network has {0} as its server")]
    NoNetwork(Ipv4Addr),
    /// The catalog says that it is not ours.
    #[error("ignored: {0}")]
    Ignored(String),
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
            DropReason::Relayed(_) => "relayed",
            DropReason::NoNetwork(_) => "no_network",
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
    /// Addresses refused.
    pub naks: u64,
    /// Not answered, by [`DropReason::name`].
    pub dropped: BTreeMap<&'static str, u64>,
}
