//! `pack`: one package, made into a composite.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use boot_image::deb::Deb;
use catalog::composite::compose;
use catalog::composite::release::Package;
use catalog::composite::sign;

use super::table::bytes;

pub(super) fn pack(what: &super::Pack) -> Result<()> {
    let key = sign::read_secret(&what.key).context("the package was not made")?;
    let (package, base) = package(what).context("the package was not made")?;
    let mut say = |step: &str| eprintln!("{step}");
    let made = compose::pack(package, &base, &what.output, &key, &mut say)
        .context("the package was not made")?;
    for package in &made.composite.packages {
        println!(
            "{}: {} {} ({}), {} files, {} relations, {}",
            what.output.display(),
            package.name,
            package.version,
            package.arch,
            package.modules.len(),
            package.relations.len(),
            bytes(made.size),
        );
    }
    Ok(())
}

/// The description of the package, and the directory that its paths are relative to.
fn package(what: &super::Pack) -> Result<(Package, PathBuf)> {
    let ends = |path: &Path, ending: &str| path.extension() == Some(OsStr::new(ending));
    let here = PathBuf::from(".");
    let (mut package, base) = match what.sources.as_slice() {
        [toml] if ends(toml, "toml") => {
            let base = toml.parent().unwrap_or(Path::new(".")).to_owned();
            (compose::read_package(toml)?, base)
        }
        [directory] if directory.is_dir() => {
            let package = Package {
                directory: Some(directory.clone()),
                ..Package::default()
            };
            (package, here)
        }
        debs if debs.iter().all(|path| ends(path, "deb")) => (of_debs(debs)?, here),
        _ => bail!("give one directory, Debian packages (.deb) or one description (.toml)"),
    };
    if what.prefix.is_some() {
        package.prefix.clone_from(&what.prefix);
    }
    package.name = what.name.clone().unwrap_or(package.name);
    package.version = what.version.clone().unwrap_or(package.version);
    if package.name.is_empty() || package.version.is_empty() {
        bail!("give the package a name and a version: --name NAME --version VERSION");
    }
    Ok((package, base))
}

fn of_debs(debs: &[PathBuf]) -> Result<Package> {
    let Some(first) = debs.first() else {
        bail!("give at least one Debian package");
    };
    let first = Deb::open(first)?;
    Ok(Package {
        name: first.control().package.clone(),
        version: first.control().version.clone(),
        debs: debs.to_vec(),
        ..Package::default()
    })
}
