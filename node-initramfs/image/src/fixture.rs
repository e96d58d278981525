//! Small Debian packages, made by the tests themselves.

use tar::{EntryType, Header};

/// How the members of a package are compressed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Packing {
    Plain,
    Gz,
    Xz,
    Zst,
}

impl Packing {
    pub(crate) const ALL: [Packing; 4] = [Packing::Plain, Packing::Gz, Packing::Xz, Packing::Zst];

    fn suffix(self) -> &'static str {
        match self {
            Packing::Plain => "",
            Packing::Gz => ".gz",
            Packing::Xz => ".xz",
            Packing::Zst => ".zst",
        }
    }

    fn pack(self, bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        let read = |reader: &mut dyn std::io::Read, packed: &mut Vec<u8>| {
            reader.read_to_end(packed).unwrap();
        };
        match self {
            Packing::Plain => packed.extend(bytes),
            Packing::Gz => read(
                &mut flate2::bufread::GzEncoder::new(bytes, flate2::Compression::fast()),
                &mut packed,
            ),
            Packing::Xz => read(&mut liblzma::bufread::XzEncoder::new(bytes, 1), &mut packed),
            Packing::Zst => packed = zstd::encode_all(bytes, 1).unwrap(),
        }
        packed
    }
}

/// A package in the making.
pub(crate) struct DebBuilder {
    pub(crate) control: String,
    tar: tar::Builder<Vec<u8>>,
}

impl DebBuilder {
    pub(crate) fn new(package: &str) -> Self {
        DebBuilder {
            control: format!("Package: {package}\nVersion: 1.0-1\nArchitecture: amd64\n"),
            tar: tar::Builder::new(Vec::new()),
        }
    }

    /// Adds an entry with the path and the link target taken as they are, clean or not.
    pub(crate) fn raw(mut self, kind: EntryType, path: &str, link: &str, bytes: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..path.len()].copy_from_slice(path.as_bytes());
        gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Regular {
            0o644
        } else {
            0o755
        });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(bytes.len().try_into().unwrap());
        header.set_cksum();
        self.tar.append(&header, bytes).unwrap();
        self
    }

    /// Adds a regular file at a path such as `/usr/bin/true`.
    pub(crate) fn file(self, path: &str, bytes: &[u8]) -> Self {
        self.raw(EntryType::Regular, &format!(".{path}"), "", bytes)
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.raw(EntryType::Symlink, &format!(".{path}"), target, b"")
    }

    /// The bytes of `data.tar`.
    pub(crate) fn data(self) -> Vec<u8> {
        self.tar.into_inner().unwrap()
    }

    pub(crate) fn build(self, packing: Packing) -> Vec<u8> {
        let control = control_tar(&self.control);
        let suffix = packing.suffix();
        ar(&[
            ("debian-binary", b"2.0\n"),
            (&format!("control.tar{suffix}"), &packing.pack(&control)),
            (&format!("data.tar{suffix}"), &packing.pack(&self.data())),
        ])
    }
}

/// A `control.tar` with this control file.
pub(crate) fn control_tar(control: &str) -> Vec<u8> {
    DebBuilder::new("inner")
        .file("/control", control.as_bytes())
        .data()
}

/// An `ar` archive of these members.
pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = ar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let size = bytes.len().try_into().unwrap();
        let header = ar::Header::new(name.as_bytes().to_vec(), size);
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// An ELF file in the making: as much of one as the builder looks at.
#[derive(Default)]
pub(crate) struct ElfBuilder<'a> {
    /// Little-endian machine number; x86-64 if zero.
    pub(crate) machine: u16,
    pub(crate) interpreter: Option<&'a str>,
    pub(crate) needed: &'a [&'a str],
    pub(crate) modinfo: &'a str,
}

const EM_X86_64: u16 = 62;

