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

/// A command line that is quick and still tells of trouble: warnings and worse on the screen and
/// on the first serial port, a restart ten seconds after a panic, and no self-tests of ciphers
/// that nobody uses at boot (`cryptomgr.notests`: they are half of the instructions before init).
/// A console that a machine does not have is no trouble.
#[must_use]
pub const fn default_cmdline(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 | Arch::Riscv64 => {
            "console=tty0 console=ttyS0 panic=10 quiet loglevel=4 cryptomgr.notests"
        }
        // Arm's PL011, which its server standard (SBSA) has as the generic UART.
        Arch::Aarch64 => "console=tty0 console=ttyAMA0 panic=10 quiet loglevel=4 cryptomgr.notests",
    }
}
