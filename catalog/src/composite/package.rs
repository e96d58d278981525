//! A package: its modules, and what it says about others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use boot_image::deb::{Deb, DebError};
use bootd_protocol::manifest::{Content, Process};

use super::facts::Facts;
use super::format::{Api, Library, Module, Package, Relation};
use super::release;
use super::tree::{self, TreeError, fits};
use crate::blobs::BlobWriter;
use crate::elf::{self, ElfFacts};
use crate::relation::{self, ParseRelationError};
use crate::snapshot::{RelationKind, Side};

/// Why a package cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A Debian package that cannot be used.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// Files that cannot be gathered.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A Debian package whose control file says what nobody understands.
    #[error("{deb}: its field {field}")]
    Field {
        /// The Debian package.
        deb: String,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        source: ParseRelationError,
    },
    /// A relation that is none.
    #[error(transparent)]
    Relation(#[from] ParseRelationError),
}

/// Gathers a package; paths are relative to `base`, contents go to `blobs`.
pub(super) fn package(
    source: &release::Package,
    base: &Path,
    blobs: &BlobWriter,
) -> Result<Package, PackageError> {
    let debs = source.debs.iter().map(|path| Deb::open(&base.join(path)));
    let debs: Vec<Deb> = debs.collect::<Result<_, _>>()?;
    let gathered = tree::gather(source, base, &debs, blobs)?;
    let relations = relations(source, &debs)?;
    let process = |process: &release::Process| Process {
        name: process.name.clone(),
        package: source.name.clone(),
        argv: process.argv.clone(),
        env: process
            .env
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect(),
        restart: process.restart,
        kind: process.kind,
        readiness: process.readiness.clone(),
        limits: process.limits.clone(),
    };
    Ok(Package {
        name: source.name.clone(),
        version: source.version.clone(),
        arch: gathered.arch,
        function: source.function.clone(),
        processes: source.processes.iter().map(process).collect(),
        relations: relations.into_iter().collect(),
        libraries: libraries(&gathered.modules),
        apis: apis(&gathered.modules),
        modules: gathered.modules.into_iter().map(|(it, _)| it).collect(),
    })
}

/// What the release says, and what the Debian packages say of what is not in this package.
fn relations(source: &release::Package, debs: &[Deb]) -> Result<BTreeSet<Relation>, PackageError> {
    let mut all: BTreeSet<Relation> = source.relations.iter().cloned().collect();
    let said = [
        (RelationKind::Needs, &source.needs),
        (RelationKind::Conflicts, &source.conflicts),
        (RelationKind::Provides, &source.provides),
        (RelationKind::Upgrades, &source.upgrades),
    ];
    for (kind, relations) in said {
        all.extend(relations.iter().map(|it| local(kind, it.clone())));
    }
    for it in &all {
        it.relation.parse::<relation::Relation>()?;
    }
    let provided = provided(debs)?;
    for (kind, field) in [
        (RelationKind::Needs, "Pre-Depends"),
        (RelationKind::Needs, "Depends"),
        (RelationKind::Conflicts, "Conflicts"),
        (RelationKind::Conflicts, "Breaks"),
    ] {
        for deb in debs {
            let relations = field_of(deb, field)?.into_iter();
            let relations = relations.filter(|it| is_for_others(kind, it, &provided, source));
            all.extend(relations.map(|it| local(kind, it.to_string())));
        }
    }
    all.extend(
        provided
            .iter()
            .map(|it| local(RelationKind::Provides, it.to_string())),
    );
    Ok(all)
}

/// What a package needs and has itself says nothing about others; nor does what it goes without.
fn is_for_others(
    kind: RelationKind,
    relation: &relation::Relation,
    provided: &[relation::Relation],
    source: &release::Package,
) -> bool {
    let own = provided.iter().flat_map(|it| &it.alternatives).any(|own| {
        let version = own.range.first().map(|bound| bound.version.as_str());
        relation.admits(&own.name, version)
    });
    let without = |name: &str| source.without_needs.iter().any(|it| fits(it, name));
    let unwanted = relation.alternatives.iter().any(|it| without(&it.name));
    let does_without = kind == RelationKind::Needs && unwanted;
    !own && !does_without
}

