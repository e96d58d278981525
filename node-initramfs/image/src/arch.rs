//! Debian's names for our architectures.

use bootd_protocol::identity::Arch;

/// As `Architecture` in a control file spells it.
pub(crate) fn debian(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "amd64",
        Arch::Aarch64 => "arm64",
        Arch::Riscv64 => "riscv64",
    }
}

/// The directory of its shared libraries, below `/lib` and `/usr/lib`.
pub(crate) fn triplet(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "x86_64-linux-gnu",
        Arch::Aarch64 => "aarch64-linux-gnu",
        Arch::Riscv64 => "riscv64-linux-gnu",
    }
}

/// Where package `systemd-boot-efi` has the EFI stub.
pub(crate) fn stub(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "/usr/lib/systemd/boot/efi/linuxx64.efi.stub",
        Arch::Aarch64 => "/usr/lib/systemd/boot/efi/linuxaa64.efi.stub",
        Arch::Riscv64 => "/usr/lib/systemd/boot/efi/linuxriscv64.efi.stub",
    }
}
