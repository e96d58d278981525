//! Big-endian fields, read and written in order, with one error for all that does not fit.

/// A body that ends too soon, or whose text is no UTF-8 or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed body")]
pub struct Malformed;

/// Takes fields off the front of a datagram.
#[derive(Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `N` bytes.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    /// A `u8`.
    ///
    /// # Errors
    /// Nothing is left.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    /// A truth value: 0 or 1.
    ///
    /// # Errors
    /// Nothing is left, or it is neither.
    pub fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    /// A `u16`.
    ///
    /// # Errors
    /// Too little is left.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// A `u32`.
    ///
    /// # Errors
    /// Too little is left.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// A `u64`.
    ///
    /// # Errors
    /// Too little is left.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// A text: one length byte, then that many bytes of UTF-8, at most `max`.
    ///
    /// # Errors
    /// Longer than `max`, cut short, or no UTF-8.
    pub fn text(&mut self, max: usize) -> Result<&'a str, Malformed> {
        let len = usize::from(self.u8()?);
        if len > max {
            return Err(Malformed);
        }
        let (head, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        std::str::from_utf8(head).map_err(|_| Malformed)
    }
}

/// Appends a text as [`Reader::text`] reads it, cut at the last whole character within `max`
/// bytes (`max` is at most 255).
pub fn put_text(out: &mut Vec<u8>, text: &str, max: u8) {
    let mut end = text.len().min(usize::from(max));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.push(u8::try_from(end).unwrap_or(max));
    out.extend_from_slice(&text.as_bytes()[..end]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_a_character() {
        let mut out = Vec::new();
        put_text(&mut out, "aé", 2);
        assert_eq!(out, [1, b'a']);
        assert_eq!(Reader(&out).text(2), Ok("a"));
        assert_eq!(Reader(&[3, b'a', b'b', b'c']).text(2), Err(Malformed));
        assert_eq!(Reader(&[1, 0xff]).text(2), Err(Malformed));
        assert_eq!(Reader(&[9, b'a']).text(20), Err(Malformed));
    }
}
