//! Boot choice: what each kind of client is sent, and why.
//!
//! | client | knows itself by | is sent |
//! |---|---|---|
//! | UEFI network boot | architecture 7, 9, 11, 27 | the boot image by TFTP, or iPXE where the network wants it first |
//! | UEFI HTTP boot | vendor class `HTTPClient`, architecture 16, 19, 28 | the boot image by HTTP |
//! | iPXE | user class `iPXE` | a script by HTTP |
//! | our own `init` | vendor class `bootd-node` | where the master is |
//! | PXE ROM of a PC BIOS | architecture 0 | iPXE by TFTP |
//! | U-Boot, as itself | vendor class `U-Boot…`, architecture 21, 22 | where TFTP is: it knows the names of its files |
//! | anything else | | an address alone |
//!
//! A machine that is to start from its own disk is told so in the words of its firmware: a script,
//! a boot menu of one entry (PXE 2.1, section 2.4), or, for UEFI, by the loader that is on its disk
//! anyway, sent by the network: UEFI that is sent nothing, or back, tries whatever else is in its
//! list before the disk, which takes a minute for each way to boot by IPv6.

mod kind;
pub mod pxelinux;
pub mod script;

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

pub use kind::{ClientArch, ClientKind};
use script::{script_url, server};

use crate::dhcp::hint::MasterHint;
use crate::dhcp::packet::Request;
use crate::digest::Digest;
use crate::identity::{Arch, Mac, SystemUuid};

/// Who asks: all that the catalog's rules can go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its hardware address.
    pub mac: Mac,
    /// Its system UUID, if it says a usable one.
    pub uuid: Option<SystemUuid>,
    /// What it is.
    pub kind: ClientKind,
    /// Its vendor class (option 60), where it is known.
    pub vendor_class: Option<String>,
    /// Where it is.
    pub place: Place,
}

impl Client {
    /// Who sent `request`, from the network of this name.
    #[must_use]
    pub fn of(request: &Request, network: &Arc<str>) -> Self {
        Client {
            mac: request.mac,
            uuid: request.machine_id,
            kind: ClientKind::of(request),
            vendor_class: request.vendor_class.clone(),
            place: Place::of(request, network),
        }
    }
}

/// Where a client is, as its relays tell it (RFC 3046).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// The name of its network.
    pub network: Option<Arc<str>>,
    /// The relay that passed it on.
    pub relay: Option<Ipv4Addr>,
    /// The relay's name for the port that the client hangs on (circuit-id).
    pub circuit: Option<Arc<str>>,
    /// The relay's name for itself or the client's line (remote-id).
    pub remote: Option<Arc<str>>,
}

impl Place {
    fn of(request: &Request, network: &Arc<str>) -> Self {
        let agent = request.relay_agent.as_ref();
        Place {
            network: Some(Arc::clone(network)),
            relay: Some(request.giaddr).filter(|it| !it.is_unspecified()),
            circuit: agent.and_then(|it| it.circuit.as_deref()).map(Arc::from),
            remote: agent.and_then(|it| it.remote.as_deref()).map(Arc::from),
        }
    }
}

/// How machines of a network, class or node load their boot image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BootPolicy {
    /// By which protocol firmware may load; `None` is both, as the firmware asks. iPXE loads by
    /// HTTP in any case, U-Boot by TFTP.
    pub boot_by: Option<BootBy>,
    /// What UEFI firmware loads by TFTP first; `None` is the boot image itself.
    pub uefi_loader: Option<UefiLoader>,
}

/// A protocol by which firmware loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BootBy {
    /// TFTP: PXE.
    Tftp,
    /// HTTP: UEFI HTTP boot.
    Http,
}

/// A build of iPXE for UEFI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UefiLoader {
    /// With iPXE's own drivers: `ipxe.efi`.
    Ipxe,
    /// With the firmware's driver of the card it was loaded by: `snponly.efi`.
    Snponly,
}

impl UefiLoader {
    /// Its file.
    #[must_use]
    pub const fn file(self) -> &'static str {
        match self {
            UefiLoader::Ipxe => "ipxe.efi",
            UefiLoader::Snponly => "snponly.efi",
        }
    }
}

