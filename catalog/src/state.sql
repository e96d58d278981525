-- state.db: what is observed. bootd alone writes it, in batches, and holds it open; people read:
--
--     sqlite3 -readonly state.db 'SELECT * FROM nodes_now'
--
-- Every column whose name ends in _ms is Unix time in milliseconds.

PRAGMA application_id = 0x62746473; -- "btds"
PRAGMA user_version = 1;

CREATE TABLE node_state (
    node            TEXT PRIMARY KEY,
    mac             TEXT,
    address         TEXT,
    arch            TEXT,
    firmware        TEXT,
    -- Where it is on its way: the names are bootd's, see docs/operating.md.
    stage           TEXT NOT NULL,
    stage_since_ms  INTEGER NOT NULL,
    last_seen_ms    INTEGER NOT NULL,
    -- Manifest digests (64 hexadecimal digits): what it runs, what it should, what failed on it.
    running         TEXT,
    wanted          TEXT,
    failed          TEXT,
    -- Bytes of the present download.
    progress_done   INTEGER NOT NULL DEFAULT 0,
    progress_total  INTEGER NOT NULL DEFAULT 0,
    -- The last thing it said, in words.
    message         TEXT NOT NULL DEFAULT '',
    -- A key that waits for `catalog approve NODE`.
    offered_key     TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE lease (
    ip         TEXT PRIMARY KEY,
    mac        TEXT NOT NULL,
    expires_ms INTEGER NOT NULL,
    hostname   TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;

-- The newest 100,000 are kept.
CREATE TABLE event (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    node  TEXT,
    kind  TEXT NOT NULL,
    text  TEXT NOT NULL
) STRICT;
CREATE INDEX event_by_node ON event (node, id);

-- The highest message number seen of each key in its latest boot: a lower one is a replay.
CREATE TABLE key_replay (
    key  TEXT PRIMARY KEY,
    boot INTEGER NOT NULL,
    seq  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What this master has done so far, by name: bytes sent, datagrams refused and so on.
CREATE TABLE counter (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE VIEW nodes_now AS
SELECT node, stage, datetime(stage_since_ms / 1000, 'unixepoch') AS since,
       datetime(last_seen_ms / 1000, 'unixepoch') AS last_seen, address, arch, firmware,
       substr(running, 1, 12) AS running, substr(wanted, 1, 12) AS wanted,
       CASE WHEN progress_total > 0 THEN progress_done * 100 / progress_total END AS percent,
       message
FROM node_state ORDER BY node;
