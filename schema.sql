-- The catalog: what every machine should be. This file is the one truth of its tables.
--
-- catalog.db is written by people (`sqlite3 catalog.db`, `catalog`) and seldom by bootd; what is
-- observed stands in state.db. A committed edit, by any tool, is in force within a second.
-- The edit you will make most often:
--
--     UPDATE class_package SET version = '2.0' WHERE class = 'web' AND package = 'site';
--
-- Rules of this file:
-- * STRICT tables and SQLite 3.40 features only: that is the `sqlite3` of Debian 12.
-- * References are guarded by triggers, not by REFERENCES: the shell leaves foreign keys switched
--   off, and a trigger can say what to do instead. One mechanism, always on.
-- * A check's name is the sentence that a person reads when it fails.
-- * Every change of every table moves `generation` on.
-- * The journal is a rollback journal, never WAL: the `sqlite3` of Debian 12 has the WAL-reset bug.

PRAGMA application_id = 0x62746364; -- "btcd"
PRAGMA user_version = 3;

CREATE TABLE generation (
    id    INTEGER PRIMARY KEY CONSTRAINT "generation has one row" CHECK (id = 1),
    value INTEGER NOT NULL
) STRICT;
INSERT INTO generation VALUES (1, 1);

-- Blobs ------------------------------------------------------------------------------------------

-- Content in blobs/sha256/, named by its SHA-256 (64 lower-case hexadecimal digits).
CREATE TABLE blob (
    sha256 TEXT PRIMARY KEY
        CONSTRAINT "sha256 is 64 lower-case hexadecimal digits"
        CHECK (length(sha256) = 64 AND sha256 NOT GLOB '*[^0-9a-f]*'),
    size   INTEGER NOT NULL CONSTRAINT "size is in bytes, from 0" CHECK (size >= 0)
) STRICT, WITHOUT ROWID;

-- Packages ---------------------------------------------------------------------------------------

CREATE TABLE package (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL
        CONSTRAINT "a package name is lower-case letters, digits and . + - _"
        CHECK (name GLOB '[a-z0-9]*' AND name NOT GLOB '*[^a-z0-9.+_-]*' AND length(name) <= 100),
    version TEXT NOT NULL
        CONSTRAINT "a version begins with a letter or digit; then also . + - ~ : _"
        CHECK (version GLOB '[A-Za-z0-9]*' AND version NOT GLOB '*[^A-Za-z0-9.+~:_-]*'
               AND length(version) <= 100),
    arch    TEXT NOT NULL
        CONSTRAINT "arch is x86_64, aarch64, riscv64 or all"
        CHECK (arch IN ('x86_64', 'aarch64', 'riscv64', 'all')),
    -- The feature that it is there for: only nodes that ask for that have it. '': for all.
    function TEXT NOT NULL DEFAULT ''
        CONSTRAINT "function is lower-case letters, digits and . + - _, or '' for all nodes"
        CHECK (function NOT GLOB '*[^a-z0-9.+_-]*' AND length(function) <= 60),
    UNIQUE (name, version, arch)
) STRICT;

-- The files (modules) of a package. kind 'file' has a sha256, 'link' a target, 'dir' neither.
-- A path may stand several times, for different nodes: arch and function pick one. The node's own
-- arch goes before 'all', a feature that it asks for before ''.
CREATE TABLE package_file (
    package_id INTEGER NOT NULL,
    path       TEXT NOT NULL
        CONSTRAINT "path is absolute, without . or .. parts, double or trailing slashes"
        CHECK (path GLOB '/?*' AND path NOT GLOB '*/' AND path NOT GLOB '*//*'
               AND path || '/' NOT GLOB '*/./*' AND path || '/' NOT GLOB '*/../*'
               AND instr(path, char(0)) = 0 AND length(path) <= 4096),
    kind       TEXT NOT NULL
        CONSTRAINT "kind is file, link or dir" CHECK (kind IN ('file', 'link', 'dir')),
    mode       INTEGER NOT NULL
        CONSTRAINT "mode is permission bits, 0 to 4095 (octal 7777)" CHECK (mode BETWEEN 0 AND 4095),
    uid        INTEGER NOT NULL DEFAULT 0
        CONSTRAINT "uid is from 0 to 4294967294" CHECK (uid BETWEEN 0 AND 4294967294),
    gid        INTEGER NOT NULL DEFAULT 0
        CONSTRAINT "gid is from 0 to 4294967294" CHECK (gid BETWEEN 0 AND 4294967294),
    sha256     TEXT,
    target     TEXT,
    arch       TEXT NOT NULL DEFAULT 'all'
        CONSTRAINT "arch is x86_64, aarch64, riscv64 or all"
        CHECK (arch IN ('x86_64', 'aarch64', 'riscv64', 'all')),
    function   TEXT NOT NULL DEFAULT ''
        CONSTRAINT "function is lower-case letters, digits and . + - _, or '' for all nodes"
        CHECK (function NOT GLOB '*[^a-z0-9.+_-]*' AND length(function) <= 60),
    type       TEXT NOT NULL DEFAULT 'data'
        CONSTRAINT "type is program, library, data or config"
        CHECK (type IN ('program', 'library', 'data', 'config')),
    -- The change signature: differs when the content differs in substance, not when the same source
    -- was built again. It decides what restarts. NULL: the sha256 does.
    signature  TEXT
        CONSTRAINT "signature is 64 lower-case hexadecimal digits"
        CHECK (length(signature) = 64 AND signature NOT GLOB '*[^0-9a-f]*'),
    PRIMARY KEY (package_id, path, arch, function),
    CONSTRAINT "a file has a sha256, a link has a target, a dir has neither"
        CHECK ((sha256 IS NOT NULL) = (kind = 'file') AND (target IS NOT NULL) = (kind = 'link')
               AND target IS NOT '')
) STRICT, WITHOUT ROWID;
CREATE INDEX package_file_by_blob ON package_file (sha256) WHERE sha256 IS NOT NULL;

-- The shared libraries that a program or library needs, by the name that its ELF header has.
-- direct: it says so itself; transitive: a library of the same package that it needs says so;
-- declared: it loads it by name, which somebody has told.
CREATE TABLE package_library (
    package_id INTEGER NOT NULL,
    path       TEXT NOT NULL,
    library    TEXT NOT NULL CONSTRAINT "library is a name such as libssl.so.3" CHECK (library <> ''),
    how        TEXT NOT NULL DEFAULT 'declared'
        CONSTRAINT "how is direct, transitive or declared"
        CHECK (how IN ('direct', 'transitive', 'declared')),
    PRIMARY KEY (package_id, path, library)
) STRICT, WITHOUT ROWID;

-- The interfaces that modules offer to each other, by name. What one of a node's packages
-- consumes, one of them must provide.
CREATE TABLE package_api (
    package_id INTEGER NOT NULL,
    path       TEXT NOT NULL,
    side       TEXT NOT NULL CONSTRAINT "side is provides or consumes"
        CHECK (side IN ('provides', 'consumes')),
    api        TEXT NOT NULL
        CONSTRAINT "api is letters, digits and . + - _ : /"
        CHECK (api GLOB '[A-Za-z0-9]*' AND api NOT GLOB '*[^A-Za-z0-9.+_:/-]*' AND length(api) <= 100),
    PRIMARY KEY (package_id, path, side, api)
) STRICT, WITHOUT ROWID;

-- What a package says about others, as in Debian's control files: 'db (>= 2, << 3) | old-db'.
-- needs: must be on the node, or on every node of class on_class; conflicts: must not be there;
-- provides: what it stands for, 'libssl3 (= 3.0.15)'; upgrades: it stands before that package, and
-- goes with these versions of it.
--
--     INSERT INTO package_relation (package_id, kind, relation, on_class)
--     SELECT id, 'needs', 'db (>= 2)', 'back' FROM package WHERE (name, version) = ('shop', '1.4');
CREATE TABLE package_relation (
    package_id INTEGER NOT NULL,
    kind       TEXT NOT NULL
        CONSTRAINT "kind is needs, conflicts, provides or upgrades"
        CHECK (kind IN ('needs', 'conflicts', 'provides', 'upgrades')),
    relation   TEXT NOT NULL
        CONSTRAINT "relation is like: name, name (>= 1.2), one (= 2) | another (>= 1, << 2)"
        CHECK (relation GLOB '[a-z0-9]*' AND relation NOT GLOB '*[^A-Za-z0-9.+_:~()<>=, |-]*'
               AND relation NOT GLOB '*[0-9A-Za-z.+_~-] [0-9A-Za-z]*'
               AND length(relation) <= 1000),
    -- The class whose nodes it is about; '': the node itself.
    on_class   TEXT NOT NULL DEFAULT '',
    -- Only for nodes with this processor; 'all': for every one.
    for_arch   TEXT NOT NULL DEFAULT 'all'
        CONSTRAINT "for_arch is x86_64, aarch64, riscv64 or all"
        CHECK (for_arch IN ('x86_64', 'aarch64', 'riscv64', 'all')),
    PRIMARY KEY (package_id, kind, relation, on_class, for_arch),
    CONSTRAINT "only needs and conflicts are about other nodes: on_class is '' for provides and upgrades"
        CHECK (on_class = '' OR kind IN ('needs', 'conflicts')),
    CONSTRAINT "provides and upgrades are about one name, without |"
        CHECK (kind IN ('needs', 'conflicts') OR instr(relation, '|') = 0)
) STRICT, WITHOUT ROWID;

