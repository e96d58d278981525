//! Change signatures of what real compilers make: the same source built in another way has the
//! same one, another source has another.

use std::fs;
use std::path::Path;
use std::process::Command;

use bootd_protocol::digest::Digest;
use catalog::signature;
use tempfile::TempDir;

const C: &str = r#"
#include <assert.h>
#include <stdio.h>
static const int table[] = {11, 12, 13};
static const char *words[] = {"one", "two"};
int counter = 5;
int twice(int x) { return x * 2 + 1000; }
int work(int count) {
    assert(count > 0);
    counter += count;
    return printf("%d %s\n", twice(table[count % 3]), words[count % 2]);
}
#ifndef LIBRARY
int main(int count, char **args) { (void)args; return work(count) < 0; }
#endif
"#;

const CXX: &str = r#"
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>
namespace { struct Words { std::vector<std::string> all; Words() { all.push_back("x"); } } words; }
template <class T> T twice(T value) { if (value > 3) throw std::runtime_error("big"); return value * 2; }
int main(int count, char **) {
    try { std::cout << twice(count) << twice(2.5) << words.all.size() << "\n"; }
    catch (std::exception &error) { std::cerr << error.what(); }
}
"#;

const RUST: &str = r#"
fn main() {
    let lengths: Vec<usize> = std::env::args().map(|it| it.len()).collect();
    assert!(lengths.len() < 100, "too many");
    println!("{lengths:?} {}", lengths[0] + 1000);
}
"#;

/// How a program or library is built, without its sources and its name.
#[derive(Clone, Copy)]
struct Build<'a> {
    compiler: &'a str,
    source: &'a str,
    text: &'a str,
    options: &'a [&'a str],
}

impl Build<'_> {
    /// Builds in a directory of its own, whose path is longer each time, and gives the file.
    fn file(self, more: &str) -> Vec<u8> {
        let dir = TempDir::with_prefix("x".repeat(1 + more.len() % 20)).unwrap();
        fs::write(dir.path().join(self.source), self.text).unwrap();
        let mut command = Command::new(self.compiler);
        command
            .args(self.options)
            .arg(self.source)
            .args(["-o", "out"]);
        command.args(more.split_whitespace());
        run(command
            .current_dir(dir.path())
            .env("SOURCE_DATE_EPOCH", more.len().to_string()));
        fs::read(dir.path().join("out")).unwrap()
    }

    fn signature(self, more: &str) -> Digest {
        let bytes = self.file(more);
        let signature = signature::of(&bytes);
        assert_ne!(signature, Digest::of(&bytes), "{more}: no normal form");
        signature
    }

    /// Each of these ways of building gives the same.
    fn all_the_same(self, ways: &[&str]) {
        let signature = self.signature("");
        for way in ways {
            assert_eq!(self.signature(way), signature, "{} {way}", self.compiler);
        }
    }

    /// Each of these changes of the source gives another.
    fn all_others(self, changes: &[(&str, &str)]) {
        let mut signatures = vec![self.signature("")];
        for (from, to) in changes {
            assert!(self.text.contains(from), "{from}");
            let text = self.text.replace(from, to);
            let signature = Build {
                text: &text,
                ..self
            }
            .signature("");
            assert!(!signatures.contains(&signature), "{from} to {to}");
            signatures.push(signature);
        }
    }
}

fn run(command: &mut Command) {
    let done = command.output().unwrap_or_else(|error| {
        let program = command.get_program().display();
        panic!("cannot run {program}: {error}. These tests want the Debian packages gcc, g++ and binutils")
    });
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {said}");
}

const PROGRAM: Build<'_> = Build {
    compiler: "gcc",
    source: "x.c",
    text: C,
    options: &["-O2"],
};

const LIBRARY: Build<'_> = Build {
    options: &[
        "-O2",
        "-fPIC",
        "-shared",
        "-DLIBRARY",
        "-Wl,-soname,libx.so.1",
    ],
    ..PROGRAM
};

