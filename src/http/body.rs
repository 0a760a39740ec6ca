//! Reading a request's body, within bounds of size and time.

use std::error::Error;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::ApiError;

/// Longest that a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a body of at most `limit` bytes.
pub async fn read(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    match timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(refused(error, limit)),
        Err(_) => Err(ApiError::BodyTooSlow(BODY_TIMEOUT)),
    }
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
    match timeout(BODY_TIMEOUT, parts).await {
        Ok(outcome) => outcome.map_err(|error| refused(error, limit)),
        Err(_) => Err(ApiError::BodyTooSlow(BODY_TIMEOUT)),
    }
}

/// What a body that cannot be read is answered with.
fn refused(error: Box<dyn Error + Send + Sync>, limit: usize) -> ApiError {
    match error.is::<LengthLimitError>() {
        true => ApiError::BodyTooLarge(limit),
        false => ApiError::BodyBroken,
    }
}
