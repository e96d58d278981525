//! Clients that mean no good, or are badly off.

use super::*;

const SHORT: Duration = Duration::from_millis(300);

/// A thousand clients connect and say nothing, or half of something; others are served at once,
/// and the thousand are gone when their time is up.
#[test]
fn a_thousand_half_open_connections_hurt_nobody() {
    raise_file_limit();
    let limits = Limits {
        head: Duration::from_secs(3),
        ..lenient()
    };
    let server = Server::start(limits);
    let digest = server.put(b"content");
    let silent: Vec<_> = (0..1000)
        .map(|index| {
            let mut stream = server.connect();
            if index % 2 == 0 {
                stream.write_all(b"GET /blob/").unwrap();
            }
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(server.get(&format!("/blob/{digest}"), "").body, "content");
    }
    for (index, stream) in silent.into_iter().enumerate() {
        let text = rest(stream);
        if index % 2 == 0 {
            assert!(
                text.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
                "{text}"
            );
        } else {
            assert_eq!(text, "");
        }
    }
    let open = &server.counters.now.http_connections;
    until("all are gone", || open.get() == 0);
}

fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

/// More connections than there is room for: the silent ones go, the oldest first.
#[test]
fn newcomers_take_the_place_of_the_silent() {
    let limits = Limits {
        connections: 10,
        ..lenient()
    };
    let server = Server::start(limits);
    let digest = server.put(b"content");
    let silent: Vec<_> = (0..30).map(|_| server.connect()).collect();
    let path = format!("/blob/{digest}");
    assert_eq!(server.get(&path, "").body, "content");
    for stream in &silent[..20] {
        assert_eq!((&mut &*stream).read(&mut [0]).unwrap_or(0), 0);
    }
    let mut last = &silent[29];
    last.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
        .unwrap();
    let mut text = String::new();
    last.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("content"), "{text}");
}

/// Those who are being served are left alone: a newcomer is told to come again.
#[test]
fn nobody_who_is_served_has_to_go() {
    let limits = Limits {
        connections: 4,
        ..lenient()
    };
    let server = Server::start(limits);
    let content = vec![9; 32 << 20];
    let digest = server.put(&content);
    let request = format!("GET /blob/{digest} HTTP/1.0\r\n\r\n");
    // They have begun to read, and there is more than the kernel's buffers hold.
    let mut served: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for stream in &mut served {
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_exact(&mut [0; 100]).unwrap();
    }
    let text = rest(server.connect());
    assert!(
        text.starts_with("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\n"),
        "{text}"
    );
    assert_eq!(server.counters.http_turned_away.get(), 1);
    for mut stream in served {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        assert!(bytes.ends_with(&content[..1 << 20]));
    }
}

/// A client that asks for much and takes nothing is cut off, and costs no memory till then.
#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let limits = Limits {
        // Longer than between two looks at the numbers.
        stall: HOUSEKEEPING * 4,
        ..lenient()
    };
    let server = Server::start(limits);
    let digest = server.put(&vec![3; 32 << 20]);
    let request = format!("GET /blob/{digest} HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut slow: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for stream in &mut slow {
        stream.write_all(request.as_bytes()).unwrap();
    }
    let running = &server.counters.now.http_transfers;
    until("they are being served", || running.get() == 50);
    until("they are cut off", || running.get() == 0);
    for mut stream in slow {
        // What the kernel had in its buffers may come; then a reset, or the end, before all.
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        assert!(bytes.len() < 32 << 20);
    }
}

/// One who is slow but takes something now and then gets all of it.
#[test]
fn a_slow_reader_gets_everything() {
    let limits = Limits {
        stall: Duration::from_secs(2),
        ..lenient()
    };
    let server = Server::start(limits);
    let content = vec![5; 24 << 20];
    let digest = server.put(&content);
    let mut stream = server.connect();
    stream
        .write_all(format!("GET /blob/{digest} HTTP/1.0\r\n\r\n").as_bytes())
        .unwrap();
    let (mut got, mut piece) = (Vec::new(), vec![0; 1 << 20]);
    loop {
        match stream.read(&mut piece).unwrap() {
            0 => break,
            len => got.extend_from_slice(&piece[..len]),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(got.ends_with(&content));
}

#[test]
fn floods_are_refused_and_end() {
    let server = Server::start(lenient());
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(100_000));
    assert_eq!(
        Answer::of(&server.ask(long.as_bytes())).status,
        "414 URI Too Long"
    );
    let fields = "a: b\r\n".repeat(20_000);
    let flood = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}");
    let too_large = "431 Request Header Fields Too Large";
    assert_eq!(Answer::of(&server.ask(flood.as_bytes())).status, too_large);
    let fields = "a: b\r\n".repeat(70);
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    assert_eq!(Answer::of(&server.ask(many.as_bytes())).status, too_large);
    let garbage = b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n";
    assert_eq!(Answer::of(&server.ask(garbage)).status, "400 Bad Request");
    let new = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_eq!(
        Answer::of(&server.ask(new)).status,
        "505 HTTP Version Not Supported"
    );
    assert_eq!(server.counters.http_refused.get(), 5);
    // Nobody can keep us reading: after so many bytes the connection is cut.
    let mut stream = server.connect();
    let line = [b'\r'; 4096];
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"\0\r\n\r\n").unwrap();
    let begun = Instant::now();
    while stream.write_all(&line).is_ok() {
        assert!(begun.elapsed() < PATIENCE);
    }
}

/// A kept connection that is not used ends after a while; one that is used does not.
#[test]
fn idle_connections_end() {
    let limits = Limits {
        idle: SHORT,
        ..lenient()
    };
    let server = Server::start(limits);
    let digest = server.put(b"content");
    let mut stream = server.connect();
    let request = format!("GET /blob/{digest} HTTP/1.1\r\nHost: h\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let text = rest(stream);
    assert!(text.ends_with("\r\n\r\ncontent"), "{text}");
}
