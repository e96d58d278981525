//! `init`, `keygen`, `trust`.

use std::path::Path;

use anyhow::{Context as _, Result};
use catalog::Catalog;
use catalog::composite::sign;
use catalog::keys::key_text;

pub(super) fn init(dir: &Path) -> Result<()> {
    let catalog = Catalog::create(dir)
        .with_context(|| format!("no catalog was made in {}", dir.display()))?;
    let key = catalog.master_key()?;
    let shown = dir.display();
    println!("{shown} holds an empty catalog and a new master key.");
    println!("  public key: {}", key_text(&key.public()));
    println!("  keep {shown}/master.key secret and safe: nodes believe who has it.");
    println!("Next:");
    println!("  catalog keygen release");
    println!("  catalog --dir {shown} trust me release.pub");
    println!("  catalog --dir {shown} compose release.toml -o demo.composite --key release.key");
    println!("  catalog --dir {shown} install demo.composite");
    Ok(())
}

pub(super) fn keygen(name: &Path) -> Result<()> {
    let public = sign::generate(name).context("no key was made")?;
    let shown = name.display();
    println!("{shown}.key signs composites: keep it secret. Its public key is {public}");
    println!("Next: catalog trust NAME {shown}.pub");
    Ok(())
}

pub(super) fn trust(catalog: &mut Catalog, name: &str, file: &Path) -> Result<()> {
    let key = sign::read_public(file).context("the key is not trusted")?;
    catalog
        .trust(name, &key)
        .context("the key is not trusted")?;
    println!("{name} is trusted: {key}");
    Ok(())
}
