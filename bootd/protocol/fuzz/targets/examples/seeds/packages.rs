//! Manifests, composites, keys, release files, Debian packages.

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::Arch;
use bootd_protocol::manifest::{
    BlobRef, Boot, Content, Empty, FORMAT, File, ForeignDisk, Loader, Manifest, OnSilence,
    PackageRef, Policy, Process, ProcessKind, Readiness, Restart,
};
use catalog::composite::format::{
    ARTIFACT_TYPE, BootImage, CONFIG_TYPE, Composite, Descriptor, Index, MANIFEST_TYPE, Module,
    OciManifest, Package, SIGNATURE,
};

use catalog::snapshot::ModuleType;

use super::fixture::{self, DebBuilder, ElfBuilder, Packing};
use super::{Seed, piece};

pub(crate) fn seeds() -> Vec<Seed> {
    [manifests(), composites(), keys(), releases(), debs()].concat()
}

fn blob() -> BlobRef {
    BlobRef {
        sha256: Digest::of(b"x"),
        size: 1,
    }
}

fn files() -> Vec<File> {
    let file = |path: &str, content| File {
        path: path.into(),
        mode: 0o755,
        uid: 0,
        gid: 0,
        content,
    };
    vec![
        file("/bin", Content::Directory(Empty {})),
        file("/bin/sh", Content::Symlink("busybox".into())),
        file("/srv/a", Content::Regular(blob())),
    ]
}

fn processes() -> Vec<Process> {
    vec![Process {
        name: "sh".into(),
        package: "site".into(),
        argv: vec!["/bin/sh".into(), "-c".into(), "é\u{1f600}".into()],
        env: vec!["A=b".into()],
        restart: Restart::Always,
        kind: ProcessKind::Simple,
        readiness: Readiness::Started,
        limits: std::collections::BTreeMap::new(),
    }]
}

fn manifests() -> Vec<Seed> {
    let manifest = Manifest {
        format: FORMAT,
        class: "web".into(),
        arch: Arch::X86_64,
        boot: Boot {
            name: "debian".into(),
            version: "6.1".into(),
            image: blob(),
            loader: Loader {
                efi: blob(),
                bios_boot: Some(blob()),
                bios_core: None,
            },
        },
        packages: vec![package()],
        files: files(),
        processes: processes(),
        policy: Policy {
            on_silence: OnSilence::Run,
            foreign_disk: ForeignDisk::Keep,
            disk: Some("vda".into()),
        },
    };
    vec![
        ("manifest", "whole".to_owned(), manifest.to_bytes().unwrap()),
        (
            "manifest",
            "other-format".to_owned(),
            br#"{"format":9}"#.to_vec(),
        ),
    ]
}

