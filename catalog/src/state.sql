-- state.db: what is observed. bootd alone writes it, in batches, and holds it open; people read:
--
--     sqlite3 -readonly state.db 'SELECT * FROM node_status'
--
-- Every column whose name ends in _ms is Unix time in milliseconds.

PRAGMA application_id = 0x62746473; -- "btds"
PRAGMA user_version = 4;

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
    -- 1: its disk has what it needs to start from there.
    from_disk       INTEGER NOT NULL DEFAULT 0,
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
    offered_key     TEXT,
    -- What its packages need of the nodes of other classes, and these do not run; '' where all holds.
    unmet           TEXT NOT NULL DEFAULT '',
    -- Its class, as the catalog has it; NULL: the catalog has no node of this name any more.
    class           TEXT,
    -- present, absent (three of its reports are missing), or unknown: the init of its boot image
    -- is an older one, which does not report while it runs.
    presence        TEXT NOT NULL DEFAULT 'unknown',
    presence_since_ms INTEGER NOT NULL DEFAULT 0,
    -- How often it was told to report, in seconds; NULL: it has not reported yet.
    report_seconds  INTEGER
) STRICT, WITHOUT ROWID;

-- What the manifests above are made of: those in force, those that a node names, and for a week
-- those of before.
CREATE TABLE manifest (
    digest        TEXT PRIMARY KEY,
    class         TEXT NOT NULL,
    arch          TEXT NOT NULL,
    image         TEXT NOT NULL,
    image_version TEXT NOT NULL,
    -- When it was last in force, as far as that is over.
    seen_ms       INTEGER NOT NULL,
    in_force      INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE manifest_package (
    digest   TEXT NOT NULL,
    position INTEGER NOT NULL,
    package  TEXT NOT NULL,
    version  TEXT NOT NULL,
    PRIMARY KEY (digest, package)
) STRICT, WITHOUT ROWID;

-- Written for every DHCPACK before it is sent, so it is a log: rows are added at its end, which
-- changes few pages however the addresses lie, and the last row of an address is the one that
-- counts. The others go when they have become many. Rows are small: addresses are numbers, and
-- there is no index. People read the view `leases`.
CREATE TABLE lease (
    number     INTEGER PRIMARY KEY,
    -- 10.0.0.7 is 10*2^24 + 7; of a MAC address, likewise.
    ip         INTEGER NOT NULL,
    mac        INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    -- bound, released (the machine gave it back), declined (it found somebody else there).
    state      TEXT NOT NULL,
    hostname   TEXT NOT NULL DEFAULT '',
    -- Where the machine was last seen: the network's name, the relay's address, what the relay
    -- said in option 82.
    network    TEXT,
    relay      INTEGER,
    circuit    TEXT,
    remote     TEXT
) STRICT;

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

CREATE VIEW leases AS
SELECT (ip >> 24) || '.' || (ip >> 16 & 255) || '.' || (ip >> 8 & 255) || '.' || (ip & 255) AS address,
       printf('%02x:%02x:%02x:%02x:%02x:%02x', mac >> 40, mac >> 32 & 255, mac >> 24 & 255,
              mac >> 16 & 255, mac >> 8 & 255, mac & 255) AS mac,
       hostname,
       CASE WHEN state = 'bound' AND expires_ms <= unixepoch() * 1000 THEN 'expired' ELSE state END AS state,
       datetime(expires_ms / 1000, 'unixepoch') AS until, network,
       (relay >> 24) || '.' || (relay >> 16 & 255) || '.' || (relay >> 8 & 255) || '.' || (relay & 255) AS relay,
       circuit, remote
FROM lease WHERE number IN (SELECT max(number) FROM lease GROUP BY ip) ORDER BY ip;

-- How far each node of each preparation is (catalog.db, table preparation).
CREATE TABLE preparation_node (
    preparation INTEGER NOT NULL,
    node        TEXT NOT NULL,
    -- ordered, installing, ready, restarting, done, failed, absent: see docs/operating.md.
    stage       TEXT NOT NULL,
    since_ms    INTEGER NOT NULL,
    -- In words.
    message     TEXT NOT NULL DEFAULT '',
    -- The number of the boot in which it was heard last.
    boot        INTEGER NOT NULL DEFAULT 0,
    -- When the command that resets it was run; NULL: it was not.
    reset_ms    INTEGER,
    PRIMARY KEY (preparation, node)
) STRICT, WITHOUT ROWID;

-- Which node had which test (catalog.db, table test), and in which of its boots.
CREATE TABLE node_test (
    test  INTEGER NOT NULL,
    node  TEXT NOT NULL,
    boot  INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (test, node)
) STRICT, WITHOUT ROWID;

-- Every node: whether it is there, what it does, with which versions, and how these differ from
-- what is wanted: 'site 1.0 -> 2.0', '+new 1', '-gone 1', '' where nothing differs.
CREATE VIEW node_status AS
SELECT n.node AS name, n.class, n.presence, n.stage,
       datetime(n.stage_since_ms / 1000, 'unixepoch') AS since,
       n.running, n.wanted,
       (SELECT group_concat(p.package || ' ' || p.version, ', ')
        FROM (SELECT package, version FROM manifest_package WHERE digest = n.running
              ORDER BY position) AS p) AS packages,
       CASE
           WHEN n.running = n.wanted OR n.wanted IS NULL THEN ''
           WHEN n.running IS NULL THEN 'has nothing'
           WHEN NOT EXISTS (SELECT 1 FROM manifest WHERE digest = n.running)
               THEN 'runs what is not known any more'
           ELSE coalesce((SELECT group_concat(d.difference, ', ') FROM (
               SELECT w.package || ' ' || r.version || ' -> ' || w.version AS difference
               FROM manifest_package AS w
               JOIN manifest_package AS r ON r.digest = n.running AND r.package = w.package
               WHERE w.digest = n.wanted AND r.version <> w.version
               UNION ALL
               SELECT '+' || w.package || ' ' || w.version FROM manifest_package AS w
               WHERE w.digest = n.wanted AND NOT EXISTS (
                   SELECT 1 FROM manifest_package WHERE digest = n.running AND package = w.package)
               UNION ALL
               SELECT '-' || r.package || ' ' || r.version FROM manifest_package AS r
               WHERE r.digest = n.running AND NOT EXISTS (
                   SELECT 1 FROM manifest_package WHERE digest = n.wanted AND package = r.package)
               UNION ALL
               SELECT 'boot image ' || r.image || ' ' || r.image_version
                      || ' -> ' || w.image || ' ' || w.image_version
               FROM manifest AS w JOIN manifest AS r ON r.digest = n.running
               WHERE w.digest = n.wanted
                 AND (w.image, w.image_version) <> (r.image, r.image_version)
           ) AS d), 'other files or settings')
       END AS differs,
       n.unmet, n.message
FROM node_state AS n WHERE n.class IS NOT NULL ORDER BY n.node;

CREATE VIEW nodes_now AS
SELECT node, stage, datetime(stage_since_ms / 1000, 'unixepoch') AS since,
       datetime(last_seen_ms / 1000, 'unixepoch') AS last_seen, address, arch, firmware,
       substr(running, 1, 12) AS running, substr(wanted, 1, 12) AS wanted,
       CASE WHEN progress_total > 0 THEN progress_done * 100 / progress_total END AS percent,
       message
FROM node_state ORDER BY node;
