//! Tests: what a node does in one boot and in no other.
//!
//! A question that is asked again in the boot in which the node was told to test is answered so
//! again; one of a later boot is not. Tests come one after the other, each in a boot of its own.

use std::collections::BTreeMap;

/// Which node had which test, and in which of its boots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Once(BTreeMap<(String, i64), u64>);

impl Once {
    /// Goes on from what an earlier run remembered: node, test, boot.
    #[must_use]
    pub fn restored(had: impl IntoIterator<Item = (String, i64, u64)>) -> Self {
        let had = had.into_iter();
        Once(had.map(|(node, test, boot)| ((node, test), boot)).collect())
    }

    /// The test that the node has in this boot, of those that are for it.
    #[must_use]
    pub fn due(&self, node: &str, boot: u64, tests: impl IntoIterator<Item = i64>) -> Option<i64> {
        let mut fresh = None;
        for test in tests {
            match self.0.get(&(node.to_owned(), test)) {
                Some(had) if *had == boot => return Some(test),
                Some(_) => {}
                None => fresh = Some(fresh.map_or(test, |it: i64| it.min(test))),
            }
        }
        fresh
    }

    /// The node was told to test. Whether that is new.
    pub fn handle_told(&mut self, node: &str, boot: u64, test: i64) -> bool {
        self.0.insert((node.to_owned(), test), boot) != Some(boot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_has_one_boot_of_each_node() {
        let mut once = Once::default();
        assert_eq!(once.due("a", 1, []), None);
        assert_eq!(once.due("a", 1, [5, 4]), Some(4));
        assert!(once.handle_told("a", 1, 4));
        assert_eq!(
            once.due("a", 1, [4, 5]),
            Some(4),
            "asked again in the same boot"
        );
        assert!(!once.handle_told("a", 1, 4));
        assert_eq!(once.due("a", 2, [4, 5]), Some(5));
        assert!(once.handle_told("a", 2, 5));
        assert_eq!(once.due("a", 3, [4, 5]), None);
        assert_eq!(once.due("b", 3, [4, 5]), Some(4));
        let had = [("a".to_owned(), 4, 1), ("a".to_owned(), 5, 2)];
        assert_eq!(Once::restored(had), once);
    }
}
