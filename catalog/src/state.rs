//! `state.db`: what is observed. Written by bootd alone, in batches; read by everybody.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::{Arch, Firmware, Mac};
use bootd_protocol::manifest::PackageRef;
use bootd_protocol::preparation::Progress;
use rusqlite::{Connection, OpenFlags, Transaction, params};

use crate::error::{Error, Result};
use crate::keys::{PublicKey, key_text};
use crate::upgrade::{beside, upgrade};

mod contents;
mod older;
mod orders;
mod rows;

const SCHEMA: &str = include_str!("state.sql");
const VERSION: i64 = 4;
const APPLICATION_ID: i64 = 0x6274_6473;

/// Small pages, because every page that a batch changes is written to the journal whole; a long
/// journal, because moving it into the database makes a commit wait (16 MB). The page size counts
/// for new databases only.
const SETTINGS: &str = "PRAGMA page_size = 1024; PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 16000; PRAGMA cache_size = -8000;";

/// What the journal grows to, in bytes: its pages, and what stands before each of them.
const JOURNAL: u64 = 16_000 * (1024 + 24);

/// How many events are kept.
const KEPT_EVENTS: i64 = 100_000;

/// Leases of the past are removed when so many rows came since the last time, and at least as
/// many as stayed then: the work of it is bounded by that of writing them.
const LEASES_BETWEEN_SWEEPS: u64 = 8192;

/// How a node is doing. Times are Unix milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeState {
    /// Its name in the catalog.
    pub node: String,
    /// The card it spoke from.
    pub mac: Option<Mac>,
    /// Its address.
    pub address: Option<Ipv4Addr>,
    /// Processor architecture.
    pub arch: Option<Arch>,
    /// Firmware.
    pub firmware: Option<Firmware>,
    /// Where it is on its way, by bootd's name for it.
    pub stage: String,
    /// Since when.
    pub stage_since_ms: i64,
    /// When it was last heard.
    pub last_seen_ms: i64,
    /// Whether its disk has what it needs to start from there.
    pub from_disk: bool,
    /// The manifest that it runs.
    pub running: Option<Digest>,
    /// The manifest that it should run.
    pub wanted: Option<Digest>,
    /// The manifest that failed on it.
    pub failed: Option<Digest>,
    /// Bytes of its download that it has.
    pub progress_done: u64,
    /// Bytes of its download in all; 0: none is going on.
    pub progress_total: u64,
    /// The last thing it said.
    pub message: String,
    /// A key that waits for approval.
    pub offered_key: Option<PublicKey>,
    /// What its packages need of the nodes of other classes, and these do not run; in words.
    pub unmet: String,
    /// Its class; `None` where the catalog has no such node.
    pub class: Option<String>,
    /// Whether it is there.
    pub presence: Presence,
    /// Since when.
    pub presence_since_ms: i64,
    /// How often it was told to report, in seconds.
    pub report_seconds: Option<u16>,
}

/// Whether a node is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Presence {
    /// It speaks.
    Present,
    /// It does not, and should.
    Absent,
    /// Its init is an older one, which is silent while it runs.
    #[default]
    Unknown,
}

impl Presence {
    const ALL: [Presence; 3] = [Presence::Present, Presence::Absent, Presence::Unknown];

    /// Its name in `state.db`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Presence::Present => "present",
            Presence::Absent => "absent",
            Presence::Unknown => "unknown",
        }
    }

    fn named(name: &str) -> Self {
        let found = Presence::ALL.into_iter().find(|it| it.name() == name);
        found.unwrap_or_default()
    }
}

/// What a manifest is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The manifest.
    pub digest: Digest,
    /// The class that it is for.
    pub class: String,
    /// The processors that it is for.
    pub arch: Arch,
    /// Its boot image, by name and version.
    pub image: PackageRef,
    /// Its packages.
    pub packages: Vec<PackageRef>,
}

/// How a node stands against what is wanted of it: a row of the view `node_status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// The packages of what it runs, with their versions, in words.
    pub packages: Option<String>,
    /// How they differ from those that are wanted, in words; empty where they do not.
    pub differs: String,
}

/// An address given to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub ip: Ipv4Addr,
    /// The machine.
    pub mac: Mac,
    /// Until when, in Unix milliseconds.
    pub expires_ms: i64,
    /// What it calls itself.
    pub hostname: String,
    /// Whether the machine has the address.
    pub state: LeaseState,
    /// Where it was last seen.
    pub place: Place,
}

/// What has become of an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LeaseState {
    /// The machine has it, or had it until it expired.
    #[default]
    Bound,
    /// The machine gave it back.
    Released,
    /// The machine found somebody else there: nobody gets it for a while.
    Declined,
}