-- What `init` starts, by position. argv and env are JSON arrays of text.
CREATE TABLE package_process (
    package_id INTEGER NOT NULL,
    position   INTEGER NOT NULL,
    name       TEXT NOT NULL
        CONSTRAINT "a process name is letters, digits and . + - _ @"
        CHECK (name GLOB '[A-Za-z0-9]*' AND name NOT GLOB '*[^A-Za-z0-9.+_@-]*' AND length(name) <= 100),
    argv       TEXT NOT NULL
        CONSTRAINT "argv is a JSON array that begins with an absolute path"
        CHECK (json_valid(argv) AND json_type(argv) = 'array'
               AND coalesce(json_extract(argv, '$[0]') GLOB '/?*', 0)),
    env        TEXT NOT NULL DEFAULT '[]'
        CONSTRAINT "env is a JSON array of KEY=value"
        CHECK (json_valid(env) AND json_type(env) = 'array'),
    restart    TEXT NOT NULL DEFAULT 'always'
        CONSTRAINT "restart is always, on-failure or never"
        CHECK (restart IN ('always', 'on-failure', 'never')),
    -- simple: a change of what it uses restarts it; self-managing: it is told, and does the rest.
    kind       TEXT NOT NULL DEFAULT 'simple'
        CONSTRAINT "kind is simple or self-managing" CHECK (kind IN ('simple', 'self-managing')),
    -- When it counts as ready: started, once it runs; notify, once it has sent READY=1 (sd_notify);
    -- tcp:PORT, once that port accepts; path:FILE, once that is there.
    readiness  TEXT NOT NULL DEFAULT 'started'
        CONSTRAINT "readiness is started, notify, tcp:PORT or path:/FILE"
        CHECK (readiness IN ('started', 'notify')
               OR readiness GLOB 'tcp:[1-9]*' AND substr(readiness, 5) NOT GLOB '*[^0-9]*'
                  AND CAST(substr(readiness, 5) AS INTEGER) <= 65535
               OR readiness GLOB 'path:/?*'),
    -- Resource limits by the names of prlimit(1): {"nofile": 65536, "core": 0}.
    limits     TEXT NOT NULL DEFAULT '{}'
        CONSTRAINT "limits is a JSON object of numbers by name"
        CHECK (json_valid(limits) AND json_type(limits) = 'object'),
    PRIMARY KEY (package_id, name)
) STRICT, WITHOUT ROWID;

-- Boot images ------------------------------------------------------------------------------------

-- A unified kernel image and the loader that starts it from the local disk, all by SHA-256.
-- Without bios_boot and bios_core it is for UEFI machines only.
CREATE TABLE boot_image (
    name      TEXT NOT NULL
        CONSTRAINT "a boot image name is lower-case letters, digits and . + - _"
        CHECK (name GLOB '[a-z0-9]*' AND name NOT GLOB '*[^a-z0-9.+_-]*' AND length(name) <= 100),
    version   TEXT NOT NULL
        CONSTRAINT "a version begins with a letter or digit; then also . + - ~ : _"
        CHECK (version GLOB '[A-Za-z0-9]*' AND version NOT GLOB '*[^A-Za-z0-9.+~:_-]*'
               AND length(version) <= 100),
    arch      TEXT NOT NULL
        CONSTRAINT "arch is x86_64, aarch64 or riscv64"
        CHECK (arch IN ('x86_64', 'aarch64', 'riscv64')),
    uki       TEXT NOT NULL,
    efi       TEXT NOT NULL,
    bios_boot TEXT,
    bios_core TEXT,
    PRIMARY KEY (name, version, arch),
    CONSTRAINT "bios_boot and bios_core go together: give both or neither"
        CHECK ((bios_boot IS NULL) = (bios_core IS NULL))
) STRICT, WITHOUT ROWID;

-- Classes ----------------------------------------------------------------------------------------

CREATE TABLE class (
    name         TEXT PRIMARY KEY
        CONSTRAINT "a class name is lower-case letters, digits and . - _"
        CHECK (name GLOB '[a-z0-9]*' AND name NOT GLOB '*[^a-z0-9._-]*' AND length(name) <= 60),
    -- open: a node's key is bound at first contact; approval: after `catalog approve NODE`.
    key_policy   TEXT NOT NULL DEFAULT 'approval'
        CONSTRAINT "key_policy is open or approval" CHECK (key_policy IN ('open', 'approval')),
    -- When no master answers: run what the disk holds, or hold (keep asking, run nothing).
    on_silence   TEXT NOT NULL DEFAULT 'run'
        CONSTRAINT "on_silence is run or hold" CHECK (on_silence IN ('run', 'hold')),
    -- When the disk holds somebody else's data: keep it (and do not install), or overwrite it.
    foreign_disk TEXT NOT NULL DEFAULT 'keep'
        CONSTRAINT "foreign_disk is keep or overwrite" CHECK (foreign_disk IN ('keep', 'overwrite')),
    -- The disk to install on; NULL: the first that fits.
    disk         TEXT
        CONSTRAINT "disk is a kernel name without /dev/, such as vda or nvme0n1"
        CHECK (disk GLOB '[a-z]*' AND disk NOT GLOB '*[^A-Za-z0-9_!-]*' AND length(disk) <= 32),
    comment      TEXT NOT NULL DEFAULT '',
    -- How long its nodes keep an address; NULL: as long as the network says.
    lease_seconds INTEGER
        CONSTRAINT "lease_seconds is from 60 to 31536000 (a year)"
        CHECK (lease_seconds BETWEEN 60 AND 31536000),
    -- How its nodes load their boot image; NULL: as the network says.
    boot_by      TEXT CONSTRAINT "boot_by is tftp or http" CHECK (boot_by IN ('tftp', 'http')),
    -- persist: its nodes install on their disks; test: they run from RAM at every boot, and their
    -- disks stay as they are; hold: they wait, and run nothing.
    install      TEXT NOT NULL DEFAULT 'persist'
        CONSTRAINT "install is persist, test or hold" CHECK (install IN ('persist', 'test', 'hold')),
    -- What bootd runs to reset a node of this class that is absent while it is to be prepared: a
    -- program and its arguments, without a shell. {node}, {mac} and {address} stand for the node's:
    -- '["/usr/bin/ipmitool", "-H", "{node}-bmc", "-f", "/etc/ipmi", "power", "cycle"]'.
    reset_command TEXT
        CONSTRAINT "reset_command is a JSON array that begins with an absolute path"
        CHECK (reset_command IS NULL
               OR json_valid(reset_command) AND json_type(reset_command) = 'array'
                  AND coalesce(json_extract(reset_command, '$[0]') GLOB '/?*', 0)),
    -- After so long an absence.
    reset_after_seconds INTEGER NOT NULL DEFAULT 60
        CONSTRAINT "reset_after_seconds is from 0 to 86400 (a day)"
        CHECK (reset_after_seconds BETWEEN 0 AND 86400)
) STRICT, WITHOUT ROWID;

-- The packages of a class, by position: base packages last. Where two packages hold the same path,
-- the lower position wins. The node's architecture picks the build; without one, arch 'all'.
-- Without a position a package stands just before the first one that it needs, or first of all.
CREATE TABLE class_package (
    class    TEXT NOT NULL,
    position INTEGER,
    package  TEXT NOT NULL,
    version  TEXT NOT NULL,
    PRIMARY KEY (class, package)
) STRICT, WITHOUT ROWID;
CREATE INDEX class_package_by_package ON class_package (package, version);

-- The boot image of a class, one for each architecture its nodes may have.
CREATE TABLE class_image (
    class   TEXT NOT NULL,
    arch    TEXT NOT NULL,
    image   TEXT NOT NULL,
    version TEXT NOT NULL,
    PRIMARY KEY (class, arch)
) STRICT, WITHOUT ROWID;

-- Machines ---------------------------------------------------------------------------------------

-- Which unknown machines become nodes of which class: lowest priority number first, then by name;
-- the first rule whose every set column matches decides. NULL matches everything.
CREATE TABLE rule (
    name        TEXT PRIMARY KEY
        CONSTRAINT "a rule name is lower-case letters, digits and . - _"
        CHECK (name GLOB '[a-z0-9]*' AND name NOT GLOB '*[^a-z0-9._-]*' AND length(name) <= 60),
    priority    INTEGER NOT NULL DEFAULT 100,
    arch        TEXT CONSTRAINT "arch is x86_64, aarch64 or riscv64"
        CHECK (arch IN ('x86_64', 'aarch64', 'riscv64')),
    firmware    TEXT CONSTRAINT "firmware is bios or uefi" CHECK (firmware IN ('bios', 'uefi')),
    -- The beginning of a MAC address: '52:54:00'.
    mac_prefix  TEXT CONSTRAINT "mac_prefix is like 52:54:00, in lower case"
        CHECK (mac_prefix <> '' AND mac_prefix NOT GLOB '*[^0-9a-f:]*' AND length(mac_prefix) <= 17),
    -- What the machine's SMBIOS says; * stands for any text: 'PowerEdge R6*'.
    product     TEXT CONSTRAINT "product is a text, or NULL for any" CHECK (product <> ''),
    vendor      TEXT CONSTRAINT "vendor is a text, or NULL for any" CHECK (vendor <> ''),
    -- enrol: make it a node; hold: make it a node that waits (node.hold = 1); ignore: no answer.
    action      TEXT NOT NULL DEFAULT 'enrol'
        CONSTRAINT "action is enrol, hold or ignore" CHECK (action IN ('enrol', 'hold', 'ignore')),
    class       TEXT,
    -- A new node's name is this and the last six digits of its MAC address.
    node_prefix TEXT NOT NULL DEFAULT 'node-'
        CONSTRAINT "node_prefix is lower-case letters, digits and -"
        CHECK (node_prefix GLOB '[a-z0-9]*' AND node_prefix NOT GLOB '*[^a-z0-9-]*'
               AND length(node_prefix) <= 40),
    comment     TEXT NOT NULL DEFAULT '',
    -- Where the machine sits: the network it asks from, the relay that passes its packets on, and
    -- what that relay (or a switch before it) says of the port in option 82. In circuit, remote and
    -- vendor_class * stands for any text. Bytes that are no printable text are written as
    -- hexadecimal digits after 0x: '0x0004*'.
    network     TEXT,
    relay       TEXT CONSTRAINT "relay is an IPv4 address such as 10.0.0.7"
        CHECK (relay GLOB '[0-9]*.[0-9]*.[0-9]*.[0-9]*' AND relay NOT GLOB '*[^0-9.]*'
               AND relay NOT GLOB '*.*.*.*.*' AND '.' || relay NOT GLOB '*.0[0-9]*'
               AND relay NOT GLOB '*[0-9][0-9][0-9][0-9]*' AND relay NOT GLOB '*[3-9][0-9][0-9]*'
               AND relay NOT GLOB '*2[6-9][0-9]*' AND relay NOT GLOB '*25[6-9]*'),
    circuit     TEXT CONSTRAINT "circuit is a text, or NULL for any" CHECK (circuit <> ''),
    remote      TEXT CONSTRAINT "remote is a text, or NULL for any" CHECK (remote <> ''),
    -- What the client's program calls itself (option 60): 'PXEClient*', 'docsis3.0*'.
    vendor_class TEXT
        CONSTRAINT "vendor_class is a text, or NULL for any" CHECK (vendor_class <> ''),
    -- More of the machine's SMBIOS: its serial number, that of its chassis, and where in that it
    -- sits; * stands for any text: 'Slot 0*'. What SMBIOS says is told by init alone, so a machine
    -- that such a rule may take in boots before it becomes a node.
    serial      TEXT CONSTRAINT "serial is a text, or NULL for any" CHECK (serial <> ''),
    chassis     TEXT CONSTRAINT "chassis is a text, or NULL for any" CHECK (chassis <> ''),
    slot        TEXT CONSTRAINT "slot is a text, or NULL for any" CHECK (slot <> ''),
    CONSTRAINT "enrol and hold need a class; ignore has none"
        CHECK ((class IS NULL) = (action = 'ignore'))
) STRICT, WITHOUT ROWID;

