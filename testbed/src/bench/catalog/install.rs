//! Installing a large composite, beside the least that anybody could do with its bytes:
//! `sha256sum`, `cp` and `sync`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::unistd::sync;

use super::Line;
use crate::cluster::master::Master;
use crate::cluster::release::catalog;

/// Modules that the composite is made of.
const MODULES: u64 = 10_000;

/// Installs a composite of so many MB, and does the least with the same bytes, in one run.
pub(super) fn measure(megabytes: u64) -> Result<Line> {
    let dir = tempfile::Builder::new()
        .prefix("bench-install")
        .tempdir_in("target")?;
    let at = |name: &str| dir.path().join(name);
    let tree = at("tree");
    write_tree(&tree, megabytes * 1_000_000 / MODULES)?;
    let master = Master::create(&at("master"), &at("log"))?;
    catalog(&["keygen".as_ref(), at("release").as_os_str()])?;
    master.trust(&at("release.pub"))?;
    let (composite, key) = (at("composite"), at("release.key"));
    let pack: [&OsStr; 10] = [
        "pack".as_ref(),
        tree.as_ref(),
        "--name".as_ref(),
        "large".as_ref(),
        "--version".as_ref(),
        "1".as_ref(),
        "--output".as_ref(),
        composite.as_ref(),
        "--key".as_ref(),
        key.as_ref(),
    ];
    catalog(&pack)?;
    // What has been written so far is not to be written during the measurement.
    sync();
    let least = least(&tree, &at("copy"))?;
    sync();
    let begun = Instant::now();
    master.install(&composite)?;
    sync();
    let installed = begun.elapsed();
    let ratio = installed.as_secs_f64() / least.as_secs_f64();
    Ok(Line {
        what: format!("install a composite of {megabytes} MB in {MODULES} modules"),
        goal: "1.5 x sha256sum, cp and sync of the same bytes",
        measured: format!(
            "{:.1} s, {ratio:.2} x {:.1} s",
            installed.as_secs_f64(),
            least.as_secs_f64()
        ),
        reached: ratio <= 1.5,
    })
}

fn write_tree(tree: &Path, size: u64) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(4);
    let mut bytes = vec![0; usize::try_from(size)?];
    for module in 0..MODULES {
        let dir = tree.join(format!("{:02}", module % 100));
        fs::create_dir_all(&dir)?;
        random.fill(&mut bytes);
        File::create(dir.join(format!("{module:05}")))?.write_all(&bytes)?;
    }
    Ok(())
}

/// `sha256sum` over all files, `cp`, `sync`.
fn least(tree: &Path, copy: &Path) -> Result<Duration> {
    let begun = Instant::now();
    let sums = format!(
        "find '{}' -type f -print0 | xargs -0 sha256sum > /dev/null",
        tree.display()
    );
    for (program, arguments) in [
        ("sh", vec![OsStr::new("-c"), OsStr::new(&sums)]),
        (
            "cp",
            vec![OsStr::new("-r"), tree.as_os_str(), copy.as_os_str()],
        ),
        ("sync", vec![]),
    ] {
        ensure!(
            Command::new(program).args(arguments).status()?.success(),
            "{program} fails"
        );
    }
    Ok(begun.elapsed())
}