const OBJECT: Build<'_> = Build {
    options: &["-O2", "-c", "-ffunction-sections"],
    ..PROGRAM
};

const RUST_PROGRAM: Build<'_> = Build {
    compiler: "rustc",
    source: "x.rs",
    text: RUST,
    options: &["-Copt-level=2"],
};

const DEBUG: [&str; 6] = [
    "-g",
    "-g3",
    "-g -gsplit-dwarf",
    "-g -gz",
    "-frandom-seed=other",
    "-g1 -fdebug-prefix-map=/tmp=/usr/src",
];

const LINK: [&str; 5] = [
    "-Wl,--build-id=none",
    "-Wl,--build-id=uuid",
    "-Wl,--build-id=md5",
    "-g -s",
    "-g -Wl,--strip-debug",
];

#[test]
fn c_built_in_another_way() {
    PROGRAM.all_the_same(&DEBUG);
    PROGRAM.all_the_same(&LINK);
    LIBRARY.all_the_same(&DEBUG[..3]);
    LIBRARY.all_the_same(&LINK);
    OBJECT.all_the_same(&DEBUG);
    // Without PIE addresses stand in the code itself.
    let fixed = Build {
        options: &["-O2", "-no-pie"],
        ..PROGRAM
    };
    fixed.all_the_same(&["-g3", "-Wl,--build-id=none", "-s"]);
    let fixed = Build {
        options: &["-O2", "-static"],
        ..PROGRAM
    };
    fixed.all_the_same(&[
        "-g",
        "-Wl,--build-id=0x0102030405060708090a0b0c0d0e0f1011121314",
    ]);
}

#[test]
fn cxx_built_in_another_way() {
    let program = Build {
        compiler: "g++",
        source: "x.cc",
        text: CXX,
        options: &["-O1"],
    };
    program.all_the_same(&["-g3", "-frandom-seed=other", "-Wl,--build-id=uuid", "-s"]);
    let object = Build {
        options: &["-O1", "-c"],
        ..program
    };
    object.all_the_same(&["-g3"]);
}

/// With debug information rustc puts a section more among the data (`.debug_gdb_scripts`) and
/// may order the others in another way: everything behind moves. Whether it is kept in the file
/// does not count.
#[test]
fn rust_built_in_another_way() {
    let ways = [
        "-Cstrip=debuginfo",
        "-Cstrip=symbols",
        "-Clink-arg=-Wl,--build-id=0x0102030405060708090a0b0c0d0e0f1011121314",
    ];
    RUST_PROGRAM.all_the_same(&ways);
    for options in [
        &["-Copt-level=2", "-Cdebuginfo=2"][..],
        &["-Copt-level=0", "-Cdebuginfo=2"],
    ] {
        let debug = Build {
            options,
            ..RUST_PROGRAM
        };
        debug.all_the_same(&ways);
    }
    let library = Build {
        options: &["-Copt-level=2", "--crate-type=cdylib", "--crate-name=x"],
        text: "#[unsafe(no_mangle)] pub extern \"C\" fn x(a: u8) -> u8 { a.wrapping_mul(7) }",
        ..RUST_PROGRAM
    };
    library.all_the_same(&["-Cdebuginfo=2", "-Cdebuginfo=1", "-Cstrip=symbols"]);
}

#[test]
fn what_differs_in_substance() {
    let changes = [
        ("{11,", "{10,"),
        ("\"two\"", "\"owt\""),
        ("counter = 5", "counter = 6"),
        ("+ 1000", "+ 1001"),
        ("x * 2", "x * 3"),
        ("counter += count", "counter -= count"),
        (
            "int twice(int x)",
            "int thrice(int y) { return y; } int twice(int x)",
        ),
    ];
    PROGRAM.all_others(&changes);
    LIBRARY.all_others(&changes);
    // Whether others see it decides nothing in a program, but in a library.
    LIBRARY.all_others(&[("int counter", "static int counter")]);
    OBJECT.all_others(&changes);
    RUST_PROGRAM.all_others(&[
        ("+ 1000", "+ 1001"),
        ("too many", "too much"),
        ("< 100", "< 101"),
    ]);
}

