//! Files by HTTP, with curl: whole and in part, again and not again, and what is not there.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use bootd_protocol::digest::Digest;
use bootd_protocol::manifest::BlobRef;

use super::downloads::Desk;
use crate::e2e::bench::say;

/// bootd's port, by default.
const PORT: u16 = 4080;

/// What curl says of an answer.
struct Told {
    status: u16,
    /// Of its body.
    bytes: usize,
    /// Connections made for it.
    connections: usize,
}

impl Told {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        Some(Told {
            status: words.next()?.parse().ok()?,
            bytes: words.next()?.parse().ok()?,
            connections: words.next()?.parse().ok()?,
        })
    }
}

/// Runs curl for these paths, one after another.
fn curl(desk: &Desk, options: &[&str], paths: &[&str]) -> Result<Vec<Told>> {
    let mut command = desk.programs.curl.command();
    command.args(["-q", "-sS", "-m", "30"]).args(options);
    command.args(["-w", "%{http_code} %{size_download} %{num_connects}\\n"]);
    for path in paths {
        command.arg("-o").arg(&desk.got);
        command.arg(format!("http://{}:{PORT}{path}", desk.server));
    }
    let ran = desk.run(&mut command)?;
    ensure!(ran.good, "curl {options:?} {paths:?}: {}", ran.said);
    let told = ran.said.lines().map(Told::parse).collect::<Option<_>>();
    told.with_context(|| format!("curl says {:?}", ran.said))
}

/// Runs curl for one path, to which this should be the answer: status, and bytes of the body.
/// What is written to its file.
fn one(desk: &Desk, options: &[&str], path: &str, answer: (u16, usize)) -> Result<Vec<u8>> {
    let told = curl(desk, options, &[path])?;
    let told: Vec<_> = told.iter().map(|it| (it.status, it.bytes)).collect();
    ensure!(
        told == [answer],
        "curl {options:?} {path}: {told:?}, not {answer:?}"
    );
    // There is none where there is no body.
    let got = fs::read(&desk.got).unwrap_or_default();
    let _ = fs::remove_file(&desk.got);
    Ok(got)
}

/// The status of the answer to a path.
fn status(desk: &Desk, options: &[&str], path: &str) -> Result<u16> {
    let told = curl(desk, options, &[path])?;
    let only = told.first().context("one answer")?;
    Ok(only.status)
}

pub(super) fn check(desk: &Desk) -> Result<()> {
    let image = whole(desk)?;
    parts(desk, &image)?;
    not_again(desk)?;
    one_connection(desk)?;
    refusals(desk)
}

fn blob(digest: Digest) -> String {
    format!("/blob/{digest}")
}

fn manifest(desk: &Desk) -> String {
    format!("/manifest/{}", desk.wanted.digest)
}

/// The manifest, and the boot image that it names, which is given back.
fn whole(desk: &Desk) -> Result<Vec<u8>> {
    let bytes = &desk.wanted.bytes;
    let got = one(desk, &[], &manifest(desk), (200, bytes.len()))?;
    ensure!(got == *bytes, "another manifest");
    let BlobRef { sha256, size } = desk.wanted.head.boot.image;
    let (path, size) = (blob(sha256), usize::try_from(size)?);
    for version in ["--http1.1", "--http1.0"] {
        let got = one(desk, &[version], &path, (200, size))?;
        ensure!(Digest::of(&got) == sha256, "another image by {version}");
    }
    let head = String::from_utf8(one(desk, &["--head"], &path, (200, 0))?)?;
    for field in [
        format!("Content-Length: {size}\r\n"),
        format!("ETag: \"{sha256}\"\r\n"),
        "Accept-Ranges: bytes\r\n".to_owned(),
    ] {
        ensure!(head.contains(&field), "no {field:?} in {head:?}");
    }
    say("curl: manifest and boot image by HTTP/1.1 and 1.0, and the head alone");
    one(desk, &[], &path, (200, size))
}

/// Ranges, and a download that goes on where it was cut.
fn parts(desk: &Desk, image: &[u8]) -> Result<()> {
    let path = blob(desk.wanted.head.boot.image.sha256);
    let (size, half) = (image.len(), image.len() / 2);
    for (range, part) in [
        ("100-199".to_owned(), &image[100..200]),
        ("-1000".to_owned(), &image[size - 1000..]),
        (format!("{half}-"), &image[half..]),
        (format!("{}-{}", size - 1, size + 9), &image[size - 1..]),
    ] {
        let got = one(desk, &["-r", &range], &path, (206, part.len()))?;
        ensure!(got == part, "range {range}: other bytes");
    }
    fs::write(&desk.got, &image[..half])?;
    let got = one(desk, &["-C", "-"], &path, (206, size - half))?;
    ensure!(got == image, "resumed: other bytes");
    let beyond = status(desk, &["-r", &format!("{size}-")], &path)?;
    ensure!(beyond == 416, "beyond the end: {beyond}");
    say("curl: ranges, and a download resumed");
    Ok(())
}

