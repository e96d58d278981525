use super::*;
use crate::fixture::{DebBuilder, ElfBuilder, Packing, STUB_MAGIC, elf_module, stub};
use crate::kernel::Signatures;

const CMDLINE: &str = arch::default_cmdline(Arch::X86_64);
const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

struct World {
    dir: tempfile::TempDir,
    spec: ImageSpec,
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn error(&self) -> String {
        let text = build(&self.spec).unwrap_err().to_string();
        text.replace(&format!("{}/", self.dir.path().display()), "")
    }
}

fn kernel_deb() -> DebBuilder {
    DebBuilder::new("linux-image-6-test")
        .file("/boot/vmlinuz-6-test", &[b'K'; 3000])
        .file(
            "/lib/modules/6-test/kernel/a.ko",
            &elf_module("depends=b\0alias=pci:*\0"),
        )
        .file("/lib/modules/6-test/kernel/b.ko", &elf_module("depends=\0"))
}

fn world() -> World {
    let mut world = World {
        dir: tempfile::tempdir().unwrap(),
        spec: ImageSpec {
            kernel_deb: PathBuf::new(),
            stub_deb: PathBuf::new(),
            tool_debs: Vec::new(),
            init: PathBuf::new(),
            modules: ModuleSet {
                required: vec!["a".into()],
                optional: vec!["c".into()],
                signatures: Signatures::Keep,
            },
            trust: vec![KEY.parse().unwrap()],
            cmdline: CMDLINE.into(),
            name: "debian \"12\"".into(),
            version: "6.1-1".into(),
            arch: Arch::X86_64,
        },
    };
    let program = ElfBuilder::default().build();
    let stub_deb = DebBuilder::new("systemd-boot-efi").file(
        "/usr/lib/systemd/boot/efi/linuxx64.efi.stub",
        &stub(STUB_MAGIC),
    );
    let tools = DebBuilder::new("e2fsprogs")
        .file("/sbin/mke2fs", &program)
        .file("/etc/mke2fs.conf", b"[defaults]\n");
    world.spec.kernel_deb = world.write("kernel.deb", &kernel_deb().build(Packing::Xz));
    world.spec.stub_deb = world.write("stub.deb", &stub_deb.build(Packing::Zst));
    world.spec.tool_debs = vec![world.write("tools.deb", &tools.build(Packing::Gz))];
    world.spec.init = world.write("init", &program);
    world
}

fn part(
    image: &[u8],
    pick: impl Fn(bootd_protocol::uki::Uki) -> bootd_protocol::uki::Section,
) -> &[u8] {
    let len = u64::try_from(image.len()).unwrap();
    let section = pick(bootd_protocol::uki::Uki::parse(image, len).unwrap());
    let [start, size] = [section.offset, section.size].map(|n| usize::try_from(n).unwrap());
    &image[start..start + size]
}

#[test]
fn same_input_same_bytes() {
    let world = world();
    let image = build(&world.spec).unwrap();
    assert_eq!(build(&world.spec).unwrap(), image);

    assert_eq!(part(&image, |uki| uki.linux), [b'K'; 3000]);
    assert_eq!(part(&image, |uki| uki.cmdline), CMDLINE.as_bytes());
    assert_eq!(
        std::str::from_utf8(part(&image, |uki| uki.osrel)).unwrap(),
        "ID=bootd\nNAME=\"debian \\\"12\\\"\"\nPRETTY_NAME=\"debian \\\"12\\\" 6.1-1\"\n\
         VERSION_ID=\"6.1-1\"\nBOOTD_KERNEL=\"6-test\"\nBOOTD_ARCH=x86_64\n"
    );
}

#[test]
fn initramfs_holds_what_init_expects() {
    let image = build(&world().spec).unwrap();
    let cpio = zstd::decode_all(part(&image, |uki| uki.initrd)).unwrap();
    let text = String::from_utf8_lossy(&cpio);
    let mut at = 0;
    for path in [
        "data",
        "dev",
        "dev/console",
        "dev/null",
        "etc",
        "etc/bootd",
        "etc/bootd/trust",
        "etc/mke2fs.conf",
        "init",
        "lib",
        "lib/modules",
        "lib/modules/a.ko",
        "lib/modules/b.ko",
        "lib/modules/index",
        "proc",
        "run",
        "sbin",
        "sbin/mke2fs",
        "sys",
        "sysroot",
        "TRAILER!!!",
    ] {
        // A name follows a header whose last field is eight zeros.
        let found = text[at..].find(&format!("00000000{path}\0"));
        at += found.unwrap_or_else(|| panic!("{path} is not behind what sorts before it"));
    }
    assert!(text.contains("b\tb.ko\t\t\na\ta.ko\tb\tpci:*\n"));
    assert!(text.contains(&format!("{KEY}\n")));
}

#[test]
fn refuses_what_would_not_boot() {
    let mut world = world();
    let good = world.spec.clone();
    let mut refused = |change: &dyn Fn(&mut ImageSpec), expected: &str| {
        world.spec = good.clone();
        change(&mut world.spec);
        assert_eq!(world.error(), expected);
    };
    refused(
        &|spec| spec.trust.clear(),
        "no public key of a master was given: the node would trust nobody",
    );
    refused(
        &|spec| spec.cmdline = "quiet\ninit=/bin/sh".into(),
        "command line \"quiet\\ninit=/bin/sh\" is empty or not one line of ASCII",
    );
    refused(
        &|spec| spec.name.clear(),
        "name \"\" is empty or has control characters",
    );
    refused(
        &|spec| spec.arch = Arch::Aarch64,
        "init init is no static program for aarch64: it was built for another architecture",
    );
    refused(
        &|spec| spec.modules.required.push("e1000".into()),
        "kernel.deb has no kernel module e1000, as a file or built in",
    );
    refused(
        &|spec| std::mem::swap(&mut spec.stub_deb, &mut spec.kernel_deb),
        "kernel.deb has no /usr/lib/systemd/boot/efi/linuxx64.efi.stub",
    );
    refused(
        &|spec| spec.tool_debs.clear(),
        "/sbin/mke2fs is in none of the packages given ()",
    );
}

#[test]
fn refuses_init_and_packages_of_another_kind() {
    let mut world = world();
    let dynamic = ElfBuilder {
        interpreter: Some("/lib64/ld-linux-x86-64.so.2"),
        ..ElfBuilder::default()
    };
    world.write("init", &dynamic.build());
    assert_eq!(
        world.error(),
        "init init is no static program for x86_64: it needs /lib64/ld-linux-x86-64.so.2"
    );
    world.write("init", b"#!/bin/sh\n");
    assert!(
        world
            .error()
            .starts_with("init init is no static program for x86_64: ")
    );
    std::fs::remove_file(world.path("init")).unwrap();
    assert_eq!(
        world.error(),
        "init init cannot be read: the README says how to build it"
    );
    world.write("init", &ElfBuilder::default().build());

    let mut foreign = kernel_deb();
    foreign.control = foreign.control.replace("amd64", "arm64");
    world.spec.kernel_deb = world.write("arm.deb", &foreign.build(Packing::Plain));
    assert_eq!(
        world.error(),
        "arm.deb is for arm64, the boot image is for x86_64"
    );
}
