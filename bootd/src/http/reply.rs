//! What is answered: status, fields, body. The choice between whole, part and nothing (RFC 9110,
//! sections 13 and 14) is made here, without I/O.

use std::fmt::Write as _;
use std::fs::File;
use std::sync::Arc;
use std::time::SystemTime;

use bootd_protocol::digest::Digest;
use catalog::served::Encoded;

use super::range::{self, Range};
use super::request::{Method, Request};

/// Status codes (RFC 9110, section 15; RFC 6585, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// 200.
    Ok,
    /// 206.
    PartialContent,
    /// 304.
    NotModified,
    /// 400.
    BadRequest,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 408.
    RequestTimeout,
    /// 412.
    PreconditionFailed,
    /// 414.
    UriTooLong,
    /// 416.
    RangeNotSatisfiable,
    /// 431.
    FieldsTooLarge,
    /// 500.
    InternalServerError,
    /// 505.
    VersionNotSupported,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::PartialContent => "206 Partial Content",
            Status::NotModified => "304 Not Modified",
            Status::BadRequest => "400 Bad Request",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::RequestTimeout => "408 Request Timeout",
            Status::PreconditionFailed => "412 Precondition Failed",
            Status::UriTooLong => "414 URI Too Long",
            Status::RangeNotSatisfiable => "416 Range Not Satisfiable",
            Status::FieldsTooLarge => "431 Request Header Fields Too Large",
            Status::InternalServerError => "500 Internal Server Error",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// The bytes of a resource: all who ask share them.
#[derive(Debug, Clone)]
pub enum Content {
    /// Made for this answer.
    Text(String),
    /// A manifest in force.
    Manifest(Arc<Encoded>),
    /// Part of a file.
    File {
        /// Open for reading.
        file: Arc<File>,
        /// Where the resource begins in it, in bytes.
        start: u64,
        /// Its length in bytes.
        len: u64,
    },
}

impl Content {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Content::Text(text) => u64::try_from(text.len()).unwrap_or(u64::MAX),
            Content::Manifest(encoded) => u64::try_from(encoded.bytes.len()).unwrap_or(u64::MAX),
            Content::File { len, .. } => *len,
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a path leads to.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Its media type.
    pub media_type: &'static str,
    /// The digest that stands for its bytes, where they never change.
    pub digest: Option<Digest>,
    /// Its bytes.
    pub content: Content,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Its code.
    pub status: Status,
    /// Fields besides those that every answer has, each with its line's end.
    fields: String,
    /// What is sent: a part of `content`, or nothing of it.
    pub content: Content,
    /// First byte of `content` that is sent.
    pub first: u64,
    /// How many bytes are sent.
    pub count: u64,
    /// What `Content-Length` says; none where there must not be one.
    length: Option<u64>,
}

impl Reply {
    /// An answer in words.
    #[must_use]
    pub fn text(status: Status, text: &str) -> Self {
        let content = Content::Text(format!("{text}\n"));
        let fields = "Content-Type: text/plain; charset=utf-8\r\n".to_owned();
        Reply::whole(status, fields, content)
    }

    /// The answer to a method that no resource has.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let mut reply = Reply::text(Status::MethodNotAllowed, "only GET and HEAD");
        reply.fields.push_str("Allow: GET, HEAD\r\n");
        reply
    }

    fn whole(status: Status, fields: String, content: Content) -> Self {
        let count = content.len();
        Reply {
            status,
            fields,
            content,
            first: 0,
            count,
            length: Some(count),
        }
    }

    /// The answer to `request` for a resource: conditions first, then the range, in the order of
    /// RFC 9110, section 13.2.2.
    #[must_use]
    pub fn of(request: &Request, resource: Resource) -> Self {
        let Resource {
            media_type,
            digest,
            content,
        } = resource;
        let tag = digest.map(|it| format!("\"{it}\""));
        let tag = tag.as_deref().unwrap_or_default();
        let mut fields = String::new();
        if !tag.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(fields, "ETag: {tag}\r\nAccept-Ranges: bytes\r\n");
        }
        if request
            .if_match
            .as_deref()
            .is_some_and(|it| !names(it, tag))
        {
            return Reply::text(Status::PreconditionFailed, "If-Match names another content");
        }
        if request
            .if_none_match
            .as_deref()
            .is_some_and(|it| names(it, tag))
        {
            let mut reply = Reply::whole(Status::NotModified, fields, content);
            (reply.count, reply.length) = (0, None);
            return reply;
        }
        let _ = write!(fields, "Content-Type: {media_type}\r\n");
        match wanted_range(request, tag, content.len()) {
            Range::Whole => Reply::whole(Status::Ok, fields, content),
            Range::Unsatisfiable => {
                let mut reply = Reply::text(Status::RangeNotSatisfiable, "nothing there");
                let _ = write!(reply.fields, "Content-Range: bytes */{}\r\n", content.len());
                reply
            }
            Range::Part { start, len } => {
                let (last, size) = (start + len - 1, content.len());
                let _ = write!(fields, "Content-Range: bytes {start}-{last}/{size}\r\n");
                Reply {
                    status: Status::PartialContent,
                    fields,
                    content,
                    first: start,
                    count: len,
                    length: Some(len),
                }
            }
        }
    }

    /// Its head. `keep` says whether the connection stays, `old` whether the client is of
    /// HTTP/1.0 and takes the contrary for granted.
    #[must_use]
    pub fn head(&self, now: SystemTime, keep: bool, old: bool) -> String {
        let mut head = format!(
            "HTTP/1.1 {}\r\nDate: {}\r\n{}",
            self.status.line(),
            httpdate::fmt_http_date(now),
            self.fields
        );
        if let Some(length) = self.length {
            let _ = write!(head, "Content-Length: {length}\r\n");
        }
        match (keep, old) {
            (true, false) => {}
            (true, true) => head.push_str("Connection: keep-alive\r\n"),
            (false, _) => head.push_str("Connection: close\r\n"),
        }
        head.push_str("\r\n");
        head
    }

    /// The same as it answers this method: without its body for HEAD.
    #[must_use]
    pub fn without_body_of(mut self, method: Method) -> Self {
        if method == Method::Head {
            self.count = 0;
        }
        self
    }

    /// Whether its body is the resource's, and not words about it.
    #[must_use]
    pub fn is_content(&self) -> bool {
        matches!(self.status, Status::Ok | Status::PartialContent)
    }
}

