//! Package lists and features: what classes and nodes ask for.

use std::collections::{BTreeMap, HashMap};

use bootd_protocol::manifest::PackageRef;
use rusqlite::Connection;

use super::read::each;
use super::{Class, Problem};

/// A package in a class's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The package.
    pub package: PackageRef,
    /// Lower wins; `None`: just before the first package that it needs.
    pub position: Option<i64>,
}

/// Features by name, and whether they are wanted.
pub type Features = BTreeMap<String, bool>;

/// In what a node's software differs from its class's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Apart {
    /// Its list stands in place of its class's.
    pub own_list: bool,
    /// By position; those without one come last.
    pub packages: Vec<NodePackage>,
    /// They go before its class's.
    pub features: Features,
}

/// A package in a node's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePackage {
    /// Its name.
    pub name: String,
    /// `None`: the node does not have it.
    pub version: Option<String>,
    /// As in [`Listed`]; where the class has the package, too: `None` is the class's position.
    pub position: Option<i64>,
}

/// Puts packages and features into their classes.
pub(super) fn fill_classes(
    db: &Connection,
    classes: &mut BTreeMap<String, Class>,
    problems: &mut Vec<Problem>,
) -> rusqlite::Result<()> {
    let packages = "SELECT class, package, version, position FROM class_package
                    ORDER BY class, position IS NULL, position, package";
    each(db, "class_package", packages, problems, |row| {
        if let Some(class) = classes.get_mut(row.get_ref(0)?.as_str()?) {
            class.packages.push(Listed {
                package: PackageRef {
                    name: row.get(1)?,
                    version: row.get(2)?,
                },
                position: row.get(3)?,
            });
        }
        Ok(())
    })?;
    let features = "SELECT owner, feature, wanted FROM feature WHERE scope = 'class'";
    each(db, "feature", features, problems, |row| {
        if let Some(class) = classes.get_mut(row.get_ref(0)?.as_str()?) {
            class.features.insert(row.get(1)?, row.get(2)?);
        }
        Ok(())
    })
}

/// What sets nodes apart, by name.
pub(super) fn apart(
    db: &Connection,
    problems: &mut Vec<Problem>,
) -> rusqlite::Result<HashMap<String, Box<Apart>>> {
    let mut all: HashMap<String, Box<Apart>> = HashMap::new();
    let own = "SELECT name FROM node WHERE packages = 'own'";
    each(db, "node", own, problems, |row| {
        all.entry(row.get(0)?).or_default().own_list = true;
        Ok(())
    })?;
    let packages = "SELECT node, package, version, position FROM node_package
                    ORDER BY node, position IS NULL, position, package";
    each(db, "node_package", packages, problems, |row| {
        let package = NodePackage {
            name: row.get(1)?,
            version: row.get(2)?,
            position: row.get(3)?,
        };
        all.entry(row.get(0)?).or_default().packages.push(package);
        Ok(())
    })?;
    let features = "SELECT owner, feature, wanted FROM feature WHERE scope = 'node'";
    each(db, "feature", features, problems, |row| {
        let apart = all.entry(row.get(0)?).or_default();
        apart.features.insert(row.get(1)?, row.get(2)?);
        Ok(())
    })?;
    Ok(all)
}
