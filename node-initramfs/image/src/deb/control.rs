//! The control file of a package (Debian Policy, section 5.1).

use std::collections::BTreeSet;
use std::io::Read;

use super::Fault;
use super::archive::damaged;

/// The control fields of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// `Package`: its name.
    pub package: String,
    /// `Version`, with epoch and revision.
    pub version: String,
    /// `Architecture`, as Debian spells it (`amd64`, `arm64`, `all`).
    pub architecture: String,
    /// Every field in order, those three included.
    fields: Vec<(String, String)>,
    /// The files that people edit (`deb-conffiles(5)`).
    conffiles: BTreeSet<String>,
}

impl Control {
    /// The value of a field, its name in any case (Policy 5.1); lines of a value that has
    /// several are joined by `\n`, without their leading space.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        find(&self.fields, name)
    }

    /// `Depends`, one item for each group of alternatives, spaces trimmed:
    /// `["libc6 (>= 2.34)", "debconf | debconf-2.0"]`. Empty if the field is not there.
    pub fn depends(&self) -> impl Iterator<Item = &str> {
        self.field("Depends")
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|group| !group.is_empty())
    }

    /// The files that people edit, by path (`deb-conffiles(5)`).
    #[must_use]
    pub fn conffiles(&self) -> &BTreeSet<String> {
        &self.conffiles
    }

    /// Reads the text of a control file.
    ///
    /// # Errors
    /// A line that is neither field, continuation nor comment; no `Package`, `Version` or
    /// `Architecture`.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if line.trim().is_empty() {
                break;
            }
            match (line.strip_prefix([' ', '\t']), fields.last_mut()) {
                (Some(more), Some((_, value))) => {
                    value.push('\n');
                    value.push_str(more.trim_end());
                }
                (Some(_), None) => return Err(no_field(line)),
                (None, _) => fields.push(field(line)?),
            }
        }
        Ok(Control {
            package: required(&fields, "Package")?,
            version: required(&fields, "Version")?,
            architecture: required(&fields, "Architecture")?,
            fields,
            conffiles: BTreeSet::new(),
        })
    }
}

fn field(line: &str) -> Result<(String, String), Fault> {
    let (name, value) = line.split_once(':').ok_or_else(|| no_field(line))?;
    Ok((name.to_owned(), value.trim().to_owned()))
}

fn no_field(line: &str) -> Fault {
    Fault::Control(format!("line {line:?} is no field"))
}

fn find<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields
        .iter()
        .find(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

fn required(fields: &[(String, String)], name: &str) -> Result<String, Fault> {
    match find(fields, name) {
        Some(value) if !value.is_empty() => Ok(value.to_owned()),
        _ => Err(Fault::Control(format!("has no {name} field"))),
    }
}

/// Finds `./control` and `./conffiles` in an unpacked `control.tar`.
pub(super) fn from_tar(tar: &[u8]) -> Result<Control, Fault> {
    const MEMBER: &str = "control.tar";
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().map_err(|error| damaged(MEMBER, &error))?;
    let (mut control, mut conffiles) = (None, String::new());
    for entry in entries {
        let mut entry = entry.map_err(|error| damaged(MEMBER, &error))?;
        let path = entry.path_bytes();
        match path.strip_prefix(b"./").unwrap_or(&path) {
            b"control" if control.is_none() => {
                control = Some(Control::parse(&text(&mut entry, "control")?)?);
            }
            b"conffiles" => conffiles = text(&mut entry, "conffiles")?,
            _ => {}
        }
    }
    let mut control = control.ok_or(Fault::Missing("control"))?;
    // A line may begin with a flag: `remove-on-upgrade /etc/old` names a file that is not there.
    let lines = conffiles
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with('/'));
    control.conffiles = lines.map(str::to_owned).collect();
    Ok(control)
}

fn text(entry: &mut tar::Entry<'_, &[u8]>, name: &str) -> Result<String, Fault> {
    let mut text = String::new();
    let read = entry
        .read_to_string(&mut text)
        .map_err(|error| damaged(name, &error))?;
    match u64::try_from(read).ok() == Some(entry.size()) {
        true => Ok(text),
        false => Err(Fault::Truncated(name.to_owned())),
    }
}
