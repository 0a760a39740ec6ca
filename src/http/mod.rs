//! What is served: the route table, and the way of every request.

mod baseline;
pub mod board;
mod body;
mod boot;
pub mod browser;
mod clients;
mod error;
mod files;
mod health;
mod heartbeat;
mod held;
mod identity;
mod logs;
mod metrics;
mod pair;
pub mod public_url;
mod seed;
mod webhook;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Request, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Router};
use hyper::body::Incoming;
use tower::{Service, ServiceExt};
use tracing::info;

use error::{ApiError, Refusal};
pub use metrics::Metrics;

use crate::device::boot::SeedAccess;
use crate::device::mac::UNKNOWN;
use crate::excerpt::{excerpt, shown};
use crate::gate::Rules;
use crate::logs::Logs;
use crate::net::neighbours::Neighbours;
use crate::net::{Admission, Connection, Stopping};
use crate::recorder::Recorder;
use crate::seed::Templates;
use crate::site::SiteFiles;
use crate::store::Store;

/// Longest that a request may take until its answer begins. Above what a heartbeat waits for the
/// lock, a slow commit included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// All that requests share.
pub struct App {
    /// The seed's templates.
    pub templates: Templates,
    /// What the operator says of the site and of single devices.
    pub site_files: Arc<SiteFiles>,
    /// The devices' records.
    pub store: Arc<Store>,
    /// The logs of installations.
    pub logs: Logs,
    /// What is counted for whoever watches the service.
    pub metrics: Metrics,
    /// The way of a report to the records.
    pub recorder: Arc<Recorder>,
    /// The kernel's neighbour table.
    pub neighbours: Neighbours,
    /// The folder of the staged onboarding files.
    pub onboard: PathBuf,
    /// What boxes boot from the network.
    pub boot: PathBuf,
    /// When a box is installed, unless `devices.json` says otherwise.
    pub rules: Rules,
    /// Who gets user-data.
    pub seed_access: SeedAccess,
    /// The names that this host goes by.
    pub names: browser::Names,
    /// The base of the URLs for devices, where the operator gives one.
    pub public_url: public_url::PublicUrl,
    /// Who may connect.
    pub admission: Arc<Admission>,
    /// The board, as those who follow it have it.
    pub board: board::LiveBoard,
    /// Tells an answer that has no end of its own when it must end.
    pub stopping: Stopping,
}

/// What answers requests: the routes, with slashes folded in the paths that lead there.
pub fn service(
    app: Arc<App>,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    routes(app).map_request(|mut request: Request<Incoming>| {
        fold_slashes(request.uri_mut());
        request
    })
}

/// The route table.
fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/cloud-init", get(seed::glued_to_query))
        .route("/cloud-init/", get(seed::glued_to_query))
        .route("/cloud-init/{file}", get(seed::file))
        .route("/cloud-init/{mac}/{file}", get(seed::file_of_mac))
        .route("/boot/grub.cfg", get(boot::configuration))
        .route("/grub/grub.cfg", get(boot::configuration))
        .route("/boot/{mac}/grub.cfg", get(boot::decision))
        .route("/boot/{mac}/image.cfg", get(boot::image))
        .route("/onboard/baseline.json", get(baseline::baseline))
        .route("/onboard/pair.json", get(pair::pair))
        .route("/onboard/{*path}", get(files::onboarding))
        .route("/bootaa64.efi", get(files::loader))
        .route("/grubaa64.efi", get(files::loader))
        .route("/images/{*path}", get(files::image))
        .route("/heartbeat", post(heartbeat::receive))
        .route("/report/{mac}", post(webhook::receive))
        .route("/logs/{mac}", put(logs::receive))
        .merge(for_operators(&app))
        .route("/healthz", get(health::check))
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(from_fn_with_state(Arc::clone(&app), oversee))
        .with_state(app)
}

/// What operators read, which no page in their browsers shall.
fn for_operators(app: &Arc<App>) -> Router<Arc<App>> {
    let only_by_own_names =
        async |State(app): State<Arc<App>>, request: Request<Body>, next: Next| {
            match browser::check_host(request.headers(), &app.names) {
                Ok(()) => next.run(request).await,
                Err(refused) => refused.into_response(),
            }
        };
    Router::new()
        .route("/", get(board::page))
        .route("/board/style.css", get(board::style))
        .route("/board/script.js", get(board::script))
        .route("/board/events", get(board::events))
        .route("/board/{mac}", get(board::story))
        .route("/clients", get(clients::all))
        .route("/clients/{mac}", get(clients::one))
        .route("/metrics", get(metrics::scrape))
        .layer(from_fn_with_state(Arc::clone(app), only_by_own_names))
}

/// Bounds a request in time, keeps browsers in their place, and logs what is refused.
async fn oversee(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut answer = match browser::check_origin(request.headers(), connection.local, &app.names) {
        Err(refused) => refused.into_response(),
        Ok(()) => tokio::time::timeout(REQUEST_TIMEOUT, next.run(request))
            .await
            .unwrap_or_else(|_| ApiError::TookTooLong.into_response()),
    };
    app.metrics.answered(answer.status());
    // No answer is a script or a style but those of the board, whatever a page makes of it.
    answer.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Some(Refusal(reason)) = answer.extensions().get() {
        let (ip, status) = (connection.ip(), answer.status().as_u16());
        let (method, path) = (shown(method.as_str()), excerpt(uri.path()));
        info!(gb10.ip = %ip, gb10.status = status, %method, %path, reason, "request refused: {method} {path} of {ip}, {status}: {reason}");
    }
    answer
}

/// Makes `//` and `/./` in a path one `/`, as file servers do: seed URLs are glued together by boot
/// loaders, and a variable that is unset there leaves an empty segment; and apt asks for `./Packages`
/// below the URL of a flat repository.
fn fold_slashes(uri: &mut Uri) {
    if !uri.path().contains("//") && !uri.path().contains("/./") {
        return;
    }
    // Below /boot/ the MAC that is missing is meant: without it GRUB would get the configuration
    // that it is executing, and execute that again, for ever.
    let whose = uri.path().strip_prefix("/boot//");
    let named = whose.map(|file| format!("/boot/{UNKNOWN}/{file}"));
    let from = named.as_deref().unwrap_or(uri.path());
    let mut path = String::with_capacity(from.len());
    let mut segments = from.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        // What is before the first slash, and what is behind the last one, stays.
        if path.is_empty() || is_last || !matches!(segment, "" | ".") {
            path.push_str(segment);
            if !is_last {
                path.push('/');
            }
        }
    }
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = std::mem::take(uri).into_parts();
    parts.path_and_query = PathAndQuery::try_from(path).ok();
    *uri = Uri::from_parts(parts).unwrap_or_default();
}
