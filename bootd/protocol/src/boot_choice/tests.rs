use super::*;
use crate::dhcp::packet::{Builder, Kind, code};
use crate::identity::Firmware;

const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const MASTER: MasterHint = MasterHint {
    ip: Ipv4Addr::new(10, 1, 0, 1),
    verify_port: 4068,
    http_port: 4080,
};

/// A client that says these of itself.
fn client(archs: &[u16], vendor: &str, user: &str) -> Client {
    let archs: Vec<u8> = archs.iter().flat_map(|it| it.to_be_bytes()).collect();
    let packet = Builder::request(Kind::Discover, 1, MAC)
        .option(code::CLIENT_ARCH, archs)
        .option(code::VENDOR_CLASS, vendor)
        .option(code::USER_CLASS, user)
        .build();
    Client::of(&Request::parse(&packet.bytes).unwrap(), &"lan".into())
}

fn boot() -> Offer {
    Offer::Boot {
        uki: Digest::NONE,
        reason: "class web".into(),
    }
}

#[test]
fn kinds_by_what_they_say() {
    let x64 = (Arch::X86_64, Firmware::Uefi);
    let unsupported = |arch| ClientKind::Unsupported(arch);
    let (rom, http, init) = ("PXEClient:Arch:x", "HTTPClient:Arch:x", NODE);
    let cases: Vec<(&[u16], &str, &str, ClientKind)> = vec![
        (&[0], rom, "", ClientKind::BiosRom),
        (
            &[],
            "PXEClient:Arch:00000:UNDI:002001",
            "",
            ClientKind::BiosRom,
        ),
        (&[6], rom, "", unsupported(ClientArch::UefiX86)),
        (&[7], rom, "", ClientKind::UefiPxe(Arch::X86_64)),
        (&[9], rom, "", ClientKind::UefiPxe(Arch::X86_64)),
        (&[6, 7], rom, "", ClientKind::UefiPxe(Arch::X86_64)),
        (&[10], rom, "", unsupported(ClientArch::UefiArm32)),
        (&[11], rom, "", ClientKind::UefiPxe(Arch::Aarch64)),
        (&[15], http, "", unsupported(ClientArch::HttpX86)),
        (&[16], http, "", ClientKind::UefiHttp(Arch::X86_64)),
        (&[18], http, "", unsupported(ClientArch::HttpArm32)),
        (&[19], http, "", ClientKind::UefiHttp(Arch::Aarch64)),
        (&[25], rom, "", unsupported(ClientArch::UefiRiscv32)),
        (&[26], http, "", unsupported(ClientArch::HttpRiscv32)),
        (&[27], rom, "", ClientKind::UefiPxe(Arch::Riscv64)),
        (&[28], http, "", ClientKind::UefiHttp(Arch::Riscv64)),
        (&[99], rom, "", unsupported(ClientArch::Other(99))),
        (&[0], rom, "iPXE", ipxe(Arch::X86_64, Firmware::Bios)),
        (&[7], rom, "\x04iPXE", ipxe(Arch::X86_64, Firmware::Uefi)),
        (&[11], rom, "iPXE", ipxe(Arch::Aarch64, Firmware::Uefi)),
        (&[6], rom, "iPXE", unsupported(ClientArch::UefiX86)),
        (&[7], init, "", ClientKind::Init { machine: Some(x64) }),
        (&[], init, "", ClientKind::Init { machine: None }),
        (&[], "", "", ClientKind::Plain),
        (&[], "MSFT 5.0", "", ClientKind::Plain),
        (&[22], "U-Boot.armv8", "", u_boot(Arch::Aarch64)),
        (&[22], "", "", u_boot(Arch::Aarch64)),
        (&[], "U-Boot.armv8", "", u_boot(Arch::Aarch64)),
        (&[0], "U-Boot", "", u_boot(Arch::X86_64)),
        (&[27], "U-Boot", "", u_boot(Arch::Riscv64)),
        (&[255], "U-Boot", "", ClientKind::UBoot(None)),
        (&[], "U-Boot", "", ClientKind::UBoot(None)),
        (
            &[21],
            "U-Boot.armv7",
            "",
            unsupported(ClientArch::UBootArm32),
        ),
        (&[], "U-Boot.arm", "", unsupported(ClientArch::UBootArm32)),
        (&[21], "", "", unsupported(ClientArch::UBootArm32)),
        // U-Boot's UEFI.
        (
            &[11],
            "PXEClient:Arch:00011:UNDI:003000",
            "",
            ClientKind::UefiPxe(Arch::Aarch64),
        ),
    ];
    for (archs, vendor, user, kind) in cases {
        assert_eq!(
            client(archs, vendor, user).kind,
            kind,
            "{archs:?} {vendor} {user}"
        );
    }
}

