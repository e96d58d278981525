//! Where the parts of a unified kernel image stand in its file.
//!
//! A UKI is a PE/COFF program whose sections carry the kernel, the initramfs and the command
//! line (UAPI Group Specification 5, "Unified Kernel Image"). The section table stands in the
//! first bytes of the file (Microsoft PE Format, "Section Table"), so that whoever serves one
//! part needs to read no more than [`HEAD_LEN`] bytes to know which range to send.

/// As many of the file's first bytes as [`Uki::parse`] ever needs.
pub const HEAD_LEN: usize = 4096;

/// Where one part stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// The section's name (`.linux`).
    pub name: &'static str,
    /// Offset from the start of the file, in bytes.
    pub offset: u64,
    /// Length of the content, in bytes, without the padding behind it.
    pub size: u64,
}

/// The parts of a unified kernel image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uki {
    /// `.linux`: the kernel.
    pub linux: Section,
    /// `.initrd`: the initramfs.
    pub initrd: Section,
    /// `.cmdline`: the kernel's command line.
    pub cmdline: Section,
    /// `.osrel`: what it is, in the format of `os-release(5)`.
    pub osrel: Section,
}

/// A part that loaders fetch by itself, as they know no unified kernel images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The kernel.
    Linux,
    /// The initramfs.
    Initrd,
}

impl Part {
    /// The part of this name in a path: `linux` or `initrd`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "linux" => Some(Part::Linux),
            "initrd" => Some(Part::Initrd),
            _ => None,
        }
    }
}