/// What the PXE ROM of a PC BIOS loads: iPXE on top of the ROM's own driver.
const BIOS_LOADER: &str = "undionly.kpxe";

/// What the catalog has for a client. Every variant says in words which rule led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// Boot this image.
    Boot {
        /// SHA-256 of the unified kernel image for the client's architecture.
        uki: Digest,
        /// Why this one.
        reason: Arc<str>,
    },
    /// Start from the disk: it holds what is to run.
    Local {
        /// SHA-256 of the loader that starts a UEFI machine from its disk, wherever it was loaded
        /// from.
        loader: Option<Digest>,
        /// Why.
        reason: Arc<str>,
    },
    /// Stay where you are and ask again.
    Hold {
        /// Why.
        reason: Arc<str>,
    },
    /// An address, but no boot file.
    None {
        /// Why.
        reason: Arc<str>,
    },
    /// Not ours: no answer at all.
    Ignore {
        /// Why.
        reason: Arc<str>,
    },
}

impl Offer {
    /// Why.
    #[must_use]
    pub const fn reason(&self) -> &Arc<str> {
        match self {
            Offer::Boot { reason, .. }
            | Offer::Local { reason, .. }
            | Offer::Hold { reason }
            | Offer::None { reason }
            | Offer::Ignore { reason } => reason,
        }
    }
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
    /// Where TFTP is, and no file: the client knows what to ask for.
    Server,
    /// Where the master is: option 43.
    Hint(MasterHint),
    /// What is behind the network card in the firmware's list, the machine's own disk as a rule:
    /// a boot menu with nothing else on it (option 43).
    LocalDisk,
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
        reason: Arc<str>,
    },
    /// It loads iPXE, which asks again.
    Chain(&'static str, Arc<str>),
    /// It asks TFTP for its configuration, which is decided on then.
    OwnName(ClientKind, Arc<str>),
    /// It is our own `init`, which asks the master itself.
    OwnInit,
    /// It is to start from its disk.
    Local(Arc<str>),
    /// The catalog says: wait.
    Hold(Arc<str>),
    /// The catalog says: no boot file.
    NoOffer(Arc<str>),
    /// The catalog says: not ours.
    Ignored(Arc<str>),
    /// The catalog wants it to load by the other protocol.
    NotThisWay(BootBy),
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
            Why::Chain(loader, reason) => write!(f, "loads {loader} first: {reason}"),
            Why::OwnName(client, reason) => {
                write!(f, "{client} asks TFTP for its configuration: {reason}")
            }
            Why::OwnInit => f.write_str("our init asks the master itself"),
            Why::Local(reason) => write!(f, "starts from its disk: {reason}"),
            Why::Hold(reason) => write!(f, "held: {reason}"),
            Why::NoOffer(reason) => write!(f, "no boot file: {reason}"),
            Why::Ignored(reason) => write!(f, "ignored: {reason}"),
            Why::NotThisWay(BootBy::Tftp) => {
                f.write_str("no boot file by HTTP: boot_by is tftp, and its firmware asks again")
            }
            Why::NotThisWay(BootBy::Http) => {
                f.write_str("no boot file by TFTP: boot_by is http, and its firmware asks again")
            }
            Why::Unsupported(arch) => write!(f, "no boot file: no boot image runs on {arch}"),
            Why::NotBooting => f.write_str("no boot file: the client asks for an address only"),
        }
    }
}

