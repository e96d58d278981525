//! The head of a request (RFC 9112, sections 2 to 6, and the fields of RFC 9110 that we heed),
//! without I/O. `httparse` reads the grammar; what it means is decided here.

use super::reply::Status;

/// Longest head, in bytes: request line and all fields.
pub const MAX_HEAD: usize = 8 * 1024;
/// Most fields in a head.
const MAX_FIELDS: usize = 64;

/// What to do with the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Send it.
    Get,
    /// Send what GET would, without the body.
    Head,
    /// Something we do not do.
    Other,
}

/// A request, as far as we heed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// The path of the target, as sent.
    pub path: String,
    /// Path and query, as sent.
    pub target: String,
    /// The query, without its question mark.
    pub query: String,
    /// The field `Host`.
    pub host: Option<String>,
    /// The field `Range`; none where there are several.
    pub range: Option<String>,
    /// The field `If-Range`.
    pub if_range: Option<String>,
    /// The fields `If-Match`, as one list.
    pub if_match: Option<String>,
    /// The fields `If-None-Match`, as one list.
    pub if_none_match: Option<String>,
    /// Whether the client wants the connection to stay (RFC 9112, section 9.3).
    pub keep_alive: bool,
    /// Whether it is HTTP/1.0, whose clients must be told that a connection stays.
    pub old: bool,
    /// Whether a body follows, which nobody here reads.
    pub body: bool,
}

/// A request that is refused unread; the text says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Bad {
    /// What to answer.
    pub status: Status,
    /// In words.
    pub why: &'static str,
}

const fn bad(why: &'static str) -> Bad {
    let status = Status::BadRequest;
    Bad { status, why }
}

/// Length of the empty lines before a request, which are passed over (RFC 9112, section 2.2).
#[must_use]
pub fn blank(buffer: &[u8]) -> usize {
    let blank = buffer.iter().take_while(|it| matches!(it, b'\r' | b'\n'));
    blank.count()
}

/// Length of the head in `buffer` with its empty line, if it is complete. Whatever of it was
/// seen before, `seen` bytes, is not looked through again.
#[must_use]
pub fn head_len(buffer: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    let fresh = buffer.get(from..)?;
    let mut ends = fresh.iter().enumerate().filter(|(_, it)| **it == b'\n');
    ends.find_map(|(at, _)| match &fresh[at + 1..] {
        [b'\r', b'\n', ..] => Some(from + at + 3),
        [b'\n', ..] => Some(from + at + 2),
        _ => None,
    })
}

/// What is wrong with a head that has grown to [`MAX_HEAD`] and has no end.
#[must_use]
pub fn too_long(buffer: &[u8]) -> Bad {
    if buffer.contains(&b'\n') {
        Bad {
            status: Status::FieldsTooLarge,
            why: "the head is longer than 8192 bytes",
        }
    } else {
        Bad {
            status: Status::UriTooLong,
            why: "the request line is longer than 8192 bytes",
        }
    }
}

/// Reads a whole head.
///
/// # Errors
/// It is not of HTTP/1, or contradicts itself.
pub fn parse(head: &[u8]) -> Result<Request, Bad> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(bad("the head is not complete")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Bad {
                status: Status::FieldsTooLarge,
                why: "more than 64 fields",
            });
        }
        Err(httparse::Error::Version) => {
            return Err(Bad {
                status: Status::VersionNotSupported,
                why: "not HTTP/1.0 or HTTP/1.1",
            });
        }
        Err(_) => return Err(bad("not an HTTP request")),
    }
    let fields = Fields(parsed.headers);
    let old = parsed.version == Some(0);
    let target = parsed.path.unwrap_or_default();
    let (authority, target) = split_target(target)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let host = fields
        .once("host")
        .map_err(|()| bad("several Host fields"))?;
    if host.is_none() && !old {
        return Err(bad("no Host field"));
    }
    Ok(Request {
        method: match parsed.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            _ => Method::Other,
        },
        path: path.to_owned(),
        target: target.to_owned(),
        query: query.to_owned(),
        host: authority.or(host).map(str::to_owned),
        range: fields.once("range").unwrap_or(None).map(str::to_owned),
        if_range: fields.once("if-range").unwrap_or(None).map(str::to_owned),
        if_match: fields.list("if-match"),
        if_none_match: fields.list("if-none-match"),
        keep_alive: keep_alive(&fields, old),
        old,
        body: has_body(&fields)?,
    })
}

