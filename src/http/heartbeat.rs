//! `POST /heartbeat`: a device says how far it is.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use tracing::warn;

use super::identity::{Claim, sender};
use super::{ApiError, App, body};
use crate::device::heartbeat::{Heartbeat, Report};
use crate::device::mac::MacSource;
use crate::device::stage::{Phase, Stage};
use crate::net::Connection;

/// Largest body of a heartbeat, in bytes.
const BODY_BYTES: usize = 64 * 1024;

/// Answers with the device's updated record, once that is on the disk.
pub async fn receive(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    body: Body,
) -> Result<Response, ApiError> {
    let body = body::read(body, BODY_BYTES).await?;
    let at = Timestamp::now();
    let Heartbeat {
        mac,
        stage,
        phase,
        detail,
        checked,
    } = Heartbeat::from_json(&body)?;
    let sender = sender(&app, connection, Claim(mac, MacSource::Body)).await?;
    let (mac, ip) = (sender.mac, sender.ip);
    let report = Report {
        sender,
        at,
        stage,
        phase,
        detail,
        checked,
        is_addition: (stage, phase) == (Stage::Install, Phase::Fail),
    };
    let recorded = app.recorder.heartbeat(report).await;
    let record = recorded.map_err(|reason| {
        ApiError::not_recorded(reason, |status, reason| {
            warn!(
                gb10.mac = %mac,
                gb10.ip = %ip,
                gb10.stage = %stage,
                gb10.phase = %phase,
                gb10.status = status,
                reason,
                "heartbeat refused: {mac} at {ip}, {stage} {phase}, {status}: {reason}"
            );
        })
    })?;
    app.metrics.heartbeat(stage, phase);
    Ok(([(header::CONTENT_TYPE, "application/json")], record).into_response())
}
