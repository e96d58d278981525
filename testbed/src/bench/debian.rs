//! Peers from Debian: packages are fetched and unpacked into a directory of their own. Nothing is
//! installed, nothing starts by itself.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::inputs;

/// A program out of Debian packages.
#[derive(Debug, Clone)]
pub(super) struct Program {
    path: PathBuf,
    root: PathBuf,
}

/// Brings a program that `packages` hold, with the libraries that are not installed here.
///
/// # Errors
/// apt does not know or cannot fetch them, or the program is not in them.
pub(super) fn program(work_dir: &Path, packages: &[&str], path: &str) -> Result<Program> {
    let peers = work_dir.join("peers");
    let libraries = inputs::missing_libraries(packages)?;
    let mut names: Vec<&str> = packages.to_vec();
    names.extend(libraries.iter().map(String::as_str));
    let files = inputs::download(&peers.join("debs"), &names)?;
    let root = peers.join("root");
    let done = peers.join("unpacked");
    fs::create_dir_all(&done)?;
    for file in files.values() {
        let name = file.file_name().context("a package has a name")?;
        let mark = done.join(name);
        if !mark.exists() {
            inputs::unpack(file, &root)?;
            fs::write(mark, "")?;
        }
    }
    let root = fs::canonicalize(root)?;
    let path = root.join(path);
    ensure!(path.exists(), "{} is not there", path.display());
    Ok(Program { path, root })
}

impl Program {
    /// A command that finds its libraries.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env("LD_LIBRARY_PATH", self.libraries());
        command
    }

    fn libraries(&self) -> OsString {
        let mut all = OsString::new();
        for lib in ["usr/lib", "lib"] {
            let arch = std::env::consts::ARCH;
            let dir = self.root.join(lib).join(format!("{arch}-linux-gnu"));
            if !all.is_empty() {
                all.push(":");
            }
            all.push(dir);
        }
        all
    }
}
