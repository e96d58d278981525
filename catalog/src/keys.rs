//! The master's ed25519 key: what nodes know their master by.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use bootd_protocol::digest::Digest;
use ed25519_dalek::SigningKey;

use crate::error::{Error, Result};

/// The 32 bytes of a public ed25519 key (RFC 8032, section 5.1.5).
pub type PublicKey = [u8; 32];

/// A master's key pair. Its seed is the content of `master.key`, as 64 hexadecimal digits.
#[derive(Clone)]
pub struct MasterKey(SigningKey);

impl MasterKey {
    /// Draws a new key.
    ///
    /// # Errors
    /// [`Error::Key`] when the system has no random numbers.
    pub fn generate() -> Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| Error::Key {
            path: "/dev/urandom".into(),
            why: error.to_string(),
        })?;
        Ok(MasterKey(SigningKey::from_bytes(&seed)))
    }

    /// The seed (RFC 8032: the private key). Keep it secret.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public key, which boot images carry.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.0.verifying_key().to_bytes()
    }

    /// Reads `master.key`.
    ///
    /// # Errors
    /// A file that cannot be read or holds no key.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        let seed = parse_key(text.trim()).ok_or_else(|| Error::Key {
            path: path.to_owned(),
            why: "it should be 64 hexadecimal digits".into(),
        })?;
        Ok(MasterKey(SigningKey::from_bytes(&seed)))
    }

    /// Writes `master.key` (mode 0600) and `master.pub` into `dir`; never over an existing key.
    ///
    /// # Errors
    /// A key that is there already, and what the file system refuses.
    pub fn write(&self, dir: &Path) -> Result<()> {
        write_new(&dir.join("master.key"), 0o600, &self.seed())?;
        write_new(&dir.join("master.pub"), 0o644, &self.public())
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MasterKey({})", key_text(&self.public()))
    }
}

/// 32 bytes as 64 hexadecimal digits: the form in which keys stand in the catalog and in files.
#[must_use]
pub fn key_text(key: &[u8; 32]) -> String {
    Digest::from_bytes(*key).to_string()
}

/// Reads what [`key_text`] wrote.
#[must_use]
pub fn parse_key(text: &str) -> Option<[u8; 32]> {
    text.parse::<Digest>().ok().map(|key| *key.as_bytes())
}

fn write_new(path: &Path, mode: u32, key: &[u8; 32]) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(Error::io("create", path))?;
    writeln!(file, "{}", key_text(key))
        .and_then(|()| file.sync_all())
        .map_err(Error::io("write", path))
}
