//! The packets of RFC 1350 §5 and RFC 2347, borrowed from the datagram.

use std::fmt;

use super::{DATA_HEADER_LEN, Options};

/// One TFTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Read request (opcode 1).
    Read(Request<'a>),
    /// Write request (opcode 2).
    Write(Request<'a>),
    /// One block of the file (opcode 3).
    Data {
        /// Block number as on the wire: it wraps.
        block: u16,
        /// The block; shorter than the block size only if it is the last.
        payload: &'a [u8],
    },
    /// Acknowledgement (opcode 4).
    Ack {
        /// Block number as on the wire: it wraps.
        block: u16,
    },
    /// The sender gives up (opcode 5).
    Error {
        /// Why, for a program.
        code: ErrorCode,
        /// Why, for a person; bytes as received, without the terminating NUL.
        message: &'a [u8],
    },
    /// Option acknowledgement (opcode 6, RFC 2347).
    OptionAck(Options<'a>),
}

/// What a read or write request asks for. Nothing in it has been judged yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// File name, without its NUL; any bytes.
    pub name: &'a [u8],
    /// Transfer mode, without its NUL; compared without regard to case.
    pub mode: &'a [u8],
    /// Options, in their order.
    pub options: Options<'a>,
}

/// Error codes of RFC 1350 (appendix) and RFC 2347 §"Error code".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// 0: not defined, see the message.
    NotDefined,
    /// 1: file not found.
    FileNotFound,
    /// 2: access violation.
    AccessViolation,
    /// 3: disk full or allocation exceeded.
    DiskFull,
    /// 4: illegal TFTP operation.
    IllegalOperation,
    /// 5: unknown transfer ID.
    UnknownTransferId,
    /// 6: file already exists.
    FileExists,
    /// 7: no such user.
    NoSuchUser,
    /// 8: options refused. EDK2 sends it to end its size probe.
    OptionsRefused,
    /// Any other number.
    Other(u16),
}

impl ErrorCode {
    /// The code on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            ErrorCode::NotDefined => 0,
            ErrorCode::FileNotFound => 1,
            ErrorCode::AccessViolation => 2,
            ErrorCode::DiskFull => 3,
            ErrorCode::IllegalOperation => 4,
            ErrorCode::UnknownTransferId => 5,
            ErrorCode::FileExists => 6,
            ErrorCode::NoSuchUser => 7,
            ErrorCode::OptionsRefused => 8,
            ErrorCode::Other(number) => number,
        }
    }
}

impl From<u16> for ErrorCode {
    fn from(number: u16) -> Self {
        match number {
            0 => ErrorCode::NotDefined,
            1 => ErrorCode::FileNotFound,
            2 => ErrorCode::AccessViolation,
            3 => ErrorCode::DiskFull,
            4 => ErrorCode::IllegalOperation,
            5 => ErrorCode::UnknownTransferId,
            6 => ErrorCode::FileExists,
            7 => ErrorCode::NoSuchUser,
            8 => ErrorCode::OptionsRefused,
            other => ErrorCode::Other(other),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}", self.number())
    }
}

/// A datagram that is not a TFTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Fewer bytes than the packet's fixed part.
    #[error("the datagram ends inside the packet's fixed part")]
    TooShort,
    /// An opcode outside 1..=6.
    #[error("opcode {0} is not known")]
    Opcode(u16),
    /// A request whose name or mode has no NUL.
    #[error("a request's name or mode is not terminated")]
    Unterminated,
}

impl<'a> Packet<'a> {
    /// Reads a packet. Total: any bytes give a packet or an error.
    ///
    /// Lenient where firmware is known to be loose and nothing is lost by it: bytes after an
    /// ACK's block number, a missing NUL at the end of an ERROR's message, and a broken tail of
    /// an option list are passed over.
    ///
    /// # Errors
    /// [`ParseError`] if the fixed part is missing or the opcode unknown.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (opcode, body) = split_u16(datagram)?;
        match opcode {
            1 => Request::parse(body).map(Packet::Read),
            2 => Request::parse(body).map(Packet::Write),
            3 => split_u16(body).map(|(block, payload)| Packet::Data { block, payload }),
            4 => split_u16(body).map(|(block, _)| Packet::Ack { block }),
            5 => split_u16(body).map(|(code, text)| Packet::Error {
                code: code.into(),
                message: split_nul(text).map_or(text, |(message, _)| message),
            }),
            6 => Ok(Packet::OptionAck(Options::from_wire(body))),
            other => Err(ParseError::Opcode(other)),
        }
    }

    /// The packet's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Packet::Read(request) => request.to_bytes(1),
            Packet::Write(request) => request.to_bytes(2),
            Packet::Data { block, payload } => [&data_header(*block)[..], payload].concat(),
            Packet::Ack { block } => head(4, *block).to_vec(),
            Packet::Error { code, message } => {
                [&head(5, code.number())[..], message, &[0]].concat()
            }
            Packet::OptionAck(options) => [&[0, 6], options.as_wire()].concat(),
        }
    }
}

impl<'a> Request<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (name, rest) = split_nul(body).ok_or(ParseError::Unterminated)?;
        let (mode, rest) = split_nul(rest).ok_or(ParseError::Unterminated)?;
        Ok(Request {
            name,
            mode,
            options: Options::from_wire(rest),
        })
    }

    fn to_bytes(self, opcode: u8) -> Vec<u8> {
        let options = self.options.as_wire();
        [&[0, opcode][..], self.name, &[0], self.mode, &[0], options].concat()
    }
}

/// The four bytes in front of a block: what the edge writes before it reads the file behind it.
#[must_use]
pub const fn data_header(block: u16) -> [u8; DATA_HEADER_LEN] {
    head(3, block)
}

const fn head(opcode: u8, word: u16) -> [u8; DATA_HEADER_LEN] {
    let [high, low] = word.to_be_bytes();
    [0, opcode, high, low]
}

fn split_u16(bytes: &[u8]) -> Result<(u16, &[u8]), ParseError> {
    let (word, rest) = bytes.split_first_chunk().ok_or(ParseError::TooShort)?;
    Ok((u16::from_be_bytes(*word), rest))
}

/// The bytes before the first NUL, and those behind it.
pub(super) fn split_nul(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}
