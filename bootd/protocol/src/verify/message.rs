//! The bodies of versions 1 and 2.
//!
//! Version 2 has the two actions that version 1 has not ([`Action::Restart`], [`Action::Test`]), a
//! body in the [`Receipt`], and all of [`Smbios`], of which version 1 has the product alone. All else
//! is the same.

use std::fmt;
use std::str::FromStr;

use super::codec::{Malformed, Reader, put_text};
use super::key::PublicKey;
use crate::digest::Digest;
use crate::identity::{Arch, Firmware, Mac, ParseIdentityError, SystemUuid, named_enum};
use crate::smbios::{MAX_CHASSIS, MAX_PRODUCT, MAX_SERIAL, MAX_SLOT, MAX_VENDOR, Smbios};

/// Longest host name in a [`Verdict`], in bytes (RFC 1035, section 2.3.4).
pub const MAX_HOSTNAME: u8 = 63;
/// How often a node that runs reports until it is told, in seconds.
pub const REPORT_SECS: u16 = 10;
/// Longest reason or message, in bytes; longer ones are cut.
pub const MAX_TEXT: u8 = 120;

named_enum! {
    /// Where the running kernel came from.
    BootedFrom, "network, a or b", {
        /// From the network, by PXE or HTTP boot.
        Network = 0 "network",
        /// From boot slot a of the local disk.
        SlotA = 1 "a",
        /// From boot slot b of the local disk.
        SlotB = 2 "b",
    }
}

named_enum! {
    /// What a node is doing.
    Stage, "a stage", {
        /// It got a boot image from the network.
        Netboot = 1 "netboot",
        /// It asked and waits for a better answer.
        Holding = 2 "holding",
        /// It prepares its disk.
        Preparing = 3 "preparing",
        /// It fetches what it lacks.
        Fetching = 4 "fetching",
        /// It writes a boot slot.
        Writing = 5 "writing",
        /// It restarts into what it wrote.
        Restarting = 6 "restarting",
        /// It runs what it should.
        Running = 7 "running",
        /// Something went wrong; the message says what.
        Failed = 8 "failed",
    }
}

/// Counts a node's datagrams, so that none counts twice: the number of the boot, then the
/// number of the datagram in it. Grows for as long as the node keeps its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Sequence {
    /// Grows with every boot.
    pub boot: u64,
    /// Grows with every datagram of a boot.
    pub datagram: u32,
}

/// Who asks: the same in every datagram of a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The node's public key.
    pub key: PublicKey,
    /// The network card it uses.
    pub mac: Mac,
    /// The system UUID of its board.
    pub uuid: SystemUuid,
    /// Its processor.
    pub arch: Arch,
    /// Its firmware.
    pub firmware: Firmware,
    /// Whether the key is on the node's disk already: only such a key is bound, as another one
    /// takes its place if the power goes before.
    pub key_is_kept: bool,
    /// What its board says, perhaps cut.
    pub smbios: Smbios,
}

impl Identity {
    fn put(&self, version: u8, out: &mut Vec<u8>) {
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(&self.mac.0);
        out.extend_from_slice(&self.uuid.0);
        out.extend_from_slice(&[self.arch.code(), self.firmware.code()]);
        out.push(u8::from(self.key_is_kept));
        put_smbios(out, version, &self.smbios);
    }

    fn read(version: u8, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Identity {
            key: PublicKey::from_bytes(&reader.array()?).ok_or(Malformed)?,
            mac: Mac(reader.array()?),
            uuid: SystemUuid(reader.array()?),
            arch: Arch::from_code(reader.u8()?).ok_or(Malformed)?,
            firmware: Firmware::from_code(reader.u8()?).ok_or(Malformed)?,
            key_is_kept: reader.flag()?,
            smbios: read_smbios(version, reader)?,
        })
    }
}

/// *Is what I have still right?*
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Who asks.
    pub identity: Identity,
    /// Never seen before from this node.
    pub sequence: Sequence,
    /// Where its kernel came from.
    pub booted_from: BootedFrom,
    /// The manifest it has, or [`Digest::NONE`].
    pub manifest: Digest,
    /// The manifest whose boot image did not come up, or [`Digest::NONE`].
    pub failed: Digest,
}

