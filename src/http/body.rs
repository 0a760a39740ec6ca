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
    in_time(limit, body).await.map(Collected::to_bytes)
}

/// Hands a body of at most `limit` bytes to `take`, part by part as it arrives.
pub async fn read_parts(
    body: Body,
    limit: usize,
    mut take: impl FnMut(&[u8]),
) -> Result<(), ApiError> {
    let mut body = Limited::new(body, limit);
    let parts = async {
        while let Some(frame) = body.frame().await {
            if let Some(part) = frame?.data_ref() {
                take(part);
            }
        }
        Ok(())
    };
    in_time(limit, parts).await
}

/// What reading a body of at most `limit` bytes comes to, or how the request is answered.
async fn in_time<T>(
    limit: usize,
    reading: impl Future<Output = Result<T, Box<dyn Error + Send + Sync>>>,
) -> Result<T, ApiError> {
    match timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::BodyTooLarge(limit)),
        Ok(Err(_)) => Err(ApiError::BodyBroken),
        Err(_) => Err(ApiError::BodyTooSlow(BODY_TIMEOUT)),
    }
}
