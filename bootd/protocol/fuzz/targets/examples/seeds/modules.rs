//! Modules of packages: programs, libraries, object files, what they are packed in.

use std::io::Write as _;

use super::Seed;
use super::elf::{ElfBuilder, object};
use super::fixture::ar;

pub(crate) fn seeds() -> Vec<Seed> {
    let library = ElfBuilder {
        needed: &["libb.so.2", "liba.so.1"],
        soname: Some("libx.so.1"),
        runpath: Some("$ORIGIN/../$LIB:/opt/lib"),
        debug: b"debug information",
        ..ElfBuilder::default()
    };
    let program = ElfBuilder {
        interpreter: Some("/lib64/ld-linux-x86-64.so.2"),
        pie: true,
        behind: b"a file system",
        ..library.clone()
    };
    let narrow = ElfBuilder {
        wide: false,
        big_endian: true,
        rpath: Some("/opt/${PLATFORM}"),
        ..library.clone()
    };
    let object = object("callee", b"debug information");
    let signed = [
        &object,
        &b"signature\0\0\x02\0\0\0\0\0\0\0\0\x09~Module signature appended~\n"[..],
    ]
    .concat();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(b"content content content").unwrap();
    let cases = [
        ("library", library.build()),
        ("program", program.build()),
        ("narrow", narrow.build()),
        ("archive", ar(&[("a.txt", b"content"), ("x.o", &object)])),
        ("object", object),
        ("signed", signed),
        ("packed", packed.finish().unwrap()),
    ];
    let seed = |(name, bytes): (&str, Vec<u8>)| ("elf", name.to_owned(), bytes);
    cases.map(seed).to_vec()
}
