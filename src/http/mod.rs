//! What is served: the route table, and the way of every request.

mod clients;
mod device;
mod error;
mod health;
mod heartbeat;
mod onboard;
mod seed;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};

pub use device::Connection;
use error::ApiError;

use crate::neighbours::Neighbours;
use crate::seed::Templates;
use crate::store::Store;

/// Longest that a request may take until its answer begins. Above what a heartbeat waits for the
/// lock, a slow commit included.
const REQUEST_PATIENCE: Duration = Duration::from_secs(30);

/// All that requests share.
pub struct App {
    /// The seed's templates.
    pub templates: Templates,
    /// The devices' records.
    pub store: Store,
    /// The kernel's neighbour table.
    pub neighbours: Neighbours,
    /// The folder of the staged onboarding files.
    pub onboard: PathBuf,
    /// How many connections were refused for their address.
    pub peers_refused: AtomicU64,
}

/// The route table.
pub fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/cloud-init", get(seed::glued_to_query))
        .route("/cloud-init/", get(seed::glued_to_query))
        .route("/cloud-init/{file}", get(seed::file))
        .route("/cloud-init/{mac}/{file}", get(seed::file_of_mac))
        .route("/onboard/{*path}", get(onboard::file))
        .route("/heartbeat", post(heartbeat::receive))
        .route("/clients", get(clients::all))
        .route("/clients/{mac}", get(clients::one))
        .route("/healthz", get(health::check))
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(from_fn(within_patience))
        .with_state(app)
}

async fn within_patience(request: Request, next: Next) -> Result<Response, ApiError> {
    let answer = tokio::time::timeout(REQUEST_PATIENCE, next.run(request)).await;
    answer.map_err(|_| ApiError::TookTooLong)
}

/// Makes `//` in a path one `/`, as file servers do: seed URLs are glued together by boot loaders,
/// and a variable that is unset there leaves an empty segment.
pub fn fold_slashes(uri: &mut Uri) {
    if !uri.path().contains("//") {
        return;
    }
    let mut path = String::with_capacity(uri.path().len());
    for c in uri.path().chars() {
        if c != '/' || !path.ends_with('/') {
            path.push(c);
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