/// Authority, and path with query, of a target in origin or absolute form (RFC 9112, section
/// 3.2).
fn split_target(target: &str) -> Result<(Option<&str>, &str), Bad> {
    if target.starts_with('/') || target == "*" {
        return Ok((None, target));
    }
    let scheme = target
        .get(..7)
        .filter(|it| it.eq_ignore_ascii_case("http://"));
    let rest = scheme.and_then(|it| target.get(it.len()..));
    let rest = rest.ok_or(bad("the target is no path"))?;
    match rest.find(['/', '?']) {
        Some(at) if rest[at..].starts_with('/') => Ok((Some(&rest[..at]), &rest[at..])),
        Some(_) => Err(bad("the target is no path")),
        None => Ok((Some(rest), "/")),
    }
}

fn keep_alive(fields: &Fields<'_>, old: bool) -> bool {
    let says = |token: &str| {
        let mut tokens = fields.all("connection").flat_map(|it| it.split(','));
        tokens.any(|it| it.trim().eq_ignore_ascii_case(token))
    };
    !says("close") && (!old || says("keep-alive"))
}

/// Whether a body follows. What could be read in two ways is refused (RFC 9112, section 6.3).
fn has_body(fields: &Fields<'_>) -> Result<bool, Bad> {
    let coded = fields.all("transfer-encoding").next().is_some();
    let mut lengths = fields.all("content-length").flat_map(|it| it.split(','));
    let Some(first) = lengths.next().map(str::trim) else {
        return Ok(coded);
    };
    if coded || lengths.any(|it| it.trim() != first) {
        return Err(bad("two lengths for one body"));
    }
    if first.is_empty() || !first.bytes().all(|it| it.is_ascii_digit()) {
        return Err(bad("Content-Length is no number"));
    }
    Ok(first.bytes().any(|it| it != b'0'))
}

