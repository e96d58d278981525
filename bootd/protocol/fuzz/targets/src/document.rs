//! Documents and tables: what is read holds together, and is written as it was.

use boot_image::uki::{Parts, assemble};
use bootd_protocol::digest::Digest;
use bootd_protocol::manifest::{Manifest, is_clean_path};
use bootd_protocol::modindex::Index;
use bootd_protocol::smbios;
use bootd_protocol::uki::Uki;
use node_initramfs::{modules, rtnetlink};

use crate::input::Input;

pub(crate) fn manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::from_bytes(data, Digest::of(data)) else {
        return;
    };
    assert!(manifest.files.iter().all(|file| is_clean_path(&file.path)));
    let _ = manifest.blobs().count();
    let bytes = manifest.to_bytes();
    let bytes = bytes.unwrap_or_else(|error| panic!("written again: {error}"));
    let again = Manifest::from_bytes(&bytes, Digest::of(&bytes));
    let again = again.unwrap_or_else(|error| panic!("read again: {error}"));
    assert_eq!(again, manifest);
}

pub(crate) fn uki(data: &[u8]) {
    let whole = u64::try_from(data.len()).unwrap_or(u64::MAX);
    for file_len in [whole, 1 << 33] {
        let Ok(uki) = Uki::parse(data, file_len) else {
            continue;
        };
        for section in [uki.linux, uki.initrd, uki.cmdline, uki.osrel] {
            let end = section.offset.checked_add(section.size);
            assert!(end.is_some_and(|end| end <= file_len), "{section:?}");
        }
    }
}

pub(crate) fn uki_stub(data: &[u8]) {
    let parts = Parts {
        osrel: b"ID=test\n",
        cmdline: b"quiet",
        initrd: b"initrd",
        linux: b"linux",
    };
    let Ok(image) = assemble(data, &parts) else {
        return;
    };
    // Four parts, each at its alignment, and the end at its own.
    assert!(image.len() <= data.len() + 8 * 64 * 1024, "it has grown");
    let len = u64::try_from(image.len()).unwrap_or(u64::MAX);
    let uki = Uki::parse(&image, len);
    let uki = uki.unwrap_or_else(|error| panic!("our own image: {error}"));
    for (section, expected) in [
        (uki.osrel, "ID=test\n"),
        (uki.cmdline, "quiet"),
        (uki.initrd, "initrd"),
        (uki.linux, "linux"),
    ] {
        let start = usize::try_from(section.offset).unwrap_or(usize::MAX);
        let found = image.get(start..).unwrap_or_default();
        assert!(found.starts_with(expected.as_bytes()), "{section:?}");
    }
}

pub(crate) fn module_index(data: &[u8]) {
    let mut input = Input::new(data);
    let modalias = String::from_utf8_lossy(input.piece()).into_owned();
    let text = String::from_utf8_lossy(input.rest()).into_owned();
    let Ok(index) = Index::parse(&text) else {
        return;
    };
    for (at, module) in index.modules().iter().enumerate() {
        assert!(module.depends.iter().all(|depends| *depends < at));
        let climbs = module.file.split('/').any(|part| part == "..");
        assert!(!climbs && !module.file.starts_with('/'), "{}", module.file);
    }
    let again = index.to_string();
    assert_eq!(Index::parse(&again).as_ref(), Ok(&index));
    let planned = modules::plan(&index, &[modalias], &["virtio_net"], &[]);
    assert!(planned.len() <= index.modules().len());
}

pub(crate) fn smbios(data: &[u8]) {
    let slot = smbios::slot(data);
    assert_eq!(smbios::meant(slot), slot);
    let is_there = |it: &[u8]| it == slot.as_bytes();
    assert!(slot.is_empty() || data.windows(slot.len()).any(is_there));
    let text = String::from_utf8_lossy(data);
    let meant = smbios::meant(&text);
    assert!(text.contains(meant));
    assert_eq!(smbios::meant(meant), meant);
}

pub(crate) fn rtnetlink(data: &[u8]) {
    let _ = rtnetlink::acknowledged(data);
}
