//! Puts a composite into a catalog: all of it or nothing.
//!
//! Blobs go first, each checked; they can come again, so a cut costs only what was half written.
//! Then every row in one transaction: until its commit nothing of the release is there.

use std::io::{self, Read};
use std::path::Path;

use bootd_protocol::digest::Digest;
use bootd_protocol::manifest::BlobRef;

use super::archive::{Archive, ArchiveError, Believed};
use super::commit;
use crate::blobs::{BlobError, BlobWriter};
use crate::error::Error;
use crate::store::Catalog;

/// Why a composite was not installed. Nothing of it is in force then.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The composite is not accepted.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Its modules cannot be stored.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Its rows cannot be written.
    #[error(transparent)]
    Catalog(#[from] Error),
}

/// What became of one thing in a composite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was not in the catalog.
    New,
    /// It was there, and different.
    Changed,
    /// It was there just so.
    Same,
}

/// One thing in a composite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// `package`, `class` …
    pub kind: &'static str,
    /// Its name, with version and architecture where it has them.
    pub name: String,
    /// What became of it.
    pub change: Change,
}

/// What an installation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Name and version of the release.
    pub release: (String, String),
    /// Digest of its description.
    pub digest: Digest,
    /// Name of the trusted key that signed it.
    pub signer: String,
    /// What was in it, in its order.
    pub items: Vec<Item>,
    /// Modules that were not in the store: number and bytes.
    pub stored: (u64, u64),
    /// Modules that were: number and bytes.
    pub present: (u64, u64),
}

/// Sees an installation go on: bytes done and bytes in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

impl Catalog {
    /// Installs the composite in the file `path`.
    ///
    /// # Errors
    /// A composite that is not accepted, a store or catalog that cannot be written; nothing of
    /// it is in force then, and doing it again goes on where it ended.
    pub fn install(&mut self, path: &Path, progress: Progress<'_>) -> Result<Report, InstallError> {
        let mut archive = Archive::open(path)?;
        let believed = archive.believe(&self.trusted_keys()?)?;
        let writer = self.blobs().writer()?;
        let mut report = Report {
            release: (
                believed.composite.name.clone(),
                believed.composite.version.clone(),
            ),
            digest: believed.digest,
            signer: believed.signer.clone(),
            items: Vec::new(),
            stored: (0, 0),
            present: (0, 0),
        };
        store_blobs(&mut archive, &believed, &writer, &mut report, progress)?;
        writer.sync()?;
        report.items =
            self.write(|transaction| commit::commit(transaction, &believed.composite))?;
        Ok(report)
    }
}

fn store_blobs(
    archive: &mut Archive,
    believed: &Believed,
    writer: &BlobWriter,
    report: &mut Report,
    progress: Progress<'_>,
) -> Result<(), InstallError> {
    let blobs = believed.composite.blobs();
    let total = blobs
        .values()
        .fold(0u64, |sum, size| sum.saturating_add(*size));
    let mut done = 0;
    progress(done, total);
    for (sha256, size) in blobs {
        let blob = BlobRef { sha256, size };
        let here = writer.has(sha256)?;
        if !here {
            let source = Counted {
                inner: archive.blob(blob)?,
                done,
                total,
                progress: &mut *progress,
            };
            writer.put_expected(source, blob).map_err(altered)?;
        }
        let count = if here {
            &mut report.present
        } else {
            &mut report.stored
        };
        *count = (count.0 + 1, count.1 + size);
        done += size;
        progress(done, total);
    }
    Ok(())
}

/// Other bytes than announced: it is the composite that is wrong, not the store.
fn altered(error: BlobError) -> InstallError {
    match error {
        BlobError::NotAsAnnounced { expected, actual } => {
            ArchiveError::Altered { expected, actual }.into()
        }
        BlobError::Missing { .. }
        | BlobError::Rotten { .. }
        | BlobError::Locked(_)
        | BlobError::Store(_)
        | BlobError::Source(_) => error.into(),
    }
}

/// Tells the progress of what is read through it.
struct Counted<'a, R> {
    inner: R,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.done = self.done.saturating_add(u64::try_from(length).unwrap_or(0));
        (self.progress)(self.done.min(self.total), self.total);
        Ok(length)
    }
}
