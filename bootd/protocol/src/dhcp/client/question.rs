//! What the node sends.

use std::net::Ipv4Addr;

use super::Config;
use crate::boot_choice::ClientArch;
use crate::dhcp::NODE_VENDOR_CLASS;
use crate::dhcp::packet::{Builder, Kind, code, machine_id};

/// Longest datagram we take, IP header included (option 57).
const MAX_MESSAGE_SIZE: u16 = 1500;

/// What we ask for (option 55).
const PARAMETERS: [u8; 9] = [
    code::SUBNET_MASK,
    code::ROUTER,
    code::DNS,
    code::HOST_NAME,
    code::VENDOR_OPTIONS,
    code::LEASE_SECONDS,
    code::SERVER_ID,
    code::T1_SECONDS,
    code::T2_SECONDS,
];

/// The addresses of a question, in the four states that ask (RFC 2131, section 4.3.6, table 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Who is there?
    Discover,
    /// I take up this server's offer of this address.
    Select { server: Ipv4Addr, ip: Ipv4Addr },
    /// I had this address at my last boot.
    Reboot { ip: Ipv4Addr },
    /// I have this address: where is a master?
    Inform { ip: Ipv4Addr },
    /// I have this address and want to keep it.
    Extend { ip: Ipv4Addr },
    /// Somebody else uses this address.
    Decline { server: Ipv4Addr, ip: Ipv4Addr },
}

impl Question {
    pub(super) fn packet(self, config: &Config, xid: u32, secs: u16) -> Vec<u8> {
        let new = |kind| Builder::request(kind, xid, config.mac).secs(secs);
        let packet = match self {
            Question::Discover => new(Kind::Discover).broadcast(),
            Question::Select { server, ip } => new(Kind::Request)
                .broadcast()
                .option(code::REQUESTED_ADDRESS, ip.octets())
                .option(code::SERVER_ID, server.octets()),
            Question::Reboot { ip } => new(Kind::Request)
                .broadcast()
                .option(code::REQUESTED_ADDRESS, ip.octets()),
            Question::Inform { ip } => new(Kind::Inform).ciaddr(ip),
            Question::Extend { ip } => new(Kind::Request).ciaddr(ip),
            Question::Decline { server, ip } => {
                // No other option but the client identifier is allowed here.
                let packet = new(Kind::Decline)
                    .option(code::REQUESTED_ADDRESS, ip.octets())
                    .option(code::SERVER_ID, server.octets())
                    .option(code::CLIENT_ID, client_id(config));
                return packet.build().bytes;
            }
        };
        describe(packet, config).build().bytes
    }
}

/// What tells a master who we are.
fn describe(packet: Builder, config: &Config) -> Builder {
    let (arch, firmware) = config.machine;
    let packet = packet
        .option(code::MAX_MESSAGE_SIZE, MAX_MESSAGE_SIZE.to_be_bytes())
        .option(code::VENDOR_CLASS, NODE_VENDOR_CLASS)
        .option(code::CLIENT_ID, client_id(config))
        .option(
            code::CLIENT_ARCH,
            ClientArch::number_of(arch, firmware).to_be_bytes(),
        )
        .option(code::PARAMETER_LIST, PARAMETERS);
    match config.uuid {
        Some(uuid) => packet.option(code::MACHINE_ID, machine_id(uuid)),
        None => packet,
    }
}

/// Type 1 (Ethernet) and the address (RFC 2132, section 9.14).
fn client_id(config: &Config) -> Vec<u8> {
    [&[1], config.mac.0.as_slice()].concat()
}