/// Why a file is no unified kernel image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UkiError {
    /// Some other kind of file.
    #[error("not a PE program: no {0} signature")]
    Signature(&'static str),
    /// The section table is not within the bytes that were given.
    #[error("section table ends at byte {end}, only the first {given} were given")]
    Head {
        /// Where the table ends, in bytes from the start of the file.
        end: usize,
        /// Length of what was given, in bytes.
        given: usize,
    },
    /// A part that every boot image has is not there.
    #[error("has no {0} section")]
    Missing(&'static str),
    /// A part stands twice: nobody could say which one would be booted.
    #[error("has two {0} sections")]
    Twice(&'static str),
    /// A part reaches past the end of the file.
    #[error("section {name} ends at byte {end}, the file at {file_len}")]
    Bounds {
        /// The section's name.
        name: &'static str,
        /// Where the section ends.
        end: u64,
        /// Length of the file, in bytes.
        file_len: u64,
    },
}

impl Uki {
    /// Finds the parts of a file of `file_len` bytes, of which `head` is the beginning.
    ///
    /// # Errors
    /// No PE program, a part missing, standing twice or reaching past the end of the file.
    pub fn parse(head: &[u8], file_len: u64) -> Result<Self, UkiError> {
        let table = section_table(head)?;
        let find = |name| find(table, name, file_len);
        Ok(Uki {
            linux: find(".linux")?,
            initrd: find(".initrd")?,
            cmdline: find(".cmdline")?,
            osrel: find(".osrel")?,
        })
    }

    /// Where this part stands.
    #[must_use]
    pub const fn part(&self, part: Part) -> Section {
        match part {
            Part::Linux => self.linux,
            Part::Initrd => self.initrd,
        }
    }
}

/// Length of one section header.
const HEADER_LEN: usize = 40;

/// The section headers, as they stand in the file.
fn section_table(head: &[u8]) -> Result<&[u8], UkiError> {
    let short = |end| UkiError::Head {
        end,
        given: head.len(),
    };
    if !head.starts_with(b"MZ") {
        return Err(UkiError::Signature("MZ"));
    }
    let pe = to_usize(u32_at(head, 0x3c).ok_or(short(0x40))?);
    let coff = pe.saturating_add(4);
    let coff_end = coff.saturating_add(20);
    let header = head.get(pe..coff_end).ok_or(short(coff_end))?;
    if !header.starts_with(b"PE\0\0") {
        return Err(UkiError::Signature("PE"));
    }
    let count = usize::from(u16_at(header, 6).ok_or(short(coff_end))?);
    let optional = usize::from(u16_at(header, 20).ok_or(short(coff_end))?);
    let start = coff_end.saturating_add(optional);
    let end = start.saturating_add(count * HEADER_LEN);
    head.get(start..end).ok_or(short(end))
}

fn find(table: &[u8], name: &'static str, file_len: u64) -> Result<Section, UkiError> {
    let mut found = table
        .chunks_exact(HEADER_LEN)
        .filter(|header| has_name(header, name));
    let header = found.next().ok_or(UkiError::Missing(name))?;
    if found.next().is_some() {
        return Err(UkiError::Twice(name));
    }
    let field = |at| u64::from(u32_at(header, at).unwrap_or_default());
    // Behind the content (VirtualSize) the file is padded to its alignment (SizeOfRawData).
    let [virtual_size, raw_size, offset] = [field(8), field(16), field(20)];
    let size = virtual_size.min(raw_size);
    let end = offset + size;
    if end > file_len {
        return Err(UkiError::Bounds {
            name,
            end,
            file_len,
        });
    }
    Ok(Section { name, offset, size })
}

/// Names shorter than eight bytes are padded with NUL.
fn has_name(header: &[u8], name: &str) -> bool {
    header.get(..8).is_some_and(|field| {
        let (text, padding) = field.split_at(name.len().min(8));
        text == name.as_bytes() && padding.iter().all(|byte| *byte == 0)
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(field.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(field.try_into().ok()?))
}

fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PARTS: [&str; 4] = [".osrel", ".cmdline", ".initrd", ".linux"];

    /// A head with these sections: name, virtual size, raw size, offset.
    fn head(sections: &[(&str, u32, u32, u32)]) -> Vec<u8> {
        let mut bytes = vec![0; HEAD_LEN];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x80;
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        bytes[0x86] = sections.len().try_into().unwrap();
        bytes[0x94] = 240;
        for (index, (name, virtual_size, raw_size, offset)) in sections.iter().enumerate() {
            let at = 0x98 + 240 + index * HEADER_LEN;
            bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
            for (field, value) in [(8, virtual_size), (16, raw_size), (20, offset)] {
                bytes[at + field..at + field + 4].copy_from_slice(&value.to_le_bytes());
            }
        }
        bytes
    }

    fn sample() -> Vec<u8> {
        head(&[
            (".text", 100, 512, 1024),
            (".osrel", 30, 512, 2048),
            (".cmdline", 7, 512, 2560),
            (".initrd", 1000, 1024, 3072),
            (".linux", 5000, 5120, 4096),
        ])
    }

    #[test]
    fn finds_the_parts() {
        let section = |name, offset, size| Section { name, offset, size };
        let expected = Uki {
            osrel: section(".osrel", 2048, 30),
            cmdline: section(".cmdline", 2560, 7),
            initrd: section(".initrd", 3072, 1000),
            linux: section(".linux", 4096, 5000),
        };
        assert_eq!(Uki::parse(&sample(), 9096), Ok(expected));
        let bounds = UkiError::Bounds {
            name: ".linux",
            end: 9096,
            file_len: 9095,
        };
        assert_eq!(Uki::parse(&sample(), 9095), Err(bounds));
    }

    #[test]
    fn refuses_what_is_no_boot_image() {
        let parse = |bytes: &[u8]| Uki::parse(bytes, 1 << 20);
        assert_eq!(parse(b""), Err(UkiError::Signature("MZ")));
        assert_eq!(parse(b"\x7fELF"), Err(UkiError::Signature("MZ")));
        let mut no_pe = sample();
        no_pe[0x80] = b'N';
        assert_eq!(parse(&no_pe), Err(UkiError::Signature("PE")));
        let cut = UkiError::Head {
            end: 0x98 + 240 + 200,
            given: 591,
        };
        assert_eq!(parse(&sample()[..591]), Err(cut));

        for missing in PARTS {
            let others = PARTS.iter().filter(|name| **name != missing);
            let sections: Vec<_> = others.map(|name| (*name, 1, 1, 1)).collect();
            assert_eq!(parse(&head(&sections)), Err(UkiError::Missing(missing)));
        }
        let mut sections = PARTS.map(|name| (name, 1, 1, 1)).to_vec();
        sections.push((".linux", 2, 2, 2));
        assert_eq!(parse(&head(&sections)), Err(UkiError::Twice(".linux")));
        // A longer name that begins alike is another section.
        sections[4].0 = ".linux2";
        assert!(parse(&head(&sections)).is_ok());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600), len: u64) {
            let _ = Uki::parse(&bytes, len);
        }

        #[test]
        fn keeps_within_the_file(
            noise in proptest::collection::vec((0x3c_usize..700, any::<u8>()), 0..20),
            len in 0_u64..10_000,
        ) {
            let mut bytes = sample();
            for (at, byte) in noise {
                bytes[at] = byte;
            }
            if let Ok(uki) = Uki::parse(&bytes, len) {
                for section in [uki.linux, uki.initrd, uki.cmdline, uki.osrel] {
                    prop_assert!(section.offset + section.size <= len);
                }
            }
        }
    }
}