CREATE TABLE node (
    name       TEXT PRIMARY KEY
        CONSTRAINT "a node name is a host name: lower-case letters, digits, - and ."
        CHECK (name GLOB '[a-z0-9]*' AND name NOT GLOB '*[^a-z0-9.-]*' AND length(name) <= 60),
    mac        TEXT UNIQUE
        CONSTRAINT "mac is like 52:54:00:12:34:56, in lower case"
        CHECK (mac GLOB '[0-9a-f][0-9a-f]:[0-9a-f][0-9a-f]:[0-9a-f][0-9a-f]:[0-9a-f][0-9a-f]:[0-9a-f][0-9a-f]:[0-9a-f][0-9a-f]'),
    uuid       TEXT UNIQUE
        CONSTRAINT "uuid is like 123e4567-e89b-12d3-a456-426614174000, in lower case"
        CHECK (length(uuid) = 36 AND uuid NOT GLOB '*[^0-9a-f-]*'
               AND uuid GLOB '????????-????-????-????-????????????'
               AND length(replace(uuid, '-', '')) = 32),
    arch       TEXT CONSTRAINT "arch is x86_64, aarch64 or riscv64"
        CHECK (arch IN ('x86_64', 'aarch64', 'riscv64')),
    firmware   TEXT CONSTRAINT "firmware is bios or uefi" CHECK (firmware IN ('bios', 'uefi')),
    class      TEXT NOT NULL,
    -- The node's ed25519 key, bound at first contact. NULL: none bound yet; set it to NULL to let
    -- a machine whose disk was replaced introduce itself again.
    public_key TEXT UNIQUE
        CONSTRAINT "public_key is 64 lower-case hexadecimal digits"
        CHECK (length(public_key) = 64 AND public_key NOT GLOB '*[^0-9a-f]*'),
    -- A reserved address; NULL: one of the network's pool.
    ip         TEXT UNIQUE
        CONSTRAINT "ip is an IPv4 address such as 10.0.0.7"
        CHECK (ip GLOB '[0-9]*.[0-9]*.[0-9]*.[0-9]*' AND ip NOT GLOB '*[^0-9.]*'
               AND ip NOT GLOB '*.*.*.*.*' AND '.' || ip NOT GLOB '*.0[0-9]*'
               AND ip NOT GLOB '*[0-9][0-9][0-9][0-9]*' AND ip NOT GLOB '*[3-9][0-9][0-9]*'
               AND ip NOT GLOB '*2[6-9][0-9]*' AND ip NOT GLOB '*25[6-9]*'),
    -- 1: the node waits, runs nothing, until this is 0.
    hold       INTEGER NOT NULL DEFAULT 0 CONSTRAINT "hold is 0 or 1" CHECK (hold IN (0, 1)),
    comment    TEXT NOT NULL DEFAULT '',
    -- How it loads its boot image; NULL: as its class says.
    boot_by    TEXT CONSTRAINT "boot_by is tftp or http" CHECK (boot_by IN ('tftp', 'http')),
    -- class: its class's list, with the changes of node_package; own: the list of node_package.
    packages   TEXT NOT NULL DEFAULT 'class'
        CONSTRAINT "packages is class or own" CHECK (packages IN ('class', 'own')),
    CONSTRAINT "a node needs a mac or a uuid to be known by"
        CHECK (mac IS NOT NULL OR uuid IS NOT NULL)
) STRICT, WITHOUT ROWID;
CREATE INDEX node_by_class ON node (class);

-- A node's own packages: in place of its class's list (node.packages = 'own'), or besides it. The
-- same package in another version takes the place of its class's; without a version it is left out.
CREATE TABLE node_package (
    node     TEXT NOT NULL,
    -- As in class_package; NULL: where its class's stands, else just before the first it needs.
    position INTEGER,
    package  TEXT NOT NULL,
    version  TEXT,
    PRIMARY KEY (node, package)
) STRICT, WITHOUT ROWID;
CREATE INDEX node_package_by_package ON node_package (package, version);

-- What nodes ask for by name: packages and files with this function. A node has what its class
-- asks for, unless it says wanted = 0 itself.
CREATE TABLE feature (
    scope    TEXT NOT NULL CONSTRAINT "scope is class or node" CHECK (scope IN ('class', 'node')),
    owner    TEXT NOT NULL,
    feature  TEXT NOT NULL
        CONSTRAINT "a feature is lower-case letters, digits and . + - _"
        CHECK (feature GLOB '[a-z0-9]*' AND feature NOT GLOB '*[^a-z0-9.+_-]*' AND length(feature) <= 60),
    wanted   INTEGER NOT NULL DEFAULT 1 CONSTRAINT "wanted is 0 or 1" CHECK (wanted IN (0, 1)),
    PRIMARY KEY (scope, owner, feature)
) STRICT, WITHOUT ROWID;

-- The networks that bootd answers on: those in which the master has an address, and those from
-- which a relay passes packets on. No two may overlap.
CREATE TABLE network (
    name          TEXT PRIMARY KEY
        CONSTRAINT "a network name is lower-case letters, digits and . - _"
        CHECK (name GLOB '[a-z0-9]*' AND name NOT GLOB '*[^a-z0-9._-]*' AND length(name) <= 60),
    subnet        TEXT NOT NULL UNIQUE
        CONSTRAINT "subnet is like 10.0.0.0/24, with 1 to 30 network bits"
        CHECK (subnet GLOB '[0-9]*.[0-9]*.[0-9]*.[0-9]*/[0-9]*' AND subnet NOT GLOB '*[^0-9./]*'
               AND subnet NOT GLOB '*.*.*.*.*' AND subnet NOT GLOB '*/*/*' AND subnet NOT GLOB '*/*.*'
               AND '.' || subnet NOT GLOB '*.0[0-9]*'
               AND subnet NOT GLOB '*[0-9][0-9][0-9][0-9]*' AND subnet NOT GLOB '*[3-9][0-9][0-9]*'
               AND subnet NOT GLOB '*2[6-9][0-9]*' AND subnet NOT GLOB '*25[6-9]*'
               AND (subnet GLOB '*/[1-9]' OR subnet GLOB '*/[12][0-9]' OR subnet GLOB '*/30')),
    -- Both or neither; without them only nodes with a reserved ip get an address. Addresses of the
    -- pool that are the router's or the master's own are never given.
    pool_first    TEXT CONSTRAINT "pool_first is an IPv4 address"
        CHECK (pool_first GLOB '[0-9]*.[0-9]*.[0-9]*.[0-9]*' AND pool_first NOT GLOB '*[^0-9.]*'
               AND pool_first NOT GLOB '*.*.*.*.*' AND '.' || pool_first NOT GLOB '*.0[0-9]*'
               AND pool_first NOT GLOB '*[0-9][0-9][0-9][0-9]*' AND pool_first NOT GLOB '*[3-9][0-9][0-9]*'
               AND pool_first NOT GLOB '*2[6-9][0-9]*' AND pool_first NOT GLOB '*25[6-9]*'),
    pool_last     TEXT CONSTRAINT "pool_last is an IPv4 address"
        CHECK (pool_last GLOB '[0-9]*.[0-9]*.[0-9]*.[0-9]*' AND pool_last NOT GLOB '*[^0-9.]*'
               AND pool_last NOT GLOB '*.*.*.*.*' AND '.' || pool_last NOT GLOB '*.0[0-9]*'
               AND pool_last NOT GLOB '*[0-9][0-9][0-9][0-9]*' AND pool_last NOT GLOB '*[3-9][0-9][0-9]*'
               AND pool_last NOT GLOB '*2[6-9][0-9]*' AND pool_last NOT GLOB '*25[6-9]*'),
    router        TEXT CONSTRAINT "router is an IPv4 address"
        CHECK (router GLOB '[0-9]*.[0-9]*.[0-9]*.[0-9]*' AND router NOT GLOB '*[^0-9.]*'
               AND router NOT GLOB '*.*.*.*.*' AND '.' || router NOT GLOB '*.0[0-9]*'
               AND router NOT GLOB '*[0-9][0-9][0-9][0-9]*' AND router NOT GLOB '*[3-9][0-9][0-9]*'
               AND router NOT GLOB '*2[6-9][0-9]*' AND router NOT GLOB '*25[6-9]*'),
    -- Addresses, separated by commas.
    dns           TEXT NOT NULL DEFAULT ''
        CONSTRAINT "dns is IPv4 addresses separated by commas"
        CHECK (dns NOT GLOB '*[^0-9., ]*'
               AND json_valid('[[' || replace(replace(dns, ',', '],['), '.', ',') || ']]')),
    lease_seconds INTEGER NOT NULL DEFAULT 3600
        CONSTRAINT "lease_seconds is from 60 to 31536000 (a year)"
        CHECK (lease_seconds BETWEEN 60 AND 31536000),
    -- The address that bootd gives as its own; NULL: the one of the interface it was asked on.
    server        TEXT CONSTRAINT "server is an IPv4 address"
        CHECK (server GLOB '[0-9]*.[0-9]*.[0-9]*.[0-9]*' AND server NOT GLOB '*[^0-9.]*'
               AND server NOT GLOB '*.*.*.*.*' AND '.' || server NOT GLOB '*.0[0-9]*'
               AND server NOT GLOB '*[0-9][0-9][0-9][0-9]*' AND server NOT GLOB '*[3-9][0-9][0-9]*'
               AND server NOT GLOB '*2[6-9][0-9]*' AND server NOT GLOB '*25[6-9]*'),
    -- full: bootd is the DHCP server; proxy: it gives boot information only, beside another DHCP
    -- server that gives the addresses; off: it answers nobody here.
    mode          TEXT NOT NULL DEFAULT 'full'
        CONSTRAINT "mode is full, proxy or off" CHECK (mode IN ('full', 'proxy', 'off')),
    -- Machines that speak BOOTP without DHCP never give an address back. off: they get no answer;
    -- reserved: nodes with a reserved ip get it; dynamic: others get one of the pool, for good.
    bootp         TEXT NOT NULL DEFAULT 'reserved'
        CONSTRAINT "bootp is off, reserved or dynamic" CHECK (bootp IN ('off', 'reserved', 'dynamic')),
    -- 1: before an address is offered for the first time, the network is asked whether somebody
    -- uses it; that costs the newcomer a moment. 0: it is offered at once.
    probe         INTEGER NOT NULL DEFAULT 1 CONSTRAINT "probe is 0 or 1" CHECK (probe IN (0, 1)),
    -- How machines load their boot image: tftp or http; NULL: as their firmware asks. A class or
    -- a node may say otherwise.
    boot_by       TEXT CONSTRAINT "boot_by is tftp or http" CHECK (boot_by IN ('tftp', 'http')),
    -- The iPXE that UEFI machines load first: ipxe.efi has its own drivers, snponly.efi uses the
    -- firmware's. NULL: they load the boot image itself.
    uefi_loader   TEXT
        CONSTRAINT "uefi_loader is ipxe.efi or snponly.efi, or NULL for none"
        CHECK (uefi_loader IN ('ipxe.efi', 'snponly.efi')),
    -- Machines that are no node and that no rule takes in. serve: they get an address (and nothing
    -- to boot); ignore: they get no answer.
    unknown       TEXT NOT NULL DEFAULT 'serve'
        CONSTRAINT "unknown is serve or ignore" CHECK (unknown IN ('serve', 'ignore')),
    CONSTRAINT "pool_first and pool_last go together: give both or neither"
        CHECK ((pool_first IS NULL) = (pool_last IS NULL))
) STRICT, WITHOUT ROWID;

