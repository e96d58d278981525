//! The option list of a request or an OACK (RFC 2347), borrowed from the datagram.

use super::packet::split_nul;

/// A list of name and value pairs, in the order of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options<'a> {
    wire: &'a [u8],
}

impl<'a> Options<'a> {
    /// Wraps the bytes of an option list; a tail that is no whole pair is dropped.
    #[must_use]
    pub fn from_wire(bytes: &'a [u8]) -> Self {
        let pairs = OptionIter { rest: bytes };
        let whole = pairs
            .map(|(name, value)| name.len() + value.len() + 2)
            .sum();
        Options {
            wire: &bytes[..whole],
        }
    }

    /// The list as it goes on the wire.
    #[must_use]
    pub const fn as_wire(&self) -> &'a [u8] {
        self.wire
    }

    /// Whether there is no option at all: then no OACK may be sent (RFC 2347).
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.wire.is_empty()
    }

    /// All pairs: name, value.
    #[must_use]
    pub const fn iter(&self) -> OptionIter<'a> {
        OptionIter { rest: self.wire }
    }

    /// The number that is the value of the first option called `name`, in any case. None if the
    /// option is missing or its value is no decimal number below 2^64.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()))
            .and_then(|(_, value)| decimal(value))
    }
}

impl<'a> IntoIterator for &Options<'a> {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = OptionIter<'a>;

    fn into_iter(self) -> OptionIter<'a> {
        self.iter()
    }
}

/// Walks an option list.
#[derive(Debug, Clone)]
pub struct OptionIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for OptionIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = split_nul(self.rest)?;
        let (value, rest) = split_nul(rest)?;
        self.rest = rest;
        Some((name, value))
    }
}

/// Decimal digits only: no sign, no blank, no empty value.
fn decimal(value: &[u8]) -> Option<u64> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Appends one pair to a list under construction.
pub(super) fn push(wire: &mut Vec<u8>, name: &str, value: u64) {
    wire.extend_from_slice(name.as_bytes());
    wire.push(0);
    wire.extend_from_slice(value.to_string().as_bytes());
    wire.push(0);
}
