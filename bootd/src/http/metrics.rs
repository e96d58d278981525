//! Numbers in Prometheus's text format, version 0.0.4.

use std::fmt::Write as _;

use super::Http;
use super::reply::{Content, Resource};

/// What `/metrics` leads to.
pub(super) fn resource(http: &Http) -> Resource {
    Resource {
        media_type: "text/plain; version=0.0.4; charset=utf-8",
        digest: None,
        content: Content::Text(text(http)),
    }
}

fn text(http: &Http) -> String {
    let view = http.desired.view();
    let mut page = Page::default();
    for (name, help, value) in http.counters.described() {
        page.counter(name, help, value);
    }
    for (name, help, value) in http.counters.now.described() {
        page.gauge(name, help, value);
    }
    page.gauge(
        "catalog_generation",
        "Number of the catalog's last edit in force.",
        view.snapshot.generation,
    );
    page.gauge(
        "catalog_problems",
        "Classes without a complete list: `catalog check` names them.",
        len(view.served.problems().len()),
    );
    page.gauge(
        "catalog_nodes",
        "Nodes in the catalog.",
        len(view.snapshot.nodes.len()),
    );
    let stages = http.presence.stages();
    page.family(
        "node_stage",
        "Nodes that were last heard of at this stage.",
        "gauge",
    );
    for (stage, nodes) in stages {
        page.labelled("node_stage", "stage", &stage, nodes);
    }
    page.family(
        "build_info",
        "Always 1; the version is in the label.",
        "gauge",
    );
    page.labelled("build_info", "version", env!("CARGO_PKG_VERSION"), 1);
    page.0
}

fn len(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// The text, as it grows. Writing to a string cannot fail.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, help: &str, kind: &str) {
        let help = help.trim().replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(
            self.0,
            "# HELP bootd_{name} {help}\n# TYPE bootd_{name} {kind}\n"
        );
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        let name = format!("{name}_total");
        self.family(&name, help, "counter");
        let _ = writeln!(self.0, "bootd_{name} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, help, "gauge");
        let _ = writeln!(self.0, "bootd_{name} {value}");
    }

    fn labelled(&mut self, name: &str, label: &str, text: &str, value: u64) {
        let text = text
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let _ = writeln!(self.0, "bootd_{name}{{{label}=\"{text}\"}} {value}");
    }
}