impl Ask {
    /// The body, in this version of the protocol.
    #[must_use]
    pub fn to_body(&self, version: u8) -> Vec<u8> {
        let mut out = Vec::with_capacity(384);
        self.identity.put(version, &mut out);
        put_sequence(&mut out, self.sequence);
        out.push(self.booted_from.code());
        out.extend_from_slice(self.manifest.as_bytes());
        out.extend_from_slice(self.failed.as_bytes());
        out
    }

    /// Reads the body of this version.
    ///
    /// # Errors
    /// It does not parse.
    pub fn from_body(body: &[u8], version: u8) -> Result<Self, Malformed> {
        let reader = &mut Reader(body);
        Ok(Ask {
            identity: Identity::read(version, reader)?,
            sequence: read_sequence(reader)?,
            booted_from: BootedFrom::from_code(reader.u8()?).ok_or(Malformed)?,
            manifest: Digest::from_bytes(reader.array()?),
            failed: Digest::from_bytes(reader.array()?),
        })
    }
}

/// *This is what I am doing.*
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Who reports.
    pub identity: Identity,
    /// Never seen before from this node.
    pub sequence: Sequence,
    /// What it is doing.
    pub stage: Stage,
    /// The manifest it is doing it with, or [`Digest::NONE`].
    pub manifest: Digest,
    /// Bytes done of this stage.
    pub done: u64,
    /// Bytes in all of this stage; 0 if it has no measure.
    pub total: u64,
    /// For people.
    pub text: String,
}

impl Report {
    /// The body, in this version of the protocol.
    #[must_use]
    pub fn to_body(&self, version: u8) -> Vec<u8> {
        let mut out = Vec::with_capacity(400);
        self.identity.put(version, &mut out);
        put_sequence(&mut out, self.sequence);
        out.push(self.stage.code());
        out.extend_from_slice(self.manifest.as_bytes());
        out.extend_from_slice(&self.done.to_be_bytes());
        out.extend_from_slice(&self.total.to_be_bytes());
        put_text(&mut out, &self.text, MAX_TEXT);
        out
    }

    /// Reads the body of this version.
    ///
    /// # Errors
    /// It does not parse.
    pub fn from_body(body: &[u8], version: u8) -> Result<Self, Malformed> {
        let reader = &mut Reader(body);
        Ok(Report {
            identity: Identity::read(version, reader)?,
            sequence: read_sequence(reader)?,
            stage: Stage::from_code(reader.u8()?).ok_or(Malformed)?,
            manifest: Digest::from_bytes(reader.array()?),
            done: reader.u64()?,
            total: reader.u64()?,
            text: reader.text(usize::from(MAX_TEXT))?.to_owned(),
        })
    }
}

/// The master's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What the node shall do.
    pub action: Action,
    /// The name the catalog knows it by; empty if it has none.
    pub hostname: String,
    /// Why, for people.
    pub reason: String,
}

/// What a node shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Run what it has.
    Run,
    /// Make itself what this manifest says.
    Install {
        /// Names the manifest.
        manifest: Digest,
        /// Its length in bytes.
        size: u32,
        /// Where the master serves it and its blobs by HTTP.
        http_port: u16,
    },
    /// Run nothing, ask again later.
    Hold {
        /// Seconds until then.
        retry_after: u16,
    },
    /// Restart the machine now. Since version 2.
    Restart,
    /// Make itself what this manifest says, in RAM: the disk stays as it is, and the next boot is
    /// from there. Since version 2.
    Test {
        /// Names the manifest.
        manifest: Digest,
        /// Its length in bytes.
        size: u32,
        /// Where the master serves it and its blobs by HTTP.
        http_port: u16,
    },
}

impl Action {
    /// The version of the protocol that has it first.
    #[must_use]
    pub const fn since(&self) -> u8 {
        match self {
            Action::Run | Action::Install { .. } | Action::Hold { .. } => 1,
            Action::Restart | Action::Test { .. } => 2,
        }
    }
}

