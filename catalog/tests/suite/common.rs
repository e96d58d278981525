//! A catalog with two versions of a package, for the tests.

use catalog::Catalog;
use rusqlite::Connection;
use tempfile::TempDir;

/// Sixty-four times one digit: a digest that is easy to read.
pub(crate) fn digest(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// A MAC address whose last byte is `last`.
pub(crate) fn mac(last: u8) -> String {
    format!("52:54:00:00:00:{last:02x}")
}

/// An open state directory with [`FIXTURE`] in it.
pub(crate) fn catalog() -> (TempDir, Catalog) {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::create(dir.path()).unwrap();
    sql(&catalog, &fixture());
    (dir, catalog)
}

/// What another program with foreign keys off would do.
pub(crate) fn sql(catalog: &Catalog, script: &str) {
    let db = Connection::open(catalog.db_path()).unwrap();
    db.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    db.execute_batch(script).unwrap();
}

/// Class `web`: packages site (1.0 and 2.0) over base 1; a boot image for x86_64; one node.
pub(crate) fn fixture() -> String {
    let [a, b, c] = ['a', 'b', 'c'].map(digest);
    format!(
        "INSERT INTO blob VALUES ('{a}', 10), ('{b}', 20), ('{c}', 30);
         INSERT INTO package (id, name, version, arch) VALUES
             (1, 'site', '1.0', 'all'), (2, 'site', '2.0', 'all'), (3, 'base', '1', 'x86_64'),
             (4, 'spare', '1', 'all');
         INSERT INTO package_file (package_id, path, kind, mode, sha256, target) VALUES
             (1, '/srv/index', 'file', 420, '{a}', NULL),
             (2, '/srv/index', 'file', 420, '{b}', NULL),
             (3, '/srv/index', 'file', 420, '{c}', NULL),
             (3, '/bin', 'dir', 493, NULL, NULL),
             (3, '/bin/httpd', 'file', 493, '{c}', NULL),
             (3, '/bin/www', 'link', 511, NULL, 'httpd');
         INSERT INTO package_process (package_id, position, name, argv, env) VALUES
             (3, 1, 'httpd', '[\"/bin/httpd\",\"-f\"]', '[\"A=b\"]');
         INSERT INTO boot_image VALUES ('debian', '6.1', 'x86_64', '{a}', '{b}', '{c}', '{c}');
         INSERT INTO boot_image VALUES ('old', '5', 'x86_64', '{a}', '{b}', NULL, NULL);
         INSERT INTO class (name) VALUES ('web'), ('idle');
         INSERT INTO class_package VALUES ('web', 1, 'site', '1.0'), ('web', 2, 'base', '1');
         INSERT INTO class_image VALUES ('web', 'x86_64', 'debian', '6.1');
         INSERT INTO rule (name, class, mac_prefix) VALUES ('lab', 'web', '52:54:00');
         INSERT INTO node (name, mac, class, arch, firmware)
             VALUES ('n1', '{}', 'web', 'x86_64', 'uefi');
         INSERT INTO network (name, subnet, pool_first, pool_last)
             VALUES ('lan', '10.0.0.0/24', '10.0.0.100', '10.0.0.200');
         INSERT INTO trusted_key VALUES ('me', 'RW{}');",
        mac(1),
        "x".repeat(54),
    )
}
