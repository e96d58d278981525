//! Debian packages: `ar`, compression, tar, control file; kernel modules and programs in them.

use boot_image::deb::{Deb, Limits};
use boot_image::initramfs::cpio::Archive;
use boot_image::kernel::{Kernel, ModuleSet, index};
use boot_image::tools::Sysroot;
use bootd_protocol::identity::Arch;
use bootd_protocol::manifest::is_clean_path;

const LIMITS: Limits = Limits {
    package: 1 << 20,
    control: 64 << 10,
    data: 512 << 10,
};

pub(crate) fn package(data: &[u8]) {
    let Ok(deb) = Deb::from_bytes("fuzzed", data, LIMITS) else {
        return;
    };
    let _ = deb.control().depends().count();
    for entry in deb.entries() {
        assert!(is_clean_path(entry.path), "{:?}", entry.path);
        assert_eq!(deb.find(entry.path), Some(entry));
    }
    if let Ok(kernel) = Kernel::find(&deb) {
        carry_modules(&kernel);
    }
    let debs = [deb];
    let sysroot = Sysroot::new(&debs, Arch::X86_64);
    let mut archive = Archive::default();
    let _ = sysroot.add_program(&mut archive, "/sbin/mke2fs");
}

fn carry_modules(kernel: &Kernel<'_>) {
    let set = ModuleSet {
        required: vec!["virtio_net".into()],
        ..ModuleSet::default()
    };
    let Ok(picked) = kernel.select(&set) else {
        return;
    };
    let files: Vec<String> = picked.iter().map(|it| it.file()).collect();
    if let Ok(index) = index(&picked, &files) {
        assert_eq!(index.modules().len(), picked.len());
    }
}
