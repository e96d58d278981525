//! What a package says about others, in the words of Debian's control files
//! (`deb-control(5)`, Debian Policy section 7.1): `libssl3 (>= 3.0.0) | libssl1.1`.
//!
//! Two things are added: a range may have several bounds, `db (>= 2, << 3)`; and what an
//! installed package has no use for, architectures in brackets and build profiles, is refused.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::version;

/// One of these is enough.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Relation {
    /// At least one.
    pub alternatives: Vec<Alternative>,
}

/// A package in one of these versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alternative {
    /// Its name.
    pub name: String,
    /// All of them hold; any version if there is none.
    pub range: Vec<Bound>,
}

/// One end of a range of versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bound {
    /// How a version compares with it.
    pub is: Is,
    /// What it is compared with.
    pub version: String,
}

/// How a version compares with a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Is {
    /// `<<`
    Earlier,
    /// `<=`
    NotLater,
    /// `=`
    Exactly,
    /// `>=`
    NotEarlier,
    /// `>>`
    Later,
}

impl Is {
    /// Longest words first: `<` alone is no word, as Debian has given it up.
    const ALL: [(Is, &str); 5] = [
        (Is::Earlier, "<<"),
        (Is::NotLater, "<="),
        (Is::NotEarlier, ">="),
        (Is::Later, ">>"),
        (Is::Exactly, "="),
    ];

    fn holds(self, order: Ordering) -> bool {
        match self {
            Is::Earlier => order.is_lt(),
            Is::NotLater => order.is_le(),
            Is::Exactly => order.is_eq(),
            Is::NotEarlier => order.is_ge(),
            Is::Later => order.is_gt(),
        }
    }
}

impl Alternative {
    /// Whether this name in this version is meant. Without a version (something that is provided
    /// without one) only a name without a range is (Debian Policy section 7.5).
    #[must_use]
    pub fn admits(&self, name: &str, version: Option<&str>) -> bool {
        self.name == name
            && match version {
                Some(version) => self.admits_version(version),
                None => self.range.is_empty(),
            }
    }

    /// Whether `version` is in the range.
    #[must_use]
    pub fn admits_version(&self, version: &str) -> bool {
        let holds = |bound: &Bound| bound.is.holds(version::compare(version, &bound.version));
        self.range.iter().all(holds)
    }
}

impl Relation {
    /// Whether one of the alternatives means this name in this version.
    #[must_use]
    pub fn admits(&self, name: &str, version: Option<&str>) -> bool {
        self.alternatives.iter().any(|it| it.admits(name, version))
    }

    /// Relations separated by commas, as a field of a control file has them. `what:any` and
    /// `what:native` are `what`: a node has the packages of one architecture.
    ///
    /// # Errors
    /// The first that is none.
    pub fn list(field: &str) -> Result<Vec<Relation>, ParseRelationError> {
        let mut relations = Vec::new();
        let mut rest = field;
        while !rest.trim().is_empty() {
            // A comma within parentheses is one of ours.
            let mut depth = 0_i32;
            let end = rest.find(|letter| {
                depth += i32::from(letter == '(') - i32::from(letter == ')');
                letter == ',' && depth <= 0
            });
            let (one, after) = rest.split_at(end.unwrap_or(rest.len()));
            relations.push(one.parse()?);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        Ok(relations)
    }
}

/// A text that is no relation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no relation such as `name`, `name (>= 1.2)` or `one (= 2) | another (>= 1, << 2)`"
)]
pub struct ParseRelationError(String);

impl FromStr for Relation {
    type Err = ParseRelationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let alternatives = text.split('|').map(alternative).collect::<Option<_>>();
        let wrong = || ParseRelationError(text.trim().to_owned());
        let alternatives = alternatives.ok_or_else(wrong)?;
        Ok(Relation { alternatives })
    }
}

