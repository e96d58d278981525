//! The catalog: what every machine of a cluster should be, and why.
//!
//! A state directory holds `catalog.db` (desired: written by people), `state.db` (observed:
//! written by bootd), `blobs/` (content by SHA-256) and the master's key. The tables are in
//! `schema.sql`, and they are the interface: whatever this crate edits, `sqlite3` can.
//!
//! | module | what it holds |
//! |---|---|
//! | [`store`] | the state directory: created, opened, refused when made by a newer version |
//! | [`composite`] | a release in one signed file: made, checked, installed |
//! | [`elf`] | what an ELF file says of itself; the libraries that a tree's programs need |
//! | [`signature`] | the change signature of a module: has it changed in substance? |
//! | [`schema`] | the tables, their version, and whether somebody changed them |
//! | [`blobs`] | content-addressed files, checked before they are served |
//! | [`snapshot`] | the whole catalog in memory, without SQLite: what bootd decides from |
//! | [`select`] | from a snapshot: what a node gets, and why |
//! | [`identify`] | from a snapshot: which node a machine is, or which rule takes it in |
//! | [`served`] | the manifests in force: the last good one of every class, kept over a restart |
//! | [`version`], [`relation`] | versions in order, and what packages say about each other |
//! | [`watch`] | has somebody edited the catalog? |
//! | [`orders`] | orders to many nodes, written |
//! | [`edit`] | the few rows that bootd writes: new nodes, their keys |
//! | [`gc`] | what nothing names any more is cleared away |
//! | [`trial`] | what an edit would do, seen on a copy |
//! | `upgrade` | a database of an older version becomes one of this version |
//! | [`state`] | `state.db`: leases, presence, events |
//! | [`keys`] | the master's key |

pub mod blobs;
pub mod composite;
pub mod edit;
pub mod elf;
pub mod error;
pub mod gc;
pub mod identify;
pub mod keys;
pub mod orders;
pub mod relation;
pub mod schema;
pub mod select;
pub mod served;
pub mod signature;
pub mod snapshot;
pub mod state;
pub mod store;
pub mod trial;
mod upgrade;
pub mod version;
pub mod watch;

pub use error::{Error, Result};
pub use snapshot::Snapshot;
pub use store::Catalog;
