//! Packages: their modules, and what they say about each other.

use std::collections::{BTreeMap, HashMap, HashSet};

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::Arch;
use bootd_protocol::manifest::{
    Content, Empty, File, PackageRef, Process, ProcessKind, Restart, check_limits,
};
use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};

use super::Problem;
use super::read::{RowResult, blob, each, good_rows, parsed, row_try, texts, tolerate, word};
use crate::relation::{Is, Relation};

/// One build of one version of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Package {
    /// `None`: for all architectures.
    pub arch: Option<Arch>,
    /// The feature that it is there for; empty: for all nodes.
    pub function: String,
    /// Sorted by path.
    pub modules: Vec<Module>,
    /// In the order in which they start.
    pub processes: Vec<Process>,
    /// What it says about other packages.
    pub relations: Vec<Relations>,
    /// Shared libraries that its modules need, sorted by path.
    pub libraries: Vec<Library>,
    /// Interfaces between modules, sorted by path.
    pub apis: Vec<Api>,
    /// A row of it makes no sense: nobody gets it as the others are.
    pub damaged: bool,
}

/// One path of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// What goes into a manifest.
    pub file: File,
    /// Only for nodes with this processor; `None`: for all.
    pub arch: Option<Arch>,
    /// Only for nodes that ask for this feature; empty: for all.
    pub function: String,
    /// What it is.
    pub kind: ModuleType,
    /// What decides whether it has changed; `None`: the SHA-256 of its content.
    pub signature: Option<Digest>,
}

impl Module {
    /// What decides whether it has changed in substance; `None` for links and directories.
    #[must_use]
    pub fn change_signature(&self) -> Option<Digest> {
        match &self.file.content {
            Content::Regular(blob) => Some(self.signature.unwrap_or(blob.sha256)),
            Content::Symlink(_) | Content::Directory(_) => None,
        }
    }
}

/// What a module is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModuleType {
    /// Something that runs.
    Program,
    /// A shared library.
    Library,
    /// Anything else.
    #[default]
    Data,
    /// Something that people edit.
    Config,
}

impl ModuleType {
    /// All of them.
    pub const ALL: &[ModuleType] = &[
        ModuleType::Program,
        ModuleType::Library,
        ModuleType::Data,
        ModuleType::Config,
    ];

    /// As `package_file.type` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ModuleType::Program => "program",
            ModuleType::Library => "library",
            ModuleType::Data => "data",
            ModuleType::Config => "config",
        }
    }
}

/// What a package says about others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relations {
    /// What it says.
    pub kind: RelationKind,
    /// About whom.
    pub relation: Relation,
    /// Whose nodes it is about; `None`: the node itself.
    pub on_class: Option<String>,
    /// Only for nodes with this processor; `None`: for all.
    pub for_arch: Option<Arch>,
}

/// What a package says about another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelationKind {
    /// It must be there.
    Needs,
    /// It must not be there.
    Conflicts,
    /// It stands for it.
    Provides,
    /// It stands before it, and goes with it.
    Upgrades,
}

impl RelationKind {
    /// All of them.
    pub const ALL: &[RelationKind] = &[
        RelationKind::Needs,
        RelationKind::Conflicts,
        RelationKind::Provides,
        RelationKind::Upgrades,
    ];

    /// As `package_relation.kind` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RelationKind::Needs => "needs",
            RelationKind::Conflicts => "conflicts",
            RelationKind::Provides => "provides",
            RelationKind::Upgrades => "upgrades",
        }
    }
}

/// A shared library that a module needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// The module.
    pub path: String,
    /// The name that the loader looks for.
    pub library: String,
    /// `direct`, `transitive` or `declared`.
    pub how: String,
}

/// An interface that a module offers or uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// The module.
    pub path: String,
    /// Whether it offers or uses it.
    pub side: Side,
    /// Its name.
    pub api: String,
}

/// Which side of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// It offers it.
    Provides,
    /// It uses it.
    Consumes,
}