/// What the Debian packages are, and what they stand for.
fn provided(debs: &[Deb]) -> Result<Vec<relation::Relation>, PackageError> {
    let mut all = Vec::new();
    for deb in debs {
        let control = deb.control();
        all.push(format!("{} (= {})", control.package, control.version).parse()?);
        all.extend(field_of(deb, "Provides")?);
    }
    Ok(all)
}

fn field_of(deb: &Deb, field: &'static str) -> Result<Vec<relation::Relation>, PackageError> {
    let text = deb.control().field(field).unwrap_or_default();
    relation::Relation::list(text).map_err(|source| PackageError::Field {
        deb: deb.name().to_owned(),
        field,
        source,
    })
}

fn local(kind: RelationKind, relation: String) -> Relation {
    Relation {
        kind,
        relation,
        on_class: String::new(),
        for_arch: "all".into(),
    }
}

/// The shared libraries that the modules need, by the names that the loader looks for. What other
/// packages' libraries need in turn is theirs to say.
fn libraries(modules: &[(Module, Facts)]) -> Vec<Library> {
    let elfs: Vec<(&Module, &Facts, &ElfFacts)> = modules
        .iter()
        .filter_map(|(module, facts)| Some((module, facts, facts.elf.as_ref()?)))
        .collect();
    let by_path: BTreeMap<&str, &ElfFacts> = elfs
        .iter()
        .map(|(module, _, elf)| (module.path.as_str(), *elf))
        .collect();
    let links = modules
        .iter()
        .filter_map(|(module, _)| match &module.content {
            Content::Symlink(target) => Some(elf::Link {
                path: &module.path,
                target,
            }),
            Content::Regular(_) | Content::Directory(_) => None,
        });
    let links: Vec<elf::Link<'_>> = links.collect();
    let asked = elfs.iter().map(|(module, facts, elf)| elf::Module {
        path: &module.path,
        facts: elf,
        loads: &facts.declared,
    });
    let asked: Vec<elf::Module<'_>> = asked.collect();
    let mut all = BTreeMap::new();
    for ((module, facts, elf), needs) in elfs.iter().zip(elf::resolve(&asked, &links)) {
        let found = needs.transitive.iter().map(|path| name_of(path, &by_path));
        let missing = needs.missing.iter().map(|it| it.name);
        let of = |how, name: &str| ((module.path.clone(), name.to_owned()), how);
        all.extend(found.chain(missing).map(|name| of("transitive", name)));
        all.extend(elf.needed.iter().map(|name| of("direct", name)));
        all.extend(facts.declared.iter().map(|name| of("declared", name)));
    }
    // What is no ELF file (a script that starts an interpreter) may have been told to need some.
    for (module, facts) in modules.iter().filter(|(_, facts)| facts.elf.is_none()) {
        let declared = facts.declared.iter();
        all.extend(declared.map(|name| ((module.path.clone(), name.clone()), "declared")));
    }
    let all = all.into_iter();
    all.map(|((path, library), how)| Library {
        path,
        library,
        how: how.to_owned(),
    })
    .collect()
}

/// The name that others ask for: what the library says, or that of its file.
fn name_of<'a>(path: &'a str, by_path: &BTreeMap<&str, &'a ElfFacts>) -> &'a str {
    let soname = by_path.get(path).and_then(|it| it.soname.as_deref());
    soname.unwrap_or_else(|| path.rsplit('/').next().unwrap_or(path))
}

fn apis(modules: &[(Module, Facts)]) -> Vec<Api> {
    let mut all = BTreeSet::new();
    for (module, facts) in modules {
        for (side, names) in [
            (Side::Provides, &facts.provides),
            (Side::Consumes, &facts.consumes),
        ] {
            all.extend(names.iter().map(|api| Api {
                path: module.path.clone(),
                side,
                api: api.clone(),
            }));
        }
    }
    all.into_iter().collect()
}