fn alternative(text: &str) -> Option<Alternative> {
    let text = text.trim();
    let (name, range) = match text.split_once('(') {
        Some((name, rest)) => (name.trim_end(), Some(rest.strip_suffix(')')?)),
        None => (text, None),
    };
    let name = name
        .strip_suffix(":any")
        .or(name.strip_suffix(":native"))
        .unwrap_or(name);
    let bounds = range.map(|range| range.split(',').map(bound).collect::<Option<Vec<_>>>());
    let range = match bounds {
        Some(bounds) => bounds?,
        None => Vec::new(),
    };
    is_name(name).then(|| Alternative {
        name: name.to_owned(),
        range,
    })
}

fn bound(text: &str) -> Option<Bound> {
    let text = text.trim();
    let (is, rest) = Is::ALL
        .iter()
        .find_map(|(is, word)| Some((*is, text.strip_prefix(word)?)))?;
    let version = rest.trim();
    is_version(version).then(|| Bound {
        is,
        version: version.to_owned(),
    })
}

/// As schema.sql has it.
fn is_name(text: &str) -> bool {
    let inner =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".+_-".contains(&byte);
    let first = text.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && text.bytes().all(inner)
        && text.len() <= 100
}

/// As schema.sql has it.
fn is_version(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b".+~:_-".contains(&byte);
    text.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && text.bytes().all(inner)
        && text.len() <= 100
}

impl TryFrom<String> for Relation {
    type Error = ParseRelationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Relation> for String {
    fn from(relation: Relation) -> Self {
        relation.to_string()
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, alternative) in self.alternatives.iter().enumerate() {
            let between = if index == 0 { "" } else { " | " };
            write!(f, "{between}{alternative}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Alternative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (index, bound) in self.range.iter().enumerate() {
            let before = if index == 0 { " (" } else { ", " };
            write!(f, "{before}{bound}")?;
        }
        f.write_str(if self.range.is_empty() { "" } else { ")" })
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Is::ALL.iter().find(|(is, _)| *is == self.is);
        write!(f, "{} {}", word.map_or("", |(_, word)| word), self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::Relation;

    fn relation(text: &str) -> Relation {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        for text in [
            "nginx",
            "libc6 (>= 2.36)",
            "db (>= 2, << 3)",
            "default-mta | mail-transport-agent (= 1:1-1) | x (>> 0) | y (<= 9)",
        ] {
            assert_eq!(relation(text).to_string(), text);
        }
        assert_eq!(
            relation(" perl:any( >=5 )|c ").to_string(),
            "perl (>= 5) | c"
        );
        let field =
            Relation::list("debconf (>= 0.5) | debconf-2.0, libc6 (>= 2.34, << 3),").unwrap();
        let field: Vec<String> = field.iter().map(ToString::to_string).collect();
        assert_eq!(
            field,
            ["debconf (>= 0.5) | debconf-2.0", "libc6 (>= 2.34, << 3)"]
        );
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "|",
            "a |",
            "a (1)",
            "a (< 1)",
            "a (>= )",
            "a (>= 1",
            "a >= 1",
            "a (>= 1,)",
            "A",
            "a [amd64]",
            "a <!nocheck>",
            "a b",
            "-a",
            "a ()",
            "a (>= 1) b",
            "é",
        ] {
            let error = text.parse::<Relation>().expect_err(text).to_string();
            assert!(error.contains("is no relation such as"), "{error}");
        }
        assert!(Relation::list("a,, b").is_err());
        assert_eq!(Relation::list(" ").unwrap(), []);
    }

    #[test]
    fn ranges_are_debians() {
        let either = relation("db (>= 2, << 3) | old-db (= 1.0)");
        for (name, version, admitted) in [
            ("db", Some("2"), true),
            ("db", Some("2.9-1"), true),
            ("db", Some("3"), false),
            ("db", Some("3~rc1"), true),
            ("db", Some("2~rc1"), false),
            ("db", None, false),
            ("old-db", Some("1.0-0"), true),
            ("old-db", Some("1.0-1"), false),
            ("other", Some("2"), false),
        ] {
            assert_eq!(either.admits(name, version), admitted, "{name} {version:?}");
        }
        assert!(relation("any").admits("any", None));
    }
}
