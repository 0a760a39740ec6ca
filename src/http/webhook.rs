//! `POST /report/{mac}`: the installer's webhook events.
//!
//! subiquity posts synchronously, hundreds of events an installation, and never again what failed.
//! So each is answered at once with 204, a milestone once it is on record. One that is not within
//! two seconds is answered with 503, and put on record all the same as soon as that is possible.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use tracing::{debug, warn};

use super::identity::{Claim, sender};
use super::{ApiError, App, body};
use crate::device::event_text::Shortened;
use crate::device::installer::Event;
use crate::device::mac::{MacSource, claimed};
use crate::excerpt::one_line;
use crate::net::Connection;

/// Largest event, in bytes. Events with files in them are large; in memory is only what
/// [`Shortened`] keeps of them.
const EVENT_BYTES: usize = 16 * 1024 * 1024;

/// Longest part of an event that is logged, in characters: all of most events.
const LOGGED_CHARS: usize = 4096;

/// Takes any body: an event that is not understood is ignored.
pub async fn receive(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    mac: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let claim = Claim(claimed(&mac?)?, MacSource::Path);
    let mut text = Shortened::default();
    body::read_parts(body, EVENT_BYTES, |part| {
        text.add(part);
        Ok(())
    })
    .await?;
    let sender = sender(&app, connection, claim).await?;
    debug!(gb10.mac = %sender.mac, gb10.ip = %sender.ip, event = %logged(text.text()), "installer");
    let (mac, ip) = (sender.mac, sender.ip);
    let event = Event::from_json(text.text());
    let taken = app.recorder.installer_event(sender, &event).await;
    taken.map_err(|reason| {
        ApiError::not_recorded(reason, |status, reason| {
            warn!(
                gb10.mac = %mac,
                gb10.ip = %ip,
                gb10.status = status,
                reason,
                "an installer's event of {mac} at {ip} is not on record, {status}: {reason}"
            );
        })
    })?;
    Ok(StatusCode::NO_CONTENT)
}

/// An event as it is logged. It is the installer's text, or anybody's.
fn logged(body: &[u8]) -> String {
    one_line(&String::from_utf8_lossy(body), LOGGED_CHARS)
}
