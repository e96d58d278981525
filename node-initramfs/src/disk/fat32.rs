//! A FAT32 volume whose files are laid out once, contiguously and at a fixed capacity
//! (Microsoft's "FAT: General Overview of On-Disk Format", 1.03).
//!
//! The same paths and capacities give the same bytes. A file's chain always spans its whole
//! capacity, so a change of contents touches the file's own clusters and the one directory sector
//! that holds its size. Drivers read by the size; only `fsck.vfat` remarks that the chain is longer.

use super::{SECTOR, SECTOR_U64};

const CLUSTER: usize = 8 * SECTOR;
const CLUSTER_U64: u64 = 8 * SECTOR_U64;
const SECTORS_PER_CLUSTER: u64 = 8;

/// Bytes of one directory entry.
const ENTRY: usize = 32;

/// Fewer clusters make it FAT16, by the specification's count.
const MIN_CLUSTERS: u64 = 65_525;

/// More do not fit in 28 bits.
const MAX_CLUSTERS: u64 = 0x0fff_fff5;

const ATTRIBUTE_LABEL: u8 = 0x08;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
const ATTRIBUTE_ARCHIVE: u8 = 0x20;

/// The chain's end.
const END: u32 = 0x0fff_ffff;

/// 1980-01-01, the first day that FAT knows.
const DATE: [u8; 2] = [0x21, 0x00];

/// Why a volume cannot be laid out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FatError {
    /// A name that does not fit 8.3, or mixes cases within its base or its extension.
    #[error("{path:?} holds a name that is not 8.3 of one case")]
    BadName {
        /// The whole path.
        path: String,
    },
    /// The files do not fit, or the volume has too few or too many clusters for FAT32.
    #[error("a FAT32 volume of {bytes} bytes cannot hold {needed} bytes in clusters")]
    BadSize {
        /// The volume's size in bytes.
        bytes: u64,
        /// The files' and directories' clusters in bytes.
        needed: u64,
    },
    /// A directory with more entries than one cluster holds.
    #[error("the directory of {path:?} has too many entries")]
    TooManyEntries {
        /// The path that did not fit.
        path: String,
    },
}

/// A file to lay out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSpec {
    /// Absolute, such as `/bootd/grubenv`; directories are made as needed.
    pub path: String,
    /// Room in bytes; rounded up to whole clusters of 4 KiB.
    pub capacity: u64,
}

/// Where a file is. Offsets are in bytes from the volume's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path, as in [`FileSpec`].
    pub path: String,
    /// Where its contents start.
    pub offset: u64,
    /// Room in bytes, whole clusters.
    pub capacity: u64,
    directory: usize,
    entry: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Directory {
    path: String,
    cluster: u32,
    bytes: Vec<u8>,
    used: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Geometry {
    sectors: u32,
    reserved: u16,
    fat_sectors: u32,
    clusters: u32,
    volume_id: [u8; 4],
}

/// A volume laid out: all of it but the files' contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    geometry: Geometry,
    label: [u8; 11],
    directories: Vec<Directory>,
    files: Vec<File>,
    /// First cluster and number of clusters of every directory and file, in order.
    chains: Vec<(u32, u32)>,
}

impl Volume {
    /// Lays out `files` in a volume of `bytes` bytes; all sizes are 0.
    ///
    /// # Errors
    /// See [`FatError`].
    pub fn new(
        bytes: u64,
        volume_id: [u8; 4],
        label: &[u8; 11],
        files: &[FileSpec],
    ) -> Result<Self, FatError> {
        let needed = files.iter().map(|file| file.capacity).sum();
        let too_big = FatError::BadSize { bytes, needed };
        let geometry = Geometry::new(bytes, volume_id).ok_or(too_big.clone())?;
        let mut volume = Volume {
            geometry,
            label: *label,
            directories: Vec::new(),
            files: Vec::new(),
            chains: Vec::new(),
        };
        volume.add_root().ok_or(too_big.clone())?;
        for file in files {
            volume.add_parents(&file.path, &too_big)?;
        }
        for file in files {
            volume.add_file(file, &too_big)?;
        }
        Ok(volume)
    }

