//! `GET /cloud-init/…`: the NoCloud seed.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use tracing::{info, warn};

use super::identity::{Claim, Identity, claim_in_query, identify, is_the_box, vouch};
use super::public_url::provision_url;
use super::{ApiError, App};
use crate::device::boot::SeedAccess;
use crate::device::fetches::Fetch;
use crate::device::heartbeat::Sender;
use crate::device::mac::{MacAddr, MacSource, UNKNOWN, claimed};
use crate::files::Fault;
use crate::gate::{WINDOW, is_window_open};
use crate::message_id;
use crate::net::Connection;
use crate::seed::{Device, Onboarding, RenderError, SeedFile};

/// `/cloud-init/user-data`, perhaps with `?mac=`.
pub async fn file(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    method: Method,
    file: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let file = SeedFile::from_name(&file?).ok_or(ApiError::NotFound)?;
    let claim = claim_in_query(query.as_deref().unwrap_or_default())?;
    let request = Asked {
        connection,
        method,
        headers,
    };
    serve(&app, request, file, claim).await
}

/// `/cloud-init/aa:bb:cc:dd:ee:ff/user-data`
pub async fn file_of_mac(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    method: Method,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Path((mac, file)) = path?;
    let file = SeedFile::from_name(&file).ok_or(ApiError::NotFound)?;
    let request = Asked {
        connection,
        method,
        headers,
    };
    let claim = Claim(claimed(&mac)?, MacSource::Path);
    serve(&app, request, file, claim).await
}

/// `/cloud-init/?mac=aa:bb:cc:dd:ee:ffuser-data` and `/cloud-init/?mac=…&f=user-data`: cloud-init
/// puts the file's name behind the seed URL, whatever that ends in.
pub async fn glued_to_query(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    method: Method,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = query.unwrap_or_default();
    let named = SeedFile::OF_SEED
        .into_iter()
        .find_map(|file| Some((file, query.strip_suffix(file.name())?)));
    let (file, query) = named.ok_or(ApiError::NotFound)?;
    let request = Asked {
        connection,
        method,
        headers,
    };
    serve(&app, request, file, claim_in_query(query)?).await
}

/// How a file was asked for, besides its name and its device's.
struct Asked {
    connection: Connection,
    method: Method,
    headers: HeaderMap,
}

async fn serve(
    app: &App,
    asked: Asked,
    file: SeedFile,
    claim: Claim,
) -> Result<Response, ApiError> {
    let Asked {
        connection,
        method,
        headers,
    } = asked;
    let ip = connection.ip();
    let known = app.site_files.known_devices();
    let Identity { mac, source } = identify(app, &known.value, connection, claim).await;
    let refused = |fault| refused(mac, ip, &fault);
    let devices = known.readable().map_err(refused)?;
    let device = Device {
        mac,
        known: mac
            .and_then(|mac| devices.get(mac))
            .cloned()
            .unwrap_or_default(),
        lan: connection.local,
        provision_url: provision_url(&app.public_url, &headers, connection.local),
        onboarding: Onboarding::default(),
    };
    // Whoever asks for the headers alone looks, and does not boot.
    let may_boot = file == SeedFile::UserData && method == Method::GET;
    let is_behind_gate = file == SeedFile::UserData && app.seed_access == SeedAccess::Window;
    let sender = mac.filter(|_| may_boot || is_behind_gate);
    let sender = sender.map(|mac| vouch(app, &devices, connection, mac, source));
    if is_behind_gate {
        admit(app, ip, sender.as_ref()).await?;
    }
    let rendered = app
        .templates
        .render(file, &device)
        .map_err(|error| match error {
            RenderError::Unread(fault) => refused(fault),
            RenderError::Defect(error) => {
                ApiError::internal("rendering an embedded template", error)
            }
        })?;

    // Nor does an operator on this host, or a device that asks for another one's.
    if let Some(sender) = sender.filter(|sender| may_boot && is_the_box(app, connection, sender)) {
        let fetch = Fetch::new(Timestamp::now(), ip, rendered.origin.name(), source.name());
        app.recorder.fetched(&sender, fetch);
    }
    let mac = mac.map_or_else(|| UNKNOWN.to_owned(), |mac| mac.to_string());
    if source == MacSource::Unknown {
        warn!(gb10.mac = mac, gb10.ip = %ip, "a device whose MAC is unknown: {ip} sent none and is not in the neighbour table");
    }
    if let Some(fault) = &rendered.fault {
        warn!(
            message_id = message_id::TEMPLATE_BROKEN,
            gb10.mac = mac,
            gb10.ip = %ip,
            gb10.template = fault.file,
            line = fault.line,
            reason = fault.reason,
            "a staged template failed, {} is served to {mac} at {ip} instead: {fault}",
            rendered.origin.name()
        );
    }
    app.metrics.seed(file, rendered.origin, source);
    info!(
        gb10.mac = mac,
        gb10.ip = %ip,
        mac_source = source.name(),
        file = file.name(),
        gb10.template = rendered.origin.name(),
        gb10.status = 200,
        bytes = rendered.text.len(),
        "seed served: {} to {mac} at {ip}, {}, MAC by {}",
        file.name(),
        rendered.origin.name(),
        source.name()
    );
    Ok((
        [
            (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
            // It may have a password's hash in it.
            (header::CACHE_CONTROL, "no-store"),
        ],
        rendered.text,
    )
        .into_response())
}

/// Lets a box have its user-data only while the gate has it installed, and from no other address
/// than its own.
async fn admit(app: &App, ip: IpAddr, sender: Option<&Sender>) -> Result<(), ApiError> {
    let reason = match sender {
        None => "nobody knows which box asks",
        Some(sender) if !sender.is_neighbour => "ARP has another box at that address, or none",
        Some(Sender { mac, .. }) => {
            let clients = app.store.clients().await;
            let clients = clients.unwrap_or_else(|_| app.store.latest());
            let boot = app.recorder.boot(&clients, *mac, &[]);
            let now = Timestamp::now();
            // By either clock: one that jumps ahead ends no installation.
            if is_window_open(&boot, clients.last_heard_of(*mac), now)
                || boot.is_installing() && app.recorder.was_heard_of(*mac, WINDOW.unsigned_abs())
            {
                return Ok(());
            }
            "no installation of it is under way"
        }
    };
    let mac = sender.map_or_else(|| UNKNOWN.to_owned(), |sender| sender.mac.to_string());
    let error = ApiError::Withheld;
    warn!(
        message_id = message_id::SEED_WITHHELD,
        gb10.mac = mac,
        gb10.ip = %ip,
        gb10.status = error.status().as_u16(),
        reason,
        "user-data is withheld: {ip} asked for that of {mac}, and {reason}"
    );
    Err(error)
}

/// A seed whose files cannot be read: a box that asks again gets the right one, and one that got
/// another would install it.
fn refused(mac: Option<MacAddr>, ip: IpAddr, fault: &Fault) -> ApiError {
    let error = ApiError::Unreadable;
    let mac = mac.map_or_else(|| UNKNOWN.to_owned(), |mac| mac.to_string());
    warn!(
        message_id = message_id::STAGED_UNREADABLE,
        gb10.mac = mac,
        gb10.ip = %ip,
        gb10.template = fault.file,
        gb10.status = error.status().as_u16(),
        reason = fault.reason,
        "a staged file cannot be read, no seed is served to {mac} at {ip}: {fault}"
    );
    error
}
