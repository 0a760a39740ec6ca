//! Files that are served from a folder, many GB among them: `GET /onboard/{path}`, and what boxes
//! boot, `GET /images/{path}`, `/bootaa64.efi` and `/grubaa64.efi`.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path as FilePath;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use http_serve::{BoxError, Entity};
use rustix::io::ReadWriteFlags;
use tokio::task::block_in_place;
use tracing::{info, warn};

use super::held::Held;
use super::{ApiError, App};
use crate::embedded::onboarding_file;
use crate::excerpt::shown;
use crate::files::stamp::FileStamp;
use crate::images;
use crate::net::Connection;
use crate::onboard::{self, Folder, Unreachable};

/// Read at a time, in bytes: large enough that few system calls are made, small enough for the
/// processor's cache and for many downloads at once.
const CHUNK: usize = 128 * 1024;

/// A folder from which files are served.
struct Shelf<'a> {
    folder: &'a FilePath,
    /// What the journal calls a file of it.
    what: &'static str,
    /// Whether a plain path may be that of a file to serve.
    has: fn(&str) -> bool,
    /// The built-in file of a path for which nothing is staged.
    embedded: fn(&str) -> Option<&'static str>,
}

/// `GET /onboard/{path}`.
pub async fn onboarding(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Path(path) = path?;
    let shelf = Shelf {
        folder: &app.onboard,
        what: "onboarding file",
        has: |_| true,
        embedded: onboarding_file,
    };
    serve(&app, connection, &shelf, &path, request)
}

/// `GET /images/{path}`: what GRUB loads, and the ISO that the installer fetches.
pub async fn image(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Path(path) = path?;
    let path = format!("images/{path}");
    serve(&app, connection, &boot_shelf(&app), &path, request)
}

/// `GET /bootaa64.efi` and `/grubaa64.efi`: what firmware loads by UEFI HTTP Boot.
pub async fn loader(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    request: Request,
) -> Result<Response, ApiError> {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    serve(&app, connection, &boot_shelf(&app), &path, request)
}

fn boot_shelf(app: &App) -> Shelf<'_> {
    Shelf {
        folder: &app.boot,
        what: "boot file",
        has: images::is_served,
        embedded: |_| None,
    }
}

/// Serves a staged file, or the part of it that the request asks for.
fn serve(
    app: &App,
    connection: Connection,
    shelf: &Shelf<'_>,
    path: &str,
    mut request: Request,
) -> Result<Response, ApiError> {
    // Before the file is opened, so that open files are bounded too.
    let place = app.admission.download().ok_or(ApiError::TooManyDownloads)?;
    let what = shelf.what;
    let staged = block_in_place(|| ServedFile::open(shelf, path));
    let file = staged.or_else(|error| match error {
        Unreachable::Missing | Unreachable::NotRegular => {
            ServedFile::embedded(shelf, path).ok_or(ApiError::NoSuchFile)
        }
        // A device learns only that there is no such file, or that it cannot be read now; the
        // operator learns why.
        error => {
            let ip = connection.ip();
            let answer = match error {
                Unreachable::Io(_) => ApiError::Unreadable,
                _ => ApiError::NotServed,
            };
            let (path, status) = (shown(path), answer.status().as_u16());
            warn!(gb10.ip = %ip, file = &*path, gb10.status = status, reason = %error, "{what} not served: {path} to {ip}, {status}: {error}");
            Err(answer)
        }
    })?;
    if let Some(range) = request.headers_mut().remove(header::RANGE)
        && request.method() == Method::GET
    {
        let range = plain_range(&range, file.length).unwrap_or(range);
        request.headers_mut().insert(header::RANGE, range);
    }
    if_range_date(request.headers_mut(), file.last_modified());
    for condition in [header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE] {
        let date = request
            .headers()
            .get(&condition)
            .and_then(|date| date.to_str().ok());
        // RFC 9110, 13.1.3: what is no date is ignored.
        if date.is_none_or(|date| httpdate::parse_http_date(date).is_err()) {
            request.headers_mut().remove(condition);
        }
    }
    let response = http_serve::serve(file, &request).map(|body| Held::body(Body::new(body), place));
    let (ip, status) = (connection.ip(), response.status().as_u16());
    let path = shown(path);
    info!(gb10.ip = %ip, file = &*path, gb10.status = status, "{what} served: {path} to {ip}, {status}");
    let error = match response.status() {
        StatusCode::PRECONDITION_FAILED => ApiError::PreconditionFailed,
        StatusCode::RANGE_NOT_SATISFIABLE => ApiError::RangeNotSatisfiable,
        status if status.is_client_error() => ApiError::Condition,
        _ => return Ok(response),
    };
    let mut problem = error.into_response();
    if let Some(length) = response.headers().get(header::CONTENT_RANGE) {
        let length = length.clone();
        problem.headers_mut().insert(header::CONTENT_RANGE, length);
    }
    Ok(problem)
}

