//! The one place that turns errors into answers: `application/problem+json`, RFC 9457.
//!
//! An answer says what came and what was expected. Reasons that name files, templates or system
//! calls are for the journal.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::error;

use crate::device::heartbeat::HeartbeatError;
use crate::device::mac::{MacAddr, MacError};
use crate::store::StoreError;

/// When a device shall try again after a 503. Short: the next round may take the report.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

/// Rides along with an answer, for the one place that logs refused requests.
#[derive(Clone)]
pub struct Refusal(pub String);

/// Everything that a request can fail with.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// What the path or the query has for a MAC is not one.
    #[error("{0}")]
    Mac(#[from] MacError),
    /// The path is not UTF-8 after decoding.
    #[error("the path cannot be decoded: expected percent-encoded UTF-8")]
    Path(#[from] PathRejection),
    /// Nothing is served here.
    #[error(
        "no such route: expected one of /, /board/…, /boot/…, /cloud-init/…, /onboard/…, /images/…, /bootaa64.efi, /grubaa64.efi, /heartbeat, /report/…, /logs/…, /clients, /metrics, /healthz"
    )]
    NotFound,
    /// No such file is staged.
    #[error("no such file")]
    NoSuchFile,
    /// The file is there and cannot be served; the journal has the reason.
    #[error("no such file")]
    NotServed,
    /// User-data is asked for while the gate lets nobody have it.
    #[error("this user-data is not served now: the gate has to let the box install first")]
    Withheld,
    /// A browser asks on behalf of a page that is not this server's.
    #[error("Origin: {0} is not this server: expected no page of another server to ask here")]
    ForeignOrigin(String),
    /// A browser was led here by a name that is not this host's.
    #[error(
        "Host: {0} is not this host: expected its address, localhost, its name or one in SERVER_NAMES"
    )]
    ForeignHost(String),
    /// A staged file cannot be read now: nobody knows what is in it, or whether it is there.
    #[error("a file that this answer needs cannot be read now: try again")]
    Unreadable,
    /// `If-Match` or `If-Unmodified-Since` asks for another version of the file.
    #[error("the file is not the version that the request asks for")]
    PreconditionFailed,
    /// No part that `Range` asks for is in the file.
    #[error("Range asks for nothing that is in the file: see Content-Range for its length")]
    RangeNotSatisfiable,
    /// A condition is neither an entity tag nor a date.
    #[error("a condition of the request cannot be read: expected an ETag or an HTTP date")]
    Condition,
    /// Downloads, or what one address reads of all records, have all the places that they may.
    #[error("too many downloads are under way: try again")]
    TooManyDownloads,
    /// A box sends logs, and no installation of it is known that they could tell of.
    #[error("no installation of {0} is on record as under way or failed: its logs are not kept")]
    NotInstalling(MacAddr),
    /// A box sends the logs of another one.
    #[error(
        "ARP has {0} at this address: expected the logs of that box; devices.json can tell that both MACs are ports of one"
    )]
    LogOfAnother(MacAddr),
    /// The logs of as many boxes as may be are on their way, or others of the same box.
    #[error("too many logs are on their way: try again")]
    TooManyLogs,
    /// What was sent as logs is something else.
    #[error("the body is no gzip: expected a tar.gz of the installer's logs")]
    NotGzip,
    /// There is no space for logs, or what there is is for the records.
    #[error("there is no space for logs")]
    NoSpaceForLogs,
    /// The board is followed by as many as may.
    #[error("as many pages follow the board as may: try again, or read it without")]
    TooManyViewers,
    /// The device was never heard of.
    #[error("no device with that MAC is on record")]
    NoSuchClient,
    /// The path is served, but not by this method.
    #[error("this method is not allowed here: see the Allow header")]
    MethodNotAllowed,
    /// The body of a heartbeat is wrong.
    #[error("{0}")]
    Heartbeat(#[from] HeartbeatError),
    /// A heartbeat without a MAC came from an address that is not in the neighbour table.
    #[error("mac: missing, and {0} is not in the neighbour table: expected the device's MAC")]
    NoMac(IpAddr),
    /// The body is over the limit, in bytes.
    #[error("the body is too large: at most {0} bytes are accepted")]
    BodyTooLarge(usize),
    /// The body broke off.
    #[error("the body broke off")]
    BodyBroken,
    /// The body did not arrive in time.
    #[error("the body did not arrive within {} s", .0.as_secs())]
    BodyTooSlow(Duration),
    /// The state could not be read or written.
    #[error("{}", match .0 {
        StoreError::TooManyUnconfirmed(_) => "too many devices that neither ARP nor devices.json knows were reported from this address",
        StoreError::TooManyClients(_) => "too many devices are on record: no new one is added",
        StoreError::Busy(_) | StoreError::TooManyWaiting(_) => "the state is locked or busy: try again",
        _ => "the state cannot be read or written now: try again",
    })]
    Store(#[from] StoreError),
    /// The answer did not begin in time. A heartbeat may be on record or not, so this is no 503.
    #[error("the answer took too long: a heartbeat may be on record or not")]
    TookTooLong,
    /// A defect or a broken disk; the journal has the reason.
    #[error("an internal error: the journal of the service has the reason")]
    Internal,
}

