//! Options that several commands share.

use bootd_protocol::identity::Firmware;

use crate::qemu::Accel;

/// Which machines, and how to watch them.
#[derive(Debug, Clone, clap::Args)]
pub struct MachineOptions {
    /// How many machines [default: one for each firmware]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub nodes: Option<u8>,

    /// Only machines with this firmware, bios or uefi [default: both, in turn]
    #[arg(long)]
    pub firmware: Option<Firmware>,

    /// Leave everything running at the end, until Ctrl-C, and say how to reach it
    #[arg(long)]
    pub keep: bool,

    /// Show the serial console of this machine, such as bios-1
    #[arg(long, value_name = "NODE")]
    pub serial: Option<String>,

    /// Who executes the machines' instructions
    #[arg(long, value_enum, default_value_t)]
    pub accel: Accel,
}

/// `--serial` names a machine that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--serial {serial}: there is no such machine, only {machines}")]
pub struct UnknownMachine {
    serial: String,
    machines: String,
}

impl MachineOptions {
    /// The machines' names and firmware: `bios-1`, `uefi-1`, `bios-2` and so on.
    ///
    /// # Errors
    /// `--serial` names none of them.
    pub fn machines(&self) -> Result<Vec<(String, Firmware)>, UnknownMachine> {
        let machines = self.all();
        let names: Vec<&str> = machines.iter().map(|(name, _)| name.as_str()).collect();
        match &self.serial {
            Some(serial) if !names.contains(&serial.as_str()) => Err(UnknownMachine {
                serial: serial.clone(),
                machines: names.join(", "),
            }),
            Some(_) | None => Ok(machines),
        }
    }

    fn all(&self) -> Vec<(String, Firmware)> {
        let kinds = match self.firmware {
            Some(firmware) => vec![firmware],
            None => vec![Firmware::Bios, Firmware::Uefi],
        };
        let count = self.nodes.map_or(kinds.len(), usize::from);
        let name = |(index, firmware): (usize, &Firmware)| {
            (format!("{firmware}-{}", index / kinds.len() + 1), *firmware)
        };
        kinds
            .iter()
            .cycle()
            .take(count)
            .enumerate()
            .map(name)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: MachineOptions,
    }

    fn names(line: &str) -> Result<Vec<String>, UnknownMachine> {
        let line = Line::try_parse_from(line.split(' ')).unwrap();
        let machines = line.options.machines()?;
        Ok(machines.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn machines_are_named_by_firmware_in_turn() {
        assert_eq!(names("x").unwrap(), ["bios-1", "uefi-1"]);
        assert_eq!(
            names("x --nodes 3").unwrap(),
            ["bios-1", "uefi-1", "bios-2"]
        );
        assert_eq!(names("x --firmware uefi").unwrap(), ["uefi-1"]);
        assert_eq!(
            names("x --firmware bios --nodes 2").unwrap(),
            ["bios-1", "bios-2"]
        );
        assert!(Line::try_parse_from(["x", "--nodes", "0"]).is_err());
        assert!(Line::try_parse_from(["x", "--firmware", "coreboot"]).is_err());
        assert_eq!(
            names("x --serial n9").unwrap_err().to_string(),
            "--serial n9: there is no such machine, only bios-1, uefi-1"
        );
    }
}
