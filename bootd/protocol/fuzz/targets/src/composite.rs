//! Composites: archive, documents, signature; keys; the file that they are made from.

use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bootd_protocol::digest::Digest;
use bootd_protocol::manifest::{BlobRef, is_clean_path};
use catalog::composite::archive::Archive;
use catalog::composite::format::{
    ARTIFACT_TYPE, CONFIG_TYPE, Composite, Descriptor, Index, MANIFEST_TYPE, OciManifest, SIGNATURE,
};
use catalog::composite::{release, sign};

use crate::input::Input;

/// A key pair for this run.
static KEY: LazyLock<(PathBuf, String, tempfile::TempDir)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("a directory: {error}"));
    let base = dir.path().join("release");
    let public = sign::generate(&base).unwrap_or_else(|error| panic!("a key: {error}"));
    (dir.path().join("release.key"), public, dir)
});

/// Has `bytes` read from a file.
fn from_file<T>(bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    let mut file = tempfile::tempfile().unwrap_or_else(|error| panic!("a file: {error}"));
    file.write_all(bytes)
        .and_then(|()| file.rewind())
        .unwrap_or_else(|error| panic!("a file: {error}"));
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    read(Path::new(&path))
}

pub(crate) fn archive(data: &[u8]) {
    let trusted = [("me".to_owned(), KEY.1.clone())];
    from_file(data, |path| {
        let Ok(mut archive) = Archive::open(path) else {
            return;
        };
        let believed = archive.believe(&trusted);
        assert!(believed.is_err(), "a signature by a key that nobody has");
    });
}

pub(crate) fn description(data: &[u8]) {
    let (_, public, _) = &*KEY;
    let trusted = [("me".to_owned(), public.clone())];
    from_file(&signed(data), |path| {
        let mut archive = Archive::open(path).unwrap_or_else(|error| panic!("ours: {error}"));
        let Ok(believed) = archive.believe(&trusted) else {
            return;
        };
        assert_eq!(believed.digest, Digest::of(data));
        let composite = &believed.composite;
        check_paths(composite);
        for (sha256, size) in composite.blobs() {
            let Ok(mut blob) = archive.blob(BlobRef { sha256, size }) else {
                continue;
            };
            let mut bytes = Vec::new();
            let read = blob.read_to_end(&mut bytes);
            assert!(read.is_ok_and(|len| u64::try_from(len).is_ok_and(|len| len == size)));
        }
    });
}

fn check_paths(composite: &Composite) {
    let files = composite.packages.iter().flat_map(|it| &it.modules);
    assert!(files.into_iter().all(|file| is_clean_path(&file.path)));
}

/// A composite with this description.
fn signed(description: &[u8]) -> Vec<u8> {
    let secret = sign::read_secret(&KEY.0).unwrap_or_else(|error| panic!("a key: {error}"));
    let signature = sign::sign(&secret, description, "release 1");
    let signature = signature.unwrap_or_else(|error| panic!("a signature: {error}"));
    let manifest = OciManifest {
        schema_version: 2,
        media_type: MANIFEST_TYPE.to_owned(),
        artifact_type: ARTIFACT_TYPE.to_owned(),
        config: descriptor(CONFIG_TYPE, description),
        layers: Vec::new(),
        annotations: [(SIGNATURE.to_owned(), signature)].into(),
    };
    let manifest = json(&manifest);
    let index = Index {
        schema_version: 2,
        manifests: vec![descriptor(MANIFEST_TYPE, &manifest)],
    };
    let mut tar = tar::Builder::new(Vec::new());
    let members = [
        ("index.json".to_owned(), json(&index)),
        (blob_name(&manifest), manifest),
        (blob_name(description), description.to_vec()),
    ];
    for (name, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(u64::try_from(bytes.len()).unwrap_or(0));
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice())
            .unwrap_or_else(|error| panic!("a tar archive: {error}"));
    }
    let tar = tar.into_inner();
    tar.unwrap_or_else(|error| panic!("a tar archive: {error}"))
}

fn blob_name(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", Digest::of(bytes))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    let blob = BlobRef {
        sha256: Digest::of(bytes),
        size: u64::try_from(bytes.len()).unwrap_or(0),
    };
    Descriptor::new(media_type, blob)
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|error| panic!("JSON: {error}"))
}

pub(crate) fn minisign(data: &[u8]) {
    let mut input = Input::new(data);
    let (key, signature) = (input.piece(), input.piece());
    let content = input.rest();
    let key = String::from_utf8_lossy(key).into_owned();
    let signature = String::from_utf8_lossy(signature);
    let trusted = [
        ("me".to_owned(), KEY.1.clone()),
        ("other".to_owned(), key.clone()),
    ];
    if let Ok(signer) = sign::verify(&trusted, content, &signature) {
        assert_eq!(signer, "other", "a signature by a key that nobody has");
    }
    from_file(key.as_bytes(), |path| {
        let _ = sign::read_secret(path);
        if let Ok(public) = sign::read_public(path) {
            assert!(key.contains(&public));
        }
    });
}

pub(crate) fn release(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let _ = toml::from_str::<release::Release>(text);
}
