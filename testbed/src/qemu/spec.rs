//! What a machine is made of, and the QEMU command line that makes it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bootd_protocol::identity::{Firmware, Mac, SystemUuid};

use super::model::Model;

/// Who executes the machine's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Accel {
    /// QEMU itself: works everywhere.
    #[default]
    Tcg,
    /// The processor: needs a /dev/kvm that works, which one that exists may not.
    Kvm,
}

/// A kernel that QEMU puts into memory itself: no firmware boot order, no loader. The
/// quick way to a running machine, for tests that are not about booting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectBoot {
    /// The kernel (bzImage).
    pub kernel: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
    /// The kernel's command line.
    pub cmdline: String,
}

/// A machine that can be switched on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSpec {
    /// Names its log and its firmware's variables; unique in a lab.
    pub name: String,
    /// What kind of machine it is.
    pub model: Model,
    /// How it starts.
    pub firmware: Firmware,
    /// The address of its network card.
    pub mac: Mac,
    /// What its SMBIOS tables say.
    pub uuid: SystemUuid,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Who executes its instructions.
    pub accel: Accel,
    /// The host's end of its network cable ([`crate::lab::Tap::name`]); `None`: no card.
    pub tap: Option<String>,
    /// The socket of its disk ([`crate::nbd::NbdServer::path`]); `None`: no disk.
    pub disk: Option<PathBuf>,
    /// The firmware asks the network before the disk.
    pub network_first: bool,
    /// U-Boot in the place of the firmware (`u-boot.rom`, of Debian's u-boot-qemu for qemu-x86).
    pub u_boot: Option<PathBuf>,
    /// Skips the firmware's boot order.
    pub direct: Option<DirectBoot>,
    /// The first restart by its own software ends QEMU instead: for a machine that was
    /// started with [`DirectBoot`] and should come back from its disk.
    pub end_at_restart: bool,
    /// Where the firmware's variables lie, from one power-on to the next.
    pub state_dir: PathBuf,
    /// Where its console log and QEMU's messages go; both are appended to.
    pub log_dir: PathBuf,
}

impl MachineSpec {
    /// A PC with 512 MiB, under software emulation, that yet lacks a network card
    /// and a disk. Its UUID is made from its MAC address. (UEFI starts a unified kernel
    /// image of 35 MB from a disk in 256 MiB too; in 512 MiB, 425 of them stay free.)
    #[must_use]
    pub fn new(name: &str, firmware: Firmware, mac: Mac, state_dir: &Path, log_dir: &Path) -> Self {
        let mut uuid = *b"\xb0\x07\xd0\x00\x7e\x57\x40\x00\x80\x00\0\0\0\0\0\0";
        uuid[10..].copy_from_slice(&mac.0);
        MachineSpec {
            name: name.to_owned(),
            model: Model::default(),
            firmware,
            mac,
            uuid: SystemUuid(uuid),
            memory_mib: 512,
            accel: Accel::default(),
            tap: None,
            disk: None,
            network_first: false,
            u_boot: None,
            direct: None,
            end_at_restart: false,
            state_dir: state_dir.to_owned(),
            log_dir: log_dir.to_owned(),
        }
    }

    /// The file with the firmware's variables (boot entries), made at the first power-on.
    pub(super) fn variables(&self) -> PathBuf {
        self.state_dir.join(format!("{}.vars", self.name))
    }

