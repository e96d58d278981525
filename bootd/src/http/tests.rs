//! The server whole, on real sockets of the loopback.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bootd_protocol::digest::Digest;
use catalog::Catalog;
use tokio::sync::oneshot;

use super::*;
use crate::locations::Locations;
use crate::recorder;
use crate::supervision::Life;

mod attacks;
mod exposition;

/// Long enough for a busy machine, and for a test that hangs to be noticed.
const PATIENCE: Duration = Duration::from_secs(30);

struct Server {
    _dir: tempfile::TempDir,
    catalog: Catalog,
    counters: Arc<Counters>,
    http: Arc<Http>,
    address: SocketAddr,
    /// Ends the server when it is dropped.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Limits for those tests that do not run into them.
fn lenient() -> Limits {
    Limits {
        head: PATIENCE,
        idle: PATIENCE,
        stall: PATIENCE,
        connections: 4096,
    }
}

impl Server {
    fn start(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::create(dir.path()).unwrap();
        let desired = Desired::load(&catalog).unwrap();
        let state = catalog::state::StateStore::open(&catalog.state_path()).unwrap();
        let (recorder, _) = recorder::recorder(state);
        let counters = Arc::<Counters>::default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let http = Arc::new(Http {
            desired,
            blobs: catalog.blobs().clone(),
            turns: Turns::default(),
            boot_files: BootFiles::new(catalog.blobs().clone()),
            locations: Locations::default(),
            presence: Presence::new(Vec::new(), recorder),
            deltas: Deltas::default(),
            counters: Arc::clone(&counters),
            port: address.port(),
        });
        let served = Arc::clone(&http);
        let pulse = Life::default().part("http");
        let (end, ended) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    end = accept(listener, served, limits, pulse) => end.unwrap(),
                    _ = ended => {}
                }
            });
        });
        let (end, thread) = (Some(end), Some(thread));
        Server {
            _dir: dir,
            catalog,
            counters,
            http,
            address,
            end,
            thread,
        }
    }

    fn put(&self, content: &[u8]) -> Digest {
        let writer = self.catalog.blobs().writer().unwrap();
        writer.put(content).unwrap().sha256
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends all of this, and reads to the end.
    fn ask(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may have refused it before its end.
        let _ = stream.write_all(bytes);
        rest(stream)
    }

    fn get(&self, path: &str, fields: &str) -> Answer {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n");
        Answer::of(&self.ask(request.as_bytes()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits until this is so.
fn until(what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    status: String,
    head: String,
    body: String,
}

impl Answer {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let (status, head) = head.split_once("\r\n").unwrap_or((head, ""));
        let head = head.lines().filter(|it| !it.starts_with("Date: "));
        Answer {
            status: status.trim_start_matches("HTTP/1.1 ").to_owned(),
            head: head.collect::<Vec<_>>().join("\n"),
            body: body.to_owned(),
        }
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|it| it.split_once(": "));
        fields.find_map(|(key, value)| (key == name).then_some(value))
    }
}

#[test]
fn a_blob_whole_in_part_and_not_again() {
    let server = Server::start(lenient());
    let digest = server.put(b"0123456789");
    let path = format!("/blob/{digest}");
    let head = |length: u32| {
        format!(
            "ETag: \"{digest}\"\nAccept-Ranges: bytes\nContent-Type: application/octet-stream\n\
             Content-Length: {length}\nConnection: close"
        )
    };
    let whole = server.get(&path, "");
    let expected = Answer {
        status: "200 OK".into(),
        head: head(10),
        body: "0123456789".into(),
    };
    assert_eq!(whole, expected);

    let part = server.get(&path, "Range: bytes=4-6\r\n");
    assert_eq!(
        (part.status.as_str(), part.body.as_str()),
        ("206 Partial Content", "456")
    );
    assert_eq!(part.field("Content-Range"), Some("bytes 4-6/10"));

    let same = server.get(&path, &format!("If-None-Match: \"{digest}\"\r\n"));
    assert_eq!(
        (same.status.as_str(), same.body.as_str()),
        ("304 Not Modified", "")
    );

    let request = format!("HEAD {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let only_head = Answer::of(&server.ask(request.as_bytes()));
    assert_eq!(
        only_head,
        Answer {
            body: String::new(),
            ..expected
        }
    );
    until("bytes are counted", || {
        server.counters.http_bytes.get() == 13
    });
}

#[test]
fn missing_rotten_and_unknown_things_are_served_to_nobody() {
    let server = Server::start(lenient());
    let digest = server.put(b"right");
    let path = format!("/blob/{digest}");
    assert_eq!(server.get(&path, "").body, "right");
    std::fs::write(server.catalog.blobs().path(digest), b"wrong").unwrap();
    for _ in 0..2 {
        let rotten = server.get(&path, "");
        assert_eq!(rotten.status, "500 Internal Server Error");
        assert!(rotten.body.contains("is rotten"), "{rotten:?}");
    }
    assert_eq!(
        server
            .get(&format!("/blob/{}", Digest::of(b"no")), "")
            .status,
        "404 Not Found"
    );
    assert_eq!(server.counters.blobs_refused.get(), 3);
    for (path, status) in [
        ("/blob/xyz", "400 Bad Request"),
        ("/", "404 Not Found"),
        ("/blob/", "400 Bad Request"),
        ("/blob/../../etc/passwd", "404 Not Found"),
        (&format!("/manifest/{digest}"), "404 Not Found"),
        (
            &format!("/boot/{digest}/linux"),
            "500 Internal Server Error",
        ),
        ("/ipxe?mac=1", "400 Bad Request"),
    ] {
        assert_eq!(server.get(path, "").status, status, "{path}");
    }
    let post = Answer::of(
        &server.ask(b"POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"),
    );
    assert_eq!(post.status, "405 Method Not Allowed");
    assert_eq!(post.field("Allow"), Some("GET, HEAD"));
}

/// A file that is larger than 4 GiB, of which nothing but the end is there. It is not looked for
/// by its digest, since hashing it takes long.
#[test]
fn beyond_four_gibibytes() {
    const SIZE: u64 = (4 << 30) + 10;
    let file = tempfile::tempfile().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"0123456789", SIZE - 10).unwrap();
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: h\r\nRange: bytes=4294967300-4294967302\r\n\r\n";
    let resource = reply::Resource {
        media_type: "text/x",
        digest: None,
        content: reply::Content::File {
            file: Arc::new(file),
            start: 1,
            len: SIZE - 1,
        },
    };
    let reply = reply::Reply::of(&request::parse(request).unwrap(), resource);
    let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (stream, _) = server.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let outlet = transmit::Outlet {
            stream: &tokio::net::TcpStream::from_std(stream).unwrap(),
            place: &Crowd::new(1).admit(Instant::now()).unwrap(),
            stall: PATIENCE,
        };
        let head = reply.head(std::time::SystemTime::UNIX_EPOCH, true, false);
        outlet.send(head.as_bytes(), &reply, |_| {}).await.unwrap();
    });
    let answer = Answer::of(&rest(client));
    assert_eq!(
        (answer.status.as_str(), answer.body.as_str()),
        ("206 Partial Content", "567")
    );
    assert_eq!(
        answer.field("Content-Range"),
        Some("bytes 4294967300-4294967302/4294967305")
    );
}

