//! What the server's packets carry.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{Arrival, Datagram, Network};
use crate::boot_choice::BootFile;
use crate::dhcp::packet::{Builder, code};
use crate::dhcp::{CLIENT_PORT, INFINITE_SECONDS, SERVER_PORT};

/// The vendor class that UEFI's HTTP boot wants to hear (UEFI 2.10, section 24.7.3).
const HTTP_CLIENT: &str = "HTTPClient";

/// iPXE's own sub-option 176 of option 175: no other server will send a boot file, so do not
/// wait for one (iPXE, `no-pxedhcp`). Saves two to three seconds of every start.
const IPXE_NO_PROXY: [u8; 3] = [176, 1, 1];

/// What a client of `network` needs beside its lease, most important first.
pub(super) fn configuration(
    builder: Builder,
    network: &Network,
    file: &BootFile,
    hostname: Option<&str>,
) -> Builder {
    let builder = builder
        .option(code::SUBNET_MASK, network.mask().octets())
        .addresses(code::ROUTER, network.router.as_slice());
    boot(builder, file, network.server)
        .addresses(code::DNS, &network.dns)
        .option(code::HOST_NAME, hostname.unwrap_or_default())
}

/// Lease time, and when to renew it: half of it and seven eighths of it
/// (RFC 2131, section 4.4.5).
pub(super) fn lease_times(builder: Builder, seconds: u32) -> Builder {
    let builder = builder.option(code::LEASE_SECONDS, seconds.to_be_bytes());
    if seconds == INFINITE_SECONDS {
        return builder;
    }
    builder
        .option(code::T1_SECONDS, (seconds / 2).to_be_bytes())
        .option(code::T2_SECONDS, (seconds - seconds / 8).to_be_bytes())
}

fn boot(builder: Builder, file: &BootFile, server: Ipv4Addr) -> Builder {
    match file {
        BootFile::Tftp { path } => builder
            .siaddr(server)
            .server_name(&server.to_string())
            .boot_file(path)
            .option(code::TFTP_SERVER, server.to_string()),
        BootFile::Script { url } => builder
            .siaddr(server)
            .boot_file(url)
            .option(code::IPXE, IPXE_NO_PROXY),
        BootFile::Http { url } => builder
            .option(code::VENDOR_CLASS, HTTP_CLIENT)
            .boot_file(url),
        BootFile::Hint(hint) => builder.option(code::VENDOR_OPTIONS, hint.to_bytes()),
        BootFile::Nothing | BootFile::Silence => builder,
    }
}

/// A client that has an address gets its answer there, all others by broadcast
/// (RFC 2131, section 4.1). Unicast to an address that the client does not have yet would
/// need an ARP entry of our making.
pub(super) fn datagram(
    to: Ipv4Addr,
    server: Ipv4Addr,
    arrival: &Arrival,
    bytes: Vec<u8>,
) -> Datagram {
    let to = if to.is_unspecified() {
        Ipv4Addr::BROADCAST
    } else {
        to
    };
    Datagram {
        interface: arrival.interface,
        source: SocketAddrV4::new(server, SERVER_PORT),
        destination: SocketAddrV4::new(to, CLIENT_PORT),
        bytes,
    }
}
