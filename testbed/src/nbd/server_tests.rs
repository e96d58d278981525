//! The server against a small client of our own and, where it is installed, `qemu-io`.

use std::process::Command;
use std::time::{Duration, Instant};

use super::*;
use crate::nbd::{Counters, CutAt, CutPolicy};

struct Served {
    server: NbdServer,
    _directory: tempfile::TempDir,
}

fn serve(size: u64) -> Served {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    Served {
        server: NbdServer::serve(Arc::new(Disk::blank(size)), &path).unwrap(),
        _directory: directory,
    }
}

/// A client that knows only EXPORT_NAME.
struct Client {
    stream: UnixStream,
    size: u64,
}

impl Client {
    fn connect(server: &NbdServer) -> Self {
        let mut stream = UnixStream::connect(server.path()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"NBDMAGICIHAVEOPT\0\x03");
        stream
            .write_all(b"\0\0\0\x03IHAVEOPT\0\0\0\x01\0\0\0\0")
            .unwrap();
        let size = wire::read_u64(&mut stream).unwrap();
        assert_eq!(wire::read_u16(&mut stream).unwrap(), wire::EXPORT_FLAGS);
        Client { stream, size }
    }

    fn send(&mut self, command: u16, flags: u16, offset: u64, length: u32, data: &[u8]) {
        let mut bytes = wire::REQUEST.to_be_bytes().to_vec();
        bytes.extend(flags.to_be_bytes());
        bytes.extend(command.to_be_bytes());
        bytes.extend(77_u64.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(data);
        self.stream.write_all(&bytes).unwrap();
    }

    fn error(&mut self) -> u32 {
        let mut reply = [0; 16];
        self.stream.read_exact(&mut reply).unwrap();
        let error = u32::from_be_bytes(reply[4..8].try_into().unwrap());
        assert_eq!(reply, wire::reply(error, 77));
        error
    }

    fn ask(&mut self, command: u16, flags: u16, offset: u64, length: u32) -> u32 {
        self.send(command, flags, offset, length, &[]);
        self.error()
    }

    fn write(&mut self, offset: u64, byte: u8, flags: u16) -> u32 {
        self.send(command::WRITE, flags, offset, 512, &[byte; 512]);
        self.error()
    }

    fn read(&mut self, offset: u64) -> u8 {
        assert_eq!(self.ask(command::READ, 0, offset, 512), 0);
        let mut data = [0; 512];
        self.stream.read_exact(&mut data).unwrap();
        data[0]
    }
}

#[test]
fn serves_every_command_and_a_cut_takes_what_was_not_flushed() {
    let served = serve(1 << 20);
    let mut client = Client::connect(&served.server);
    assert_eq!(client.size, 1 << 20);
    assert_eq!(client.write(0, 1, 0), 0);
    assert_eq!(client.ask(command::FLUSH, 0, 0, 0), 0);
    assert_eq!(client.write(0, 2, 0), 0);
    assert_eq!(client.write(512, 3, wire::FUA), 0);
    assert_eq!(client.write(1024, 4, 0), 0);
    assert_eq!(
        (client.read(0), client.read(512), client.read(1024)),
        (2, 3, 4)
    );
    served.server.disk().cut(CutPolicy::LoseAll, 0);
    let mut client = Client::connect(&served.server);
    assert_eq!(
        (client.read(0), client.read(512), client.read(1024)),
        (1, 3, 0)
    );
    assert_eq!(client.ask(command::TRIM, 0, 0, 512), 0);
    assert_eq!(client.ask(command::WRITE_ZEROES, 0, 512, 512), 0);
    assert_eq!((client.read(0), client.read(512)), (0, 0));
    let expected = Counters {
        reads: 8,
        writes: 6,
        bytes_written: 6 * 512,
        flushes: 1,
        fua_writes: 1,
        cuts: 1,
    };
    assert_eq!(served.server.disk().counters(), expected);
}

#[test]
fn requests_out_of_bounds_are_refused_and_the_connection_goes_on() {
    let served = serve(4096);
    let mut client = Client::connect(&served.server);
    assert_eq!(client.ask(command::READ, 0, 4096, 512), error::INVALID);
    assert_eq!(client.ask(command::READ, 0, u64::MAX, 512), error::INVALID);
    assert_eq!(client.ask(command::READ, 0, 1, 512), error::INVALID);
    assert_eq!(client.ask(command::TRIM, 0, 0, 8192), error::NO_SPACE);
    assert_eq!(client.write(4096, 1, 0), error::NO_SPACE);
    assert_eq!(client.ask(99, 0, 0, 512), error::INVALID);
    assert_eq!(client.read(0), 0);
}

#[test]
fn at_an_armed_cut_the_client_hears_nothing_more() {
    let served = serve(4096);
    let disk = served.server.disk();
    let mut client = Client::connect(&served.server);
    let kill = client.stream.try_clone().unwrap();
    disk.arm(CutAt::Write(2), move || {
        kill.shutdown(Shutdown::Both).unwrap()
    });
    assert_eq!(client.write(0, 1, 0), 0);
    client.send(command::WRITE, 0, 512, 512, &[1; 512]);
    assert_eq!(client.stream.read(&mut [0; 16]).unwrap(), 0);
    assert!(disk.wait_for_cut(Instant::now() + Duration::from_secs(10)));
    assert_eq!(disk.cut(CutPolicy::LoseAll, 0).pending_writes, 2);
    assert_eq!(Client::connect(&served.server).read(0), 0);
}

#[test]
fn a_client_that_breaks_the_protocol_ends_only_itself() {
    let served = serve(4096);
    let mut broken = UnixStream::connect(served.server.path()).unwrap();
    broken.write_all(&[0xff; 64]).unwrap();
    let mut rest = Vec::new();
    let _ = broken.read_to_end(&mut rest);
    let mut client = Client::connect(&served.server);
    client.send(command::WRITE, 0, 0, wire::MAX_PAYLOAD + 1, &[]);
    assert_eq!(client.stream.read(&mut [0; 16]).unwrap(), 0);
    assert_eq!(Client::connect(&served.server).write(0, 1, 0), 0);
}

#[test]
fn a_dropped_server_leaves_nothing() {
    let served = serve(4096);
    let path = served.server.path().to_owned();
    let mut client = Client::connect(&served.server);
    drop(served.server);
    assert_eq!(client.stream.read(&mut [0; 1]).unwrap(), 0);
    assert!(!path.exists());
}

#[test]
fn qemus_own_client_finds_the_disk_in_order() {
    let is_missing = Command::new("qemu-io").arg("--version").output().is_err();
    if is_missing {
        eprintln!("qemu-io is not installed: its part of the test is left out");
        return;
    }
    let served = serve(64 << 20);
    let image = format!("nbd:unix:{}", served.server.path().display());
    let output = Command::new("qemu-io")
        .args(["-f", "raw", "-t", "none"])
        .args([
            "-c",
            "write -P 7 0 3M",
            "-c",
            "flush",
            "-c",
            "write -P 8 1M 64k",
        ])
        .args([
            "-c",
            "read -P 8 1M 64k",
            "-c",
            "write -z 0 64k",
            "-c",
            "discard 2M 64k",
        ])
        .args(["-c", "write -f -P 9 32M 4k", "-c", "abort", &image])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("failed"), "{text}");
    let counters = served.server.disk().counters();
    assert_eq!(counters.flushes, 1, "{text} {counters:?}");
    assert_eq!(counters.fua_writes, 1, "{text}");
    served.server.disk().cut(CutPolicy::LoseAll, 0);
    let byte = |offset| {
        let mut buffer = [0; 512];
        served.server.disk().read_durable(offset, &mut buffer);
        buffer[0]
    };
    let offsets = [0, 1 << 20, 2 << 20, 32 << 20];
    assert_eq!(offsets.map(byte), [7, 7, 7, 9]);
}
