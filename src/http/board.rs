//! `GET /`, `GET /board/{mac}` and what they need: the board, complete as a page and live by events.
//!
//! One task, [`follow`], brings the board up to date for all who follow it, at most twice a second
//! however many reports come. Each of them is then sent what it has not got yet, which is the same
//! text for most.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout_at};

use super::clients::{current, known};
use super::held::Held;
use super::{ApiError, App};
use crate::board::{Board, Mark, Notices, Pages, alive};
use crate::embedded::board as embedded;
use crate::net::{Connection, Seat, Stopping};

/// Between two events at least.
const PACE: Duration = Duration::from_millis(500);

/// Longest time without a word to those who follow. A page that was closed shows when the second word
/// cannot be sent, so this also bounds how long it keeps its place.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// What begins a stream: how long a browser waits before it connects again, in milliseconds.
const HELLO: &[u8] = b"retry: 1000\n\n";

/// Nothing is loaded from elsewhere, nothing is run or shown but what this program ships, and no
/// other page has this one in a frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'self'; form-action 'none'; frame-ancestors 'none'";

/// What all answers have in common but for their type.
const COMMON: [(HeaderName, &str); 3] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
];

/// The board, and who waits for what.
pub struct LiveBoard {
    board: Mutex<Board>,
    pages: Result<Pages, minijinja::Error>,
    /// The board was brought up to date for those who follow it.
    updated: watch::Sender<()>,
    /// Somebody has begun to.
    joined: Notify,
}

impl LiveBoard {
    /// One without boxes.
    pub fn new() -> Self {
        Self {
            board: Mutex::new(Board::new(Timestamp::now())),
            pages: Pages::new(),
            updated: watch::Sender::default(),
            joined: Notify::new(),
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pages(&self) -> Result<&Pages, ApiError> {
        let pages = self.pages.as_ref();
        pages.map_err(|reason| ApiError::internal("reading the board's templates", reason))
    }
}

/// Brings the board up to date with the records that were read or written last.
fn update(app: &App) -> Result<(), ApiError> {
    let pages = app.board.pages()?;
    let notices = Notices {
        is_state_broken: app.store.trouble().is_some(),
        is_template_broken: !app.templates.faults().is_empty(),
    };
    block_in_place(|| {
        let mut board = app.board.board();
        // Looked up in turn: the board never goes back to what another caller knew before.
        let (clients, known) = (app.store.latest(), app.site_files.known());
        let (rows, role) = (known.rows(clients.rows()), |mac| known.devices.role(mac));
        board.show(pages, rows, role, notices, Timestamp::now())
    })
    .map_err(failed)
}

fn failed(reason: minijinja::Error) -> ApiError {
    ApiError::internal("rendering the board", reason)
}

/// The page of all boxes.
pub async fn page(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
) -> Result<Response, ApiError> {
    let place = app.admission.overview(connection.ip());
    let place = place.ok_or(ApiError::TooManyDownloads)?;
    // While the state cannot be read, what was known last is better than nothing; the journal has
    // the reason.
    let _ = current(&app).await;
    update(&app)?;
    let pages = app.board.pages()?;
    let page = block_in_place(|| app.board.board().page(pages, Timestamp::now()));
    let body = Held::body(Body::from(page.map_err(failed)?), place);
    Ok((COMMON, HTML, body).into_response())
}

/// The page of one box, by any of its MACs; by `unknown`, of the device that asks.
pub async fn story(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    mac: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let place = app.admission.overview(connection.ip());
    let place = place.ok_or(ApiError::TooManyDownloads)?;
    let mac = known(&app, connection, mac).await?;
    // Read before the records: what changes in between is shown twice rather than missed.
    let mark = app.board.board().mark();
    let story = current(&app).await?.story(mac);
    let story = story.ok_or(ApiError::NoSuchClient)?;
    let known = app.site_files.known();
    let mut story = known.complete_story(story);
    let ports = known.devices.ports(mac).iter().copied();
    story.logs = block_in_place(|| app.logs.names([mac].into_iter().chain(ports)));
    let pages = app.board.pages()?;
    let page = block_in_place(|| pages.story(&story, mark, Timestamp::now()));
    let body = Held::body(Body::from(page.map_err(failed)?), place);
    Ok((COMMON, HTML, body).into_response())
}

const HTML: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];

/// How the pages look.
pub async fn style() -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/css; charset=utf-8")];
    (COMMON, kind, embedded::STYLE)
}

