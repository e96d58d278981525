//! What the server's packets carry, and where they go.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{Datagram, DhcpOption, Question};
use crate::boot_choice::BootFile;
use crate::dhcp::packet::{Builder, Request, code, machine_id};
use crate::dhcp::{CLIENT_PORT, INFINITE_SECONDS, PROXY_PORT, SERVER_PORT};

/// The vendor class that UEFI's HTTP boot wants to hear (UEFI 2.10, section 24.7.3).
const HTTP_CLIENT: &str = "HTTPClient";

/// The vendor class of PXE (PXE 2.1, section 2.2.1): the client looks for PXE's options then.
const PXE_CLIENT: &str = "PXEClient";

/// iPXE's own sub-option 176 of option 175: no other server will send a boot file, so do not
/// wait for one (iPXE, `no-pxedhcp`). Saves two to three seconds of every start.
const IPXE_NO_PROXY: [u8; 3] = [176, 1, 1];

/// PXE's sub-option 6: load the boot file of this very answer, do not look for boot servers
/// (PXE 2.1, table 2-1, bit 3).
const PXE_USE_FILE: [u8; 4] = [6, 1, 8, 255];

/// PXE's boot menu with one entry, of type 0, "start from the local disk", which is taken at
/// once (PXE 2.1, table 2-1: sub-options 6, 9 and 10).
const PXE_LOCAL_DISK: &[u8; 24] = b"\x06\x01\x03\x09\x07\0\0\x04disk\x0a\x09\0starting\xff";

/// What a client needs beside its lease, most important first; what operators add takes the place of
/// what would be sent without them, or comes last.
pub(super) fn configuration(builder: Builder, question: &Question<'_>, file: &BootFile) -> Builder {
    let network = &question.network;
    let builder = builder
        .option(code::SUBNET_MASK, network.mask().octets())
        .addresses(code::ROUTER, network.router.as_slice());
    let mut builder = boot(builder, question, file)
        .addresses(code::DNS, &network.dns)
        .option(code::HOST_NAME, question.wish.hostname.unwrap_or_default());
    for option in question.all_added() {
        if is_own(option.code, file, &builder) {
            continue;
        }
        if builder.has(option.code) || question.wants(option) {
            builder = builder.replace(option.code, &option.bytes);
        }
    }
    builder
}

/// Whether an option is no operator's: those by which our own init and firmware know that this
/// answer is for them. What a network has for its telephones would keep its nodes from booting.
fn is_own(code: u8, file: &BootFile, builder: &Builder) -> bool {
    match code {
        code::VENDOR_OPTIONS | code::VENDOR_CLASS | code::TFTP_SERVER => builder.has(code),
        code::BOOT_FILE => matches!(file, BootFile::Hint(_)),
        _ => false,
    }
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

impl Question<'_> {
    /// Every option that an operator adds: the node's, the class's, the network's.
    fn all_added(&self) -> impl Iterator<Item = &DhcpOption> {
        let [own, class] = self.wish.options;
        let lists = [own, class, &self.network.options];
        (0..lists.len()).flat_map(move |at| {
            let earlier = move |code| lists[..at].iter().any(|it| has(it, code));
            lists[at].iter().filter(move |it| !earlier(it.code))
        })
    }

    fn added(&self, code: u8) -> Option<&DhcpOption> {
        let [own, class] = self.wish.options;
        let mut all = own.iter().chain(class).chain(&self.network.options);
        all.find(|it| it.code == code)
    }

    fn wants(&self, option: &DhcpOption) -> bool {
        let asked = &self.request.parameters;
        option.always || asked.is_empty() || asked.contains(&option.code)
    }
}

fn has(options: &[DhcpOption], code: u8) -> bool {
    options.iter().any(|it| it.code == code)
}

/// The boot file, unless an operator's option 67 takes its place.
fn boot(builder: Builder, question: &Question<'_>, file: &BootFile) -> Builder {
    let server = question.address;
    if let BootFile::Hint(hint) = file {
        return builder.option(code::VENDOR_OPTIONS, hint.to_bytes());
    }
    if let Some(option) = question.added(code::BOOT_FILE) {
        let name = String::from_utf8_lossy(&option.bytes);
        return builder.siaddr(server).file_field(&name);
    }
    match file {
        BootFile::Tftp { path } => {
            let builder = builder
                .siaddr(server)
                .server_name(&server.to_string())
                .boot_file(path)
                .option(code::TFTP_SERVER, server.to_string());
            pxe_in_proxy_mode(builder, question)
        }
        BootFile::Script { url } => {
            let builder = builder.siaddr(server).boot_file(url);
            let builder = builder.option(code::IPXE, IPXE_NO_PROXY);
            pxe_in_proxy_mode(builder, question)
        }
        BootFile::Http { url } => builder
            .option(code::VENDOR_CLASS, HTTP_CLIENT)
            .boot_file(url),
        BootFile::Server => builder
            .siaddr(server)
            .option(code::TFTP_SERVER, server.to_string()),
        BootFile::LocalDisk => pxe(builder.siaddr(server), &question.request, PXE_LOCAL_DISK),
        BootFile::Hint(_) | BootFile::Nothing | BootFile::Silence => builder,
    }
}

/// An offer without an address counts for nothing, with iPXE too, unless it is one of PXE.
fn pxe_in_proxy_mode(builder: Builder, question: &Question<'_>) -> Builder {
    if question.is_proxy() {
        pxe(builder, &question.request, &PXE_USE_FILE)
    } else {
        builder
    }
}

/// What makes an answer one of PXE: its vendor class, the client's own identifier
/// (RFC 4578, section 2.3), and option 43.
fn pxe(builder: Builder, request: &Request, vendor: &[u8]) -> Builder {
    let builder = builder
        .option(code::VENDOR_CLASS, PXE_CLIENT)
        .option(code::VENDOR_OPTIONS, vendor);
    match request.machine_id {
        Some(uuid) => builder.option(code::MACHINE_ID, machine_id(uuid)),
        None => builder,
    }
}

/// Whom an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// A client that is to have this address and may not have it yet.
    Newcomer(Ipv4Addr),
    /// A client that has this address.
    Owner(Ipv4Addr),
    /// All on the link: the client may not use the address it has.
    Everybody,
}

/// Where an answer goes (RFC 2131, section 4.1): to the relay, if one passed the question on;
/// to an address that the client has; else by broadcast if it asks for that, or in a frame for
/// its hardware address alone.
pub(super) fn datagram(question: &Question<'_>, to: To, bytes: Vec<u8>) -> Datagram {
    let (request, arrival) = (&question.request, question.arrival);
    let relayed = !request.giaddr.is_unspecified();
    let client = |ip| SocketAddrV4::new(ip, CLIENT_PORT);
    let (destination, link) = match to {
        _ if relayed => (SocketAddrV4::new(request.giaddr, SERVER_PORT), None),
        To::Owner(ip) => (client(ip), None),
        To::Newcomer(ip) if !request.wants_broadcast() => (client(ip), Some(request.mac)),
        To::Newcomer(_) | To::Everybody => (client(Ipv4Addr::BROADCAST), None),
    };
    let (source, port) = if relayed {
        (arrival.local, SERVER_PORT)
    } else {
        (question.address, arrival.port)
    };
    let destination = match arrival.port {
        // What comes to the boot server's port is answered at the port it came from.
        PROXY_PORT => SocketAddrV4::new(*destination.ip(), arrival.from_port),
        _ => destination,
    };
    Datagram {
        interface: if relayed { 0 } else { arrival.interface },
        source: SocketAddrV4::new(source, port),
        destination,
        link,
        bytes,
    }
}
