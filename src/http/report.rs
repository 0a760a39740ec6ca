//! `POST /report/{mac}`: the installer's webhook events.
//!
//! subiquity posts synchronously, hundreds of events an installation, and never again what failed.
//! So each is answered at once with 204, and what is a milestone is put on record behind it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tracing::{debug, error};

use super::device::{Connection, Identity, MacSource, claimed_mac};
use super::heartbeat::{read, record};
use super::{ApiError, App};
use crate::installer::{Cause, Event};
use crate::mac::MacAddr;
use crate::onboarding::{Report, Stage};
use crate::seed::UNKNOWN;
use crate::store::StoreError;

/// Largest event, in bytes. Events with files in them are larger, and say nothing here.
const EVENT_BYTES: usize = 256 * 1024;

/// Milestones that wait for the disk at one time, for all devices.
const MAX_WAITING: usize = 4096;

/// Pauses between the tries to put a milestone on record, in seconds: some ten minutes in all.
const PAUSES: [u64; 8] = [1, 2, 5, 15, 30, 60, 180, 300];

/// How long a milestone may stand in the queue for the state. Nobody waits for it, and it must not
/// be overtaken by the device's next one, whatever holds the lock meanwhile.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is remembered between the events of one installation.
pub struct Installations {
    /// By device, why its installation will fail, should it.
    causes: Mutex<HashMap<MacAddr, Cause>>,
    places: Arc<Semaphore>,
}

impl Default for Installations {
    fn default() -> Self {
        Self {
            causes: Mutex::default(),
            places: Arc::new(Semaphore::new(MAX_WAITING)),
        }
    }
}

/// Takes any body: an event that is not understood is ignored.
pub async fn receive(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    mac: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let Path(mac) = mac?;
    let ip = connection.ip();
    let claimed = match mac.as_str() {
        UNKNOWN => None,
        mac => claimed_mac(mac)?,
    };
    let identity = match claimed {
        Some(mac) => Identity {
            mac: Some(mac),
            source: MacSource::Path,
        },
        None => Identity::of_neighbour(&app.neighbours, ip).await,
    };
    let body = read(body, EVENT_BYTES).await?;
    let devices = app.site_files.devices();
    let Some(mac) = identity.mac.map(|mac| devices.primary(mac)) else {
        return Err(ApiError::NoMac(ip));
    };
    debug!(gb10.mac = %mac, gb10.ip = %ip, event = %String::from_utf8_lossy(&body), "installer");

    let event = Event::from_json(&body);
    let milestone = {
        let causes = &app.installations.causes;
        let mut causes = causes.lock().unwrap_or_else(PoisonError::into_inner);
        if event.begins() {
            causes.remove(&mac);
        }
        let known = causes.get(&mac);
        if known.is_some_and(|known| known.is_overcome_by(&event)) {
            causes.remove(&mac);
        } else if let Some(cause) = event.failure()
            && known.map_or(causes.len() < MAX_WAITING, |known| cause.outranks(known))
        {
            causes.insert(mac, cause);
        }
        event.milestone(causes.get(&mac))
    };
    if let Some(milestone) = milestone {
        let report = Report {
            mac,
            ip,
            hostname: devices.hostname(mac),
            at: Timestamp::now(),
            stage: Stage::Install,
            phase: milestone.phase,
            detail: Some(milestone.detail),
            arp_mac: None,
        };
        record_behind(&app, report, identity.source);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Puts a report on record, however long the disk or the lock takes, within reason.
fn record_behind(app: &Arc<App>, report: Report, source: MacSource) {
    let Ok(place) = Arc::clone(&app.installations.places).try_acquire_owned() else {
        error!(gb10.mac = %report.mac, "an installer's event is lost, too many wait for the state: {}", report.mac);
        return;
    };
    // In the queue before this request is answered, so that a device's events keep their order.
    let mut outcome = record(app, report.clone(), source, PATIENCE);
    let app = Arc::clone(app);
    tokio::spawn(async move {
        for pause in PAUSES {
            match outcome.await {
                Ok(_) | Err(StoreError::TooManyClients(_) | StoreError::Stopped) => return,
                Err(_) => tokio::time::sleep(Duration::from_secs(pause)).await,
            }
            outcome = record(&app, report.clone(), source, PATIENCE);
        }
        if outcome.await.is_err() {
            error!(gb10.mac = %report.mac, "an installer's event is lost, the state stayed unwritable: {}", report.mac);
        }
        drop(place);
    });
}
