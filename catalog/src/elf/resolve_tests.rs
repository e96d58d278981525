use std::time::Instant;

use super::*;

const X86: Abi = Abi {
    machine: 62,
    wide: true,
    big_endian: false,
};

const LD: &str = "/lib64/ld-linux-x86-64.so.2";

fn library(soname: &str, needed: &[&str]) -> ElfFacts {
    ElfFacts {
        arch: X86.arch(),
        abi: X86,
        kind: Kind::SharedLibrary,
        soname: (!soname.is_empty()).then(|| soname.to_owned()),
        needed: needed.iter().map(|it| (*it).to_owned()).collect(),
        runpath: None,
        rpath: None,
        interpreter: None,
    }
}

fn program(needed: &[&str]) -> ElfFacts {
    ElfFacts {
        kind: Kind::Program,
        interpreter: Some(LD.into()),
        ..library("", needed)
    }
}

/// Resolves a tree of modules, and gives what the first of them needs.
fn first<'a>(modules: &'a [(&'a str, ElfFacts)], links: &[(&'a str, &'a str)]) -> Needs<'a> {
    let module = |(path, facts): &'a (&'a str, ElfFacts)| Module {
        path,
        facts,
        loads: &[],
    };
    let link = |(path, target): &(&'a str, &'a str)| Link { path, target };
    let modules: Vec<_> = modules.iter().map(module).collect();
    let links: Vec<_> = links.iter().map(link).collect();
    resolve(&modules, &links).swap_remove(0)
}

fn missing<'a>(name: &'a str, by: &'a str) -> Missing<'a> {
    Missing { name, by }
}

#[test]
fn debian_with_merged_usr() {
    let dir = "/usr/lib/x86_64-linux-gnu";
    let [ld, libc, libz] =
        ["ld-linux-x86-64.so.2", "libc.so.6", "libz.so.1.2.13"].map(|name| format!("{dir}/{name}"));
    let modules = [
        ("/usr/bin/gzip", program(&["libz.so.1", "libc.so.6"])),
        (&ld, library("ld-linux-x86-64.so.2", &[])),
        (&libc, library("libc.so.6", &["ld-linux-x86-64.so.2"])),
        (&libz, library("libz.so.1", &["libc.so.6"])),
    ];
    let links = [
        ("/lib", "usr/lib"),
        ("/lib64", "/usr/lib64"),
        (
            "/usr/lib64/ld-linux-x86-64.so.2",
            "../lib/./x86_64-linux-gnu/ld-linux-x86-64.so.2",
        ),
        ("/usr/lib/x86_64-linux-gnu/libz.so.1", "libz.so.1.2.13"),
    ];
    let expected = Needs {
        direct: vec![&ld, &libz, &libc],
        transitive: vec![&ld, &libc, &libz],
        missing: vec![],
    };
    assert_eq!(first(&modules, &links), expected);
    // As Debian's packages have them: below links of others.
    let before = [
        ("/usr/bin/gzip", modules[0].1.clone()),
        (
            "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
            modules[1].1.clone(),
        ),
        ("/lib/x86_64-linux-gnu/libc.so.6", modules[2].1.clone()),
    ];
    let link = "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
    let found = first(&before, &[(LD, link), links[0], links[1]]);
    assert_eq!(found.direct, [before[1].0, before[2].0]);
    // Without the links: nothing is at the paths that the names lead to.
    let Needs {
        direct,
        missing: none,
        ..
    } = first(&modules, &links[..1]);
    assert_eq!(direct, [&libc]);
    let by = "/usr/bin/gzip";
    assert_eq!(none, [missing(LD, by), missing("libz.so.1", by)]);
}

#[test]
fn finds_by_lists_of_directories() {
    let with = |runpath: Option<&str>, rpath: Option<&str>, facts: ElfFacts| ElfFacts {
        runpath: runpath.map(str::to_owned),
        rpath: rpath.map(str::to_owned),
        ..facts
    };
    let tree = |runpath, rpath| {
        [
            (
                "/opt/x/bin/x",
                with(runpath, rpath, library("", &["liba.so"])),
            ),
            ("/opt/x/lib/liba.so", library("liba.so", &["libb.so"])),
            ("/opt/x/lib/libb.so", library("libb.so", &[])),
        ]
    };
    let a = "/opt/x/lib/liba.so";
    let b = "/opt/x/lib/libb.so";
    let both = vec![a, b];
    let only_a = (vec![a], vec![missing("libb.so", a)]);
    for (runpath, rpath, expected) in [
        // Of DT_RPATH libraries have the good, too.
        (None, Some("$ORIGIN/../lib"), (both.clone(), vec![])),
        (
            None,
            Some("/nowhere:${ORIGIN}/../lib/"),
            (both.clone(), vec![]),
        ),
        (None, Some("/opt/x/$LIB"), (both, vec![])),
        // Of DT_RUNPATH not, and where there is one, DT_RPATH does not count.
        (Some("$ORIGIN/../lib"), None, only_a.clone()),
        (Some("/opt/x/lib"), Some("/opt/x/lib"), only_a),
        (
            Some("../lib:lib::"),
            None,
            (vec![], vec![missing("liba.so", "/opt/x/bin/x")]),
        ),
    ] {
        let tree = tree(runpath, rpath);
        let found = first(&tree, &[]);
        assert_eq!(
            (found.transitive, found.missing),
            expected,
            "{runpath:?} {rpath:?}"
        );
    }
    // What the program has loaded, its libraries need not find.
    let mut tree = tree(Some("/opt/x/lib"), None);
    tree[0].1.needed = vec!["libb.so".into(), "liba.so".into()];
    assert_eq!(first(&tree, &[]).missing, []);
}

/// From above the program's `DT_RPATH` reaches over a library that has none.
#[test]
fn a_list_reaches_down() {
    let rpath = Some("/opt/one:/opt/two".to_owned());
    let modules = [
        (
            "/bin/x",
            ElfFacts {
                rpath,
                ..library("", &["liba.so"])
            },
        ),
        ("/opt/one/liba.so", library("liba.so", &["libb.so"])),
        ("/lib/libc.so", library("libc.so", &[])),
        (
            "/opt/two/libb.so",
            library("libb.so", &["libc.so", "libd.so"]),
        ),
        ("/opt/two/libc.so", library("libc.so", &[])),
        ("/lib/libd.so", library("libd.so", &["$ORIGIN/libe.so"])),
        (
            "/lib/libe.so",
            library("", &["/opt/two/libb.so", "$ORIGIN/libe.so"]),
        ),
    ];
    let found = first(&modules, &[]);
    let expected = [
        "/lib/libd.so",
        "/lib/libe.so",
        "/opt/one/liba.so",
        "/opt/two/libb.so",
        "/opt/two/libc.so",
    ];
    assert_eq!(found.transitive, expected);
    assert_eq!(found.missing, []);
}

#[test]
fn passes_over_what_is_for_another_processor() {
    let arm = Abi {
        machine: 183,
        ..X86
    };
    let foreign = ElfFacts {
        abi: arm,
        arch: arm.arch(),
        ..library("liba.so", &[])
    };
    let modules = [
        ("/bin/x", library("", &["liba.so", "/lib/liba.so"])),
        ("/lib/x86_64-linux-gnu/liba.so", foreign),
        ("/usr/lib/liba.so", library("liba.so", &[])),
    ];
    let found = first(&modules, &[]);
    assert_eq!(found.direct, ["/usr/lib/liba.so"]);
    assert_eq!(found.missing, [missing("/lib/liba.so", "/bin/x")]);
}

#[test]
fn circles_end() {
    let modules = [
        (
            "/lib/liba.so",
            library("liba.so", &["libb.so", "libb.so", "liba.so"]),
        ),
        ("/lib/libb.so", library("libb.so", &["liba.so", "libc.so"])),
    ];
    let links = [
        ("/lib/libc.so", "libd.so"),
        ("/lib/libd.so", "/lib/libc.so"),
    ];
    let expected = Needs {
        direct: vec!["/lib/libb.so", "/lib/liba.so"],
        transitive: vec!["/lib/libb.so"],
        missing: vec![missing("libc.so", "/lib/libb.so")],
    };
    assert_eq!(first(&modules, &links), expected);
}

#[test]
fn what_is_loaded_by_name_is_declared() {
    let [server, plugin, helper] = [
        library("", &[]),
        library("", &["libhelper.so"]),
        library("libhelper.so", &[]),
    ];
    let loads = [
        "/usr/lib/server/plugin.so".to_owned(),
        "libnone.so".to_owned(),
    ];
    let module = |path, facts, loads| Module { path, facts, loads };
    let modules = [
        module("/usr/bin/server", &server, &loads[..]),
        module("/usr/lib/server/plugin.so", &plugin, &[]),
        module("/usr/lib/libhelper.so", &helper, &[]),
    ];
    let needs = resolve(&modules, &[]);
    let expected = Needs {
        direct: vec!["/usr/lib/server/plugin.so"],
        transitive: vec!["/usr/lib/libhelper.so", "/usr/lib/server/plugin.so"],
        missing: vec![missing("libnone.so", "/usr/bin/server")],
    };
    assert_eq!(needs[0], expected);
    assert_eq!(needs[1].direct, ["/usr/lib/libhelper.so"]);
    assert_eq!(needs[2], Needs::default());
}

/// As many modules as a whole distribution has, in a build without optimisation.
#[test]
fn a_large_tree_takes_no_time() {
    let libraries = 2000;
    let name = |index: usize| format!("lib{index}.so.1");
    let mut tree = Vec::new();
    for index in 0..20_000 {
        let needed = (0..12).map(|it| name((index * 7 + it * 31) % (index % libraries).max(1)));
        let needed: Vec<String> = needed.collect();
        let needed: Vec<&str> = needed.iter().map(String::as_str).collect();
        tree.push(if index < libraries {
            let library = library(&name(index), &needed[..needed.len().min(index).min(2)]);
            (
                format!("/usr/lib/x86_64-linux-gnu/{}", name(index)),
                library,
            )
        } else {
            (format!("/usr/bin/{index}"), library("", &needed))
        });
    }
    let modules: Vec<_> = tree
        .iter()
        .map(|(path, facts)| Module {
            path,
            facts,
            loads: &[],
        })
        .collect();
    let begin = Instant::now();
    let needs = resolve(&modules, &[]);
    let took = begin.elapsed();
    let all: usize = needs.iter().map(|it| it.transitive.len()).sum();
    println!("{all} libraries in {took:?}");
    assert!(needs.iter().all(|it| it.missing.is_empty()));
    assert!(took.as_secs() < 10, "{took:?}");
}
