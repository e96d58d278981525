//! The loader on real firmware: SeaBIOS and OVMF in QEMU start a disk written by the node's own
//! code. The kernel is one of 60 bytes that says on the serial port how it was started, and then
//! resets the machine or switches it off.
//!
//! Needs QEMU, OVMF and GRUB (Debian's qemu-system-x86, ovmf, grub-pc-bin, grub-efi-amd64-bin).

#![expect(
    clippy::expect_used,
    reason = "in a test a failed step should say which, and end it"
)]

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use boot_image::loader::{BiosLoader, GrubTools, build_loader};
use bootd_protocol::identity::Arch;
use node_initramfs::disk::{
    Device, EspFile, FileDevice, Layout, LoaderBlobs, LoaderState, Slot, SlotContent, SlotPart,
    commit_first, commit_trial, prepare, write_slot,
};

const GIB: u64 = 1 << 30;

/// Longer than any start takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Firmware {
    Bios,
    Uefi,
}

/// What the kernel does once it has spoken.
#[derive(Debug, Clone, Copy)]
enum Then {
    Reset,
    SwitchOff,
}

/// Writes the command line and the initramfs's first line to the serial port (i386, entered by
/// Linux's 32-bit boot protocol with `esi` at the boot parameters).
const SPEAK: [u8; 43] = [
    0x8b, 0xbe, 0x28, 0x02, 0x00, 0x00, // mov edi, [esi+0x228]: the command line
    0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0x8a, 0x07, // next: mov al, [edi]
    0x84, 0xc0, // test al, al
    0x74, 0x04, // jz initramfs
    0xee, // out dx, al
    0x47, // inc edi
    0xeb, 0xf6, // jmp next
    0x8b, 0xbe, 0x18, 0x02, 0x00, 0x00, // initramfs: mov edi, [esi+0x218]
    0x8a, 0x07, // more: mov al, [edi]
    0xee, // out dx, al
    0x47, // inc edi
    0x3c, 0x0a, // cmp al, '\n'
    0x75, 0xf8, // jne more
    0x66, 0xba, 0xfd, 0x03, // mov dx, 0x3fd
    0xec, // wait: in al, dx
    0xa8, 0x40, // test al, 0x40: all sent
    0x74, 0xf7, // jz wait -4
];

/// Through the keyboard controller, as PCs have it.
const RESET: [u8; 7] = [0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd];

/// Through QEMU's `isa-debug-exit`.
const SWITCH_OFF: [u8; 8] = [0x66, 0xba, 0xf4, 0x00, 0xee, 0xf4, 0xeb, 0xfd];

/// A bzImage (the kernel's Documentation/arch/x86/boot.rst, protocol 2.12).
fn kernel(then: Then) -> Vec<u8> {
    let mut image = vec![0; 1024];
    let mut put =
        |offset: usize, bytes: &[u8]| image[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]);
    put(0x1f4, &32u32.to_le_bytes());
    put(0x1fe, &[0x55, 0xaa, 0xeb, 0x66]);
    put(0x202, b"HdrS");
    put(0x206, &0x020c_u16.to_le_bytes());
    put(0x211, &[1]);
    put(0x214, &0x10_0000_u32.to_le_bytes());
    put(0x22c, &0x7fff_ffff_u32.to_le_bytes());
    put(0x230, &0x20_0000_u32.to_le_bytes());
    put(0x234, &[1, 21]);
    put(0x238, &2047u32.to_le_bytes());
    put(0x258, &0x100_0000_u64.to_le_bytes());
    put(0x260, &0x1_0000_u32.to_le_bytes());
    image.extend(SPEAK);
    match then {
        Then::Reset => image.extend(RESET),
        Then::SwitchOff => image.extend(SWITCH_OFF),
    }
    image.resize(1024 + 512, 0);
    image
}

struct Disk {
    path: PathBuf,
    device: FileDevice,
    layout: Layout,
    bios: BiosLoader,
}

impl Disk {
    /// A prepared disk with nothing installed.
    fn new(directory: &Path) -> Self {
        let path = directory.join("disk");
        let file = File::create_new(&path).expect("create");
        file.set_len(GIB).expect("size");
        let mut device = FileDevice::open(path.to_str().expect("UTF-8"), 512).expect("open");
        let layout = Layout::new(GIB, b"sixteen bytes...").expect("large enough");
        let loader = build_loader(&GrubTools::default(), Arch::X86_64);
        let loader = loader.expect("GRUB is installed");
        let bios = loader.bios.expect("x86 has BIOS");
        let blobs = LoaderBlobs {
            efi: &loader.efi,
            bios_boot: &bios.boot,
            bios_core: &bios.core,
        };
        prepare(&mut device, &layout, &blobs, &mut |_| Ok(())).expect("prepared");
        Disk {
            path,
            device,
            layout,
            bios,
        }
    }