    /// The file with this path.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Every file, in the order given.
    #[must_use]
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// Sets a file's size in bytes. It must fit, and the file must be of this volume.
    pub fn set_size(&mut self, file: &File, size: u32) {
        let entry = &mut self.directories[file.directory].bytes[file.entry..file.entry + ENTRY];
        entry[28..32].copy_from_slice(&size.to_le_bytes());
    }

    /// The sector with a file's directory entry: its offset in bytes, and its bytes.
    #[must_use]
    pub fn entry_sector(&self, file: &File) -> (u64, [u8; SECTOR]) {
        let directory = &self.directories[file.directory];
        let start = file.entry - file.entry % SECTOR;
        let mut sector = [0; SECTOR];
        sector.copy_from_slice(&directory.bytes[start..start + SECTOR]);
        let within = u64::try_from(start).unwrap_or_default();
        (
            self.geometry.cluster_offset(directory.cluster) + within,
            sector,
        )
    }

    /// A file's size in bytes, from the sector that [`Volume::entry_sector`] places.
    #[must_use]
    pub fn size_in(file: &File, sector: &[u8; SECTOR]) -> u32 {
        let at = file.entry % SECTOR + 28;
        u32::from_le_bytes([sector[at], sector[at + 1], sector[at + 2], sector[at + 3]])
    }

    /// The first sector: without it there is no volume.
    #[must_use]
    pub fn boot_sector(&self) -> [u8; SECTOR] {
        self.geometry.boot_sector(&self.label)
    }

    /// All metadata but the first sector: (offset in bytes, bytes).
    #[must_use]
    pub fn metadata(&self) -> Vec<(u64, Vec<u8>)> {
        let info = self.info_sector().to_vec();
        let fat = self.fat();
        let first_fat = u64::from(self.geometry.reserved) * SECTOR_U64;
        let second_fat = first_fat + u64::from(self.geometry.fat_sectors) * SECTOR_U64;
        let mut extents = vec![
            (SECTOR_U64, info.clone()),
            (6 * SECTOR_U64, self.boot_sector().to_vec()),
            (7 * SECTOR_U64, info),
            (first_fat, fat.clone()),
            (second_fat, fat),
        ];
        let directories = self.directories.iter();
        extents.extend(directories.map(|directory| {
            let offset = self.geometry.cluster_offset(directory.cluster);
            (offset, directory.bytes.clone())
        }));
        extents
    }

    fn next_cluster(&self) -> u32 {
        self.chains.last().map_or(2, |(first, count)| first + count)
    }

    /// Takes the next `count` clusters.
    fn allocate(&mut self, count: u64) -> Option<u32> {
        let first = self.next_cluster();
        let count = u32::try_from(count).ok()?;
        let last = first.checked_add(count)?.checked_sub(1)?;
        self.chains.push((first, count));
        (last < self.geometry.clusters + 2).then_some(first)
    }

    fn add_root(&mut self) -> Option<()> {
        let cluster = self.allocate(1)?;
        let mut root = Directory::new("", cluster);
        let label = self.label;
        root.push(entry(label, 0, ATTRIBUTE_LABEL, 0))?;
        self.directories.push(root);
        Some(())
    }

    fn add_parents(&mut self, path: &str, too_big: &FatError) -> Result<(), FatError> {
        let slashes = path.match_indices('/').map(|(index, _)| index).skip(1);
        for end in slashes {
            if self.directory(&path[..end]).is_none() {
                self.add_directory(&path[..end], too_big)?;
            }
        }
        Ok(())
    }

