//! By TFTP on the loopback, as U-Boot asks.

use std::net::UdpSocket;
use std::thread::JoinHandle;

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::Arch;
use bootd_protocol::tftp::{ErrorCode, Packet};
use bootd_protocol::uki::HEAD_LEN;
use catalog::Catalog;
use catalog::state::{NodeState, StateStore};
use rusqlite::Connection;

use super::*;
use crate::recorder;
use crate::supervision::Life;
use crate::tftp::{Config, Files as _, Server, Stopper};
use crate::tftp_files::TftpFiles;

const CMDLINE: &[u8] = b"console=ttyS0 panic=10\0\0";
const UUID: &str = "123e4567-e89b-12d3-a456-426614174000";
/// The same, in the order of SMBIOS.
const SWAPPED: &str = "67453e12-9be8-d312-a456-426614174000";
/// Where everybody is here.
const LOOPBACK: &str = "127.0.0.1";

/// A unified kernel image, as far as anybody looks at it here.
fn uki() -> Vec<u8> {
    let sections: [(&str, &[u8]); 4] = [
        (".osrel", b"ID=x"),
        (".cmdline", CMDLINE),
        (".initrd", b"the initramfs"),
        (".linux", b"the kernel"),
    ];
    let mut file = vec![0; HEAD_LEN];
    file[..2].copy_from_slice(b"MZ");
    file[0x3c] = 0x40;
    file[0x40..0x44].copy_from_slice(b"PE\0\0");
    file[0x46] = 4;
    for (index, (name, content)) in sections.iter().enumerate() {
        let at = 0x58 + index * 40;
        let len = u32::try_from(content.len()).unwrap().to_le_bytes();
        let offset = u32::try_from(file.len()).unwrap().to_le_bytes();
        file[at..at + name.len()].copy_from_slice(name.as_bytes());
        for (field, value) in [(8, len), (16, len), (20, offset)] {
            file[at + field..at + field + 4].copy_from_slice(&value);
        }
        file.extend_from_slice(content);
    }
    file
}

fn mac(last: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, last])
}

fn name(mac: Mac) -> String {
    format!("pxelinux.cfg/01-{}", mac.to_string().replace(':', "-"))
}

