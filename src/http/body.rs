//! Reading a request's body, within bounds of size and time.

use std::error::Error;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use tokio::time::timeout;

use super::ApiError;

/// Longest that a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a body of at most `limit` bytes.
pub async fn read(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let body = Limited::new(body, limit).collect();
    in_time(async { body.await.map_err(|error| broken(limit, &*error)) })
        .await
        .map(Collected::to_bytes)
}

/// Hands a body of at most `limit` bytes to `take`, part by part as it arrives, until that fails.
pub async fn read_parts(
    body: Body,
    limit: usize,
    mut take: impl FnMut(&[u8]) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    let mut body = Limited::new(body, limit);
    in_time(async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken(limit, &*error))?;
            if let Some(part) = frame.data_ref() {
                take(part)?;
            }
        }
        Ok(())
    })
    .await
}

/// How a request is answered whose body of at most `limit` bytes cannot be read.
fn broken(limit: usize, error: &(dyn Error + Send + Sync + 'static)) -> ApiError {
    match error.is::<LengthLimitError>() {
        true => ApiError::BodyTooLarge(limit),
        false => ApiError::BodyBroken,
    }
}

/// What the reading comes to, unless it takes too long.
async fn in_time<T>(reading: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    let read = timeout(BODY_TIMEOUT, reading).await;
    read.unwrap_or(Err(ApiError::BodyTooSlow(BODY_TIMEOUT)))
}
