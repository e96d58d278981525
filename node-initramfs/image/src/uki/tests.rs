use super::*;
use crate::fixture::{STUB_MAGIC, stub};

fn parts() -> Parts<'static> {
    Parts {
        osrel: b"ID=test\n",
        cmdline: b"quiet",
        initrd: &[7; 5000],
        linux: &[9; 10_000],
    }
}

#[test]
fn appends_four_sections() {
    let image = assemble(&stub(STUB_MAGIC), &parts()).unwrap();
    assert_eq!(image, assemble(&stub(STUB_MAGIC), &parts()).unwrap());

    let pe = PeFile64::parse(image.as_slice()).unwrap();
    let sections: Vec<_> = pe
        .sections()
        .map(|section| {
            (
                section.name().unwrap().to_owned(),
                section.address(),
                section.size(),
            )
        })
        .collect();
    let expected = [
        (".text", 0x4000, 16),
        (".sdmagic", 0x5000, 52),
        (".osrel", 0x6000, 8),
        (".cmdline", 0x7000, 5),
        (".initrd", 0x8000, 5000),
        (".linux", 0xa000, 10_000),
    ];
    assert_eq!(
        sections,
        expected.map(|(name, address, size)| (name.to_owned(), address, size))
    );
    let header = &pe.nt_headers().optional_header;
    assert_eq!(header.size_of_image.get(LE), 0xd000);
    assert_eq!(
        header.size_of_initialized_data.get(LE),
        512 * (1 + 1 + 1 + 10 + 20)
    );
    assert_eq!(image.len() % 512, 0);
}

/// What is peculiar to systemd's stub for aarch64: text marks it, no section, and instructions
/// that do nothing stand where new headers go.
#[test]
fn knows_the_stub_for_aarch64() {
    let mut plain = stub(".data");
    plain[1536..1536 + MAGIC.len()].copy_from_slice(MAGIC);
    let mut padded = plain.clone();
    let table_end = 0x80 + 4 + 20 + 240 + 2 * SECTION_HEADER;
    for word in padded[table_end..1024].chunks_exact_mut(4) {
        word.copy_from_slice(&[0x1f, 0x20, 0x03, 0xd5]);
    }
    let image = assemble(&padded, &parts()).unwrap();
    let other = assemble(&plain, &parts()).unwrap();
    let new_end = table_end + 4 * SECTION_HEADER;
    assert_eq!(image[..new_end], other[..new_end]);
    assert_eq!(image[new_end..1024], padded[new_end..1024]);
    assert_eq!(image[1024..], other[1024..]);

    padded[table_end + 4] = 0;
    let error = assemble(&padded, &parts()).unwrap_err().to_string();
    assert_eq!(error, "EFI stub: has no room for more section headers");
}

#[test]
fn refuses_stubs_it_does_not_know() {
    let error = |stub: &[u8]| assemble(stub, &parts()).unwrap_err().to_string();
    assert_eq!(
        error(&stub(".other")),
        "EFI stub: is not systemd's: does not say so"
    );
    assert!(error(b"MZ").starts_with("EFI stub: "));
    let whole = stub(STUB_MAGIC);

    // The table's security directory says where a signature stands.
    let optional = 0x80 + 4 + 20;
    let mut signed = whole.clone();
    signed[optional + 112 + 4 * 8] = 1;
    assert_eq!(
        error(&signed),
        "EFI stub: is signed: sections would break the signature"
    );
    let mut full = whole.clone();
    full[optional + 240 + 3 * SECTION_HEADER] = 1;
    assert_eq!(
        error(&full),
        "EFI stub: has no room for more section headers"
    );
    let mut odd = whole;
    for alignment in [3_u32, 128 << 10] {
        odd[optional + 36..optional + 40].copy_from_slice(&alignment.to_le_bytes());
        let expected = format!("EFI stub: has the alignment {alignment}");
        assert_eq!(error(&odd), expected);
    }
}

#[test]
fn refuses_empty_parts() {
    let parts = Parts {
        cmdline: b"",
        ..parts()
    };
    assert_eq!(
        assemble(&stub(STUB_MAGIC), &parts),
        Err(AssembleError::Size(".cmdline"))
    );
}
