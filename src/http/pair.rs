//! `GET /onboard/pair.json`: the box at the other end of the cable, with which the box that asks
//! measures the fabric between them.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::{Extension, Json};
use serde::Serialize;
use serde_with::skip_serializing_none;
use tracing::{info, warn};

use super::clients::current;
use super::identity::{Claim, claim_in_query, identify};
use super::{ApiError, App};
use crate::device::heartbeat::default_hostname;
use crate::device::mac::MacAddr;
use crate::net::Connection;

/// The name of the file that boxes see.
const FILE: &str = "pair.json";

/// The other box of a pair, for the one that asks.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
pub struct Pair {
    /// The MAC that the other is on record under.
    mac: MacAddr,
    /// Its host name.
    hostname: String,
    /// The address that it was last heard from, or fetched its seed from.
    ip: Option<IpAddr>,
    /// Whether the box that asks is the first of the two: the one of the lower MAC.
    is_first: bool,
    /// The MAC that the box that asks is on record under, by which the other knows it.
    own_mac: MacAddr,
}

/// Answers by `devices.json`; where of that there never was a good version, the box has to try again:
/// taken for one without a pair, it would pass unmeasured.
pub async fn pair(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    RawQuery(query): RawQuery,
) -> Result<Json<Pair>, ApiError> {
    let ip = connection.ip();
    let claim: Claim = claim_in_query(query.as_deref().unwrap_or_default())?;
    let devices = app.site_files.devices_for_pairs().map_err(|fault| {
        warn!(gb10.ip = %ip, file = FILE, gb10.status = 503, reason = %fault, "onboarding file not served: {FILE} to {ip}, 503: {fault}");
        ApiError::Unreadable
    })?;
    let identity = identify(&app, &devices, connection, claim).await;
    let own_mac = identity.mac.ok_or(ApiError::NoMac(ip))?;
    let mac = devices.pair(own_mac).ok_or(ApiError::NoSuchFile)?;
    let clients = current(&app).await?;
    let record = clients.get(mac);
    let hostname = devices
        .hostname(mac)
        .or_else(|| record.and_then(|record| record.hostname()))
        .unwrap_or_else(|| default_hostname(&mac.slug()));
    info!(gb10.mac = %own_mac, gb10.ip = %ip, file = FILE, gb10.status = 200, "onboarding file served: {FILE} to {ip}, 200");
    Ok(Json(Pair {
        mac,
        hostname,
        ip: record.and_then(|record| record.ip()),
        is_first: own_mac < mac,
        own_mac,
    }))
}
