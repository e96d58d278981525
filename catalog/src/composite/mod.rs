//! Composites: a release in one file.
//!
//! A composite is an OCI image layout (OCI Image Format Specification 1.1, "Image Layout") in a
//! tar archive, so that `skopeo copy` and its like move and mirror it. Its manifest has
//! `artifactType` [`format::ARTIFACT_TYPE`]; the config is the composite's description as JSON;
//! every distinct module is a raw layer, so that a layer's digest is the module's.
//!
//! The signature (minisign format) is over the description, which names every module by SHA-256
//! and size, and stands as an annotation in the manifest: it survives every copy that keeps the
//! manifest.
//!
//! | module | what it holds |
//! |---|---|
//! | [`release`] | the TOML file that a composite is made from |
//! | [`package`], [`tree`], `facts` | gathers a package: its files, and what they tell of themselves |
//! | [`compose`] | makes a composite |
//! | [`format`] | what is in one |
//! | [`sign`] | keys and signatures |
//! | [`archive`] | reads one, trusting nothing |
//! | [`columns`] | whether its rows fit the tables |
//! | [`install`] | puts one into a catalog: all of it or nothing |

pub mod archive;
pub mod columns;
pub(crate) mod commit;
pub mod compose;
mod facts;
pub mod format;
mod image;
pub mod install;
pub mod package;
pub mod release;
pub mod sign;
pub mod tree;
