mod negotiation;
mod packets;
mod sequences;
mod wire;
mod world;

use super::*;

/// The wire form of an option list.
fn option_list(pairs: &[(&str, &str)]) -> Vec<u8> {
    pairs
        .iter()
        .flat_map(|(name, value)| [name.as_bytes(), &[0], value.as_bytes(), &[0]].concat())
        .collect()
}

/// A read request for `file` in octet mode.
fn read_request(pairs: &[(&str, &str)]) -> Vec<u8> {
    [&b"\0\x01file\0octet\0"[..], &option_list(pairs)].concat()
}

fn read_of(request: &[u8]) -> ReadRequest<'_> {
    match admit(request) {
        Admission::Read(read) => read,
        other @ (Admission::Refuse(_) | Admission::Ignore(_)) => panic!("{other:?}"),
    }
}
