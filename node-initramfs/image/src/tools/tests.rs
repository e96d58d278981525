use super::*;
use crate::deb::Limits;
use crate::fixture::{DebBuilder, ElfBuilder, Packing};

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
const LIB: &str = "/lib/x86_64-linux-gnu";

fn elf(interpreter: Option<&str>, needed: &[&str]) -> Vec<u8> {
    let elf = ElfBuilder {
        interpreter,
        needed,
        ..ElfBuilder::default()
    };
    elf.build()
}

fn deb(builder: DebBuilder, name: &str) -> Deb {
    Deb::from_bytes(name, &builder.build(Packing::Plain), Limits::DEFAULT).unwrap()
}

/// Debian 12's layout: the loader behind an absolute link, libraries behind relative ones, some
/// below `/lib`, some below `/usr/lib`; all end up below `/lib`.
fn libc() -> DebBuilder {
    DebBuilder::new("libc6")
        .symlink(LOADER, &format!("{LIB}/ld-linux-x86-64.so.2"))
        .file(&format!("{LIB}/ld-linux-x86-64.so.2"), &elf(None, &[]))
        .file(
            &format!("{LIB}/libc.so.6"),
            &elf(None, &["ld-linux-x86-64.so.2"]),
        )
}

fn tool() -> DebBuilder {
    DebBuilder::new("tool")
        .file(
            "/sbin/tool",
            &elf(Some(LOADER), &["libone.so.1", "libc.so.6"]),
        )
        .file(
            &format!("/usr{LIB}/libone.so.1.2"),
            &elf(None, &["libtwo.so.2", "libc.so.6"]),
        )
        .symlink(&format!("/usr{LIB}/libone.so.1"), "libone.so.1.2")
}

fn two(machine: u16) -> DebBuilder {
    let two = ElfBuilder {
        machine,
        needed: &["libone.so.1"],
        ..ElfBuilder::default()
    };
    DebBuilder::new("libtwo").file(&format!("{LIB}/libtwo.so.2"), &two.build())
}

fn add(debs: &[Deb], path: &str) -> Result<Vec<u8>, ToolError> {
    let mut archive = Archive::default();
    Sysroot::new(debs, Arch::X86_64).add_program(&mut archive, path)?;
    Ok(archive.to_bytes()?)
}

#[test]
fn carries_loader_and_libraries() {
    let debs = [
        deb(tool(), "tool.deb"),
        deb(libc(), "libc.deb"),
        deb(two(0), "two.deb"),
    ];
    let files = [
        (
            "/sbin/tool",
            elf(Some(LOADER), &["libone.so.1", "libc.so.6"]),
        ),
        (LOADER, elf(None, &[])),
        (
            "/lib/x86_64-linux-gnu/libc.so.6",
            elf(None, &["ld-linux-x86-64.so.2"]),
        ),
        (
            "/lib/x86_64-linux-gnu/libone.so.1",
            elf(None, &["libtwo.so.2", "libc.so.6"]),
        ),
        (
            "/lib/x86_64-linux-gnu/libtwo.so.2",
            elf(None, &["libone.so.1"]),
        ),
    ];
    let mut expected = Archive::default();
    for (path, bytes) in files {
        expected.file(path, 0o644, bytes).unwrap();
    }
    assert_eq!(
        add(&debs, "/sbin/tool").unwrap(),
        expected.to_bytes().unwrap()
    );
}

#[test]
fn finds_programs_on_either_side_of_a_merged_usr() {
    let debs = [deb(
        DebBuilder::new("static").file("/usr/sbin/tool", &elf(None, &[])),
        "static.deb",
    )];
    assert!(add(&debs, "/sbin/tool").is_ok());
}

#[test]
fn names_what_is_missing_or_foreign() {
    let without_two = [deb(tool(), "tool.deb"), deb(libc(), "libc.deb")];
    let error = add(&without_two, "/sbin/tool").unwrap_err();
    assert_eq!(
        error.to_string(),
        "shared library libtwo.so.2, which /lib/x86_64-linux-gnu/libone.so.1 needs, \
         is in none of the packages given (tool.deb, libc.deb)"
    );
    let error = add(&without_two, "/sbin/other").unwrap_err();
    assert_eq!(
        error.to_string(),
        "/sbin/other is in none of the packages given (tool.deb, libc.deb)"
    );
    const AARCH64: u16 = 183;
    let foreign = [
        deb(tool(), "tool.deb"),
        deb(libc(), "libc.deb"),
        deb(two(AARCH64), "two.deb"),
    ];
    let error = add(&foreign, "/sbin/tool").unwrap_err();
    assert_eq!(
        error.to_string(),
        "/lib/x86_64-linux-gnu/libtwo.so.2 is no program or library for x86_64: \
         it was built for another"
    );
    let looping = [deb(
        DebBuilder::new("loop").symlink("/sbin/a", "../sbin/a"),
        "loop.deb",
    )];
    assert!(matches!(
        add(&looping, "/sbin/a"),
        Err(ToolError::NoFile { .. })
    ));
}

#[test]
fn follows_links_as_the_kernel_does() {
    for (link, target, expected) in [
        ("/a/b", "c", "/a/c"),
        ("/a/b", "../c", "/c"),
        ("/a/b", "../../../c", "/c"),
        ("/a/b", "/c/./d", "/c/d"),
    ] {
        assert_eq!(join(link, target), expected, "{link} -> {target}");
    }
}
