use super::*;
use crate::deb::Limits;
use crate::fixture::{DebBuilder, Packing, elf_module};

const BASE: &str = "/lib/modules/6.1.0-1-test/kernel";

fn module(builder: DebBuilder, path: &str, modinfo: &str) -> DebBuilder {
    builder.file(&format!("{BASE}/{path}"), &elf_module(modinfo))
}

fn kernel_deb() -> DebBuilder {
    let mut deb = DebBuilder::new("linux-image-6.1.0-1-test")
        .file("/boot/vmlinuz-6.1.0-1-test", b"the kernel")
        .file(
            "/lib/modules/6.1.0-1-test/modules.builtin",
            b"kernel/fs/ext4/ext4.ko\nkernel/crypto/crc32c_generic.ko\n",
        );
    for (path, modinfo) in [
        ("drivers/virtio/virtio.ko", "alias=x\0"),
        ("drivers/virtio/virtio_ring.ko", "depends=\0"),
        (
            "net/virtio_net.ko",
            "alias=virtio:d00000001v*\0depends=virtio_ring,virtio\0softdep=pre: late nowhere\0",
        ),
        ("late-one.ko", "depends=virtio\0"),
        (
            "late.ko",
            "depends=crc32c_generic\0softdep=pre: virtio_net\0",
        ),
        ("lost.ko", "depends=gone\0"),
        ("a.ko", "depends=b\0"),
        ("b.ko", "depends=a\0"),
    ] {
        deb = module(deb, path, modinfo);
    }
    deb
}

fn set(required: &[&str], optional: &[&str]) -> ModuleSet {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    ModuleSet {
        required: owned(required),
        optional: owned(optional),
        signatures: Signatures::Keep,
    }
}

fn deb(builder: DebBuilder) -> Deb {
    Deb::from_bytes("k.deb", &builder.build(Packing::Plain), Limits::DEFAULT).unwrap()
}

fn select(required: &[&str], optional: &[&str]) -> Result<String, KernelError> {
    let deb = deb(kernel_deb());
    let picked = Kernel::find(&deb)?.select(&set(required, optional))?;
    let files: Vec<String> = picked.iter().map(Picked::file).collect();
    Ok(index(&picked, &files)?.to_string())
}

#[test]
fn picks_the_closure_in_order() {
    let text = select(&["ext4", "virtio_net"], &["late-one", "e1000"]).unwrap();
    assert_eq!(
        text,
        "virtio_ring\tvirtio_ring.ko\t\t\n\
         virtio\tvirtio.ko\t\tx\n\
         late\tlate.ko\t\t\n\
         virtio_net\tvirtio_net.ko\tvirtio_ring,virtio,late\tvirtio:d00000001v*\n\
         late_one\tlate_one.ko\tvirtio\t\n"
    );
}

#[test]
fn finds_kernel_and_modules() {
    let deb = deb(kernel_deb());
    let kernel = Kernel::find(&deb).unwrap();
    assert_eq!(kernel.release(), "6.1.0-1-test");
    assert_eq!(kernel.image(), b"the kernel");
    assert!(kernel.is_builtin("crc32c-generic"));
    assert!(!kernel.is_builtin("virtio"));
}

#[test]
fn reads_compressed_modules_below_usr() {
    let module = elf_module("depends=\0");
    let packed = zstd::encode_all(module.as_slice(), 1).unwrap();
    let deb = deb(DebBuilder::new("linux-image-test")
        .file("/boot/vmlinuz-7", b"")
        .file("/usr/lib/modules/7/a.ko.zst", &packed));
    let picked = Kernel::find(&deb)
        .unwrap()
        .select(&set(&["a"], &[]))
        .unwrap();
    assert_eq!(picked[0].bytes, module);
}

#[test]
fn drops_signatures_when_told() {
    let module = elf_module("depends=\0");
    let signature = b"a signature\0\0\x02\0\0\0\0\0\0\0\0\x0b~Module signature appended~\n";
    let signed = [module.as_slice(), signature].concat();
    let deb = deb(DebBuilder::new("linux-image-test")
        .file("/boot/vmlinuz-7", b"")
        .file("/lib/modules/7/a.ko", &signed));
    let kernel = Kernel::find(&deb).unwrap();
    let mut set = set(&["a"], &[]);
    assert_eq!(kernel.select(&set).unwrap()[0].bytes, signed);
    set.signatures = Signatures::Drop;
    assert_eq!(kernel.select(&set).unwrap()[0].bytes, module);
}

#[test]
fn says_what_is_missing() {
    let k = || "k.deb".to_owned();
    let no_module = KernelError::NoModule {
        deb: k(),
        module: "e1000".into(),
    };
    assert_eq!(select(&["e1000"], &[]), Err(no_module));
    let no_dependency = KernelError::NoDependency {
        deb: k(),
        module: "lost".into(),
        depends: "gone".into(),
    };
    assert_eq!(select(&[], &["lost"]), Err(no_dependency));
    let cycle = KernelError::Cycle {
        deb: k(),
        module: "a".into(),
    };
    assert_eq!(select(&["a"], &[]), Err(cycle));

    let tool = deb(DebBuilder::new("hello").file("/usr/bin/hello", b""));
    assert_eq!(
        Kernel::find(&tool).unwrap_err().to_string(),
        "k.deb is no kernel package: it has no /boot/vmlinuz-*"
    );
    let damaged = deb(kernel_deb().file(&format!("{BASE}/junk.ko"), b"\x7fELF junk"));
    let result = Kernel::find(&damaged).unwrap().select(&set(&["junk"], &[]));
    assert!(matches!(result, Err(KernelError::Damaged { path, .. }) if path.ends_with("junk.ko")));
}
