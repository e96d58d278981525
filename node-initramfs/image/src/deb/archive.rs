//! The outer `ar` archive and the compression of its members.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use liblzma::stream::{CONCATENATED, Stream};

use super::{Fault, Limits};

/// Most memory an xz member may ask for: its dictionary; dpkg's highest preset needs 65 MiB.
const XZ_MEMORY: u64 = 512 << 20;

/// The two tar archives of a package, unpacked.
pub(super) struct Parts {
    pub(super) control: Vec<u8>,
    pub(super) data: Vec<u8>,
}

/// The bytes of the file at `path`, at most `limit` of them.
pub(super) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, Fault> {
    let file = File::open(path).map_err(Fault::Read)?;
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(Fault::Read)?;
    check_size("the package", bytes.len(), limit)?;
    Ok(bytes)
}

/// Takes a package apart.
pub(super) fn unpack(bytes: &[u8], limits: Limits) -> Result<Parts, Fault> {
    check_size("the package", bytes.len(), limits.package)?;
    let members = members(bytes)?;
    let (first, format) = members
        .first()
        .ok_or_else(|| Fault::NotADeb("an empty ar archive".into()))?;
    if first != "debian-binary" {
        return Err(Fault::NotADeb(format!(
            "its first member is {first:?}, not debian-binary"
        )));
    }
    check_format(format)?;
    Ok(Parts {
        control: tar_member(&members, "control.tar", limits.control)?,
        data: tar_member(&members, "data.tar", limits.data)?,
    })
}

fn check_size(what: &str, size: usize, limit: u64) -> Result<(), Fault> {
    if u64::try_from(size).is_ok_and(|size| size <= limit) {
        return Ok(());
    }
    Err(Fault::TooLarge {
        what: what.to_owned(),
        limit,
    })
}

/// `deb(5)`: the format is one line; a minor number above 0 is compatible.
fn check_format(bytes: &[u8]) -> Result<(), Fault> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or(bytes);
    if line.starts_with(b"2.") {
        return Ok(());
    }
    Err(Fault::Format(String::from_utf8_lossy(line).into_owned()))
}

type Member = (String, Vec<u8>);

fn members(bytes: &[u8]) -> Result<Vec<Member>, Fault> {
    if !bytes.starts_with(b"!<arch>\n") {
        return Err(Fault::NotADeb("it does not begin as an ar archive".into()));
    }
    let mut archive = ar::Archive::new(bytes);
    let mut members = Vec::new();
    while let Some(entry) = archive.next_entry() {
        let mut entry = entry.map_err(|error| damaged("ar header", &error))?;
        let name = String::from_utf8_lossy(entry.header().identifier()).into_owned();
        let size = entry.header().size();
        let mut content = Vec::new();
        entry
            .read_to_end(&mut content)
            .map_err(|error| damaged(&name, &error))?;
        if u64::try_from(content.len()).ok() != Some(size) {
            return Err(Fault::Truncated(name));
        }
        members.push((name, content));
    }
    Ok(members)
}

/// Finds the member `stem` under whichever suffix, and unpacks it.
fn tar_member(members: &[Member], stem: &'static str, limit: u64) -> Result<Vec<u8>, Fault> {
    let (name, packed) = members
        .iter()
        .find(|(name, _)| name.starts_with(stem))
        .ok_or(Fault::Missing(stem))?;
    let reader: Box<dyn Read> = match &name[stem.len()..] {
        "" => Box::new(packed.as_slice()),
        ".xz" => Box::new(xz(packed, name)?),
        ".zst" => Box::new(
            zstd::Decoder::with_buffer(packed.as_slice()).map_err(|error| damaged(name, &error))?,
        ),
        ".gz" => Box::new(flate2::bufread::MultiGzDecoder::new(packed.as_slice())),
        _ => return Err(Fault::Compression(name.clone())),
    };
    let mut unpacked = Vec::new();
    reader
        .take(limit + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| damaged(name, &error))?;
    check_size(&format!("{name}, unpacked,"), unpacked.len(), limit)?;
    Ok(unpacked)
}

fn xz<'a>(packed: &'a [u8], name: &str) -> Result<liblzma::bufread::XzDecoder<&'a [u8]>, Fault> {
    let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)
        .map_err(|error| damaged(name, &io::Error::other(error)))?;
    Ok(liblzma::bufread::XzDecoder::new_stream(packed, stream))
}

pub(super) fn damaged(member: &str, error: &io::Error) -> Fault {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Fault::Truncated(member.to_owned());
    }
    Fault::Damaged {
        member: member.to_owned(),
        reason: error.to_string(),
    }
}
