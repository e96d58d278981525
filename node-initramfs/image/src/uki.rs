//! Assembles unified kernel images: systemd's EFI stub with four sections appended
//! (UAPI Group Specification 5; Microsoft PE Format).

use bootd_protocol::uki::{HEAD_LEN, Uki, UkiError};
use object::LittleEndian as LE;
use object::pe::{
    IMAGE_DIRECTORY_ENTRY_SECURITY, IMAGE_SCN_CNT_INITIALIZED_DATA, IMAGE_SCN_MEM_READ,
    ImageSectionHeader,
};
use object::read::pe::PeFile64;
use object::{Object as _, ObjectSection as _, U16, U32};

/// Why a boot image could not be assembled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// The stub is no program that a part could be appended to.
    #[error("EFI stub: {0}")]
    Stub(String),
    /// A part is empty, or the whole is larger than the format can say.
    #[error("boot image: section {0} is empty or too large")]
    Size(&'static str),
    /// What was assembled does not read back. A defect of this program.
    #[error("boot image does not read back: {0}")]
    Check(String),
}

impl From<UkiError> for AssembleError {
    fn from(error: UkiError) -> Self {
        AssembleError::Check(error.to_string())
    }
}

/// The parts of a boot image.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// What it is, in the format of `os-release(5)`.
    pub osrel: &'a [u8],
    /// The kernel's command line.
    pub cmdline: &'a [u8],
    /// The initramfs.
    pub initrd: &'a [u8],
    /// The kernel.
    pub linux: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Names and contents, in the order of the file.
    fn sections(&self) -> [(&'static str, &'a [u8]); 4] {
        [
            (".osrel", self.osrel),
            (".cmdline", self.cmdline),
            (".initrd", self.initrd),
            (".linux", self.linux),
        ]
    }
}

/// Sections are loaded at multiples of this, whatever the stub's own alignment: the kernel's
/// and the initramfs's pages shall be theirs alone.
const PAGE: u32 = 4096;

/// Microsoft PE Format, "Optional Header Windows-Specific Fields": `FileAlignment` is at most
/// 64 KiB. What is in the file is padded to it, so it must not be anything.
const MOST_FILE_ALIGNMENT: u32 = 64 << 10;

/// What systemd's stub says of itself, before its version: in the section `.sdmagic`, or on
/// aarch64, where the stub has two sections only, behind the last of them.
const MAGIC: &[u8] = b"#### LoaderInfo: systemd-stub ";

/// Appends `parts` to `stub`. The same input gives the same bytes; the result is read back
/// and compared before it is returned.
///
/// # Errors
/// The stub is not systemd's, is signed, or has no room in its headers; a part is empty or too
/// large.
pub fn assemble(stub: &[u8], parts: &Parts<'_>) -> Result<Vec<u8>, AssembleError> {
    let layout = Layout::of(stub)?;
    let mut image = stub.to_vec();
    let mut headers = Vec::new();
    let mut address = layout.image_end;
    let mut data_len = layout.initialized_data;
    for (name, content) in parts.sections() {
        let too_large = || AssembleError::Size(name);
        let size = u32::try_from(content.len()).map_err(|_| too_large())?;
        if size == 0 {
            return Err(too_large());
        }
        pad(&mut image, layout.file_alignment)?;
        let offset = u32::try_from(image.len()).map_err(|_| too_large())?;
        image.extend(content);
        pad(&mut image, layout.file_alignment)?;
        let end = u32::try_from(image.len()).map_err(|_| too_large())?;
        address = align(address, PAGE.max(layout.section_alignment)).ok_or_else(too_large)?;
        headers.push(section_header(name, size, address, end - offset, offset));
        address = address.checked_add(size).ok_or_else(too_large)?;
        data_len = data_len.checked_add(end - offset).ok_or_else(too_large)?;
    }
    let image_len =
        align(address, layout.section_alignment).ok_or(AssembleError::Size(".linux"))?;
    layout.patch(&mut image, &headers, image_len, data_len)?;
    check(&image, parts)?;
    Ok(image)
}

/// What the stub's headers say, and where they say it.
struct Layout {
    /// Offset of the COFF header, in bytes.
    coff: usize,
    /// Offset of the optional header, in bytes.
    optional: usize,
    /// Offset behind the last section header, in bytes.
    table_end: usize,
    /// Length of all headers, in bytes.
    headers_len: usize,
    sections: u16,
    section_alignment: u32,
    file_alignment: u32,
    initialized_data: u32,
    /// Address behind the last section.
    image_end: u32,
}

impl Layout {
    fn of(stub: &[u8]) -> Result<Self, AssembleError> {
        let refuse = |reason: &str| AssembleError::Stub(reason.to_owned());
        let pe = PeFile64::parse(stub).map_err(|error| AssembleError::Stub(error.to_string()))?;
        let marked = pe.section_by_name(".sdmagic").is_some();
        if !marked && !stub.windows(MAGIC.len()).any(|window| window == MAGIC) {
            return Err(refuse("is not systemd's: does not say so"));
        }
        if pe.data_directory(IMAGE_DIRECTORY_ENTRY_SECURITY).is_some() {
            return Err(refuse("is signed: sections would break the signature"));
        }
        let nt = pe.nt_headers();
        let header = &nt.optional_header;
        let to_usize = |value: u32| usize::try_from(value).map_err(|_| refuse("is too large"));
        let coff = to_usize(pe.dos_header().nt_headers_offset())? + 4;
        let optional = coff + 20;
        let sections = nt.file_header.number_of_sections.get(LE);
        let table = optional + usize::from(nt.file_header.size_of_optional_header.get(LE));
        let mut sections_end = pe.section_table().iter().map(|section| {
            let address = section.virtual_address.get(LE);
            address.checked_add(section.virtual_size.get(LE))
        });
        let image_end = sections_end.try_fold(0, |end, section| Some(section?.max(end)));
        Ok(Layout {
            coff,
            optional,
            table_end: table + usize::from(sections) * SECTION_HEADER,
            headers_len: to_usize(header.size_of_headers.get(LE))?,
            sections,
            section_alignment: alignment(header.section_alignment.get(LE), u32::MAX)?,
            file_alignment: alignment(header.file_alignment.get(LE), MOST_FILE_ALIGNMENT)?,
            initialized_data: header.size_of_initialized_data.get(LE),
            image_end: image_end.ok_or_else(|| refuse("has a section out of range"))?,
        })
    }

