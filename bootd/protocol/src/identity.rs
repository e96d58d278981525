//! What a machine is: the facts a master knows a node by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::parse_hex;

/// A text that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct ParseIdentityError {
    text: String,
    expected: &'static str,
}

impl ParseIdentityError {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        let text = text.to_owned();
        ParseIdentityError { text, expected }
    }
}

/// An Ethernet address; written `52:54:00:12:34:56`, read with `:` or `-`, in either case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({self})")
    }
}

impl FromStr for Mac {
    type Err = ParseIdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let separated = text.split([':', '-']).all(|part| part.len() == 2);
        separated
            .then(|| parse_hex(&text.replace([':', '-'], "")))
            .flatten()
            .map(Mac)
            .ok_or_else(|| ParseIdentityError::new(text, "a MAC address such as 52:54:00:12:34:56"))
    }
}

/// The system UUID of SMBIOS (DSP0134, type 1), in the byte order of its text form,
/// as PXE clients send it in option 97 (RFC 4578, section 2.3) after the swap that
/// [`SystemUuid::from_smbios`] does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemUuid(pub [u8; 16]);

impl SystemUuid {
    /// From the mixed byte order of SMBIOS 2.6 and later and of DHCP option 97:
    /// the first three fields are little-endian.
    #[must_use]
    pub fn from_smbios(mut bytes: [u8; 16]) -> Self {
        bytes[0..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        SystemUuid(bytes)
    }

    /// Boards whose maker never set a UUID say all zeros or all ones: that names nobody.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.0 != [0; 16] && self.0 != [0xff; 16]
    }
}

impl fmt::Display for SystemUuid {
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

impl fmt::Debug for SystemUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SystemUuid({self})")
    }
}

impl FromStr for SystemUuid {
    type Err = ParseIdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lengths: Vec<usize> = text.split('-').map(str::len).collect();
        (lengths == [8, 4, 4, 4, 12])
            .then(|| parse_hex(&text.replace('-', "")))
            .flatten()
            .map(SystemUuid)
            .ok_or_else(|| {
                ParseIdentityError::new(text, "a UUID such as 123e4567-e89b-12d3-a456-426614174000")
            })
    }
}

/// Serializes a type by its `Display` and `FromStr`.
macro_rules! serde_by_text {
    ($($type:ty),+) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

/// An enum with one text and one wire byte for each variant; both never change.
macro_rules! named_enum {
    ($(#[$meta:meta])* $name:ident, $expected:literal,
     { $($(#[$vmeta:meta])* $variant:ident = $code:literal $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every variant, in the order of its wire byte.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The name that the catalog, logs and file names use.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            /// The byte that stands for it in a verify datagram.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $($name::$variant => $code,)+ }
            }

            /// The variant with this wire byte.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some($name::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdentityError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|it| it.name() == text)
                    .ok_or_else(|| ParseIdentityError::new(text, $expected))
            }
        }
    };
}
pub(crate) use named_enum;

named_enum! {
    /// Processor architecture, by the kernel's name (`uname -m`).
    Arch, "an architecture: x86_64, aarch64 or riscv64", {
        /// 64-bit x86.
        X86_64 = 1 "x86_64",
        /// 64-bit Arm.
        Aarch64 = 2 "aarch64",
        /// 64-bit RISC-V.
        Riscv64 = 3 "riscv64",
    }
}

named_enum! {
    /// How a machine starts.
    Firmware, "a firmware: bios or uefi", {
        /// PC BIOS: boots a disk from its first sector, the network by a PXE ROM.
        Bios = 1 "bios",
        /// UEFI: boots an EFI application.
        Uefi = 2 "uefi",
    }
}

serde_by_text!(Mac, SystemUuid, Arch, Firmware);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_reads_both_separators_and_refuses_the_rest() {
        let mac = Mac([0x52, 0x54, 0, 0xab, 0xcd, 0xef]);
        assert_eq!("52:54:00:AB:cd:ef".parse(), Ok(mac));
        assert_eq!("52-54-00-ab-cd-ef".parse(), Ok(mac));
        assert_eq!(mac.to_string(), "52:54:00:ab:cd:ef");
        for text in [
            "",
            "525400abcdef",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:eg",
            "5:254:00:ab:cd:ef",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn uuid_swaps_the_first_three_fields_of_smbios() {
        let wire = [
            0x67, 0x45, 0x3e, 0x12, 0x9b, 0xe8, 0xd3, 0x12, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17,
            0x40, 0,
        ];
        let uuid = SystemUuid::from_smbios(wire);
        assert_eq!(uuid.to_string(), "123e4567-e89b-12d3-a456-426614174000");
        assert_eq!(uuid.to_string().parse(), Ok(uuid));
        assert!(uuid.is_usable());
        assert!(!SystemUuid([0xff; 16]).is_usable());
    }

    #[test]
    fn names_and_codes_agree() {
        for arch in Arch::ALL {
            assert_eq!(arch.name().parse(), Ok(*arch));
            assert_eq!(Arch::from_code(arch.code()), Some(*arch));
        }
        assert_eq!(Firmware::from_code(0), None);
    }
}
