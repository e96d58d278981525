//! Keys and signatures of composites, in minisign's formats: `minisign` itself can check them.

use std::fs::{self, OpenOptions};
use std::io::{Cursor, Write as _};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use blake2::{Blake2b512, Digest as _};
use ct_codecs::{Base64, Encoder as _};
use ed25519_dalek::{Signer as _, SigningKey};
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox, SignatureBox};

/// Why a composite cannot be signed or believed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// A key file cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    File {
        /// `read` or `create`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A key file without a usable key.
    #[error("{} holds no key that can be used here: {why}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A key could not be made or used.
    #[error("signing failed: {0}")]
    Failed(String),
    /// Something else stands where the signature should.
    #[error("the signature cannot be read: {0}")]
    Malformed(String),
    /// No trusted key made the signature.
    #[error(
        "signed by key {signer}, which is not trusted ({}): if you trust it: catalog trust NAME FILE.pub",
        if trusted.is_empty() { "no key is".to_owned() } else { format!("trusted: {}", trusted.join(", ")) }
    )]
    Untrusted {
        /// Number of the key, as minisign writes it.
        signer: String,
        /// Names and numbers of the trusted keys.
        trusted: Vec<String>,
    },
    /// A trusted key's number, but not its signature.
    #[error("the signature is wrong: the description was altered after key {0} signed it")]
    Wrong(String),
}

/// Draws a key pair and writes `<base>.key` (mode 0600) and `<base>.pub`; never over others.
/// Gives back the public key's 56 characters.
///
/// # Errors
/// [`SignError::File`], [`SignError::Failed`].
pub fn generate(base: &Path) -> Result<String, SignError> {
    let failed = |error: minisign::PError| SignError::Failed(error.to_string());
    let pair = KeyPair::generate_unencrypted_keypair().map_err(failed)?;
    let secret = pair
        .sk
        .to_box(Some("bootd composite secret key"))
        .map_err(failed)?;
    let public = pair.pk.to_box().map_err(failed)?;
    write_new(&with_suffix(base, "key"), 0o600, &secret.into_string())?;
    write_new(&with_suffix(base, "pub"), 0o644, &public.into_string())?;
    Ok(pair.pk.to_base64())
}

/// Reads a secret key: one without a password, as `catalog keygen` or `minisign -G -W` makes it.
///
/// # Errors
/// [`SignError::File`], [`SignError::Key`].
pub fn read_secret(path: &Path) -> Result<SecretKey, SignError> {
    let unusable = |error: minisign::PError| SignError::Key {
        path: path.to_owned(),
        why: error.to_string(),
    };
    let text = read(path)?;
    SecretKeyBox::from_string(&text)
        .and_then(SecretKeyBox::into_unencrypted_secret_key)
        .map_err(unusable)
}

/// Reads the 56 characters of a public key out of a minisign `.pub` file.
///
/// # Errors
/// [`SignError::File`], [`SignError::Key`].
pub fn read_public(path: &Path) -> Result<String, SignError> {
    let text = read(path)?;
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    let line = line.unwrap_or_default();
    PublicKey::from_base64(line)
        .map(|_| line.to_owned())
        .map_err(|error| SignError::Key {
            path: path.to_owned(),
            why: error.to_string(),
        })
}

/// Signs `bytes`. The comment is trusted: it is signed too.
///
/// The same bytes always have the same signature, so that the same release gives the same
/// composite: Ed25519 needs no chance (RFC 8032, section 5.1.6), with which minisign's own tool
/// and its crate sign. The format is minisign's: `ED` is Ed25519 over BLAKE2b-512 of the bytes.
///
/// # Errors
/// [`SignError::Failed`].
pub fn sign(key: &SecretKey, bytes: &[u8], comment: &str) -> Result<String, SignError> {
    let failed = || SignError::Failed("the secret key is damaged".to_owned());
    let raw = key.to_bytes();
    let number = raw.get(KEY_NUMBER).ok_or_else(failed)?;
    let seed = raw.get(KEY_SEED).and_then(|it| it.try_into().ok());
    let key = SigningKey::from_bytes(seed.ok_or_else(failed)?);
    let signature = key.sign(&Blake2b512::digest(bytes)).to_bytes();
    let of_comment = key.sign(&[&signature[..], comment.as_bytes()].concat());
    let base64 = |bytes: &[u8]| {
        let text = Base64::encode_to_string(bytes);
        text.map_err(|error| SignError::Failed(error.to_string()))
    };
    Ok(format!(
        "untrusted comment: bootd composite\n{}\ntrusted comment: {comment}\n{}\n",
        base64(&[&b"ED"[..], number, &signature[..]].concat())?,
        base64(&of_comment.to_bytes())?,
    ))
}

