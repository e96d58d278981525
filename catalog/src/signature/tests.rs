use std::io::Write as _;

use flate2::{Compression, GzBuilder};

use super::*;
use crate::elf::fixture::{ElfBuilder, object};

fn program() -> ElfBuilder<'static> {
    ElfBuilder {
        interpreter: Some("/lib/ld.so"),
        needed: &["libc.so.6"],
        soname: Some("it"),
        pie: true,
        debug: b"debug information",
        ..ElfBuilder::default()
    }
}

fn gzip(name: &str, time: u32, content: &[u8]) -> Vec<u8> {
    let builder = GzBuilder::new().filename(name).mtime(time);
    let mut writer = builder.write(Vec::new(), Compression::new(time % 10));
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

/// An archive of one member.
fn archive(name: &str, head: &str, content: &[u8]) -> Vec<u8> {
    let header = format!("!<arch>\n{name:<16}{head:<32}{:<10}`\n", content.len());
    let padding = if content.len() % 2 == 1 { "\n" } else { "" };
    [header.as_bytes(), content, padding.as_bytes()].concat()
}

const HEAD: &str = "1700000000  0     0     100644";

/// If this fails, do not change the digests: they are in catalogs, and everything would count as
/// changed. Where the form has to change, so does the number in [`stream::FORMAT`].
#[test]
fn golden() {
    let elf = program().build();
    let narrow = ElfBuilder {
        wide: false,
        big_endian: true,
        ..program()
    };
    for (name, bytes, expected) in [
        ("empty", Vec::new(), "e3b0c44298fc"),
        ("text", b"abc".to_vec(), "ba7816bf8f01"),
        (
            "form",
            b"change-signature-v1\0elf\0".to_vec(),
            "62530ae9f893",
        ),
        ("gzip", gzip("a", 1, b"abc"), "2cc0fb34f6e8"),
        ("archive", archive("a.txt/", HEAD, b"abc"), "7996e9936749"),
        ("elf", elf, "5ab02cd85c8d"),
        ("narrow", narrow.build(), "6a503e1cc356"),
        ("object", object("callee", b""), "86126484dc2e"),
    ] {
        assert_eq!(of(&bytes).short(), expected, "{name}");
    }
}

#[test]
fn how_it_was_made_does_not_count() {
    let normal = program().build();
    let signature = of(&normal);
    assert_ne!(signature, Digest::of(&normal));
    for other in [
        ElfBuilder {
            build_id: &[8; 20],
            ..program()
        },
        ElfBuilder {
            build_id: &[9; 16],
            ..program()
        },
        ElfBuilder {
            debug: b"",
            ..program()
        },
        ElfBuilder {
            debug: b"other and longer debug information",
            ..program()
        },
        ElfBuilder {
            behind: &[0; 9],
            ..program()
        },
    ] {
        assert_eq!(of(&other.build()), signature);
    }
}

#[test]
fn what_it_does_counts() {
    let narrow = |wide, big_endian| ElfBuilder {
        wide,
        big_endian,
        ..program()
    };
    let mut all = vec![
        program(),
        narrow(true, true),
        narrow(false, false),
        narrow(false, true),
    ];
    let changes: [fn(&mut ElfBuilder<'_>); 12] = [
        |it| it.machine = 183,
        |it| it.kind = 2,
        |it| it.interpreter = Some("/lib/ld.xo"),
        |it| it.interpreter = None,
        |it| it.needed = &["libc.so.7"],
        |it| it.needed = &["libc.so.6", "libm.so.6"],
        |it| it.soname = Some("is"),
        |it| it.runpath = Some("/opt"),
        |it| it.rpath = Some("/opt"),
        |it| it.pie = false,
        |it| it.code = b"\xb8\x2b\0\0\0\xc3",
        |it| it.behind = b"a whole file system",
    ];
    for change in changes {
        let mut other = program();
        change(&mut other);
        all.push(other);
    }
    let mut signatures: Vec<Digest> = all.iter().map(|it| of(&it.build())).collect();
    signatures.sort();
    signatures.dedup();
    assert_eq!(signatures.len(), all.len());
}

/// Every bit is hashed but those of what is left out: build id, debug information, comment, and
/// what the headers say of those.
#[test]
fn no_byte_is_overlooked() {
    let normal = program().build();
    let signature = of(&normal);
    let find = |text: &[u8]| {
        let at = normal.windows(text.len()).position(|it| it == text);
        let at = at.unwrap();
        at..at + text.len()
    };
    let sections = normal.len() - 9 * 64;
    let names = find(b"\0.interp\0").start;
    let free = [
        find(&[7; 20]),
        find(b"a compiler\0"),
        find(b"debug information"),
        names..sections,
        sections..normal.len(),
    ];
    for at in 0..normal.len() {
        let mut other = normal.clone();
        other[at] ^= 1;
        let is_free = free.iter().any(|it| it.contains(&at));
        assert!(of(&other) != signature || is_free, "byte {at}");
    }
}

#[test]
fn debug_sections_of_an_object_move_nothing() {
    let signature = of(&object("callee", b""));
    assert_eq!(of(&object("callee", b"debug information")), signature);
    assert_ne!(of(&object("caller", b"")), signature);
    let bytes = object("callee", b"");
    assert_ne!(Digest::of(&bytes), signature);
    // The addend of a relocation, its place, the content.
    for text in [
        &b"\x34\x12\0\0\0\0\0\0"[..],
        b"\x06\0\0\0\0\0\0\0",
        b"data of it",
    ] {
        let at = bytes.windows(text.len()).position(|it| it == text).unwrap();
        let mut other = bytes.clone();
        other[at] ^= 1;
        assert_ne!(of(&other), signature, "{text:?}");
    }
}

#[test]
fn signatures_of_kernel_modules_do_not_count() {
    let module = object("callee", b"");
    let signed = |signature: &[u8]| {
        let len = u32::try_from(signature.len()).unwrap().to_be_bytes();
        let end = b"~Module signature appended~\n";
        [&module, signature, &[0, 0, 2, 0, 0, 0, 0, 0], &len, end].concat()
    };
    assert_eq!(of(&signed(b"today")), of(&signed(b"yesterday's key")));
    // Whether there is one decides whether some kernels take it.
    assert_ne!(of(&signed(b"today")), of(&module));
    let mut wrong = signed(b"today");
    let at = wrong.len() - 30;
    wrong[at] = 0xff;
    assert_ne!(of(&wrong), of(&signed(b"today")));
}

#[test]
fn of_gzip_the_content_counts() {
    let signature = of(&gzip("a", 1, b"content"));
    assert_eq!(of(&gzip("another", 1_700_000_000, b"content")), signature);
    assert_ne!(of(&gzip("a", 1, b"contend")), signature);
    assert_ne!(of(b"content"), signature);
    let two = [gzip("a", 1, b"con"), gzip("b", 2, b"tent")].concat();
    assert_eq!(of(&two), signature);
    // What is damaged, or has something behind it, is hashed as it is.
    let whole = gzip("a", 1, b"content");
    let behind = [whole.as_slice(), b"x"].concat();
    for bytes in [&whole[..whole.len() - 1], &behind, &whole[..4]] {
        assert_eq!(of(bytes), Digest::of(bytes));
    }
}

#[test]
fn of_an_archive_the_members_count() {
    let signature = of(&archive("a.txt/", HEAD, b"content"));
    let later = "1800000000  7     8     100644";
    assert_eq!(of(&archive("a.txt/", later, b"content")), signature);
    let executable = "1700000000  0     0     100755";
    for other in [
        archive("b.txt/", HEAD, b"content"),
        archive("a.txt/", HEAD, b"contend"),
        archive("a.txt/", executable, b"content"),
    ] {
        assert_ne!(of(&other), signature);
    }
    let objects = |debug| archive("a.o/", HEAD, &object("callee", debug));
    assert_eq!(of(&objects(b"")), of(&objects(b"debug information")));
    let cut = &archive("a.txt/", HEAD, b"content")[..70];
    assert_eq!(of(cut), Digest::of(cut));
}

/// Thousands of sections that all hold the whole file: no more work than for the file.
#[test]
fn sections_over_each_other_are_not_read() {
    let behind = vec![b'x'; 1 << 20];
    let builder = ElfBuilder {
        kind: 1,
        behind: &behind,
        ..ElfBuilder::default()
    };
    let notes = crate::elf::fixture::Section {
        name: ".note",
        kind: 7,
        align: 1,
        ..Default::default()
    };
    let count = 4000;
    let mut bytes = builder.file(&[], vec![notes; count], 64);
    let table = bytes.len() - (count + 1) * 64;
    for header in bytes[table..].chunks_exact_mut(64).take(count) {
        header[24..32].copy_from_slice(&64_u64.to_le_bytes());
        header[32..40].copy_from_slice(&(1_u64 << 20).to_le_bytes());
    }
    let begin = std::time::Instant::now();
    assert_eq!(of(&bytes), Digest::of(&bytes));
    assert!(begin.elapsed().as_secs() < 5, "{:?}", begin.elapsed());
}

#[test]
fn a_normal_form_is_no_content() {
    let form = b"change-signature-v1\0content\0x";
    assert_ne!(of(form), Digest::of(form));
}
