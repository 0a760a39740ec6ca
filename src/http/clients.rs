//! `GET /clients` and `GET /clients/{mac}`: where every device stands.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tracing::warn;

use super::held::Held;
use super::identity::{Claim, identify};
use super::{ApiError, App};
use crate::device::mac::{MacAddr, MacSource, claimed};
use crate::net::Connection;
use crate::store::{Clients, StoreError};

const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// All records, as one object keyed by MAC: the text of `clients.json`.
pub async fn all(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
) -> Result<Response, ApiError> {
    let place = app.admission.overview(connection.ip());
    let place = place.ok_or(ApiError::TooManyDownloads)?;
    let clients = current(&app).await?;
    let pieces: Vec<Bytes> = clients.pieces().collect();
    let body = Held::body(Body::new(Pieces::new(pieces)), place);
    Ok((JSON, body).into_response())
}

/// The record of one device, by any of its MACs; by `unknown`, that of the device which asks.
pub async fn one(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    mac: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let mac = known(&app, connection, mac).await?;
    let record = current(&app)
        .await?
        .record(mac)
        .ok_or(ApiError::NoSuchClient)?;
    Ok((JSON, record).into_response())
}

/// The MAC that the device of a path is on record under, where there is such a device.
pub async fn known(
    app: &App,
    connection: Connection,
    mac: Result<Path<String>, PathRejection>,
) -> Result<MacAddr, ApiError> {
    let claim = Claim(claimed(&mac?)?, MacSource::Path);
    let devices = app.site_files.devices();
    let identity = identify(app, &devices, connection, claim).await;
    identity.mac.ok_or(ApiError::NoSuchClient)
}

/// All records as the file has them; where it cannot be read, the journal is told.
pub async fn current(app: &App) -> Result<Arc<Clients>, StoreError> {
    let clients = app.store.clients().await;
    clients.inspect_err(|reason| warn!(%reason, "the state cannot be read: {reason}"))
}

/// A body of known length whose pieces are shared with the store instead of copied.
pub struct Pieces {
    pieces: std::vec::IntoIter<Bytes>,
    bytes_left: u64,
}

impl Pieces {
    /// A body of these pieces.
    pub fn new(pieces: Vec<Bytes>) -> Self {
        let bytes_left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self {
            pieces: pieces.into_iter(),
            bytes_left,
        }
    }
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = self.pieces.next();
        self.bytes_left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes_left)
    }
}