const NODE: &str = crate::dhcp::NODE_VENDOR_CLASS;

fn u_boot(arch: Arch) -> ClientKind {
    ClientKind::UBoot(Some(arch))
}

fn ipxe(arch: Arch, firmware: Firmware) -> ClientKind {
    ClientKind::Ipxe { arch, firmware }
}

#[test]
fn numbers_of_our_own_come_back() {
    for arch in Arch::ALL {
        let number = ClientArch::number_of(*arch, Firmware::Uefi);
        let expected = ClientKind::Init {
            machine: Some((*arch, Firmware::Uefi)),
        };
        assert_eq!(client(&[number], NODE, "").kind, expected);
    }
    assert_eq!(
        client(&[0], NODE, "").kind.machine(),
        Some((Arch::X86_64, Firmware::Bios))
    );
}

/// Every kind of client that boots, with what it gets when the catalog has an image.
#[test]
fn what_each_is_sent() {
    let digest = Digest::NONE;
    let script = |query: &str| BootFile::Script {
        url: format!("http://10.1.0.1:4080/ipxe?mac=52-54-00-12-34-56&{query}"),
    };
    let tftp = BootFile::Tftp {
        path: format!("boot/{digest}.efi"),
    };
    let http = BootFile::Http {
        url: format!("http://10.1.0.1:4080/boot/{digest}.efi"),
    };
    let image = |what: &str| format!("{what} gets boot image 000000000000: class web");
    let cases = [
        (
            client(&[7], "PXEClient", ""),
            tftp.clone(),
            image("UEFI PXE (x86_64)"),
        ),
        (
            client(&[11], "PXEClient", ""),
            tftp,
            image("UEFI PXE (aarch64)"),
        ),
        (
            client(&[16], "HTTPClient", ""),
            http,
            image("UEFI HTTP boot (x86_64)"),
        ),
        (
            client(&[0], "PXEClient", "iPXE"),
            script("arch=x86_64&firmware=bios"),
            image("iPXE (x86_64, bios)"),
        ),
        (
            client(&[7], "PXEClient", "iPXE"),
            script("arch=x86_64&firmware=uefi"),
            image("iPXE (x86_64, uefi)"),
        ),
        (
            client(&[7], NODE, ""),
            BootFile::Hint(MASTER),
            "our init asks the master itself".into(),
        ),
        (
            client(&[0], "PXEClient", ""),
            BootFile::Tftp {
                path: "ipxe/undionly.kpxe".into(),
            },
            "loads undionly.kpxe first: class web".into(),
        ),
        (
            client(&[22], "U-Boot.armv8", ""),
            BootFile::Server,
            "U-Boot (aarch64) asks TFTP for its configuration: class web".into(),
        ),
        (
            client(&[6], "PXEClient", ""),
            BootFile::Nothing,
            "no boot file: no boot image runs on x86 UEFI (32 bit)".into(),
        ),
        (
            client(&[], "", ""),
            BootFile::Nothing,
            "no boot file: the client asks for an address only".into(),
        ),
    ];
    for (client, file, why) in cases {
        let choice = choose(&client, &boot(), BootPolicy::default(), &MASTER);
        assert_eq!((choice.file, choice.why.to_string()), (file, why));
    }
}

/// What a client is sent, in a word, and why.
fn sent(client: &Client, offer: &Offer) -> (&'static str, String) {
    let choice = choose(client, offer, BootPolicy::default(), &MASTER);
    let file = match choice.file {
        BootFile::Script { .. } => "script",
        BootFile::Server => "server",
        BootFile::Hint(_) => "hint",
        BootFile::Nothing => "nothing",
        BootFile::Silence => "silence",
        BootFile::LocalDisk => "disk",
        BootFile::Tftp { path } if path.starts_with("ipxe/") => "loader",
        BootFile::Tftp { .. } | BootFile::Http { .. } => "image",
    };
    (file, choice.why.to_string())
}

