//! The few rows of the catalog that programs write: new nodes, what they said of themselves, keys.

use std::path::Path;

use bootd_protocol::identity::Mac;
use rusqlite::{OptionalExtension as _, Transaction, TransactionBehavior, params};

use crate::error::{Error, Result};
use crate::identify::Identity;
use crate::keys::{PublicKey, key_text};
use crate::snapshot::{Action, Rule};
use crate::store::Catalog;

/// Edits in one transaction. What one of them is refused with concerns it alone: the others
/// stand.
#[derive(Debug)]
pub struct Batch<'a> {
    transaction: &'a Transaction<'a>,
    path: &'a Path,
}

impl Batch<'_> {
    /// Makes a machine a node, as `rule` says, and gives back its name: the rule's prefix and the
    /// last six digits of the MAC address, with a number behind it if another node has that name.
    /// Its architecture and firmware are recorded with it; a held node waits for its `hold` to
    /// become 0. A machine whose MAC address or UUID is a node's already keeps that node's name.
    ///
    /// # Errors
    /// [`Error::Refused`] for a rule that ignores machines or a machine without MAC address;
    /// what SQLite refuses.
    pub fn enrol(&self, rule: &Rule, identity: &Identity) -> Result<String> {
        let (class, hold) = match &rule.action {
            Action::Enrol { class } => (class, false),
            Action::Hold { class } => (class, true),
            Action::Ignore => {
                return Err(Error::Refused(format!(
                    "rule {} ignores machines",
                    rule.name
                )));
            }
        };
        let Some(mac) = identity.mac else {
            return Err(Error::Refused(
                "a machine without MAC address cannot be enrolled".into(),
            ));
        };
        self.run(|transaction| {
            if let Some(name) = known(transaction, identity)? {
                return Ok(name);
            }
            let mut taken = transaction.prepare_cached("SELECT 1 FROM node WHERE name = ?1")?;
            let name = newcomer(&rule.node_prefix, mac, |name| taken.exists([name]))?;
            transaction
                .prepare_cached(
                    "INSERT INTO node (name, mac, uuid, arch, firmware, class, hold, comment)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                )?
                .execute(params![
                    name,
                    mac.to_string(),
                    usable_uuid(identity),
                    identity.arch.map(|arch| arch.name()),
                    identity.firmware.map(|firmware| firmware.name()),
                    class,
                    hold,
                    format!("enrolled by rule {}", rule.name),
                ])?;
            Ok(name)
        })
    }

    /// Records what a node said of itself where its row says nothing. Gives back whether
    /// anything was new.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn learn(&self, node: &str, identity: &Identity) -> Result<bool> {
        self.run(|transaction| {
            let changed = transaction
                .prepare_cached(
                    "UPDATE node SET arch = coalesce(arch, ?2), firmware = coalesce(firmware, ?3),
                            mac = coalesce(mac, ?4), uuid = coalesce(uuid, ?5)
                     WHERE name = ?1 AND (arch IS NULL AND ?2 IS NOT NULL
                        OR firmware IS NULL AND ?3 IS NOT NULL
                        OR mac IS NULL AND ?4 IS NOT NULL OR uuid IS NULL AND ?5 IS NOT NULL)",
                )?
                .execute(params![
                    node,
                    identity.arch.map(|arch| arch.name()),
                    identity.firmware.map(|firmware| firmware.name()),
                    identity.mac.map(|mac| mac.to_string()),
                    usable_uuid(identity),
                ])?;
            Ok(changed > 0)
        })
    }

    /// Binds a node's key if it has none; gives back whether that was so. The same key again changes
    /// nothing.
    ///
    /// # Errors
    /// [`Error::NoSuch`]; [`Error::Refused`] when another key is bound; what SQLite refuses.
    pub fn bind_key(&self, node: &str, key: &PublicKey) -> Result<bool> {
        let text = key_text(key);
        let bound: Option<Option<String>> = self.run(|transaction| {
            let bound = transaction
                .prepare_cached("SELECT public_key FROM node WHERE name = ?1")?
                .query_row([node], |row| row.get(0))
                .optional()?;
            if bound == Some(None) {
                transaction
                    .prepare_cached("UPDATE node SET public_key = ?2 WHERE name = ?1")?
                    .execute(params![node, text])?;
            }
            Ok(bound)
        })?;
        match bound {
            None => Err(Error::NoSuch {
                kind: "node",
                name: node.to_owned(),
            }),
            Some(Some(other)) if other != text => Err(Error::Refused(format!(
                "node {node} has another key bound: {other}. If its disk was replaced: \
                 UPDATE node SET public_key = NULL WHERE name = '{node}'"
            ))),
            Some(bound) => Ok(bound.is_none()),
        }
    }

    /// Binds a machine's key to the node that has its MAC address or UUID, if that has none and its
    /// class is open; gives back the node's name if that was so.
    ///
    /// # Errors
    /// As [`Batch::bind_key`]; [`Error::Refused`] when the class wants keys approved.
    pub fn bind_key_of(&self, machine: &Identity, key: &PublicKey) -> Result<Option<String>> {
        let Some(name) = self.run(|transaction| known(transaction, machine))? else {
            return Err(Error::NoSuch {
                kind: "node",
                name: machine.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            });
        };
        let open = "SELECT 1 FROM node JOIN class ON class.name = node.class
                    WHERE node.name = ?1 AND key_policy = 'open'";
        if !self.run(|transaction| transaction.prepare_cached(open)?.exists([&name]))? {
            return Err(Error::Refused(format!(
                "the class of node {name} wants keys approved: catalog approve {name}"
            )));
        }
        Ok(self.bind_key(&name, key)?.then_some(name))
    }

    /// Lets a preparation go on, unless somebody decided otherwise.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn go(&self, preparation: i64) -> Result<()> {
        let update = "UPDATE preparation SET decision = 'go' WHERE id = ?1 AND decision IS NULL";
        self.run(|transaction| transaction.execute(update, [preparation]).map(|_| ()))
    }

    fn run<T>(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        work(self.transaction).map_err(Error::sql(self.path))
    }
}

