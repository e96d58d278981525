//! Writes the seeds that are made of known packets and documents:
//! `cargo run -p fuzz-targets --example seeds`. Those with a sum for a name were found by the
//! fuzzers and stay.

#![expect(
    clippy::unwrap_used,
    reason = "a tool of developers that may stop where its ground is not firm"
)]

mod documents;
mod modules;
mod packages;
mod packets;

#[path = "../../../../../../node-initramfs/image/src/fixture.rs"]
mod fixture;

#[path = "../../../../../../catalog/src/elf/fixture.rs"]
mod elf;

use std::fs;
use std::path::Path;

/// Target, name, content.
type Seed = (&'static str, String, Vec<u8>);

fn main() {
    let seeds = [
        packets::seeds(),
        documents::seeds(),
        packages::seeds(),
        modules::seeds(),
    ];
    for (target, name, content) in seeds.into_iter().flatten() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../seeds")
            .join(target);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(name), content).unwrap();
    }
}

/// A piece with its length before it, as targets read it.
fn piece(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap();
    [&len.to_le_bytes(), bytes].concat()
}

/// The repository's file at `path`.
fn repository(path: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../..");
    fs::read(root.join(path)).unwrap()
}

/// Hexadecimal digits, and comments in lines with `#`.
fn from_hex(text: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(text).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let digits: Vec<u32> = lines
        .flat_map(str::chars)
        .filter_map(|it| it.to_digit(16))
        .collect();
    digits
        .chunks(2)
        .map(|two| u8::try_from(two[0] * 16 + two[1]).unwrap())
        .collect()
}