/// Chooses what `client` is sent by the master at `master`, given what the catalog offers it.
#[must_use]
pub fn choose(client: &Client, offer: &Offer, policy: BootPolicy, master: &MasterHint) -> Choice {
    if let Offer::Ignore { reason } = offer {
        return choice(BootFile::Silence, Why::Ignored(Arc::clone(reason)));
    }
    match client.kind {
        ClientKind::Init { .. } => choice(BootFile::Hint(*master), Why::OwnInit),
        ClientKind::UBoot(_) => choice(
            BootFile::Server,
            Why::OwnName(client.kind, Arc::clone(offer.reason())),
        ),
        ClientKind::Unsupported(arch) => choice(BootFile::Nothing, Why::Unsupported(arch)),
        ClientKind::Plain => choice(BootFile::Nothing, Why::NotBooting),
        ClientKind::Ipxe { arch, firmware } => {
            let url = script_url(client, arch, firmware, master);
            script(client.kind, offer, BootFile::Script { url })
        }
        ClientKind::BiosRom => chain(offer, BIOS_LOADER),
        // An offer without a boot file it waits out for a minute; this takes it to its next entry.
        ClientKind::UefiPxe(_) if policy.boot_by == Some(BootBy::Http) => {
            choice(BootFile::LocalDisk, Why::NotThisWay(BootBy::Http))
        }
        ClientKind::UefiPxe(arch) => match (policy.uefi_loader, offer) {
            // The loaders at hand are built for this one alone.
            (Some(loader), Offer::Boot { .. } | Offer::Hold { .. }) if arch == Arch::X86_64 => {
                chain(offer, loader.file())
            }
            _ => image(client.kind, offer, |uki| BootFile::Tftp {
                path: format!("boot/{uki}.efi"),
            }),
        },
        ClientKind::UefiHttp(_) if policy.boot_by == Some(BootBy::Tftp) => {
            choice(BootFile::Nothing, Why::NotThisWay(BootBy::Tftp))
        }
        ClientKind::UefiHttp(_) => image(client.kind, offer, |uki| BootFile::Http {
            url: format!("{}/boot/{uki}.efi", server(master.ip, master.http_port)),
        }),
    }
}

fn choice(file: BootFile, why: Why) -> Choice {
    Choice { file, why }
}

/// For firmware that loads the image itself: the image if there is one, or the disk's loader,
/// else nothing.
fn image(kind: ClientKind, offer: &Offer, file: impl FnOnce(&Digest) -> BootFile) -> Choice {
    let file = match (offer, kind) {
        (Offer::Boot { uki, .. }, _) => file(uki),
        (
            Offer::Local {
                loader: Some(loader),
                ..
            },
            _,
        ) => file(loader),
        // HTTP boot has no word for it; without a boot file the firmware tries its next entry.
        (Offer::Local { loader: None, .. }, ClientKind::UefiPxe(_)) => BootFile::LocalDisk,
        (
            Offer::Local { .. } | Offer::Hold { .. } | Offer::None { .. } | Offer::Ignore { .. },
            _,
        ) => BootFile::Nothing,
    };
    choice(file, why(kind, offer))
}

/// For firmware that loads iPXE first, which can wait and ask again.
fn chain(offer: &Offer, loader: &'static str) -> Choice {
    match offer {
        Offer::Boot { reason, .. } | Offer::Hold { reason } => choice(
            BootFile::Tftp {
                path: format!("ipxe/{loader}"),
            },
            Why::Chain(loader, Arc::clone(reason)),
        ),
        Offer::Local { reason, .. } => choice(BootFile::LocalDisk, Why::Local(Arc::clone(reason))),
        Offer::None { reason } | Offer::Ignore { reason } => {
            choice(BootFile::Nothing, Why::NoOffer(Arc::clone(reason)))
        }
    }
}

/// For iPXE: a script to boot, to hold and to start from the disk.
fn script(kind: ClientKind, offer: &Offer, file: BootFile) -> Choice {
    let file = match offer {
        Offer::Boot { .. } | Offer::Local { .. } | Offer::Hold { .. } => file,
        Offer::None { .. } | Offer::Ignore { .. } => BootFile::Nothing,
    };
    choice(file, why(kind, offer))
}

fn why(client: ClientKind, offer: &Offer) -> Why {
    let reason = Arc::clone(offer.reason());
    match offer {
        Offer::Boot { uki, .. } => Why::Image {
            client,
            uki: *uki,
            reason,
        },
        Offer::Local { .. } => Why::Local(reason),
        Offer::Hold { .. } => Why::Hold(reason),
        Offer::None { .. } => Why::NoOffer(reason),
        Offer::Ignore { .. } => Why::Ignored(reason),
    }
}

#[cfg(test)]
mod tests;