    fn write(&mut self, slot: Slot, linux: &[u8], words: &str) {
        let initrd = format!("|{words}\n");
        let size = |bytes: &[u8]| u64::try_from(bytes.len()).expect("small");
        let content = SlotContent {
            linux: SlotPart {
                size: size(linux),
                reader: &mut &*linux,
            },
            initrd: SlotPart {
                size: size(initrd.as_bytes()),
                reader: &mut initrd.as_bytes(),
            },
            cmdline: "x=$b,*;{c} panic=10",
        };
        write_slot(&mut self.device, &self.layout, slot, content).expect("written");
    }

    fn commit(&mut self, slot: Slot) {
        let code = &self.bios.boot;
        commit_first(&mut self.device, &self.layout, slot, code).expect("committed");
    }

    fn set(&mut self, state: LoaderState) {
        let offset = self.layout.file(EspFile::Grubenv).offset;
        let written = self.device.write_at(offset, &state.encode());
        written.expect("written");
    }
}

/// A machine that is ended with the test.
struct Machine {
    qemu: Child,
    output: mpsc::Receiver<Vec<u8>>,
    seen: String,
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.qemu.kill());
        drop(self.qemu.wait());
    }
}

impl Machine {
    fn start(disk: &Disk, firmware: Firmware) -> Self {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args([
            "-accel", "tcg", "-cpu", "max", "-m", "512", "-display", "none",
        ]);
        qemu.args(["-serial", "stdio", "-monitor", "none", "-net", "none"]);
        qemu.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"]);
        qemu.args(["-machine", "graphics=off", "-netdev", "user,id=net"]);
        qemu.args(["-device", "virtio-net-pci,netdev=net,bootindex=2"]);
        qemu.args(["-device", "virtio-blk-pci,drive=disk,bootindex=1"]);
        let drive = format!("if=none,id=disk,format=raw,file={}", disk.path.display());
        qemu.args(["-drive", &drive]);
        if firmware == Firmware::Uefi {
            let code =
                "if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd";
            let variables = disk.path.with_extension("vars");
            fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &variables).expect("OVMF is installed");
            let variables = format!("if=pflash,unit=1,format=raw,file={}", variables.display());
            qemu.args(["-drive", code, "-drive", &variables]);
        }
        let mut qemu = qemu
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("QEMU is installed");
        let mut pipe = qemu.stdout.take().expect("piped");
        let (sender, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Machine {
            qemu,
            output,
            seen: String::new(),
        }
    }

    /// Reads the serial port until `wanted` was seen, or the machine is off.
    fn read_until(&mut self, wanted: Option<&str>) -> &str {
        let deadline = Instant::now() + PATIENCE;
        while !wanted.is_some_and(|text| self.seen.contains(text)) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.seen += &String::from_utf8_lossy(&bytes),
                Err(mpsc::RecvTimeoutError::Disconnected) if wanted.is_none() => break,
                Err(error) => panic!("{error}, waiting for {wanted:?} after:\n{}", self.seen),
            }
        }
        &self.seen
    }

    /// What the kernels said, one after the other, until the machine was off.
    fn spoken(mut self) -> Vec<String> {
        let spoken = self.read_until(None).lines();
        let spoken = spoken.filter_map(|line| Some(line[line.find("BOOT_IMAGE=")?..].to_owned()));
        spoken.collect()
    }
}

fn said(slot: Slot, words: &str) -> String {
    format!(
        "BOOT_IMAGE=(hd0,gpt2)/bootd/{slot}/linux x=$b,*;{{c}} panic=10 bootd.slot={slot}|{words}"
    )
}

/// Nothing to start: on to the network, whether the loader says so or the disk itself.
/// Then a slot; then a trial of `tries` starts that fails, and falls back.
fn whole_life(firmware: Firmware, network: &str, tries: u8) {
    let directory = tempfile::tempdir().expect("tempdir");
    let mut disk = Disk::new(directory.path());
    Machine::start(&disk, firmware).read_until(Some(network));

    disk.write(Slot::A, &kernel(Then::SwitchOff), "old");
    disk.commit(Slot::A);
    disk.set(LoaderState::default());
    let mut machine = Machine::start(&disk, firmware);
    machine.read_until(Some("bootd: nothing is installed on this disk"));
    machine.read_until(Some(network));
    drop(machine);

    disk.set(LoaderState::commit_first(Slot::A));
    let [old, new] = [said(Slot::A, "old"), said(Slot::B, "new")];
    assert_eq!(Machine::start(&disk, firmware).spoken(), vec![old.clone()]);

    disk.write(Slot::B, &kernel(Then::Reset), "new");
    let trial = commit_trial(&mut disk.device, &disk.layout).expect("on trial");
    disk.set(LoaderState { tries, ..trial });
    let mut expected = vec![new; usize::from(tries)];
    expected.push(old);
    assert_eq!(Machine::start(&disk, firmware).spoken(), expected);
}

#[test]
fn bios() {
    whole_life(Firmware::Bios, "iPXE", LoaderState::TRIES);
}

/// One try only: OVMF takes its time.
#[test]
fn uefi() {
    whole_life(Firmware::Uefi, "PXE over IPv4", 1);
}
