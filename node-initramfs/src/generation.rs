//! Trees of manifests on the data partition: build one, look whether it is whole, drop old ones.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use bootd_protocol::digest::Digest;
use bootd_protocol::manifest::{BlobRef, Content, File as TreeFile, Manifest};

use crate::store::{Store, StoreError, at};

impl Store {
    /// Builds the tree of `manifest` from blobs that are all here; does nothing if it stands.
    ///
    /// # Errors
    /// The file system says no: nothing stands under the final name then.
    pub fn build_generation(&self, digest: Digest, manifest: &Manifest) -> Result<(), StoreError> {
        let path = self.generation_path(digest);
        if path.is_dir() {
            return Ok(());
        }
        let new = path.with_extension("new");
        if new.exists() {
            at(&new, fs::remove_dir_all(&new))?;
        }
        at(&new, fs::create_dir_all(&new))?;
        for file in &manifest.files {
            self.place(&new, file)?;
        }
        self.sync()?;
        at(&path, fs::rename(&new, &path))?;
        self.sync()
    }

    fn place(&self, tree: &Path, file: &TreeFile) -> Result<(), StoreError> {
        let path = tree.join(file.path.trim_start_matches('/'));
        if let Some(parent) = path.parent() {
            at(parent, fs::create_dir_all(parent))?;
        }
        match &file.content {
            Content::Directory(_) => {
                at(&path, fs::create_dir_all(&path))?;
                at(&path, set_attributes(&path, file))
            }
            Content::Symlink(target) => {
                at(&path, symlink(target, &path))?;
                at(
                    &path,
                    std::os::unix::fs::lchown(&path, Some(file.uid), Some(file.gid)),
                )
            }
            Content::Regular(blob) => at(&path, self.link(blob, &path, file)),
        }
    }

    /// A hard link to the blob where its inode can carry the attributes, a copy where another
    /// tree needs it with others.
    fn link(&self, blob: &BlobRef, path: &Path, file: &TreeFile) -> io::Result<()> {
        let from = self.blob_path(blob.sha256);
        let meta = fs::metadata(&from)?;
        let same =
            (meta.mode() & 0o7777, meta.uid(), meta.gid()) == (file.mode, file.uid, file.gid);
        if same || meta.nlink() == 1 {
            set_attributes(&from, file)?;
            fs::hard_link(&from, path)
        } else {
            fs::copy(&from, path)?;
            set_attributes(path, file)
        }
    }

    /// Whether every file of the tree is there with its length. Content was checked when it
    /// came and is not read again: a boot would wait for it.
    ///
    /// # Errors
    /// [`StoreError::Incomplete`] names the first file that is not.
    pub fn check_generation(&self, digest: Digest, manifest: &Manifest) -> Result<(), StoreError> {
        let tree = self.generation_path(digest);
        for file in &manifest.files {
            let path = tree.join(file.path.trim_start_matches('/'));
            let meta = fs::symlink_metadata(&path);
            let whole = meta.is_ok_and(|meta| match &file.content {
                Content::Regular(blob) => meta.is_file() && meta.len() == blob.size,
                Content::Symlink(_) => meta.is_symlink(),
                Content::Directory(_) => meta.is_dir(),
            });
            if !whole {
                return Err(StoreError::Incomplete { path });
            }
        }
        Ok(())
    }

    /// Drops a tree that is not whole, so that it is built again.
    ///
    /// # Errors
    /// The file system says no.
    pub fn drop_generation(&self, digest: Digest) -> Result<(), StoreError> {
        let path = self.generation_path(digest);
        at(&path, fs::remove_dir_all(&path))
    }

    /// Drops all trees, manifests and blobs but those of `keep`.
    ///
    /// # Errors
    /// The file system says no.
    pub fn collect(&self, keep: &[Digest]) -> Result<(), StoreError> {
        self.keep_only(keep, [])
    }

    /// As [`Store::collect`], but keeps files and trees with these names too.
    pub(crate) fn keep_only(
        &self,
        keep: &[Digest],
        names: impl IntoIterator<Item = String>,
    ) -> Result<(), StoreError> {
        let mut names: HashSet<String> = names.into_iter().collect();
        for digest in keep {
            names.insert(digest.to_string());
            names.insert(format!("{digest}.json"));
            if let Ok(manifest) = self.manifest(*digest) {
                names.extend(manifest.blobs().map(|blob| blob.sha256.to_string()));
            }
        }
        for dir in ["generations", "manifests", "blobs"] {
            self.remove_all_but(&self.dir(dir), &names)?;
        }
        Ok(())
    }

    fn remove_all_but(&self, dir: &Path, keep: &HashSet<String>) -> Result<(), StoreError> {
        for entry in at(dir, fs::read_dir(dir))? {
            let path = at(dir, entry)?.path();
            let kept = path
                .file_name()
                .and_then(OsStr::to_str)
                .is_some_and(|it| keep.contains(it));
            if !kept {
                at(&path, remove(&path))?;
            }
        }
        Ok(())
    }

    /// Everything written so far is on the disk when this returns.
    ///
    /// # Errors
    /// The disk says no.
    pub fn sync(&self) -> Result<(), StoreError> {
        let root = self.dir("");
        let file = at(&root, File::open(&root))?;
        at(&root, nix::unistd::syncfs(&file).map_err(io::Error::from))
    }
}

fn set_attributes(path: &Path, file: &TreeFile) -> io::Result<()> {
    std::os::unix::fs::chown(path, Some(file.uid), Some(file.gid))?;
    // After chown, which clears set-user-ID.
    fs::set_permissions(path, Permissions::from_mode(file.mode))
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}
