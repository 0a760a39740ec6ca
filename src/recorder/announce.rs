//! What the journal is told of devices, each event in one place.

use std::net::IpAddr;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::device::facts::{Drift, Versions};
use crate::device::heartbeat::{Report, Sender};
use crate::device::mac::MacAddr;
use crate::device::record::Noticed;
use crate::device::sightings::{Seen, Sightings};
use crate::device::stage::{Phase, Stage};
use crate::device::view::Row;
use crate::excerpt::shown;
use crate::message_id;
use crate::site::Baseline;
use crate::store::{Changed, StoreError};

/// Most versions, and most patterns, that a line tells of one part.
const MAX_TOLD: usize = 4;

/// What a report means to an operator, once it is on record and `status` is its answer.
pub fn announce(report: &Report, is_new: bool, status: u16) {
    let Report {
        sender,
        stage,
        phase,
        ..
    } = report;
    let Sender {
        mac,
        ip,
        mac_source,
        ..
    } = sender;
    if is_new {
        first_seen(*mac, *ip, "reported");
    }
    macro_rules! log {
        ($level:ident, $($message:tt)+) => {
            $level!(
                gb10.mac = %mac,
                gb10.ip = %ip,
                mac_source = mac_source.name(),
                gb10.stage = %stage,
                gb10.phase = %phase,
                gb10.status = status,
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
        (Stage::Ready, Phase::Done) => log!(
            info,
            message_id = message_id::DEVICE_READY,
            "device ready: {mac} at {ip}"
        ),
        _ => log!(info, "heartbeat: {mac} at {ip}, {stage} {phase}"),
    }
}

/// A device that had versions which the baseline allows, or told of none, has others now.
pub fn announce_drift(report: &Report, baseline: &Baseline, before: &Versions, now: &Versions) {
    let known = baseline.drift(before);
    let is_new = |drift: &Drift| known.iter().all(|known| known.field != drift.field);
    let drift: Vec<Drift> = baseline.drift(now).into_iter().filter(is_new).collect();
    if drift.is_empty() {
        return;
    }
    let Sender { mac, ip, .. } = &report.sender;
    let fields: Vec<&str> = drift.iter().map(|drift| drift.field.name()).collect();
    let fields = fields.join(" ");
    let found: Vec<String> = drift.iter().map(|drift| told(drift, baseline)).collect();
    let found = found.join("; ");
    warn!(
        message_id = message_id::DEVICE_DRIFTED,
        gb10.mac = %mac,
        gb10.ip = %ip,
        gb10.drift = fields,
        "outside the baseline: {mac} at {ip}: {found}"
    );
}

/// A part outside the baseline, with what it may be.
fn told(drift: &Drift, baseline: &Baseline) -> String {
    let listed = |mut texts: Vec<String>| {
        let more = texts.len().saturating_sub(MAX_TOLD);
        texts.truncate(MAX_TOLD);
        let texts = texts.join(", ");
        match more {
            0 => texts,
            more => format!("{texts} and {more} more"),
        }
    };
    let found = drift.found.iter().map(|found| shown(found).into_owned());
    let allowed = baseline.allowed(drift.field).unwrap_or_default();
    let allowed = allowed.iter().map(|glob| shown(glob.as_str()).into_owned());
    format!(
        "{} {}, expected {}",
        drift.field,
        listed(found.collect()),
        listed(allowed.collect())
    )
}

/// What sightings mean, once they are on record.
pub fn announce_sightings(sightings: &Sightings, changed: &Changed<Noticed>) {
    let (mac, ip) = (sightings.mac, sightings.ip);
    if changed.is_new {
        let how = match sightings.iter().next() {
            Some(Seen::Asked(_)) => "asked what to boot",
            _ => "fetched its seed",
        };
        first_seen(mac, ip, how);
    }
    let Noticed {
        reinstalls,
        gave_up,
    } = changed.outcome;
    if let Some(times) = reinstalls {
        warn!(gb10.mac = %mac, gb10.ip = %ip, times, "reinstalling: {mac} fetched its seed again after it had reported an installation ({times} so far)");
    }
    if let Some(attempts) = gave_up {
        warn!(
            message_id = message_id::INSTALL_GIVEN_UP,
            gb10.mac = %mac,
            gb10.ip = %ip,
            attempts,
            "given up: {mac} began {attempts} installations and reported none done; it boots its disk until it is armed again: gb10-provision-api arm {mac}"
        );
    }
}

/// A device is silent for too long, which is on record now.
pub fn announce_silence(row: &Row, silence: Duration) {
    let Row {
        mac,
        ip,
        stage,
        phase,
        ..
    } = row;
    let (stands, minutes) = (row.stands(), silence.as_secs() / 60);
    let ip = ip.map_or_else(|| "an unknown address".to_owned(), |ip| ip.to_string());
    warn!(
        message_id = message_id::DEVICE_STALLED,
        gb10.mac = %mac,
        gb10.ip = %ip,
        gb10.stage = stage.as_deref(),
        gb10.phase = phase.as_deref(),
        seconds = silence.as_secs(),
        "stalled: {mac} at {ip} was not heard of for {minutes} min; it stands at: {stands}"
    );
}

fn first_seen(mac: MacAddr, ip: IpAddr, how: &str) {
    let message_id = message_id::DEVICE_FIRST_SEEN;
    info!(message_id, gb10.mac = %mac, gb10.ip = %ip, "new device: {mac} at {ip} {how}");
}

/// A report that nobody will send again is lost.
pub fn tell_lost(report: &Report, reason: &StoreError) {
    let Report {
        sender: Sender { mac, ip, .. },
        stage,
        phase,
        ..
    } = report;
    error!(
        gb10.mac = %mac,
        gb10.ip = %ip,
        gb10.stage = %stage,
        gb10.phase = %phase,
        %reason,
        "an installer's event of {mac} is lost, {stage} {phase}: {reason}"
    );
}
