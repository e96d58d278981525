//! What a client is, from what it says of itself.

use std::fmt;

use crate::dhcp::NODE_VENDOR_CLASS;
use crate::dhcp::packet::Request;
use crate::identity::{Arch, Firmware};

/// A client's architecture and way of booting, as option 93 numbers them
/// (RFC 4578, section 2.1, and IANA's "Processor Architecture Types").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientArch {
    /// 0: x86 with a PC BIOS.
    Bios,
    /// 6: 32-bit x86, UEFI.
    UefiX86,
    /// 7, and 9 ("EBC"), which early firmware sends: 64-bit x86, UEFI.
    UefiX64,
    /// 10: 32-bit Arm, UEFI.
    UefiArm32,
    /// 11: 64-bit Arm, UEFI.
    UefiArm64,
    /// 15: 32-bit x86, UEFI HTTP boot.
    HttpX86,
    /// 16: 64-bit x86, UEFI HTTP boot.
    HttpX64,
    /// 18: 32-bit Arm, UEFI HTTP boot.
    HttpArm32,
    /// 19: 64-bit Arm, UEFI HTTP boot.
    HttpArm64,
    /// 21: 32-bit Arm, U-Boot.
    UBootArm32,
    /// 22: 64-bit Arm, U-Boot.
    UBootArm64,
    /// 25: 32-bit RISC-V, UEFI.
    UefiRiscv32,
    /// 26: 32-bit RISC-V, UEFI HTTP boot.
    HttpRiscv32,
    /// 27: 64-bit RISC-V, UEFI.
    UefiRiscv64,
    /// 28: 64-bit RISC-V, UEFI HTTP boot.
    HttpRiscv64,
    /// Any other.
    Other(u16),
}

impl From<u16> for ClientArch {
    fn from(number: u16) -> Self {
        match number {
            0 => ClientArch::Bios,
            6 => ClientArch::UefiX86,
            7 | 9 => ClientArch::UefiX64,
            10 => ClientArch::UefiArm32,
            11 => ClientArch::UefiArm64,
            15 => ClientArch::HttpX86,
            16 => ClientArch::HttpX64,
            18 => ClientArch::HttpArm32,
            19 => ClientArch::HttpArm64,
            21 => ClientArch::UBootArm32,
            22 => ClientArch::UBootArm64,
            25 => ClientArch::UefiRiscv32,
            26 => ClientArch::HttpRiscv32,
            27 => ClientArch::UefiRiscv64,
            28 => ClientArch::HttpRiscv64,
            other => ClientArch::Other(other),
        }
    }
}

impl fmt::Display for ClientArch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClientArch::Bios => "x86 BIOS",
            ClientArch::UefiX86 => "x86 UEFI (32 bit)",
            ClientArch::UefiX64 => "x86_64 UEFI",
            ClientArch::UefiArm32 => "arm UEFI (32 bit)",
            ClientArch::UefiArm64 => "aarch64 UEFI",
            ClientArch::HttpX86 => "x86 UEFI HTTP (32 bit)",
            ClientArch::HttpX64 => "x86_64 UEFI HTTP",
            ClientArch::HttpArm32 => "arm UEFI HTTP (32 bit)",
            ClientArch::HttpArm64 => "aarch64 UEFI HTTP",
            ClientArch::UBootArm32 => "arm U-Boot (32 bit)",
            ClientArch::UBootArm64 => "aarch64 U-Boot",
            ClientArch::UefiRiscv32 => "riscv32 UEFI",
            ClientArch::HttpRiscv32 => "riscv32 UEFI HTTP",
            ClientArch::UefiRiscv64 => "riscv64 UEFI",
            ClientArch::HttpRiscv64 => "riscv64 UEFI HTTP",
            ClientArch::Other(number) => return write!(f, "architecture {number}"),
        })
    }
}

impl ClientArch {
    /// The number that a client of `arch` and `firmware` sends in option 93: what our own
    /// `init` says of the machine it runs on.
    #[must_use]
    pub const fn number_of(arch: Arch, firmware: Firmware) -> u16 {
        match (arch, firmware) {
            (_, Firmware::Bios) => 0,
            (Arch::X86_64, Firmware::Uefi) => 7,
            (Arch::Aarch64, Firmware::Uefi) => 11,
            (Arch::Riscv64, Firmware::Uefi) => 27,
        }
    }

    /// The kind of client with the ROM or firmware of this architecture.
    const fn rom(self) -> ClientKind {
        match self {
            ClientArch::Bios => ClientKind::BiosRom,
            ClientArch::UefiX64 => ClientKind::UefiPxe(Arch::X86_64),
            ClientArch::UefiArm64 => ClientKind::UefiPxe(Arch::Aarch64),
            ClientArch::UefiRiscv64 => ClientKind::UefiPxe(Arch::Riscv64),
            ClientArch::HttpX64 => ClientKind::UefiHttp(Arch::X86_64),
            ClientArch::HttpArm64 => ClientKind::UefiHttp(Arch::Aarch64),
            ClientArch::HttpRiscv64 => ClientKind::UefiHttp(Arch::Riscv64),
            ClientArch::UBootArm64 => ClientKind::UBoot(Some(Arch::Aarch64)),
            ClientArch::UefiX86
            | ClientArch::UefiArm32
            | ClientArch::HttpX86
            | ClientArch::HttpArm32
            | ClientArch::UBootArm32
            | ClientArch::UefiRiscv32
            | ClientArch::HttpRiscv32
            | ClientArch::Other(_) => ClientKind::Unsupported(self),
        }
    }

    /// What our boot images call it; a PC BIOS counts as 64-bit, for we have no other image.
    const fn machine(self) -> Option<(Arch, Firmware)> {
        self.rom().machine()
    }
}