fn package() -> PackageRef {
    PackageRef {
        name: "site".into(),
        version: "1".into(),
    }
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

fn module(file: File) -> Module {
    Module {
        path: file.path,
        mode: file.mode,
        uid: file.uid,
        gid: file.gid,
        content: file.content,
        arch: "all".into(),
        function: String::new(),
        kind: ModuleType::Program,
        signature: Some(Digest::of(b"s")),
    }
}

fn description() -> Vec<u8> {
    let composite = Composite {
        format: catalog::composite::format::FORMAT,
        name: "demo".into(),
        version: "1".into(),
        boot_images: vec![BootImage {
            name: "debian".into(),
            version: "6.1".into(),
            arch: Arch::X86_64,
            uki: blob(),
            efi: blob(),
            bios_boot: Some(blob()),
            bios_core: None,
        }],
        packages: vec![Package {
            name: "site".into(),
            version: "1".into(),
            arch: "all".into(),
            function: "routing".into(),
            modules: files().into_iter().map(module).collect(),
            processes: processes(),
            relations: vec![from_json(
                r#"{"kind":"needs","relation":"db (>= 2) | x","on_class":"back"}"#,
            )],
            libraries: vec![from_json(
                r#"{"path":"/srv/a","library":"libc.so.6","how":"direct"}"#,
            )],
            apis: vec![from_json(
                r#"{"path":"/srv/a","side":"consumes","api":"routes/1"}"#,
            )],
        }],
        classes: vec![from_json(
            r#"{"packages":[{"name":"site","version":"1"}],"images":{},"features":["a"],"name":"web"}"#,
        )],
        rules: vec![from_json(r#"{"name":"all","class":"web","priority":7}"#)],
        networks: vec![from_json(
            r#"{"name":"lan","subnet":"10.0.0.0/24","probe":true}"#,
        )],
        nodes: vec![from_json(
            r#"{"name":"n1","mac":"52:54:00:00:00:01","package":[{"package":"site"}]}"#,
        )],
        updates: vec![from_json(
            r#"{"class":"web","packages":[{"name":"site","version":"1"}]}"#,
        )],
    };
    serde_json::to_vec(&composite).unwrap()
}

/// A public key of the minisign project, its signature of `test`.
const PUBLIC: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
const SIGNED: &str = "untrusted comment: signature from minisign secret key\n\
RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n\
trusted comment: timestamp:1633700835\tfile:test\tprehashed\n\
wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==\n";

fn composites() -> Vec<Seed> {
    let description = description();
    let named = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes));
    let described = |kind, bytes: &[u8]| {
        let blob = BlobRef {
            sha256: Digest::of(bytes),
            size: u64::try_from(bytes.len()).unwrap(),
        };
        Descriptor::new(kind, blob)
    };
    let manifest = OciManifest {
        schema_version: 2,
        media_type: MANIFEST_TYPE.into(),
        artifact_type: ARTIFACT_TYPE.into(),
        config: described(CONFIG_TYPE, &description),
        layers: vec![],
        annotations: [(SIGNATURE.to_owned(), SIGNED.to_owned())].into(),
    };
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let index = Index {
        schema_version: 2,
        manifests: vec![described(MANIFEST_TYPE, &manifest)],
    };
    let index = serde_json::to_vec(&index).unwrap();
    let members = [
        ("oci-layout".to_owned(), b"{}".to_vec()),
        ("index.json".to_owned(), index),
        (named(&manifest), manifest),
        (named(&description), description.clone()),
        (named(b"x"), b"x".to_vec()),
    ];
    let archive = |kind, long: bool| {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in &members {
            let mut header = tar::Header::new_gnu();
            header.set_size(u64::try_from(bytes.len()).unwrap());
            header.set_entry_type(kind);
            let longer = format!("./{}{name}", "d/".repeat(100));
            let name = if long { &longer } else { name };
            tar.append_data(&mut header, name, bytes.as_slice())
                .unwrap();
        }
        tar.into_inner().unwrap()
    };
    use tar::EntryType::{GNUSparse, Regular, Symlink};
    let whole = archive(Regular, false);
    let cases = [
        ("cut", whole[..whole.len() - 1024].to_vec()),
        ("whole", whole),
        ("long-names", archive(Regular, true)),
        ("links", archive(Symlink, false)),
        ("sparse", archive(GNUSparse, false)),
    ];
    let seed = |(name, bytes): (&str, Vec<u8>)| ("composite", name.to_owned(), bytes);
    let whole = ("description", "whole".to_owned(), description);
    cases.map(seed).into_iter().chain([whole]).collect()
}

fn keys() -> Vec<Seed> {
    let file = format!("untrusted comment: minisign public key\n{PUBLIC}\n");
    let secret = "untrusted comment: minisign secret key\nRWRTY0Iy\n";
    let cases = [
        ("good", PUBLIC, SIGNED, "test"),
        ("altered", PUBLIC, SIGNED, "text"),
        ("file", &file, "", ""),
        ("secret", secret, SIGNED, "test"),
    ];
    let seed = |(name, key, signature, content): (&str, &str, &str, &str)| {
        let parts = [piece(key.as_bytes()), piece(signature.as_bytes())].concat();
        let content = [parts.as_slice(), content.as_bytes()].concat();
        ("minisign", name.to_owned(), content)
    };
    cases.map(seed).to_vec()
}

const RELEASE: &str = r#"name = "demo"
version = "1"
[[boot_image]]
name = "debian"
version = "6.1"
arch = "x86_64"
[boot_image.build]
kernel_deb = "linux-image.deb"
stub_deb = "systemd-boot-efi.deb"
tool_debs = ["e2fsprogs.deb"]
init = "init"
[[package]]
name = "site"
version = "1.0"
directory = "site"
prefix = "/srv"
exclude = ["**/*.bak"]
links = { "/bin/hi" = "../usr/bin/hello" }
[[package.file]]
path = "/etc/hello.conf"
text = "greeting = \"hello\"\n"
mode = "0600"
[[package.process]]
name = "hello"
argv = ["/usr/bin/hello"]
restart = "on-failure"
[[class]]
name = "web"
packages = ["site=1.0"]
images = ["debian"]
[[rule]]
name = "all"
class = "web"
[[network]]
name = "lan"
subnet = "10.0.0.0/24"
"#;

fn releases() -> Vec<Seed> {
    let deep = format!("name = {}", "[".repeat(4000));
    let cases = [("whole", RELEASE), ("deep", &deep)];
    let seed = |(name, text): (&str, &str)| ("release", name.to_owned(), text.into());
    cases.map(seed).to_vec()
}

fn debs() -> Vec<Seed> {
    let small = |packing| {
        let deb = DebBuilder::new("hello").file("/usr/bin/hello", b"hello");
        deb.symlink("/bin/hi", "../usr/bin/hello").build(packing)
    };
    let module = fixture::elf_module(
        "alias=virtio:d00000001v*\0depends=virtio\0softdep=pre: late nowhere\0",
    );
    let base = "/lib/modules/6.1-test/kernel";
    let virtio = fixture::elf_module("alias=x\0");
    let packed = zstd::encode_all(virtio.as_slice(), 1).unwrap();
    let kernel = DebBuilder::new("linux-image")
        .file("/boot/vmlinuz-6.1-test", b"the kernel")
        .file(
            "/lib/modules/6.1-test/modules.builtin",
            b"kernel/fs/ext4/ext4.ko\n",
        )
        .file(&format!("{base}/net/virtio_net.ko"), &module)
        .file(&format!("{base}/virtio.ko.zst"), &packed)
        .file(
            &format!("{base}/late.ko"),
            &fixture::elf_module("depends=virtio_net\0"),
        );
    let program = ElfBuilder {
        interpreter: Some("/lib64/ld-linux-x86-64.so.2"),
        needed: &["libc.so.6"],
        ..ElfBuilder::default()
    };
    let library = ElfBuilder {
        needed: &["libc.so.6"],
        ..ElfBuilder::default()
    };
    let tools = DebBuilder::new("e2fsprogs")
        .file("/sbin/mke2fs", &program.build())
        .file("/lib/x86_64-linux-gnu/libc.so.6", &library.build())
        .symlink(
            "/lib64/ld-linux-x86-64.so.2",
            "/lib/x86_64-linux-gnu/libc.so.6",
        );
    let mut control = DebBuilder::new("a");
    control.control = "Package: a\nVersion: 1\nArchitecture: all\nDepends: libc6 (>= 2), a | b,\nDescription: x\n y\n .\n# z\n".into();
    let mut seeds: Vec<Seed> = Packing::ALL
        .map(|packing| ("deb", format!("{packing:?}").to_lowercase(), small(packing)))
        .to_vec();
    for (name, deb) in [("kernel", kernel), ("tools", tools), ("control", control)] {
        seeds.push(("deb", name.to_owned(), deb.build(Packing::Plain)));
    }
    seeds
}
