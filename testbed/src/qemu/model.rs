//! The kinds of machine that QEMU emulates here, one for each processor architecture.

/// A kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Model {
    /// A PC with an x86-64 processor; BIOS or UEFI.
    #[default]
    Pc,
    /// QEMU's board without a model in the world, with an Arm processor of 64 bits; UEFI.
    Arm,
}

/// UEFI for a kind of machine: paths of its code, and of blank variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Uefi {
    pub(super) code: &'static str,
    pub(super) variables: &'static str,
}

impl Model {
    /// The emulator.
    pub(super) const fn program(self) -> &'static str {
        match self {
            Model::Pc => "qemu-system-x86_64",
            Model::Arm => "qemu-system-aarch64",
        }
    }

    /// The board.
    pub(super) const fn board(self) -> &'static str {
        match self {
            // Without graphics SeaBIOS writes to the serial port, and so iPXE too.
            Model::Pc => "q35,graphics=off",
            Model::Arm => "virt",
        }
    }

    /// UEFI from Debian's packages ovmf and qemu-efi-aarch64.
    pub(super) const fn uefi(self) -> Uefi {
        match self {
            // The 2 MiB build and the one with Secure Boot and SMM take as long (within 10 %) to
            // the first DHCP packet; this is the one that Debian keeps.
            Model::Pc => Uefi {
                code: "/usr/share/OVMF/OVMF_CODE_4M.fd",
                variables: "/usr/share/OVMF/OVMF_VARS_4M.fd",
            },
            Model::Arm => Uefi {
                code: "/usr/share/AAVMF/AAVMF_CODE.fd",
                variables: "/usr/share/AAVMF/AAVMF_VARS.fd",
            },
        }
    }
}
