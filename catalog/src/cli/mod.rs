//! The command line: arguments, and which room does the work.

mod check;
mod diff;
mod explain;
mod gc;
mod install;
mod leases;
mod list;
mod nodes;
mod pack;
mod prepare;
mod regress;
mod setup;
mod software;
mod table;
mod watch;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use bootd_protocol::identity::{Arch, Firmware, Mac, SystemUuid};
use bootd_protocol::preparation::Decision;
use catalog::Catalog;
use clap::{Args, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples, from nothing to a running cluster:
  catalog init /var/lib/bootd                    a state directory with an empty catalog
  catalog keygen release                         release.key signs, release.pub is to be trusted
  catalog trust me release.pub                   composites signed by it may be installed
  catalog compose release.toml -o demo.composite --key release.key
  catalog install demo.composite
  sqlite3 /var/lib/bootd/catalog.db \"INSERT INTO network (name, subnet, pool_first, pool_last)
    VALUES ('rack1', '10.0.0.0/24', '10.0.0.100', '10.0.0.199')\"
  catalog check                                  is anything wrong?
  bootd --state /var/lib/bootd                   serves; runs until Ctrl-C or SIGTERM
  catalog nodes                                  who is there, and with what?
  catalog explain node-123456                    why that?

The tables are the interface: whatever this command edits, sqlite3 can.
  sqlite3 /var/lib/bootd/catalog.db \\
    \"UPDATE class_package SET version='2.0' WHERE class='web' AND package='site'\"
bootd has it in force within a second. Class and package rows: see `catalog list`.

Exit status: 0 all right, 1 an error, 2 a wrong command line, 3 `check`, `diff` or
`install --dry-run` found problems.";

/// Keeps the catalog: what every machine of the cluster should run, and why.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Arguments {
    /// The state directory: catalog.db, state.db, blobs/, master.key
    #[arg(
        short,
        long,
        global = true,
        env = "BOOTD_DIR",
        default_value = "/var/lib/bootd"
    )]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a state directory with an empty catalog and a master key
    Init {
        /// Where; --dir if absent
        dir: Option<PathBuf>,
    },
    /// Make a key pair that signs composites: NAME.key and NAME.pub (minisign's formats)
    Keygen {
        /// Path of the files without their endings
        name: PathBuf,
    },
    /// Trust a key: composites that it signed may be installed
    Trust {
        /// A name for the key; one that is there is replaced
        name: String,
        /// A minisign .pub file
        file: PathBuf,
    },
    /// Make a composite, a release in one signed file, from a TOML file
    #[command(after_help = COMPOSE_EXAMPLE)]
    Compose {
        /// The release file
        release: PathBuf,
        /// The composite to be written
        #[arg(short, long)]
        output: PathBuf,
        /// The key that signs it, as `catalog keygen` or `minisign -G -W` makes it
        #[arg(short, long)]
        key: PathBuf,
        /// Public key of a master that the boot images believe; may be given several times;
        /// master.pub of the state directory if absent
        #[arg(short, long)]
        master: Vec<PathBuf>,
    },
    /// Make a composite with one package, from a directory, Debian packages or a description
    #[command(after_help = PACK_EXAMPLE)]
    Pack(Pack),
    /// Install a composite: all of it or nothing; the classes in it change at once
    Install {
        /// The composite
        composite: PathBuf,
        /// Only show what it would change, and for which nodes
        #[arg(long)]
        dry_run: bool,
    },
    /// Show what an edit would change, and for which nodes; nothing is written
    #[command(after_help = DIFF_EXAMPLE)]
    Diff {
        /// The edit in SQL; `-` reads it from standard input
        sql: String,
    },
    /// Go back to the version of a package before the one that is listed, or to the one given
    Regress(Regress),
    /// Show the nodes: whether they are there, their stage, since when, and how what they run
    /// differs from what they should run
    Nodes {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Again every second, until Ctrl-C
        #[arg(long)]
        watch: bool,
    },
    /// Prepare nodes now: they restart, install what they lack, wait for each other, and restart
    /// together; without options, show the preparations
    Prepare(prepare::Prepare),
    /// Decide a preparation: those that are ready go without the others, or nobody does
    Decide {
        /// Its number
        preparation: i64,
        /// go or cancel
        decision: Decision,
    },
    /// Show the addresses that were given, to whom and until when
    Leases,
    /// Show why a node has what it has; or what a machine that is not there yet would get
    #[command(after_help = EXPLAIN_EXAMPLE)]
    Explain(Explain),
    /// Show everything that is wrong: rows, classes, blobs that are missing
    Check {
        /// Read every blob, and find those that are rotten
        #[arg(long)]
        deep: bool,
    },
    /// Remove packages, boot images and blobs that nothing names any more
    ///
    /// What a class, a node or a test lists stays, and so does what a node runs, and what was in
    /// force during the last week.
    Gc {
        /// Newest versions of each name that are kept to go back to
        #[arg(long, value_name = "N", default_value_t = 3)]
        keep: usize,
        /// Only show what would be removed
        #[arg(long)]
        dry_run: bool,
    },
    /// Let a waiting node in: bind the key that it offers, end its hold
    Approve {
        /// Its name
        node: String,
    },
    /// Show the classes with their lists, the packages and boot images that are there, the networks
    List {
        /// Only this part
        #[arg(value_enum)]
        what: Option<list::Part>,
    },
}