-- DHCP options (RFC 2132) that machines get besides what bootd sends by itself. Where several rows
-- have one code, the node's wins over the class's, and that over the network's.
--
--     INSERT INTO dhcp_option VALUES ('network', 'rack1', 42, 'ip', '10.0.0.2, 10.0.0.3', 0);
CREATE TABLE dhcp_option (
    -- Whose machines get it, and the name of that row.
    scope  TEXT NOT NULL
        CONSTRAINT "scope is network, class or node" CHECK (scope IN ('network', 'class', 'node')),
    owner  TEXT NOT NULL,
    code   INTEGER NOT NULL
        CONSTRAINT "code is an option number from 1 to 254" CHECK (code BETWEEN 1 AND 254),
    -- How value is written. ip, u8, u16, u32: one or several, separated by commas; text: as it is;
    -- hex: pairs of hexadecimal digits, nothing between them.
    type   TEXT NOT NULL
        CONSTRAINT "type is ip, text, u8, u16, u32 or hex"
        CHECK (type IN ('ip', 'text', 'u8', 'u16', 'u32', 'hex')),
    value  TEXT NOT NULL,
    -- 1: sent to clients that do not ask for it, too (option 55 is where they ask).
    always INTEGER NOT NULL DEFAULT 0 CONSTRAINT "always is 0 or 1" CHECK (always IN (0, 1)),
    PRIMARY KEY (scope, owner, code),
    CONSTRAINT "option 50 is the client's: a machine's own address is node.ip" CHECK (code <> 50),
    CONSTRAINT "option 51 is the lease time: set network.lease_seconds or class.lease_seconds instead"
        CHECK (code <> 51),
    CONSTRAINT "option 52 tells where options stand in the packet: bootd sets it itself"
        CHECK (code <> 52),
    CONSTRAINT "option 53 is the kind of a DHCP message: bootd sets it itself" CHECK (code <> 53),
    CONSTRAINT "option 54 is the server's address: set network.server instead" CHECK (code <> 54),
    CONSTRAINT "option 55 is the client's: it lists what it asks for; to send more, set always = 1"
        CHECK (code <> 55),
    CONSTRAINT "option 57 is the client's: it tells how large an answer may be" CHECK (code <> 57),
    CONSTRAINT "options 58 and 59 follow from the lease time: set network.lease_seconds or class.lease_seconds instead"
        CHECK (code NOT IN (58, 59)),
    CONSTRAINT "option 61 is the client's: it is given back as it came" CHECK (code <> 61),
    CONSTRAINT "option 82 is the relay's: it is given back as it came" CHECK (code <> 82),
    CONSTRAINT "value is IPv4 addresses, separated by commas"
        CHECK (type <> 'ip' OR
               value GLOB '[0-9]*.[0-9]*.[0-9]*.[0-9]*' AND value NOT GLOB '*[^0-9., ]*'
               AND json_valid('[[' || replace(replace(value, ',', '],['), '.', ',') || ']]')),
    CONSTRAINT "value is numbers, separated by commas"
        CHECK (type NOT IN ('u8', 'u16', 'u32') OR
               value GLOB '*[0-9]*' AND value NOT GLOB '*[^0-9, ]*'
               AND json_valid('[' || value || ']')),
    CONSTRAINT "value is a text of 1 to 255 bytes"
        CHECK (type <> 'text' OR length(CAST(value AS BLOB)) BETWEEN 1 AND 255
               AND instr(value, char(0)) = 0),
    CONSTRAINT "value is 1 to 255 pairs of hexadecimal digits, with nothing between them"
        CHECK (type <> 'hex' OR value NOT GLOB '*[^0-9A-Fa-f]*' AND length(value) % 2 = 0
               AND length(value) BETWEEN 2 AND 510)
) STRICT, WITHOUT ROWID;

-- Keys whose composites may be installed (minisign public keys). See `catalog trust`.
CREATE TABLE trusted_key (
    name TEXT PRIMARY KEY CONSTRAINT "a key has a name" CHECK (name <> ''),
    key  TEXT NOT NULL UNIQUE
        CONSTRAINT "key is the second line of a minisign .pub file, 56 characters that begin with RW"
        CHECK (length(key) = 56 AND key GLOB 'RW*' AND key NOT GLOB '*[^A-Za-z0-9+/=]*')
) STRICT, WITHOUT ROWID;

-- Orders to many ---------------------------------------------------------------------------------

-- Prepare nodes: all that it names restart, install what they lack and wait for each other; when
-- the last one is ready, all restart. How far each is stands in state.db, table preparation_node.
--
--     INSERT INTO preparation (comment) VALUES ('tonight');
--     INSERT INTO preparation_target (preparation, scope, name) VALUES (1, 'class', 'web');
CREATE TABLE preparation (
    -- Left out: the next number. A number is never used again.
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    -- NULL: as soon as all are ready, bootd writes 'go' itself. go: those that are ready restart,
    -- the others are left out. cancel: everybody runs, nobody waits.
    decision TEXT
        CONSTRAINT "decision is go or cancel, or NULL for not yet" CHECK (decision IN ('go', 'cancel')),
    comment  TEXT NOT NULL DEFAULT ''
) STRICT;

-- Whom it is for. Nodes count that are there when bootd first sees it with a target; put all of
-- them into one transaction.
CREATE TABLE preparation_target (
    preparation INTEGER NOT NULL,
    scope       TEXT NOT NULL
        CONSTRAINT "scope is all, class or node" CHECK (scope IN ('all', 'class', 'node')),
    -- Of the class or node; '' for all.
    name        TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (preparation, scope, name),
    CONSTRAINT "a class or node has a name, all has none" CHECK ((scope = 'all') = (name = ''))
) STRICT, WITHOUT ROWID;

-- Try packages, or a boot image, once: at the next boot, each node that it names has them in RAM, in
-- the place of, or besides, what its class has. The boot after that is as always. Which node had its
-- test stands in state.db, table node_test.
--
--     INSERT INTO test (scope, name) VALUES ('node', 'node-123456');
--     INSERT INTO test_package VALUES (1, 'site', '2.0');
CREATE TABLE test (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    scope   TEXT NOT NULL CONSTRAINT "scope is class or node" CHECK (scope IN ('class', 'node')),
    name    TEXT NOT NULL,
    comment TEXT NOT NULL DEFAULT '',
    -- A boot image; NULL: none but that of the class.
    image   TEXT,
    version TEXT,
    CONSTRAINT "image and version go together: give both or neither"
        CHECK ((image IS NULL) = (version IS NULL))
) STRICT;

CREATE TABLE test_package (
    test    INTEGER NOT NULL,
    package TEXT NOT NULL,
    version TEXT NOT NULL,
    PRIMARY KEY (test, package)
) STRICT, WITHOUT ROWID;

-- Addresses as numbers, for the guards below ------------------------------------------------------

-- 10.0.0.7 is 10*2^24 + 7. What is no address has no number, so a guard lets it pass.
CREATE VIEW network_span AS
WITH octets AS (
    SELECT name, '[' || replace(replace(subnet, '.', ','), '/', ',') || ']' AS subnet,
           '[' || replace(pool_first, '.', ',') || ']' AS pool_first,
           '[' || replace(pool_last, '.', ',') || ']' AS pool_last,
           '[' || replace(router, '.', ',') || ']' AS router
    FROM network
), number AS (
    SELECT name,
           (SELECT sum(value << (24 - 8 * key)) FROM json_each(iif(json_valid(subnet), subnet, '[]'))
            WHERE key < 4) AS address,
           (1 << (32 - json_extract(iif(json_valid(subnet), subnet, '[]'), '$[4]'))) - 1 AS hosts,
           (SELECT sum(value << (24 - 8 * key)) FROM json_each(iif(json_valid(pool_first), pool_first, '[]')))
               AS pool_first,
           (SELECT sum(value << (24 - 8 * key)) FROM json_each(iif(json_valid(pool_last), pool_last, '[]')))
               AS pool_last,
           (SELECT sum(value << (24 - 8 * key)) FROM json_each(iif(json_valid(router), router, '[]'))) AS router
    FROM octets
)
SELECT name, address, address & ~hosts AS first, address | hosts AS last, pool_first, pool_last, router
FROM number;

-- The addresses (as JSON arrays of four) and numbers of every option that is a list of them.
CREATE VIEW dhcp_option_part AS
WITH list AS (
    SELECT scope, owner, code,
           CASE WHEN type = 'ip'
                THEN '[[' || replace(replace(replace(value, ' ', ''), ',', '],['), '.', ',') || ']]'
                ELSE '[' || value || ']' END AS text
    FROM dhcp_option WHERE type IN ('ip', 'u8', 'u16', 'u32')
)
SELECT scope, owner, code, part.key AS position, part.value
FROM list JOIN json_each(iif(json_valid(text), text, '[]')) AS part;

