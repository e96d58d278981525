//! `/metrics`, read strictly by the rules of Prometheus's text format 0.0.4.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// A family: its kind, its help, its samples by label.
#[derive(Debug, Default, PartialEq)]
struct Family {
    kind: String,
    help: String,
    samples: BTreeMap<String, f64>,
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|it| it.is_ascii_alphabetic() || matches!(it, b'_' | b':'))
        && bytes.all(|it| it.is_ascii_alphanumeric() || matches!(it, b'_' | b':'))
}

/// `{name="value",…}`, with what may be escaped escaped.
fn check_labels(text: &str) {
    let inner = text
        .strip_prefix('{')
        .and_then(|it| it.strip_suffix('}'))
        .unwrap();
    let (name, value) = inner.split_once('=').unwrap();
    assert!(is_name(name) && !name.contains(':'), "{text}");
    let value = value
        .strip_prefix('"')
        .and_then(|it| it.strip_suffix('"'))
        .unwrap();
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        assert!(char != '"' && char != '\n', "{text}");
        if char == '\\' {
            assert!(matches!(chars.next(), Some('\\' | '"' | 'n')), "{text}");
        }
    }
}

fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line has no end");
    let mut families = BTreeMap::<String, Family>::new();
    let (mut current, mut closed) = (String::new(), BTreeSet::new());
    for line in text.lines() {
        let name = if let Some(comment) = line.strip_prefix("# ") {
            let (what, rest) = comment.split_once(' ').unwrap();
            let (name, text) = rest.split_once(' ').unwrap();
            let family = families.entry(name.to_owned()).or_default();
            assert!(family.samples.is_empty(), "{line}: after its samples");
            let place = match what {
                "HELP" => &mut family.help,
                "TYPE" => &mut family.kind,
                _ => panic!("{line}"),
            };
            assert!(place.is_empty(), "{line}: twice");
            text.clone_into(place);
            name
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = sample.split_at(sample.find('{').unwrap_or(sample.len()));
            if !labels.is_empty() {
                check_labels(labels);
            }
            let family = families
                .get_mut(name)
                .unwrap_or_else(|| panic!("{line}: no type"));
            let twice = family
                .samples
                .insert(labels.to_owned(), value.parse().unwrap());
            assert_eq!(twice, None, "{line}: twice");
            name
        };
        assert!(is_name(name), "{line}");
        if name != current {
            assert!(
                !closed.contains(name),
                "{line}: the family is not in one piece"
            );
            closed.insert(std::mem::replace(&mut current, name.to_owned()));
        }
    }
    families
}

#[test]
fn metrics_are_as_prometheus_reads_them() {
    let server = Server::start(lenient());
    let digest = server.put(b"content");
    server.get(&format!("/blob/{digest}"), "");
    let answer = server.get("/metrics", "");
    assert_eq!(
        answer.field("Content-Type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let families = parse(&answer.body);
    for (name, family) in &families {
        assert!(name.starts_with("bootd_"), "{name}");
        assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name}");
        assert!(family.kind == "counter" || family.kind == "gauge", "{name}");
        assert!(!family.help.is_empty(), "{name}");
    }
    // Every counter is there, under its own name.
    for (name, _) in server.counters.list() {
        assert!(
            families.contains_key(&format!("bootd_{name}_total")),
            "{name}"
        );
    }
    let bytes = Family {
        kind: "counter".into(),
        help: "Bytes of HTTP bodies sent.".into(),
        samples: BTreeMap::from([(String::new(), 7.0)]),
    };
    assert_eq!(families["bootd_http_bytes_total"], bytes);
    assert_eq!(families["bootd_http_requests_total"].samples[""], 2.0);
    let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(families["bootd_build_info"].samples[&version], 1.0);
}