/// What curl has it does not get again.
fn not_again(desk: &Desk) -> Result<()> {
    let tag = desk.got.with_extension("tag");
    let tag = tag.to_str().context("a path in UTF-8")?;
    let loader = desk.wanted.head.boot.loader.efi;
    let files = [
        (manifest(desk), desk.wanted.bytes.len()),
        (blob(loader.sha256), usize::try_from(loader.size)?),
    ];
    for (path, size) in &files {
        one(desk, &["--etag-save", tag], path, (200, *size))?;
        one(desk, &["--etag-compare", tag], path, (304, 0))?;
    }
    say("curl: not again what it has");
    Ok(())
}

/// Several files by one connection, with something between them that is not there.
fn one_connection(desk: &Desk) -> Result<()> {
    let loader = blob(desk.wanted.head.boot.loader.efi.sha256);
    let told = curl(desk, &[], &[&manifest(desk), "/nothing", &loader, &loader])?;
    let told: Vec<_> = told.iter().map(|it| (it.status, it.connections)).collect();
    ensure!(
        told == [(200, 1), (404, 0), (200, 0), (200, 0)],
        "status and new connections: {told:?}"
    );
    say("curl: four requests by one connection");
    Ok(())
}

fn refusals(desk: &Desk) -> Result<()> {
    let unknown = blob(Digest::of(b"nothing"));
    let all: [(&[&str], &str, u16); 6] = [
        (&[], &unknown, 404),
        (&[], "/blob/1", 400),
        (&["--path-as-is"], "/blob/../../../etc/passwd", 404),
        (&["-X", "DELETE"], "/metrics", 405),
        (&["-d", "text"], &manifest(desk), 405),
        (&["-H", "If-Match: \"other\""], &manifest(desk), 412),
    ];
    for (options, path, expected) in all {
        let got = status(desk, options, path)?;
        ensure!(got == expected, "curl {options:?} {path}: {got}");
    }
    say("curl: refused what is not there, and whatever is not GET or HEAD");
    Ok(())
}

/// The samples of `/metrics` by name and labels.
pub(super) fn metrics(desk: &Desk) -> Result<BTreeMap<String, u64>> {
    ensure!(status(desk, &[], "/metrics")? == 200, "no /metrics");
    samples(&fs::read_to_string(&desk.got)?)
}

/// Reads Prometheus's text format 0.0.4, in which each sample stands behind the help and the type
/// of its family.
fn samples(page: &str) -> Result<BTreeMap<String, u64>> {
    let mut samples = BTreeMap::new();
    let (mut help, mut family) = ("", "");
    for line in page.lines() {
        let is_right = if let Some(text) = line.strip_prefix("# HELP ") {
            (help, family) = (text.split(' ').next().unwrap_or_default(), "");
            true
        } else if let Some(text) = line.strip_prefix("# TYPE ") {
            family = help;
            let kind = text.strip_prefix(help).unwrap_or_default();
            let expected = match help.ends_with("_total") {
                true => " counter",
                false => " gauge",
            };
            kind == expected
        } else {
            let (sample, value) = line.rsplit_once(' ').context(line.to_owned())?;
            let twice = samples.insert(sample.to_owned(), value.parse()?);
            twice.is_none() && sample.split('{').next() == Some(family)
        };
        ensure!(is_right, "/metrics: {line:?}");
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_metrics_is_read_strictly() {
        let good = "# HELP a_total What it counts.\n# TYPE a_total counter\na_total 7\n\
                    # HELP b How it is.\n# TYPE b gauge\nb{x=\"1 2\"} 3\nb{x=\"2\"} 0\n";
        let expected = [("a_total", 7), ("b{x=\"1 2\"}", 3), ("b{x=\"2\"}", 0)];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(samples(good).unwrap(), BTreeMap::from(expected));
        for bad in [
            "a_total 7\n",
            "# HELP a_total x\na_total 7\n",
            "# HELP a_total x\n# TYPE a_total gauge\na_total 7\n",
            "# HELP a x\n# TYPE b gauge\nb 7\n",
            "# HELP a x\n# TYPE a gauge\na 7\na 7\n",
            "# HELP a x\n# TYPE a gauge\nb 7\n",
            "# HELP a x\n# TYPE a gauge\na seven\n",
            "# HELP a x\n# TYPE a gauge\na\n",
        ] {
            assert!(samples(bad).is_err(), "{bad}");
        }
    }
}