/// The range to send: none unless GET asks for one of the content it knows (RFC 9110, sections
/// 14.2 and 13.1.5).
fn wanted_range(request: &Request, tag: &str, size: u64) -> Range {
    // A date never is the same: we have none to compare it with.
    let same = |condition: &str| !tag.is_empty() && condition.trim() == tag;
    if request.method != Method::Get || !request.if_range.as_deref().is_none_or(same) {
        return Range::Whole;
    }
    range::choose(request.range.as_deref(), size)
}

/// Whether a list of entity tags has `tag`, or is `*` (RFC 9110, sections 13.1.1 and 13.1.2).
/// Weak tags count as strong ones: what a digest names has no weaker form.
fn names(list: &str, tag: &str) -> bool {
    let mut tags = list.split(',').map(str::trim);
    list.trim() == "*"
        || !tag.is_empty() && tags.any(|it| it.strip_prefix("W/").unwrap_or(it) == tag)
}

#[cfg(test)]
mod tests {
    use super::super::request;
    use super::*;

    const TAG: &str = "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"";

    /// The head of the answer to a request for a resource that is "abc", without its date, and
    /// what of "abc" is sent.
    fn answer(method: &str, fields: &str) -> (String, u64, u64) {
        let head = format!("{method} / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let request = request::parse(head.as_bytes()).unwrap();
        let resource = Resource {
            media_type: "text/x",
            digest: Some(Digest::of(b"abc")),
            content: Content::Text("abc".into()),
        };
        let reply = Reply::of(&request, resource);
        let head = reply.head(SystemTime::UNIX_EPOCH, true, false);
        let date = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
        assert!(head.contains(date), "{head}");
        (head.replace(date, ""), reply.first, reply.count)
    }

    fn whole() -> (String, u64, u64) {
        let head = format!(
            "HTTP/1.1 200 OK\r\nETag: {TAG}\r\nAccept-Ranges: bytes\r\nContent-Type: text/x\r\n\
             Content-Length: 3\r\n\r\n"
        );
        (head, 0, 3)
    }

    fn tail() -> (String, u64, u64) {
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nETag: {TAG}\r\nAccept-Ranges: bytes\r\n\
             Content-Type: text/x\r\nContent-Range: bytes 1-2/3\r\nContent-Length: 2\r\n\r\n"
        );
        (head, 1, 2)
    }

    #[test]
    fn whole_or_part() {
        assert_eq!(answer("GET", ""), whole());
        assert_eq!(answer("GET", "Range: bytes=1-\r\n"), tail());
        let range = |condition: &str| {
            let fields = format!("Range: bytes=1-\r\nIf-Range: {condition}\r\n");
            answer("GET", &fields)
        };
        assert_eq!(range(TAG), tail());
        assert_eq!(range("\"other\""), whole());
        assert_eq!(range(&format!("W/{TAG}")), whole());
        assert_eq!(range("Thu, 01 Jan 1970 00:00:00 GMT"), whole());
        // Two ranges, and a range for HEAD, are passed over.
        assert_eq!(answer("GET", "Range: bytes=0-0,2-2\r\n"), whole());
        assert_eq!(answer("HEAD", "Range: bytes=1-\r\n"), whole());
        let (head, ..) = answer("GET", "Range: bytes=3-\r\n");
        assert_eq!(
            head,
            "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Range: bytes */3\r\nContent-Length: 14\r\n\r\n"
        );
    }

    #[test]
    fn conditions() {
        let same = (
            format!("HTTP/1.1 304 Not Modified\r\nETag: {TAG}\r\nAccept-Ranges: bytes\r\n\r\n"),
            0,
            0,
        );
        for condition in [TAG, "*", &format!("\"x\", W/{TAG}")] {
            let fields = format!("If-None-Match: {condition}\r\nRange: bytes=9-\r\n");
            assert_eq!(answer("GET", &fields), same, "{condition}");
            assert_eq!(answer("HEAD", &fields), same, "{condition}");
        }
        assert_eq!(answer("GET", "If-None-Match: \"x\"\r\n"), whole());
        assert_eq!(answer("GET", "If-Match: *\r\n"), whole());
        let (head, ..) = answer("GET", "If-Match: \"x\"\r\n");
        assert!(head.starts_with("HTTP/1.1 412 "), "{head}");
    }

    #[test]
    fn connections() {
        let reply = Reply::method_not_allowed();
        let head = |keep, old| {
            let head = reply.head(SystemTime::UNIX_EPOCH, keep, old);
            let end = head.split_once("Content-Length: 18\r\n").unwrap().1;
            end.to_owned()
        };
        assert_eq!(head(true, false), "\r\n");
        assert_eq!(head(true, true), "Connection: keep-alive\r\n\r\n");
        assert_eq!(head(false, false), "Connection: close\r\n\r\n");
        assert_eq!(head(false, true), "Connection: close\r\n\r\n");
        assert!(
            reply
                .head(SystemTime::UNIX_EPOCH, true, false)
                .contains("\r\nAllow: GET, HEAD\r\n")
        );
    }
}