/// Decides an `If-Range` that is a date, which [`http_serve`] takes for another version always: the
/// part is served where the date is exactly that of the file, else the whole (RFC 9110, 13.1.5).
fn if_range_date(headers: &mut HeaderMap, modified: Option<SystemTime>) {
    let date = headers
        .get(header::IF_RANGE)
        .and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    if let Some(date) = date {
        headers.remove(header::IF_RANGE);
        if modified != Some(date) {
            headers.remove(header::RANGE);
        }
    }
}

/// `Range` with each part by its first byte, which is all that [`http_serve`] resolves rightly:
/// a suffix longer than the file is the whole file, one of nothing is unsatisfiable, and a last
/// byte may lie anywhere behind the end (RFC 9110, 14.1.2). None where it is no range of bytes.
fn plain_range(range: &HeaderValue, length: u64) -> Option<HeaderValue> {
    let parts = range.to_str().ok()?.strip_prefix("bytes=")?.split(',');
    let parts = parts.map(|part| {
        let (first, last) = part.trim().split_once('-')?;
        Some(match (first, last.parse::<u64>()) {
            ("", Ok(0)) => format!("{length}-"),
            ("", Ok(suffix)) => format!("{}-", length.saturating_sub(suffix)),
            (first, Ok(last)) if last < length => format!("{first}-{last}"),
            (first, Ok(_)) => format!("{first}-"),
            (first, Err(_)) => format!("{first}-{last}"),
        })
    });
    let parts = parts.collect::<Option<Vec<_>>>()?.join(",");
    HeaderValue::try_from(format!("bytes={parts}")).ok()
}

/// A file that is served.
struct ServedFile {
    content: Content,
    length: u64,
    /// What tells this version of the file from others.
    version: String,
    /// In seconds since 1970.
    modified: Option<i64>,
    content_type: HeaderValue,
}

#[derive(Clone)]
enum Content {
    /// An open file below its folder, and its stamp when it was opened.
    Staged(Arc<File>, FileStamp),
    /// One that is compiled in.
    Embedded(&'static [u8]),
}

impl ServedFile {
    /// The staged file of that path.
    fn open(shelf: &Shelf<'_>, path: &str) -> Result<Self, Unreachable> {
        // Whoever tries to get out is to be seen, also where there is no folder yet.
        onboard::plain(path)?;
        if !(shelf.has)(path) {
            return Err(Unreachable::Missing);
        }
        let file = Folder::open(shelf.folder)?.open_file(path)?;
        let stat = rustix::fs::fstat(&file).map_err(io::Error::from)?;
        let stamp = FileStamp::of(&stat);
        Ok(Self {
            content: Content::Staged(Arc::new(file), stamp),
            length: stat.st_size.unsigned_abs(),
            version: stamp.to_string(),
            modified: Some(stat.st_mtime),
            content_type: content_type(FilePath::new(path)),
        })
    }

