//! The program as a process: what it gives up, what it tells the service manager, what that one
//! makes of its unit, and that its files can be edited by root meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on should panic, and say what it leaves out"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::{Arch, Firmware, Mac, SystemUuid};
use bootd_protocol::smbios::Smbios;
use bootd_protocol::verify::key::SecretKey;
use bootd_protocol::verify::message::{BootedFrom, Identity};
use bootd_protocol::verify::node::{self, Node, Question};
use catalog::Catalog;
use catalog::state::StateStore;

const PATIENCE: Duration = Duration::from_secs(30);
/// Debian's `nobody`.
const NOBODY: u32 = 65534;

struct Master {
    child: Child,
    http: u16,
    verify: u16,
    state: tempfile::TempDir,
}

impl Drop for Master {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_ports() -> [u16; 3] {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let udp = [(); 2].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let [verify, tftp] = udp.map(|it| it.local_addr().unwrap().port());
    [tcp.local_addr().unwrap().port(), verify, tftp]
}

fn command(state: &Path, [http, verify, tftp]: [u16; 3], more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bootd"));
    command
        .args(["--no-dhcp", "--state"])
        .arg(state)
        .args(["--http-port", &http.to_string()])
        .args(["--verify-port", &verify.to_string()])
        .args(["--tftp-port", &tftp.to_string()])
        .args(more);
    command
}

impl Master {
    fn start(more: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let state = tempfile::tempdir().unwrap();
        drop(Catalog::create(state.path()).unwrap());
        let ports = free_ports();
        let mut command = command(state.path(), ports, more);
        change(&mut command);
        let child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let [http, verify, _] = ports;
        Master {
            child,
            http,
            verify,
            state,
        }
    }

    fn status(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let files = tasks.map(|it| it.unwrap().path().join("status"));
        files.filter_map(|it| fs::read_to_string(it).ok()).collect()
    }

    /// A number of `/metrics`; none while nobody answers.
    fn metric(&self, name: &str) -> Option<u64> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.http)).ok()?;
        // Until it serves, another test may hold this port for a moment, looking for a free one.
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let mut lines = text.lines().filter_map(|it| it.split_once(' '));
        lines.find_map(|(key, value)| (key == name).then(|| value.parse().unwrap()))
    }

    fn sqlite3(&self, uid: u32, sql: &str) {
        let mut command = Command::new("sqlite3");
        // bootd may be at the file just then.
        command.args(["-cmd", ".timeout 5000"]);
        command.arg(self.state.path().join("catalog.db")).arg(sql);
        if uid != 0 {
            command.uid(uid).gid(uid).current_dir("/");
        }
        assert!(command.status().unwrap().success(), "{sql}");
    }
}

fn until(what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_root() -> bool {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root {
        println!("left out: only root can become somebody else");
    }
    root
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let mut lines = status.lines().filter_map(|it| it.split_once(":\t"));
    lines
        .find_map(|(key, value)| (key == name).then_some(value))
        .unwrap()
}

#[test]
fn root_is_given_up_and_may_edit_meanwhile() {
    if !is_root() {
        return;
    }
    let master = Master::start(&["--user", "nobody"], |_| {});
    let generation = || master.metric("bootd_catalog_generation");
    until("it serves", || generation().is_some());
    let threads = master.status();
    assert!(threads.len() > 3, "{}", threads.len());
    for status in &threads {
        assert_eq!(field(status, "Uid"), "65534\t65534\t65534\t65534");
        assert_eq!(field(status, "Gid"), "65534\t65534\t65534\t65534");
        for sets in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(field(status, sets), "0000000000000000", "{sets}");
        }
        assert_eq!(field(status, "NoNewPrivs"), "1");
    }

    // Root's edit comes into force, and leaves nothing behind that bootd could not write: SQLite
    // gives a journal made by root to the owner of the database.
    for (uid, name) in [(0, "by-root"), (NOBODY, "by-owner"), (0, "by-root-again")] {
        let before = generation();
        master.sqlite3(uid, &format!("INSERT INTO class (name) VALUES ('{name}')"));
        until("the edit is in force", || generation() > before);
    }
    until("bootd writes", || {
        master.state.path().join("state.db-wal").exists()
    });
    let mut owners: Vec<_> = fs::read_dir(master.state.path())
        .unwrap()
        .map(Result::unwrap)
        .filter(|it| it.file_name() != "blobs")
        .map(|it| {
            (
                it.file_name().into_string().unwrap(),
                it.metadata().unwrap().uid(),
            )
        })
        .collect();
    owners.sort();
    assert!(
        owners.iter().all(|(_, owner)| *owner == NOBODY),
        "{owners:?}"
    );
}