impl Side {
    /// Both.
    pub const ALL: &[Side] = &[Side::Provides, Side::Consumes];

    /// As `package_api.side` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Side::Provides => "provides",
            Side::Consumes => "consumes",
        }
    }
}

/// All builds of all packages.
pub(super) fn read(
    db: &Connection,
    problems: &mut Vec<Problem>,
) -> rusqlite::Result<BTreeMap<PackageRef, Vec<Package>>> {
    let mut damaged = HashSet::new();
    let mut by_package = ByPackage {
        db,
        problems,
        damaged: &mut damaged,
    };
    let mut modules = by_package.read("package_file", MODULES, module)?;
    let mut processes = by_package.read("package_process", PROCESSES, process)?;
    let mut relations = by_package.read("package_relation", RELATIONS, relations)?;
    let mut libraries = by_package.read("package_library", LIBRARIES, library)?;
    let mut apis = by_package.read("package_api", APIS, api)?;
    let mut packages = BTreeMap::<PackageRef, Vec<Package>>::new();
    let all = "SELECT id, name, version, arch, function FROM package ORDER BY id";
    each(db, "package", all, problems, |row| {
        let id: i64 = row.get(0)?;
        let arch: String = row.get(3)?;
        let key = PackageRef {
            name: row.get(1)?,
            version: row.get(2)?,
        };
        packages.entry(key).or_default().push(Package {
            // The schema knows the four values; `all` is the one that is no architecture.
            arch: arch.parse().ok(),
            function: row.get(4)?,
            modules: modules.remove(&id).unwrap_or_default(),
            processes: processes.remove(&id).unwrap_or_default(),
            relations: relations.remove(&id).unwrap_or_default(),
            libraries: libraries.remove(&id).unwrap_or_default(),
            apis: apis.remove(&id).unwrap_or_default(),
            damaged: damaged.contains(&id),
        });
        Ok(())
    })?;
    Ok(packages)
}

/// Reads rows that belong to packages.
struct ByPackage<'a> {
    db: &'a Connection,
    problems: &'a mut Vec<Problem>,
    /// Those with a row that makes no sense.
    damaged: &'a mut HashSet<i64>,
}

impl ByPackage<'_> {
    /// Rows grouped by their column `package_id`, in the order of the query.
    fn read<T>(
        &mut self,
        table: &'static str,
        query: &str,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<RowResult<T>>,
    ) -> rusqlite::Result<HashMap<i64, Vec<T>>> {
        let id_column = self.db.prepare(query)?.column_index("package_id")?;
        let damaged = &mut *self.damaged;
        let rows = good_rows(self.db, table, query, self.problems, |row| {
            let id: i64 = row.get(id_column)?;
            let value = tolerate(read(row))?;
            if value.is_err() {
                damaged.insert(id);
            }
            Ok(value.map(|value| (id, value)))
        })?;
        let mut groups: HashMap<i64, Vec<T>> = HashMap::new();
        for (id, value) in rows {
            groups.entry(id).or_default().push(value);
        }
        Ok(groups)
    }
}

const MODULES: &str = "
    SELECT f.path, f.package_id, f.kind, f.mode, f.uid, f.gid, f.sha256, f.target, b.size,
           nullif(f.arch, 'all') AS arch, f.function, f.type, f.signature
    FROM package_file f LEFT JOIN blob b ON b.sha256 = f.sha256
    ORDER BY f.package_id, f.path, f.arch, f.function";

fn module(row: &Row<'_>) -> rusqlite::Result<RowResult<Module>> {
    let content = match row.get_ref(2)?.as_str()? {
        "file" => match row_try!(blob(row, "sha256", "size")?) {
            Some(blob) => Content::Regular(blob),
            None => return Ok(Err("a file without sha256".into())),
        },
        "link" => Content::Symlink(row.get(7)?),
        "dir" => Content::Directory(Empty {}),
        other => return Ok(Err(format!("kind is {other:?}"))),
    };
    let kind = row_try!(word(row, "type", ModuleType::ALL, ModuleType::name)?);
    Ok(Ok(Module {
        file: File {
            path: row.get(0)?,
            mode: row.get(3)?,
            uid: row.get(4)?,
            gid: row.get(5)?,
            content,
        },
        arch: row_try!(parsed(row, "arch")?),
        function: row.get(10)?,
        kind: kind.unwrap_or(ModuleType::Data),
        signature: row_try!(parsed(row, "signature")?),
    }))
}