    fn add_directory(&mut self, path: &str, too_big: &FatError) -> Result<(), FatError> {
        let cluster = self.allocate(1).ok_or(too_big.clone())?;
        let (parent, _) = self.add_entry(path, ATTRIBUTE_DIRECTORY, cluster)?;
        // `..` of what lies in the root says 0, not the root's cluster.
        let above = if parent == 0 {
            0
        } else {
            self.directories[parent].cluster
        };
        let mut directory = Directory::new(path, cluster);
        directory.push(entry(*b".          ", 0, ATTRIBUTE_DIRECTORY, cluster));
        directory.push(entry(*b"..         ", 0, ATTRIBUTE_DIRECTORY, above));
        self.directories.push(directory);
        Ok(())
    }

    fn add_file(&mut self, spec: &FileSpec, too_big: &FatError) -> Result<(), FatError> {
        let clusters = spec.capacity.div_ceil(CLUSTER_U64).max(1);
        let cluster = self.allocate(clusters).ok_or(too_big.clone())?;
        let (directory, entry) = self.add_entry(&spec.path, ATTRIBUTE_ARCHIVE, cluster)?;
        self.files.push(File {
            path: spec.path.clone(),
            offset: self.geometry.cluster_offset(cluster),
            capacity: clusters * CLUSTER_U64,
            directory,
            entry,
        });
        Ok(())
    }

    /// Adds an entry to the directory above `path`: that directory, and the entry's offset in it.
    fn add_entry(
        &mut self,
        path: &str,
        attributes: u8,
        cluster: u32,
    ) -> Result<(usize, usize), FatError> {
        let bad_name = || FatError::BadName {
            path: path.to_owned(),
        };
        let (above, name) = path.rsplit_once('/').ok_or_else(bad_name)?;
        let (short, case) = short_name(name).ok_or_else(bad_name)?;
        let parent = self.directory(above).ok_or_else(bad_name)?;
        let place = self.directories[parent].push(entry(short, case, attributes, cluster));
        let place = place.ok_or_else(|| FatError::TooManyEntries {
            path: path.to_owned(),
        })?;
        Ok((parent, place))
    }

    fn directory(&self, path: &str) -> Option<usize> {
        self.directories.iter().position(|it| it.path == path)
    }

    fn fat(&self) -> Vec<u8> {
        let mut words = vec![0x0fff_fff8, END];
        for (first, count) in &self.chains {
            words.extend(first + 1..first + count);
            words.push(END);
        }
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        let length = u64::from(self.geometry.fat_sectors) * SECTOR_U64;
        bytes.resize(usize::try_from(length).unwrap_or(bytes.len()), 0);
        bytes
    }

    /// FSInfo (section 5 of the specification).
    fn info_sector(&self) -> [u8; SECTOR] {
        let next = self.next_cluster();
        let free = self.geometry.clusters + 2 - next;
        let mut sector = [0; SECTOR];
        sector[..4].copy_from_slice(b"RRaA");
        sector[484..488].copy_from_slice(b"rrAa");
        sector[488..492].copy_from_slice(&free.to_le_bytes());
        sector[492..496].copy_from_slice(&next.to_le_bytes());
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }
}

impl Directory {
    fn new(path: &str, cluster: u32) -> Self {
        Directory {
            path: path.to_owned(),
            cluster,
            bytes: vec![0; CLUSTER],
            used: 0,
        }
    }

    /// Adds an entry and says at which offset; the last entry stays free, as the end mark.
    fn push(&mut self, entry: [u8; ENTRY]) -> Option<usize> {
        let place = self.used;
        if place + 2 * ENTRY > CLUSTER {
            return None;
        }
        self.bytes[place..place + ENTRY].copy_from_slice(&entry);
        self.used += ENTRY;
        Some(place)
    }
}

