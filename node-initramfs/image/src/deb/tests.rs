use tar::EntryType;

use super::*;
use crate::fixture::{DebBuilder, Packing, ar, control_tar};

fn read(bytes: &[u8]) -> Result<Deb, Fault> {
    Deb::from_bytes("test.deb", bytes, Limits::DEFAULT).map_err(|error| error.fault)
}

fn fault(builder: DebBuilder) -> Fault {
    read(&builder.build(Packing::Plain)).unwrap_err()
}

fn sample() -> DebBuilder {
    let mut builder = DebBuilder::new("hello")
        .raw(EntryType::Directory, "./", "", b"")
        .raw(EntryType::Directory, "./usr/bin/", "", b"")
        .file("/usr/bin/hello", b"ELF")
        .symlink("/usr/bin/hi", "hello")
        .raw(EntryType::Link, "./usr/bin/hey", "./usr/bin/hello", b"")
        .file("/.hidden", b"");
    builder.control += "Depends: libc6 (>= 2.34), a | b\nDescription: greets\n twice\n .\n";
    builder
}

#[test]
fn reads_every_packing() {
    for packing in Packing::ALL {
        let deb = read(&sample().build(packing)).unwrap();
        let control = deb.control();
        assert_eq!(
            [&control.package, &control.version, &control.architecture],
            ["hello", "1.0-1", "amd64"]
        );
        assert_eq!(
            control.depends().collect::<Vec<_>>(),
            ["libc6 (>= 2.34)", "a | b"]
        );
        assert_eq!(control.field("description"), Some("greets\ntwice\n."));
        assert_eq!(control.field("Homepage"), None);

        let entry = |path, mode, content| Entry {
            path,
            mode,
            uid: 0,
            gid: 0,
            content,
        };
        let hey = Content::HardLink {
            target: "/usr/bin/hello",
            bytes: b"ELF",
        };
        let expected = [
            entry("/usr/bin", 0o755, Content::Directory),
            entry("/usr/bin/hello", 0o644, Content::Regular(b"ELF")),
            entry("/usr/bin/hi", 0o755, Content::Symlink("hello")),
            entry("/usr/bin/hey", 0o755, hey),
            entry("/.hidden", 0o644, Content::Regular(b"")),
        ];
        assert_eq!(deb.entries().collect::<Vec<_>>(), expected, "{packing:?}");
        assert_eq!(deb.find("/usr/bin/hey").unwrap().bytes(), Some(&b"ELF"[..]));
        assert_eq!(deb.find("/usr/bin/hi").unwrap().bytes(), None);
        assert_eq!(deb.find("/usr"), None);
    }
}

#[test]
fn opens_a_file_and_names_it_in_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hello.deb");
    std::fs::write(&path, sample().build(Packing::Xz)).unwrap();
    assert_eq!(Deb::open(&path).unwrap().name(), path.to_str().unwrap());

    std::fs::write(&path, b"PK\x03\x04").unwrap();
    let expected = format!(
        "Debian package {}: this is no Debian package: it does not begin as an ar archive",
        path.display()
    );
    assert_eq!(Deb::open(&path).unwrap_err().to_string(), expected);

    std::fs::remove_file(&path).unwrap();
    assert!(matches!(
        Deb::open(&path).unwrap_err().fault,
        Fault::Read(_)
    ));
}

#[test]
fn refuses_every_cut() {
    for packing in Packing::ALL {
        let whole = sample().build(packing);
        for len in 0..whole.len() {
            // The last byte may be ar's padding, and a tar ends in blocks of zeros that
            // nothing needs: such cuts must give the same package or an error.
            if let Ok(deb) = read(&whole[..len]) {
                assert_eq!(deb.entries().count(), 5, "{packing:?} cut at {len}");
            }
        }
    }
    let whole = sample().build(Packing::Zst);
    assert!(matches!(
        read(&whole[..whole.len() - 9]),
        Err(Fault::Truncated(name)) if name == "data.tar.zst"
    ));
}

#[test]
fn survives_every_flipped_byte() {
    let whole = sample().build(Packing::Plain);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        let _ = read(&bytes);
    }
}

#[test]
fn refuses_other_archives_and_formats() {
    assert!(matches!(read(b""), Err(Fault::NotADeb(_))));
    assert!(matches!(read(b"!<arch>\n"), Err(Fault::NotADeb(_))));
    assert!(matches!(
        read(&ar(&[("a.o", b"x")])),
        Err(Fault::NotADeb(_))
    ));

    let old = ar(&[("debian-binary", b"0.939\n")]);
    assert!(matches!(read(&old), Err(Fault::Format(format)) if format == "0.939"));

    let control = control_tar("Package: a\nVersion: 1\nArchitecture: all\n");
    let head: [(&str, &[u8]); 2] = [("debian-binary", b"2.0\n"), ("control.tar", &control)];
    assert!(matches!(read(&ar(&head)), Err(Fault::Missing("data.tar"))));
    let lzma = [head[0], head[1], ("data.tar.lzma", b"")];
    assert!(matches!(
        read(&ar(&lzma)),
        Err(Fault::Compression(name)) if name == "data.tar.lzma"
    ));
    let junk: [(&str, &[u8]); 3] = [head[0], head[1], ("data.tar.xz", b"no xz at all")];
    assert!(matches!(read(&ar(&junk)), Err(Fault::Damaged { .. })));
}

