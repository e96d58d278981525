//! Documents, tables, disks.

use super::{Seed, fixture, piece};

pub(crate) fn seeds() -> Vec<Seed> {
    let texts = [
        ("http_request", b"\x07".as_slice(), REQUESTS),
        ("http_range", &[0, 4, 3], RANGES),
        ("ipxe_query", b"", QUERIES),
        ("boot_config", b"", CONFIGS),
        ("http_head", b"", HEADS),
    ];
    let texts = texts.into_iter().flat_map(|(target, before, texts)| {
        let with = move |text: &str| [before, text.as_bytes()].concat();
        let seed = move |(name, text): &(&str, &str)| (target, (*name).to_owned(), with(text));
        texts.iter().map(seed)
    });
    let disks = disks().into_iter();
    let disks = disks.map(|(name, changes)| ("disk", name.to_owned(), changes));
    texts.chain(tables()).chain(disks).collect()
}

type Texts = &'static [(&'static str, &'static str)];

const REQUESTS: Texts = &[
    (
        "get",
        "GET /ipxe?mac=52-54-00-12-34-56 HTTP/1.1\r\nHost: 10.1.0.1:4080\r\nRange: bytes=4-\r\nIf-Range: \"x\"\r\n\r\n",
    ),
    ("old", "\r\nHEAD / HTTP/1.0\nconnection: keep-alive\n\n"),
    (
        "absolute",
        "GET http://a/b?c HTTP/1.1\r\nhost: a\r\nif-none-match: \"x\", W/\"y\"\r\nif-match: *\r\n\r\n",
    ),
    (
        "body",
        "POST * HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 5\r\n\r\nabcde",
    ),
    (
        "coded",
        "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
];

const RANGES: Texts = &[
    ("from", "bytes=0-"),
    ("part", "bytes=4-99"),
    ("last", "bytes=-5"),
    ("several", "bytes=0-1, 4-"),
    ("huge", "bytes=18446744073709551615-18446744073709551615"),
    ("none", "bytes=-0"),
];

const CONFIGS: Texts = &[
    (
        "card",
        "boot/pxelinux.cfg/01-52-54-00-12-34-56\nconsole=ttyS0  panic=10\tquiet",
    ),
    (
        "machine",
        "pxelinux.cfg/564d9b8c-8a0c-4f3e-9b7d-0123456789ab\n",
    ),
    (
        "part",
        "boot//boot/0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789abcdef/initrd\nroot=\"a b\" # -",
    ),
    (
        "syntax",
        "pxelinux.cfg/0A010064\na=${b} $(c) 'd' \\ initrd=e",
    ),
];

const QUERIES: Texts = &[
    ("bios", "mac=52-54-00-12-34-56&arch=x86_64&firmware=bios"),
    (
        "uefi",
        "mac=52%3A54%3A00%3A12%3A34%3A56&arch=aarch64&firmware=uefi&uuid=564d9b8c-8a0c-4f3e-9b7d-0123456789ab",
    ),
    ("poor", "mac=&arch=&firmware"),
];

const HEADS: Texts = &[
    (
        "whole",
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabcdef",
    ),
    (
        "part",
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 4-9/10\r\ncontent-length: 6\r\nconnection: close\r\n\r\n",
    ),
    (
        "missing",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 18446744073709551615\r\n\r\n",
    ),
    ("endless", "HTTP/1.0 200 OK\r\na: b\r\nc: d\r\n"),
];

fn tables() -> Vec<Seed> {
    let stub = fixture::stub(fixture::STUB_MAGIC);
    let parts = boot_image::uki::Parts {
        osrel: b"ID=test\n",
        cmdline: b"quiet",
        initrd: b"initrd",
        linux: b"linux",
    };
    let image = boot_image::uki::assemble(&stub, &parts).unwrap();
    let cycle = b"\0\0a\ta.ko\tb\t\nb\tb.ko\ta\t\n".to_vec();
    let stars = b"a\ta.ko\t\t*a*a*a*a*a*a*b [!a-z]?*\n".to_vec();
    let answer = |number: i32| {
        let header = [&36_u32.to_ne_bytes()[..], &2_u16.to_ne_bytes(), &[0; 10]].concat();
        [header, number.to_ne_bytes().to_vec(), vec![0; 16]].concat()
    };
    let tables = [
        ("uki_stub", "stub", stub.clone()),
        ("uki", "image", image),
        ("uki", "stub", stub),
        ("module_index", "virtio", module_index()),
        ("module_index", "cycle", cycle),
        (
            "module_index",
            "stars",
            [piece(&[b'a'; 60]), stars].concat(),
        ),
        ("smbios", "blade", smbios()),
        ("smbios", "text", b" Default string ".to_vec()),
        ("rtnetlink", "done", answer(0)),
        ("rtnetlink", "exists", answer(-17)),
        ("rtnetlink", "strange", answer(i32::MIN)),
    ];
    let seed = |(target, name, bytes): (_, &str, _)| (target, name.to_owned(), bytes);
    tables.map(seed).to_vec()
}

/// A system, two boards, the end.
fn smbios() -> Vec<u8> {
    [
        b"\x01\x08\0\x01\x01\x02\0\0Maker\0Product\0\0".as_slice(),
        b"\x20\x0b\0\x20\0\0\0\0\0\0\0\0\0",
        b"\x02\x0f\0\x02\x01\x02\0\0\0\x09\x02\x03\0\x0a\0Maker\0Part Component\0\0",
        b"\x02\x0f\x01\x02\x01\x02\0\0\0\x09\x03\x03\0\x0a\0Maker\0Board\0Slot 05\0\0",
        b"\x7f\x04\0\x7f\0\0",
    ]
    .concat()
}

fn module_index() -> Vec<u8> {
    let text = "virtio\tvirtio.ko\t\t\n\
        virtio_ring\tvirtio_ring.ko\tvirtio\t\n\
        virtio_pci\tvirtio_pci.ko\tvirtio_ring\tpci:v00001AF4d*sv*sd*bc*sc*i*\n\
        # said by nobody\n\
        virtio_net\tvirtio_net.ko\tvirtio,virtio_ring\tvirtio:d00000001v*\n";
    let modalias = b"virtio:d00000001v00001AF4";
    [piece(modalias), text.as_bytes().to_vec()].concat()
}

/// How a disk begins (1: one of ours, 2: with right sums), then changes: place, offset, length,
/// bytes.
fn disks() -> Vec<(&'static str, Vec<u8>)> {
    let change = |place: u8, at: u16, bytes: &[u8]| {
        let len = u8::try_from(bytes.len()).unwrap();
        [&[place], &at.to_le_bytes()[..], &[len], bytes].concat()
    };
    let mbr = [change(0, 446 + 4, &[0x83]), change(0, 510, &[0x55, 0xaa])].concat();
    vec![
        ("blank", vec![0]),
        ("ours", vec![1]),
        ("mbr", [vec![0], mbr].concat()),
        ("ext4", [vec![0], change(2, 0x38, &[0x53, 0xef])].concat()),
        ("tail", [vec![0], change(10, 0, b"x")].concat()),
        ("backup-table", [vec![1], change(1, 0, b"x")].concat()),
        (
            "no-table",
            [vec![1], change(1, 0, b"x"), change(10, 0, b"x")].concat(),
        ),
        (
            "many-entries",
            [vec![3], change(1, 80, &[0xff; 8])].concat(),
        ),
        (
            "large-entries",
            [vec![3], change(1, 80, &[8, 0, 0, 0, 0, 4, 0, 0])].concat(),
        ),
        ("far-entries", [vec![3], change(1, 72, &[0xff; 8])].concat()),
        (
            "partition-moved",
            [vec![3], change(2, 128 + 32, &[0xff; 16])].concat(),
        ),
        (
            "renamed",
            [vec![3], change(2, 56, b"\0\xd8\0\xdcx\0")].concat(),
        ),
        (
            "next-slot",
            [vec![1], change(8, 24, b"slot=a\nnext=b\ntries=3\n")].concat(),
        ),
        ("preparing", [vec![1], change(0, 440, b"btd0")].concat()),
        ("boot-sector", [vec![1], change(7, 11, &[0; 80])].concat()),
    ]
}
