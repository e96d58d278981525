//! The options of one packet, each whole (RFC 3396), by code.

use std::net::Ipv4Addr;

use dhcproto::v4::borrowed::{DhcpOptionIterator, Message};

use super::{PacketError, code};

/// Options in a usual packet.
const USUAL: usize = 16;

/// Raw contents by code; a code that stands several times is joined in order of appearance.
#[derive(Debug, Default)]
pub(super) struct Options(Vec<(u8, Vec<u8>)>);

impl Options {
    /// Reads the options field, then `file` and `sname` where option 52 says that they hold
    /// options too (RFC 2131, section 4.1: in this order). Stops at the first option that
    /// runs over the end; those before it count.
    pub(super) fn read(bytes: &[u8], header: &Message<'_>) -> Self {
        let mut options = Options(Vec::with_capacity(USUAL));
        options.take(header.opts());
        let overload = options
            .raw(code::OVERLOAD)
            .and_then(|content| content.first().copied())
            .unwrap_or(0);
        if matches!(overload, 1 | 3) {
            options.take(DhcpOptionIterator::new(&bytes[108..236]));
        }
        if matches!(overload, 2 | 3) {
            options.take(DhcpOptionIterator::new(&bytes[44..108]));
        }
        options
    }

    fn take(&mut self, options: DhcpOptionIterator<'_>) {
        for option in options {
            let code = option.code().into();
            match self.0.iter_mut().find(|(it, _)| *it == code) {
                Some((_, content)) => content.extend_from_slice(option.data()),
                None => self.0.push((code, option.data().to_vec())),
            }
        }
    }

    pub(super) fn raw(&self, code: u8) -> Option<&[u8]> {
        let found = self.0.iter().find(|(it, _)| *it == code);
        found.map(|(_, content)| content.as_slice())
    }

    pub(super) fn bytes(&self, code: u8) -> Option<Vec<u8>> {
        self.raw(code).map(<[u8]>::to_vec)
    }

    /// An option of exactly `N` bytes.
    ///
    /// # Errors
    /// [`PacketError::OptionLength`] if it has another length.
    pub(super) fn fixed<const N: usize>(&self, code: u8) -> Result<Option<[u8; N]>, PacketError> {
        let Some(content) = self.raw(code) else {
            return Ok(None);
        };
        let length = content.len();
        let fixed = content
            .try_into()
            .map_err(|_| PacketError::OptionLength { code, length })?;
        Ok(Some(fixed))
    }

    pub(super) fn address(&self, code: u8) -> Result<Option<Ipv4Addr>, PacketError> {
        Ok(self.fixed::<4>(code)?.map(Ipv4Addr::from))
    }

    pub(super) fn u32(&self, code: u8) -> Result<Option<u32>, PacketError> {
        Ok(self.fixed(code)?.map(u32::from_be_bytes))
    }

    /// A list of addresses; bytes that make no whole address are left out.
    pub(super) fn addresses(&self, code: u8) -> Vec<Ipv4Addr> {
        let content = self.raw(code).unwrap_or_default();
        content
            .chunks_exact(4)
            .map(|four| Ipv4Addr::new(four[0], four[1], four[2], four[3]))
            .collect()
    }
}
