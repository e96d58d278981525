//! What relays add: option 82 (RFC 3046), with the sub-options that choose a network (RFC 3527)
//! and the server's identity (RFC 5107).

use std::net::Ipv4Addr;

const CIRCUIT: u8 = 1;
const REMOTE: u8 = 2;
const LINK_SELECTION: u8 = 5;
const SERVER_OVERRIDE: u8 = 11;

/// Option 82. What a relay wrote goes back byte for byte; of the sub-options, those that say
/// something to a server are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelayAgent {
    /// The option as it came.
    pub raw: Vec<u8>,
    /// Sub-option 1: the port that the client hangs on, in the relay's own terms.
    pub circuit: Option<String>,
    /// Sub-option 2: the relay, or the client's line, in the relay's own terms.
    pub remote: Option<String>,
    /// Sub-option 5: an address of the client's link (RFC 3527).
    pub link: Option<Ipv4Addr>,
    /// Sub-option 11: what option 54 is to say, so that renewals pass the relay (RFC 5107).
    pub server: Option<Ipv4Addr>,
}

impl RelayAgent {
    /// Reads option 82. Reading stops at a sub-option that runs over the end.
    #[must_use]
    pub fn parse(raw: &[u8]) -> Self {
        let mut agent = RelayAgent {
            raw: raw.to_vec(),
            ..RelayAgent::default()
        };
        let mut rest = raw;
        while let [code, length, tail @ ..] = rest {
            let Some((value, tail)) = tail.split_at_checked(usize::from(*length)) else {
                break;
            };
            match *code {
                CIRCUIT => agent.circuit = Some(location_text(value)),
                REMOTE => agent.remote = Some(location_text(value)),
                LINK_SELECTION => agent.link = address(value),
                SERVER_OVERRIDE => agent.server = address(value),
                _ => {}
            }
            rest = tail;
        }
        agent
    }
}

fn address(value: &[u8]) -> Option<Ipv4Addr> {
    let four = <[u8; 4]>::try_from(value).ok()?;
    Some(Ipv4Addr::from(four)).filter(|it| !it.is_unspecified())
}

/// Bytes that a relay, a switch or a client's program chose, as rules and people write them: as
/// they are if all are printable ASCII, else as hexadecimal digits after `0x`.
#[must_use]
pub fn location_text(bytes: &[u8]) -> String {
    let printable = |byte: &u8| matches!(byte, b' '..=b'~');
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(printable) => text.to_owned(),
        Ok(_) | Err(_) => {
            let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
            let digits = bytes
                .iter()
                .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
            "0x".chars().chain(digits).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_says_something() {
        let raw = b"\x01\x05eth/3\x02\x06\x00\x04\x52\x54\xaa\x01\x09\x02\x00\x01\x05\x04\x0a\x02\0\0\x0b\x04\x0a\x02\0\x01";
        let expected = RelayAgent {
            raw: raw.to_vec(),
            circuit: Some("eth/3".into()),
            remote: Some("0x00045254aa01".into()),
            link: Some(Ipv4Addr::new(10, 2, 0, 0)),
            server: Some(Ipv4Addr::new(10, 2, 0, 1)),
        };
        assert_eq!(RelayAgent::parse(raw), expected);
    }

    #[test]
    fn a_cut_or_odd_one_is_kept_and_says_less() {
        for raw in [b"\x01\x05eth".as_slice(), b"\x01", b"\x05\x03\x0a\x02\0"] {
            let expected = RelayAgent {
                raw: raw.to_vec(),
                ..RelayAgent::default()
            };
            assert_eq!(RelayAgent::parse(raw), expected);
        }
    }
}