impl Catalog {
    /// Makes edits in one transaction, which takes one flush however many they are.
    ///
    /// # Errors
    /// What SQLite refuses of the whole: then none of them stands.
    pub fn batch<T>(&mut self, work: impl FnOnce(&Batch<'_>) -> T) -> Result<T> {
        let path = self.db_path();
        self.write(|transaction| {
            Ok(work(&Batch {
                transaction,
                path: &path,
            }))
        })
    }

    /// [`Batch::enrol`], by itself.
    ///
    /// # Errors
    /// As there.
    pub fn enrol(&mut self, rule: &Rule, identity: &Identity) -> Result<String> {
        self.batch(|batch| batch.enrol(rule, identity))?
    }

    /// [`Batch::learn`], by itself.
    ///
    /// # Errors
    /// As there.
    pub fn learn(&mut self, node: &str, identity: &Identity) -> Result<bool> {
        self.batch(|batch| batch.learn(node, identity))?
    }

    /// [`Batch::bind_key`], by itself.
    ///
    /// # Errors
    /// As there.
    pub fn bind_key(&mut self, node: &str, key: &PublicKey) -> Result<bool> {
        self.batch(|batch| batch.bind_key(node, key))?
    }

    /// Ends a node's hold.
    ///
    /// # Errors
    /// [`Error::NoSuch`]; what SQLite refuses.
    pub fn release(&mut self, node: &str) -> Result<()> {
        let changed = self.write(|transaction| {
            transaction.execute("UPDATE node SET hold = 0 WHERE name = ?1", [node])
        })?;
        if changed == 0 {
            return Err(Error::NoSuch {
                kind: "node",
                name: node.to_owned(),
            });
        }
        Ok(())
    }

    /// Lets a class have a package in this version; one that it does not list is added, placed by
    /// what it needs.
    ///
    /// # Errors
    /// What the schema refuses.
    pub fn list_for_class(&mut self, class: &str, package: &str, version: &str) -> Result<()> {
        let list = "INSERT INTO class_package (class, package, version) VALUES (?1, ?2, ?3)
                    ON CONFLICT (class, package) DO UPDATE SET version = excluded.version";
        self.write(|db| db.execute(list, [class, package, version]))?;
        Ok(())
    }

    /// Lets a node have a package in this version, whatever its class has.
    ///
    /// # Errors
    /// What the schema refuses.
    pub fn list_for_node(&mut self, node: &str, package: &str, version: &str) -> Result<()> {
        let list = "INSERT INTO node_package (node, package, version) VALUES (?1, ?2, ?3)
                    ON CONFLICT (node, package) DO UPDATE SET version = excluded.version";
        self.write(|db| db.execute(list, [node, package, version]))?;
        Ok(())
    }

    /// Trusts a minisign public key (its 56 characters) under a name; a name's older key goes.
    ///
    /// # Errors
    /// What the schema refuses.
    pub fn trust(&mut self, name: &str, key: &str) -> Result<()> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM trusted_key WHERE name = ?1", [name])?;
            let insert = "INSERT INTO trusted_key (name, key) VALUES (?1, ?2)";
            transaction.execute(insert, [name, key])
        })?;
        Ok(())
    }

    /// The trusted keys: name and minisign public key, by name.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn trusted_keys(&self) -> Result<Vec<(String, String)>> {
        let read = || -> rusqlite::Result<_> {
            self.connection
                .prepare("SELECT name, key FROM trusted_key ORDER BY name")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        };
        read().map_err(Error::sql(&self.db_path()))
    }

    /// Runs one write transaction, and takes it back unless it is to be `kept`.
    pub(crate) fn write_or_not<T>(
        &mut self,
        kept: bool,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let path = self.db_path();
        let sql = Error::sql(&path);
        // IMMEDIATE: take the lock before reading, so that nobody can write in between.
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior);
        let transaction = transaction.map_err(&sql)?;
        let value = work(&transaction).map_err(&sql)?;
        match kept {
            true => transaction.commit(),
            false => transaction.rollback(),
        }
        .map_err(&sql)?;
        Ok(value)
    }

    /// Runs one write transaction; all of it or nothing.
    pub(crate) fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        self.write_or_not(true, work)
    }
}

