//! What `devices.json` could say of a box, by the facts that it sent.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Devices;
use crate::device::facts::Facts;
use crate::device::heartbeat::default_hostname;
use crate::device::mac::MacAddr;
use crate::excerpt::excerpt;

/// An entry of `devices.json` to take over, and what is to be known of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// JSON text: an object with the one entry.
    pub entry: String,
    /// What was left out, and what stands in the way.
    pub notes: Vec<String>,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<&'a str>,
    macs: Vec<MacAddr>,
}

/// The entry for the box on record under `mac`, called `hostname`. `is_on_record` tells of a MAC
/// whether it has a record.
pub fn suggest(
    mac: MacAddr,
    hostname: Option<&str>,
    facts: &Facts,
    devices: &Devices,
    is_on_record: impl Fn(MacAddr) -> bool,
) -> Suggestion {
    let mut notes = Vec::new();
    let mut macs: Vec<MacAddr> = devices.ports(mac).to_vec();
    for nic in facts.nics() {
        let name = excerpt(nic.name.as_deref().unwrap_or("?"));
        let Some(port) = nic.own_mac() else {
            let address = nic
                .mac
                .as_deref()
                .map_or_else(|| "none".to_owned(), excerpt);
            notes.push(format!(
                "{name} is left out: its address is {address}, which is not one that a vendor gave it"
            ));
            continue;
        };
        let owner = devices.primary(port);
        if port == mac || macs.contains(&port) {
            continue;
        }
        if owner != mac && (owner != port || devices.get(port).is_some()) {
            notes.push(format!(
                "{name} is left out: {port} belongs to {owner}, by devices.json"
            ));
            continue;
        }
        if is_on_record(port) {
            notes.push(format!(
                "{port} has a record of its own: gb10-provision-api forget {port}"
            ));
        }
        macs.push(port);
    }
    if devices.get(mac).is_some() {
        notes.push(format!(
            "devices.json has an entry for {mac}: take over \"macs\", and leave the rest of it as it is"
        ));
    }
    let hostname = devices
        .hostname(mac)
        .or_else(|| hostname.map(str::to_owned));
    let is_chosen = |name: &String| *name != default_hostname(&mac.slug());
    let hostname = hostname.filter(is_chosen);
    let entry = Entry {
        hostname: hostname.as_deref(),
        macs,
    };
    let entry = BTreeMap::from([(mac, entry)]);
    Suggestion {
        entry: serde_json::to_string_pretty(&entry).unwrap_or_default(),
        notes,
    }
}
