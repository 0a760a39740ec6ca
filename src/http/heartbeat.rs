//! `POST /heartbeat`: a device says how far it is.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jiff::Timestamp;
use tokio::time::timeout;
use tracing::{info, warn};

use super::device::{Connection, Identity, MacSource};
use super::{ApiError, App};
use crate::message_id;
use crate::onboarding::{Heartbeat, Phase, Report, Stage};

/// Largest body of a heartbeat, in bytes.
const BODY_BYTES: usize = 16 * 1024;

/// Longest that the body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// Answers with the device's updated record, once that is on the disk.
pub async fn receive(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read(body).await?;
    let at = Timestamp::now();
    let Heartbeat {
        mac,
        stage,
        phase,
        detail,
    } = Heartbeat::from_json(&body)?;
    let ip = connection.ip();
    let (identity, arp_mac) = match mac {
        Some(mac) => {
            let arp_mac = app
                .neighbours
                .in_arp_table(ip)
                .filter(|arp_mac| *arp_mac != mac);
            (
                Identity {
                    mac: Some(mac),
                    source: MacSource::Body,
                },
                arp_mac,
            )
        }
        None => (Identity::of_neighbour(&app.neighbours, ip).await, None),
    };
    let mac = identity.mac.ok_or(ApiError::NoMac(ip))?;

    let report = Report {
        mac,
        ip,
        at,
        stage,
        phase,
        detail,
        arp_mac,
    };
    let recorded = app.store.record(report).await.inspect_err(|reason| {
        warn!(
            gb10.mac = %mac,
            gb10.ip = %ip,
            gb10.stage = %stage,
            gb10.phase = %phase,
            %reason,
            "heartbeat refused: the device may try again"
        );
    })?;

    if let Some(arp_mac) = arp_mac {
        warn!(message_id = message_id::MAC_DIFFERS, gb10.mac = %mac, gb10.ip = %ip, arp_mac = %arp_mac, "a device claims another MAC than its ARP entry has");
    }
    if recorded.first_seen {
        info!(message_id = message_id::DEVICE_FIRST_SEEN, gb10.mac = %mac, gb10.ip = %ip, "a device is first seen");
    }
    let source = identity.source.name();
    macro_rules! log {
        ($level:ident, $($message:tt)+) => {
            $level!(
                gb10.mac = %mac,
                gb10.ip = %ip,
                mac_source = source,
                gb10.stage = %stage,
                gb10.phase = %phase,
                gb10.status = 200,
                $($message)+
            )
        };
    }
    match (stage, phase) {
        (_, Phase::Fail) => log!(warn, message_id = message_id::STAGE_FAILED, "stage failed"),
        (Stage::Ready, Phase::Done) => {
            log!(info, message_id = message_id::DEVICE_READY, "device ready");
        }
        _ => log!(info, "heartbeat"),
    }
    Ok((
        [(header::CONTENT_TYPE, "application/json")],
        recorded.record,
    )
        .into_response())
}

async fn read(body: Body) -> Result<Bytes, ApiError> {
    match timeout(BODY_PATIENCE, Limited::new(body, BODY_BYTES).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::BodyTooLarge(BODY_BYTES)),
        Ok(Err(_)) => Err(ApiError::BodyBroken),
        Err(_) => Err(ApiError::BodyTooSlow(BODY_PATIENCE)),
    }
}
