//! The first datagram of a client, at the well-known port.

use super::{ErrorCode, Options, Packet, ParseError};

/// Bytes of an ERROR besides its message: opcode, code, NUL.
const ERROR_FRAME: usize = 5;

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

/// How the bytes of the file go on the wire (RFC 1350 §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As they are.
    Octet,
    /// As text for a network virtual terminal: see [`netascii`](super::netascii).
    Netascii,
}

impl Mode {
    /// The mode of this name, in any case; none for `mail`, which is obsolete, and all others.
    fn named(name: &[u8]) -> Option<Self> {
        let modes = [(&b"octet"[..], Mode::Octet), (b"netascii", Mode::Netascii)];
        let found = modes.iter().find(|(it, _)| name.eq_ignore_ascii_case(it));
        found.map(|(_, mode)| *mode)
    }
}

/// A read request in a mode that is served, with a name that may be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRequest<'a> {
    /// File name: UTF-8, 1 to 255 bytes, no control characters, no `..`, leading slashes removed.
    pub name: &'a str,
    /// The client's mode.
    pub mode: Mode,
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
    /// A mode other than `octet` and `netascii`.
    #[error("unknown mode")]
    BadMode,
    /// A `netascii` request for a file that is too large to be text.
    #[error("too large for netascii")]
    NoText,
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
            Refusal::BadMode => ErrorCode::IllegalOperation,
            Refusal::Unreadable | Refusal::NoText => ErrorCode::NotDefined,
        }
    }

    /// The ERROR packet.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        self.reply_to(usize::MAX)
    }

    /// The ERROR packet in answer to a request of `len` bytes: never larger than that, so that
    /// nobody can be flooded by way of this server. The message is cut where it must be; what
    /// [`admit`] refuses leaves room for the code.
    #[must_use]
    pub fn reply_to(self, len: usize) -> Vec<u8> {
        let text = self.to_string();
        let room = len.saturating_sub(ERROR_FRAME).min(text.len());
        Packet::Error {
            code: self.code(),
            message: &text.as_bytes()[..room],
        }
        .to_bytes()
    }
}

/// Judges a datagram at the well-known port.
#[must_use]
pub fn admit(datagram: &[u8]) -> Admission<'_> {
    match Packet::parse(datagram) {
        // Neither name nor mode: any ERROR would be larger.
        Ok(Packet::Read(_) | Packet::Write(_)) if datagram.len() < ERROR_FRAME => {
            Admission::Ignore(None)
        }
        Ok(Packet::Read(request)) => match read_request(request.name, request.mode) {
            Ok((name, mode)) => Admission::Read(ReadRequest {
                name,
                mode,
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

fn read_request<'a>(name: &'a [u8], mode: &[u8]) -> Result<(&'a str, Mode), Refusal> {
    let mode = Mode::named(mode).ok_or(Refusal::BadMode)?;
    let name = std::str::from_utf8(name).map_err(|_| Refusal::BadName)?;
    let name = name.trim_start_matches('/');
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Refusal::BadName);
    }
    if name.split(['/', '\\']).any(|part| part == "..") {
        return Err(Refusal::AccessViolation);
    }
    Ok((name, mode))
}
