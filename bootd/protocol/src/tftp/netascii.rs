//! The mode `netascii`: text for a network virtual terminal (RFC 764, RFC 1350 §1).
//!
//! A file of ours has Unix line ends. On the wire a line ends in CR LF, and a CR that is none is
//! CR NUL. Each byte stands for itself, whatever is before it: a file can be taken up anywhere.

/// Length of `bytes` on the wire.
#[must_use]
pub fn encoded_len(bytes: &[u8]) -> usize {
    bytes.len() + bytes.iter().filter(|byte| is_doubled(**byte)).count()
}

/// Appends `bytes` as they go on the wire.
pub fn encode(bytes: &[u8], wire: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b'\n' => wire.extend_from_slice(b"\r\n"),
            b'\r' => wire.extend_from_slice(b"\r\0"),
            other => wire.push(other),
        }
    }
}

const fn is_doubled(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_encoded_as_the_telnet_rules_say() {
        let table: &[(&[u8], &[u8])] = &[
            (b"", b""),
            (b"a\nb\n", b"a\r\nb\r\n"),
            (b"\r", b"\r\0"),
            (b"dos\r\n", b"dos\r\0\r\n"),
            (b"\0\xff", b"\0\xff"),
        ];
        for (file, wire) in table {
            let mut encoded = Vec::new();
            encode(file, &mut encoded);
            assert_eq!(encoded, *wire);
            assert_eq!(encoded_len(file), wire.len());
        }
    }
}
