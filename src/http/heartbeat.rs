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
use crate::mac::MacAddr;
use crate::message_id;
use crate::onboarding::{Heartbeat, Phase, Report, Stage};
use crate::store::{LOCK_PATIENCE, Recorded, StoreError};

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
    let body = read(body, BODY_BYTES).await?;
    let at = Timestamp::now();
    let Heartbeat {
        mac: claimed,
        stage,
        phase,
        detail,
    } = Heartbeat::from_json(&body)?;
    let ip = connection.ip();
    let devices = app.site_files.devices();
    let identity = match claimed {
        Some(mac) => Identity {
            mac: Some(mac),
            source: MacSource::Body,
        },
        None => Identity::of_neighbour(&app.neighbours, ip).await,
    };
    let mac = devices.primary(identity.mac.ok_or(ApiError::NoMac(ip))?);
    let other = |arp_mac: &MacAddr| devices.primary(*arp_mac) != mac;
    let arp_mac = claimed
        .and_then(|_| app.neighbours.in_arp_table(ip))
        .filter(other);
    if let Some(arp_mac) = arp_mac {
        warn!(
            message_id = message_id::MAC_DIFFERS,
            gb10.mac = %mac,
            gb10.ip = %ip,
            %arp_mac,
            "a device claims another MAC than its ARP entry has: {ip} reports as {mac}, but is {arp_mac}"
        );
    }
    let hostname = devices.hostname(mac);
    let report = Report {
        mac,
        ip,
        hostname,
        at,
        stage,
        phase,
        detail,
        arp_mac,
    };
    let recorded = record(&app, report, identity.source, LOCK_PATIENCE).await?;
    Ok((
        [(header::CONTENT_TYPE, "application/json")],
        recorded.record,
    )
        .into_response())
}

/// Puts a report on record, and logs that, or why not.
///
/// As with [`Store::record_within`](crate::store::Store::record_within), it stands in the queue on
/// return.
pub fn record(
    app: &App,
    report: Report,
    source: MacSource,
    patience: Duration,
) -> impl Future<Output = Result<Recorded, StoreError>> + Send + use<> {
    let Report {
        mac,
        ip,
        stage,
        phase,
        ..
    } = report;
    let recorded = app.store.record_within(patience, report);
    async move {
        let recorded = recorded.await.inspect_err(|reason| {
            warn!(
                gb10.mac = %mac,
                gb10.ip = %ip,
                gb10.stage = %stage,
                gb10.phase = %phase,
                %reason,
                "heartbeat refused, the device may try again: {mac} at {ip}, {stage} {phase}: {reason}"
            );
        })?;
        if recorded.first_seen {
            let message_id = message_id::DEVICE_FIRST_SEEN;
            info!(message_id, gb10.mac = %mac, gb10.ip = %ip, "a device is first seen: {mac} at {ip}");
        }
        macro_rules! log {
            ($level:ident, $($message:tt)+) => {
                $level!(
                    gb10.mac = %mac,
                    gb10.ip = %ip,
                    mac_source = source.name(),
                    gb10.stage = %stage,
                    gb10.phase = %phase,
                    gb10.status = 200,
                    $($message)+
                )
            };
        }
        match (stage, phase) {
            (_, Phase::Fail) => log!(
                warn,
                message_id = message_id::STAGE_FAILED,
                "stage failed: {mac} at {ip}, {stage}"
            ),
            (Stage::Ready, Phase::Done) => {
                log!(
                    info,
                    message_id = message_id::DEVICE_READY,
                    "device ready: {mac} at {ip}"
                );
            }
            _ => log!(info, "heartbeat: {mac} at {ip}, {stage} {phase}"),
        }
        Ok(recorded)
    }
}

/// Reads a body of at most `limit` bytes.
pub async fn read(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    match timeout(BODY_PATIENCE, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::BodyTooLarge(limit)),
        Ok(Err(_)) => Err(ApiError::BodyBroken),
        Err(_) => Err(ApiError::BodyTooSlow(BODY_PATIENCE)),
    }
}
