//! Which libraries the programs of a tree need, by the rules of ld.so(8).
//!
//! As far as a static look goes. Not known here: `LD_LIBRARY_PATH`, `ld.so.cache` (so that a
//! directory of `ld.so.conf` counts for nothing), the `glibc-hwcaps` directories, which hold
//! other builds of what is found without them, and libraries that are loaded by name at run time
//! unless they are declared ([`Module::loads`]).

use std::collections::{HashMap, HashSet};

use super::tree::Tree;
use super::{ElfFacts, Kind};

/// One ELF file of a tree.
#[derive(Debug, Clone, Copy)]
pub struct Module<'a> {
    /// Where it is: absolute and clean; there may be links on the way to it.
    pub path: &'a str,
    /// What it says of itself.
    pub facts: &'a ElfFacts,
    /// What it loads by name while it runs (`dlopen`), declared by hand: found as what it needs.
    pub loads: &'a [String],
}

/// One symbolic link of a tree, to a file or a directory.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    /// Where it is: absolute and clean; there may be other links on the way to it.
    pub path: &'a str,
    /// Where it points to.
    pub target: &'a str,
}

/// The libraries that a module needs. Paths are those of [`Module::path`].
///
/// Those of a program are what ld.so would load. Those of a library are what it would load if
/// the library came first: what a program has loaded before, or the program's `DT_RPATH`, may
/// make up for what is missing here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs<'a> {
    /// Those it asks for itself, in order; a program's interpreter first.
    pub direct: Vec<&'a str>,
    /// All of them, direct ones too, sorted.
    pub transitive: Vec<&'a str>,
    /// What is not in the tree, in the order of the search.
    pub missing: Vec<Missing<'a>>,
}

/// A library that cannot be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing<'a> {
    /// Its name.
    pub name: &'a str,
    /// The module that asks for it.
    pub by: &'a str,
}

/// What each module of a tree needs, in the order of `modules`.
#[must_use]
pub fn resolve<'a>(modules: &[Module<'a>], links: &[Link<'a>]) -> Vec<Needs<'a>> {
    let mut tree = Tree::new(modules, links);
    let mut names = Names::default();
    let known = modules.iter().enumerate();
    let known = known.map(|(index, it)| Known::new(index, it, &mut tree, &mut names));
    let known = known.collect();
    let mut process = Process {
        modules,
        tree,
        known,
        names: vec![None; names.0.len()],
        loaded: vec![usize::MAX; modules.len()],
        root: 0,
        queue: Vec::new(),
    };
    (0..modules.len()).map(|root| process.load(root)).collect()
}

/// A number for each name: the process is told by them what it has loaded.
#[derive(Default)]
struct Names<'a>(HashMap<&'a str, usize>);

impl<'a> Names<'a> {
    fn number(&mut self, name: &'a str) -> usize {
        let next = self.0.len();
        *self.0.entry(name).or_insert(next)
    }
}

/// What a module asks for, with what is found by its own directories and the usual ones.
struct Known<'a> {
    soname: Option<usize>,
    wants: Vec<Want<'a>>,
}

#[derive(Clone, Copy)]
struct Want<'a> {
    name: &'a str,
    number: usize,
    found: Option<usize>,
}

impl<'a> Known<'a> {
    fn new(index: usize, module: &Module<'a>, tree: &mut Tree<'a>, names: &mut Names<'a>) -> Self {
        let facts = module.facts;
        let interpreter = facts.interpreter.iter();
        let interpreter = interpreter.filter(|_| facts.kind == Kind::Program);
        let all = interpreter.chain(&facts.needed).chain(module.loads);
        Known {
            soname: facts.soname.as_deref().map(|it| names.number(it)),
            wants: all
                .map(|name| Want {
                    name,
                    number: names.number(name),
                    found: tree.find(index, &[], name),
                })
                .collect(),
        }
    }
}

/// One process after the other, each of which loads one module and what that needs.
struct Process<'m, 'a> {
    modules: &'m [Module<'a>],
    tree: Tree<'a>,
    known: Vec<Known<'a>>,
    /// By number: the process that knows the name last, and the module that it is there.
    names: Vec<Option<(usize, usize)>>,
    /// By module: the process that has loaded it last.
    loaded: Vec<usize>,
    /// The module that this process began with.
    root: usize,
    /// What is loaded, in order, with the place in here of the nearest one with a `DT_RPATH`
    /// among those on whose behalf it was loaded.
    queue: Vec<(usize, Option<usize>)>,
}

impl<'a> Process<'_, 'a> {
    fn load(&mut self, root: usize) -> Needs<'a> {
        self.root = root;
        self.queue.clear();
        self.add(root, None);
        let mut needs = Needs::default();
        let mut at = 0;
        while let Some((module, _)) = self.queue.get(at).copied() {
            for want in 0..self.known[module].wants.len() {
                let want = self.known[module].wants[want];
                match self.find(at, module, want) {
                    Some(found) if at == 0 => needs.direct.push(self.modules[found].path),
                    Some(_) => {}
                    None => needs.missing.push(Missing {
                        name: want.name,
                        by: self.modules[module].path,
                    }),
                }
            }
            at += 1;
        }
        let others = self.queue.iter().skip(1);
        needs.transitive = others.map(|(it, _)| self.modules[*it].path).collect();
        needs.transitive.sort_unstable();
        let mut seen = HashSet::new();
        needs.direct.retain(|path| seen.insert(*path));
        needs
    }

    /// A name that was loaded before is not looked for again.
    fn find(&mut self, at: usize, module: usize, want: Want<'a>) -> Option<usize> {
        if let Some((root, found)) = self.names[want.number]
            && root == self.root
        {
            return Some(found);
        }
        let above = self.rpaths_above(at, module);
        let found = if above.is_empty() {
            want.found?
        } else {
            self.tree.find(module, &above, want.name)?
        };
        // `$ORIGIN` is another directory for everybody.
        if !want.name.contains('$') {
            self.names[want.number] = Some((self.root, found));
        }
        let above = if has_rpath(self.modules[module].facts) {
            Some(at)
        } else {
            self.queue[at].1
        };
        self.add(found, above);
        Some(found)
    }

    /// Modules whose `DT_RPATH` counts for `module`, too: those on whose behalf it was loaded,
    /// unless it has a `DT_RUNPATH`.
    fn rpaths_above(&self, at: usize, module: usize) -> Vec<usize> {
        let mut above = Vec::new();
        if self.modules[module].facts.runpath.is_some() {
            return above;
        }
        let mut next = self.queue[at].1;
        while let Some((module, further)) = next.and_then(|it| self.queue.get(it)) {
            above.push(*module);
            next = *further;
        }
        above
    }

    fn add(&mut self, module: usize, above: Option<usize>) {
        if let Some(soname) = self.known[module].soname {
            let known = self.names[soname].is_some_and(|(root, _)| root == self.root);
            if !known {
                self.names[soname] = Some((self.root, module));
            }
        }
        if self.loaded[module] != self.root {
            self.loaded[module] = self.root;
            self.queue.push((module, above));
        }
    }
}

/// Whether a module has a `DT_RPATH` that counts.
fn has_rpath(facts: &ElfFacts) -> bool {
    facts.rpath.is_some() && facts.runpath.is_none()
}
