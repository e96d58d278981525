use super::fixture::{ElfBuilder, object};
use super::*;

/// A library that says everything a library can say.
fn library() -> ElfBuilder<'static> {
    ElfBuilder {
        needed: &["libb.so.2", "liba.so.1"],
        soname: Some("libx.so.1"),
        runpath: Some("$ORIGIN/../lib:/opt/lib"),
        rpath: Some("/old"),
        ..ElfBuilder::default()
    }
}

fn read(builder: &ElfBuilder<'_>) -> ElfFacts {
    facts(&builder.build()).unwrap().unwrap()
}

#[test]
fn says_what_the_file_says() {
    let abi = Abi {
        machine: 62,
        wide: true,
        big_endian: false,
    };
    let expected = ElfFacts {
        arch: Some(Arch::X86_64),
        abi,
        kind: Kind::SharedLibrary,
        soname: Some("libx.so.1".into()),
        needed: vec!["libb.so.2".into(), "liba.so.1".into()],
        runpath: Some("$ORIGIN/../lib:/opt/lib".into()),
        rpath: Some("/old".into()),
        interpreter: None,
    };
    assert_eq!(read(&library()), expected);

    for (wide, big_endian) in [(false, false), (false, true), (true, true)] {
        let other = ElfBuilder {
            wide,
            big_endian,
            ..library()
        };
        let abi = Abi {
            wide,
            big_endian,
            ..abi
        };
        let expected = ElfFacts {
            arch: None,
            abi,
            ..expected.clone()
        };
        assert_eq!(read(&other), expected);
    }
    for (machine, arch) in [
        (183, Some(Arch::Aarch64)),
        (243, Some(Arch::Riscv64)),
        (8, None),
    ] {
        let other = ElfBuilder {
            machine,
            ..library()
        };
        assert_eq!(read(&other).arch, arch);
    }
}

#[test]
fn tells_programs_from_libraries() {
    let interpreter = Some("/lib/ld.so");
    let soname = Some("libc.so.6");
    for (kind, interpreter, soname, pie, expected) in [
        (2, None, None, false, Kind::Program),
        (2, interpreter, None, false, Kind::Program),
        (3, interpreter, None, true, Kind::Program),
        (3, interpreter, None, false, Kind::Program),
        // A static program that may stand anywhere.
        (3, None, None, true, Kind::Program),
        (3, None, None, false, Kind::SharedLibrary),
        (3, None, soname, false, Kind::SharedLibrary),
        // libc.so.6 prints its version when it is started.
        (3, interpreter, soname, false, Kind::SharedLibrary),
        (4, None, None, false, Kind::Other),
    ] {
        let file = ElfBuilder {
            kind,
            interpreter,
            soname,
            pie,
            ..ElfBuilder::default()
        };
        let found = read(&file);
        assert_eq!(
            found.kind, expected,
            "{kind} {interpreter:?} {soname:?} {pie}"
        );
        assert_eq!(found.interpreter.as_deref(), interpreter);
    }
    let found = facts(&object("f", b"debug")).unwrap().unwrap();
    assert_eq!((found.kind, found.needed.len()), (Kind::Relocatable, 0));
}

#[test]
fn other_files_are_none() {
    for bytes in [&b""[..], b"\x7fEL", b"#!/bin/sh\n", b"MZ\x7fELF"] {
        assert_eq!(facts(bytes), Ok(None));
    }
}

#[test]
fn says_what_is_wrong() {
    let whole = library().build();
    let with = |at: usize, byte| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        facts(&bytes).unwrap_err().to_string()
    };
    assert_eq!(facts(b"\x7fELF"), Err(ElfError::Cut(4)));
    assert_eq!(with(4, 3), "ELF header has class 3, which is not known");
    assert_eq!(
        with(5, 0),
        "ELF header has data encoding 0, which is not known"
    );
    assert_eq!(with(6, 2), "ELF header has version 2, which is not known");
    // e_phentsize, then the high byte of the place of the sections.
    assert_eq!(
        with(54, 1),
        "cannot read the program headers of the ELF file"
    );
    assert_eq!(
        with(47, 1),
        "cannot read the section headers of the ELF file"
    );
    // The segment to load becomes PT_DYNAMIC, too.
    assert_eq!(with(64, 2), "ELF file has two PT_DYNAMIC segments");
    let soname = whole.windows(9).position(|it| it == b"libx.so.1");
    assert_eq!(
        with(soname.unwrap(), 0xff),
        "the file's own name (DT_SONAME) of the ELF file is empty, not UTF-8, or longer than 4096 bytes"
    );
    let file_len = u64::try_from(whole.len()).unwrap();
    let mut longer = whole.clone();
    longer[64 + 32 + 7] = 1;
    let error = facts(&longer).unwrap_err();
    assert!(
        matches!(error, ElfError::Bounds { what: "a segment to load", start: 0, file_len: len, .. } if len == file_len),
        "{error}"
    );
    let long = "x".repeat(MAX_NAME + 1);
    let many = [&*long];
    let file = ElfBuilder {
        needed: &many,
        ..ElfBuilder::default()
    };
    let name = "a library's name (DT_NEEDED)";
    assert_eq!(facts(&file.build()), Err(ElfError::Name { what: name }));
    let many = vec!["x"; MAX_NEEDED + 1];
    let file = ElfBuilder {
        needed: &many,
        ..ElfBuilder::default()
    };
    assert_eq!(facts(&file.build()), Err(ElfError::TooMany));
}

#[test]
fn what_is_cut_short_is_an_error() {
    let program = ElfBuilder {
        interpreter: Some("/lib/ld.so"),
        ..library()
    };
    let whole = program.build();
    for len in 4..whole.len() {
        assert!(
            facts(&whole[..len]).is_err(),
            "{len} of {} bytes",
            whole.len()
        );
    }
    // Nothing needs to be where a processor wants it.
    let shifted = [b"x", whole.as_slice()].concat();
    assert_eq!(facts(&shifted[1..]), facts(&whole));
}

/// Many entries that name one long text: as much memory as the file, not its square.
#[test]
fn names_over_each_other_are_too_many() {
    let needed: Vec<String> = (0..40)
        .map(|it| format!("{}{it}", "y".repeat(2000)))
        .collect();
    let needed: Vec<&str> = needed.iter().map(String::as_str).collect();
    let file = ElfBuilder {
        needed: &needed,
        ..ElfBuilder::default()
    };
    let mut bytes = file.build();
    assert!(facts(&bytes).is_ok());
    // From the second on they name the first; the file has room for all texts but itself once.
    let text = bytes.windows(4).position(|it| it == b"yyyy").unwrap();
    let dynamic: Vec<u8> = [1_u64, 1].iter().flat_map(|it| it.to_le_bytes()).collect();
    let entries = bytes.windows(16).position(|it| it == dynamic).unwrap();
    for entry in 0..40 {
        let at = entries + entry * 16 + 8;
        bytes[at..at + 8].copy_from_slice(&1_u64.to_le_bytes());
    }
    bytes[text + 2000] = b'y';
    bytes[text + 2001] = b'y';
    bytes[text + 2002] = b'y';
    assert_eq!(facts(&bytes), Err(ElfError::TooMany));
}
