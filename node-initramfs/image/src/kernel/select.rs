//! The dependency closure of a set of modules, in an order in which they can be loaded.

use std::collections::BTreeMap;

use super::modinfo::ModInfo;
use super::signature::without_signature;
use super::{Kernel, KernelError, ModuleSet, Picked, Signatures, canonical};
use crate::elf::Elf;

pub(super) fn select<'a>(
    kernel: &Kernel<'a>,
    set: &ModuleSet,
) -> Result<Vec<Picked<'a>>, KernelError> {
    let mut walk = Walk {
        kernel,
        signatures: set.signatures,
        seen: BTreeMap::new(),
        picked: Vec::new(),
    };
    for name in &set.required {
        let name = canonical(name);
        if !walk.visit(&name)? && !kernel.builtin.contains(&name) {
            return Err(KernelError::NoModule {
                deb: kernel.deb_name(),
                module: name,
            });
        }
    }
    for name in &set.optional {
        walk.visit(&canonical(name))?;
    }
    Ok(walk.picked)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// What it needs is being picked.
    Open,
    /// It has been picked.
    Done,
}

struct Walk<'k, 'a> {
    kernel: &'k Kernel<'a>,
    signatures: Signatures,
    seen: BTreeMap<String, Seen>,
    picked: Vec<Picked<'a>>,
}

impl Walk<'_, '_> {
    /// Picks what `name` needs, then `name`; false if the package has no such file.
    fn visit(&mut self, name: &str) -> Result<bool, KernelError> {
        let Some(entry) = self.kernel.files.get(name) else {
            return Ok(false);
        };
        match self.seen.get(name) {
            Some(Seen::Done) => return Ok(true),
            Some(Seen::Open) => {
                return Err(KernelError::Cycle {
                    deb: self.kernel.deb_name(),
                    module: name.to_owned(),
                });
            }
            None => self.seen.insert(name.to_owned(), Seen::Open),
        };
        let bytes = self.kernel.read(entry)?;
        let info = Elf::parse(&bytes)
            .and_then(|elf| ModInfo::parse(elf.modinfo))
            .map_err(|reason| KernelError::Damaged {
                deb: self.kernel.deb_name(),
                path: entry.path.to_owned(),
                reason,
            })?;
        let depends = self.visit_dependencies(name, &info)?;
        self.seen.insert(name.to_owned(), Seen::Done);
        self.picked.push(Picked {
            name: name.to_owned(),
            bytes: match self.signatures {
                Signatures::Keep => bytes,
                Signatures::Drop => without_signature(bytes),
            },
            depends,
            aliases: info.aliases,
        });
        Ok(true)
    }

    /// The modules that were picked for `name`: what is built in is not among them, and
    /// neither is what it would like first but the package does not have, or that needs `name`.
    fn visit_dependencies(
        &mut self,
        name: &str,
        info: &ModInfo,
    ) -> Result<Vec<String>, KernelError> {
        let mut depends = Vec::new();
        for other in &info.depends {
            if self.visit(other)? {
                depends.push(other.clone());
            } else if !self.kernel.builtin.contains(other) {
                return Err(KernelError::NoDependency {
                    deb: self.kernel.deb_name(),
                    module: name.to_owned(),
                    depends: other.clone(),
                });
            }
        }
        for other in &info.wants {
            let needs_us = self.seen.get(other) == Some(&Seen::Open);
            if !depends.contains(other) && !needs_us && self.visit(other)? {
                depends.push(other.clone());
            }
        }
        Ok(depends)
    }
}
