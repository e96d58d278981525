//! GUIDs as UEFI stores them (UEFI 2.10, appendix A: the first three fields little-endian).

use std::fmt;

use bootd_protocol::digest::Hasher;

/// A GUID in the byte order of its text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// The unused GUID.
    pub const ZERO: Guid = Guid([0; 16]);

    /// From the text form's digits, read as one number.
    #[must_use]
    pub const fn new(digits: u128) -> Self {
        Guid(digits.to_be_bytes())
    }

    /// A random (version 4, RFC 9562 section 5.4) GUID for the `index`th thing named from `seed`.
    #[must_use]
    pub fn derive(seed: &[u8; 16], index: u8) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(seed);
        hasher.update(&[index]);
        let digest = hasher.finish();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_bytes()[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Guid(bytes)
    }

    /// The bytes as they stand on a disk.
    #[must_use]
    pub fn to_disk(self) -> [u8; 16] {
        let mut bytes = self.0;
        swap(&mut bytes);
        bytes
    }

    /// From the bytes as they stand on a disk.
    #[must_use]
    pub fn from_disk(mut bytes: [u8; 16]) -> Self {
        swap(&mut bytes);
        Guid(bytes)
    }
}

fn swap(bytes: &mut [u8; 16]) {
    bytes[0..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn efi_system_partition_on_disk() {
        let guid = Guid::new(0xC12A7328_F81F_11D2_BA4B_00A0C93EC93B);
        let disk = [
            0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e,
            0xc9, 0x3b,
        ];
        assert_eq!(guid.to_disk(), disk);
        assert_eq!(Guid::from_disk(disk), guid);
        assert_eq!(guid.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    }

    #[test]
    fn derived_guids_are_version_4_and_differ() {
        let first = Guid::derive(&[7; 16], 0);
        assert_ne!(first, Guid::derive(&[7; 16], 1));
        assert_eq!(first.0[6] >> 4, 4);
        assert_eq!(first.0[8] >> 6, 2);
    }
}