/// A master with class `web` and nodes: `n1` says what it is, `n2` does not, `n3` is held.
struct Master {
    configs: BootConfigs,
    uki: Digest,
    server: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Master {
    fn new(nodes: Vec<NodeState>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::create(dir.path()).unwrap();
        let uki = catalog.blobs().writer().unwrap().put(&uki()[..]).unwrap();
        let [n1, n2, n3] = [1, 2, 3].map(mac);
        let (digest, size) = (uki.sha256, uki.size);
        let db = Connection::open(catalog.db_path()).unwrap();
        db.execute_batch(&format!(
            "INSERT INTO blob VALUES ('{digest}', {size});
             INSERT INTO boot_image VALUES ('debian', '1', 'x86_64', '{digest}', '{digest}', NULL, NULL);
             INSERT INTO class (name) VALUES ('web');
             INSERT INTO class_image VALUES ('web', 'x86_64', 'debian', '1');
             INSERT INTO node (name, mac, uuid, class, arch)
                 VALUES ('n1', '{n1}', '{SWAPPED}', 'web', 'x86_64');
             INSERT INTO node (name, mac, class) VALUES ('n2', '{n2}', 'web');
             INSERT INTO node (name, mac, class, arch, hold) VALUES ('n3', '{n3}', 'web', 'x86_64', 1);
             -- Installed: their keys are bound.
             UPDATE node SET public_key = printf('%064d', substr(name, 2)) WHERE name IN ('n1', 'n2');"
        ))
        .unwrap();
        let desired = Desired::load(&catalog).unwrap();
        let state = StateStore::open(&catalog.state_path()).unwrap();
        let (recorder, _) = recorder::recorder(state);
        let configs = BootConfigs {
            desired,
            presence: Presence::new(nodes, recorder),
            locations: Locations::default(),
            boot_files: BootFiles::new(catalog.blobs().clone()),
            counters: Arc::default(),
        };
        let counters = Arc::clone(&configs.counters);
        let files = TftpFiles::new(catalog.blobs().clone(), configs.clone(), counters);
        assert!(files.open_now(&name(n1), ([0; 4], 0).into()).is_none());
        let socket = UdpSocket::bind((LOOPBACK, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let server = Server::new(vec![socket], files, (), Config::default()).unwrap();
        let stopper = server.stopper();
        let thread = std::thread::spawn(move || server.run(&Life::default().part("tftp")).unwrap());
        Master {
            configs,
            uki: digest,
            server: address,
            stopper,
            thread: Some(thread),
            _dir: dir,
        }
    }

    /// The first block of a file, which is shorter than a block here.
    fn get(&self, name: &str) -> Result<String, ErrorCode> {
        let socket = UdpSocket::bind((LOOPBACK, 0)).unwrap();
        let request = format!("\0\u{1}{name}\0octet\0");
        socket.send_to(request.as_bytes(), self.server).unwrap();
        let mut answer = [0; 1500];
        let (len, from) = socket.recv_from(&mut answer).unwrap();
        match Packet::parse(&answer[..len]).unwrap() {
            Packet::Data { payload, .. } => {
                socket.send_to(&[0, 4, 0, 1], from).unwrap();
                Ok(String::from_utf8_lossy(payload).into_owned())
            }
            Packet::Error { code, .. } => Err(code),
            other @ (Packet::Read(_)
            | Packet::Write(_)
            | Packet::Ack { .. }
            | Packet::OptionAck(_)) => panic!("{other:?}"),
        }
    }

    fn boot(&self) -> String {
        let cmdline = "console=ttyS0 panic=10";
        pxelinux::boot("a node of class web", &self.uki, cmdline).unwrap()
    }

    /// DHCP hears of a machine.
    fn hears(&self, mac: Mac, kind: ClientKind) {
        self.configs.locations.saw(&Client {
            mac,
            uuid: None,
            kind,
            vendor_class: None,
            place: Default::default(),
        });
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.stopper.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_node_gets_its_configuration_and_the_parts_of_its_image() {
    let master = Master::new(Vec::new());
    let uki = master.uki;
    let not_found = || Err(ErrorCode::FileNotFound);
    for (name, expected) in [
        (name(mac(1)), Ok(master.boot())),
        (format!("boot/{}", name(mac(1))), Ok(master.boot())),
        (format!("pxelinux.cfg/{UUID}"), Ok(master.boot())),
        (format!("pxelinux.cfg/{SWAPPED}"), Ok(master.boot())),
        (name(mac(2)), not_found()),
        (name(mac(3)), not_found()),
        (name(mac(4)), not_found()),
        ("pxelinux.cfg/7F000001".to_owned(), not_found()),
        ("pxelinux.cfg/default".to_owned(), not_found()),
        (format!("/boot/{uki}/linux"), Ok("the kernel".to_owned())),
        (
            format!("boot//boot/{uki}/initrd"),
            Ok("the initramfs".to_owned()),
        ),
        (format!("boot/{uki}/cmdline"), not_found()),
        (format!("boot/{}/linux", Digest::NONE), not_found()),
    ] {
        assert_eq!(master.get(&name), expected, "{name}");
    }
    assert_eq!(master.configs.counters.tftp_configs.get(), 4);
    master.hears(mac(2), ClientKind::UBoot(Some(Arch::X86_64)));
    assert_eq!(master.get(&name(mac(2))), Ok(master.boot()));
}

/// DHCP tells a ROM of its disk, and not U-Boot: that is told here, twice in vain at most.
#[test]
fn a_node_that_runs_from_its_disk_is_sent_there() {
    let at = |node: &str, address: &str| NodeState {
        node: node.to_owned(),
        address: address.parse().ok(),
        from_disk: true,
        ..NodeState::default()
    };
    let master = Master::new(vec![at("n1", LOOPBACK), at("n2", LOOPBACK)]);
    master.hears(mac(2), ClientKind::BiosRom);
    let local = Ok(pxelinux::local("a node of class web"));
    let of_rom = local.clone();
    for expected in [local.clone(), local, Ok(master.boot())] {
        assert_eq!(master.get(&name(mac(1))), expected);
        assert_eq!(master.get(&name(mac(2))), of_rom);
    }
}

/// From an address that is not the node's.
#[test]
fn who_looks_at_a_configuration_changes_nothing() {
    let elsewhere = NodeState {
        node: "n1".to_owned(),
        address: "127.0.0.2".parse().ok(),
        from_disk: true,
        ..NodeState::default()
    };
    let master = Master::new(vec![elsewhere]);
    let local = Ok(pxelinux::local("a node of class web"));
    for _ in 0..4 {
        assert_eq!(master.get(&name(mac(1))), local);
    }
}