fn usable_uuid(identity: &Identity) -> Option<String> {
    let usable = identity.uuid.filter(|uuid| uuid.is_usable());
    usable.map(|uuid| uuid.to_string())
}

/// The node that is this machine: by its MAC address before its UUID.
fn known(transaction: &Transaction<'_>, machine: &Identity) -> rusqlite::Result<Option<String>> {
    let mac = machine.mac.map(|mac| mac.to_string());
    transaction
        .prepare_cached("SELECT name FROM node WHERE mac = ?1 OR uuid = ?2 ORDER BY mac = ?1 DESC")?
        .query_row(params![mac, usable_uuid(machine)], |row| row.get(0))
        .optional()
}

/// The name of a new node: `prefix` and the last six digits of its MAC address, with a number
/// behind it if another node has that name.
///
/// # Errors
/// That of `is_taken`.
pub fn newcomer<E>(
    prefix: &str,
    mac: Mac,
    mut is_taken: impl FnMut(&str) -> std::result::Result<bool, E>,
) -> std::result::Result<String, E> {
    let [_, _, _, digits @ ..] = mac.0;
    let digits: String = digits.iter().map(|it| format!("{it:02x}")).collect();
    let wanted = format!("{prefix}{digits}");
    let (mut name, mut number) = (wanted.clone(), 2);
    while is_taken(&name)? {
        name = format!("{wanted}-{number}");
        number += 1;
    }
    Ok(name)
}