/// Where a machine was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The network that it asked from, by name.
    pub network: Option<String>,
    /// The relay that passed its packet on.
    pub relay: Option<Ipv4Addr>,
    /// Circuit id of option 82, as [`crate::identify::location_text`] writes it.
    pub circuit: Option<String>,
    /// Remote id of option 82, likewise.
    pub remote: Option<String>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, in Unix milliseconds.
    pub at_ms: i64,
    /// To which node.
    pub node: Option<String>,
    /// One word.
    pub kind: String,
    /// A sentence.
    pub text: String,
}

/// The last message of a key: older ones are replays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyReplay {
    /// The node's public key.
    pub key: PublicKey,
    /// Number of its boot.
    pub boot: u64,
    /// Number of its message in that boot.
    pub seq: u64,
}

/// One thing to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A node's state, whole.
    Node(Box<NodeState>),
    /// A lease, new or renewed.
    Lease(Lease),
    /// Something happened.
    Event(Event),
    /// A key's last message.
    Replay(KeyReplay),
    /// A counter's value.
    Counter(&'static str, u64),
    /// What the catalog wishes of nodes, and the time in Unix milliseconds. A node that has no row yet
    /// gets one, at stage [`UNSEEN`].
    Wished(Vec<Wished>, i64),
    /// The manifests that are in force now, and the time in Unix milliseconds. What nobody names
    /// and was in force long ago goes.
    InForce(Vec<Contents>, i64),
    /// How far a node of a preparation is. The time is Unix time.
    Prepared(Progress),
    /// A node has a test in this boot.
    Tested(NodeTest),
}

/// The stage of a node that was never heard of.
pub const UNSEEN: &str = "unseen";

/// What the catalog wishes of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wished {
    /// The node.
    pub node: String,
    /// Its class; `None`: the catalog has no such node any more.
    pub class: Option<Arc<str>>,
    /// The manifest that it should have.
    pub wanted: Option<Digest>,
}

/// That a node had a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTest {
    /// The test.
    pub test: i64,
    /// The node.
    pub node: String,
    /// The number of the boot in which it had it.
    pub boot: u64,
    /// When, in Unix milliseconds.
    pub at_ms: i64,
}

/// An open `state.db`.
#[derive(Debug)]
pub struct StateStore {
    path: PathBuf,
    connection: Connection,
    /// Device and inode of the file.
    file: Option<(u64, u64)>,
    /// Device and inode of its journal.
    journal: Option<(u64, u64)>,
    /// Rows of leases that stayed at the last sweep, and those that came since.
    leases: (u64, u64),
}

impl StateStore {
    /// Opens `state.db` for writing, and makes it if it is not there.
    ///
    /// # Errors
    /// [`Error::Newer`], [`Error::Foreign`], what SQLite and the file system refuse.
    pub fn open(path: &Path) -> Result<Self> {
        let sql = Error::sql(path);
        let connection = Connection::open(path).map_err(&sql)?;
        connection.execute_batch(SETTINGS).map_err(&sql)?;
        let mut store = StateStore {
            path: path.to_owned(),
            connection,
            file: inode(path),
            journal: None,
            leases: (0, 0),
        };
        if store.pragma("application_id")? == 0 && store.is_empty()? {
            let script = format!("BEGIN IMMEDIATE; {SCHEMA}; COMMIT;");
            store.connection.execute_batch(&script).map_err(&sql)?;
        }
        store.check()?;
        if store.pragma("user_version")? < VERSION {
            upgrade(&mut store.connection, path, VERSION, older::adapt)?;
        }
        store.leases = lease_rows(&store.connection).map_err(&sql)?;
        // Where that cannot be done, commits take longer.
        let _ = fill_journal(path);
        store.journal = inode(&beside(path, "-wal"));
        Ok(store)
    }

    /// Opens `state.db` for reading; `None` where no bootd has run yet.
    ///
    /// # Errors
    /// [`Error::Newer`], [`Error::Foreign`], what SQLite refuses.
    pub fn read_only(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(Error::sql(path))?;
        let store = StateStore {
            path: path.to_owned(),
            connection,
            file: inode(path),
            journal: None,
            leases: (0, 0),
        };
        store.check()?;
        Ok(Some(store))
    }

    /// Whether somebody removed the file, or put another one in its place: what is written then
    /// is seen by nobody.
    #[must_use]
    pub fn is_displaced(&self) -> bool {
        self.file.is_none() || inode(&self.path) != self.file
    }

    /// Lets go of the file it has, and opens or makes the one that belongs there.
    ///
    /// # Errors
    /// As [`StateStore::open`].
    pub fn reopen(&mut self) -> Result<()> {
        // The old one is closed first. SQLite leaves the journal of a file that is not in its place
        // any more; it must not be played into the one that is there now.
        self.file = None;
        self.connection = Connection::open_in_memory().map_err(Error::sql(&self.path))?;
        let journal = beside(&self.path, "-wal");
        if self.journal.is_some() && inode(&journal) == self.journal {
            for name in [journal, beside(&self.path, "-shm")] {
                // What cannot be removed is told of when the database is opened.
                let _ = std::fs::remove_file(name);
            }
        }
        *self = StateStore::open(&self.path)?;
        Ok(())
    }