#[test]
fn a_connection_stays_and_answers_come_in_order() {
    let server = Server::start(lenient());
    let (first, second) = (server.put(b"first"), server.put(&[b'x'; 100_000]));
    // All at once, with empty lines before; a HEAD and a refusal between.
    let requests = format!(
        "\r\nGET /blob/{first} HTTP/1.1\r\nHost: h\r\n\r\n\
         HEAD /blob/{second} HTTP/1.1\r\nHost: h\r\n\r\n\
         GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n\r\n\
         GET /blob/{second} HTTP/1.1\r\nHost: h\r\n\r\n\
         GET /blob/{first} HTTP/1.0\r\n\r\n"
    );
    let text = server.ask(requests.as_bytes());
    let statuses: Vec<_> = text.split("HTTP/1.1 ").skip(1).map(|it| &it[..3]).collect();
    assert_eq!(statuses, ["200", "200", "404", "200", "200"]);
    assert!(text.contains(&"x".repeat(100_000)));
    assert!(text.ends_with("Connection: close\r\n\r\nfirst"), "{text}");
    assert_eq!(text.matches("Connection:").count(), 1);
    assert_eq!(server.counters.http_requests.get(), 5);

    // HTTP/1.0 that stays, and then says nothing more.
    let stream = server.connect();
    (&stream)
        .write_all(
            format!("GET /blob/{first} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").as_bytes(),
        )
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(rest(stream).ends_with("Connection: keep-alive\r\n\r\nfirst"));
}

