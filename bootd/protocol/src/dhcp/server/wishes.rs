//! What the server asks the catalog.

use std::net::Ipv4Addr;

use crate::boot_choice::{BootBy, Client, Offer};
use crate::identity::Mac;

/// An option that an operator adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpOption {
    /// Its code.
    pub code: u8,
    /// Its content as it is sent, 1 to 255 bytes.
    pub bytes: Vec<u8>,
    /// Whether clients get it that have not asked for it (option 55).
    pub always: bool,
}

/// What the catalog has for one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish<'w> {
    /// Whether it is a node of the catalog. Part of every pool is kept for nodes.
    pub known: bool,
    /// Its address, in the pool or beside it.
    pub ip: Option<Ipv4Addr>,
    /// Its name (option 12).
    pub hostname: Option<&'w str>,
    /// What it is to boot.
    pub offer: Offer,
    /// By which protocol it is to load, where that is not its network's affair.
    pub boot_by: Option<BootBy>,
    /// Seconds of its leases, where they are not its network's.
    pub lease_seconds: Option<u32>,
    /// Its own options, then those of its class: the first of a code counts.
    pub options: [&'w [DhcpOption]; 2],
}

impl Wish<'_> {
    /// Nothing but this offer.
    #[must_use]
    pub const fn offer_only(offer: Offer) -> Self {
        Wish {
            known: false,
            ip: None,
            hostname: None,
            offer,
            boot_by: None,
            lease_seconds: None,
            options: [&[], &[]],
        }
    }
}

/// What the catalog wishes: answered from its snapshot in memory, without I/O.
pub trait Wishes {
    /// What it has for `client`.
    fn wish(&self, client: &Client) -> Wish<'_>;

    /// Whose address `ip` is by reservation.
    fn reserved_for(&self, ip: Ipv4Addr) -> Option<Mac>;
}