    /// Writes a batch in one transaction.
    ///
    /// # Errors
    /// What SQLite refuses; nothing of the batch is written then.
    pub fn write(&mut self, batch: &[Record]) -> Result<()> {
        let sql = Error::sql(&self.path);
        let transaction = self.connection.transaction().map_err(&sql)?;
        for record in batch {
            write_record(&transaction, record).map_err(&sql)?;
        }
        if batch
            .iter()
            .any(|record| matches!(record, Record::Event(_)))
        {
            let prune = "DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?1";
            transaction.execute(prune, [KEPT_EVENTS]).map_err(&sql)?;
        }
        let is_lease = |record: &&Record| matches!(record, Record::Lease(_));
        let (kept, mut new) = self.leases;
        new += u64::try_from(batch.iter().filter(is_lease).count()).unwrap_or(0);
        let mut leases = (kept, new);
        if new > LEASES_BETWEEN_SWEEPS.max(kept) {
            let stays = "SELECT max(number) FROM lease GROUP BY ip";
            let sweep = format!("DELETE FROM lease WHERE number NOT IN ({stays})");
            transaction.execute(&sweep, []).map_err(&sql)?;
            leases = lease_rows(&transaction).map_err(&sql)?;
        }
        transaction.commit().map_err(&sql)?;
        self.leases = leases;
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.pragma("application_id")? != APPLICATION_ID {
            return Err(Error::Foreign {
                path: self.path.clone(),
                expected: "state",
            });
        }
        match self.pragma("user_version")? {
            found if found > VERSION => Err(Error::Newer {
                path: self.path.clone(),
                found,
                known: VERSION,
            }),
            _ => Ok(()),
        }
    }

    fn is_empty(&self) -> Result<bool> {
        self.connection
            .query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| {
                row.get(0)
            })
            .map_err(Error::sql(&self.path))
    }

    fn pragma(&self, name: &str) -> Result<i64> {
        self.connection
            .pragma_query_value(None, name, |row| row.get(0))
            .map_err(|source| match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::NotADatabase) => Error::Foreign {
                    path: self.path.clone(),
                    expected: "state",
                },
                _ => Error::sql(&self.path)(source),
            })
    }
}

/// SQLite's integers are signed: what does not fit stays at the largest.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn write_record(transaction: &Transaction<'_>, record: &Record) -> rusqlite::Result<()> {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        transaction.prepare_cached(sql)?.execute(values).map(|_| ())
    };
    match record {
        Record::Node(state) => rows::write_node(transaction, state),
        Record::Lease(lease) => rows::write_lease(transaction, lease),
        Record::Event(event) => run(
            "INSERT INTO event (at_ms, node, kind, text) VALUES (?1, ?2, ?3, ?4)",
            params![event.at_ms, event.node, event.kind, event.text],
        ),
        Record::Replay(replay) => run(
            "INSERT OR REPLACE INTO key_replay (key, boot, seq) VALUES (?1, ?2, ?3)",
            params![
                key_text(&replay.key),
                number(replay.boot),
                number(replay.seq)
            ],
        ),
        Record::Counter(name, value) => run(
            "INSERT OR REPLACE INTO counter (name, value) VALUES (?1, ?2)",
            params![name, number(*value)],
        ),
        Record::Wished(wishes, now) => rows::write_wishes(transaction, wishes, *now),
        Record::InForce(contents, now) => contents::write(transaction, contents, *now),
        Record::Prepared(progress) => orders::write_progress(transaction, progress),
        Record::Tested(test) => orders::write_test(transaction, test),
    }
}

/// Has the journal as large as it will become: a commit that makes a file longer waits for the
/// file system's own journal, too. SQLite goes by what stands in its frames and passes over zeros
/// (its file format, section 4.4).
fn fill_journal(path: &Path) -> std::io::Result<()> {
    let mut file = File::options().write(true).open(beside(path, "-wal"))?;
    let zeros = vec![0; 1 << 20];
    let mut len = file.seek(SeekFrom::End(0))?;
    while len < JOURNAL {
        file.write_all(&zeros)?;
        len += 1 << 20;
    }
    file.sync_all()
}

/// Rows of leases that count, and all others.
fn lease_rows(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let query = "SELECT count(DISTINCT ip), count(*) - count(DISTINCT ip) FROM lease";
    connection.query_row(query, [], |row| {
        let number = |index| row.get::<_, i64>(index).map(i64::unsigned_abs);
        Ok((number(0)?, number(1)?))
    })
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests;
