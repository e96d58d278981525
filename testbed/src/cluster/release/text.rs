//! The text of a release file.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use bootd_protocol::identity::Arch;

use super::{SHELL_PORT, Version};
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

/// What the SSH server consists of, besides what nginx needs, too.
const SSH: [&str; 4] = ["dropbear-bin", "libtomcrypt1", "libtommath1", "libgmp10"];

/// What is called otherwise on each processor architecture.
struct Names {
    /// Of its shared libraries' directory.
    triplet: &'static str,
    /// Of the programs' loader: a pattern.
    loader: &'static str,
    /// Of the first serial port.
    console: &'static str,
    /// Of the node's init, as testbed/common.sh builds it.
    init: &'static str,
}

const X86_64: Names = Names {
    triplet: "x86_64-linux-gnu",
    loader: "/lib64/**",
    console: "ttyS0",
    init: "target/x86_64-unknown-linux-gnu/init/init",
};

const AARCH64: Names = Names {
    triplet: "aarch64-linux-gnu",
    loader: "/lib/ld-linux-aarch64.so.1",
    console: "ttyAMA0",
    init: "target/aarch64-unknown-linux-gnu/init/init",
};

/// Classes and rules of most tests.
pub(super) const WEB: &str = r#"
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
"#;

/// A whole cluster of two classes: machines with Arm processors are the back, all others the front,
/// which needs something of the back.
pub(super) const CLUSTER: &str = r#"
[[package]]
name = "shop"
version = "1.4"
[[package.file]]
path = "/srv/www/shop.html"
text = "<html>The shop is open.</html>"
[[package.relation]]
kind = "needs"
relation = "ssh (>= 2022)"
on_class = "back"

[[package]]
name = "ssh"
version = "2019"
[[package.file]]
path = "/etc/ssh-is-old"
text = "an older version, without a program"

[[class]]
name = "front"
key_policy = "open"
packages = ["shop", "site", "nginx", "base"]
images = ["debian"]

[[class]]
name = "back"
key_policy = "open"
packages = ["ssh=2022", "site", "nginx", "base"]
images = ["debian"]

[[rule]]
name = "arm"
priority = 10
arch = "aarch64"
class = "back"

[[rule]]
name = "others"
class = "front"

[[network]]
name = "lab"
"#;

/// A release for the processors of all these `packages`, with the site in directory `site`, and
/// with this `population`.
pub(super) fn describe(
    version: Version,
    site: &Path,
    packages: &[Packages],
    population: &str,
) -> Result<String> {
    let mut text = String::new();
    write!(
        text,
        r#"name = "testbed"
version = "site{site_version}-image{image}"

[[package]]
name = "site"
version = "{site_version}"
directory = "{site}"
prefix = "/srv/www"

[[package]]
name = "shell"
version = "1"

[[package.file]]
path = "/etc/shell-package"
text = "a way in for tests; no class has it by itself\n"

[[package.process]]
name = "shell"
argv = ["/bin/busybox", "nc", "-ll", "-p", "{SHELL_PORT}", "-e", "/bin/sh"]

{population}
"#,
        site_version = version.site,
        image = version.image,
        site = site.display(),
    )?;
    for packages in packages {
        text += &describe_builds(version, packages)?;
    }
    Ok(text)
}

/// What a release has once for each processor architecture.
fn describe_builds(version: Version, packages: &Packages) -> Result<String> {
    let deb = |path: &Path| -> Result<String> {
        let path = fs::canonicalize(path)?;
        Ok(format!("{:?}", path.display().to_string()))
    };
    let debs = |names: &[&str]| -> Result<String> {
        let all: Vec<String> = names
            .iter()
            .map(|it| deb(packages.deb(it)?))
            .collect::<Result<_>>()?;
        Ok(all.join(", "))
    };
    let grub = packages.grub_debs().map(deb);
    let grub: Vec<String> = grub.collect::<Result<_>>()?;
    let Names {
        triplet,
        loader,
        console,
        init,
    } = match packages.arch() {
        Arch::X86_64 => X86_64,
        Arch::Aarch64 => AARCH64,
        Arch::Riscv64 => bail!("there are no machines with this processor here"),
    };
    let init = fs::canonicalize(init)
        .with_context(|| format!("{init}, the node's init: testbed/test builds it"))?;
    let mut text = String::new();
    write!(
        text,
        r#"
[[boot_image]]
name = "debian"
version = "{image}"
arch = "{arch}"

[boot_image.build]
kernel_deb = {kernel}
stub_deb = {stub}
tool_debs = [{tools}]
grub_debs = [{grub}]
init = "{init}"
cmdline = "console={console} panic=5 quiet loglevel=3 cryptomgr.notests testbed.image={image}"

[[package]]
name = "nginx"
version = "1.22"
debs = [{nginx}]
include = ["/usr/sbin/nginx", "/usr/lib/{triplet}/**", "/lib/{triplet}/**", "/etc/ssl/openssl.cnf"]
exclude = ["/usr/lib/{triplet}/engines-3/**", "/usr/lib/{triplet}/ossl-modules/**"]
directories = ["/var/log/nginx", "/var/lib/nginx"]
without_needs = ["nginx-common", "iproute2"]

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
name = "ssh"
version = "2022"
debs = [{ssh}]
include = ["/usr/sbin/dropbear", "/usr/lib/{triplet}/**", "/lib/{triplet}/**"]
directories = ["/etc/dropbear"]

[[package.process]]
name = "dropbear"
argv = ["/usr/sbin/dropbear", "-F", "-E", "-R"]
readiness = "tcp:22"

[[package]]
name = "base"
version = "12"
debs = [{base}]
include = ["/bin/busybox", "/usr/bin/busybox", "{loader}", "/usr{loader}", "/lib/{triplet}/**", "/usr/lib/{triplet}/**"]
exclude = ["/lib/{triplet}/gconv/**", "/usr/lib/{triplet}/gconv/**"]
without_needs = ["libgcc-s1"]

[[package.file]]
path = "/etc/passwd"
text = "root:x:0:0:root:/root:/bin/sh\n"

[[package.file]]
path = "/etc/group"
text = "root:x:0:\n"

[package.links]
"/bin/sh" = "busybox"
"#,
        image = version.image,
        arch = packages.arch(),
        kernel = debs(&[packages.kernel()])?,
        stub = debs(&["systemd-boot-efi"])?,
        tools = debs(&TOOLS)?,
        grub = grub.join(", "),
        init = init.display(),
        nginx = debs(&NGINX)?,
        ssh = debs(&SSH)?,
        base = debs(&["busybox-static", "libc6"])?,
    )?;
    Ok(text)
}