impl ApiError {
    /// An internal error whose reason goes to the journal.
    pub fn internal(doing: &'static str, reason: impl std::fmt::Display) -> Self {
        error!(%reason, doing, "{doing} failed: {reason}");
        Self::Internal
    }

    /// The answer to a report that is not on record. It is logged by `tell`, which gets the status
    /// and the reason, since it knows more of the report.
    pub fn not_recorded(reason: StoreError, tell: impl FnOnce(u16, &str)) -> Self {
        let text = reason.to_string();
        let error = Self::Store(reason);
        tell(error.status().as_u16(), &text);
        error
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Mac(_) | Self::Path(_) | Self::Condition | Self::BodyBroken => {
                StatusCode::BAD_REQUEST
            }
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::RangeNotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Heartbeat(HeartbeatError::NotJson(_)) => StatusCode::BAD_REQUEST,
            Self::Heartbeat(HeartbeatError::NotAnObject(_) | HeartbeatError::Field { .. })
            | Self::NoMac(_)
            | Self::NotGzip => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NotInstalling(_) => StatusCode::CONFLICT,
            Self::NotFound | Self::NoSuchFile | Self::NotServed | Self::NoSuchClient => {
                StatusCode::NOT_FOUND
            }
            Self::ForeignOrigin(_)
            | Self::ForeignHost(_)
            | Self::Withheld
            | Self::LogOfAnother(_) => StatusCode::FORBIDDEN,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Store(StoreError::TooManyClients(_) | StoreError::TooManyUnconfirmed(_))
            | Self::NoSpaceForLogs => StatusCode::INSUFFICIENT_STORAGE,
            Self::Store(_)
            | Self::Unreadable
            | Self::TooManyDownloads
            | Self::TooManyLogs
            | Self::TooManyViewers => StatusCode::SERVICE_UNAVAILABLE,
            Self::TookTooLong => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What the journal shall say of the answer; nothing where the error was logged as it arose,
    /// with more to say.
    fn reason_to_log(&self) -> Option<Refusal> {
        match self {
            Self::Store(_)
            | Self::Internal
            | Self::NotServed
            | Self::Unreadable
            | Self::NoSpaceForLogs
            | Self::Withheld => None,
            Self::PreconditionFailed | Self::RangeNotSatisfiable | Self::Condition => None,
            error => Some(Refusal(error.to_string())),
        }
    }

    fn field(&self) -> (Option<&'static str>, &'static [&'static str]) {
        match self {
            Self::Heartbeat(HeartbeatError::Field { field, allowed, .. }) => (Some(field), allowed),
            Self::NoMac(_) => (Some("mac"), &[]),
            _ => (None, &[]),
        }
    }
}

/// RFC 9457, 3.1; `field` and `allowed` are extension members (3.2).
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    allowed: &'static [&'static str],
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let (field, allowed) = self.field();
        let problem = Problem {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: self.to_string(),
            field,
            allowed,
        };
        let body = serde_json::to_string(&problem).unwrap_or_default();
        let mut response = (
            status,
            [(header::CONTENT_TYPE, "application/problem+json")],
            body,
        )
            .into_response();
        if let Some(reason) = self.reason_to_log() {
            response.extensions_mut().insert(reason);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}
