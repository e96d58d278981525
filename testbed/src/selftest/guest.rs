//! A small Linux for direct boot: Debian's cloud kernel, and a busybox whose init loads
//! the disk's driver and runs one script.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::inputs::{self, Packages};

/// The disk's driver and what it needs, in the order of loading.
const MODULES: [&str; 6] = [
    "virtio/virtio_ring.ko",
    "virtio/virtio.ko",
    "virtio/virtio_pci_legacy_dev.ko",
    "virtio/virtio_pci_modern_dev.ko",
    "virtio/virtio_pci.ko",
    "block/virtio_blk.ko",
];

/// The unpacked parts of a guest.
pub(super) struct Guest {
    directory: PathBuf,
    drivers: PathBuf,
    busybox: PathBuf,
    /// The kernel's image.
    pub(super) kernel: PathBuf,
}

impl Guest {
    pub(super) fn unpack(packages: &Packages, directory: &Path) -> Result<Self> {
        let (system, kernel) = (directory.join("system"), packages.kernel());
        inputs::unpack(packages.deb("busybox-static")?, &system)?;
        inputs::unpack(packages.deb(kernel)?, &system)?;
        let version = kernel.strip_prefix("linux-image-").unwrap_or(kernel);
        Ok(Guest {
            directory: directory.to_owned(),
            drivers: system
                .join("lib/modules")
                .join(version)
                .join("kernel/drivers"),
            busybox: system.join("bin/busybox"),
            kernel: system.join(format!("boot/vmlinuz-{version}")),
        })
    }

    /// An initramfs that runs `script` with busybox's shell and commands.
    pub(super) fn initramfs(&self, name: &str, script: &str) -> Result<PathBuf> {
        let root = self.directory.join(name);
        for sub in ["bin", "dev", "modules"] {
            std::fs::create_dir_all(root.join(sub))?;
        }
        std::fs::copy(&self.busybox, root.join("bin/busybox"))?;
        let mut init = String::from(PROLOGUE);
        for module in MODULES {
            let file = Path::new(module)
                .file_name()
                .context("a module without a name")?;
            std::fs::copy(self.drivers.join(module), root.join("modules").join(file))
                .with_context(|| format!("the kernel package has no {module}"))?;
            init += &format!("insmod /modules/{}\n", file.display());
        }
        init += script;
        init += EPILOGUE;
        std::fs::write(root.join("init"), init)?;
        let set_mode = Command::new("chmod")
            .arg("0755")
            .arg(root.join("init"))
            .status()?;
        ensure!(set_mode.success(), "chmod of the guest's init failed");
        self.pack(&root)
    }

    /// Packs with busybox's own cpio: the host may have none.
    fn pack(&self, root: &Path) -> Result<PathBuf> {
        let archive = root.with_extension("cpio");
        let find = Command::new("find")
            .arg(".")
            .current_dir(root)
            .stdout(Stdio::piped())
            .spawn()?;
        let names = find.stdout.context("find has no output")?;
        let packed = Command::new(&self.busybox)
            .args(["cpio", "-o", "-H", "newc"])
            .current_dir(root)
            .stdin(names)
            .stdout(std::fs::File::create(&archive)?)
            .stderr(Stdio::null())
            .status()?;
        if !packed.success() {
            bail!("busybox cpio failed in {}", root.display());
        }
        Ok(archive)
    }
}

const PROLOGUE: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
exec >/dev/console 2>&1
";

/// PID 1 must not end.
const EPILOGUE: &str = "
echo 'guest: done'
while :; do sleep 60; done
";
