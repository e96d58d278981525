//! `state.db`: what is observed. Written by bootd alone, in batches; read by everybody.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::{Arch, Firmware, Mac};
use rusqlite::{Connection, OpenFlags, Transaction, params};

use crate::error::{Error, Result};
use crate::keys::{PublicKey, key_text};
use crate::upgrade::upgrade;

mod older;
mod rows;

const SCHEMA: &str = include_str!("state.sql");
const VERSION: i64 = 3;
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
    /// A node is no longer in the catalog.
    ForgetNode(String),
    /// A lease, new or renewed.
    Lease(Lease),
    /// Something happened.
    Event(Event),
    /// A key's last message.
    Replay(KeyReplay),
    /// A counter's value.
    Counter(&'static str, u64),
}

/// An open `state.db`.
#[derive(Debug)]
pub struct StateStore {
    path: PathBuf,
    connection: Connection,
    /// Device and inode of the file.
    file: Option<(u64, u64)>,
    /// Rows of leases after the last sweep, and those that came since.
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
        store.leases.0 = count_leases(&store.connection).map_err(&sql)?;
        // Where that cannot be done, commits take longer.
        let _ = fill_journal(path);
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
        // The old one is closed first: with its end SQLite removes the -wal of that name.
        self.file = None;
        self.connection = Connection::open_in_memory().map_err(Error::sql(&self.path))?;
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
            leases = (count_leases(&transaction).map_err(&sql)?, 0);
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
        Record::ForgetNode(node) => run("DELETE FROM node_state WHERE node = ?1", &[node]),
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
    }
}

/// Has the journal as large as it will become: a commit that makes a file longer waits for the
/// file system's own journal, too. SQLite goes by what stands in its frames and passes over zeros
/// (its file format, section 4.4).
fn fill_journal(path: &Path) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    let mut file = File::options().write(true).open(name)?;
    let zeros = vec![0; 1 << 20];
    let mut len = file.seek(SeekFrom::End(0))?;
    while len < JOURNAL {
        file.write_all(&zeros)?;
        len += 1 << 20;
    }
    file.sync_all()
}

