//! `PUT /logs/{mac}`: what a box has to tell of an installation that fails, packed. Nothing of it is
//! ever served.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use hyper::body::Body as _;
use tokio::task::block_in_place;
use tracing::{info, warn};

use super::identity::{Claim, sender};
use super::{ApiError, App, body};
use crate::device::heartbeat::Sender;
use crate::device::installer::may_send_logs;
use crate::device::mac::{MacSource, claimed};
use crate::logs::{FILE_BYTES, LogError, LogFile};
use crate::message_id;
use crate::net::Connection;

/// Takes the log of a box whose installation is under way or failed, and answers once it is on the
/// disk.
pub async fn receive(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    mac: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<(StatusCode, Json<LogFile>), ApiError> {
    let claim = Claim(claimed(&mac?)?, MacSource::Path);
    let sender = sender(&app, connection, claim).await?;
    // Another box's logs would give way to it.
    if let Some(arp_mac) = sender.arp_mac {
        return Err(ApiError::LogOfAnother(arp_mac));
    }
    let clients = app.store.clients().await?;
    if !clients.get(sender.mac).is_some_and(may_send_logs) {
        return Err(ApiError::NotInstalling(sender.mac));
    }
    if body.size_hint().lower() > FILE_BYTES as u64 {
        return Err(ApiError::BodyTooLarge(FILE_BYTES));
    }
    let log = take(&app, &sender, body).await?;
    let (Sender { mac, ip, .. }, status) = (&sender, StatusCode::CREATED);
    info!(
        message_id = message_id::INSTALL_LOG_KEPT,
        gb10.mac = %mac,
        gb10.ip = %ip,
        gb10.status = status.as_u16(),
        file = log.name,
        bytes = log.bytes,
        "the installer's log of {mac} at {ip} is in state/logs/{}",
        log.name
    );
    Ok((status, Json(log)))
}

/// Writes it to the disk as it comes.
async fn take(app: &App, sender: &Sender, body: Body) -> Result<LogFile, ApiError> {
    let refused = |reason| refused(sender, &reason);
    let mut upload = block_in_place(|| app.logs.begin(sender.mac)).map_err(refused)?;
    body::read_parts(body, FILE_BYTES, |part| {
        block_in_place(|| upload.write(part)).map_err(refused)
    })
    .await?;
    block_in_place(|| upload.keep()).map_err(refused)
}

/// The answer to a log that is not kept.
fn refused(sender: &Sender, reason: &LogError) -> ApiError {
    let error = match reason {
        LogError::Busy => return ApiError::TooManyLogs,
        LogError::NotGzip => return ApiError::NotGzip,
        LogError::NoSpace(_) => ApiError::NoSpaceForLogs,
        LogError::Failed(_) => ApiError::Internal,
    };
    let (Sender { mac, ip, .. }, status) = (sender, error.status().as_u16());
    warn!(
        gb10.mac = %mac,
        gb10.ip = %ip,
        gb10.status = status,
        %reason,
        "the installer's log of {mac} at {ip} is not kept, {status}: {reason}"
    );
    error
}