const PROCESSES: &str = "
    SELECT pp.name, pp.package_id, p.name AS package, pp.argv, pp.env, pp.restart,
           pp.kind, pp.readiness, pp.limits
    FROM package_process pp JOIN package p ON p.id = pp.package_id
    ORDER BY pp.package_id, pp.position, pp.name";

fn process(row: &Row<'_>) -> rusqlite::Result<RowResult<Process>> {
    let restart = match row.get_ref("restart")?.as_str()? {
        "always" => Restart::Always,
        "on-failure" => Restart::OnFailure,
        "never" => Restart::Never,
        other => return Ok(Err(format!("restart is {other:?}"))),
    };
    Ok(Ok(Process {
        name: row.get("name")?,
        package: row.get("package")?,
        argv: row_try!(texts(row, "argv")?),
        env: row_try!(texts(row, "env")?),
        restart,
        kind: match row.get_ref("kind")?.as_str()? {
            "self-managing" => ProcessKind::SelfManaging,
            _ => ProcessKind::Simple,
        },
        readiness: row_try!(parsed(row, "readiness")?).unwrap_or_default(),
        limits: row_try!(limits(row.get_ref("limits")?.as_str()?)),
    }))
}

fn limits(json: &str) -> RowResult<BTreeMap<String, u64>> {
    let limits: BTreeMap<String, u64> =
        serde_json::from_str(json).map_err(|error| format!("limits: {error}"))?;
    check_limits(&limits)?;
    Ok(limits)
}

const RELATIONS: &str = "
    SELECT p.name || ' ' || p.version, r.package_id, r.kind, r.relation,
           nullif(r.on_class, '') AS on_class, nullif(r.for_arch, 'all') AS for_arch
    FROM package_relation r JOIN package p ON p.id = r.package_id
    ORDER BY r.package_id, r.kind, r.relation, r.on_class, r.for_arch";

fn relations(row: &Row<'_>) -> rusqlite::Result<RowResult<Relations>> {
    let text: String = row.get("relation")?;
    let kind = row_try!(word(row, "kind", RelationKind::ALL, RelationKind::name)?);
    let relation = text.parse::<Relation>().map_err(|error| error.to_string());
    let kind = kind.unwrap_or(RelationKind::Needs);
    let relation = row_try!(relation);
    let mut bounds = relation.alternatives.iter().flat_map(|it| &it.range);
    if kind == RelationKind::Provides && bounds.any(|it| it.is != Is::Exactly) {
        let text = format!("it provides {relation}: one version, as in name (= 1), or none");
        return Ok(Err(text));
    }
    Ok(Ok(Relations {
        kind,
        relation,
        on_class: row.get("on_class")?,
        for_arch: row_try!(parsed(row, "for_arch")?),
    }))
}

const LIBRARIES: &str = "
    SELECT path, package_id, library, how FROM package_library
    ORDER BY package_id, path, library";

fn library(row: &Row<'_>) -> rusqlite::Result<RowResult<Library>> {
    Ok(Ok(Library {
        path: row.get(0)?,
        library: row.get(2)?,
        how: row.get(3)?,
    }))
}

const APIS: &str = "
    SELECT path, package_id, side, api FROM package_api ORDER BY package_id, path, side, api";

fn api(row: &Row<'_>) -> rusqlite::Result<RowResult<Api>> {
    let side = row_try!(word(row, "side", Side::ALL, Side::name)?);
    Ok(Ok(Api {
        path: row.get(0)?,
        side: side.unwrap_or(Side::Consumes),
        api: row.get(3)?,
    }))
}
