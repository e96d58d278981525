//! ELF files: every byte is hashed, or on a list of what is left out, or zero between two parts.
//!
//! Left out are build ids, symbol tables and debug sections that are not loaded, and where in the
//! file each part stands.

use bootd_protocol::digest::Digest;
use object::read::elf::FileHeader;
use object::{Endianness, elf};

use super::sections::Elf;
use super::stream::{Strange, Stream};
use super::{linked, relocatable};

/// How a signed kernel module ends (`scripts/sign-file` of Linux).
const SIGNED: &[u8] = b"~Module signature appended~\n";

/// Length of what tells how to read the header (`e_ident`), in bytes.
const IDENT: usize = 16;

/// Bytes of a normal form for each byte of the file: an entry of eight bytes, the smallest of
/// all, becomes seven numbers.
const GROWTH: usize = 8;

/// The signature of an ELF file.
pub(super) fn signature(bytes: &[u8]) -> Result<Digest, Strange> {
    match bytes.get(4).copied().map(elf::FileClass) {
        Some(elf::ELFCLASS64) => signature_of::<elf::FileHeader64<Endianness>>(bytes),
        Some(elf::ELFCLASS32) => signature_of::<elf::FileHeader32<Endianness>>(bytes),
        Some(_) | None => Err(Strange),
    }
}

fn signature_of<E>(bytes: &[u8]) -> Result<Digest, Strange>
where
    E: FileHeader<Endian = Endianness>,
{
    let header = E::parse(bytes)?;
    let endian = header.endian()?;
    let kind = header.e_type(endian);
    let unsigned = if kind == elf::ET_REL {
        without_signature(bytes)
    } else {
        bytes
    };
    let room = bytes.len().saturating_mul(GROWTH).saturating_add(4096);
    let mut stream = Stream::new("elf", room);
    stream.bytes(bytes.get(..IDENT).ok_or(Strange)?)?;
    stream.numbers(&[
        kind.0.into(),
        header.e_machine(endian).0.into(),
        header.e_version(endian).into(),
        header.e_flags(endian).0.into(),
        header.e_ehsize(endian).into(),
        header.e_entry(endian).into(),
        (unsigned.len() != bytes.len()).into(),
    ])?;
    let file = Elf::<E>::parse(unsigned)?;
    match kind {
        elf::ET_EXEC | elf::ET_DYN => linked::hash(&file, &mut stream)?,
        elf::ET_REL => relocatable::hash(&file, &mut stream)?,
        _ => return Err(Strange),
    }
    Ok(stream.finish())
}

/// A kernel module without the signature behind it: that is made of build id and debug
/// information, too, and often with a key that was made for the occasion.
fn without_signature(bytes: &[u8]) -> &[u8] {
    let cut = || {
        // `struct module_signature`: eight bytes, then the signature's length, big endian.
        let (rest, len) = bytes.strip_suffix(SIGNED)?.split_last_chunk::<4>()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        rest.get(..rest.len().checked_sub(8)?.checked_sub(len)?)
    };
    cut().unwrap_or(bytes)
}
