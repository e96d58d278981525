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

/// Name and content.
type Member<'a> = (String, &'a [u8]);

/// Length of the header before each member.
const AR_HEADER: usize = 60;

/// The members of an `ar` archive as `deb(5)` has it: plain names of up to 16 characters, ended
/// by spaces and perhaps a slash. (A crate that reads every dialect of `ar` panicked on a long
/// name that leads nowhere.)
fn members(bytes: &[u8]) -> Result<Vec<Member<'_>>, Fault> {
    let no_archive = || Fault::NotADeb("it does not begin as an ar archive".into());
    let mut rest = bytes.strip_prefix(b"!<arch>\n").ok_or_else(no_archive)?;
    let mut members = Vec::new();
    while !rest.is_empty() {
        let cut = || Fault::Truncated("ar header".into());
        let (header, tail) = rest.split_at_checked(AR_HEADER).ok_or_else(cut)?;
        let (name, size) = ar_header(header)?;
        let truncated = || Fault::Truncated(name.clone());
        let (content, tail) = tail.split_at_checked(size).ok_or_else(truncated)?;
        // Every member begins at an even offset; the last one's padding may be missing.
        rest = tail.get(size % 2..).unwrap_or_default();
        members.push((name, content));
    }
    Ok(members)
}

/// Name and size: the first 16 and the last 12 bytes of a header.
fn ar_header(header: &[u8]) -> Result<(String, usize), Fault> {
    let damaged = |reason: &str| Fault::Damaged {
        member: "ar header".into(),
        reason: reason.into(),
    };
    let size = header[48..58].trim_ascii_end();
    let digits = !size.is_empty() && size.iter().all(u8::is_ascii_digit);
    let size = std::str::from_utf8(size).ok().filter(|_| digits);
    let size = size.and_then(|it| it.parse().ok());
    if header[58..] != *b"`\n" {
        return Err(damaged("it does not end as one"));
    }
    let name = header[..16].trim_ascii_end();
    let name = name.strip_suffix(b"/").unwrap_or(name);
    Ok((
        String::from_utf8_lossy(name).into_owned(),
        size.ok_or_else(|| damaged("its size is no number"))?,
    ))
}

/// Finds the member `stem` under whichever suffix, and unpacks it.
fn tar_member(members: &[Member<'_>], stem: &'static str, limit: u64) -> Result<Vec<u8>, Fault> {
    let (name, packed) = members
        .iter()
        .find(|(name, _)| name.starts_with(stem))
        .ok_or(Fault::Missing(stem))?;
    decompress(name, &name[stem.len()..], packed, limit)
}

/// Unpacks `packed`, which errors call `name`, as its `suffix` says, to at most `limit` bytes.
pub(crate) fn decompress(
    name: &str,
    suffix: &str,
    packed: &[u8],
    limit: u64,
) -> Result<Vec<u8>, Fault> {
    let bad = |error| damaged(name, &error);
    let reader: Box<dyn Read> = match suffix {
        "" => Box::new(packed),
        ".xz" => Box::new(xz(packed).map_err(bad)?),
        ".zst" => Box::new(zstd::Decoder::with_buffer(packed).map_err(bad)?),
        ".gz" => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
        _ => return Err(Fault::Compression(name.to_owned())),
    };
    let mut unpacked = Vec::new();
    reader
        .take(limit + 1)
        .read_to_end(&mut unpacked)
        .map_err(bad)?;
    check_size(&format!("{name}, unpacked,"), unpacked.len(), limit)?;
    Ok(unpacked)
}

fn xz(packed: &[u8]) -> io::Result<liblzma::bufread::XzDecoder<&[u8]>> {
    let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
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
