//! Other people's TFTP clients against ours: curl, and Debian's tftp-hpa. A client that is not
//! installed is left out, and the test says so.
#![expect(clippy::print_stderr, reason = "says which client is missing")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs::{read, write};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use bootd::supervision::Life;
use bootd::tftp::{Config, Files, Server, Source, Stopper};
use bootd::tftp_tree::Tree;
use bootd_protocol::tftp::Refusal;

struct Served(Tree);

impl Files for Served {
    fn open(&self, name: &str, _peer: SocketAddr) -> Result<Source, Refusal> {
        self.0.find(name)
    }

    fn open_now(&self, name: &str, _peer: SocketAddr) -> Option<Result<Source, Refusal>> {
        self.0.find_now(name)
    }
}

struct Running {
    port: u16,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn serve(dir: &Path) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let files = Served(Tree::open(dir).unwrap());
        let server = Server::new(vec![socket], files, (), Config::default()).unwrap();
        let stopper = server.stopper();
        let thread = Some(std::thread::spawn(move || {
            server.run(&Life::default().part("tftp")).unwrap()
        }));
        Running {
            port,
            stopper,
            thread,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopper.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Whether a program can be run at all.
fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command
        .arg("-V")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let found = command.status().is_ok();
    if !found {
        eprintln!("left out: {program} is not installed");
    }
    found
}

fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// Lengths around a block of 512 and of 1,468, and one of many blocks.
const LENGTHS: [usize; 8] = [0, 1, 511, 512, 513, 1_468, 100_000, 5_000_000];

#[test]
fn curl_gets_every_file() {
    if !is_there("curl") {
        return;
    }
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Running::serve(dir.path());
    let to = to.path().join("got");
    // curl cannot take an empty file from any server that tells its size.
    for len in LENGTHS.into_iter().filter(|len| *len > 0) {
        let bytes: Vec<u8> = (0..len).map(|index| index.to_le_bytes()[1]).collect();
        write(dir.path().join("file"), &bytes).unwrap();
        for block in ["512", "1468", "9000"] {
            let url = format!("tftp://127.0.0.1:{}/file", server.port);
            let to = to.to_str().unwrap();
            let (good, text) = run(
                "curl",
                &["-sS", "-m", "20", "--tftp-blksize", block, "-o", to, &url],
            );
            assert!(good, "{len} bytes in blocks of {block}: {text}");
            assert!(
                len == 0 || read(to).unwrap() == bytes,
                "{len} bytes, {block}"
            );
        }
    }
    for (name, code) in [("missing", "68"), ("%2e%2e/etc/passwd", "69")] {
        let url = format!("tftp://127.0.0.1:{}/{name}", server.port);
        let (good, text) = run("curl", &["-sS", "-m", "20", "--path-as-is", &url]);
        assert!(
            !good && text.contains(&format!("({code})")),
            "{name}: {text}"
        );
    }
}

#[test]
fn tftp_hpa_gets_every_file_in_both_modes_and_puts_none() {
    if !is_there("tftp") {
        return;
    }
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Running::serve(dir.path());
    let (port, got) = (server.port.to_string(), to.path().join("got"));
    let (there, got_path) = (dir.path().join("file"), got.to_str().unwrap());
    for mode in ["octet", "netascii"] {
        for len in LENGTHS {
            let bytes: Vec<u8> = b"a line\nanother\rline\n"
                .iter()
                .copied()
                .cycle()
                .take(len)
                .collect();
            write(&there, &bytes).unwrap();
            let arguments = [
                "-m",
                mode,
                "127.0.0.1",
                &port,
                "-c",
                "get",
                "file",
                got_path,
            ];
            let (_, text) = run("tftp", &arguments);
            assert!(read(&got).unwrap() == bytes, "{len} bytes, {mode}: {text}");
        }
    }
    let arguments = [
        "-m",
        "octet",
        "127.0.0.1",
        &port,
        "-c",
        "put",
        got_path,
        "file",
    ];
    let (_, text) = run("tftp", &arguments);
    assert!(text.contains("Error code 2"), "{text}");
    let arguments = [
        "-m",
        "octet",
        "127.0.0.1",
        &port,
        "-c",
        "get",
        "none",
        got_path,
    ];
    let (_, text) = run("tftp", &arguments);
    assert!(text.contains("Error code 1"), "{text}");
}