/// Where a secret key's number and its seed stand in minisign's format, behind algorithms (3 × 2
/// bytes), salt (32) and limits (2 × 8).
const KEY_NUMBER: Range<usize> = 54..62;
const KEY_SEED: Range<usize> = 62..94;

/// Checks that one of the `trusted` keys (name and public key) made `signature` over `bytes`,
/// and gives back its name.
///
/// # Errors
/// [`SignError::Malformed`], [`SignError::Untrusted`], [`SignError::Wrong`].
pub fn verify(
    trusted: &[(String, String)],
    bytes: &[u8],
    signature: &str,
) -> Result<String, SignError> {
    let signature = read_signature(signature)?;
    let signer = number(signature.keynum());
    let keys: Vec<(&String, PublicKey)> = trusted
        .iter()
        .filter_map(|(name, key)| Some((name, PublicKey::from_base64(key).ok()?)))
        .collect();
    let candidates: Vec<&(&String, PublicKey)> = keys
        .iter()
        .filter(|(_, key)| key.keynum() == signature.keynum())
        .collect();
    let valid = |key: &PublicKey| {
        minisign::verify(key, &signature, Cursor::new(bytes), true, false, false).is_ok()
    };
    if candidates.is_empty() {
        let named = |(name, key): &(&String, PublicKey)| format!("{name} {}", number(key.keynum()));
        return Err(SignError::Untrusted {
            signer,
            trusted: keys.iter().map(named).collect(),
        });
    }
    candidates
        .iter()
        .find(|(_, key)| valid(key))
        .map(|(name, _)| (*name).clone())
        .ok_or(SignError::Wrong(signer))
}

/// Characters of the last line, the signature of the comment: 64 bytes in base64.
const COMMENT_SIGNATURE: usize = 88;

fn read_signature(text: &str) -> Result<SignatureBox, SignError> {
    // The crate takes this line at any length, and then panics where it is too short.
    let last = text.lines().nth(3).unwrap_or_default().trim();
    if last.len() != COMMENT_SIGNATURE {
        let why = format!("its fourth line has not {COMMENT_SIGNATURE} characters");
        return Err(SignError::Malformed(why));
    }
    SignatureBox::from_string(text).map_err(|error| SignError::Malformed(error.to_string()))
}

/// A key's number as minisign writes it: eight bytes, little-endian, in hexadecimal.
fn number(bytes: &[u8]) -> String {
    bytes
        .iter()
        .rev()
        .map(|byte| format!("{byte:02X}"))
        .collect()
}

fn with_suffix(base: &Path, suffix: &str) -> PathBuf {
    let mut name = base.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

fn read(path: &Path) -> Result<String, SignError> {
    fs::read_to_string(path).map_err(|source| SignError::File {
        what: "read",
        path: path.to_owned(),
        source,
    })
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), SignError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| SignError::File {
            what: "create",
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(dir: &Path, name: &str) -> (SecretKey, String) {
        let public = generate(&dir.join(name)).unwrap();
        let secret = read_secret(&dir.join(format!("{name}.key"))).unwrap();
        assert_eq!(
            read_public(&dir.join(format!("{name}.pub"))).unwrap(),
            public
        );
        (secret, public)
    }

    #[test]
    fn believes_trusted_keys_alone_and_unaltered_bytes_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (secret, public) = key(dir.path(), "mine");
        let (_, other) = key(dir.path(), "other");
        assert!(matches!(
            generate(&dir.path().join("mine")),
            Err(SignError::File { .. })
        ));

        let signature = sign(&secret, b"abc", "release 1").unwrap();
        let mine = [
            ("other".to_owned(), other.clone()),
            ("me".to_owned(), public),
        ];
        assert_eq!(verify(&mine, b"abc", &signature).unwrap(), "me");
        assert!(matches!(
            verify(&mine, b"abd", &signature),
            Err(SignError::Wrong(_))
        ));
        let theirs = [("other".to_owned(), other)];
        let error = verify(&theirs, b"abc", &signature).unwrap_err();
        assert!(matches!(&error, SignError::Untrusted { trusted, .. } if trusted.len() == 1));
        let error = verify(&[], b"abc", &signature).unwrap_err();
        assert!(
            error.to_string().contains("not trusted (no key is)"),
            "{error}"
        );
        assert!(matches!(
            verify(&mine, b"abc", "x"),
            Err(SignError::Malformed(_))
        ));
        let cut = signature.trim_end();
        assert!(matches!(
            verify(&mine, b"abc", &cut[..cut.len() - 48]),
            Err(SignError::Malformed(_))
        ));
        let comment = signature.replace("release 1", "release 2");
        assert!(matches!(
            verify(&mine, b"abc", &comment),
            Err(SignError::Wrong(_))
        ));
    }
}
