//! What ELF files say, on programs and libraries of this machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use catalog::elf::{ElfFacts, Kind, Link, Module, facts, resolve};
use catalog::signature;

/// The C library of this machine, by its path in /proc: the test needs one itself.
fn libc() -> Vec<u8> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let libc = maps
        .split_whitespace()
        .find(|it| it.ends_with("/libc.so.6"));
    fs::read(libc.unwrap()).unwrap()
}

fn read(path: &str) -> ElfFacts {
    let bytes = fs::read(path).unwrap();
    facts(&bytes).unwrap().unwrap()
}

#[test]
fn of_a_program_and_of_libc() {
    let shell = read("/bin/sh");
    assert_eq!(shell.kind, Kind::Program);
    assert!(shell.needed.contains(&"libc.so.6".to_owned()), "{shell:?}");
    assert!(shell.arch.is_some() && shell.soname.is_none(), "{shell:?}");

    let libc = facts(&libc()).unwrap().unwrap();
    assert_eq!(libc.kind, Kind::SharedLibrary);
    assert_eq!(libc.soname.as_deref(), Some("libc.so.6"));
    assert_eq!((libc.arch, libc.abi), (shell.arch, shell.abi));
    assert_eq!(facts(b"#!/bin/sh\n"), Ok(None));
}

#[test]
fn whatever_is_cut_off_is_missed() {
    let whole = libc();
    let step = whole.len() / 2000;
    let lens = (4..4096)
        .step_by(7)
        .chain((4096..whole.len()).step_by(step));
    for len in lens.chain([whole.len() - 1]) {
        let cut = &whole[..len];
        assert!(facts(cut).is_err(), "{len} of {} bytes", whole.len());
    }
    // The signature of what is cut is that of its bytes.
    let cut = &whole[..whole.len() - 1];
    let digest = bootd_protocol::digest::Digest::of(cut);
    assert_eq!(signature::of(cut), digest);
}

/// Flipped bits break nothing, and none of what is loaded is overlooked.
#[test]
fn flipped_bits() {
    let mut bytes = fs::read("/bin/sh").unwrap();
    let signature = signature::of(&bytes);
    let mut random = fastrand::Rng::with_seed(1);
    let (mut same, rounds) = (0, 600);
    for round in 0..rounds {
        // Every second time in the headers, where most is to be broken.
        let len = if round % 2 == 0 { bytes.len() } else { 1024 };
        let (at, bit) = (random.usize(..len), random.u8(..8));
        bytes[at] ^= 1 << bit;
        let _ = facts(&bytes);
        same += usize::from(signature::of(&bytes) == signature);
        bytes[at] ^= 1 << bit;
    }
    // Build id, segments of notes, names and headers of what is left out.
    assert!(same < rounds / 8, "{same} of {rounds}");
    assert_eq!(signature::of(&bytes), signature);
}

/// Gathers files and links of a directory, but not of those below it.
fn gather(
    directory: &str,
    files: &mut BTreeMap<String, ElfFacts>,
    links: &mut Vec<(String, String)>,
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let Some(name) = path.to_str() else { continue };
        if path.is_symlink() {
            let target = fs::read_link(&path)?.display().to_string();
            links.push((name.to_owned(), target));
        } else if path.is_file()
            && name.contains(".so")
            && let Ok(Some(facts)) = facts(&fs::read(&path)?)
        {
            files.insert(name.to_owned(), facts);
        }
    }
    Ok(())
}

/// The libraries of this very machine, found as ld.so has found them for this test.
#[test]
fn libraries_of_this_test() {
    let myself = std::env::current_exe().unwrap().display().to_string();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let loaded = maps.split_whitespace();
    let loaded = loaded.filter(|it| it.starts_with('/') && it.contains(".so"));
    let mut expected: Vec<&str> = loaded.collect();
    expected.sort_unstable();
    expected.dedup();

    let (mut files, mut links) = (BTreeMap::new(), Vec::new());
    for path in ["/lib", "/lib64"] {
        if let Ok(target) = fs::read_link(path) {
            links.push((path.to_owned(), target.display().to_string()));
        }
    }
    let places = expected
        .iter()
        .filter_map(|it| Path::new(it).parent()?.to_str());
    let places: std::collections::BTreeSet<&str> = places.chain(["/lib64"]).collect();
    for place in places {
        gather(place, &mut files, &mut links).unwrap();
    }
    files.insert(myself.clone(), read(&myself));
    let modules: Vec<_> = files
        .iter()
        .map(|(path, facts)| Module {
            path,
            facts,
            loads: &[],
        })
        .collect();
    let links: Vec<_> = links
        .iter()
        .map(|(path, target)| Link { path, target })
        .collect();
    let needs = resolve(&modules, &links);
    let index = modules.iter().position(|it| it.path == myself).unwrap();
    assert_eq!(needs[index].transitive, expected);
    assert_eq!(needs[index].missing, []);
}
