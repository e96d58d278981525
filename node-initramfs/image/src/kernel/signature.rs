//! The signature at the end of a module (the kernel's `include/linux/module_signature.h`):
//! signature, a header of twelve bytes whose last four are the signature's length (big-endian),
//! and a marker.

use std::borrow::Cow;

const MARKER: &[u8] = b"~Module signature appended~\n";
const HEADER_LEN: usize = 12;

/// The module without its signature, if it has one.
pub(super) fn without_signature(module: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let Some(len) = unsigned_len(&module) else {
        return module;
    };
    match module {
        Cow::Borrowed(bytes) => Cow::Borrowed(bytes.get(..len).unwrap_or(bytes)),
        Cow::Owned(mut bytes) => {
            bytes.truncate(len);
            Cow::Owned(bytes)
        }
    }
}

fn unsigned_len(module: &[u8]) -> Option<usize> {
    let rest = module.strip_suffix(MARKER)?;
    let (rest, header) = rest.split_at_checked(rest.len().checked_sub(HEADER_LEN)?)?;
    let (_, len) = header.split_last_chunk()?;
    let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
    rest.len().checked_sub(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_alone_what_is_not_signed() {
        let absurd = [&[0xff; HEADER_LEN][..], MARKER].concat();
        for module in [b"".as_slice(), b"module", MARKER, &absurd] {
            assert_eq!(without_signature(Cow::Borrowed(module)), module);
        }
    }
}