impl Geometry {
    /// Sizes the FATs as in section 3.5 of the specification; then more reserved sectors
    /// put the clusters on 4 KiB boundaries.
    fn new(bytes: u64, volume_id: [u8; 4]) -> Option<Self> {
        let sectors = u32::try_from(bytes / SECTOR_U64).ok()?;
        let fat_sectors =
            u64::from(sectors.checked_sub(32)?).div_ceil((256 * SECTORS_PER_CLUSTER + 2) / 2);
        let reserved = (32 + 2 * fat_sectors).next_multiple_of(8) - 2 * fat_sectors;
        let clusters =
            (u64::from(sectors).checked_sub(reserved + 2 * fat_sectors)?) / SECTORS_PER_CLUSTER;
        (MIN_CLUSTERS..=MAX_CLUSTERS)
            .contains(&clusters)
            .then_some(())?;
        Some(Geometry {
            sectors,
            reserved: u16::try_from(reserved).ok()?,
            fat_sectors: u32::try_from(fat_sectors).ok()?,
            clusters: u32::try_from(clusters).ok()?,
            volume_id,
        })
    }

    fn cluster_offset(&self, cluster: u32) -> u64 {
        let before = u64::from(self.reserved) + 2 * u64::from(self.fat_sectors);
        before * SECTOR_U64 + u64::from(cluster - 2) * CLUSTER_U64
    }

    fn boot_sector(&self, label: &[u8; 11]) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        // `jmp $+0x5a`, to a halt: nobody starts from here.
        sector[..3].copy_from_slice(&[0xeb, 0x58, 0x90]);
        sector[3..11].copy_from_slice(b"BOOTD   ");
        sector[11..13].copy_from_slice(&[0x00, 0x02]);
        sector[13] = 8;
        sector[14..16].copy_from_slice(&self.reserved.to_le_bytes());
        sector[16] = 2;
        sector[21] = 0xf8;
        sector[24..26].copy_from_slice(&63u16.to_le_bytes());
        sector[26..28].copy_from_slice(&255u16.to_le_bytes());
        sector[32..36].copy_from_slice(&self.sectors.to_le_bytes());
        sector[36..40].copy_from_slice(&self.fat_sectors.to_le_bytes());
        sector[44] = 2;
        sector[48] = 1;
        sector[50] = 6;
        sector[64] = 0x80;
        sector[66] = 0x29;
        sector[67..71].copy_from_slice(&self.volume_id);
        sector[71..82].copy_from_slice(label);
        sector[82..90].copy_from_slice(b"FAT32   ");
        sector[90..93].copy_from_slice(&[0xf4, 0xeb, 0xfd]);
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }
}

fn entry(name: [u8; 11], case: u8, attributes: u8, cluster: u32) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    let [c0, c1, c2, c3] = cluster.to_le_bytes();
    entry[..11].copy_from_slice(&name);
    entry[11] = attributes;
    entry[12] = case;
    for date in [16, 18, 24] {
        entry[date..date + 2].copy_from_slice(&DATE);
    }
    entry[20..22].copy_from_slice(&[c2, c3]);
    entry[26..28].copy_from_slice(&[c0, c1]);
    entry
}

/// The 11 bytes of a short name, and Windows NT's case bits (8: lower base, 16: lower extension),
/// which Linux, mtools and EDK2 honour.
fn short_name(name: &str) -> Option<([u8; 11], u8)> {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let mut short = [b' '; 11];
    let base_lower = short_part(base, &mut short[..8])?;
    let extension_lower = short_part(extension, &mut short[8..])?;
    let case = u8::from(base_lower) << 3 | u8::from(extension_lower) << 4;
    (!base.is_empty()).then_some((short, case))
}

/// Fills in one part in upper case; whether it was lower.
fn short_part(part: &str, place: &mut [u8]) -> Option<bool> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let lower = part.bytes().any(|byte| byte.is_ascii_lowercase());
    let upper = part.bytes().any(|byte| byte.is_ascii_uppercase());
    if part.len() > place.len() || !part.bytes().all(good) || lower && upper {
        return None;
    }
    for (byte, letter) in place.iter_mut().zip(part.bytes()) {
        *byte = letter.to_ascii_uppercase();
    }
    Some(lower)
}

#[cfg(test)]
#[path = "fat32_tests.rs"]
mod tests;
