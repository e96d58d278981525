//! Paths of a tree, through its symbolic links, and the directories that ld.so(8) looks in.

use std::collections::HashMap;

use bootd_protocol::identity::Arch;
use object::elf;

use super::{Abi, Link, Module};

/// Most symbolic links on the way to one file, as in Linux (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// Most links to directories one within the other that are told apart.
const MAX_NESTED: usize = 8;

/// Most directories of one `DT_RUNPATH` or `DT_RPATH` that are looked in.
const MAX_DIRECTORIES: usize = 256;

/// The modules of a tree, by path and by name.
pub(super) struct Tree<'a> {
    /// By real path, too.
    links: HashMap<String, &'a str>,
    /// By real path: without links in it.
    modules: HashMap<String, usize>,
    places: Vec<Place>,
    usual: HashMap<Abi, Vec<String>>,
    /// What is in the usual directories, as far as somebody has asked.
    found: HashMap<(Abi, &'a str), Option<usize>>,
}

/// What of a module counts when it asks for a library.
struct Place {
    abi: Abi,
    /// Its directory (`$ORIGIN`).
    origin: String,
    /// The directories of its `DT_RPATH`, unless it has a `DT_RUNPATH`.
    rpath: Vec<String>,
    runpath: Vec<String>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(modules: &[Module<'a>], links: &[Link<'a>]) -> Self {
        let mut tree = Tree {
            links: HashMap::new(),
            modules: HashMap::new(),
            places: Vec::new(),
            usual: HashMap::new(),
            found: HashMap::new(),
        };
        tree.add_links(links);
        for (index, module) in modules.iter().enumerate() {
            let real = tree.real(module.path);
            let real = real.unwrap_or_else(|| module.path.to_owned());
            let place = Place::new(module, &real);
            let usual = tree.usual.entry(place.abi);
            usual.or_insert_with(|| usual_directories(module.facts.abi));
            tree.places.push(place);
            tree.modules.insert(real, index);
        }
        tree
    }

    /// One link may stand in a directory that another one leads to, in any order.
    fn add_links(&mut self, links: &[Link<'a>]) {
        for _ in 0..MAX_NESTED {
            let before = self.links.len();
            for link in links {
                let (directory, name) = link.path.rsplit_once('/').unwrap_or_default();
                if let Some(real) = self.real(&format!("{directory}/")) {
                    self.links.insert(format!("{real}/{name}"), link.target);
                }
            }
            if self.links.len() == before {
                break;
            }
        }
    }

    /// The module that module `by` gets when it asks for `name`. The `DT_RPATH` of the modules
    /// `above` counts for it, too.
    pub(super) fn find(&mut self, by: usize, above: &[usize], name: &'a str) -> Option<usize> {
        let place = self.places.get(by)?;
        if name.contains('/') {
            let path = expand(name, &place.origin, place.abi).next()?;
            return self.module(&path, place.abi);
        }
        let above = above.iter().filter_map(|it| self.places.get(*it));
        let rpaths = above.flat_map(|it| &it.rpath);
        let mut own = place.rpath.iter().chain(rpaths).chain(&place.runpath);
        let found = own.find_map(|directory| self.within(directory, name, place.abi));
        let abi = place.abi;
        found.or_else(|| self.find_as_usual(abi, name))
    }

    fn find_as_usual(&mut self, abi: Abi, name: &'a str) -> Option<usize> {
        if let Some(found) = self.found.get(&(abi, name)) {
            return *found;
        }
        let mut usual = self.usual.get(&abi)?.iter();
        let found = usual.find_map(|directory| self.within(directory, name, abi));
        self.found.insert((abi, name), found);
        found
    }

    fn within(&self, directory: &str, name: &str, abi: Abi) -> Option<usize> {
        self.module(&format!("{directory}/{name}"), abi)
    }

    /// The module at this path. One for another processor is passed over.
    fn module(&self, path: &str, abi: Abi) -> Option<usize> {
        let index = *self.modules.get(&self.real(path)?)?;
        let place = self.places.get(index)?;
        (place.abi == abi).then_some(index)
    }

    /// The path without links, `.` and `..`. None if it is relative, or goes round in circles.
    fn real(&self, path: &str) -> Option<String> {
        if !path.starts_with('/') {
            return None;
        }
        let mut real = String::with_capacity(path.len());
        let mut rest: Vec<&str> = path.split('/').rev().collect();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            let parent = real.len();
            match part {
                "" | "." => continue,
                ".." => {
                    real.truncate(real.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => real.extend(["/", part]),
            }
            let Some(target) = self.links.get(real.as_str()) else {
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return None;
            }
            real.truncate(if target.starts_with('/') { 0 } else { parent });
            rest.extend(target.split('/').rev());
        }
        Some(real)
    }
}

impl Place {
    fn new(module: &Module<'_>, real: &str) -> Self {
        let facts = module.facts;
        let abi = facts.abi;
        let origin = real.rsplit_once('/').map_or("", |(directory, _)| directory);
        let directories = |list: Option<&String>| -> Vec<String> {
            let list = list.into_iter().flat_map(|it| it.split(':'));
            let all = list.flat_map(|it| expand(it, origin, abi));
            all.take(MAX_DIRECTORIES).collect()
        };
        let rpath = facts.rpath.as_ref();
        Place {
            abi,
            rpath: directories(rpath.filter(|_| facts.runpath.is_none())),
            runpath: directories(facts.runpath.as_ref()),
            origin: origin.to_owned(),
        }
    }
}

/// The paths that a path with `$ORIGIN`, `$LIB` and `$PLATFORM` stands for. What is relative
/// stands for none: nobody knows where a process will be started.
fn expand(path: &str, origin: &str, abi: Abi) -> impl Iterator<Item = String> + use<> {
    let platform = abi.arch().map_or("", Arch::name);
    let path = path
        .replace("${", "$")
        .replace('}', "")
        .replace("$ORIGIN", origin)
        .replace("$PLATFORM", platform);
    let some = path.starts_with('/');
    let libs = if path.contains("$LIB") {
        libs(abi)
    } else {
        vec![String::new()]
    };
    let all = libs.into_iter().map(move |lib| path.replace("$LIB", &lib));
    all.filter(move |_| some)
}

/// What `$LIB` may stand for; that is decided when ld.so is built.
fn libs(abi: Abi) -> Vec<String> {
    let triplet = abi.triplet().map(|triplet| format!("lib/{triplet}"));
    let lib64 = abi.wide.then(|| "lib64".to_owned());
    triplet
        .into_iter()
        .chain(lib64)
        .chain(["lib".to_owned()])
        .collect()
}

/// Where everything is looked for in the end.
fn usual_directories(abi: Abi) -> Vec<String> {
    let both = libs(abi).into_iter();
    both.flat_map(|lib| [format!("/{lib}"), format!("/usr/{lib}")])
        .collect()
}

impl Abi {
    /// The name of Debian's directories for it.
    fn triplet(self) -> Option<&'static str> {
        match self.arch() {
            Some(Arch::X86_64) => Some("x86_64-linux-gnu"),
            Some(Arch::Aarch64) => Some("aarch64-linux-gnu"),
            Some(Arch::Riscv64) => Some("riscv64-linux-gnu"),
            None if self.machine == elf::EM_386.0 => Some("i386-linux-gnu"),
            None => None,
        }
    }
}
