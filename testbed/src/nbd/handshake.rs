//! The fixed newstyle handshake (`doc/proto.md`, "Fixed newstyle negotiation").

use std::io::{self, Read, Write};

use super::cache::SECTOR;
use super::wire::{self, answer, option};

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Requests follow.
    Transmission,
    /// The client has gone, or asked for an export that is not here.
    Closed,
}

/// Negotiates with a client; the one export has the empty name and `size` bytes.
pub(super) fn negotiate(stream: &mut (impl Read + Write), size: u64) -> io::Result<Outcome> {
    let ours = wire::FIXED_NEWSTYLE | wire::NO_ZEROES;
    stream.write_all(&wire::GREETING.to_be_bytes())?;
    stream.write_all(&wire::OPTION.to_be_bytes())?;
    stream.write_all(&ours.to_be_bytes())?;
    let theirs = wire::read_u32(stream)?;
    if theirs & !u32::from(ours) != 0 {
        return Ok(Outcome::Closed);
    }
    let no_zeroes = theirs & u32::from(wire::NO_ZEROES) != 0;
    loop {
        let (option, data) = read_option(stream)?;
        match answer_to(option, &data, size, no_zeroes) {
            Answer::Go(bytes) => {
                stream.write_all(&bytes)?;
                return Ok(Outcome::Transmission);
            }
            Answer::More(bytes) => stream.write_all(&bytes)?,
            Answer::Close(bytes) => {
                // A client that aborts need not wait for the acknowledgement.
                let _ = stream.write_all(&bytes);
                return Ok(Outcome::Closed);
            }
        }
    }
}

fn read_option(stream: &mut impl Read) -> io::Result<(u32, Vec<u8>)> {
    let magic = wire::read_u64(stream)?;
    if magic != wire::OPTION {
        return Err(wire::invalid(format!("NBD option with magic {magic:#x}")));
    }
    let option = wire::read_u32(stream)?;
    let length = wire::read_u32(stream)?;
    if length > wire::MAX_OPTION {
        return Err(wire::invalid(format!("NBD option of {length} bytes")));
    }
    let mut data = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut data)?;
    Ok((option, data))
}

/// What is sent, and what comes after it.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Go(Vec<u8>),
    More(Vec<u8>),
    Close(Vec<u8>),
}

fn answer_to(option: u32, data: &[u8], size: u64, no_zeroes: bool) -> Answer {
    let reply = |kind, data: &[u8]| wire::option_reply(option, kind, data);
    match option {
        option::EXPORT_NAME if data.is_empty() => Answer::Go(old_export(size, no_zeroes)),
        option::EXPORT_NAME => Answer::Close(Vec::new()),
        option::ABORT => Answer::Close(reply(answer::ACK, &[])),
        option::LIST if data.is_empty() => {
            let one_empty_name = reply(answer::SERVER, &0_u32.to_be_bytes());
            Answer::More([one_empty_name, reply(answer::ACK, &[])].concat())
        }
        option::LIST => Answer::More(reply(answer::INVALID, &[])),
        option::INFO | option::GO => match wanted_export(data) {
            None => Answer::More(reply(answer::INVALID, &[])),
            Some(name) if !name.is_empty() => Answer::More(reply(answer::UNKNOWN, &[])),
            Some(_) => {
                let bytes = [
                    reply(answer::INFO, &export_info(size)),
                    reply(answer::INFO, &block_size_info()),
                    reply(answer::ACK, &[]),
                ]
                .concat();
                if option == option::GO {
                    Answer::Go(bytes)
                } else {
                    Answer::More(bytes)
                }
            }
        },
        _ => Answer::More(reply(answer::UNSUPPORTED, &[])),
    }
}

/// The export's name in the data of INFO and GO; `None` when its lengths do not add up.
fn wanted_export(data: &[u8]) -> Option<&[u8]> {
    let (length, rest) = data.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let (count, wishes) = rest.split_first_chunk()?;
    (wishes.len() == 2 * usize::from(u16::from_be_bytes(*count))).then_some(name)
}

/// The end of a handshake by EXPORT_NAME, which has no answer of the usual form.
fn old_export(size: u64, no_zeroes: bool) -> Vec<u8> {
    let mut bytes = size.to_be_bytes().to_vec();
    bytes.extend(wire::EXPORT_FLAGS.to_be_bytes());
    bytes.resize(bytes.len() + if no_zeroes { 0 } else { 124 }, 0);
    bytes
}

fn export_info(size: u64) -> Vec<u8> {
    let mut bytes = wire::INFO_EXPORT.to_be_bytes().to_vec();
    bytes.extend(size.to_be_bytes());
    bytes.extend(wire::EXPORT_FLAGS.to_be_bytes());
    bytes
}

/// Sectors as the least unit, so that a torn write never splits one.
fn block_size_info() -> Vec<u8> {
    let mut bytes = wire::INFO_BLOCK_SIZE.to_be_bytes().to_vec();
    let sector = u32::try_from(SECTOR).unwrap_or(512);
    for size in [sector, 4096, wire::MAX_PAYLOAD] {
        bytes.extend(size.to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_names_the_export_and_its_sizes() {
        let wish = [0_u8, 0, 0, 0, 0, 0];
        let Answer::Go(bytes) = answer_to(option::GO, &wish, 1 << 20, true) else {
            panic!("GO does not begin the transmission");
        };
        let infos = [export_info(1 << 20), block_size_info()];
        assert_eq!(infos[0], b"\0\0\0\0\0\0\0\x10\0\0\0\x6d");
        assert_eq!(infos[1], b"\0\x03\0\0\x02\0\0\0\x10\0\x02\0\0\0");
        let expected = [
            wire::option_reply(7, 3, &infos[0]),
            wire::option_reply(7, 3, &infos[1]),
            wire::option_reply(7, 1, &[]),
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn other_options_are_refused_in_the_protocols_words() {
        let other_name = [0_u8, 0, 0, 1, b'x', 0, 0];
        let refused = |option, data: &[u8]| answer_to(option, data, 512, true);
        assert_eq!(
            refused(option::GO, &other_name),
            Answer::More(wire::option_reply(7, answer::UNKNOWN, &[]))
        );
        assert_eq!(
            refused(option::GO, &other_name[..6]),
            Answer::More(wire::option_reply(7, answer::INVALID, &[]))
        );
        assert_eq!(
            refused(8, &[]),
            Answer::More(wire::option_reply(8, answer::UNSUPPORTED, &[]))
        );
        assert_eq!(refused(option::EXPORT_NAME, b"x"), Answer::Close(vec![]));
        assert_eq!(
            refused(option::ABORT, &[]),
            Answer::Close(wire::option_reply(2, answer::ACK, &[]))
        );
    }
}
