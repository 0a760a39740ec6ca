//! `GET /healthz`: can this host provision?

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::App;

/// The answer: 200 with `"status": "ok"` or `"degraded"` (a staged template has a fault, so the
/// fallback is served), 503 with `"failing"` (heartbeats cannot be recorded).
#[derive(Serialize)]
pub struct Health {
    status: &'static str,
    version: &'static str,
    state_writable: bool,
    /// Why reports are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    template_renders: bool,
    clients: usize,
    ready: usize,
    on_their_way: usize,
    failed: usize,
    stalled: usize,
    peers_refused: u64,
    connections_over_limit: u64,
}

/// Finds out whether the next report would go on record, and looks at the templates as they are.
pub async fn check(State(app): State<Arc<App>>) -> (StatusCode, Json<Health>) {
    let writable = app.store.health(Duration::ZERO).await;
    let template_renders = app.templates.faults().is_empty();
    let (code, status) = match (&writable, template_renders) {
        (Err(_), _) => (StatusCode::SERVICE_UNAVAILABLE, "failing"),
        (Ok(()), false) => (StatusCode::OK, "degraded"),
        (Ok(()), true) => (StatusCode::OK, "ok"),
    };
    let totals = app.store.latest().totals();
    let health = Health {
        status,
        version: env!("CARGO_PKG_VERSION"),
        state_writable: writable.is_ok(),
        reason: writable.err().map(|reason| reason.to_string()),
        template_renders,
        clients: totals.known,
        ready: totals.ready,
        on_their_way: totals.on_their_way,
        failed: totals.failed,
        stalled: totals.stalled,
        peers_refused: app.admission.refused(),
        connections_over_limit: app.admission.excess(),
    };
    (code, Json(health))
}
