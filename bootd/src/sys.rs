//! What the kernel offers without a safe interface: the one place of this crate with `unsafe`.
#![expect(unsafe_code, reason = "an address of a kind that nix only reads")]

use bootd_protocol::identity::Mac;
use nix::libc;
use nix::sys::socket::{LinkAddr, SockaddrLike as _};

/// The address of a station on a link, for a packet socket (packet(7)). `protocol` is an
/// Ethernet type in host byte order.
#[must_use]
pub fn link_address(interface: u32, station: Mac, protocol: u16) -> Option<LinkAddr> {
    let mut sll_addr = [0; 8];
    sll_addr[..6].copy_from_slice(&station.0);
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).ok()?,
        sll_protocol: protocol.to_be(),
        sll_ifindex: i32::try_from(interface).ok()?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr,
    };
    let len = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).ok()?;
    // SAFETY: the pointer is to a whole, initialised sockaddr_ll that outlives the call, `len` is
    // its size, and its family says which kind of address it is; `from_raw` copies it.
    unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(len)) }
}