/// What a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientKind {
    /// The PXE ROM of a PC BIOS.
    BiosRom,
    /// UEFI, loading by TFTP.
    UefiPxe(Arch),
    /// UEFI, loading by HTTP.
    UefiHttp(Arch),
    /// iPXE, as ROM or loaded.
    Ipxe {
        /// Architecture of the machine.
        arch: Arch,
        /// Firmware below iPXE.
        firmware: Firmware,
    },
    /// U-Boot, when it asks as itself and not as UEFI: it knows the names of the files that it
    /// wants ([`super::pxelinux`]). Its architecture, if it says: U-Boot for Arm does.
    UBoot(Option<Arch>),
    /// Our own `init`.
    Init {
        /// Architecture and firmware of the machine, if it says.
        machine: Option<(Arch, Firmware)>,
    },
    /// It boots, but we have no image for it.
    Unsupported(ClientArch),
    /// It asks for an address only.
    Plain,
}

impl ClientKind {
    /// What sent `request`.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        let archs = architectures(request);
        let first = archs.iter().copied().find(|it| it.machine().is_some());
        let vendor = request.vendor_class.as_deref().unwrap_or_default();
        if vendor == NODE_VENDOR_CLASS {
            let machine = first.and_then(ClientArch::machine);
            return ClientKind::Init { machine };
        }
        if let Some(build) = vendor.strip_prefix(U_BOOT) {
            return u_boot(build, first);
        }
        let Some(arch) = first.or(archs.first().copied()) else {
            return ClientKind::Plain;
        };
        if request.user_classes.iter().any(|class| class == "iPXE") {
            return arch
                .machine()
                .map_or(ClientKind::Unsupported(arch), |(arch, firmware)| {
                    ClientKind::Ipxe { arch, firmware }
                });
        }
        arch.rom()
    }

    /// Whether it looks for something to boot, or is our own `init`.
    #[must_use]
    pub const fn boots(self) -> bool {
        self.is_loader() || matches!(self, ClientKind::Init { .. })
    }

    /// Whether it looks for something to boot: firmware, or what firmware has started.
    #[must_use]
    pub const fn is_loader(self) -> bool {
        match self {
            ClientKind::BiosRom
            | ClientKind::UefiPxe(_)
            | ClientKind::UefiHttp(_)
            | ClientKind::Ipxe { .. }
            | ClientKind::UBoot(_) => true,
            ClientKind::Init { .. } | ClientKind::Unsupported(_) | ClientKind::Plain => false,
        }
    }

    /// Processor architecture and firmware of the machine, where the client says them.
    #[must_use]
    pub const fn machine(self) -> Option<(Arch, Firmware)> {
        match self {
            ClientKind::BiosRom => Some((Arch::X86_64, Firmware::Bios)),
            ClientKind::UefiPxe(arch) | ClientKind::UefiHttp(arch) => Some((arch, Firmware::Uefi)),
            ClientKind::Ipxe { arch, firmware } => Some((arch, firmware)),
            // It has UEFI within, by which it starts a disk.
            ClientKind::UBoot(Some(arch)) => Some((arch, Firmware::Uefi)),
            ClientKind::Init { machine } => machine,
            ClientKind::UBoot(None) | ClientKind::Unsupported(_) | ClientKind::Plain => None,
        }
    }
}

impl fmt::Display for ClientKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientKind::BiosRom => f.write_str("BIOS PXE ROM"),
            ClientKind::UefiPxe(arch) => write!(f, "UEFI PXE ({arch})"),
            ClientKind::UefiHttp(arch) => write!(f, "UEFI HTTP boot ({arch})"),
            ClientKind::Ipxe { arch, firmware } => write!(f, "iPXE ({arch}, {firmware})"),
            ClientKind::UBoot(Some(arch)) => write!(f, "U-Boot ({arch})"),
            ClientKind::UBoot(None) => f.write_str("U-Boot"),
            ClientKind::Init { .. } => f.write_str("bootd's init"),
            ClientKind::Unsupported(arch) => write!(f, "{arch}"),
            ClientKind::Plain => f.write_str("plain DHCP client"),
        }
    }
}

/// How U-Boot's vendor class begins (`cmd/Kconfig` of U-Boot, `BOOTP_VCI_STRING`): `U-Boot`,
/// `U-Boot.arm`, `U-Boot.armv7`, `U-Boot.armv8`.
const U_BOOT: &str = "U-Boot";

/// U-Boot by the end of its vendor class and the architecture of option 93, which only builds for
/// Arm send; x86 says 0, as a BIOS does, or nothing.
fn u_boot(build: &str, arch: Option<ClientArch>) -> ClientKind {
    match (arch.and_then(ClientArch::machine), build) {
        (Some((arch, _)), _) => ClientKind::UBoot(Some(arch)),
        (None, ".armv8") => ClientKind::UBoot(Some(Arch::Aarch64)),
        (None, _) if build.starts_with(".arm") => ClientKind::Unsupported(ClientArch::UBootArm32),
        (None, _) => ClientKind::UBoot(None),
    }
}

/// Option 93, or what stands in the vendor class (`PXEClient:Arch:00007:UNDI:...`, PXE
/// specification 2.1), for some ROMs leave option 93 out.
fn architectures(request: &Request) -> Vec<ClientArch> {
    if !request.architectures.is_empty() {
        return request
            .architectures
            .iter()
            .copied()
            .map(ClientArch::from)
            .collect();
    }
    let vendor = request.vendor_class.as_deref().unwrap_or_default();
    let mut words = vendor.split(':').skip_while(|word| *word != "Arch").skip(1);
    let number = words.next().and_then(|word| word.parse::<u16>().ok());
    number.map(ClientArch::from).into_iter().collect()
}