-- Guards: what a row names must exist, what is named stays ---------------------------------------

CREATE TRIGGER generation_stays BEFORE DELETE ON generation BEGIN
    SELECT RAISE(ABORT, 'generation counts the edits of this catalog: leave its row alone');
END;

CREATE TRIGGER blob_is_its_content BEFORE UPDATE ON blob BEGIN
    SELECT RAISE(ABORT, 'a blob is named by its content and never changes: insert another row');
END;
CREATE TRIGGER blob_keeps_its_size BEFORE INSERT ON blob
WHEN EXISTS (SELECT 1 FROM blob WHERE sha256 = NEW.sha256 AND size <> NEW.size) BEGIN
    SELECT RAISE(ABORT, 'this blob is here with another size: one of the two is damaged');
END;
CREATE TRIGGER blob_stays_while_named BEFORE DELETE ON blob BEGIN
    SELECT RAISE(ABORT, 'a package still has this blob: delete the package first')
    WHERE EXISTS (SELECT 1 FROM package_file WHERE sha256 = OLD.sha256);
    SELECT RAISE(ABORT, 'a boot image still has this blob: delete the boot image first')
    WHERE EXISTS (SELECT 1 FROM boot_image WHERE OLD.sha256 IN (uki, efi, bios_boot, bios_core));
END;

CREATE TRIGGER package_is_new BEFORE INSERT ON package
WHEN EXISTS (SELECT 1 FROM package WHERE name = NEW.name AND version = NEW.version AND arch = NEW.arch) BEGIN
    SELECT RAISE(ABORT, 'this version of this package is here already: give it another version');
END;
CREATE TRIGGER package_id_is_new BEFORE INSERT ON package
WHEN EXISTS (SELECT 1 FROM package WHERE id = NEW.id) BEGIN
    SELECT RAISE(ABORT, 'another package has this id: leave the id out and one is chosen');
END;
CREATE TRIGGER package_keeps_its_name BEFORE UPDATE ON package
WHEN (OLD.id, OLD.name, OLD.version, OLD.arch) IS NOT (NEW.id, NEW.name, NEW.version, NEW.arch) BEGIN
    SELECT RAISE(ABORT, 'a package never changes its name, version or arch: install another one');
END;
CREATE TRIGGER package_stays_while_listed BEFORE DELETE ON package
WHEN EXISTS (SELECT 1 FROM class_package WHERE package = OLD.name AND version = OLD.version)
 AND NOT EXISTS (SELECT 1 FROM package WHERE name = OLD.name AND version = OLD.version AND id <> OLD.id) BEGIN
    SELECT RAISE(ABORT, 'a class still lists this version of the package: see SELECT * FROM class_package, and give the class another version first');
END;
CREATE TRIGGER package_stays_while_a_node_lists_it BEFORE DELETE ON package
WHEN EXISTS (SELECT 1 FROM node_package WHERE package = OLD.name AND version = OLD.version)
 AND NOT EXISTS (SELECT 1 FROM package WHERE name = OLD.name AND version = OLD.version AND id <> OLD.id) BEGIN
    SELECT RAISE(ABORT, 'a node still lists this version of the package: see SELECT * FROM node_package, and give the node another version first');
END;
CREATE TRIGGER package_takes_its_rows AFTER DELETE ON package BEGIN
    DELETE FROM package_file WHERE package_id = OLD.id;
    DELETE FROM package_process WHERE package_id = OLD.id;
    DELETE FROM package_library WHERE package_id = OLD.id;
    DELETE FROM package_api WHERE package_id = OLD.id;
    DELETE FROM package_relation WHERE package_id = OLD.id;
END;

CREATE TRIGGER package_file_insert BEFORE INSERT ON package_file BEGIN
    SELECT RAISE(ABORT, 'no package has this package_id: see SELECT id, name, version, arch FROM package')
    WHERE NOT EXISTS (SELECT 1 FROM package WHERE id = NEW.package_id);
    SELECT RAISE(ABORT, 'no blob has this sha256: insert it into blob first')
    WHERE NEW.sha256 IS NOT NULL AND NOT EXISTS (SELECT 1 FROM blob WHERE sha256 = NEW.sha256);
END;
CREATE TRIGGER package_file_update BEFORE UPDATE ON package_file BEGIN
    SELECT RAISE(ABORT, 'no package has this package_id: see SELECT id, name, version, arch FROM package')
    WHERE NOT EXISTS (SELECT 1 FROM package WHERE id = NEW.package_id);
    SELECT RAISE(ABORT, 'no blob has this sha256: insert it into blob first')
    WHERE NEW.sha256 IS NOT NULL AND NOT EXISTS (SELECT 1 FROM blob WHERE sha256 = NEW.sha256);
END;

CREATE TRIGGER package_process_insert BEFORE INSERT ON package_process
WHEN NOT EXISTS (SELECT 1 FROM package WHERE id = NEW.package_id) BEGIN
    SELECT RAISE(ABORT, 'no package has this package_id: see SELECT id, name, version, arch FROM package');
END;
CREATE TRIGGER package_process_update BEFORE UPDATE ON package_process
WHEN NOT EXISTS (SELECT 1 FROM package WHERE id = NEW.package_id) BEGIN
    SELECT RAISE(ABORT, 'no package has this package_id: see SELECT id, name, version, arch FROM package');
END;

CREATE TRIGGER package_library_insert BEFORE INSERT ON package_library
WHEN NOT EXISTS (SELECT 1 FROM package WHERE id = NEW.package_id) BEGIN
    SELECT RAISE(ABORT, 'no package has this package_id: see SELECT id, name, version, arch FROM package');
END;
CREATE TRIGGER package_library_update BEFORE UPDATE ON package_library
WHEN NOT EXISTS (SELECT 1 FROM package WHERE id = NEW.package_id) BEGIN
    SELECT RAISE(ABORT, 'no package has this package_id: see SELECT id, name, version, arch FROM package');
END;
CREATE TRIGGER package_api_insert BEFORE INSERT ON package_api
WHEN NOT EXISTS (SELECT 1 FROM package WHERE id = NEW.package_id) BEGIN
    SELECT RAISE(ABORT, 'no package has this package_id: see SELECT id, name, version, arch FROM package');
END;
CREATE TRIGGER package_api_update BEFORE UPDATE ON package_api
WHEN NOT EXISTS (SELECT 1 FROM package WHERE id = NEW.package_id) BEGIN
    SELECT RAISE(ABORT, 'no package has this package_id: see SELECT id, name, version, arch FROM package');
END;
CREATE TRIGGER package_relation_insert BEFORE INSERT ON package_relation
WHEN NOT EXISTS (SELECT 1 FROM package WHERE id = NEW.package_id) BEGIN
    SELECT RAISE(ABORT, 'no package has this package_id: see SELECT id, name, version, arch FROM package');
END;
CREATE TRIGGER package_relation_update BEFORE UPDATE ON package_relation
WHEN NOT EXISTS (SELECT 1 FROM package WHERE id = NEW.package_id) BEGIN
    SELECT RAISE(ABORT, 'no package has this package_id: see SELECT id, name, version, arch FROM package');
END;

CREATE TRIGGER boot_image_insert BEFORE INSERT ON boot_image BEGIN
    SELECT RAISE(ABORT, 'uki, efi, bios_boot and bios_core must name blobs that are in the table blob')
    WHERE (SELECT count(*) FROM blob WHERE sha256 IN (NEW.uki, NEW.efi, NEW.bios_boot, NEW.bios_core))
       <> (SELECT count(DISTINCT value) FROM json_each(json_array(NEW.uki, NEW.efi, NEW.bios_boot, NEW.bios_core)));
END;
CREATE TRIGGER boot_image_update BEFORE UPDATE ON boot_image BEGIN
    SELECT RAISE(ABORT, 'uki, efi, bios_boot and bios_core must name blobs that are in the table blob')
    WHERE (SELECT count(*) FROM blob WHERE sha256 IN (NEW.uki, NEW.efi, NEW.bios_boot, NEW.bios_core))
       <> (SELECT count(DISTINCT value) FROM json_each(json_array(NEW.uki, NEW.efi, NEW.bios_boot, NEW.bios_core)));
    SELECT RAISE(ABORT, 'a boot image never changes its name, version or arch: install another one')
    WHERE (OLD.name, OLD.version, OLD.arch) <> (NEW.name, NEW.version, NEW.arch);
END;
CREATE TRIGGER boot_image_stays_while_used BEFORE DELETE ON boot_image
WHEN EXISTS (SELECT 1 FROM class_image WHERE image = OLD.name AND version = OLD.version AND arch = OLD.arch) BEGIN
    SELECT RAISE(ABORT, 'a class still boots this image: see SELECT * FROM class_image, and give the class another image first');
END;

CREATE TRIGGER class_takes_its_name_along AFTER UPDATE OF name ON class WHEN OLD.name <> NEW.name BEGIN
    UPDATE class_package SET class = NEW.name WHERE class = OLD.name;
    UPDATE class_image SET class = NEW.name WHERE class = OLD.name;
    UPDATE rule SET class = NEW.name WHERE class = OLD.name;
    UPDATE node SET class = NEW.name WHERE class = OLD.name;
    UPDATE dhcp_option SET owner = NEW.name WHERE scope = 'class' AND owner = OLD.name;
    UPDATE feature SET owner = NEW.name WHERE scope = 'class' AND owner = OLD.name;
    UPDATE package_relation SET on_class = NEW.name WHERE on_class = OLD.name;
END;
CREATE TRIGGER class_stays_while_used BEFORE DELETE ON class BEGIN
    SELECT RAISE(ABORT, 'nodes still have this class: give them another one first: UPDATE node SET class = ... WHERE class = ...')
    WHERE EXISTS (SELECT 1 FROM node WHERE class = OLD.name);
    SELECT RAISE(ABORT, 'a rule still puts machines into this class: delete the rule first, or give it another class')
    WHERE EXISTS (SELECT 1 FROM rule WHERE class = OLD.name);
END;
CREATE TRIGGER class_takes_its_rows AFTER DELETE ON class BEGIN
    DELETE FROM class_package WHERE class = OLD.name;
    DELETE FROM class_image WHERE class = OLD.name;
    DELETE FROM dhcp_option WHERE scope = 'class' AND owner = OLD.name;
    DELETE FROM feature WHERE scope = 'class' AND owner = OLD.name;
