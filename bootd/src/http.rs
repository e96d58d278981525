//! HTTP: manifests, blobs, the parts of boot images that iPXE wants, and its scripts.
//!
//! | path | what |
//! |---|---|
//! | `/manifest/<sha256>` | a manifest in force |
//! | `/blob/<sha256>` | a blob, checked; ranges (RFC 9110, section 14) |
//! | `/boot/<sha256>.efi` | a boot image, for UEFI HTTP boot; ranges |
//! | `/boot/<sha256>/linux`, `/initrd` | a section of a boot image; ranges |
//! | `/ipxe?mac=…` | the script for a machine |

use std::io::SeekFrom;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bootd_protocol::boot_choice::script::Script;
use bootd_protocol::digest::Digest;
use bootd_protocol::uki::Section;
use catalog::blobs::{BlobError, BlobStore};
use futures_util::TryStreamExt as _;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;
use tracing::{error, info};

use crate::boot_files::BootFiles;
use crate::chain::chain;
use crate::counters::Counters;
use crate::desired::Desired;
use crate::locations::Locations;
use crate::presence::Presence;
use crate::range::{Range, choose};
use crate::wishes::Wisher;

/// Bytes read from a file at once.
const CHUNK: usize = 256 * 1024;

/// What the handlers work with.
#[derive(Clone)]
pub struct Http {
    /// The catalog in force.
    pub desired: Desired,
    /// The blobs.
    pub blobs: BlobStore,
    /// Boot images and scripts.
    pub boot_files: BootFiles,
    /// Where it is told who fetches a boot image.
    pub presence: Presence,
    /// Where machines were when DHCP heard of them.
    pub locations: Locations,
    /// Its numbers.
    pub counters: Arc<Counters>,
    /// Its port, for scripts.
    pub port: u16,
}

/// The routes.
pub fn router(http: Http) -> Router {
    Router::new()
        .route("/manifest/{digest}", get(manifest))
        .route("/blob/{digest}", get(blob))
        .route("/boot/{file}", get(boot_image))
        .route("/boot/{digest}/{part}", get(boot_part))
        .route("/ipxe", get(ipxe))
        .with_state(http)
}

/// An answer other than what was asked for; the text says what to do.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1 + "\n").into_response()
    }
}

fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    text.parse()
        .map_err(|error| Refusal(StatusCode::BAD_REQUEST, format!("{error}")))
}

async fn manifest(
    State(http): State<Http>,
    Path(digest): Path<String>,
) -> Result<Response, Refusal> {
    http.counters.http_requests.add(1);
    let digest = parse_digest(&digest)?;
    let view = http.desired.view();
    let Some(encoded) = view.served.manifest(digest) else {
        return Err(Refusal(
            StatusCode::NOT_FOUND,
            format!("manifest {digest} is not in force"),
        ));
    };
    let bytes = encoded.bytes.clone();
    http.counters
        .http_bytes
        .add(u64::try_from(bytes.len()).unwrap_or(0));
    Ok(([(header::CONTENT_TYPE, "application/json")], bytes).into_response())
}

async fn blob(
    State(http): State<Http>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    http.counters.http_requests.add(1);
    let digest = parse_digest(&digest)?;
    let (file, size) = http.open(digest).await?;
    http.send(
        file,
        Part {
            digest,
            start: 0,
            len: size,
            watcher: None,
        },
        &headers,
    )
    .await
}

async fn boot_image(
    State(http): State<Http>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    http.counters.http_requests.add(1);
    let digest = parse_digest(file.strip_suffix(".efi").unwrap_or(&file))?;
    let (file, size) = http.open(digest).await?;
    let part = Part {
        digest,
        start: 0,
        len: size,
        watcher: Some(from),
    };
    http.send(file, part, &headers).await
}

