//! The words of the NBD protocol that this server speaks (NetworkBlockDevice/nbd,
//! `doc/proto.md`; all integers big-endian).

use std::io::{self, Read};

/// Opens the server's greeting: `NBDMAGIC`.
pub(super) const GREETING: u64 = 0x4e42_444d_4147_4943;
/// Opens every option: `IHAVEOPT`.
pub(super) const OPTION: u64 = 0x4948_4156_454f_5054;
/// Opens every answer to an option.
pub(super) const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
/// Opens every request of the transmission phase.
pub(super) const REQUEST: u32 = 0x2560_9513;
/// Opens every simple reply.
pub(super) const REPLY: u32 = 0x6744_6698;

/// Handshake flags, the same bits both ways: fixed newstyle, no zeroes.
pub(super) const FIXED_NEWSTYLE: u16 = 1;
pub(super) const NO_ZEROES: u16 = 1 << 1;

/// Options.
pub(super) mod option {
    pub(in super::super) const EXPORT_NAME: u32 = 1;
    pub(in super::super) const ABORT: u32 = 2;
    pub(in super::super) const LIST: u32 = 3;
    pub(in super::super) const INFO: u32 = 6;
    pub(in super::super) const GO: u32 = 7;
}

/// Types of the answer to an option.
pub(super) mod answer {
    pub(in super::super) const ACK: u32 = 1;
    pub(in super::super) const SERVER: u32 = 2;
    pub(in super::super) const INFO: u32 = 3;
    pub(in super::super) const UNSUPPORTED: u32 = (1 << 31) + 1;
    pub(in super::super) const INVALID: u32 = (1 << 31) + 3;
    pub(in super::super) const UNKNOWN: u32 = (1 << 31) + 6;
}

/// Information in the answer to INFO and GO.
pub(super) const INFO_EXPORT: u16 = 0;
pub(super) const INFO_BLOCK_SIZE: u16 = 3;

/// Transmission flags: flags are there, flush, FUA, trim and write-zeroes are understood.
pub(super) const EXPORT_FLAGS: u16 = 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6;

/// Commands.
pub(super) mod command {
    pub(in super::super) const READ: u16 = 0;
    pub(in super::super) const WRITE: u16 = 1;
    pub(in super::super) const DISCONNECT: u16 = 2;
    pub(in super::super) const FLUSH: u16 = 3;
    pub(in super::super) const TRIM: u16 = 4;
    pub(in super::super) const WRITE_ZEROES: u16 = 6;
}

/// Command flag: force unit access.
pub(super) const FUA: u16 = 1;

/// Error numbers of replies.
pub(super) mod error {
    pub(in super::super) const NONE: u32 = 0;
    pub(in super::super) const INVALID: u32 = 22;
    pub(in super::super) const NO_SPACE: u32 = 28;
}

/// The longest payload of one request, in bytes: the protocol's default limit.
pub(super) const MAX_PAYLOAD: u32 = 32 << 20;
/// The longest option that is read: room for the longest export name (4096) and more.
pub(super) const MAX_OPTION: u32 = 64 << 10;

/// One request of the transmission phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) flags: u16,
    pub(super) command: u16,
    /// Chosen by the client and given back in the reply.
    pub(super) cookie: u64,
    pub(super) offset: u64,
    pub(super) length: u32,
}

impl Request {
    /// Bytes of a request's header.
    pub(super) const LEN: usize = 28;

    pub(super) fn decode(bytes: &[u8; Self::LEN]) -> io::Result<Self> {
        let mut rest = &bytes[..];
        let magic = read_u32(&mut rest)?;
        if magic != REQUEST {
            return Err(invalid(format!("NBD request with magic {magic:#x}")));
        }
        Ok(Request {
            flags: read_u16(&mut rest)?,
            command: read_u16(&mut rest)?,
            cookie: read_u64(&mut rest)?,
            offset: read_u64(&mut rest)?,
            length: read_u32(&mut rest)?,
        })
    }
}

/// A simple reply's header.
pub(super) fn reply(error: u32, cookie: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&REPLY.to_be_bytes());
    bytes[4..8].copy_from_slice(&error.to_be_bytes());
    bytes[8..].copy_from_slice(&cookie.to_be_bytes());
    bytes
}

/// The answer to an option.
pub(super) fn option_reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut bytes = OPTION_REPLY.to_be_bytes().to_vec();
    bytes.extend(option.to_be_bytes());
    bytes.extend(kind.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(data);
    bytes
}

pub(super) fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn read_array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn read_u16(from: &mut impl Read) -> io::Result<u16> {
    read_array(from).map(u16::from_be_bytes)
}

pub(super) fn read_u32(from: &mut impl Read) -> io::Result<u32> {
    read_array(from).map(u32::from_be_bytes)
}

pub(super) fn read_u64(from: &mut impl Read) -> io::Result<u64> {
    read_array(from).map(u64::from_be_bytes)
}
