//! Composites: made, installed, cut short, altered, signed by somebody else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::sql;
use bootd_protocol::identity::{Arch, Firmware};
use bootd_protocol::manifest::Manifest;
use catalog::composite::archive::ArchiveError;
use catalog::composite::compose::{Made, compose};
use catalog::composite::install::{Change, InstallError, Report};
use catalog::composite::sign;
use catalog::select::manifest_for;
use catalog::{Catalog, Error};
use tempfile::TempDir;

const RELEASE: &str = r#"
name = "demo"
version = "1"

[[boot_image]]
name = "debian"
version = "6.1"
arch = "x86_64"
uki = "uki"
loader = { efi = "efi", bios_boot = "boot", bios_core = "core" }

[[package]]
name = "site"
version = "1.0"
directory = "site"
prefix = "/srv"
exclude = ["**/*.bak"]

[[package]]
name = "hello"
version = "2"
debs = ["hello.deb"]
exclude = ["/usr/share/doc/**"]
without_needs = ["dash"]
provides = ["libhello (= 1)"]
links = { "/bin/hi" = "../usr/bin/hello" }
directories = ["/var/log/hello"]

[[package.file]]
path = "/etc/hello.conf"
text = "greeting = hello\n"
mode = "0600"

[[package.process]]
name = "hello"
argv = ["/usr/bin/hello", "--serve"]
env = { LANG = "C" }
restart = "on-failure"

[[class]]
name = "web"
key_policy = "open"
packages = ["site", "hello=2"]
images = ["debian"]

[[rule]]
name = "all"
class = "web"

[[network]]
name = "lan"
subnet = "10.0.0.0/24"
"#;

/// A directory with everything a release needs, a signing key and a catalog that trusts it.
struct Bench {
    dir: TempDir,
    catalog: Catalog,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["uki", "efi", "boot", "core"] {
            fs::write(at(name), name.repeat(3000)).unwrap();
        }
        fs::create_dir_all(at("site/img")).unwrap();
        for (name, text) in [("index", "welcome"), ("img/a", "picture"), ("old.bak", "x")] {
            fs::write(at("site").join(name), text).unwrap();
        }
        fs::write(at("release.toml"), RELEASE).unwrap();
        debian_package(dir.path());
        let public = sign::generate(&at("key")).unwrap();
        let mut catalog = Catalog::create(&at("state")).unwrap();
        catalog.trust("me", &public).unwrap();
        Bench { dir, catalog }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn compose_with(&self, key: &str, output: &str) -> Made {
        let key = sign::read_secret(&self.path(key)).unwrap();
        let (release, output) = (self.path("release.toml"), self.path(output));
        compose(&release, &output, &key, &[], &mut |_| {}).unwrap()
    }

    fn compose(&self) -> Vec<u8> {
        self.compose_with("key.key", "demo.composite");
        fs::read(self.path("demo.composite")).unwrap()
    }

    fn install(&mut self, bytes: &[u8]) -> Result<Report, InstallError> {
        let path = self.path("to-install");
        fs::write(&path, bytes).unwrap();
        self.catalog.install(&path, &mut |_, _| {})
    }

    /// Nothing of any release is in the catalog.
    fn is_empty(&self) -> bool {
        let snapshot = self.catalog.snapshot().unwrap();
        snapshot.classes.is_empty() && snapshot.packages.is_empty() && snapshot.rules.is_empty()
    }

    fn manifest(&self) -> Manifest {
        let snapshot = self.catalog.snapshot().unwrap();
        manifest_for(&snapshot, "web", Arch::X86_64, Firmware::Bios).unwrap()
    }
}

