//! `GET /metrics`: how things stand, for Prometheus and what reads its format.
//!
//! What happens is counted here as it happens. How the boxes stand is taken from their lines at each
//! scrape ([`view`]), as the board and the table take it, so that they never disagree.

mod view;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::timeout;

use super::clients::Pieces;
use super::held::Held;
use super::{ApiError, App};
use crate::device::mac::MacSource;
use crate::device::stage::{Phase, Stage};
use crate::net::Connection;
use crate::seed::{Origin, SeedFile};
use crate::store::{Figures, Store};
use view::View;

/// OpenMetrics 1.0, in text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What every name begins with.
const PREFIX: &str = "gb10";

/// Oldest verdict on the state that is told: the line of `systemctl status` has one found out as often.
const VERDICT_AGE: Duration = Duration::from_secs(2);

/// How long the records are waited for, where the disk hangs; then it is the last that were read.
const RECORDS_TIMEOUT: Duration = Duration::from_secs(3);

/// What is handed to a connection at once, in bytes.
const PIECE_BYTES: usize = 16 * 1024;

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// What is counted from the start on. Every label has a few values, and none that a box chooses.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    heartbeats: Family<Labels<2>, Counter>,
    seeds: Family<Labels<3>, Counter>,
    answers: Family<[(&'static str, u16); 1], Counter>,
}

impl Metrics {
    /// Nothing is counted yet, but by the store.
    pub fn new(store: &Store) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let (heartbeats, seeds, answers) =
            (Family::default(), Family::default(), Family::default());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of the service", build);
        registry.register_with_unit(
            "start_time",
            "When the service began, since the epoch",
            Unit::Seconds,
            ConstGauge::new(now()),
        );
        registry.register(
            "heartbeats",
            "Heartbeats that are on record, by stage and phase",
            Family::clone(&heartbeats),
        );
        registry.register(
            "seeds",
            "Files of seeds that were served, by what they were rendered from and by who said which box asks",
            Family::clone(&seeds),
        );
        registry.register(
            "http_answers",
            "Answers to requests, by status",
            Family::clone(&answers),
        );
        // What an alert asks for must be there before it first happens: from nothing to one is no
        // increase.
        for status in [
            StatusCode::INTERNAL_SERVER_ERROR,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT,
            StatusCode::INSUFFICIENT_STORAGE,
        ] {
            drop(answers.get_or_create(&[("code", status.as_u16())]));
        }
        let Figures {
            seconds,
            reports,
            failures,
        } = store.figures().clone();
        registry.register_with_unit(
            "commit_duration",
            "How long commits of the state took, from the lock on",
            Unit::Seconds,
            seconds,
        );
        registry.register(
            "commit_reports",
            "How many reports shared a commit of the state",
            reports,
        );
        registry.register(
            "commit_failures",
            "Commits of the state that failed, so that their reports were refused",
            failures,
        );
        Self {
            registry,
            heartbeats,
            seeds,
            answers,
        }
    }

    /// A heartbeat is on record.
    pub fn heartbeat(&self, stage: Stage, phase: Phase) {
        let labels = [("stage", stage.name()), ("phase", phase.name())];
        self.heartbeats.get_or_create(&labels).inc();
    }

    /// A file of a seed was served.
    pub fn seed(&self, file: SeedFile, origin: Origin, source: MacSource) {
        let labels = [
            ("file", file.name()),
            ("template", origin.name()),
            ("source", source.name()),
        ];
        self.seeds.get_or_create(&labels).inc();
    }

    /// A request was answered.
    pub fn answered(&self, status: StatusCode) {
        let labels = [("code", status.as_u16())];
        self.answers.get_or_create(&labels).inc();
    }

    /// All of it as text, with how the boxes stand.
    fn text(&self, view: View) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        let mut now = Registry::with_prefix(PREFIX);
        now.register_collector(Box::new(view));
        encode_registry(&mut text, &now)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

/// A text in pieces: its place is held until the last of them is on its way.
fn pieces(mut text: Bytes) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    while !text.is_empty() {
        pieces.push(text.split_to(text.len().min(PIECE_BYTES)));
    }
    pieces
}

/// Seconds since the epoch.
fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

/// The scrape. It asks the disk for no more than `GET /clients` does.
pub async fn scrape(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
) -> Result<Response, ApiError> {
    let place = app.admission.overview(connection.ip());
    let place = place.ok_or(ApiError::TooManyDownloads)?;
    let is_writable = app.store.health(VERDICT_AGE).await.is_ok();
    let clients = timeout(RECORDS_TIMEOUT, app.store.clients()).await;
    let clients = match clients {
        Ok(Ok(clients)) => clients,
        // That the state is in trouble is told, and all else is worth telling then.
        _ => app.store.latest(),
    };
    let view = View {
        clients,
        known: app.site_files.known(),
        is_writable,
        template_faults: app.templates.faults().len(),
        peers_refused: app.admission.refused(),
        over_limit: app.admission.excess(),
    };
    let text = app.metrics.text(view);
    let text = text.map_err(|reason| ApiError::internal("writing the metrics", reason))?;
    let body = Held::body(Body::new(Pieces::new(pieces(text.into()))), place);
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], body).into_response())
}
