//! Which device is this? Its own word first, then the kernel's neighbour table; and then the box
//! that `devices.json` says the port belongs to.
//!
//! Every handler asks here, so that a device is the same one to all of them.

use tracing::warn;

use super::{ApiError, App};
use crate::device::heartbeat::Sender;
use crate::device::mac::{MacAddr, MacSource, claimed};
use crate::message_id;
use crate::net::Connection;
use crate::site::Devices;

/// A MAC that a request names, or `None` where it names none; and where it would name one.
#[derive(Debug, Clone, Copy)]
pub struct Claim(pub Option<MacAddr>, pub MacSource);

/// The MAC that a query names.
pub fn claim_in_query(query: &str) -> Result<Claim, ApiError> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let mac = match pairs.find(|(key, value)| key == "mac" && !value.is_empty()) {
        Some((_, value)) => claimed(&value)?,
        None => None,
    };
    Ok(Claim(mac, MacSource::Query))
}

/// A device, where it could be found out, and who said so.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// The MAC that the device is on record under.
    pub mac: Option<MacAddr>,
    /// Who said so.
    pub source: MacSource,
}

/// The device that asks: the one that it claims to be, else the one that has the address. `devices`
/// is what is known of them for the whole of this request.
pub async fn identify(
    app: &App,
    devices: &Devices,
    connection: Connection,
    claim: Claim,
) -> Identity {
    let (mac, source) = match claim {
        Claim(Some(mac), source) => (Some(mac), source),
        Claim(None, _) => match app.neighbours.find(connection.ip()).await {
            Some((mac, source)) => (Some(mac), source),
            None => (None, MacSource::Unknown),
        },
    };
    let mac = mac.map(|mac| devices.primary(mac));
    Identity { mac, source }
}

/// The device that reports.
pub async fn sender(app: &App, connection: Connection, claim: Claim) -> Result<Sender, ApiError> {
    let devices = app.site_files.devices();
    let Identity { mac, source } = identify(app, &devices, connection, claim).await;
    let mac = mac.ok_or(ApiError::NoMac(connection.ip()))?;
    Ok(vouch(app, &devices, connection, mac, source))
}

/// Whether it is the device itself that asks, by what is known of it: not another device, nor an
/// operator on this host.
pub fn is_the_box(app: &App, connection: Connection, sender: &Sender) -> bool {
    let is_own = || app.neighbours.is_own(sender.ip, connection.local.ip());
    sender.is_neighbour || sender.arp_mac.is_none() && !is_own()
}

/// What this host's own tables say of a device that asks or reports as `mac`. Where its ARP entry
/// is of another device than it claims to be, that is warned of.
pub fn vouch(
    app: &App,
    devices: &Devices,
    connection: Connection,
    mac: MacAddr,
    source: MacSource,
) -> Sender {
    let ip = connection.ip();
    let entry = match source {
        MacSource::Arp | MacSource::IpNeigh => Some(mac),
        _ => app.neighbours.in_arp_table(ip),
    };
    let is_other = |entry: &MacAddr| devices.primary(*entry) != mac;
    let arp_mac = entry.filter(is_other);
    if let Some(arp_mac) = arp_mac {
        warn!(
            message_id = message_id::MAC_DIFFERS,
            gb10.mac = %mac,
            gb10.ip = %ip,
            %arp_mac,
            "a device claims another MAC than its ARP entry has: {ip} comes as {mac}, but ARP has {arp_mac}"
        );
    }
    let is_neighbour = entry.is_some() && arp_mac.is_none();
    Sender {
        mac,
        mac_source: source,
        arp_mac,
        is_neighbour,
        is_confirmed: is_neighbour || devices.get(mac).is_some(),
        ip,
        hostname: devices.hostname(mac),
    }
}