const COMPOSE_EXAMPLE: &str = "\
A release file:
  name = \"demo\"
  version = \"1\"

  [[boot_image]]                     # with GRUB as its loader, by this machine's grub-mkimage
  name = \"debian\"
  version = \"6.1\"
  arch = \"x86_64\"
  [boot_image.build]
  kernel_deb = \"linux-image-cloud-amd64.deb\"
  stub_deb = \"systemd-boot-efi.deb\"
  tool_debs = [\"e2fsprogs.deb\", \"libext2fs2.deb\", \"libcom-err2.deb\", \"libblkid1.deb\",
               \"libuuid1.deb\", \"libc6.deb\"]
  init = \"target/x86_64-unknown-linux-gnu/init/init\"

  [[package]]                        # files of a directory, owned by root
  name = \"site\"
  version = \"1.0\"
  directory = \"site\"
  prefix = \"/srv/www\"

  [[package]]                        # files of Debian packages
  name = \"nginx\"
  version = \"1.22\"
  debs = [\"nginx-light.deb\", \"libpcre2-8-0.deb\"]
  exclude = [\"/usr/share/doc/**\"]

  [[package.process]]
  name = \"nginx\"
  argv = [\"/usr/sbin/nginx\", \"-g\", \"daemon off;\"]

  [[class]]
  name = \"web\"
  packages = [\"site\", \"nginx\"]       # where two have the same path, the first wins
  images = [\"debian\"]

  [[rule]]                           # unknown machines become nodes of this class
  name = \"all\"
  class = \"web\"";

const PACK_EXAMPLE: &str = "\
Examples:
  catalog pack site/ --name site --version 1.0 --prefix /srv/www -o site.composite --key release.key
  catalog pack redis-server_7.0.15-1_amd64.deb -o redis.composite --key release.key
  catalog pack nginx.toml -o nginx.composite --key release.key
A description is what stands below [[package]] in a release file (`catalog compose --help`).";

const DIFF_EXAMPLE: &str = "\
Example:
  catalog diff \"UPDATE class_package SET version='2.0' WHERE class='web' AND package='site'\"";

#[derive(Debug, Args)]
pub(crate) struct Pack {
    /// A directory, Debian packages, or a description in TOML
    #[arg(required = true)]
    sources: Vec<PathBuf>,
    /// Its name; for a Debian package, that one's name if absent
    #[arg(long)]
    name: Option<String>,
    /// Its version; for a Debian package, that one's version if absent
    #[arg(long)]
    version: Option<String>,
    /// Where a directory's files stand on the node
    #[arg(long)]
    prefix: Option<String>,
    /// The composite to be written
    #[arg(short, long)]
    output: PathBuf,
    /// The key that signs it
    #[arg(short, long)]
    key: PathBuf,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("whose").required(true).args(["class", "node"]))]
pub(crate) struct Regress {
    /// The package
    package: String,
    /// The version to go back to; the newest before the one that is listed if absent
    version: Option<String>,
    /// The class whose list changes
    #[arg(long)]
    class: Option<String>,
    /// The node whose list changes
    #[arg(long)]
    node: Option<String>,
}

const EXPLAIN_EXAMPLE: &str = "\
Examples:
  catalog explain node-123456
  catalog explain --mac 52:54:00:12:34:56 --arch x86_64 --firmware uefi
  catalog explain --mac 52:54:00:12:34:56 --network rack1 --relay 10.0.0.1 --circuit ge-0/0/7";

#[derive(Debug, Args)]
#[command(override_usage = "catalog explain [OPTIONS] <NODE | --mac MAC | --uuid UUID>")]
pub(crate) struct Explain {
    /// The node's name
    #[arg(required_unless_present_any = ["mac", "uuid"])]
    node: Option<String>,
    /// A machine by its MAC address
    #[arg(long, conflicts_with = "node")]
    mac: Option<Mac>,
    /// A machine by its SMBIOS UUID
    #[arg(long, conflicts_with = "node")]
    uuid: Option<SystemUuid>,
    /// Its processor architecture: x86_64, aarch64, riscv64
    #[arg(long)]
    arch: Option<Arch>,
    /// Its firmware: bios, uefi
    #[arg(long)]
    firmware: Option<Firmware>,
    /// Its SMBIOS product
    #[arg(long)]
    product: Option<String>,
    /// Its SMBIOS manufacturer
    #[arg(long)]
    vendor: Option<String>,
    /// Its SMBIOS serial number
    #[arg(long)]
    serial: Option<String>,
    /// Serial number of its chassis
    #[arg(long)]
    chassis: Option<String>,
    /// Where in its chassis it sits, as its SMBIOS says
    #[arg(long)]
    slot: Option<String>,
    /// The network it asks from, by name
    #[arg(long)]
    network: Option<String>,
    /// Address of the relay that passes its packets on
    #[arg(long)]
    relay: Option<Ipv4Addr>,
    /// Circuit id of option 82
    #[arg(long)]
    circuit: Option<String>,
    /// Remote id of option 82
    #[arg(long)]
    remote: Option<String>,
    /// What its program calls itself by DHCP (option 60)
    #[arg(long)]
    vendor_class: Option<String>,
    /// Every file with the package that it comes from
    #[arg(long)]
    files: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let dir = arguments.dir.as_path();
    match arguments.command {
        Command::Init { dir: other } => setup::init(other.as_deref().unwrap_or(dir)),
        Command::Keygen { name } => setup::keygen(&name),
        Command::Trust { name, file } => setup::trust(&mut open(dir)?, &name, &file),
        Command::Compose {
            release,
            output,
            key,
            master,
        } => install::compose(dir, &release, &output, &key, &master),
        Command::Pack(what) => pack::pack(&what),
        Command::Install { composite, dry_run } => match dry_run {
            true => return diff::install(&open(dir)?, &composite),
            false => install::install(&mut open(dir)?, &composite),
        },
        Command::Diff { sql } => return diff::diff(&open(dir)?, &sql),
        Command::Regress(what) => regress::regress(&mut open(dir)?, &what),
        Command::Nodes { json, watch } => nodes::nodes(&open(dir)?, json, watch),
        Command::Prepare(what) => prepare::prepare(&mut open(dir)?, &what),
        Command::Decide {
            preparation,
            decision,
        } => prepare::decide(&mut open(dir)?, preparation, decision),
        Command::Explain(what) => explain::explain(&open(dir)?, &what),
        Command::Check { deep } => return check::check(&open(dir)?, deep),
        Command::Approve { node } => nodes::approve(&mut open(dir)?, &node),
        Command::Gc { keep, dry_run } => gc::gc(&mut open(dir)?, keep, dry_run),
        Command::Leases => leases::leases(&open(dir)?),
        Command::List { what } => list::list(&open(dir)?, what),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn open(dir: &Path) -> Result<Catalog> {
    Catalog::open(dir).context("the catalog cannot be opened")
}
