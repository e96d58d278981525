//! Boot choice: what each kind of client is sent, and why.
//!
//! | client | knows itself by | is sent |
//! |---|---|---|
//! | UEFI network boot | architecture 7, 9, 11, 27 | the boot image by TFTP |
//! | UEFI HTTP boot | vendor class `HTTPClient`, architecture 16, 19, 28 | the boot image by HTTP |
//! | iPXE | user class `iPXE` | a script by HTTP |
//! | our own `init` | vendor class `bootd-node` | where the master is |
//! | PXE ROM of a PC BIOS | architecture 0 | nothing: it needs iPXE first |
//! | anything else | | an address alone |

mod kind;
pub mod script;

use std::fmt;
use std::net::Ipv4Addr;

pub use kind::{ClientArch, ClientKind};

use crate::dhcp::hint::MasterHint;
use crate::dhcp::packet::Request;
use crate::digest::Digest;
use crate::identity::{Arch, Firmware, Mac, SystemUuid};

/// Who asks: all that the catalog's rules can go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its hardware address.
    pub mac: Mac,
    /// Its system UUID, if it says a usable one.
    pub uuid: Option<SystemUuid>,
    /// What it is.
    pub kind: ClientKind,
}

impl Client {
    /// Who sent `request`.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        Client {
            mac: request.mac,
            uuid: request.machine_id,
            kind: ClientKind::of(request),
        }
    }
}

/// What the catalog has for a client. Every variant says in words which rule led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// Boot this image.
    Boot {
        /// SHA-256 of the unified kernel image for the client's architecture.
        uki: Digest,
        /// Why this one.
        reason: String,
    },
    /// Stay where you are and ask again.
    Hold {
        /// Why.
        reason: String,
    },
    /// An address, but no boot file.
    None {
        /// Why.
        reason: String,
    },
    /// Not ours: no answer at all.
    Ignore {
        /// Why.
        reason: String,
    },
}

/// What a client is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootFile {
    /// This file by TFTP: option 67, `file`, option 66, `sname` and next-server.
    Tftp {
        /// Its path on the server.
        path: String,
    },
    /// A script for iPXE by HTTP: option 67 and `file`.
    Script {
        /// Where it is.
        url: String,
    },
    /// This file by HTTP: option 67, and option 60 says `HTTPClient`
    /// (UEFI 2.10, section 24.7.3).
    Http {
        /// Where it is.
        url: String,
    },
    /// Where the master is: option 43.
    Hint(MasterHint),
    /// An address alone.
    Nothing,
    /// No answer at all.
    Silence,
}

/// What a client is sent, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What.
    pub file: BootFile,
    /// Why.
    pub why: Why,
}

/// Why a client is sent what it is sent. The texts are for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The catalog has an image for it.
    Image {
        /// What the client is.
        client: ClientKind,
        /// The image.
        uki: Digest,
        /// The catalog's reason.
        reason: String,
    },
    /// It is our own `init`, which asks the master itself.
    OwnInit,
    /// The catalog says: wait.
    Hold(String),
    /// The catalog says: no boot file.
    NoOffer(String),
    /// The catalog says: not ours.
    Ignored(String),
    /// A PXE ROM of a PC BIOS cannot load an image that is a kernel for EFI.
    NeedsIpxe,
    /// No boot image runs on it.
    Unsupported(ClientArch),
    /// It asked for an address and not for a boot file.
    NotBooting,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Image {
                client,
                uki,
                reason,
            } => write!(f, "{client} gets boot image {}: {reason}", uki.short()),
            Why::OwnInit => f.write_str("our init asks the master itself"),
            Why::Hold(reason) => write!(f, "held: {reason}"),
            Why::NoOffer(reason) => write!(f, "no boot file: {reason}"),
            Why::Ignored(reason) => write!(f, "ignored: {reason}"),
            Why::NeedsIpxe => f.write_str(
                "no boot file: the PXE ROM of a PC BIOS needs iPXE (user class \"iPXE\") first",
            ),
            Why::Unsupported(arch) => write!(f, "no boot file: no boot image runs on {arch}"),
            Why::NotBooting => f.write_str("no boot file: the client asks for an address only"),
        }
    }
}

/// Chooses what `client` is sent by the master at `master`, given what the catalog offers it.
#[must_use]
pub fn choose(client: &Client, offer: &Offer, master: &MasterHint) -> Choice {
    if let Offer::Ignore { reason } = offer {
        return choice(BootFile::Silence, Why::Ignored(reason.clone()));
    }
    match client.kind {
        ClientKind::Init { .. } => choice(BootFile::Hint(*master), Why::OwnInit),
        ClientKind::BiosRom => choice(BootFile::Nothing, Why::NeedsIpxe),
        ClientKind::Unsupported(arch) => choice(BootFile::Nothing, Why::Unsupported(arch)),
        ClientKind::Plain => choice(BootFile::Nothing, Why::NotBooting),
        ClientKind::Ipxe { arch, firmware } => {
            let url = script_url(client, arch, firmware, master);
            script(client.kind, offer, BootFile::Script { url })
        }
        ClientKind::UefiPxe(_) => image(client.kind, offer, |uki| BootFile::Tftp {
            path: format!("boot/{uki}.efi"),
        }),
        ClientKind::UefiHttp(_) => image(client.kind, offer, |uki| BootFile::Http {
            url: format!("{}/boot/{uki}.efi", server(master.ip, master.http_port)),
        }),
    }
}

fn choice(file: BootFile, why: Why) -> Choice {
    Choice { file, why }
}

/// For firmware that loads the image itself: the image if there is one, else nothing.
fn image(kind: ClientKind, offer: &Offer, file: impl FnOnce(&Digest) -> BootFile) -> Choice {
    let file = match offer {
        Offer::Boot { uki, .. } => file(uki),
        Offer::Hold { .. } | Offer::None { .. } | Offer::Ignore { .. } => BootFile::Nothing,
    };
    choice(file, why(kind, offer))
}

/// For iPXE: a script both to boot and to hold, since it can wait and ask again.
fn script(kind: ClientKind, offer: &Offer, file: BootFile) -> Choice {
    let file = match offer {
        Offer::Boot { .. } | Offer::Hold { .. } => file,
        Offer::None { .. } | Offer::Ignore { .. } => BootFile::Nothing,
    };
    choice(file, why(kind, offer))
}

fn why(client: ClientKind, offer: &Offer) -> Why {
    match offer {
        Offer::Boot { uki, reason } => Why::Image {
            client,
            uki: *uki,
            reason: reason.clone(),
        },
        Offer::Hold { reason } => Why::Hold(reason.clone()),
        Offer::None { reason } => Why::NoOffer(reason.clone()),
        Offer::Ignore { reason } => Why::Ignored(reason.clone()),
    }
}

/// Where iPXE gets its script: the query carries all that chooses it, since HTTP carries
/// nothing of DHCP. The MAC address is written with `-`, for iPXE would send `:` as `%3A`.
/// At most 124 bytes, so that it fits the 128 bytes of `file`.
fn script_url(client: &Client, arch: Arch, firmware: Firmware, master: &MasterHint) -> String {
    let server = server(master.ip, master.http_port);
    let mac = client.mac.to_string().replace(':', "-");
    let uuid = client.uuid.map(|it| format!("&uuid={it}"));
    format!(
        "{server}/ipxe?mac={mac}&arch={arch}&firmware={firmware}{}",
        uuid.unwrap_or_default()
    )
}

fn server(ip: Ipv4Addr, port: u16) -> String {
    format!("http://{ip}:{port}")
}

#[cfg(test)]
mod tests;
