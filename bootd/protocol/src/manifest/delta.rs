//! What makes one manifest out of another: an update of one module in a package of hundreds need
//! not send the names of all the others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{File, Manifest};
use crate::digest::Digest;

/// How one manifest differs from another. Whoever applies it checks the digest of the result, so
/// a wrong one does no harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delta {
    /// The manifest that it is to be applied to.
    pub from: Digest,
    /// The new manifest without its files.
    pub manifest: Manifest,
    /// Paths that the new one does not have.
    pub removed: Vec<String>,
    /// What the new one has otherwise, or in addition.
    pub files: Vec<File>,
}

impl Delta {
    /// How `new` differs from `old`, which has this digest.
    #[must_use]
    pub fn between(from: Digest, old: &Manifest, new: &Manifest) -> Self {
        let by_path = |manifest: &Manifest| -> BTreeMap<String, File> {
            let files = manifest.files.iter();
            files
                .map(|file| (file.path.clone(), file.clone()))
                .collect()
        };
        let (mut old, new_files) = (by_path(old), by_path(new));
        let files = new_files.into_iter();
        let files = files.filter(|(path, file)| old.remove(path).as_ref() != Some(file));
        let files = files.map(|(_, file)| file).collect();
        Delta {
            from,
            manifest: Manifest {
                files: Vec::new(),
                ..new.clone()
            },
            removed: old.into_keys().collect(),
            files,
        }
    }

    /// What goes over the wire.
    ///
    /// # Errors
    /// Only if serde_json fails, which it does not for these types.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The new manifest, if `old` is the one that this was made for.
    #[must_use]
    pub fn apply(self, old: Manifest) -> Manifest {
        let files = old.files.into_iter();
        let mut files: BTreeMap<String, File> =
            files.map(|file| (file.path.clone(), file)).collect();
        for path in &self.removed {
            files.remove(path);
        }
        let changed = self.files.into_iter();
        files.extend(changed.map(|file| (file.path.clone(), file)));
        Manifest {
            files: files.into_values().collect(),
            ..self.manifest
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;
    use crate::manifest::{BlobRef, Content};

    #[test]
    fn makes_one_of_the_other_and_is_small() {
        let old = sample();
        let mut new = sample();
        new.class = "other".into();
        new.files.remove(0);
        new.files[0].mode = 0o600;
        new.files.push(File {
            path: "/srv/b".into(),
            content: Content::Regular(BlobRef {
                sha256: Digest::of(b"b"),
                size: 1,
            }),
            ..new.files[0].clone()
        });
        let delta = Delta::between(Digest::of(b"old"), &old, &new);
        assert_eq!(delta.removed, ["/srv"]);
        assert_eq!(delta.files.len(), 2);
        assert_eq!(delta.apply(old.clone()), new);

        let same = Delta::between(Digest::NONE, &old, &old);
        assert_eq!((same.files.len(), same.removed.len()), (0, 0));
        assert_eq!(same.apply(old.clone()), old);
    }
}
