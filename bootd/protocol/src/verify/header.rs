//! The header and the signature around every body; decoded before the body, whatever the version.
//!
//! ```text
//! offset len
//!      0   4  magic "bvfy"
//!      4   1  version
//!      5   1  kind
//!      6   2  length of the body
//!      8   8  epoch: of the master that speaks, or the highest a node has heard of
//!     16  16  node: first 16 bytes of the SHA-256 of the node's public key
//!     32  16  nonce: chosen by the node, repeated in the answer
//!     48   n  body, then zero padding up to the signature
//!    end  64  ed25519 signature of all bytes before it
//! ```
//! Numbers are big-endian.

use super::codec::Reader;
use super::key::{KeyId, PublicKey, SIGNATURE_LEN, SecretKey};
use super::{CURRENT_VERSION, MAX_LEN, MIN_VERSION};

const MAGIC: [u8; 4] = *b"bvfy";

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 48;

/// A number that is used once; ties an answer to its question.
pub type Nonce = [u8; 16];

/// What a datagram carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Node to master: is what I have still right?
    Ask,
    /// Master to node: the answer to an [`Kind::Ask`].
    Verdict,
    /// Node to master: what I am doing.
    Report,
    /// Master to node: the [`Kind::Report`] has arrived.
    Receipt,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Ask, Kind::Verdict, Kind::Report, Kind::Receipt];

    const fn code(self) -> u8 {
        match self {
            Kind::Ask => 1,
            Kind::Verdict => 2,
            Kind::Report => 3,
            Kind::Receipt => 4,
        }
    }
}

/// The fields of every datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Protocol version of the body.
    pub version: u8,
    /// What the body is.
    pub kind: Kind,
    /// The epoch of the master that speaks, or the highest a node has heard of.
    pub epoch: u64,
    /// The node that speaks or is spoken to.
    pub node: KeyId,
    /// Repeated in the answer.
    pub nonce: Nonce,
}

/// Why a datagram is dropped; each is a counter, none is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Drop {
    /// Not of this protocol.
    #[error("not a verify datagram")]
    Garbage,
    /// Cut short, too long, or its body does not parse.
    #[error("truncated or malformed")]
    Malformed,
    /// A version this program does not speak.
    #[error("version outside {MIN_VERSION}..={CURRENT_VERSION}")]
    Version,
    /// A kind that the other side has no business sending.
    #[error("unexpected kind")]
    Kind,
    /// The signature is not by the key it should be by.
    #[error("wrongly signed")]
    Signature,
    /// Seen before, or older than what was seen.
    #[error("replayed")]
    Replayed,
    /// An answer to no open question.
    #[error("unasked answer")]
    Unasked,
    /// A master of a past epoch.
    #[error("answer of a past epoch")]
    PastEpoch,
    /// Nobody the catalog wants to talk to.
    #[error("ignored by rule")]
    Ignored,
}

/// A datagram taken apart, its signature not yet checked.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// Its header.
    pub header: Header,
    /// Its body, without padding.
    pub body: &'a [u8],
    signed: &'a [u8],
    signature: &'a [u8; SIGNATURE_LEN],
}

impl<'a> Envelope<'a> {
    /// Takes a datagram apart.
    ///
    /// # Errors
    /// [`Drop::Garbage`], [`Drop::Malformed`], [`Drop::Version`] or [`Drop::Kind`].
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Drop> {
        if !datagram.starts_with(&MAGIC) {
            return Err(Drop::Garbage);
        }
        if datagram.len() > MAX_LEN {
            return Err(Drop::Malformed);
        }
        let (signed, signature) = datagram
            .split_last_chunk::<SIGNATURE_LEN>()
            .ok_or(Drop::Malformed)?;
        let (header, body_len) = parse_header(signed)?;
        let body = signed[HEADER_LEN..]
            .get(..body_len)
            .ok_or(Drop::Malformed)?;
        Ok(Envelope {
            header,
            body,
            signed,
            signature,
        })
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`Drop::Signature`] if it is not by `key`.
    pub fn check(&self, key: &PublicKey) -> Result<(), Drop> {
        key.verifies(self.signed, self.signature)
            .then_some(())
            .ok_or(Drop::Signature)
    }
}

fn parse_header(signed: &[u8]) -> Result<(Header, usize), Drop> {
    if signed.len() < HEADER_LEN {
        return Err(Drop::Malformed);
    }
    let mut reader = Reader(&signed[MAGIC.len()..]);
    let mut read = || {
        let (version, kind, body_len) = (reader.u8()?, reader.u8()?, reader.u16()?);
        let (epoch, node, nonce) = (reader.u64()?, reader.array()?, reader.array()?);
        Ok::<_, super::codec::Malformed>((version, kind, body_len, epoch, KeyId(node), nonce))
    };
    let (version, code, body_len, epoch, node, nonce) = read().map_err(|_| Drop::Malformed)?;
    if !(MIN_VERSION..=CURRENT_VERSION).contains(&version) {
        return Err(Drop::Version);
    }
    let kind = Kind::ALL
        .into_iter()
        .find(|kind| kind.code() == code)
        .ok_or(Drop::Kind)?;
    Ok((
        Header {
            version,
            kind,
            epoch,
            node,
            nonce,
        },
        usize::from(body_len),
    ))
}

/// Puts header, body and padding together and signs them. The datagram has at least `min_len`
/// bytes.
#[must_use]
pub fn seal(header: &Header, body: &[u8], min_len: usize, key: &SecretKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(min_len.max(HEADER_LEN + body.len() + SIGNATURE_LEN));
    out.extend_from_slice(&MAGIC);
    out.push(header.version);
    out.push(header.kind.code());
    let body_len = u16::try_from(body.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&body_len.to_be_bytes());
    out.extend_from_slice(&header.epoch.to_be_bytes());
    out.extend_from_slice(&header.node.0);
    out.extend_from_slice(&header.nonce);
    out.extend_from_slice(body);
    out.resize(out.len().max(min_len.saturating_sub(SIGNATURE_LEN)), 0);
    let signature = key.sign(&out);
    out.extend_from_slice(&signature);
    out
}
