//! What each path leads to.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use bootd_protocol::boot_choice::script::Script;
use bootd_protocol::digest::Digest;
use bootd_protocol::manifest::delta::Delta;
use bootd_protocol::uki::{Part, Section};
use catalog::blobs::{Blob, BlobError};
use catalog::served::Encoded;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tracing::{error, info};

use super::reply::{Content, Reply, Resource, Status};
use super::request::{Method, Request};
use super::{Http, metrics};
use crate::wishes::Wisher;

const BYTES: &str = "application/octet-stream";
/// What UEFI expects of HTTP boot (UEFI specification, section 24.7.3).
const EFI: &str = "application/efi";

/// An answer other than what was asked for; the text says what to do.
struct Refusal(Status, String);

/// Blobs that are being hashed: one hashes, the others wait for it.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<Mutex<HashMap<Digest, Turn>>>);

type Turn = Arc<tokio::sync::Mutex<()>>;

impl Turns {
    fn of(&self, digest: Digest) -> Turn {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(digest).or_default())
    }

    /// Forgets those that nobody waits for.
    fn tidy(&self) {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
    }
}

/// Whether this path is a boot image, or a part of one.
pub(super) fn is_boot_image(path: &str) -> bool {
    path.starts_with("/boot/")
}

/// The answer to a request that `peer` sent by `stream`.
pub(super) async fn answer(
    http: &Arc<Http>,
    request: &Request,
    stream: &TcpStream,
    peer: SocketAddr,
) -> Reply {
    if request.method == Method::Other {
        return Reply::method_not_allowed();
    }
    match find(http, request, stream, peer).await {
        Ok(resource) => Reply::of(request, resource),
        Err(Refusal(status, why)) => Reply::text(status, &why),
    }
}

async fn find(
    http: &Arc<Http>,
    request: &Request,
    stream: &TcpStream,
    peer: SocketAddr,
) -> Result<Resource, Refusal> {
    let names: Vec<&str> = request.path.split('/').skip(1).take(5).collect();
    match names.as_slice() {
        ["manifest", digest] => manifest(http, digest),
        ["manifest", digest, "from", base] => delta(http, digest, base),
        ["blob", digest] => blob(http, digest).await,
        ["boot", file] => boot_image(http, file).await,
        ["boot", digest, part] => boot_part(http, digest, part).await,
        ["ipxe"] => ipxe(http, request, peer, stream.local_addr().ok()).await,
        ["metrics"] => Ok(metrics::resource(http)),
        _ => Err(Refusal(
            Status::NotFound,
            format!("{}: there is nothing of that name", request.path),
        )),
    }
}

fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    text.parse()
        .map_err(|error| Refusal(Status::BadRequest, format!("{error}")))
}

fn manifest(http: &Http, digest: &str) -> Result<Resource, Refusal> {
    let digest = parse_digest(digest)?;
    let view = http.desired.view();
    let Some(encoded) = view.served.manifest(digest) else {
        let why = format!("manifest {digest} is not in force");
        return Err(Refusal(Status::NotFound, why));
    };
    Ok(Resource {
        media_type: "application/json",
        digest: Some(digest),
        content: Content::Manifest(Arc::clone(encoded)),
    })
}

/// What makes a manifest in force out of one that was in force before.
fn delta(http: &Http, digest: &str, base: &str) -> Result<Resource, Refusal> {
    let (digest, base) = (parse_digest(digest)?, parse_digest(base)?);
    let view = http.desired.view();
    let not_here = |digest| {
        let why = format!("manifest {digest} is not known here: fetch the whole one");
        Refusal(Status::NotFound, why)
    };
    let new = view.served.manifest(digest);
    let new = new.ok_or_else(|| not_here(digest))?;
    let old = view
        .served
        .manifest(base)
        .or_else(|| view.served.former(base));
    let old = old.ok_or_else(|| not_here(base))?;
    if let Some(text) = http.deltas.get(base, digest) {
        return Ok(difference(text));
    }
    let unreadable = |error: String| Refusal(Status::InternalServerError, error);
    let whole = |it: &Encoded| it.manifest().map_err(|error| unreadable(error.to_string()));
    let delta = Delta::between(base, &whole(old)?, &whole(new)?);
    let text = delta
        .to_json()
        .map_err(|error| unreadable(error.to_string()))?;
    http.deltas.put(base, digest, &text);
    Ok(difference(text))
}

fn difference(text: String) -> Resource {
    Resource {
        media_type: "application/json",
        digest: None,
        content: Content::Text(text),
    }
}