/// What the catalog's other answers make of three kinds of client.
#[test]
fn offers_without_an_image() {
    let reason: Arc<str> = "not approved".into();
    let uefi = client(&[7], "PXEClient", "");
    let ipxe = client(&[0], "PXEClient", "iPXE");
    let init = client(&[7], NODE, "");
    let rom = client(&[0], "PXEClient", "");
    let http = client(&[16], "HTTPClient", "");
    let [hold, none, local, loaded] = [
        Offer::Hold {
            reason: Arc::clone(&reason),
        },
        Offer::None {
            reason: Arc::clone(&reason),
        },
        Offer::Local {
            loader: None,
            reason: Arc::clone(&reason),
        },
        Offer::Local {
            loader: Some(Digest::of(b"GRUB")),
            reason: Arc::clone(&reason),
        },
    ];
    let ignore = Offer::Ignore { reason };
    let own = "our init asks the master itself";
    for (client, offer, file, why) in [
        (&uefi, &hold, "nothing", "held: not approved"),
        (&uefi, &none, "nothing", "no boot file: not approved"),
        (&uefi, &ignore, "silence", "ignored: not approved"),
        (&ipxe, &hold, "script", "held: not approved"),
        (&ipxe, &none, "nothing", "no boot file: not approved"),
        (&ipxe, &ignore, "silence", "ignored: not approved"),
        (&uefi, &local, "disk", "starts from its disk: not approved"),
        (
            &uefi,
            &loaded,
            "image",
            "starts from its disk: not approved",
        ),
        (
            &http,
            &loaded,
            "image",
            "starts from its disk: not approved",
        ),
        (
            &http,
            &local,
            "nothing",
            "starts from its disk: not approved",
        ),
        (&rom, &local, "disk", "starts from its disk: not approved"),
        (
            &ipxe,
            &local,
            "script",
            "starts from its disk: not approved",
        ),
        (&init, &local, "hint", own),
        (
            &rom,
            &hold,
            "loader",
            "loads undionly.kpxe first: not approved",
        ),
        (&rom, &none, "nothing", "no boot file: not approved"),
        (&init, &hold, "hint", own),
        (&init, &none, "hint", own),
        (&init, &ignore, "silence", "ignored: not approved"),
    ] {
        assert_eq!(sent(client, offer), (file, why.to_owned()));
    }
}

#[test]
fn the_longest_script_address_fits_the_file_field() {
    let client = Client {
        mac: MAC,
        uuid: Some(SystemUuid([0x11; 16])),
        kind: ipxe(Arch::Aarch64, Firmware::Bios),
        vendor_class: None,
        place: Place::default(),
    };
    let master = MasterHint {
        ip: Ipv4Addr::BROADCAST,
        http_port: u16::MAX,
        ..MASTER
    };
    let BootFile::Script { url } = choose(&client, &boot(), BootPolicy::default(), &master).file
    else {
        panic!("no script");
    };
    assert_eq!(url.len(), 124, "{url}");
}

/// By which protocol a machine may load, and what UEFI loads first.
#[test]
fn policies() {
    let pxe = client(&[7], "PXEClient", "");
    let arm = client(&[11], "PXEClient", "");
    let http = client(&[16], "HTTPClient", "");
    let by = |boot_by, uefi_loader| BootPolicy {
        boot_by,
        uefi_loader,
    };
    let (tftp_only, http_only) = (by(Some(BootBy::Tftp), None), by(Some(BootBy::Http), None));
    let chained = by(None, Some(UefiLoader::Snponly));
    for (client, policy, file) in [
        (&pxe, tftp_only, "boot/"),
        (&pxe, http_only, "LocalDisk"),
        (&pxe, chained, "ipxe/snponly.efi"),
        (&arm, chained, "boot/"),
        (&http, tftp_only, ""),
        (&http, http_only, "http://"),
        (&http, chained, "http://"),
    ] {
        let got = match choose(client, &boot(), policy, &MASTER).file {
            BootFile::Tftp { path } => path,
            BootFile::Http { url } => url,
            BootFile::Nothing => String::new(),
            other @ (BootFile::Script { .. }
            | BootFile::Server
            | BootFile::Hint(_)
            | BootFile::LocalDisk
            | BootFile::Silence) => format!("{other:?}"),
        };
        let matches = if file.is_empty() {
            got.is_empty()
        } else {
            got.starts_with(file)
        };
        assert!(matches, "{got} {file}");
    }
}