impl ElfBuilder<'_> {
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut strings = vec![0];
        let mut dynamic = Vec::new();
        for library in self.needed {
            dynamic.extend(1_u64.to_le_bytes()); // DT_NEEDED
            dynamic.extend(u64::try_from(strings.len()).unwrap().to_le_bytes());
            strings.extend(library.bytes().chain([0]));
        }
        dynamic.extend([0; 16]); // DT_NULL
        let interpreter = self.interpreter.map(|path| format!("{path}\0"));
        let names = b"\0.dynstr\0.dynamic\0.modinfo\0.shstrtab\0";
        // Name, type and link of each section.
        let sections: [(u32, u32, u32, &[u8]); 5] = [
            (1, 3, 0, &strings),
            (9, 6, 1, &dynamic),
            (18, 1, 0, self.modinfo.as_bytes()),
            (27, 3, 0, names),
            (
                0,
                1,
                0,
                interpreter.as_deref().unwrap_or_default().as_bytes(),
            ),
        ];
        let [header_len, segment_len] = [64_u64, 56];
        let mut at = header_len + segment_len;
        let mut table = vec![0; 64];
        let mut content = Vec::new();
        let mut segment = vec![0; 56];
        for (name, kind, link, bytes) in sections {
            let size = u64::try_from(bytes.len()).unwrap();
            table.extend([name, kind].iter().flat_map(|field| field.to_le_bytes()));
            table.extend(
                [0, 0, at, size]
                    .iter()
                    .flat_map(|field| field.to_le_bytes()),
            );
            table.extend([link, 0].iter().flat_map(|field| field.to_le_bytes()));
            table.extend(
                [1_u64, if kind == 6 { 16 } else { 0 }]
                    .iter()
                    .flat_map(|f| f.to_le_bytes()),
            );
            if name == 0 && interpreter.is_some() {
                segment.clear();
                segment.extend([3_u32, 4].iter().flat_map(|field| field.to_le_bytes()));
                let fields = [at, 0, 0, size, size, 1];
                segment.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
            }
            content.extend(bytes);
            at += size;
        }
        let machine = if self.machine == 0 {
            EM_X86_64
        } else {
            self.machine
        };
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0".to_vec();
        elf.extend(machine.to_le_bytes());
        elf.extend(1_u32.to_le_bytes());
        elf.extend(
            [0, header_len, at]
                .iter()
                .flat_map(|field| field.to_le_bytes()),
        );
        elf.extend(0_u32.to_le_bytes());
        elf.extend(
            [64_u16, 56, 1, 64, 6, 4]
                .iter()
                .flat_map(|field| field.to_le_bytes()),
        );
        [elf, segment, content, table].concat()
    }
}

/// A kernel module with this `.modinfo` section.
pub(crate) fn elf_module(modinfo: &str) -> Vec<u8> {
    let elf = ElfBuilder {
        modinfo,
        ..ElfBuilder::default()
    };
    elf.build()
}

/// The section that marks systemd's stub.
pub(crate) const STUB_MAGIC: &str = ".sdmagic";

/// An EFI stub with two sections, the second one called `magic`.
pub(crate) fn stub(magic: &str) -> Vec<u8> {
    let mut bytes = vec![0; 2048];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, b"MZ");
    put(0x3c, &[0x80]);
    put(0x80, b"PE\0\0");
    let coff = 0x84;
    put(coff, &0x8664_u16.to_le_bytes());
    put(coff + 2, &2_u16.to_le_bytes());
    put(coff + 16, &240_u16.to_le_bytes());
    let optional = coff + 20;
    for (at, value) in [
        (0, 0x20b),      // PE32+
        (8, 512),        // initialized data
        (32, 0x1000),    // section alignment
        (36, 512),       // file alignment
        (56, 0x6000),    // image
        (60, 1024),      // headers
        (64, 0x12_3456), // checksum
        (108, 16),       // data directories
    ] {
        put(optional + at, &u32::to_le_bytes(value));
    }
    let table = optional + 240;
    for (index, (name, size, address, offset)) in
        [(".text", 16, 0x4000, 1024), (magic, 52, 0x5000, 1536)]
            .into_iter()
            .enumerate()
    {
        let at = table + index * 40;
        put(at, name.as_bytes());
        for (field, value) in [size, address, 512, offset].into_iter().enumerate() {
            put(at + 8 + field * 4, &u32::to_le_bytes(value));
        }
    }
    bytes
}