async fn blob(http: &Http, digest: &str) -> Result<Resource, Refusal> {
    let digest = parse_digest(digest)?;
    let blob = open(http, digest).await?;
    let size = blob.size;
    Ok(part(blob, digest, BYTES, 0, size))
}

async fn boot_image(http: &Http, file: &str) -> Result<Resource, Refusal> {
    let digest = parse_digest(file.strip_suffix(".efi").unwrap_or(file))?;
    let blob = open(http, digest).await?;
    let size = blob.size;
    Ok(part(blob, digest, EFI, 0, size))
}

async fn boot_part(http: &Http, digest: &str, name: &str) -> Result<Resource, Refusal> {
    let digest = parse_digest(digest)?;
    let Some(wanted) = Part::named(name) else {
        let why = format!("{name}: expected linux or initrd");
        return Err(Refusal(Status::NotFound, why));
    };
    let blob = open(http, digest).await?;
    let parts = http.boot_files.parts(digest);
    let parts = parts.map_err(|error| Refusal(Status::NotFound, format!("{digest}: {error}")))?;
    let Section { offset, size, .. } = parts.part(wanted);
    Ok(part(blob, digest, BYTES, offset, size))
}

fn part(blob: Blob, digest: Digest, media_type: &'static str, start: u64, len: u64) -> Resource {
    let file = Arc::new(blob.file);
    Resource {
        media_type,
        digest: Some(digest),
        content: Content::File { file, start, len },
    }
}

async fn ipxe(
    http: &Arc<Http>,
    request: &Request,
    peer: SocketAddr,
    local: Option<SocketAddr>,
) -> Result<Resource, Refusal> {
    let master = address_of_us(request.host.as_deref(), local)?;
    let (http, request) = (Arc::clone(http), request.clone());
    // It may have to hash the boot image first.
    let script = spawn_blocking(move || {
        let view = http.desired.view();
        let script = Script {
            master,
            http_port: http.port,
            request: &request.target,
            reason: "",
        };
        let wisher = Wisher {
            view: &view,
            presence: &http.presence,
            locations: &http.locations,
        };
        http.boot_files.script(&wisher, &request.query, script)
    });
    let script = script.await;
    let text = script.map_err(|error| Refusal(Status::InternalServerError, error.to_string()))?;
    let text = text.map_err(|why| Refusal(Status::BadRequest, why))?;
    info!(from = %peer, "iPXE script sent");
    Ok(Resource {
        media_type: "text/plain; charset=utf-8",
        digest: None,
        content: Content::Text(text),
    })
}

/// The address by which a machine reached us is the one it can reach again: what it calls us, or
/// where its packets came in.
fn address_of_us(host: Option<&str>, local: Option<SocketAddr>) -> Result<Ipv4Addr, Refusal> {
    let name = host.unwrap_or_default().split(':').next();
    let called = name.and_then(|it| it.parse().ok());
    let arrived = || match local?.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    called.or_else(arrived).ok_or_else(|| {
        let why = format!(
            "Host {:?}: expected an IPv4 address",
            host.unwrap_or_default()
        );
        Refusal(Status::BadRequest, why)
    })
}

/// Opens a blob that has been checked.
async fn open(http: &Http, digest: Digest) -> Result<Blob, Refusal> {
    let opened = match http.blobs.get_known(digest) {
        Ok(None) => hash(http, digest).await?,
        Ok(Some(blob)) => Ok(blob),
        Err(problem) => Err(problem),
    };
    opened.map_err(|problem| {
        http.counters.blobs_refused.add(1);
        error!("blob not served: {problem}");
        let missing = matches!(problem, BlobError::Missing { .. });
        let status = if missing {
            Status::NotFound
        } else {
            Status::InternalServerError
        };
        Refusal(status, problem.to_string())
    })
}

/// Opens a blob and hashes it, unless somebody else has done so meanwhile.
async fn hash(http: &Http, digest: Digest) -> Result<Result<Blob, BlobError>, Refusal> {
    let turn = http.turns.of(digest);
    let held = turn.lock().await;
    let store = http.blobs.clone();
    let opened = spawn_blocking(move || store.get(digest)).await;
    drop(held);
    drop(turn);
    http.turns.tidy();
    opened.map_err(|problem| Refusal(Status::InternalServerError, problem.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_address_is_what_we_are_called_or_where_it_came_in() {
        let local = "10.0.0.1:4080".parse().ok();
        let address = |host, local| address_of_us(host, local).ok();
        let expected = Some(Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(
            address(Some("10.0.0.2:80"), local),
            Some(Ipv4Addr::new(10, 0, 0, 2))
        );
        assert_eq!(address(Some("master"), local), expected);
        assert_eq!(address(None, local), expected);
        assert_eq!(address(Some("master"), None), None);
    }
}