impl Verdict {
    /// The body.
    #[must_use]
    pub fn to_body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        match &self.action {
            Action::Run => out.push(1),
            Action::Install {
                manifest,
                size,
                http_port,
            } => {
                out.push(2);
                put_source(&mut out, manifest, *size, *http_port);
            }
            Action::Hold { retry_after } => {
                out.push(3);
                out.extend_from_slice(&retry_after.to_be_bytes());
            }
            Action::Restart => out.push(4),
            Action::Test {
                manifest,
                size,
                http_port,
            } => {
                out.push(5);
                put_source(&mut out, manifest, *size, *http_port);
            }
        }
        put_text(&mut out, &self.hostname, MAX_HOSTNAME);
        put_text(&mut out, &self.reason, MAX_TEXT);
        out
    }

    /// Reads the body.
    ///
    /// # Errors
    /// It does not parse.
    pub fn from_body(body: &[u8]) -> Result<Self, Malformed> {
        let reader = &mut Reader(body);
        let action = match reader.u8()? {
            1 => Action::Run,
            2 => Action::Install {
                manifest: Digest::from_bytes(reader.array()?),
                size: reader.u32()?,
                http_port: reader.u16()?,
            },
            3 => Action::Hold {
                retry_after: reader.u16()?,
            },
            4 => Action::Restart,
            5 => Action::Test {
                manifest: Digest::from_bytes(reader.array()?),
                size: reader.u32()?,
                http_port: reader.u16()?,
            },
            _ => return Err(Malformed),
        };
        Ok(Verdict {
            action,
            hostname: reader.text(usize::from(MAX_HOSTNAME))?.to_owned(),
            reason: reader.text(usize::from(MAX_TEXT))?.to_owned(),
        })
    }
}

named_enum! {
    /// What a node that runs is to do, told by the answer to a [`Report`].
    Order, "none or restart", {
        /// Go on.
        None = 0 "none",
        /// End its processes and restart the machine.
        Restart = 1 "restart",
    }
}

/// The master's answer to a [`Report`]. It has no body in version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Seconds until a node that runs reports again.
    pub next_report: u16,
    /// What it is to do.
    pub order: Order,
    /// Why, for people.
    pub reason: String,
}

impl Default for Receipt {
    fn default() -> Self {
        Receipt {
            next_report: REPORT_SECS,
            order: Order::None,
            reason: String::new(),
        }
    }
}

impl Receipt {
    /// The body of version 2.
    #[must_use]
    pub fn to_body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        out.extend_from_slice(&self.next_report.to_be_bytes());
        out.push(self.order.code());
        put_text(&mut out, &self.reason, MAX_TEXT);
        out
    }

    /// Reads the body of version 2.
    ///
    /// # Errors
    /// It does not parse.
    pub fn from_body(body: &[u8]) -> Result<Self, Malformed> {
        let reader = &mut Reader(body);
        Ok(Receipt {
            next_report: reader.u16()?,
            order: Order::from_code(reader.u8()?).ok_or(Malformed)?,
            reason: reader.text(usize::from(MAX_TEXT))?.to_owned(),
        })
    }
}

/// What to fetch, and where.
fn put_source(out: &mut Vec<u8>, manifest: &Digest, size: u32, http_port: u16) {
    out.extend_from_slice(manifest.as_bytes());
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(&http_port.to_be_bytes());
}

fn put_smbios(out: &mut Vec<u8>, version: u8, smbios: &Smbios) {
    put_text(out, &smbios.product, MAX_PRODUCT);
    if version >= 2 {
        put_text(out, &smbios.vendor, MAX_VENDOR);
        put_text(out, &smbios.serial, MAX_SERIAL);
        put_text(out, &smbios.chassis, MAX_CHASSIS);
        put_text(out, &smbios.slot, MAX_SLOT);
    }
}

fn read_smbios(version: u8, reader: &mut Reader<'_>) -> Result<Smbios, Malformed> {
    let mut text = |max| reader.text(usize::from(max)).map(str::to_owned);
    let product = text(MAX_PRODUCT)?;
    if version < 2 {
        return Ok(Smbios {
            product,
            ..Smbios::default()
        });
    }
    Ok(Smbios {
        product,
        vendor: text(MAX_VENDOR)?,
        serial: text(MAX_SERIAL)?,
        chassis: text(MAX_CHASSIS)?,
        slot: text(MAX_SLOT)?,
    })
}

fn put_sequence(out: &mut Vec<u8>, sequence: Sequence) {
    out.extend_from_slice(&sequence.boot.to_be_bytes());
    out.extend_from_slice(&sequence.datagram.to_be_bytes());
}

fn read_sequence(reader: &mut Reader<'_>) -> Result<Sequence, Malformed> {
    Ok(Sequence {
        boot: reader.u64()?,
        datagram: reader.u32()?,
    })
}
