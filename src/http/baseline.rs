//! `GET /onboard/baseline.json`: the versions that boxes may have, by which they judge themselves.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tracing::{info, warn};

use super::{ApiError, App};
use crate::files::layout::BASELINE_FILE;
use crate::net::Connection;

/// Answers with the last good version of the file. Where there never was one, though there is a file,
/// the box has to try again: without a baseline it would pass.
pub async fn baseline(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
) -> Result<Response, ApiError> {
    let ip = connection.ip();
    let baseline = app.site_files.baseline_for_boxes().map_err(|fault| {
        warn!(gb10.ip = %ip, file = BASELINE_FILE, gb10.status = 503, reason = %fault, "onboarding file not served: {BASELINE_FILE} to {ip}, 503: {fault}");
        ApiError::Unreadable
    })?;
    let text = baseline.text().ok_or(ApiError::NoSuchFile)?;
    info!(gb10.ip = %ip, file = BASELINE_FILE, gb10.status = 200, "onboarding file served: {BASELINE_FILE} to {ip}, 200");
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}