#[test]
fn who_cannot_be_becomes_nobody_in_silence() {
    let state = tempfile::tempdir().unwrap();
    drop(Catalog::create(state.path()).unwrap());
    let output = command(state.path(), free_ports(), &["--user", "no-such-user"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("--user no-such-user: there is no such user; `useradd"),
        "{text}"
    );

    if is_root() {
        // A file that is somebody else's is not taken away from him.
        std::os::unix::fs::chown(state.path().join("catalog.db"), Some(1), Some(1)).unwrap();
        let output = command(state.path(), free_ports(), &["--user", "nobody"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let advice = format!(
            "`chown nobody: {}",
            state.path().join("catalog.db").display()
        );
        assert!(!output.status.success() && text.contains(&advice), "{text}");

        // A directory that is no state directory stays whose it is.
        let other = tempfile::tempdir().unwrap();
        let output = command(other.path(), free_ports(), &["--user", "nobody"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && text.contains("holds no catalog"),
            "{text}"
        );
        assert_eq!(fs::metadata(other.path()).unwrap().uid(), 0);

        // As a user of its own from the beginning, with nothing to give up.
        std::os::unix::fs::chown(state.path().join("catalog.db"), Some(NOBODY), None).unwrap();
        let mut child = command(state.path(), free_ports(), &["--user", "daemon"]);
        let output = child.uid(NOBODY).gid(NOBODY).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            text.contains("--user daemon: only root can become another user"),
            "{text}"
        );
    }
}

#[test]
fn the_service_manager_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let receive = || {
        let mut buffer = [0; 4096];
        let len = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    };
    let mut master = Master::start(&[], |command| {
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "4000000");
    });
    assert!(receive().starts_with("READY=1\nSTATUS=serves 0 nodes from edit "));
    // Ready means ready.
    assert!(master.metric("bootd_uptime_seconds_total").is_some());
    let begun = Instant::now();
    for _ in 0..4 {
        assert_eq!(receive().trim_end(), "WATCHDOG=1");
    }
    // One at once, then one each second.
    assert!(
        begun.elapsed() > Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );

    let pid = master.child.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    let mut last = receive();
    while last.trim_end() == "WATCHDOG=1" {
        last = receive();
    }
    assert_eq!(last.trim_end(), "STOPPING=1");
    assert!(master.child.wait().unwrap().success());
}

/// How exposed systemd may find bootd, from 0 to 100.
const EXPOSURE: &str = "--threshold=20";

#[test]
fn the_unit_is_understood_and_shuts_bootd_in() {
    let analyze = |arguments: &[&str], unit: &Path| {
        let mut command = Command::new("systemd-analyze");
        command.args(arguments).arg(unit).output()
    };
    let dir = tempfile::tempdir().unwrap();
    let unit = dir.path().join("bootd.service");
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/bootd.service")).unwrap();
    // It looks for the program.
    let here = text.replace("/usr/local/sbin/bootd", env!("CARGO_BIN_EXE_bootd"));
    assert_ne!(here, text);
    // It would take openat2(2) away, and with it the files of --tftp-root.
    assert!(!text.contains("\nRestrictSUIDSGID="));
    fs::write(&unit, here).unwrap();
    let Ok(verified) = analyze(&["verify", "--man=no", "--recursive-errors=no"], &unit) else {
        println!("left out: systemd-analyze is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}");

    let secure = ["security", "--no-pager", "--offline=true", EXPOSURE];
    let judged = analyze(&secure, &unit).unwrap();
    let said = String::from_utf8_lossy(&judged.stdout);
    assert!(judged.status.success(), "{said}");
}

/// bootd itself can start no program any more: a helper does, as the same user.
#[test]
fn a_node_that_is_absent_is_reset() {
    let root = is_root();
    let user: &[&str] = if root { &["--user", "nobody"] } else { &[] };
    let master = Master::start(user, |command| {
        command.env("SECRET", "1");
    });
    until("it serves", || {
        master.metric("bootd_catalog_generation").is_some()
    });
    // Fails where it is another user.
    let script = if root {
        "[ $(id -un) = nobody ] || exit 9"
    } else {
        "true"
    };
    master.sqlite3(
        0,
        &format!(
            "INSERT INTO class (name, reset_command, reset_after_seconds) VALUES ('web',
                 '[\"/bin/sh\", \"-c\", \"{script}; echo $1 $2 $SECRET\", \"x\", \"{{node}}\", \"{{mac}}\"]', 0);
             INSERT INTO node (name, mac, class) VALUES ('n1', '52:54:00:00:00:01', 'web');
             BEGIN;
             INSERT INTO preparation (comment) VALUES ('now');
             INSERT INTO preparation_target VALUES (1, 'all', '');
             COMMIT;"
        ),
    );
    let path = master.state.path().join("state.db");
    let state = || StateStore::read_only(&path).unwrap().unwrap();
    let told = || {
        let events = state().events(Some("n1"), 20).unwrap();
        let mut reset = events.into_iter().filter(|it| it.kind == "reset");
        reset.next().map(|it| it.text)
    };
    until("the command has run", || told().is_some());
    let expected = "exit status 0: n1 52:54:00:00:00:01";
    assert_eq!(told().as_deref(), Some(expected));
    let progress = state().prepared().unwrap();
    assert_eq!(progress[0].stage.name(), "absent");
    until("it is remembered", || {
        state().prepared().unwrap()[0].message == format!("reset: {expected}")
    });
}

/// The questions of a machine in this slot, one for each number of a boot.
fn questions(last: u8, slot: &str, boots: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    let key = SecretKey::from_seed(&[last; 32]);
    let config = |boot| node::Config {
        identity: Identity {
            key: key.public(),
            mac: Mac([0x52, 0x54, 0, 0, 0, last]),
            uuid: SystemUuid([0; 16]),
            arch: Arch::X86_64,
            firmware: Firmware::Uefi,
            key_is_kept: false,
            smbios: Smbios {
                vendor: "Maker".into(),
                slot: slot.into(),
                ..Smbios::default()
            },
        },
        key: key.clone(),
        trust: Vec::new(),
        boot,
        epoch: 1,
        seed: [7; 32],
    };
    let question = Question {
        booted_from: BootedFrom::Network,
        manifest: Digest::NONE,
        failed: Digest::NONE,
    };
    let asked = |boot| {
        let mut node = Node::new(config(boot));
        node.ask(question, Duration::from_secs(1));
        let Some(node::Command::Send(datagram)) = node.next_command() else {
            panic!("nothing is asked")
        };
        datagram
    };
    boots.map(asked).collect()
}

#[test]
fn a_machine_that_says_what_it_is_gets_its_row_or_is_told_of_once() {
    let master = Master::start(&[], |_| {});
    let generation = || master.metric("bootd_catalog_generation");
    until("it serves", || generation().is_some());
    let before = generation();
    master.sqlite3(
        0,
        "INSERT INTO class (name) VALUES ('web');
         INSERT INTO rule (name, priority, class, slot) VALUES ('left', 1, 'web', '1*');
         INSERT INTO rule (name, priority, action, class, slot)
             VALUES ('right', 2, 'hold', 'web', '2*');",
    );
    until("the edit is in force", || generation() > before);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let say = |datagram: &Vec<u8>| {
        let to = (Ipv4Addr::LOCALHOST, master.verify);
        socket.send_to(datagram, to).unwrap();
    };
    questions(3, "31", 1..6).iter().for_each(say);
    questions(1, "11", 1..2).iter().for_each(say);
    questions(2, "21", 1..2).iter().for_each(say);

    let nodes = || {
        let catalog = Catalog::open(master.state.path()).unwrap();
        let rows = catalog.snapshot().unwrap().nodes.into_iter();
        rows.map(|it| (it.name, it.hold)).collect::<Vec<_>>()
    };
    until("two are nodes", || nodes().len() == 2);
    let expected = [("node-000001", false), ("node-000002", true)];
    assert_eq!(
        nodes(),
        expected.map(|(name, hold)| (name.to_owned(), hold))
    );

    let path = master.state.path().join("state.db");
    let told = || {
        let state = StateStore::read_only(&path).unwrap().unwrap();
        let mut events = state.events(None, 100).unwrap();
        events.retain(|it| it.kind == "unwanted");
        events.into_iter().map(|it| it.text).collect::<Vec<_>>()
    };
    until("it is told of", || !told().is_empty());
    let expected = "52:54:00:00:00:03 gets no answer: no rule takes it in; \
         rule left: slot should be 1*, the machine has 31; \
         rule right: slot should be 2*, the machine has 31; it says arch x86_64, firmware uefi, \
         no product, vendor \"Maker\", no serial, no chassis, slot \"31\"";
    assert_eq!(told(), [expected]);
}