/// The fields of a head. Values that are not text are as if they were not there.
struct Fields<'a>(&'a [httparse::Header<'a>]);

impl<'a> Fields<'a> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = self
            .0
            .iter()
            .filter(move |it| it.name.eq_ignore_ascii_case(name));
        named.filter_map(|it| std::str::from_utf8(it.value).ok().map(str::trim))
    }

    /// The value of a field that may be there once.
    fn once(&self, name: &str) -> Result<Option<&'a str>, ()> {
        let mut all = self.all(name);
        let first = all.next();
        if all.next().is_some() {
            Err(())
        } else {
            Ok(first)
        }
    }

    /// The values of a field that is a list.
    fn list(&self, name: &str) -> Option<String> {
        let all: Vec<&str> = self.all(name).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Request {
        Request {
            method: Method::Get,
            path: "/ipxe".into(),
            target: "/ipxe?mac=1".into(),
            query: "mac=1".into(),
            host: Some("10.0.0.1:4080".into()),
            range: None,
            if_range: None,
            if_match: None,
            if_none_match: None,
            keep_alive: true,
            old: false,
            body: false,
        }
    }

    #[test]
    fn reads_what_clients_send() {
        let request = parse(b"GET /ipxe?mac=1 HTTP/1.1\r\nHost: 10.0.0.1:4080\r\n\r\n");
        assert_eq!(request, Ok(plain()));
        let request = parse(b"GET http://10.0.0.1:4080/ipxe?mac=1 HTTP/1.1\nhost:  other\n\n");
        assert_eq!(request, Ok(plain()));

        let request = parse(
            b"HEAD / HTTP/1.1\r\nHost: h\r\nRange: bytes=1-\r\nIf-Range: \"a\"\r\n\
              If-None-Match: \"a\"\r\nif-none-match: \"b\"\r\nIf-Match: *\r\n\
              Connection: foo, Close\r\nContent-Length: 3\r\n\r\n",
        );
        let expected = Request {
            method: Method::Head,
            path: "/".into(),
            target: "/".into(),
            query: String::new(),
            host: Some("h".into()),
            range: Some("bytes=1-".into()),
            if_range: Some("\"a\"".into()),
            if_match: Some("*".into()),
            if_none_match: Some("\"a\", \"b\"".into()),
            keep_alive: false,
            old: false,
            body: true,
        };
        assert_eq!(request, Ok(expected));
    }

    #[test]
    fn old_clients_close_unless_they_say_otherwise() {
        let keep = |head: &[u8]| parse(head).map(|it| (it.keep_alive, it.old, it.host));
        assert_eq!(keep(b"GET / HTTP/1.0\r\n\r\n"), Ok((false, true, None)));
        assert_eq!(
            keep(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"),
            Ok((true, true, None))
        );
    }

    #[test]
    fn refuses_what_is_not_http_or_contradicts_itself() {
        let lines = |fields: &str| format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let many = lines(&"a: b\r\n".repeat(64));
        let cases = [
            ("GET / HTTP/1.1\r\n\r\n", bad("no Host field")),
            (&lines("Host: i\r\n"), bad("several Host fields")),
            ("\x16\x03\x01\x02\r\n\r\n", bad("not an HTTP request")),
            (
                "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
                bad("not an HTTP request"),
            ),
            (
                "GET example.org:80 HTTP/1.1\r\nHost: h\r\n\r\n",
                bad("the target is no path"),
            ),
            (
                &lines("Content-Length: 1\r\nContent-Length: 2\r\n"),
                bad("two lengths for one body"),
            ),
            (
                &lines("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
                bad("two lengths for one body"),
            ),
            (
                &lines("Content-Length: -1\r\n"),
                bad("Content-Length is no number"),
            ),
            (
                "GET / HTTP/2.0\r\nHost: h\r\n\r\n",
                Bad {
                    status: Status::VersionNotSupported,
                    why: "not HTTP/1.0 or HTTP/1.1",
                },
            ),
            (
                &many,
                Bad {
                    status: Status::FieldsTooLarge,
                    why: "more than 64 fields",
                },
            ),
        ];
        for (head, expected) in cases {
            assert_eq!(parse(head.as_bytes()), Err(expected), "{head:?}");
        }
    }

    #[test]
    fn bodies_are_seen() {
        let body = |fields: &str| {
            let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
            parse(head.as_bytes()).map(|it| (it.method, it.body))
        };
        assert_eq!(body(""), Ok((Method::Other, false)));
        assert_eq!(body("Content-Length: 00\r\n"), Ok((Method::Other, false)));
        assert_eq!(body("Content-Length: 7, 7\r\n"), Ok((Method::Other, true)));
        assert_eq!(
            body("Transfer-Encoding: chunked\r\n"),
            Ok((Method::Other, true))
        );
    }

    #[test]
    fn the_end_of_a_head_is_found_however_it_comes() {
        let stream = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /next";
        for seen in 0..25 {
            for len in 0..stream.len() {
                let expected = (len >= 27).then_some(27);
                assert_eq!(
                    head_len(&stream[..len], seen.min(len)),
                    expected,
                    "{seen} {len}"
                );
            }
        }
        assert_eq!(head_len(b"GET / HTTP/1.0\n\nrest", 0), Some(16));
        assert_eq!(blank(b"\r\n\nGET"), 3);
        assert_eq!(too_long(b"GET /").status, Status::UriTooLong);
        assert_eq!(
            too_long(b"GET / HTTP/1.1\r\na").status,
            Status::FieldsTooLarge
        );
    }
}
