//! Where the master is: what bootd tells our own `init` in option 43 (RFC 2132, section 8.4).
//!
//! | sub-option | length | content |
//! |---|---|---|
//! | 1 | 4 | address of the master |
//! | 2 | 2 | UDP port of the verify protocol, big-endian |
//! | 3 | 2 | TCP port of HTTP, big-endian |
//!
//! Sub-options nobody knows are skipped, so that later ones do no harm.

use std::net::Ipv4Addr;

const MASTER: u8 = 1;
const VERIFY_PORT: u8 = 2;
const HTTP_PORT: u8 = 3;

/// Where a master is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MasterHint {
    /// Its address.
    pub ip: Ipv4Addr,
    /// UDP port of the verify protocol.
    pub verify_port: u16,
    /// TCP port of HTTP.
    pub http_port: u16,
}

impl MasterHint {
    /// The content of option 43.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![MASTER, 4];
        bytes.extend_from_slice(&self.ip.octets());
        for (code, port) in [(VERIFY_PORT, self.verify_port), (HTTP_PORT, self.http_port)] {
            bytes.extend_from_slice(&[code, 2]);
            bytes.extend_from_slice(&port.to_be_bytes());
        }
        bytes
    }

    /// Reads the content of option 43; `None` if it is not all there, so that some other
    /// vendor's option 43 is nobody's hint.
    #[must_use]
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let (mut ip, mut verify_port, mut http_port) = (None, None, None);
        while let [code, length, rest @ ..] = bytes {
            let (value, rest) = rest.split_at_checked(usize::from(*length))?;
            match *code {
                MASTER => ip = Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?)),
                VERIFY_PORT => verify_port = Some(port(value)?),
                HTTP_PORT => http_port = Some(port(value)?),
                _ => {}
            }
            bytes = rest;
        }
        Some(MasterHint {
            ip: ip?,
            verify_port: verify_port?,
            http_port: http_port?,
        })
    }
}

fn port(value: &[u8]) -> Option<u16> {
    let port = u16::from_be_bytes(value.try_into().ok()?);
    (port != 0).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINT: MasterHint = MasterHint {
        ip: Ipv4Addr::new(10, 1, 0, 1),
        verify_port: 4068,
        http_port: 4080,
    };

    #[test]
    fn bytes_are_fixed() {
        let bytes = [1, 4, 10, 1, 0, 1, 2, 2, 0x0f, 0xe4, 3, 2, 0x0f, 0xf0];
        assert_eq!(HINT.to_bytes(), bytes);
        assert_eq!(MasterHint::from_bytes(&bytes), Some(HINT));
    }

    #[test]
    fn skips_the_unknown_and_refuses_the_incomplete() {
        let mut bytes = vec![9, 1, 7];
        bytes.extend(HINT.to_bytes());
        assert_eq!(MasterHint::from_bytes(&bytes), Some(HINT));
        for cut in 0..HINT.to_bytes().len() {
            assert_eq!(MasterHint::from_bytes(&HINT.to_bytes()[..cut]), None);
        }
        assert_eq!(MasterHint::from_bytes(b"\x06\x01\x08"), None);
    }
}