#[test]
fn what_is_linked_differs() {
    let links = [
        "",
        "-Wl,--no-as-needed -lm",
        "-Wl,-rpath,/opt/lib",
        "-Wl,-rpath,/opt/lib -Wl,--disable-new-dtags",
        "-Wl,-soname,libx.so.2",
        "-Wl,-z,now",
        "-Wl,-z,execstack",
    ];
    let mut signatures = links.map(|link| LIBRARY.signature(link)).to_vec();
    let program = PROGRAM.signature("-Wl,--dynamic-linker=/lib/other.so");
    signatures.extend([program, PROGRAM.signature("")]);
    signatures.sort();
    signatures.dedup();
    assert_eq!(signatures.len(), links.len() + 2);
}

/// The file's name is in the program: another one is another program, for all that can be seen.
#[test]
fn an_absolute_name_in_an_assertion_counts() {
    let dir = TempDir::new().unwrap();
    let [one, other] = ["one.c", "two.c"].map(|name| {
        let path = dir.path().join(name);
        fs::write(&path, C).unwrap();
        let out = dir.path().join("out");
        run(Command::new("gcc").arg(&path).arg("-o").arg(&out));
        signature::of(&fs::read(out).unwrap())
    });
    assert_ne!(one, other);
}

#[test]
fn stripped_by_binutils() {
    let whole = LIBRARY.file("-g");
    let object = OBJECT.file("-g");
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x");
    for (bytes, options) in [
        (
            &whole,
            &["--strip-unneeded", "-R", ".comment", "-R", ".note"][..],
        ),
        (
            &whole,
            &["--strip-debug", "--enable-deterministic-archives"],
        ),
        (&object, &["--strip-debug"]),
    ] {
        fs::write(&path, bytes).unwrap();
        run(Command::new("strip").args(options).arg(&path));
        let stripped = fs::read(&path).unwrap();
        assert!(stripped.len() < bytes.len());
        assert_eq!(
            signature::of(&stripped),
            signature::of(bytes),
            "{options:?}"
        );
    }
}

#[test]
fn archives_of_objects() {
    let dir = TempDir::new().unwrap();
    let archive = |way, time: &str, flags| {
        let path = dir.path().join("x.o");
        fs::write(&path, OBJECT.file(way)).unwrap();
        run(Command::new("touch").arg("-d").arg(time).arg(&path));
        let out = dir.path().join("libx.a");
        let _ = fs::remove_file(&out);
        run(Command::new("ar").arg(flags).arg(&out).arg(&path));
        signature::of(&fs::read(out).unwrap())
    };
    let one = archive("", "2001-01-01", "rcsU");
    assert_eq!(archive("-g3", "2020-01-01", "rcsU"), one);
    assert_eq!(
        archive("", "2020-01-01", "rcsD").short(),
        archive("-g", "2000-01-01", "rcsD").short()
    );
    assert_ne!(archive("-DNDEBUG", "2001-01-01", "rcsU"), one);
}

/// The same package in two directories, by cargo.
#[test]
fn cargo_in_another_directory() {
    let dir = TempDir::new().unwrap();
    let build = |place: &str, text: &str| {
        let package = dir.path().join(place);
        fs::create_dir_all(package.join("src")).unwrap();
        let manifest =
            "[package]\nname = \"tiny\"\nversion = \"1.0.0\"\nedition = \"2024\"\n[workspace]\n";
        fs::write(package.join("Cargo.toml"), manifest).unwrap();
        fs::write(package.join("src/main.rs"), text).unwrap();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--offline", "--target-dir", "target"]);
        run(command.current_dir(&package).env_remove("RUSTFLAGS"));
        let built: &Path = &package.join("target/debug/tiny");
        signature::of(&fs::read(built).unwrap())
    };
    let one = build("one", RUST);
    assert_eq!(build("another/and/deeper", RUST), one);
    assert_ne!(build("third", &RUST.replace("1000", "1001")), one);
}
