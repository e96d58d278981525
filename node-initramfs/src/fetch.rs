//! Fetches manifests and blobs from the master over HTTP, checks them, goes on after a cut.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use bootd_protocol::digest::{Digest, Hasher};
use bootd_protocol::manifest::delta::Delta;
use bootd_protocol::manifest::{BlobRef, MAX_LEN, Manifest, ManifestError};

use crate::http::{Client, HttpError};
use crate::store::{Store, StoreError, at};

const CHUNK: usize = 64 * 1024;
/// Cuts in a row, without a byte between them, after which the master counts as gone.
const MAX_CUTS: u32 = 5;
const PAUSE_AFTER_CUT: Duration = Duration::from_secs(1);

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The master does not answer, or not with success.
    #[error("{url}: {source}")]
    Http {
        /// What was asked for.
        url: String,
        /// What went wrong.
        source: HttpError,
    },
    /// The bytes are not those that were asked for.
    #[error("{url}: has SHA-256 {actual}, expected {expected}")]
    WrongDigest {
        /// What was asked for.
        url: String,
        /// The digest of what came.
        actual: Digest,
        /// The digest that was asked for.
        expected: Digest,
    },
    /// The manifest is not what its digest says, or not readable.
    #[error("{url}: {source}")]
    Manifest {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// The data partition says no.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FetchError {
    /// Whether trying again at once may help.
    fn is_cut(&self) -> bool {
        matches!(
            self,
            FetchError::Http {
                source: HttpError::Cut(_),
                ..
            }
        )
    }
}

/// Names what was asked for.
fn http(url: &str) -> impl Fn(HttpError) -> FetchError {
    move |source| FetchError::Http {
        url: url.to_owned(),
        source,
    }
}

fn cut(url: &str) -> impl Fn(io::Error) -> FetchError {
    move |source| http(url)(source.into())
}

/// A master's HTTP service.
pub struct Fetcher {
    client: Client,
}

impl Fetcher {
    /// The HTTP service at this address.
    #[must_use]
    pub fn new(master: Ipv4Addr, port: u16) -> Self {
        Fetcher {
            client: Client::new((master, port).into()),
        }
    }

    /// Fetches and checks a manifest; only in what it differs from `kept`, if the master can tell.
    ///
    /// # Errors
    /// It does not come, or is not what its digest says.
    pub fn manifest(
        &mut self,
        digest: Digest,
        kept: Option<(Digest, Manifest)>,
    ) -> Result<(Manifest, Vec<u8>), FetchError> {
        if let Some(known) = kept.and_then(|(from, kept)| self.difference(digest, from, kept)) {
            return Ok(known);
        }
        let url = format!("/manifest/{digest}");
        let bytes = self.document(&url)?;
        let manifest = Manifest::from_bytes(&bytes, digest)
            .map_err(|source| FetchError::Manifest { url, source })?;
        Ok((manifest, bytes))
    }

    /// A manifest by its difference from `kept`, which has the digest `from`. Whatever is wrong
    /// with that, the whole one will do.
    fn difference(
        &mut self,
        digest: Digest,
        from: Digest,
        kept: Manifest,
    ) -> Option<(Manifest, Vec<u8>)> {
        let url = format!("/manifest/{digest}/from/{from}");
        let delta = self.document(&url).ok()?;
        let delta: Delta = serde_json::from_slice(&delta).ok()?;
        let bytes = delta.apply(kept).to_bytes().ok()?;
        let manifest = Manifest::from_bytes(&bytes, digest).ok()?;
        Some((manifest, bytes))
    }

    /// Something that is small enough for memory, unchecked.
    fn document(&mut self, url: &str) -> Result<Vec<u8>, FetchError> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(MAX_LEN).unwrap_or(u64::MAX);
        let body = self.client.get(url, 0).map_err(http(url))?;
        body.take(limit).read_to_end(&mut bytes).map_err(cut(url))?;
        Ok(bytes)
    }

    /// Fetches and checks a blob that is small enough for memory: a part of a boot loader.
    ///
    /// # Errors
    /// It does not come, or is not what its digest says.
    pub fn small_blob(&mut self, blob: &BlobRef) -> Result<Vec<u8>, FetchError> {
        let url = format!("/blob/{}", blob.sha256);
        let mut bytes = Vec::new();
        let body = self.client.get(&url, 0).map_err(http(&url))?;
        body.take(blob.size)
            .read_to_end(&mut bytes)
            .map_err(cut(&url))?;
        let actual = Digest::of(&bytes);
        if actual != blob.sha256 {
            return Err(FetchError::WrongDigest {
                url,
                actual,
                expected: blob.sha256,
            });
        }
        Ok(bytes)
    }

    /// Fetches `missing` into `store`; `progress` is told bytes done and in all, and how to name
    /// what is coming. Nothing stands under its final name before all of it has been flushed.
    ///
    /// # Errors
    /// A blob does not come or is not what its digest says; what has come stays for next time.
    pub fn blobs(
        &mut self,
        store: &Store,
        missing: &[BlobRef],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), FetchError> {
        let total = missing.iter().map(|blob| blob.size).sum();
        let mut done = 0;
        for blob in missing {
            self.blob_with_retries(store, blob, &mut |bytes| progress(done + bytes, total))?;
            done += blob.size;
        }
        store.sync()?;
        for blob in missing {
            let (from, to) = (store.part_path(blob.sha256), store.blob_path(blob.sha256));
            at(&to, fs::rename(&from, &to))?;
        }
        Ok(store.sync()?)
    }

    fn blob_with_retries(
        &mut self,
        store: &Store,
        blob: &BlobRef,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), FetchError> {
        let mut cuts = 0;
        let mut furthest = 0;
        loop {
            let result = self.blob(store, blob, &mut |bytes| {
                if bytes > furthest {
                    (furthest, cuts) = (bytes, 0);
                }
                progress(bytes);
            });
            match result {
                Err(error) if error.is_cut() && cuts < MAX_CUTS => cuts += 1,
                other => return other,
            }
            std::thread::sleep(PAUSE_AFTER_CUT);
        }
    }

    /// One try at a blob: what is there of it is hashed, the rest is asked for.
    fn blob(
        &mut self,
        store: &Store,
        blob: &BlobRef,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), FetchError> {
        let url = format!("/blob/{}", blob.sha256);
        let part = Part::open(store.part_path(blob.sha256), blob.size)?;
        let (path, actual) = part.fill(progress, &mut self.client, &url)?;
        if actual == blob.sha256 {
            return Ok(());
        }
        // Of no use to anybody: the next try starts from nothing.
        at(&path, fs::remove_file(&path))?;
        Err(FetchError::WrongDigest {
            url,
            actual,
            expected: blob.sha256,
        })
    }
}

