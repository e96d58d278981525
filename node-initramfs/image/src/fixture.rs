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
