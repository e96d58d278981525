//! The index of the kernel modules that a boot image carries: `/lib/modules/index`.
//!
//! One line for each module, four fields separated by tabs:
//!
//! ```text
//! name<TAB>file<TAB>dependency,dependency<TAB>alias alias
//! ```
//!
//! - `name`: the module's name as `/proc/modules` shows it (`virtio_net`, with `_` for `-`);
//! - `file`: its path below `/lib/modules`;
//! - the names of the modules that must be loaded before it, none if empty: those whose symbols
//!   it uses and those that its soft dependencies want first;
//! - its aliases (`virtio:d00000001v*`), patterns of the device names (`modalias`) it drives.
//!
//! A module stands after everything it depends on: whoever loads the modules he picked in the
//! order of the index never comes too early, and a cycle cannot be written down. Empty lines
//! and lines that begin with `#` say nothing. The builder of boot images writes the index, the
//! node's init reads it.

use std::collections::BTreeMap;
use std::fmt;

/// One module of an [`Index`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module<'a> {
    /// As `/proc/modules` shows it.
    pub name: &'a str,
    /// Path below `/lib/modules`.
    pub file: &'a str,
    /// Positions, in the index, of the modules it depends on; all stand before it.
    pub depends: Vec<usize>,
    /// Patterns of the `modalias` strings it drives.
    pub aliases: Vec<&'a str>,
}

/// Modules in an order in which they can be loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index<'a> {
    modules: Vec<Module<'a>>,
    by_name: BTreeMap<&'a str, usize>,
}

/// Why a module has no place in an index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// A line without four fields.
    #[error("line {0} of the module index has no four fields separated by tabs")]
    Fields(usize),
    /// A name, file or alias that is empty or holds what separates fields, or a file that
    /// stands outside of `/lib/modules`.
    #[error("{text:?} cannot stand in the module index (module {module:?})")]
    Text {
        /// The module it belongs to.
        module: String,
        /// What cannot stand there.
        text: String,
    },
    /// A name that stands twice.
    #[error("module {0} stands twice in the module index")]
    Twice(String),
    /// A dependency that does not stand before the module.
    #[error("module {module} depends on {depends}, which does not stand before it in the index")]
    Order {
        /// The module.
        module: String,
        /// What it depends on.
        depends: String,
    },
}

impl<'a> Index<'a> {
    /// Reads an index.
    ///
    /// # Errors
    /// A line without four fields, or one that [`Index::push`] refuses.
    pub fn parse(text: &'a str) -> Result<Self, IndexError> {
        let mut index = Index::default();
        for (number, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut fields = line.split('\t');
            let mut field = || fields.next().ok_or(IndexError::Fields(number + 1));
            let [name, file, depends, aliases] = [field()?, field()?, field()?, field()?];
            if fields.next().is_some() {
                return Err(IndexError::Fields(number + 1));
            }
            let depends = depends.split(',').filter(|name| !name.is_empty());
            let aliases = aliases.split(' ').filter(|alias| !alias.is_empty());
            index.push(name, file, depends, aliases.collect())?;
        }
        Ok(index)
    }

    /// Adds a module behind everything it depends on.
    ///
    /// # Errors
    /// A text that cannot be written down, a name that is there already, a dependency that is
    /// not there yet.
    pub fn push<'n>(
        &mut self,
        name: &'a str,
        file: &'a str,
        depends: impl IntoIterator<Item = &'n str>,
        aliases: Vec<&'a str>,
    ) -> Result<(), IndexError> {
        let climbs = file.starts_with('/') || file.split('/').any(|part| part == "..");
        let texts = [name, file].into_iter().chain(aliases.iter().copied());
        let bad = texts.clone().find(|text| !is_plain(text));
        let bad = bad.or(climbs.then_some(file));
        let bad = bad.or(name.starts_with('#').then_some(name));
        if let Some(text) = bad.or(name.contains(',').then_some(name)) {
            return Err(IndexError::Text {
                module: name.to_owned(),
                text: text.to_owned(),
            });
        }
        let depends = depends.into_iter().map(|depends| {
            self.position(depends).ok_or_else(|| IndexError::Order {
                module: name.to_owned(),
                depends: depends.to_owned(),
            })
        });
        let depends = depends.collect::<Result<_, _>>()?;
        if self.by_name.insert(name, self.modules.len()).is_some() {
            return Err(IndexError::Twice(name.to_owned()));
        }
        self.modules.push(Module {
            name,
            file,
            depends,
            aliases,
        });
        Ok(())
    }

    /// The modules, each behind everything it depends on.
    #[must_use]
    pub fn modules(&self) -> &[Module<'a>] {
        &self.modules
    }

    /// Where the module called `name` stands in [`Index::modules`].
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }
}

/// Whether `text` can stand in a field, or between the spaces of the last one.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// Writes the index as [`Index::parse`] reads it.
impl fmt::Display for Index<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for module in &self.modules {
            let depends = module.depends.iter().filter_map(|at| self.modules.get(*at));
            let depends: Vec<&str> = depends.map(|module| module.name).collect();
            let [name, file] = [module.name, module.file];
            let [depends, aliases] = [depends.join(","), module.aliases.join(" ")];
            writeln!(f, "{name}\t{file}\t{depends}\t{aliases}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "virtio\tvirtio.ko\t\t\n\
        virtio_ring\tvirtio_ring.ko\tvirtio\t\n\
        virtio_net\tnet/virtio_net.ko\tvirtio,virtio_ring\tvirtio:d00000001v* pci:v1d*\n";

    #[test]
    fn reads_what_it_writes() {
        let with_notes = format!("# Linux 6.1\n\n{TEXT}");
        let index = Index::parse(&with_notes).unwrap();
        assert_eq!(index.to_string(), TEXT);
        let expected = Module {
            name: "virtio_net",
            file: "net/virtio_net.ko",
            depends: vec![0, 1],
            aliases: vec!["virtio:d00000001v*", "pci:v1d*"],
        };
        assert_eq!(index.modules()[2], expected);
        assert_eq!(index.position("virtio_net"), Some(2));
        assert_eq!(index.position("ext4"), None);
    }

    #[test]
    fn refuses_what_cannot_be_loaded_in_order() {
        let text = |module: &str, text: &str| IndexError::Text {
            module: module.into(),
            text: text.into(),
        };
        let order = |module: &str, depends: &str| IndexError::Order {
            module: module.into(),
            depends: depends.into(),
        };
        for (line, expected) in [
            ("a\ta.ko\t", IndexError::Fields(1)),
            ("a\ta.ko\t\t\t", IndexError::Fields(1)),
            ("a\ta.ko\tb\t\nb\tb.ko\t\t", order("a", "b")),
            ("a\ta.ko\ta\t", order("a", "a")),
            ("a\ta.ko\t\t\na\tb.ko\t\t", IndexError::Twice("a".into())),
            ("a\t/a.ko\t\t", text("a", "/a.ko")),
            ("a\tx/../a.ko\t\t", text("a", "x/../a.ko")),
            ("a\t\t\t", text("a", "")),
            ("a,b\ta.ko\t\t", text("a,b", "a,b")),
            ("a b\ta.ko\t\t", text("a b", "a b")),
        ] {
            assert_eq!(Index::parse(line), Err(expected), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_writes_what_it_reads(text in "[a-c#\t\n, .\\\\*:é]{0,60}") {
            if let Ok(index) = Index::parse(&text) {
                let written = index.to_string();
                prop_assert_eq!(Index::parse(&written).unwrap(), index);
            }
        }
    }
}