END;

CREATE TRIGGER class_package_insert BEFORE INSERT ON class_package BEGIN
    SELECT RAISE(ABORT, 'no class has this name: see SELECT name FROM class')
    WHERE NOT EXISTS (SELECT 1 FROM class WHERE name = NEW.class);
    SELECT RAISE(ABORT, 'no package has this name: see SELECT DISTINCT name FROM package')
    WHERE NOT EXISTS (SELECT 1 FROM package WHERE name = NEW.package);
    SELECT RAISE(ABORT, 'this package has no such version: see SELECT name, version, arch FROM package')
    WHERE NOT EXISTS (SELECT 1 FROM package WHERE name = NEW.package AND version = NEW.version);
END;
CREATE TRIGGER class_package_update BEFORE UPDATE ON class_package BEGIN
    SELECT RAISE(ABORT, 'no class has this name: see SELECT name FROM class')
    WHERE NOT EXISTS (SELECT 1 FROM class WHERE name = NEW.class);
    SELECT RAISE(ABORT, 'no package has this name: see SELECT DISTINCT name FROM package')
    WHERE NOT EXISTS (SELECT 1 FROM package WHERE name = NEW.package);
    SELECT RAISE(ABORT, 'this package has no such version: see SELECT name, version, arch FROM package')
    WHERE NOT EXISTS (SELECT 1 FROM package WHERE name = NEW.package AND version = NEW.version);
END;

CREATE TRIGGER class_image_insert BEFORE INSERT ON class_image BEGIN
    SELECT RAISE(ABORT, 'no class has this name: see SELECT name FROM class')
    WHERE NOT EXISTS (SELECT 1 FROM class WHERE name = NEW.class);
    SELECT RAISE(ABORT, 'no boot image has this name, version and arch: see SELECT name, version, arch FROM boot_image')
    WHERE NOT EXISTS (SELECT 1 FROM boot_image WHERE name = NEW.image AND version = NEW.version AND arch = NEW.arch);
END;
CREATE TRIGGER class_image_update BEFORE UPDATE ON class_image BEGIN
    SELECT RAISE(ABORT, 'no class has this name: see SELECT name FROM class')
    WHERE NOT EXISTS (SELECT 1 FROM class WHERE name = NEW.class);
    SELECT RAISE(ABORT, 'no boot image has this name, version and arch: see SELECT name, version, arch FROM boot_image')
    WHERE NOT EXISTS (SELECT 1 FROM boot_image WHERE name = NEW.image AND version = NEW.version AND arch = NEW.arch);
END;

CREATE TRIGGER rule_insert BEFORE INSERT ON rule BEGIN
    SELECT RAISE(ABORT, 'no class has this name: see SELECT name FROM class')
    WHERE NEW.class IS NOT NULL AND NOT EXISTS (SELECT 1 FROM class WHERE name = NEW.class);
    SELECT RAISE(ABORT, 'no network has this name: see SELECT name FROM network')
    WHERE NEW.network IS NOT NULL AND NOT EXISTS (SELECT 1 FROM network WHERE name = NEW.network);
END;
CREATE TRIGGER rule_update BEFORE UPDATE ON rule BEGIN
    SELECT RAISE(ABORT, 'no class has this name: see SELECT name FROM class')
    WHERE NEW.class IS NOT NULL AND NOT EXISTS (SELECT 1 FROM class WHERE name = NEW.class);
    SELECT RAISE(ABORT, 'no network has this name: see SELECT name FROM network')
    WHERE NEW.network IS NOT NULL AND NOT EXISTS (SELECT 1 FROM network WHERE name = NEW.network);
END;

CREATE TRIGGER node_insert BEFORE INSERT ON node BEGIN
    SELECT RAISE(ABORT, 'no class has this name: see SELECT name FROM class')
    WHERE NOT EXISTS (SELECT 1 FROM class WHERE name = NEW.class);
    SELECT RAISE(ABORT, 'another node has this mac: a card belongs to one node, see SELECT name, mac FROM node')
    WHERE EXISTS (SELECT 1 FROM node WHERE mac = NEW.mac AND name <> NEW.name);
    SELECT RAISE(ABORT, 'another node has this uuid: a machine is one node, see SELECT name, uuid FROM node')
    WHERE EXISTS (SELECT 1 FROM node WHERE uuid = NEW.uuid AND name <> NEW.name);
    SELECT RAISE(ABORT, 'another node has this ip: an address is reserved for one node, see SELECT name, ip FROM node')
    WHERE EXISTS (SELECT 1 FROM node WHERE ip = NEW.ip AND name <> NEW.name);
    SELECT RAISE(ABORT, 'another node has this public_key: a key belongs to one node, see SELECT name, public_key FROM node')
    WHERE EXISTS (SELECT 1 FROM node WHERE public_key = NEW.public_key AND name <> NEW.name);
END;
CREATE TRIGGER node_update BEFORE UPDATE ON node BEGIN
    SELECT RAISE(ABORT, 'no class has this name: see SELECT name FROM class')
    WHERE NOT EXISTS (SELECT 1 FROM class WHERE name = NEW.class);
    SELECT RAISE(ABORT, 'another node has this mac: a card belongs to one node, see SELECT name, mac FROM node')
    WHERE NEW.mac IS NOT OLD.mac AND EXISTS (SELECT 1 FROM node WHERE mac = NEW.mac AND name <> OLD.name);
    SELECT RAISE(ABORT, 'another node has this uuid: a machine is one node, see SELECT name, uuid FROM node')
    WHERE NEW.uuid IS NOT OLD.uuid AND EXISTS (SELECT 1 FROM node WHERE uuid = NEW.uuid AND name <> OLD.name);
    SELECT RAISE(ABORT, 'another node has this ip: an address is reserved for one node, see SELECT name, ip FROM node')
    WHERE NEW.ip IS NOT OLD.ip AND EXISTS (SELECT 1 FROM node WHERE ip = NEW.ip AND name <> OLD.name);
    SELECT RAISE(ABORT, 'another node has this public_key: a key belongs to one node, see SELECT name, public_key FROM node')
    WHERE NEW.public_key IS NOT OLD.public_key AND EXISTS (SELECT 1 FROM node WHERE public_key = NEW.public_key AND name <> OLD.name);
END;
CREATE TRIGGER node_takes_its_name_along AFTER UPDATE OF name ON node WHEN OLD.name <> NEW.name BEGIN
    UPDATE dhcp_option SET owner = NEW.name WHERE scope = 'node' AND owner = OLD.name;
    UPDATE node_package SET node = NEW.name WHERE node = OLD.name;
    UPDATE feature SET owner = NEW.name WHERE scope = 'node' AND owner = OLD.name;
END;
CREATE TRIGGER node_takes_its_rows AFTER DELETE ON node BEGIN
    DELETE FROM dhcp_option WHERE scope = 'node' AND owner = OLD.name;
    DELETE FROM node_package WHERE node = OLD.name;
    DELETE FROM feature WHERE scope = 'node' AND owner = OLD.name;
END;

CREATE TRIGGER node_package_insert BEFORE INSERT ON node_package BEGIN
    SELECT RAISE(ABORT, 'no node has this name: see SELECT name FROM node')
    WHERE NOT EXISTS (SELECT 1 FROM node WHERE name = NEW.node);
    SELECT RAISE(ABORT, 'no package has this name: see SELECT DISTINCT name FROM package')
    WHERE NEW.version IS NOT NULL AND NOT EXISTS (SELECT 1 FROM package WHERE name = NEW.package);
    SELECT RAISE(ABORT, 'this package has no such version: see SELECT name, version, arch FROM package')
    WHERE NEW.version IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM package WHERE name = NEW.package AND version = NEW.version);
END;
CREATE TRIGGER node_package_update BEFORE UPDATE ON node_package BEGIN
    SELECT RAISE(ABORT, 'no node has this name: see SELECT name FROM node')
    WHERE NOT EXISTS (SELECT 1 FROM node WHERE name = NEW.node);
    SELECT RAISE(ABORT, 'no package has this name: see SELECT DISTINCT name FROM package')
    WHERE NEW.version IS NOT NULL AND NOT EXISTS (SELECT 1 FROM package WHERE name = NEW.package);
    SELECT RAISE(ABORT, 'this package has no such version: see SELECT name, version, arch FROM package')
    WHERE NEW.version IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM package WHERE name = NEW.package AND version = NEW.version);
END;

CREATE TRIGGER feature_insert BEFORE INSERT ON feature BEGIN
    SELECT RAISE(ABORT, 'no class has this name (owner): see SELECT name FROM class')
    WHERE NEW.scope = 'class' AND NOT EXISTS (SELECT 1 FROM class WHERE name = NEW.owner);
    SELECT RAISE(ABORT, 'no node has this name (owner): see SELECT name FROM node')
    WHERE NEW.scope = 'node' AND NOT EXISTS (SELECT 1 FROM node WHERE name = NEW.owner);
END;
CREATE TRIGGER feature_update BEFORE UPDATE ON feature BEGIN
    SELECT RAISE(ABORT, 'no class has this name (owner): see SELECT name FROM class')
    WHERE NEW.scope = 'class' AND NOT EXISTS (SELECT 1 FROM class WHERE name = NEW.owner);
    SELECT RAISE(ABORT, 'no node has this name (owner): see SELECT name FROM node')
    WHERE NEW.scope = 'node' AND NOT EXISTS (SELECT 1 FROM node WHERE name = NEW.owner);
END;

