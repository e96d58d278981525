//! Boot images taken apart: sections of unified kernel images, scripts for iPXE.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use bootd_protocol::boot_choice::script::Script;
use bootd_protocol::boot_choice::{Client, ClientKind, Offer, Place};
use bootd_protocol::dhcp::server::Wishes as _;
use bootd_protocol::digest::Digest;
use bootd_protocol::identity::{Arch, Firmware};
use bootd_protocol::uki::{HEAD_LEN, Section, Uki, UkiError};
use catalog::blobs::{BlobError, BlobStore};

use crate::wishes::Wisher;

/// A boot image that cannot be taken apart.
#[derive(Debug, thiserror::Error)]
pub enum BootFileError {
    /// It is not in the store, or rotten.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// It is no unified kernel image.
    #[error("not a boot image: {0}")]
    Uki(#[from] UkiError),
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// Boot images by digest. Clones share what was found out.
#[derive(Debug, Clone)]
pub struct BootFiles {
    blobs: BlobStore,
    known: Arc<Mutex<HashMap<Digest, Uki>>>,
}

impl BootFiles {
    /// The boot images of this store.
    #[must_use]
    pub fn new(blobs: BlobStore) -> Self {
        BootFiles {
            blobs,
            known: Arc::default(),
        }
    }

    /// Where the parts of a boot image are.
    ///
    /// # Errors
    /// It is missing, rotten, or no boot image.
    pub fn parts(&self, digest: Digest) -> Result<Uki, BootFileError> {
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&digest)
            .copied();
        if let Some(uki) = known {
            return Ok(uki);
        }
        let blob = self.blobs.get(digest)?;
        let head = read_part(
            &blob.file,
            0,
            blob.size.min(u64::try_from(HEAD_LEN).unwrap_or(0)),
        )?;
        let uki = Uki::parse(&head, blob.size)?;
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest, uki);
        Ok(uki)
    }

    /// The kernel command line of a boot image.
    ///
    /// # Errors
    /// As [`BootFiles::parts`].
    pub fn cmdline(&self, digest: Digest) -> Result<String, BootFileError> {
        let Section { offset, size, .. } = self.parts(digest)?.cmdline;
        let bytes = read_part(&self.blobs.get(digest)?.file, offset, size)?;
        Ok(String::from_utf8_lossy(&bytes)
            .trim_end_matches('\0')
            .to_owned())
    }

    /// The script for the machine that `query` describes, as the boot choice wrote it.
    ///
    /// # Errors
    /// In words: the query says too little, or the boot image cannot be used.
    pub fn script(
        &self,
        wisher: &Wisher<'_>,
        query: &str,
        script: Script<'_>,
    ) -> Result<String, String> {
        let (mut client, firmware) = client(query)?;
        if let Some(heard) = wisher.locations.of(client.mac) {
            client.place = heard.place;
            client.vendor_class = heard.vendor_class.as_deref().map(str::to_owned);
        }
        let offer = wisher.wish(&client).offer;
        let text = match &offer {
            Offer::Local { loader, reason } => {
                Ok(Script { reason, ..script }.local(firmware, loader.as_ref()))
            }
            Offer::Boot { uki, reason } => {
                let cmdline = self.cmdline(*uki).map_err(|error| error.to_string())?;
                Script { reason, ..script }.boot(uki, &cmdline)
            }
            Offer::Hold { reason } | Offer::None { reason } | Offer::Ignore { reason } => {
                Script { reason, ..script }.hold()
            }
        };
        text.map_err(|error| error.to_string())
    }
}

fn read_part(file: &File, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(len).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// The machine of `mac=…&arch=…&firmware=…&uuid=…`.
///
/// # Errors
/// In words: what is missing, or what it is not.
pub fn client(query: &str) -> Result<(Client, Firmware), String> {
    let field = |name: &str| {
        let mut fields = query.split('&').filter_map(|it| it.split_once('='));
        fields.find_map(|(key, value)| (key == name).then_some(value))
    };
    let need = |name: &str| field(name).ok_or(format!("the query has no {name}"));
    let mac = need("mac")?.replace("%3A", ":").replace("%3a", ":");
    let arch: Arch = need("arch")?.parse().map_err(|it| format!("{it}"))?;
    let firmware: Firmware = need("firmware")?.parse().map_err(|it| format!("{it}"))?;
    let client = Client {
        mac: mac.parse().map_err(|it| format!("{it}"))?,
        uuid: field("uuid").and_then(|it| it.parse().ok()),
        kind: ClientKind::Ipxe { arch, firmware },
        vendor_class: None,
        place: Place::default(),
    };
    Ok((client, firmware))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_a_machine() {
        let query = "mac=52:54:00:12:34:56&arch=x86_64&firmware=bios";
        let (client, _) = client(query).unwrap();
        assert_eq!(client.mac.to_string(), "52:54:00:12:34:56");
        let kind = ClientKind::Ipxe {
            arch: Arch::X86_64,
            firmware: Firmware::Bios,
        };
        assert_eq!((client.kind, client.uuid), (kind, None));
        assert_eq!(
            super::client("mac=x&arch=x86_64").unwrap_err(),
            "the query has no firmware"
        );
    }
}
