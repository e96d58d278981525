//! What the nodes shall run: a release of real Debian software, composed and signed.

mod text;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::program;
use crate::inputs::Packages;
use crate::lab::{GATEWAY, PREFIX_LENGTH};

/// Where a node with the package `shell` runs what comes by TCP. No class has that package
/// until a test gives it one.
pub const SHELL_PORT: u16 = 2323;

/// A version of the release's moving parts.
#[derive(Debug, Clone, Copy)]
pub struct Version {
    /// Of the site: its front page says so.
    pub site: &'static str,
    /// Of the boot image: its command line says so.
    pub image: &'static str,
}

/// The first release.
pub const FIRST: Version = Version {
    site: "1.0",
    image: "1",
};
/// Another site: one file of four differs.
pub const SECOND_SITE: Version = Version {
    site: "2.0",
    image: "1",
};
/// Another boot image.
pub const SECOND_IMAGE: Version = Version {
    site: "1.0",
    image: "2",
};

/// Where the release is made.
#[derive(Debug)]
pub struct Workshop {
    dir: PathBuf,
    /// For each processor architecture that releases are made for.
    packages: Vec<Packages>,
    master_key: PathBuf,
}

impl Workshop {
    /// A workshop in `dir`, with a signing key of its own, for the master whose state
    /// directory is `state`.
    ///
    /// # Errors
    /// The directory or the key cannot be made.
    pub fn new(dir: &Path, packages: Packages, state: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        catalog(&["keygen".as_ref(), dir.join("release").as_os_str()])?;
        Ok(Self::open(dir, packages, state))
    }

    /// The workshop that stands in `dir`.
    #[must_use]
    pub fn open(dir: &Path, packages: Packages, state: &Path) -> Self {
        Workshop {
            dir: dir.to_owned(),
            packages: vec![packages],
            master_key: state.join("master.pub"),
        }
    }

    /// From now on, releases are for the processors of these packages, too.
    pub fn add(&mut self, packages: Packages) {
        self.packages.push(packages);
    }

    fn key(&self) -> PathBuf {
        self.dir.join("release.key")
    }

    /// The public half of the signing key.
    #[must_use]
    pub fn public_key(&self) -> PathBuf {
        self.dir.join("release.pub")
    }

    /// Composes and signs a release; the file.
    ///
    /// # Errors
    /// `catalog compose` refuses.
    pub fn compose(&self, version: Version) -> Result<PathBuf> {
        let name = format!("site{}-image{}", version.site, version.image);
        self.compose_with(version, &name, text::WEB)
    }

    /// Composes and signs a release that is all that an empty catalog needs: two classes, their
    /// rules, and the lab's network. The file.
    ///
    /// # Errors
    /// As [`Workshop::compose`].
    pub fn compose_cluster(&self) -> Result<PathBuf> {
        let [a, b, c, _] = GATEWAY.octets();
        let network = format!(
            "subnet = \"{a}.{b}.{c}.0/{PREFIX_LENGTH}\"\npool_first = \"{a}.{b}.{c}.100\"\npool_last = \"{a}.{b}.{c}.199\"\n"
        );
        self.compose_with(FIRST, "cluster", &format!("{}{network}", text::CLUSTER))
    }

    fn compose_with(&self, version: Version, name: &str, population: &str) -> Result<PathBuf> {
        let site = self.dir.join(format!("{name}.site"));
        write_site(&site, version.site)?;
        let site = fs::canonicalize(&site)?;
        let toml = self.dir.join(format!("{name}.toml"));
        let text = text::describe(version, &site, &self.packages, population)?;
        fs::write(&toml, text).with_context(|| format!("write {}", toml.display()))?;
        let output = self.dir.join(format!("{name}.composite"));
        catalog(&[
            "compose".as_ref(),
            toml.as_os_str(),
            "--output".as_ref(),
            output.as_os_str(),
            "--key".as_ref(),
            self.key().as_os_str(),
            "--master".as_ref(),
            self.master_key.as_os_str(),
        ])?;
        Ok(output)
    }
}

/// Four files, of which only the front page depends on the version.
fn write_site(dir: &Path, version: &str) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    let front =
        format!("<html><link rel=stylesheet href=style.css><h1>site {version}</h1></html>\n");
    let files = [
        ("index.html", front),
        ("style.css", "h1 { font-family: sans-serif }\n".to_owned()),
        (
            "about.html",
            "<html><p>Served from the node's own disk.</p></html>\n".to_owned(),
        ),
        ("large.bin", "0123456789abcdef".repeat(64 * 1024)),
    ];
    for (name, text) in files {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Runs `catalog` with these arguments; its output.
///
/// # Errors
/// It fails; with what it said.
pub fn catalog(arguments: &[&std::ffi::OsStr]) -> Result<String> {
    let output = Command::new(program("catalog")?)
        .args(arguments)
        .output()
        .context("run catalog")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "catalog {:?}: {text}{}",
            arguments,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(text)
}