-- These look at the row as it has become: the checks of its columns have been passed by then.
CREATE TRIGGER network_insert AFTER INSERT ON network BEGIN
    SELECT RAISE(ABORT, 'subnet has host bits set: write its first address, as in 10.0.0.0/24')
    WHERE EXISTS (SELECT 1 FROM network_span WHERE name = NEW.name AND address <> first);
    SELECT RAISE(ABORT, 'this subnet overlaps another network: see SELECT name, subnet FROM network')
    WHERE EXISTS (SELECT 1 FROM network_span AS mine JOIN network_span AS other
                  WHERE mine.name = NEW.name AND other.name <> NEW.name
                    AND mine.first <= other.last AND other.first <= mine.last);
    SELECT RAISE(ABORT, 'pool_first and pool_last must be in the subnet, and neither its first nor its last address')
    WHERE EXISTS (SELECT 1 FROM network_span WHERE name = NEW.name
                  AND (pool_first NOT BETWEEN first + 1 AND last - 1
                       OR pool_last NOT BETWEEN first + 1 AND last - 1));
    SELECT RAISE(ABORT, 'pool_first comes after pool_last: swap them')
    WHERE EXISTS (SELECT 1 FROM network_span WHERE name = NEW.name AND pool_first > pool_last);
    SELECT RAISE(ABORT, 'router must be in the subnet, and neither its first nor its last address')
    WHERE EXISTS (SELECT 1 FROM network_span WHERE name = NEW.name
                  AND router NOT BETWEEN first + 1 AND last - 1);
    SELECT RAISE(ABORT, 'dns is IPv4 addresses separated by commas, such as 10.0.0.2, 10.0.0.3')
    WHERE EXISTS (
        SELECT 1 FROM json_each('[[' || replace(replace(replace(NEW.dns, ' ', ''), ',', '],['), '.', ',') || ']]')
        WHERE NEW.dns <> '' AND (json_array_length(value) <> 4
              OR (SELECT max(part.value) FROM json_each(json_each.value) AS part) > 255));
END;
CREATE TRIGGER network_update AFTER UPDATE ON network BEGIN
    SELECT RAISE(ABORT, 'subnet has host bits set: write its first address, as in 10.0.0.0/24')
    WHERE EXISTS (SELECT 1 FROM network_span WHERE name = NEW.name AND address <> first);
    SELECT RAISE(ABORT, 'this subnet overlaps another network: see SELECT name, subnet FROM network')
    WHERE EXISTS (SELECT 1 FROM network_span AS mine JOIN network_span AS other
                  WHERE mine.name = NEW.name AND other.name <> NEW.name
                    AND mine.first <= other.last AND other.first <= mine.last);
    SELECT RAISE(ABORT, 'pool_first and pool_last must be in the subnet, and neither its first nor its last address')
    WHERE EXISTS (SELECT 1 FROM network_span WHERE name = NEW.name
                  AND (pool_first NOT BETWEEN first + 1 AND last - 1
                       OR pool_last NOT BETWEEN first + 1 AND last - 1));
    SELECT RAISE(ABORT, 'pool_first comes after pool_last: swap them')
    WHERE EXISTS (SELECT 1 FROM network_span WHERE name = NEW.name AND pool_first > pool_last);
    SELECT RAISE(ABORT, 'router must be in the subnet, and neither its first nor its last address')
    WHERE EXISTS (SELECT 1 FROM network_span WHERE name = NEW.name
                  AND router NOT BETWEEN first + 1 AND last - 1);
    SELECT RAISE(ABORT, 'dns is IPv4 addresses separated by commas, such as 10.0.0.2, 10.0.0.3')
    WHERE EXISTS (
        SELECT 1 FROM json_each('[[' || replace(replace(replace(NEW.dns, ' ', ''), ',', '],['), '.', ',') || ']]')
        WHERE NEW.dns <> '' AND (json_array_length(value) <> 4
              OR (SELECT max(part.value) FROM json_each(json_each.value) AS part) > 255));
END;
CREATE TRIGGER network_takes_its_name_along AFTER UPDATE OF name ON network WHEN OLD.name <> NEW.name BEGIN
    UPDATE rule SET network = NEW.name WHERE network = OLD.name;
    UPDATE dhcp_option SET owner = NEW.name WHERE scope = 'network' AND owner = OLD.name;
END;
CREATE TRIGGER network_stays_while_named BEFORE DELETE ON network
WHEN EXISTS (SELECT 1 FROM rule WHERE network = OLD.name) BEGIN
    SELECT RAISE(ABORT, 'a rule still names this network: delete the rule first, or give it another network');
END;
CREATE TRIGGER network_takes_its_rows AFTER DELETE ON network BEGIN
    DELETE FROM dhcp_option WHERE scope = 'network' AND owner = OLD.name;
END;

CREATE TRIGGER dhcp_option_insert AFTER INSERT ON dhcp_option BEGIN
    SELECT RAISE(ABORT, 'no network has this name (owner): see SELECT name FROM network')
    WHERE NEW.scope = 'network' AND NOT EXISTS (SELECT 1 FROM network WHERE name = NEW.owner);
    SELECT RAISE(ABORT, 'no class has this name (owner): see SELECT name FROM class')
    WHERE NEW.scope = 'class' AND NOT EXISTS (SELECT 1 FROM class WHERE name = NEW.owner);
    SELECT RAISE(ABORT, 'no node has this name (owner): see SELECT name FROM node')
    WHERE NEW.scope = 'node' AND NOT EXISTS (SELECT 1 FROM node WHERE name = NEW.owner);
    SELECT RAISE(ABORT, 'value is 1 to 63 IPv4 addresses, separated by commas')
    WHERE EXISTS (
        SELECT 1 FROM dhcp_option_part AS part
        WHERE (scope, owner, code) = (NEW.scope, NEW.owner, NEW.code) AND NEW.type = 'ip'
          AND (position > 62 OR json_array_length(part.value) <> 4
               OR (SELECT max(octet.value) FROM json_each(part.value) AS octet) > 255));
    SELECT RAISE(ABORT, 'a number is too large for this type: u8 goes to 255, u16 to 65535, u32 to 4294967295')
    WHERE EXISTS (
        SELECT 1 FROM dhcp_option_part AS part
        WHERE (scope, owner, code) = (NEW.scope, NEW.owner, NEW.code)
          AND part.value > CASE NEW.type WHEN 'u8' THEN 255 WHEN 'u16' THEN 65535 WHEN 'u32' THEN 4294967295 END);
    SELECT RAISE(ABORT, 'value is longer than the 255 bytes of an option: give fewer numbers')
    WHERE (SELECT count(*) FROM dhcp_option_part
           WHERE (scope, owner, code) = (NEW.scope, NEW.owner, NEW.code))
        * CASE NEW.type WHEN 'u8' THEN 1 WHEN 'u16' THEN 2 WHEN 'u32' THEN 4 ELSE 0 END > 255;
END;
CREATE TRIGGER dhcp_option_update AFTER UPDATE ON dhcp_option BEGIN
    SELECT RAISE(ABORT, 'no network has this name (owner): see SELECT name FROM network')
    WHERE NEW.scope = 'network' AND NOT EXISTS (SELECT 1 FROM network WHERE name = NEW.owner);
    SELECT RAISE(ABORT, 'no class has this name (owner): see SELECT name FROM class')
    WHERE NEW.scope = 'class' AND NOT EXISTS (SELECT 1 FROM class WHERE name = NEW.owner);
    SELECT RAISE(ABORT, 'no node has this name (owner): see SELECT name FROM node')
    WHERE NEW.scope = 'node' AND NOT EXISTS (SELECT 1 FROM node WHERE name = NEW.owner);
    SELECT RAISE(ABORT, 'value is 1 to 63 IPv4 addresses, separated by commas')
    WHERE EXISTS (
        SELECT 1 FROM dhcp_option_part AS part
        WHERE (scope, owner, code) = (NEW.scope, NEW.owner, NEW.code) AND NEW.type = 'ip'
          AND (position > 62 OR json_array_length(part.value) <> 4
               OR (SELECT max(octet.value) FROM json_each(part.value) AS octet) > 255));
    SELECT RAISE(ABORT, 'a number is too large for this type: u8 goes to 255, u16 to 65535, u32 to 4294967295')
    WHERE EXISTS (
        SELECT 1 FROM dhcp_option_part AS part
        WHERE (scope, owner, code) = (NEW.scope, NEW.owner, NEW.code)
          AND part.value > CASE NEW.type WHEN 'u8' THEN 255 WHEN 'u16' THEN 65535 WHEN 'u32' THEN 4294967295 END);
    SELECT RAISE(ABORT, 'value is longer than the 255 bytes of an option: give fewer numbers')
    WHERE (SELECT count(*) FROM dhcp_option_part
           WHERE (scope, owner, code) = (NEW.scope, NEW.owner, NEW.code))
        * CASE NEW.type WHEN 'u8' THEN 1 WHEN 'u16' THEN 2 WHEN 'u32' THEN 4 ELSE 0 END > 255;
END;

-- Guards of orders to many ------------------------------------------------------------------------

CREATE TRIGGER preparation_keeps_its_number BEFORE UPDATE OF id ON preparation WHEN OLD.id <> NEW.id BEGIN
    SELECT RAISE(ABORT, 'a preparation never changes its number: state.db knows it by it');
END;
CREATE TRIGGER preparation_keeps_its_decision BEFORE UPDATE OF decision ON preparation
WHEN OLD.decision = 'cancel' AND NEW.decision IS NOT OLD.decision OR OLD.decision = 'go' AND NEW.decision IS NULL BEGIN
    SELECT RAISE(ABORT, 'this preparation has been decided: insert another one');
END;
CREATE TRIGGER preparation_takes_its_rows AFTER DELETE ON preparation BEGIN
    DELETE FROM preparation_target WHERE preparation = OLD.id;
END;
CREATE TRIGGER preparation_target_insert BEFORE INSERT ON preparation_target BEGIN
    SELECT RAISE(ABORT, 'no preparation has this number: insert it first, see SELECT id, comment FROM preparation')
    WHERE NOT EXISTS (SELECT 1 FROM preparation WHERE id = NEW.preparation);
    SELECT RAISE(ABORT, 'no class has this name: see SELECT name FROM class')
    WHERE NEW.scope = 'class' AND NOT EXISTS (SELECT 1 FROM class WHERE name = NEW.name);
    SELECT RAISE(ABORT, 'no node has this name: see SELECT name FROM node')
    WHERE NEW.scope = 'node' AND NOT EXISTS (SELECT 1 FROM node WHERE name = NEW.name);
END;
CREATE TRIGGER preparation_target_update BEFORE UPDATE ON preparation_target BEGIN
    SELECT RAISE(ABORT, 'no preparation has this number: insert it first, see SELECT id, comment FROM preparation')
    WHERE NOT EXISTS (SELECT 1 FROM preparation WHERE id = NEW.preparation);
    SELECT RAISE(ABORT, 'no class has this name: see SELECT name FROM class')
    WHERE NEW.scope = 'class' AND NOT EXISTS (SELECT 1 FROM class WHERE name = NEW.name);
    SELECT RAISE(ABORT, 'no node has this name: see SELECT name FROM node')
    WHERE NEW.scope = 'node' AND NOT EXISTS (SELECT 1 FROM node WHERE name = NEW.name);