/// A real Debian package, made by Debian's own tool.
fn debian_package(dir: &Path) {
    let root = dir.join("hello");
    fs::create_dir_all(root.join("DEBIAN")).unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::create_dir_all(root.join("usr/share/doc/hello")).unwrap();
    let control = "Package: hello\nVersion: 2\nArchitecture: amd64\nMaintainer: Nobody <nobody@example.org>\nDepends: libhello (>= 1), dash | busybox\nBreaks: hello-old (<< 2)\nProvides: greeter (= 2)\nDescription: greets\n";
    fs::write(root.join("DEBIAN/control"), control).unwrap();
    fs::write(root.join("usr/bin/hello"), "#!/bin/sh\necho hello\n").unwrap();
    fs::write(root.join("usr/share/doc/hello/copyright"), "free").unwrap();
    let output = Command::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .args([&root, &dir.join("hello.deb")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn changes(report: &Report) -> Vec<(&str, &str, Change)> {
    let items = report.items.iter();
    items
        .map(|item| (item.kind, item.name.as_str(), item.change))
        .collect()
}

#[test]
fn an_empty_catalog_and_a_composite_are_a_configuration() {
    let mut bench = Bench::new();
    let bytes = bench.compose();
    let report = bench.install(&bytes).unwrap();
    let all = |change| {
        vec![
            ("boot image", "debian 6.1 (x86_64)", change),
            ("package", "site 1.0 (all)", change),
            ("package", "hello 2 (x86_64)", change),
            ("class", "web", change),
            ("network", "lan", change),
            ("rule", "all", change),
        ]
    };
    assert_eq!(changes(&report), all(Change::New));
    assert_eq!((report.stored.0, report.present.0), (8, 0));
    assert_eq!(
        (report.release.0.as_str(), report.signer.as_str()),
        ("demo", "me")
    );

    let manifest = bench.manifest();
    let paths: Vec<(&str, u32)> = manifest
        .files
        .iter()
        .map(|file| (file.path.as_str(), file.mode))
        .collect();
    assert_eq!(
        paths,
        [
            ("/bin", 0o755),
            ("/bin/hi", 0o777),
            ("/etc", 0o755),
            ("/etc/hello.conf", 0o600),
            ("/srv", 0o755),
            ("/srv/img", 0o755),
            ("/srv/img/a", 0o644),
            ("/srv/index", 0o644),
            ("/usr", 0o755),
            ("/usr/bin", 0o755),
            ("/usr/bin/hello", 0o644),
            ("/usr/share", 0o755),
            ("/usr/share/doc", 0o755),
            ("/var", 0o755),
            ("/var/log", 0o755),
            ("/var/log/hello", 0o755),
        ]
    );
    assert_eq!(manifest.processes[0].env, ["LANG=C"]);
    for blob in manifest.blobs() {
        assert_eq!(
            bench.catalog.blobs().get(blob.sha256).unwrap().size,
            blob.size
        );
    }

    let before = bench.catalog.snapshot().unwrap();
    let report = bench.install(&bytes).unwrap();
    assert_eq!(changes(&report), all(Change::Same));
    assert_eq!((report.stored.0, report.present.0), (0, 8));
    let mut after = bench.catalog.snapshot().unwrap();
    after.generation = before.generation;
    assert_eq!(after, before);
}

#[test]
fn an_update_says_what_is_new_changed_and_the_same() {
    let mut bench = Bench::new();
    let first = bench.compose();
    bench.install(&first).unwrap();
    let old = bench.manifest();

    let release = RELEASE.replace("version = \"1.0\"", "version = \"2.0\"");
    fs::write(
        bench.path("release.toml"),
        release.replace("LANG = \"C\"", "LANG = \"de\""),
    )
    .unwrap();
    fs::write(bench.path("site/index"), "welcome back").unwrap();
    let second = bench.compose();
    let report = bench.install(&second).unwrap();
    assert_eq!(
        changes(&report),
        [
            ("boot image", "debian 6.1 (x86_64)", Change::Same),
            ("package", "site 2.0 (all)", Change::New),
            ("package", "hello 2 (x86_64)", Change::Changed),
            ("class", "web", Change::Changed),
            ("network", "lan", Change::Same),
            ("rule", "all", Change::Same),
        ]
    );
    assert_eq!((report.stored, report.present.0), ((1, 12), 7));
    assert_ne!(bench.manifest(), old);

    // The older version is still there to go back to.
    let back = "UPDATE class_package SET version = '1.0' WHERE class = 'web' AND package = 'site'";
    sql(&bench.catalog, back);
    assert_eq!(bench.manifest().packages, old.packages);
}

#[test]
fn the_same_input_gives_the_same_description_and_layout() {
    let bench = Bench::new();
    let first = bench.compose_with("key.key", "a");
    let second = bench.compose_with("key.key", "b");
    let bytes = |name: &str| fs::read(bench.path(name)).unwrap();
    assert_eq!(bytes("a"), bytes("b"));
    assert_eq!(first, second);
    let names = |name: &str| -> Vec<String> {
        let mut tar = tar::Archive::new(fs::File::open(bench.path(name)).unwrap());
        let entries = tar.entries().unwrap().map(Result::unwrap);
        let entries = entries.map(|entry| {
            assert_eq!(entry.header().mtime().unwrap(), 0);
            entry.path().unwrap().display().to_string()
        });
        entries.collect()
    };
    let (mut a, mut b) = (names("a"), names("b"));
    // The manifest carries the signature, which differs.
    a.remove(2);
    b.remove(2);
    assert_eq!(a, b);
    assert!(a[3..].is_sorted());
}

#[test]
fn a_truncated_composite_is_refused_wherever_it_ends() {
    let mut bench = Bench::new();
    let bytes = bench.compose();
    let step = bytes.len() / 97;
    for length in (0..bytes.len())
        .step_by(step)
        .chain([bytes.len() - 1, bytes.len() - 600])
    {
        let error = bench.install(&bytes[..length]).unwrap_err();
        let told = error.to_string();
        assert!(
            matches!(error, InstallError::Archive(ArchiveError::Truncated(_))),
            "{length} of {}: {told}",
            bytes.len()
        );
        assert!(bench.is_empty(), "{length}");
    }
}

#[test]
fn an_altered_composite_is_refused_or_does_no_harm() {
    let mut bench = Bench::new();
    let bytes = bench.compose();
    let state = bench.path("state");
    let (mut refused, mut harmless) = (0, 0);
    for at in (0..bytes.len()).step_by(bytes.len() / 211) {
        let mut altered = bytes.clone();
        altered[at] ^= 0x41;
        fs::remove_dir_all(state.join("blobs/sha256")).unwrap();
        fs::create_dir(state.join("blobs/sha256")).unwrap();
        match bench.install(&altered) {
            Err(InstallError::Archive(_)) => {
                refused += 1;
                assert!(bench.is_empty(), "byte {at}");
            }
            Err(other) => panic!("byte {at}: {other}"),
            Ok(_) => {
                // Padding between members: what was installed is what was signed.
                harmless += 1;
                for blob in bench.manifest().blobs() {
                    bench.catalog.blobs().get(blob.sha256).unwrap();
                }
                sql(
                    &bench.catalog,
                    "DELETE FROM rule; DELETE FROM class; DELETE FROM package;",
                );
            }
        }
    }
    assert!(
        refused > 4 * harmless,
        "{refused} refused, {harmless} harmless"
    );
}

#[test]
fn only_trusted_keys_install() {
    let mut bench = Bench::new();
    sign::generate(&bench.path("evil")).unwrap();
    bench.compose_with("evil.key", "evil.composite");
    let bytes = fs::read(bench.path("evil.composite")).unwrap();
    let error = bench.install(&bytes).unwrap_err();
    let InstallError::Archive(ArchiveError::Signature(reason)) = error else {
        panic!("{error}");
    };
    assert!(
        reason
            .to_string()
            .contains("which is not trusted (trusted: me "),
        "{reason}"
    );
    assert!(bench.is_empty());
}

#[test]
fn a_cut_installation_goes_on_where_it_ended() {
    let mut bench = Bench::new();
    let bytes = bench.compose();
    // Cut after some blobs: their rows are not there, a half written file is.
    let writer = bench.catalog.blobs().writer().unwrap();
    writer.put(&b"uki".repeat(3000)[..]).unwrap();
    fs::write(bench.path("state/blobs/tmp/half"), "half").unwrap();
    let error = bench.install(&bytes).unwrap_err();
    assert!(
        error.to_string().contains("another program is installing"),
        "{error}"
    );
    drop(writer);
    assert!(bench.is_empty());
    let report = bench.install(&bytes).unwrap();
    assert_eq!((report.stored.0, report.present.0), (7, 1));
    assert_eq!(
        fs::read_dir(bench.path("state/blobs/tmp")).unwrap().count(),
        0
    );
}

#[test]
fn a_release_that_the_schema_refuses_leaves_nothing() {
    let mut bench = Bench::new();
    let release = RELEASE.replace("hello=2", "hello=3");
    fs::write(bench.path("release.toml"), release).unwrap();
    let bytes = bench.compose();
    let error = bench.install(&bytes).unwrap_err();
    let InstallError::Catalog(Error::Sql { source, .. }) = error else {
        panic!("{error}");
    };
    let sentence = "this package has no such version: see SELECT name, version, arch FROM package";
    assert_eq!(source.to_string(), sentence);
    assert!(bench.is_empty());
}

#[test]
fn release_files_with_mistakes_are_told_in_words() {
    let bench = Bench::new();
    let key = sign::read_secret(&bench.path("key.key")).unwrap();
    let told = |from: &str, to: &str| {
        fs::write(bench.path("release.toml"), RELEASE.replacen(from, to, 1)).unwrap();
        let (release, output) = (bench.path("release.toml"), bench.path("out"));
        let error = compose(&release, &output, &key, &[], &mut |_| {}).unwrap_err();
        assert!(!output.exists());
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text.replace(&bench.dir.path().display().to_string(), "DIR")
    };
    for (from, to, expected) in [
        (
            "\"site\", ",
            "\"sit\", ",
            "class web names package \"sit\", which is not in this release once: write NAME=VERSION",
        ),
        (
            "directory = \"site\"",
            "directory = \"nowhere\"",
            "package site 1.0: cannot read DIR/nowhere: No such file",
        ),
        (
            "debs = [\"hello.deb\"]",
            "debs = [\"uki\"]",
            "package hello 2: Debian package DIR/uki: this is no Debian package",
        ),
        (
            "uki = \"uki\"",
            "uki = \"gone\"",
            "boot image debian 6.1: cannot read DIR/gone: No such file",
        ),
        (
            "mode = \"0600\"",
            "mode = \"rw\"",
            "mode \"rw\" of /etc/hello.conf is not octal permission bits",
        ),
        (
            "\"/etc/hello.conf\"",
            "\"/etc/../hello.conf\"",
            "path \"/etc/../hello.conf\" is not absolute and clean",
        ),
        (
            "key_policy",
            "key_polizy",
            "class web has \"key_polizy\", which is no column of the table class: there are name, key_policy,",
        ),
        (
            "version = \"2\"",
            "version = \"2\"\narch = \"aarch64\"",
            "hello.deb is for x86_64, the package is for aarch64 (hello 2)",
        ),
    ] {
        let text = told(from, to);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn skopeo_copies_it_and_the_copy_installs() {
    let mut bench = Bench::new();
    bench.compose();
    let [from, middle, to] = ["demo.composite", "layout", "copied"].map(|name| bench.path(name));
    for (from, to) in [
        (
            format!("oci-archive:{}", from.display()),
            format!("oci:{}:1", middle.display()),
        ),
        (
            format!("oci:{}:1", middle.display()),
            format!("oci-archive:{}", to.display()),
        ),
    ] {
        let output = Command::new("skopeo")
            .args(["copy", "--insecure-policy", &from, &to])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let report = bench.install(&fs::read(&to).unwrap()).unwrap();
    assert_eq!(report.stored.0, 8);
    assert_eq!(bench.manifest().packages.len(), 2);
}

#[test]
fn minisign_itself_believes_the_signature() {
    let bench = Bench::new();
    let secret = sign::read_secret(&bench.path("key.key")).unwrap();
    fs::write(bench.path("text"), "abc").unwrap();
    let signature = sign::sign(&secret, b"abc", "release").unwrap();
    fs::write(bench.path("text.minisig"), signature).unwrap();
    let output = Command::new("minisign")
        .args(["-V", "-p"])
        .arg(bench.path("key.pub"))
        .arg("-m")
        .arg(bench.path("text"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