    /// QEMU's arguments. Its standard input is the QMP connection and its standard output
    /// the serial console, both sockets: they need no name and end when QEMU ends.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut args = Arguments(Vec::new());
        args.add(&["-name", &self.name, "-nodefaults", "-no-user-config"]);
        args.add(&["-display", "none", "-m", &format!("{}M", self.memory_mib)]);
        let machine = match self.u_boot {
            // The one that it is built for.
            Some(_) => "pc",
            None => self.model.board(),
        };
        args.add(&["-machine", machine]);
        self.add_processor(&mut args);
        args.add(&[
            "-chardev",
            "socket,id=qmp,fd=0",
            "-mon",
            "chardev=qmp,mode=control",
        ]);
        args.add(&[
            "-chardev",
            "socket,id=console,fd=1",
            "-serial",
            "chardev:console",
        ]);
        args.add(&["-device", "virtio-rng-pci"]);
        args.add(&[
            "-smbios",
            &format!("type=1,uuid={},product=testbed", self.uuid),
        ]);
        self.add_firmware(&mut args);
        self.add_disk(&mut args);
        self.add_card(&mut args);
        self.add_direct_boot(&mut args);
        if self.end_at_restart {
            args.add(&["-action", "reboot=shutdown"]);
        }
        args.0
    }

    /// Measured on 2 cores, OVMF to its first DHCP packet: `thread=single`, `tb-size` of
    /// 32 and 256 MiB, `split-wx`, `-cpu qemu64`, `-M pc` and 256 MiB to 1 GiB of memory
    /// all lie within 10 % (4.1 to 4.5 s of processor time): the defaults stay.
    fn add_processor(&self, args: &mut Arguments) {
        match (self.model, self.accel) {
            (Model::Pc, Accel::Tcg) => args.add(&["-accel", "tcg", "-cpu", "max"]),
            (Model::Pc, Accel::Kvm) => args.add(&["-accel", "kvm", "-cpu", "host"]),
            // The host's processor is another one.
            (Model::Arm, Accel::Tcg | Accel::Kvm) => {
                args.add(&["-accel", "tcg", "-cpu", "cortex-a57"]);
            }
        }
    }

    fn add_firmware(&self, args: &mut Arguments) {
        if let Some(rom) = &self.u_boot {
            args.add(&["-bios"]);
            return args.add_path("", rom, "");
        }
        match self.firmware {
            // The reboot timeout (ms) is for a machine that found nothing to boot: it
            // tries again, as a machine in a rack does.
            Firmware::Bios => args.add(&["-boot", "strict=on,reboot-timeout=2000"]),
            Firmware::Uefi => {
                let code = self.model.uefi().code;
                args.add(&["-drive"]);
                args.add(&[&format!(
                    "if=pflash,format=raw,unit=0,readonly=on,file={code}"
                )]);
                args.add(&["-drive"]);
                args.add_path("if=pflash,format=raw,unit=1,file=", &self.variables(), "");
                args.add(&["-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n"]);
            }
        }
    }

    /// Places of the disk and of the card in the firmware's boot order. A direct boot has index 0.
    fn boot_order(&self) -> (u8, u8) {
        if self.network_first { (2, 1) } else { (1, 2) }
    }

    /// No cache in QEMU: each flush of the guest is one on the wire.
    fn add_disk(&self, args: &mut Arguments) {
        if let Some(socket) = &self.disk {
            args.add(&["-drive"]);
            args.add_path(
                "if=none,id=disk,format=raw,file=nbd:unix:",
                socket,
                ",cache=none,discard=unmap",
            );
            let (place, _) = self.boot_order();
            let device = format!("virtio-blk-pci,drive=disk,bootindex={place}");
            args.add(&["-device", &device]);
        }
    }

    /// BIOS starts the card's ROM, which is iPXE; UEFI has its own driver and PXE, and the ROM
    /// would only cost it 2.7 s. U-Boot 2023.01 reads a wrong address from a card of the old kind.
    fn add_card(&self, args: &mut Arguments) {
        let Some(tap) = &self.tap else { return };
        let netdev = format!("tap,id=net,ifname={tap},script=no,downscript=no");
        let rom = match (&self.u_boot, self.firmware) {
            (Some(_), _) => ",romfile=,disable-legacy=on",
            (None, Firmware::Bios) => "",
            (None, Firmware::Uefi) => ",romfile=",
        };
        let (_, place) = self.boot_order();
        let device = format!(
            "virtio-net-pci,netdev=net,mac={},bootindex={place}{rom}",
            self.mac
        );
        args.add(&["-netdev", &netdev, "-device", &device]);
    }

    fn add_direct_boot(&self, args: &mut Arguments) {
        if let Some(direct) = &self.direct {
            args.add(&["-kernel"]);
            args.add_path("", &direct.kernel, "");
            args.add(&["-initrd"]);
            args.add_path("", &direct.initrd, "");
            args.add(&["-append", &direct.cmdline]);
        }
    }
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn add(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    fn add_path(&mut self, before: &str, path: &Path, after: &str) {
        let mut word = OsString::from(before);
        word.push(path);
        word.push(after);
        self.0.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(spec: &MachineSpec) -> String {
        let words = spec.arguments();
        let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
        words.join(" ")
    }

    fn spec(firmware: Firmware) -> MachineSpec {
        let mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
        MachineSpec::new("n1", firmware, mac, Path::new("/run/x"), Path::new("/log"))
    }

    const COMMON: &str = "-name n1 -nodefaults -no-user-config -display none -m 512M \
        -machine q35,graphics=off -accel tcg -cpu max \
        -chardev socket,id=qmp,fd=0 -mon chardev=qmp,mode=control \
        -chardev socket,id=console,fd=1 -serial chardev:console -device virtio-rng-pci \
        -smbios type=1,uuid=b007d000-7e57-4000-8000-525400000001,product=testbed";

    #[test]
    fn a_bios_machine_boots_its_disk_and_then_the_cards_rom() {
        let mut spec = spec(Firmware::Bios);
        spec.disk = Some("/run/x/d".into());
        spec.tap = Some("tap0".to_owned());
        let expected = format!(
            "{COMMON} -boot strict=on,reboot-timeout=2000 \
             -drive if=none,id=disk,format=raw,file=nbd:unix:/run/x/d,cache=none,discard=unmap \
             -device virtio-blk-pci,drive=disk,bootindex=1 \
             -netdev tap,id=net,ifname=tap0,script=no,downscript=no \
             -device virtio-net-pci,netdev=net,mac=52:54:00:00:00:01,bootindex=2"
        );
        assert_eq!(line(&spec), expected);
    }

    #[test]
    fn a_uefi_machine_has_variables_of_its_own_and_no_card_rom() {
        let mut spec = spec(Firmware::Uefi);
        spec.tap = Some("tap0".to_owned());
        let expected = format!(
            "{COMMON} -drive if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
             -drive if=pflash,format=raw,unit=1,file=/run/x/n1.vars \
             -fw_cfg name=opt/org.tianocore/IPv6PXESupport,string=n \
             -netdev tap,id=net,ifname=tap0,script=no,downscript=no \
             -device virtio-net-pci,netdev=net,mac=52:54:00:00:00:01,bootindex=2,romfile="
        );
        assert_eq!(line(&spec), expected);
    }

    #[test]
    fn u_boot_stands_where_the_firmware_was() {
        let mut spec = spec(Firmware::Bios);
        spec.u_boot = Some("/u-boot.rom".into());
        spec.tap = Some("tap0".to_owned());
        let common = COMMON.replace("q35,graphics=off", "pc");
        let expected = format!(
            "{common} -bios /u-boot.rom -netdev tap,id=net,ifname=tap0,script=no,downscript=no \
             -device virtio-net-pci,netdev=net,mac=52:54:00:00:00:01,bootindex=2,romfile=,\
             disable-legacy=on"
        );
        assert_eq!(line(&spec), expected);
    }

    #[test]
    fn an_arm_machine_has_its_own_board_processor_and_firmware() {
        let mut spec = spec(Firmware::Uefi);
        spec.model = Model::Arm;
        spec.accel = Accel::Kvm;
        let common = COMMON
            .replace("q35,graphics=off", "virt")
            .replace("-cpu max", "-cpu cortex-a57");
        let expected = format!(
            "{common} -drive if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/AAVMF/AAVMF_CODE.fd \
             -drive if=pflash,format=raw,unit=1,file=/run/x/n1.vars \
             -fw_cfg name=opt/org.tianocore/IPv6PXESupport,string=n"
        );
        assert_eq!(line(&spec), expected);
    }

    #[test]
    fn a_direct_boot_hands_qemu_the_kernel() {
        let mut spec = spec(Firmware::Bios);
        spec.accel = Accel::Kvm;
        spec.end_at_restart = true;
        spec.direct = Some(DirectBoot {
            kernel: "/k".into(),
            initrd: "/i".into(),
            cmdline: "console=ttyS0 panic=10".to_owned(),
        });
        let common = COMMON.replace("tcg -cpu max", "kvm -cpu host");
        let expected = format!(
            "{common} -boot strict=on,reboot-timeout=2000 -kernel /k -initrd /i \
             -append console=ttyS0 panic=10 -action reboot=shutdown"
        );
        assert_eq!(line(&spec), expected);
    }
}