/// What makes them live.
pub async fn script() -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
    (COMMON, kind, embedded::SCRIPT)
}

/// The changes of the board, as server-sent events: those since the page or event whose id comes as
/// `Last-Event-ID`, or as `?after=`, which a page can choose; else all rows first.
pub async fn events(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    Extension(seat): Extension<Seat>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let stream = [
        (header::CONTENT_TYPE, "text/event-stream"),
        // It ends with this answer: its place is given back by then.
        (header::CONNECTION, "close"),
    ];
    if method == Method::HEAD {
        return Ok((COMMON, stream).into_response());
    }
    let place = app.admission.viewer(connection.ip());
    let place = place.ok_or(ApiError::TooManyViewers)?;
    seat.give_back();
    let last = headers.get("last-event-id");
    let last = last.and_then(|id| id.to_str().ok()?.parse().ok());
    let after = || {
        let query = uri.query()?;
        query.strip_prefix("after=")?.parse().ok()
    };
    let viewer = Viewer {
        updated: app.board.updated.subscribe(),
        stopping: app.stopping.clone(),
        since: last.or_else(after),
        heard: None,
        app,
    };
    let body = Body::from_stream(stream::unfold(viewer, Viewer::next));
    Ok((COMMON, stream, Held::body(body, place)).into_response())
}

/// Somebody who follows the board.
struct Viewer {
    app: Arc<App>,
    updated: watch::Receiver<()>,
    stopping: Stopping,
    /// How far it has followed.
    since: Option<Mark>,
    /// When it was last sent something.
    heard: Option<Instant>,
}

impl Viewer {
    /// The next piece of the stream; none once the service stops.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let Some(heard) = self.heard else {
            self.app.board.joined.notify_one();
            return self.send(Bytes::from_static(HELLO));
        };
        loop {
            let updated = timeout_at(heard + KEEP_ALIVE, self.updated.changed());
            let updated = tokio::select! {
                biased;
                () = self.stopping.wait() => return None,
                updated = updated => updated,
            };
            match updated {
                Ok(Ok(())) => {
                    let news = self.app.board.board().news(self.since, Timestamp::now());
                    if let Some((mark, event)) = news {
                        self.since = Some(mark);
                        return self.send(event);
                    }
                }
                Ok(Err(_)) => return None,
                Err(_) => return self.send(alive()),
            }
        }
    }

    fn send(mut self, piece: Bytes) -> Option<(Result<Bytes, Infallible>, Self)> {
        self.heard = Some(Instant::now());
        Some((Ok(piece), self))
    }
}

/// Keeps the board up to date for as long as somebody follows it.
pub async fn follow(app: Arc<App>) {
    let mut stopping = app.stopping.clone();
    let mut records = app.store.watch();
    loop {
        let is_followed = app.board.updated.receiver_count() > 0;
        tokio::select! {
            () = stopping.wait() => return,
            // Its sender is the store, which lives as long as this.
            _ = records.changed(), if is_followed => {}
            () = app.board.joined.notified() => {}
            // What `devices.json` and templates say changes without a record.
            () = sleep(KEEP_ALIVE) => if !is_followed { continue },
        }
        records.mark_unchanged();
        // An error is told, and there is nobody else to tell it to.
        if update(&app).is_ok() {
            app.board.updated.send_replace(());
        }
        sleep(PACE).await;
    }
}