#[test]
fn refuses_headers_of_other_archives() {
    let damaged = |change: (usize, &[u8])| {
        let mut deb = sample().build(Packing::Plain);
        deb[change.0..change.0 + change.1.len()].copy_from_slice(change.1);
        read(&deb).unwrap_err().to_string()
    };
    // The second header, behind the magic, a header and a line of four bytes.
    let second = 8 + 60 + 4;
    let missing = "has no control.tar member";
    for (at, bytes, expected) in [
        (0, b"/4000           ", missing),
        (0, b"//              ", missing),
        (0, b"#1/999999999    ", missing),
        (
            48,
            b"-1        `\n    ",
            "is damaged: ar header: its size is no number",
        ),
        (
            48,
            b"          `\n    ",
            "is damaged: ar header: its size is no number",
        ),
        (
            48,
            b"9999999999`\n    ",
            "is truncated: control.tar ends too early",
        ),
        (
            48,
            b"1         xx    ",
            "is damaged: ar header: it does not end as one",
        ),
    ] {
        let bytes = if at == 48 { &bytes[..12] } else { &bytes[..] };
        assert_eq!(damaged((second + at, bytes)), expected);
    }
}

#[test]
fn refuses_paths_that_leave_the_tree() {
    for path in ["../etc/passwd", "./a/../../b", "./a//b", "..", "./a/./b"] {
        let result = fault(DebBuilder::new("evil").raw(EntryType::Regular, path, "", b""));
        assert!(matches!(result, Fault::Path(_)), "{path}: {result}");
    }
    let through = DebBuilder::new("evil")
        .symlink("/a", "/etc")
        .file("/a/passwd", b"");
    assert!(matches!(fault(through), Fault::Path(path) if path == "/a/passwd"));
    let outside = DebBuilder::new("evil").raw(EntryType::Link, "./a", "/etc/shadow", b"");
    assert!(matches!(fault(outside), Fault::HardLink { target, .. } if target == "/etc/shadow"));
    let twice = DebBuilder::new("evil").file("/a", b"1").file("/a", b"2");
    assert!(matches!(fault(twice), Fault::Twice(path) if path == "/a"));
}

#[test]
fn refuses_devices() {
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        let result = fault(DebBuilder::new("evil").raw(kind, "./dev/x", "", b""));
        assert!(matches!(result, Fault::Kind { .. }), "{kind:?}: {result}");
    }
}

#[test]
fn refuses_absurd_sizes() {
    let limits = Limits {
        package: 100_000,
        control: 10_000,
        data: 50_000,
    };
    let sized = |len: usize| DebBuilder::new("big").file("/zeros", &vec![0; len]);
    let small = |len, packing| Deb::from_bytes("big", &sized(len).build(packing), limits);
    for packing in [Packing::Gz, Packing::Xz, Packing::Zst] {
        assert!(small(40_000, packing).is_ok());
        let error = small(60_000, packing).unwrap_err();
        assert!(matches!(error.fault, Fault::TooLarge { limit: 50_000, .. }));
    }
    let error = small(200_000, Packing::Plain).unwrap_err();
    assert!(matches!(
        error.fault,
        Fault::TooLarge { limit: 100_000, .. }
    ));

    // An ar header that promises 9 GB.
    let mut bytes = sized(0).build(Packing::Plain);
    let at = bytes.windows(8).position(|w| w == b"data.tar").unwrap();
    bytes[at + 48..at + 58].copy_from_slice(b"9999999999");
    assert!(matches!(read(&bytes), Err(Fault::Truncated(_))));
}

#[test]
fn reads_control_files_as_policy_says() {
    for (text, reason) in [
        ("Package: a\n", "has no Version field"),
        (" continued\n", "line \" continued\" is no field"),
        ("Package a\n", "line \"Package a\" is no field"),
        (
            "Package:\nVersion: 1\nArchitecture: all\n",
            "has no Package field",
        ),
    ] {
        let error = Control::parse(text).unwrap_err();
        assert_eq!(error.to_string(), format!("control file: {reason}"));
    }
    let text = "# note\npackage: a\nVersion: 1:2-3\nArchitecture: all\n\nPackage: b\n";
    let control = Control::parse(text).unwrap();
    assert_eq!([&*control.package, &*control.version], ["a", "1:2-3"]);
    assert_eq!(control.depends().count(), 0);
}