/// A blob on its way: its file, how much of it is there, and the hash so far.
struct Part {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    len: u64,
    size: u64,
}

impl Part {
    fn open(path: PathBuf, size: u64) -> Result<Self, StoreError> {
        let mut options = File::options();
        let open = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let mut part = Part {
            file: at(&path, open)?,
            path,
            hasher: Hasher::new(),
            len: 0,
            size,
        };
        let rest = part.read_what_is_there();
        at(&part.path, rest)?;
        Ok(part)
    }

    fn read_what_is_there(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() > self.size {
            self.file.set_len(0)?;
        }
        let mut chunk = vec![0; CHUNK];
        loop {
            let len = self.file.read(&mut chunk)?;
            if len == 0 {
                break;
            }
            self.hasher.update(&chunk[..len]);
            self.len += u64::try_from(len).unwrap_or(0);
        }
        self.file.seek(SeekFrom::Start(self.len)).map(drop)
    }

    /// Appends what is missing; the path and the digest of the whole.
    fn fill(
        mut self,
        progress: &mut dyn FnMut(u64),
        client: &mut Client,
        url: &str,
    ) -> Result<(PathBuf, Digest), FetchError> {
        progress(self.len);
        if self.len < self.size {
            let mut body = client.get(url, self.len).map_err(http(url))?;
            let mut chunk = vec![0; CHUNK];
            while self.len < self.size {
                let room = usize::try_from(self.size - self.len)
                    .unwrap_or(CHUNK)
                    .min(CHUNK);
                let len = body.read(&mut chunk[..room]).map_err(cut(url))?;
                if len == 0 {
                    return Err(cut(url)(io::ErrorKind::UnexpectedEof.into()));
                }
                at(&self.path, self.file.write_all(&chunk[..len]))?;
                self.hasher.update(&chunk[..len]);
                self.len += u64::try_from(len).unwrap_or(0);
                progress(self.len);
            }
        }
        Ok((self.path, self.hasher.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    /// Serves `content` on loopback, closing each of the first connections after some bytes;
    /// returns the port and, when joined, the `Range` headers seen.
    fn cutting_server(
        content: Vec<u8>,
        cuts: Vec<usize>,
    ) -> (u16, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = move || {
            let mut ranges = Vec::new();
            for cut in cuts {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<String> = lines
                    .map_while(Result::ok)
                    .take_while(|it| !it.is_empty())
                    .collect();
                let range = head.iter().find_map(|it| {
                    it.to_lowercase()
                        .strip_prefix("range: bytes=")
                        .map(str::to_owned)
                });
                let from: usize = range
                    .as_deref()
                    .map_or(0, |it| it.trim_end_matches('-').parse().unwrap());
                let status = if from > 0 {
                    "206 Partial Content"
                } else {
                    "200 OK"
                };
                let rest = &content[from..];
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\nConnection: close\r\n\r\n",
                    rest.len(),
                    content.len() - 1,
                    content.len()
                )
                .unwrap();
                stream.write_all(&rest[..cut.min(rest.len())]).unwrap();
                ranges.push(range.unwrap_or_default());
            }
            ranges
        };
        (port, std::thread::spawn(serve))
    }

    #[test]
    fn goes_on_where_it_was_cut_and_checks_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let content: Vec<u8> = (0..200_000u32).map(|it| it.to_le_bytes()[0]).collect();
        let blob = BlobRef {
            sha256: Digest::of(&content),
            size: 200_000,
        };
        let (port, server) = cutting_server(content.clone(), vec![70_000, 50_000, usize::MAX]);
        let mut fetcher = Fetcher::new(Ipv4Addr::LOCALHOST, port);
        let mut last = (0, 0);
        fetcher
            .blobs(&store, &[blob], &mut |done, total| last = (done, total))
            .unwrap();
        assert_eq!(server.join().unwrap(), ["", "70000-", "120000-"]);
        assert_eq!(last, (200_000, 200_000));
        assert_eq!(fs::read(store.blob_path(blob.sha256)).unwrap(), content);
    }

    #[test]
    fn what_is_not_the_blob_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let blob = BlobRef {
            sha256: Digest::of(b"right"),
            size: 5,
        };
        let (port, server) = cutting_server(b"wrong".to_vec(), vec![usize::MAX]);
        let mut fetcher = Fetcher::new(Ipv4Addr::LOCALHOST, port);
        let result = fetcher.blobs(&store, &[blob], &mut |_, _| {});
        assert!(
            matches!(result, Err(FetchError::WrongDigest { .. })),
            "{result:?}"
        );
        server.join().unwrap();
        assert!(!store.has_blob(&blob) && !store.part_path(blob.sha256).exists());
    }
}
