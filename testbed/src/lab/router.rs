//! An IPv6 router that says it is none: QEMU's network ROM (iPXE of 2019) asks for one beside
//! its DHCP and, where nobody answers, waits 16 seconds before it goes on with the IPv4 address
//! that it has had all the time. Networks with IPv6 do not know that wait; this one need not.

use std::io::{self, Read as _};
use std::net::{Ipv6Addr, SocketAddrV6};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// ICMPv6 type of a router solicitation (RFC 4861, section 4.1).
const ROUTER_SOLICITATION: u8 = 133;
/// A router advertisement (RFC 4861, section 4.2): hop limit 64, no flags, router lifetime 0
/// ("not a default router"), timers unspecified. The kernel fills in the checksum.
const ADVERTISEMENT: [u8; 16] = [134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Answers router solicitations on `interface`, on a thread of its own, for as long as this
/// process lives.
///
/// # Errors
/// No raw socket.
pub(super) fn start(interface: &str) -> io::Result<()> {
    let index = nix::net::if_::if_nametoindex(interface)?;
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    // Neighbour discovery counts only with the largest hop limit (RFC 4861, section 6.1).
    socket.set_multicast_hops_v6(255)?;
    socket.join_multicast_v6(&ALL_ROUTERS, index)?;
    let everybody = SockAddr::from(SocketAddrV6::new(ALL_NODES, 0, 0, index));
    let answer = move || {
        let mut packet = [0; 1500];
        while let Ok(len) = (&socket).read(&mut packet) {
            if len > 0 && packet[0] == ROUTER_SOLICITATION {
                // The machine asks again, should this be lost.
                let _ = socket.send_to(&ADVERTISEMENT, &everybody);
            }
        }
    };
    std::thread::Builder::new()
        .name("router".into())
        .spawn(answer)?;
    Ok(())
}
