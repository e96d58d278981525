//! What the nodes shall run: a release of real Debian software, composed and signed.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::program;
use crate::inputs::Packages;

/// Programs and libraries that mke2fs needs in the initramfs.
const TOOLS: [&str; 6] = [
    "e2fsprogs",
    "libext2fs2",
    "libcom-err2",
    "libblkid1",
    "libuuid1",
    "libc6",
];
/// What nginx consists of.
const NGINX: [&str; 5] = ["nginx", "libcrypt1", "libpcre2-8-0", "libssl3", "zlib1g"];

/// The node's init, as testbed/common.sh builds it.
const INIT: &str = "target/x86_64-unknown-linux-gnu/init/init";

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
    packages: Packages,
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
        let workshop = Workshop {
            dir: dir.to_owned(),
            packages,
            master_key: state.join("master.pub"),
        };
        catalog(&["keygen".as_ref(), dir.join("release").as_os_str()])?;
        Ok(workshop)
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
        let site = self.dir.join(format!("site-{}", version.site));
        write_site(&site, version.site)?;
        let toml = self.dir.join(format!("{name}.toml"));
        let text = self.describe(version, &site)?;
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

    fn describe(&self, version: Version, site: &Path) -> Result<String> {
        let deb = |name: &str| -> Result<String> {
            let path = fs::canonicalize(self.packages.deb(name)?)?;
            Ok(format!("{:?}", path.display().to_string()))
        };
        let debs = |names: &[&str]| -> Result<String> {
            let all: Vec<String> = names.iter().map(|it| deb(it)).collect::<Result<_>>()?;
            Ok(all.join(", "))
        };
        let init = fs::canonicalize(INIT)
            .context("the node's init: testbed/demo and testbed/test build it")?;
        let mut text = String::new();
        write!(
            text,
            r#"name = "testbed"
version = "site{site_version}-image{image}"

[[boot_image]]
name = "debian"
version = "{image}"
arch = "x86_64"

[boot_image.build]
kernel_deb = {kernel}
stub_deb = {stub}
tool_debs = [{tools}]
init = "{init}"
cmdline = "console=ttyS0 panic=5 quiet loglevel=3 cryptomgr.notests testbed.image={image}"

[[package]]
name = "site"
version = "{site_version}"
directory = "{site}"
prefix = "/srv/www"

[[package]]
name = "nginx"
version = "1.22"
debs = [{nginx}]
include = ["/usr/sbin/nginx", "/usr/lib/x86_64-linux-gnu/**", "/lib/x86_64-linux-gnu/**", "/etc/ssl/openssl.cnf"]
exclude = ["/usr/lib/x86_64-linux-gnu/engines-3/**", "/usr/lib/x86_64-linux-gnu/ossl-modules/**"]
directories = ["/var/log/nginx", "/var/lib/nginx"]

[[package.file]]
path = "/etc/nginx/nginx.conf"
text = """
daemon off;
user root;
worker_processes 1;
error_log stderr;
pid /run/nginx.pid;
events {{ worker_connections 64; }}
http {{
    access_log off;
    types {{ text/html html; text/css css; }}
    server {{ listen 80; root /srv/www; }}
}}
"""

[[package.process]]
name = "nginx"
argv = ["/usr/sbin/nginx"]

[[package]]
name = "base"
version = "12"
debs = [{base}]
include = ["/bin/busybox", "/usr/bin/busybox", "/lib64/**", "/usr/lib64/**", "/lib/x86_64-linux-gnu/**", "/usr/lib/x86_64-linux-gnu/**"]
exclude = ["/lib/x86_64-linux-gnu/gconv/**", "/usr/lib/x86_64-linux-gnu/gconv/**"]

[[package.file]]
path = "/etc/passwd"
text = "root:x:0:0:root:/root:/bin/sh\n"

[[package.file]]
path = "/etc/group"
text = "root:x:0:\n"

[package.links]
"/bin/sh" = "busybox"

[[package]]
name = "shell"
version = "1"

[[package.file]]
path = "/etc/shell-package"
text = "a way in for tests; no class has it by itself\n"

[[package.process]]
name = "shell"
argv = ["/bin/busybox", "nc", "-ll", "-p", "{SHELL_PORT}", "-e", "/bin/sh"]

[[class]]
name = "web"
key_policy = "open"
packages = ["site", "nginx", "base"]
images = ["debian"]
comment = "what the test bed runs"

[[rule]]
name = "everybody"
action = "enrol"
class = "web"
node_prefix = "node-"
"#,
            site_version = version.site,
            image = version.image,
            kernel = deb(self.packages.kernel())?,
            stub = deb("systemd-boot-efi")?,
            tools = debs(&TOOLS)?,
            init = init.display(),
            site = site.display(),
            nginx = debs(&NGINX)?,
            base = debs(&["busybox-static", "libc6"])?,
        )?;
        Ok(text)
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
