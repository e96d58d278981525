//! Packets of real firmware and of our own `init`, what we read in them, and what we answer.
//!
//! `NAME.hex` is the packet, `NAME.txt` what is read, `NAME.answer.hex` the server's answer.
//! The packets are frozen: where a test fails because of one, the code is wrong.

use std::time::Duration;

use bootd_protocol::dhcp::client;
use bootd_protocol::dhcp::packet::Request;
use bootd_protocol::dhcp::server::{Command, Server};
use bootd_protocol::identity::{Arch, Firmware, Mac};

use crate::world::{ARRIVAL, Catalog, config};

macro_rules! fixtures {
    ($($name:ident = $file:literal,)+) => {$(
        #[test]
        fn $name() {
            check(
                $file,
                include_str!(concat!("../fixtures/dhcp/", $file, ".hex")),
                include_str!(concat!("../fixtures/dhcp/", $file, ".txt")),
                include_str!(concat!("../fixtures/dhcp/", $file, ".answer.hex")),
            );
        }
    )+};
}

fixtures! {
    ipxe_discover = "ipxe-discover",
    ipxe_request = "ipxe-request",
    ovmf_pxe_discover = "ovmf-pxe-discover",
    ovmf_pxe_request = "ovmf-pxe-request",
    ovmf_http_discover = "ovmf-http-discover",
    ovmf_http_request = "ovmf-http-request",
    u_boot_arm64_discover = "u-boot-arm64-discover",
    u_boot_arm64_request = "u-boot-arm64-request",
    u_boot_efi_discover = "u-boot-efi-discover",
    u_boot_efi_request = "u-boot-efi-request",
    u_boot_x86_discover = "u-boot-x86-discover",
    u_boot_x86_request = "u-boot-x86-request",
    aavmf_pxe_discover = "aavmf-pxe-discover",
    aavmf_pxe_request = "aavmf-pxe-request",
    aavmf_http_discover = "aavmf-http-discover",
    aavmf_http_request = "aavmf-http-request",
    init_discover = "init-discover",
    init_request = "init-request",
    init_renew = "init-renew",
}

fn check(name: &str, packet: &str, text: &str, answer: &str) {
    let packet = from_hex(packet);
    let request = Request::parse(&packet).expect("a fixture is a client's packet");
    let read = format!("{request:#?}\n");
    assert!(read == text, "{name} is read as\n{read}");

    let answered = to_hex(&answer_to(&packet));
    let body: String = answer
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(answered == body, "{name} is answered by\n{answered}");
}

/// The datagram by which a server answers that has leased nothing but what a renewal needs.
fn answer_to(packet: &[u8]) -> Vec<u8> {
    let (mut server, _) = Server::new(config());
    let [discover, request] = [INIT_DISCOVER, INIT_REQUEST].map(from_hex);
    let renewal = packet == from_hex(INIT_RENEW);
    let before = if renewal {
        vec![discover, request]
    } else {
        vec![]
    };
    let mut sent = Vec::new();
    for bytes in before.iter().map(Vec::as_slice).chain([packet]) {
        server.handle_packet(bytes, &ARRIVAL, Duration::from_secs(1000), &Catalog);
        while let Some(command) = server.next_command() {
            match command {
                Command::Send(datagram) | Command::SendAfterCommit { datagram, .. } => {
                    sent = datagram.bytes;
                }
                Command::Persist { .. } | Command::Probe { .. } | Command::Report(_) => {}
            }
        }
    }
    sent
}

const INIT_DISCOVER: &str = include_str!("../fixtures/dhcp/init-discover.hex");
const INIT_REQUEST: &str = include_str!("../fixtures/dhcp/init-request.hex");
const INIT_RENEW: &str = include_str!("../fixtures/dhcp/init-renew.hex");

/// Our own packets are not captured but made: by a client with seed 1, against our own server.
#[test]
fn init_sends_what_the_fixtures_hold() {
    let node = client::Config {
        mac: Mac([0x52, 0x54, 0, 0xaa, 0, 3]),
        uuid: "564d4c2e-1f3a-4b5c-8d9e-0a1b2c3d4e5f".parse().ok(),
        machine: (Arch::X86_64, Firmware::Uefi),
    };
    let start = Duration::from_secs(1000);
    let (mut server, _) = Server::new(config());
    let mut client = client::Client::new(node, 1, start);
    for (expected, now) in [
        (INIT_DISCOVER, start),
        (INIT_REQUEST, start),
        (INIT_RENEW, start + Duration::from_secs(1800)),
    ] {
        client.handle_timeout(now);
        let mut sent = Vec::new();
        while let Some(command) = client.next_command() {
            match command {
                client::Command::SendBroadcast(bytes) | client::Command::SendUnicast(_, bytes) => {
                    sent = bytes
                }
                client::Command::Configure(_)
                | client::Command::Settled(_)
                | client::Command::Deconfigure => {}
            }
        }
        let made = to_hex(&sent);
        assert!(sent == from_hex(expected), "init sends\n{made}");
        server.handle_packet(&sent, &ARRIVAL, now, &Catalog);
        while let Some(command) = server.next_command() {
            match command {
                Command::Send(datagram) | Command::SendAfterCommit { datagram, .. } => {
                    client.handle_packet(&datagram.bytes, now);
                }
                Command::Persist { .. } | Command::Probe { .. } | Command::Report(_) => {}
            }
        }
    }
}

/// Bytes from text; lines that begin with `#` are remarks.
pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::split_whitespace)
        .map(|byte| u8::from_str_radix(byte, 16).expect("a fixture is in hexadecimal"))
        .collect()
}

fn to_hex(bytes: &[u8]) -> String {
    let line = |chunk: &[u8]| {
        let bytes: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        bytes.join(" ") + "\n"
    };
    bytes.chunks(16).map(line).collect()
}
