//! `GET /onboard/{path}`: the onboarding files, many GB among them.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Component, Path as FilePath};
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use futures_util::Stream;
use http_serve::{BoxError, Entity};
use rustix::fs::OFlags;
use tokio::task::block_in_place;
use tracing::{info, warn};

use super::device::Connection;
use super::{ApiError, App};

/// Read at a time, in bytes: large enough that few system calls are made, small enough for the
/// processor's cache and for many downloads at once.
const CHUNK: usize = 256 * 1024;

/// Serves a staged file, or the part of it that the request asks for.
pub async fn file(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Path(path) = path?;
    let staged = block_in_place(|| StagedFile::open(&app.onboard, &path)).map_err(|error| {
        // A device learns only that there is no such file; the operator learns why.
        if error.kind() != io::ErrorKind::NotFound {
            warn!(gb10.ip = %connection.ip(), file = path, reason = %error, "an onboarding file is not served");
        }
        ApiError::NoSuchFile
    })?;
    let response = http_serve::serve(staged, &request).map(Body::new);
    info!(gb10.ip = %connection.ip(), file = path, gb10.status = response.status().as_u16(), "onboarding file served");
    Ok(response.into_response())
}

/// An open file below the onboarding folder.
struct StagedFile {
    file: Arc<File>,
    length: u64,
    inode: u64,
    modified: (i64, i64),
    content_type: HeaderValue,
}

impl StagedFile {
    /// Opens a regular file. Each step of the path is kept below `folder`, by the kernel where
    /// openat2(2) is allowed, so that neither `..` nor a symlink leads out.
    fn open(folder: &FilePath, path: &str) -> io::Result<Self> {
        let relative = FilePath::new(path);
        if !relative
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a plain relative path",
            ));
        }
        let folder = Dir::open_ambient_dir(folder, ambient_authority())?;
        let mut options = OpenOptions::new();
        // Without waiting for a writer, should somebody have staged a named pipe.
        options
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32);
        let file = folder.open_with(relative, &options)?.into_std();
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no regular file"));
        }
        Ok(Self {
            length: metadata.len(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            content_type: content_type(relative),
            file: Arc::new(file),
        })
    }
}

fn content_type(path: &FilePath) -> HeaderValue {
    let by_extension = match path.extension().and_then(|extension| extension.to_str()) {
        Some("service" | "socket" | "timer" | "conf") => Some("text/plain"),
        _ => mime_guess::from_path(path).first_raw(),
    };
    HeaderValue::from_static(by_extension.unwrap_or("application/octet-stream"))
}

/// The file as [`http_serve`] sees it, which knows ranges and conditions (RFC 9110, 13 and 14).
impl Entity for StagedFile {
    type Error = BoxError;
    type Data = Bytes;

    fn len(&self) -> u64 {
        self.length
    }

    fn get_range(
        &self,
        range: Range<u64>,
    ) -> Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send + Sync>> {
        let file = Arc::clone(&self.file);
        Box::pin(futures_util::stream::try_unfold(range, move |left| {
            let file = Arc::clone(&file);
            async move {
                let length = left.end.saturating_sub(left.start).min(CHUNK as u64) as usize;
                if length == 0 {
                    return Ok(None);
                }
                let mut chunk = vec![0; length];
                // A file that became shorter ends the connection, so that the device sees a break.
                block_in_place(|| file.read_exact_at(&mut chunk, left.start))?;
                Ok(Some((
                    Bytes::from(chunk),
                    left.start + length as u64..left.end,
                )))
            }
        }))
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
    }

    fn etag(&self) -> Option<HeaderValue> {
        let (seconds, nanoseconds) = self.modified;
        let tag = format!(
            "\"{:x}-{:x}-{seconds:x}.{nanoseconds:x}\"",
            self.inode, self.length
        );
        HeaderValue::try_from(tag).ok()
    }

    fn last_modified(&self) -> Option<SystemTime> {
        // HTTP dates reach from 1970 to 9999 only.
        const YEAR_10000: i64 = 253_402_300_800;
        let (seconds, _) = self.modified;
        let seconds = u64::try_from(seconds)
            .ok()
            .filter(|_| seconds < YEAR_10000)?;
        SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds))
    }
}
