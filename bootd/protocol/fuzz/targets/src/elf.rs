//! Modules of packages: what an ELF file says, which libraries it needs, its change signature.

use catalog::elf::{ElfFacts, Link, MAX_NAME, MAX_NEEDED, Module, facts, resolve};
use catalog::signature;

pub(crate) fn module(data: &[u8]) {
    let signature = signature::of(data);
    assert_eq!(signature::of(data), signature);
    // What stands behind a file can be a file system: it counts.
    let longer = [data, b"x"].concat();
    assert_ne!(signature::of(&longer), signature);
    if let Ok(Some(facts)) = facts(data) {
        check(&facts, data.len());
        find(&facts);
    }
}

fn check(facts: &ElfFacts, file_len: usize) {
    assert!(facts.needed.len() <= MAX_NEEDED);
    assert!(facts.needed.iter().map(String::len).sum::<usize>() <= file_len);
    let names = facts.needed.iter().chain(&facts.soname);
    let mut names = names.chain(&facts.interpreter);
    assert!(names.all(|it| (1..=MAX_NAME).contains(&it.len())));
    let mut lists = facts.runpath.iter().chain(&facts.rpath);
    assert!(lists.all(|it| (1..=file_len).contains(&it.len())));
}

/// A tree in which the file lies twice, with links of all names to each other.
fn find(facts: &ElfFacts) {
    let module = |path| Module {
        path,
        facts,
        loads: &facts.needed,
    };
    let names = facts.needed.iter().chain(&facts.runpath).take(64);
    let paths: Vec<String> = names.map(|name| format!("/lib/{name}")).collect();
    let links = paths.iter().zip(paths.iter().skip(1));
    let links: Vec<_> = links.map(|(path, target)| Link { path, target }).collect();
    let needs = resolve(&[module("/opt/it"), module("/lib/it")], &links);
    assert!(needs.iter().all(|it| it.transitive.len() <= 1));
    // Each name once by each of the two.
    let most = 2 * (facts.needed.len() * 2 + 1);
    assert!(needs.iter().all(|it| it.missing.len() <= most));
}