    /// The default of that path, for which nothing is staged.
    fn embedded(shelf: &Shelf<'_>, path: &str) -> Option<Self> {
        let bytes = (shelf.embedded)(path)?.as_bytes();
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        Some(Self {
            content: Content::Embedded(bytes),
            length: bytes.len() as u64,
            version: format!("{}-{:x}", env!("CARGO_PKG_VERSION"), hasher.finish()),
            modified: None,
            content_type: content_type(FilePath::new(path)),
        })
    }
}

/// Reads what the page cache has, and how much that is. Only a wait for the disk is worth handing
/// this thread's other connections to another thread.
fn read_cached(file: &File, chunk: &mut [u8], at: u64) -> usize {
    let mut parts = [io::IoSliceMut::new(chunk)];
    rustix::io::preadv2(file, &mut parts, at, ReadWriteFlags::NOWAIT).unwrap_or(0)
}

/// The stamp of the file now, if it is still the version of that stamp. One that lost its name to
/// another file is: that changes its ctime, and nothing of what it holds.
fn same_version(file: &File, stamp: FileStamp) -> Result<FileStamp, BoxError> {
    let stat = rustix::fs::fstat(file).map_err(io::Error::from)?;
    let now = FileStamp::of(&stat);
    match now == stamp || stat.st_nlink == 0 && now.has_content_of(&stamp) {
        true => Ok(now),
        false => Err("the file was changed during its download".into()),
    }
}

fn content_type(path: &FilePath) -> HeaderValue {
    let by_extension = match path.extension().and_then(|extension| extension.to_str()) {
        // By which firmware knows what it has to do with it.
        Some("efi") => Some("application/efi"),
        Some("service" | "socket" | "timer" | "conf") => Some("text/plain"),
        _ => mime_guess::from_path(path).first_raw(),
    };
    HeaderValue::from_static(by_extension.unwrap_or("application/octet-stream"))
}

/// The file as [`http_serve`] sees it, which knows ranges and conditions (RFC 9110, 13 and 14).
impl Entity for ServedFile {
    type Error = BoxError;
    type Data = Bytes;

    fn len(&self) -> u64 {
        self.length
    }

    fn get_range(
        &self,
        range: Range<u64>,
    ) -> Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send + Sync>> {
        let (file, stamp) = match self.content.clone() {
            Content::Staged(file, stamp) => (file, stamp),
            Content::Embedded(bytes) => {
                let bytes = &bytes[range.start as usize..range.end as usize];
                return Box::pin(futures_util::stream::iter([Ok(Bytes::from_static(bytes))]));
            }
        };
        let start = (range, stamp);
        Box::pin(futures_util::stream::try_unfold(
            start,
            move |(left, stamp)| {
                let file = Arc::clone(&file);
                async move {
                    let length = left.end.saturating_sub(left.start).min(CHUNK as u64) as usize;
                    if length == 0 {
                        return Ok(None);
                    }
                    let mut chunk = vec![0; length];
                    // A file that became shorter ends the connection, so that the device sees a break.
                    let cached = read_cached(&file, &mut chunk, left.start);
                    if cached < length {
                        let (rest, at) = (&mut chunk[cached..], left.start + cached as u64);
                        block_in_place(|| file.read_exact_at(rest, at))?;
                    }
                    // After the reading, so that all that was read is of one version.
                    let stamp = same_version(&file, stamp)?;
                    let left = left.start + length as u64..left.end;
                    Ok(Some((Bytes::from(chunk), (left, stamp))))
                }
            },
        ))
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
    }

    fn etag(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(format!("\"{}\"", self.version)).ok()
    }

    fn last_modified(&self) -> Option<SystemTime> {
        // HTTP dates reach from 1970 to 9999 only.
        const YEAR_10000: u64 = 253_402_300_800;
        let seconds = u64::try_from(self.modified?)
            .ok()
            .filter(|seconds| *seconds < YEAR_10000)?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    }
}
