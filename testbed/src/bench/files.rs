//! Files that all contestants serve under the same names: bootd from its catalog's store, the
//! others from a directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::population;

/// A file of random content.
#[derive(Debug, Clone)]
pub(super) struct TestFile {
    pub(super) digest: String,
    pub(super) content: Arc<[u8]>,
}

impl TestFile {
    /// Its name for TFTP.
    pub(super) fn tftp(&self) -> String {
        format!("boot/{}.efi", self.digest)
    }

    /// Its path for HTTP.
    pub(super) fn http(&self) -> String {
        format!("/blob/{}", self.digest)
    }
}

/// All of them.
pub(super) struct TestFiles {
    /// The directory.
    pub(super) root: PathBuf,
    /// bootd's state directory.
    pub(super) state: PathBuf,
    files: BTreeMap<usize, TestFile>,
}

impl TestFiles {
    /// Makes files of these sizes, in bytes, and a catalog of many nodes around them.
    pub(super) fn create(scratch: &Path, sizes: &[usize]) -> Result<Self> {
        let (root, state) = (scratch.join("root"), scratch.join("state"));
        let log = scratch.join("catalog.log");
        let mac = |node: u32| {
            let [_, _, high, low] = node.to_be_bytes();
            [0x52, 0x54, 0, 0, high, low]
        };
        population::create(&state, &log, &scratch.join("workshop"), mac)?;
        let mut files = BTreeMap::new();
        let mut rng = fastrand::Rng::with_seed(1);
        for size in sizes {
            let mut content = vec![0; *size];
            rng.fill(&mut content);
            let digest = population::add_blob(&state, &content)?;
            let file = TestFile {
                digest,
                content: content.into(),
            };
            for name in [file.tftp(), file.http()] {
                let path = root.join(name.trim_start_matches('/'));
                fs::create_dir_all(path.parent().context("a name in a directory")?)?;
                fs::write(path, &file.content)?;
            }
            files.insert(*size, file);
        }
        Ok(TestFiles { root, state, files })
    }

    /// The file of this size.
    pub(super) fn of(&self, size: usize) -> Result<&TestFile> {
        self.files.get(&size).context("a size that was made")
    }
}