fn count_leases(connection: &Connection) -> rusqlite::Result<u64> {
    let count: i64 = connection.query_row("SELECT count(*) FROM lease", [], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeState {
        NodeState {
            node: "a".into(),
            mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            address: Some(Ipv4Addr::new(10, 0, 0, 7)),
            arch: Some(Arch::X86_64),
            firmware: Some(Firmware::Uefi),
            stage: "running".into(),
            stage_since_ms: 1,
            last_seen_ms: 2,
            from_disk: true,
            running: Some(Digest::of(b"m")),
            wanted: Some(Digest::of(b"m")),
            failed: None,
            progress_done: 5,
            progress_total: 10,
            message: "well".into(),
            offered_key: Some([7; 32]),
        }
    }

    #[test]
    fn reads_back_what_it_wrote_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let lease = Lease {
            ip: Ipv4Addr::new(10, 0, 0, 7),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            expires_ms: 9,
            hostname: "a".into(),
            state: LeaseState::Declined,
            place: Place {
                network: Some("lan".into()),
                relay: Some(Ipv4Addr::new(10, 1, 0, 1)),
                circuit: Some("ge-0/0/7".into()),
                remote: Some("0x0004".into()),
            },
        };
        let replay = KeyReplay {
            key: [7; 32],
            boot: 3,
            seq: u64::MAX,
        };
        let event = Event {
            at_ms: 4,
            node: Some("a".into()),
            kind: "stage".into(),
            text: "it runs".into(),
        };
        let mut store = StateStore::open(&path).unwrap();
        store
            .write(&[
                Record::Node(Box::new(node())),
                Record::Lease(lease.clone()),
                Record::Event(event.clone()),
                Record::Replay(replay),
                Record::Counter("http_bytes", 12),
            ])
            .unwrap();
        drop(store);

        let mut store = StateStore::open(&path).unwrap();
        assert_eq!(store.nodes().unwrap(), [node()]);
        assert_eq!(store.leases().unwrap(), std::slice::from_ref(&lease));
        assert_eq!(
            store.events(Some("a"), 10).unwrap(),
            std::slice::from_ref(&event)
        );
        assert_eq!(store.events(None, 10).unwrap(), [event]);
        assert_eq!(store.events(Some("b"), 10).unwrap(), []);
        let stored = KeyReplay {
            seq: i64::MAX.unsigned_abs(),
            ..replay
        };
        assert_eq!(store.replays().unwrap(), [stored]);
        assert_eq!(store.counters().unwrap(), [("http_bytes".to_owned(), 12)]);

        store.write(&[Record::ForgetNode("a".into())]).unwrap();
        let reader = StateStore::read_only(&path).unwrap().unwrap();
        assert_eq!(reader.nodes().unwrap(), []);
    }

    #[test]
    fn the_last_lease_of_an_address_counts_and_the_others_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let lease = |host: u8, expires_ms| {
            Record::Lease(Lease {
                ip: Ipv4Addr::new(10, 0, 0, host),
                mac: Mac([2, 0, 0, 0, 0, host]),
                expires_ms,
                hostname: String::new(),
                state: LeaseState::Bound,
                place: Place::default(),
            })
        };
        let last = |store: &StateStore| -> Vec<(u8, i64)> {
            let leases = store.leases().unwrap();
            let short = leases.iter().map(|it| (it.ip.octets()[3], it.expires_ms));
            short.collect()
        };
        let mut store = StateStore::open(&path).unwrap();
        let rows = |store: &StateStore| count_leases(&store.connection).unwrap();
        for round in 0..64 {
            let batch: Vec<Record> = (1..=128).map(|host| lease(host, round)).collect();
            store.write(&batch).unwrap();
        }
        assert_eq!(rows(&store), LEASES_BETWEEN_SWEEPS);
        store.write(&[lease(1, 99)]).unwrap();
        assert_eq!(rows(&store), 128);
        let mut expected: Vec<(u8, i64)> = (1..=128).map(|host| (host, 63)).collect();
        expected[0].1 = 99;
        assert_eq!(last(&store), expected);
        store.write(&[lease(2, 100)]).unwrap();
        drop(store);
        expected[1].1 = 100;
        assert_eq!(last(&StateStore::open(&path).unwrap()), expected);
    }

    #[test]
    fn refuses_what_is_newer_or_something_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        assert!(StateStore::read_only(&path).unwrap().is_none());
        drop(StateStore::open(&path).unwrap());
        let raw = Connection::open(&path).unwrap();
        raw.execute_batch("PRAGMA user_version = 9").unwrap();
        assert!(matches!(
            StateStore::open(&path),
            Err(Error::Newer { found: 9, .. })
        ));
        drop(raw);

        let other = dir.path().join("other.db");
        Connection::open(&other)
            .unwrap()
            .execute_batch("CREATE TABLE t (x)")
            .unwrap();
        assert!(matches!(
            StateStore::open(&other),
            Err(Error::Foreign { .. })
        ));
        std::fs::write(&other, [7; 4096]).unwrap();
        assert!(matches!(
            StateStore::open(&other),
            Err(Error::Damaged { .. })
        ));
        std::fs::write(&other, "not a database at all, but long enough to look").unwrap();
        assert!(matches!(
            StateStore::read_only(&other),
            Err(Error::Foreign { .. })
        ));
    }

    #[test]
    fn one_that_was_removed_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let mut store = StateStore::open(&path).unwrap();
        store.write(&[Record::Counter("http_bytes", 1)]).unwrap();
        assert!(!store.is_displaced());
        for name in ["state.db", "state.db-wal", "state.db-shm"] {
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
        assert!(store.is_displaced());
        store.reopen().unwrap();
        store.write(&[Record::Counter("http_bytes", 2)]).unwrap();
        assert!(!store.is_displaced());
        let reader = StateStore::read_only(&path).unwrap().unwrap();
        assert_eq!(reader.counters().unwrap(), [("http_bytes".to_owned(), 2)]);
    }
}
