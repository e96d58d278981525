//! The first datagram of a client, at the well-known port.

use super::{ErrorCode, Options, Packet, ParseError};

/// Longest file name that is looked at, bytes.
const MAX_NAME: usize = 255;

/// What to do with a datagram that has come to the well-known port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission<'a> {
    /// A file is asked for; whether there is one is for the caller to find out.
    Read(ReadRequest<'a>),
    /// Answer with this ERROR, once.
    Refuse(Refusal),
    /// No request: no answer, count it.
    Ignore(Option<ParseError>),
}

/// A read request in a mode that is served, with a name that may be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRequest<'a> {
    /// File name: UTF-8, 1 to 255 bytes, no control characters, no `..`, leading slashes removed.
    pub name: &'a str,
    /// The client's options.
    pub options: Options<'a>,
}

/// Why a request is refused, with the ERROR that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such file.
    #[error("file not found")]
    NotFound,
    /// The name is empty, too long, not UTF-8, or has control characters.
    #[error("not a file name")]
    BadName,
    /// The file is not for this client, or the name leads outside.
    #[error("access violation")]
    AccessViolation,
    /// A write request.
    #[error("this server is read-only")]
    ReadOnly,
    /// A mode other than `octet`.
    #[error("only octet mode is served")]
    OnlyOctet,
    /// The file is there and cannot be read now: rotten, or the disk fails.
    #[error("file cannot be read")]
    Unreadable,
}

impl Refusal {
    /// The error code (RFC 1350, appendix).
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Refusal::NotFound | Refusal::BadName => ErrorCode::FileNotFound,
            Refusal::AccessViolation | Refusal::ReadOnly => ErrorCode::AccessViolation,
            Refusal::OnlyOctet => ErrorCode::IllegalOperation,
            Refusal::Unreadable => ErrorCode::NotDefined,
        }
    }

    /// The ERROR packet.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        Packet::Error {
            code: self.code(),
            message: self.to_string().as_bytes(),
        }
        .to_bytes()
    }
}

/// Judges a datagram at the well-known port.
#[must_use]
pub fn admit(datagram: &[u8]) -> Admission<'_> {
    match Packet::parse(datagram) {
        Ok(Packet::Read(request)) => match read_request(request.name, request.mode) {
            Ok(name) => Admission::Read(ReadRequest {
                name,
                options: request.options,
            }),
            Err(refusal) => Admission::Refuse(refusal),
        },
        Ok(Packet::Write(_)) => Admission::Refuse(Refusal::ReadOnly),
        Ok(
            Packet::Data { .. } | Packet::Ack { .. } | Packet::Error { .. } | Packet::OptionAck(_),
        ) => Admission::Ignore(None),
        Err(error) => Admission::Ignore(Some(error)),
    }
}

fn read_request<'a>(name: &'a [u8], mode: &[u8]) -> Result<&'a str, Refusal> {
    if !mode.eq_ignore_ascii_case(b"octet") {
        return Err(Refusal::OnlyOctet);
    }
    let name = std::str::from_utf8(name).map_err(|_| Refusal::BadName)?;
    let name = name.trim_start_matches('/');
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Refusal::BadName);
    }
    if name.split(['/', '\\']).any(|part| part == "..") {
        return Err(Refusal::AccessViolation);
    }
    Ok(name)
}
