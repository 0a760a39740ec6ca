//! `GET /healthz`: can this host provision?

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use tracing::warn;

use super::App;
use crate::message_id;

/// The answer: 200 with `"status": "ok"` or `"degraded"` (a staged template has a fault, so the
/// fallback is served), 503 with `"failing"` (heartbeats cannot be recorded).
#[derive(Serialize)]
pub struct Health {
    status: &'static str,
    version: &'static str,
    state_writable: bool,
    template_renders: bool,
    clients: usize,
    peers_refused: u64,
}

/// Tries the state folder with a real write, and looks at the templates as they are now.
pub async fn check(State(app): State<Arc<App>>) -> (StatusCode, Json<Health>) {
    let writable = tokio::task::block_in_place(|| app.store.probe());
    if let Err(reason) = &writable {
        warn!(message_id = message_id::STATE_NOT_WRITABLE, %reason, "the state is not writable: {reason}");
    }
    let template_renders = app.templates.faults().is_empty();
    let (code, status) = match (&writable, template_renders) {
        (Err(_), _) => (StatusCode::SERVICE_UNAVAILABLE, "failing"),
        (Ok(()), false) => (StatusCode::OK, "degraded"),
        (Ok(()), true) => (StatusCode::OK, "ok"),
    };
    let health = Health {
        status,
        version: env!("CARGO_PKG_VERSION"),
        state_writable: writable.is_ok(),
        template_renders,
        clients: app.store.latest().len(),
        peers_refused: app.gate.refused(),
    };
    (code, Json(health))
}
