//! `GET /boot/…`: what GRUB asks, and the gate's answers.
//!
//! GRUB executes whatever body it gets, whatever the status, and takes an error page for commands.
//! So each of these is a 200 and a few lines that GRUB understands; where nothing can be decided,
//! they say to boot the disk.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use tokio::task::block_in_place;
use tokio::time::timeout;
use tracing::{info, warn};

use super::identity::{Claim, Identity, identify, is_the_box, vouch};
use super::{ApiError, App};
use crate::device::boot::{Asked, SeedAccess};
use crate::device::heartbeat::Sender;
use crate::device::mac::{MacSource, UNKNOWN, claimed};
use crate::gate::{Verdict, decide, decide_without_records};
use crate::images::{self, NoImage};
use crate::message_id;
use crate::net::Connection;
use crate::seed::{Device, RenderError, SeedFile};
use crate::site::{Devices, ImageName, KnownDevice, Site};

/// How old the verdict on the state may be.
const HEALTH_AGE: Duration = Duration::from_secs(2);

/// How long a look at the records may take: GRUB waits longer.
const RECORDS_TIMEOUT: Duration = Duration::from_secs(5);

/// `/boot/aa:bb:cc:dd:ee:ff/grub.cfg`: the gate's decision for that box, as `set default=…`.
pub async fn decision(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    method: Method,
    mac: Result<Path<String>, PathRejection>,
) -> Response {
    let devices = app.site_files.devices();
    let (sender, verdict) = match claim(mac) {
        Ok(claim) => {
            let Identity { mac, source } = identify(&app, &devices, connection, claim).await;
            let sender = mac.map(|mac| vouch(&app, &devices, connection, mac, source));
            let verdict = judge(&app, &devices, sender.as_ref()).await;
            (sender, verdict)
        }
        Err(reason) => (None, Verdict::local(reason)),
    };
    // Whoever asks for the headers alone looks, and does not boot. After HTTP Boot GRUB does both.
    if method == Method::GET {
        note(&app, connection, sender.as_ref(), &verdict);
    }
    let Verdict {
        decision, reason, ..
    } = verdict;
    plain(format!("# {reason}\nset default={decision}\n"))
}

/// The box that is asked for: `unknown` and nothing mean the one that asks.
fn claim(mac: Result<Path<String>, PathRejection>) -> Result<Claim, String> {
    let Path(mac) = mac.map_err(|_| "the MAC cannot be decoded".to_owned())?;
    let mac = claimed(&mac).map_err(|error| error.to_string())?;
    Ok(Claim(mac, MacSource::Path))
}

async fn judge(app: &App, devices: &Devices, sender: Option<&Sender>) -> Verdict {
    let Some(sender) = sender else {
        return Verdict::local("nobody knows which box asks");
    };
    // What is not put on record for this box would be told it again and again: its attempts are not
    // counted.
    if app.recorder.admit(sender).is_err() {
        return Verdict::local("too many boxes that nobody knows are at that address");
    }
    let mac = sender.mac;
    // What the operator wants is not known then. The journal has the fault.
    if let Some(fault) = app.site_files.faults_of_boots().first() {
        return Verdict::local(format!(
            "{} has a fault, which the journal tells",
            fault.file
        ));
    }
    // An installation that cannot be put on record would be made again and again.
    if app.store.health(HEALTH_AGE).await.is_err() {
        return Verdict::local("the state cannot be written");
    }
    let Ok(Ok(clients)) = timeout(RECORDS_TIMEOUT, app.store.clients()).await else {
        return Verdict::local("the state cannot be read");
    };
    let is_known = |other| {
        let other = devices.primary(other);
        devices.get(other).is_some() || clients.has(other)
    };
    if sender.arp_mac.is_some_and(is_known) {
        return Verdict::local("ARP has another box at that address");
    }
    let device = devices.get(mac);
    let site = app.site_files.site().unwrap_or_default();
    match chosen(app, device, &site) {
        // Without any image GRUB boots what the operator put beside it.
        Ok(_) | Err(NoImage::NoneStaged) => {}
        Err(reason) => return Verdict::local(reason.to_string()),
    }
    let rules = app.rules.of_box(devices.policy(mac));
    let boot = app.recorder.boot(&clients, mac, devices.ports(mac));
    match block_in_place(|| app.store.has_moved_aside()) {
        Ok(false) => decide(rules, &boot),
        Ok(true) => decide_without_records(rules, &boot),
        Err(_) => Verdict::local("the state cannot be read"),
    }
}

/// Journals a decision, and has it put on record if the box itself asked.
fn note(app: &App, connection: Connection, sender: Option<&Sender>, verdict: &Verdict) {
    let ip = connection.ip();
    let Verdict {
        decision,
        reason,
        is_given_up,
    } = verdict;
    if let Some(sender) = sender.filter(|sender| is_the_box(app, connection, sender)) {
        let asked = Asked {
            at: Timestamp::now(),
            decision: *decision,
            reason: reason.clone(),
            is_given_up: *is_given_up,
            count: 1,
        };
        let opens_window = app.seed_access == SeedAccess::Window;
        app.recorder.asked(sender, asked, opens_window);
    }
    let mac = sender.map_or_else(|| UNKNOWN.to_owned(), |sender| sender.mac.to_string());
    let source = sender.map_or(MacSource::Unknown, |sender| sender.mac_source);
    info!(
        message_id = message_id::BOOT_DECIDED,
        gb10.mac = mac,
        gb10.ip = %ip,
        mac_source = source.name(),
        %decision,
        reason,
        gb10.status = 200,
        "boot: {mac} at {ip} is told {decision}: {reason}"
    );
}

/// `/boot/grub.cfg` and `/grub/grub.cfg`: the whole configuration.
pub async fn configuration(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
) -> Result<Response, ApiError> {
    let device = Device::that_boots(connection.local);
    let rendered = app.templates.render(SeedFile::GrubCfg, &device);
    let rendered = rendered.map_err(|error| match error {
        RenderError::Unread(_) => ApiError::Unreadable,
        RenderError::Defect(error) => ApiError::internal("rendering an embedded template", error),
    })?;
    if let Some(fault) = &rendered.fault {
        warn!(
            message_id = message_id::TEMPLATE_BROKEN,
            gb10.ip = %connection.ip(),
            gb10.template = fault.file,
            line = fault.line,
            reason = fault.reason,
            "a staged template failed, the embedded grub.cfg is served instead: {fault}"
        );
    }
    Ok(plain(rendered.text))
}

/// `/boot/aa:bb:cc:dd:ee:ff/image.cfg`: what that box is installed from, as variables.
pub async fn image(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    mac: Result<Path<String>, PathRejection>,
) -> Response {
    let devices = app.site_files.devices();
    let device = match claim(mac) {
        Ok(claim) => identify(&app, &devices, connection, claim).await.mac,
        Err(_) => None,
    };
    let site = app.site_files.site().unwrap_or_default();
    let device = device.and_then(|mac| devices.get(mac));
    let image = match chosen(&app, device, &site) {
        Ok(image) => format!("set image={image}\n"),
        Err(reason) => format!("# {reason}\n"),
    };
    let args = images::kernel_args(device, &site);
    plain(format!("{image}set kernel_args=\"{}\"\n", args.as_str()))
}

fn chosen(app: &App, device: Option<&KnownDevice>, site: &Site) -> Result<ImageName, NoImage> {
    // What cannot be listed is not there.
    let staged = block_in_place(|| images::staged(&app.boot)).unwrap_or_default();
    images::chosen(device, site, &staged)
}

fn plain(text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, text).into_response()
}