async fn boot_part(
    State(http): State<Http>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Path((digest, part)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    http.counters.http_requests.add(1);
    let digest = parse_digest(&digest)?;
    let (file, _) = http.open(digest).await?;
    let parts = http.boot_files.parts(digest);
    let parts =
        parts.map_err(|error| Refusal(StatusCode::NOT_FOUND, format!("{digest}: {error}")))?;
    let Section { offset, size, .. } = match part.as_str() {
        "linux" => parts.linux,
        "initrd" => parts.initrd,
        _ => {
            return Err(Refusal(
                StatusCode::NOT_FOUND,
                format!("{part}: expected linux or initrd"),
            ));
        }
    };
    let part = Part {
        digest,
        start: offset,
        len: size,
        watcher: Some(from),
    };
    http.send(file, part, &headers).await
}

async fn ipxe(
    State(http): State<Http>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    uri: Uri,
) -> Result<String, Refusal> {
    http.counters.http_requests.add(1);
    // The address by which the machine reached us is the one it can reach again.
    let host = headers
        .get(header::HOST)
        .and_then(|it| it.to_str().ok())
        .unwrap_or_default();
    let address = host.split(':').next().unwrap_or_default();
    let master = address.parse().map_err(|_| {
        Refusal(
            StatusCode::BAD_REQUEST,
            format!("Host {host:?}: expected an IPv4 address"),
        )
    })?;
    let request = uri.path_and_query().map_or("/ipxe", |it| it.as_str());
    let script = Script {
        master,
        http_port: http.port,
        request,
        reason: "",
    };
    let view = http.desired.view();
    let wisher = Wisher {
        view: &view,
        presence: &http.presence,
        locations: &http.locations,
    };
    let text = http
        .boot_files
        .script(&wisher, query.as_deref().unwrap_or_default(), script);
    let text = text.map_err(|why| Refusal(StatusCode::BAD_REQUEST, why))?;
    info!(%from, "iPXE script sent");
    http.counters
        .http_bytes
        .add(u64::try_from(text.len()).unwrap_or(0));
    Ok(text)
}

/// The bytes of a file that are a resource.
struct Part {
    digest: Digest,
    start: u64,
    len: u64,
    /// Who watches it come: a machine that loads its boot image.
    watcher: Option<SocketAddr>,
}

impl Http {
    /// Opens a blob that has been checked.
    async fn open(&self, digest: Digest) -> Result<(File, u64), Refusal> {
        let store = self.blobs.clone();
        let opened = tokio::task::spawn_blocking(move || store.get(digest)).await;
        match opened {
            Ok(Ok(blob)) => Ok((File::from_std(blob.file), blob.size)),
            Ok(Err(problem)) => {
                self.counters.blobs_refused.add(1);
                error!("blob not served: {}", chain(&problem));
                let missing = matches!(problem, BlobError::Missing { .. });
                let status = if missing {
                    StatusCode::NOT_FOUND
                } else {
                    StatusCode::INTERNAL_SERVER_ERROR
                };
                Err(Refusal(status, problem.to_string()))
            }
            Err(problem) => Err(Refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                problem.to_string(),
            )),
        }
    }

    /// Sends a part, or a range of it.
    async fn send(
        &self,
        mut file: File,
        part: Part,
        headers: &HeaderMap,
    ) -> Result<Response, Refusal> {
        let asked = headers.get(header::RANGE).and_then(|it| it.to_str().ok());
        let range = choose(asked, part.len);
        let (status, start, len) = match range {
            Range::Whole => (StatusCode::OK, 0, part.len),
            Range::Part { start, len } => (StatusCode::PARTIAL_CONTENT, start, len),
            Range::Unsatisfiable => {
                let head = [(header::CONTENT_RANGE, format!("bytes */{}", part.len))];
                return Ok((StatusCode::RANGE_NOT_SATISFIABLE, head).into_response());
            }
        };
        let sought = file.seek(SeekFrom::Start(part.start + start)).await;
        sought.map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        let mut response = Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, len)
            .header(header::ACCEPT_RANGES, "bytes")
            .header(header::ETAG, format!("\"{}\"", part.digest));
        if status == StatusCode::PARTIAL_CONTENT {
            let end = start + len - 1;
            response = response.header(
                header::CONTENT_RANGE,
                format!("bytes {start}-{end}/{}", part.len),
            );
        }
        response
            .body(self.stream(file, len, &part))
            .map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    }

    /// The file's next `len` bytes, counted as they leave.
    fn stream(&self, file: File, len: u64, part: &Part) -> Body {
        let counters = Arc::clone(&self.counters);
        let watcher = part.watcher.map(|from| (from, self.presence.clone()));
        let (mut sent, total) = (0, part.len);
        let chunks = ReaderStream::with_capacity(file.take(len), CHUNK);
        Body::from_stream(chunks.inspect_ok(move |chunk| {
            let len = u64::try_from(chunk.len()).unwrap_or(0);
            counters.http_bytes.add(len);
            sent += len;
            if let Some((SocketAddr::V4(from), presence)) = &watcher {
                presence.saw_boot_image(*from.ip(), sent, total);
            }
        }))
    }
}