END;

CREATE TRIGGER test_keeps_its_number BEFORE UPDATE OF id ON test WHEN OLD.id <> NEW.id BEGIN
    SELECT RAISE(ABORT, 'a test never changes its number: state.db knows it by it');
END;
CREATE TRIGGER test_takes_its_rows AFTER DELETE ON test BEGIN
    DELETE FROM test_package WHERE test = OLD.id;
END;
CREATE TRIGGER test_insert BEFORE INSERT ON test BEGIN
    SELECT RAISE(ABORT, 'no boot image has this name and version: see SELECT name, version, arch FROM boot_image')
    WHERE NEW.image IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM boot_image WHERE name = NEW.image AND version = NEW.version);
    SELECT RAISE(ABORT, 'no class has this name: see SELECT name FROM class')
    WHERE NEW.scope = 'class' AND NOT EXISTS (SELECT 1 FROM class WHERE name = NEW.name);
    SELECT RAISE(ABORT, 'no node has this name: see SELECT name FROM node')
    WHERE NEW.scope = 'node' AND NOT EXISTS (SELECT 1 FROM node WHERE name = NEW.name);
END;
CREATE TRIGGER test_package_insert BEFORE INSERT ON test_package BEGIN
    SELECT RAISE(ABORT, 'no test has this number: insert it first, see SELECT id, comment FROM test')
    WHERE NOT EXISTS (SELECT 1 FROM test WHERE id = NEW.test);
    SELECT RAISE(ABORT, 'this package has no such version: see SELECT name, version, arch FROM package')
    WHERE NOT EXISTS (SELECT 1 FROM package WHERE name = NEW.package AND version = NEW.version);
END;
CREATE TRIGGER test_update BEFORE UPDATE ON test BEGIN
    SELECT RAISE(ABORT, 'no boot image has this name and version: see SELECT name, version, arch FROM boot_image')
    WHERE NEW.image IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM boot_image WHERE name = NEW.image AND version = NEW.version);
    SELECT RAISE(ABORT, 'no class has this name: see SELECT name FROM class')
    WHERE NEW.scope = 'class' AND NOT EXISTS (SELECT 1 FROM class WHERE name = NEW.name);
    SELECT RAISE(ABORT, 'no node has this name: see SELECT name FROM node')
    WHERE NEW.scope = 'node' AND NOT EXISTS (SELECT 1 FROM node WHERE name = NEW.name);
END;
CREATE TRIGGER test_package_update BEFORE UPDATE ON test_package BEGIN
    SELECT RAISE(ABORT, 'no test has this number: insert it first, see SELECT id, comment FROM test')
    WHERE NOT EXISTS (SELECT 1 FROM test WHERE id = NEW.test);
    SELECT RAISE(ABORT, 'this package has no such version: see SELECT name, version, arch FROM package')
    WHERE NOT EXISTS (SELECT 1 FROM package WHERE name = NEW.package AND version = NEW.version);
END;
CREATE TRIGGER boot_image_stays_while_tested BEFORE DELETE ON boot_image
WHEN EXISTS (SELECT 1 FROM test WHERE image = OLD.name AND version = OLD.version) BEGIN
    SELECT RAISE(ABORT, 'a test still has this boot image: see SELECT * FROM test, and delete the test first');
END;
CREATE TRIGGER package_stays_while_tested BEFORE DELETE ON package
WHEN EXISTS (SELECT 1 FROM test_package WHERE package = OLD.name AND version = OLD.version)
 AND NOT EXISTS (SELECT 1 FROM package WHERE name = OLD.name AND version = OLD.version AND id <> OLD.id) BEGIN
    SELECT RAISE(ABORT, 'a test still has this version of the package: see SELECT * FROM test_package, and delete the test first');
END;

CREATE TRIGGER class_takes_its_name_to_orders AFTER UPDATE OF name ON class WHEN OLD.name <> NEW.name BEGIN
    UPDATE preparation_target SET name = NEW.name WHERE scope = 'class' AND name = OLD.name;
    UPDATE test SET name = NEW.name WHERE scope = 'class' AND name = OLD.name;
END;
CREATE TRIGGER class_takes_its_orders AFTER DELETE ON class BEGIN
    DELETE FROM preparation_target WHERE scope = 'class' AND name = OLD.name;
    DELETE FROM test WHERE scope = 'class' AND name = OLD.name;
END;
CREATE TRIGGER node_takes_its_name_to_orders AFTER UPDATE OF name ON node WHEN OLD.name <> NEW.name BEGIN
    UPDATE preparation_target SET name = NEW.name WHERE scope = 'node' AND name = OLD.name;
    UPDATE test SET name = NEW.name WHERE scope = 'node' AND name = OLD.name;
END;
CREATE TRIGGER node_takes_its_orders AFTER DELETE ON node BEGIN
    DELETE FROM preparation_target WHERE scope = 'node' AND name = OLD.name;
    DELETE FROM test WHERE scope = 'node' AND name = OLD.name;
END;

-- Every change moves the generation on ------------------------------------------------------------

CREATE TRIGGER blob_insert_counts AFTER INSERT ON blob BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER blob_update_counts AFTER UPDATE ON blob BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER blob_delete_counts AFTER DELETE ON blob BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER package_insert_counts AFTER INSERT ON package BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER package_update_counts AFTER UPDATE ON package BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER package_delete_counts AFTER DELETE ON package BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER package_file_insert_counts AFTER INSERT ON package_file BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER package_file_update_counts AFTER UPDATE ON package_file BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER package_file_delete_counts AFTER DELETE ON package_file BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER package_process_insert_counts AFTER INSERT ON package_process BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER package_process_update_counts AFTER UPDATE ON package_process BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER package_process_delete_counts AFTER DELETE ON package_process BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER package_library_insert_counts AFTER INSERT ON package_library BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER package_library_update_counts AFTER UPDATE ON package_library BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER package_library_delete_counts AFTER DELETE ON package_library BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER package_api_insert_counts AFTER INSERT ON package_api BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER package_api_update_counts AFTER UPDATE ON package_api BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER package_api_delete_counts AFTER DELETE ON package_api BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER package_relation_insert_counts AFTER INSERT ON package_relation BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER package_relation_update_counts AFTER UPDATE ON package_relation BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER package_relation_delete_counts AFTER DELETE ON package_relation BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER boot_image_insert_counts AFTER INSERT ON boot_image BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER boot_image_update_counts AFTER UPDATE ON boot_image BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER boot_image_delete_counts AFTER DELETE ON boot_image BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER class_insert_counts AFTER INSERT ON class BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER class_update_counts AFTER UPDATE ON class BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER class_delete_counts AFTER DELETE ON class BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER class_package_insert_counts AFTER INSERT ON class_package BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER class_package_update_counts AFTER UPDATE ON class_package BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER class_package_delete_counts AFTER DELETE ON class_package BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER class_image_insert_counts AFTER INSERT ON class_image BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER class_image_update_counts AFTER UPDATE ON class_image BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER class_image_delete_counts AFTER DELETE ON class_image BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER rule_insert_counts AFTER INSERT ON rule BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER rule_update_counts AFTER UPDATE ON rule BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER rule_delete_counts AFTER DELETE ON rule BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER node_insert_counts AFTER INSERT ON node BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER node_update_counts AFTER UPDATE ON node BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER node_delete_counts AFTER DELETE ON node BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER node_package_insert_counts AFTER INSERT ON node_package BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER node_package_update_counts AFTER UPDATE ON node_package BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER node_package_delete_counts AFTER DELETE ON node_package BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER feature_insert_counts AFTER INSERT ON feature BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER feature_update_counts AFTER UPDATE ON feature BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER feature_delete_counts AFTER DELETE ON feature BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER network_insert_counts AFTER INSERT ON network BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER network_update_counts AFTER UPDATE ON network BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER network_delete_counts AFTER DELETE ON network BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER dhcp_option_insert_counts AFTER INSERT ON dhcp_option BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER dhcp_option_update_counts AFTER UPDATE ON dhcp_option BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER dhcp_option_delete_counts AFTER DELETE ON dhcp_option BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER trusted_key_insert_counts AFTER INSERT ON trusted_key BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER trusted_key_update_counts AFTER UPDATE ON trusted_key BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER trusted_key_delete_counts AFTER DELETE ON trusted_key BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER preparation_insert_counts AFTER INSERT ON preparation BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER preparation_update_counts AFTER UPDATE ON preparation BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER preparation_delete_counts AFTER DELETE ON preparation BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER preparation_target_insert_counts AFTER INSERT ON preparation_target BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER preparation_target_update_counts AFTER UPDATE ON preparation_target BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER preparation_target_delete_counts AFTER DELETE ON preparation_target BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER test_insert_counts AFTER INSERT ON test BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER test_update_counts AFTER UPDATE ON test BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER test_delete_counts AFTER DELETE ON test BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER test_package_insert_counts AFTER INSERT ON test_package BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER test_package_update_counts AFTER UPDATE ON test_package BEGIN UPDATE generation SET value = value + 1; END;
CREATE TRIGGER test_package_delete_counts AFTER DELETE ON test_package BEGIN UPDATE generation SET value = value + 1; END;

-- For people -------------------------------------------------------------------------------------

-- What each class has, in the order in which paths are won.
CREATE VIEW class_contents AS
SELECT cp.class, cp.position, cp.package, cp.version, p.arch,
       count(f.path) AS files, coalesce(sum(b.size), 0) AS bytes
FROM class_package cp
LEFT JOIN package p ON p.name = cp.package AND p.version = cp.version
LEFT JOIN package_file f ON f.package_id = p.id
LEFT JOIN blob b ON b.sha256 = f.sha256
GROUP BY cp.class, cp.position, cp.package, p.arch
ORDER BY cp.class, cp.position, cp.package, p.arch;

-- Where each path of each package comes from.
CREATE VIEW package_contents AS
SELECT p.name AS package, p.version, p.arch, f.path, f.kind, printf('%04o', f.mode) AS mode,
       f.uid, f.gid, b.size, coalesce(f.sha256, f.target) AS content
FROM package p
JOIN package_file f ON f.package_id = p.id
LEFT JOIN blob b ON b.sha256 = f.sha256
ORDER BY p.name, p.version, p.arch, f.path;