/// Requests that come byte by byte are requests.
#[test]
fn a_slow_request_is_a_request() {
    let server = Server::start(lenient());
    let digest = server.put(b"content");
    let mut stream = server.connect();
    stream.set_nodelay(true).unwrap();
    for byte in format!("GET /blob/{digest} HTTP/1.0\r\n\r\n").bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert!(rest(stream).ends_with("\r\n\r\ncontent"));
}

#[test]
fn a_body_is_not_taken_for_the_next_request() {
    let server = Server::start(lenient());
    let digest = server.put(b"content");
    for field in ["Content-Length: 40", "Transfer-Encoding: chunked"] {
        let request = format!(
            "GET /blob/{digest} HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n\
             GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"
        );
        let answer = Answer::of(&server.ask(request.as_bytes()));
        assert_eq!(answer.field("Connection"), Some("close"));
        assert_eq!(answer.body, "content");
    }
}

/// What is unknown is hashed once, however many ask for it.
#[test]
fn many_ask_for_a_new_blob_at_once() {
    let server = Server::start(lenient());
    let content = vec![7; 8 << 20];
    let digest = server.put(&content);
    let request = format!("GET /blob/{digest} HTTP/1.0\r\n\r\n");
    let mut streams: Vec<_> = (0..32).map(|_| server.connect()).collect();
    for stream in &mut streams {
        stream.write_all(request.as_bytes()).unwrap();
    }
    for mut stream in streams {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        assert!(bytes.ends_with(&content));
    }
}

/// A file that shrinks while it is sent is a cut, and not a short answer.
#[test]
fn a_file_that_ends_early_cuts_the_connection() {
    let server = Server::start(lenient());
    let digest = server.put(&vec![1; 64 << 20]);
    let mut stream = server.connect();
    let request = format!("GET /blob/{digest} HTTP/1.1\r\nHost: h\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut begin = [0; 100];
    stream.read_exact(&mut begin).unwrap();
    truncate(&server.catalog.blobs().path(digest));
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes);
    assert!(end.is_err() || bytes.len() < 64 << 20, "{end:?}");
}

fn truncate(path: &Path) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(1).unwrap();
}

/// Thousands of connections are thousands of these.
#[test]
fn a_connection_is_small() {
    let server = Server::start(lenient());
    let (from, to) = (server.connect(), server.connect());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    from.set_nonblocking(true).unwrap();
    let connection = Connection {
        stream: tokio::net::TcpStream::from_std(from).unwrap(),
        peer: to.local_addr().unwrap(),
        http: Arc::clone(&server.http),
        limits: lenient(),
        place: Crowd::new(1).admit(Instant::now()).unwrap(),
        buffer: Vec::new(),
    };
    let size = size_of_val(&connection.run());
    assert!(size <= 2560, "{size} bytes");
}