    /// Writes the new section headers behind the old ones, and the sums that change.
    fn patch(
        &self,
        image: &mut [u8],
        headers: &[ImageSectionHeader],
        image_len: u32,
        data_len: u32,
    ) -> Result<(), AssembleError> {
        let no_room = || AssembleError::Stub("has no room for more section headers".to_owned());
        let new = object::pod::bytes_of_slice(headers);
        let end = self.table_end + new.len();
        let room = image.get_mut(self.table_end..end).ok_or_else(no_room)?;
        if end > self.headers_len || !is_padding(room) {
            return Err(no_room());
        }
        room.copy_from_slice(new);
        let added = u16::try_from(headers.len()).map_err(|_| no_room())?;
        let sections = self.sections.checked_add(added).ok_or_else(no_room)?;
        for (at, bytes) in [
            (self.coff + 2, &sections.to_le_bytes()[..]),
            (self.optional + 8, &data_len.to_le_bytes()[..]),
            (self.optional + 56, &image_len.to_le_bytes()[..]),
            // CheckSum: firmware does not look at it; zero says there is none.
            (self.optional + 64, &[0; 4][..]),
        ] {
            let field = image.get_mut(at..at + bytes.len()).ok_or_else(no_room)?;
            field.copy_from_slice(bytes);
        }
        Ok(())
    }
}

/// Whether an assembler or a linker filled this, with zeros or, on aarch64, with instructions
/// that do nothing.
fn is_padding(bytes: &[u8]) -> bool {
    const NOP: [u8; 4] = 0xd503_201f_u32.to_le_bytes();
    bytes.iter().all(|byte| *byte == 0) || bytes.chunks(4).all(|word| word == NOP)
}

/// Length of a section header.
const SECTION_HEADER: usize = size_of::<ImageSectionHeader>();

fn section_header(
    name: &str,
    size: u32,
    address: u32,
    raw_size: u32,
    offset: u32,
) -> ImageSectionHeader {
    let mut padded = [0; 8];
    for (to, from) in padded.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    ImageSectionHeader {
        name: padded,
        virtual_size: U32::new(LE, size),
        virtual_address: U32::new(LE, address),
        size_of_raw_data: U32::new(LE, raw_size),
        pointer_to_raw_data: U32::new(LE, offset),
        pointer_to_relocations: U32::default(),
        pointer_to_linenumbers: U32::default(),
        number_of_relocations: U16::default(),
        number_of_linenumbers: U16::default(),
        characteristics: U32::new(LE, IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ),
    }
}

fn alignment(value: u32, most: u32) -> Result<u32, AssembleError> {
    if value.is_power_of_two() && value <= most {
        return Ok(value);
    }
    Err(AssembleError::Stub(format!("has the alignment {value}")))
}

fn align(value: u32, alignment: u32) -> Option<u32> {
    value.checked_next_multiple_of(alignment)
}

fn pad(image: &mut Vec<u8>, alignment: u32) -> Result<(), AssembleError> {
    let alignment = usize::try_from(alignment)
        .map_err(|_| AssembleError::Stub("has an alignment out of range".to_owned()))?;
    image.resize(image.len().next_multiple_of(alignment), 0);
    Ok(())
}

/// Reads the image back: with `object`, as firmware would, and as the master does.
fn check(image: &[u8], parts: &Parts<'_>) -> Result<(), AssembleError> {
    let wrong = |reason: String| Err(AssembleError::Check(reason));
    let pe = match PeFile64::parse(image) {
        Ok(pe) => pe,
        Err(error) => return wrong(error.to_string()),
    };
    for (name, content) in parts.sections() {
        let section = pe.section_by_name(name);
        if section.and_then(|section| section.data().ok()) != Some(content) {
            return wrong(format!("section {name} holds something else"));
        }
    }
    let mut end = 0;
    for section in pe.section_table().iter() {
        let start = section.virtual_address.get(LE);
        if start < end {
            return wrong("sections overlap".to_owned());
        }
        end = start + section.virtual_size.get(LE);
    }
    if end > pe.nt_headers().optional_header.size_of_image.get(LE) {
        return wrong("a section stands outside of the image".to_owned());
    }
    let head = image.get(..HEAD_LEN).unwrap_or(image);
    let len = u64::try_from(image.len()).unwrap_or(u64::MAX);
    let uki = Uki::parse(head, len)?;
    for (section, (name, content)) in [uki.osrel, uki.cmdline, uki.initrd, uki.linux]
        .into_iter()
        .zip(parts.sections())
    {
        let start = usize::try_from(section.offset).unwrap_or(usize::MAX);
        let found = image
            .get(start..)
            .and_then(|rest| rest.get(..content.len()));
        if section.name != name || found != Some(content) {
            return wrong(format!("section {name} is not where it should be"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
