//! What the site's files may say, and hardly mean.

use std::collections::BTreeMap;

use minijinja::value::ValueKind;

use super::{Devices, Site};
use crate::device::heartbeat::default_hostname;
use crate::device::mac::MacAddr;
use crate::files::Fault;
use crate::files::layout::{DEVICES_FILE, SITE_FILE};

/// What begins the name of a public key's type, as sshd(8) lists them.
const KEY_TYPES: [&str; 3] = ["ssh-", "ecdsa-", "sk-"];

/// What begins every public key, in base64: the length of its type.
const KEY_BEGINS: &str = "AAAA";

/// Devices that could be mistaken for one another, ports that have a record beside their box's, pairs
/// of which nobody heard, and keys that let nobody in. `is_on_record` tells of a MAC whether it has a record.
pub fn oddities(
    site: &Site,
    devices: &Devices,
    is_on_record: impl Fn(MacAddr) -> bool,
) -> Vec<Fault> {
    let mut faults = keys(site);
    let mut names: BTreeMap<String, MacAddr> = BTreeMap::new();
    for (mac, device) in devices.iter() {
        let name = devices.hostname(mac);
        let name = name.unwrap_or_else(|| default_hostname(&mac.slug()));
        // Names are compared without regard to case, in DNS as elsewhere.
        if let Some(other) = names.insert(name.to_ascii_lowercase(), mac) {
            let reason = format!("{other} and {mac} have the same host name, {name}");
            faults.push(Fault::new(DEVICES_FILE, reason));
        }
        let ports = device.macs.iter().filter(|port| **port != mac);
        for port in ports.filter(|port| is_on_record(**port)) {
            let reason = format!(
                "{port} is a port of {mac}, and has a record of its own from before: gb10-provision-api forget {port}"
            );
            faults.push(Fault::new(DEVICES_FILE, reason));
        }
        let pair = device.pair.map(|pair| devices.primary(pair));
        let is_unknown = |pair: &MacAddr| devices.get(*pair).is_none() && !is_on_record(*pair);
        if let Some(pair) = pair.filter(is_unknown) {
            let reason = format!(
                "{pair} is the pair of {mac}, and neither has an entry here nor is on record"
            );
            faults.push(Fault::new(DEVICES_FILE, reason));
        }
    }
    faults
}

fn keys(site: &Site) -> Vec<Fault> {
    let keys = site.0.get_attr("authorized_keys").unwrap_or_default();
    if keys.kind() != ValueKind::Seq {
        return Vec::new();
    }
    let keys = keys.try_iter().into_iter().flatten().enumerate();
    let wrong = keys.filter_map(|(index, key)| {
        let what = why_no_key(key.as_str().unwrap_or_default())?;
        let reason = format!(
            "authorized_keys[{index}] {what}: expected a public key, such as \"ssh-ed25519 AAAA… name\""
        );
        Some(Fault::new(SITE_FILE, reason))
    });
    wrong.collect()
}

/// Why a text is no line of `authorized_keys`. Nothing of it is told.
fn why_no_key(text: &str) -> Option<&'static str> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_type = |word: &str| KEY_TYPES.iter().any(|start| word.starts_with(start));
    // Options may stand before the type.
    let has_key = words
        .windows(2)
        .any(|pair| is_type(pair[0]) && pair[1].starts_with(KEY_BEGINS));
    match () {
        () if words.is_empty() => Some("is empty"),
        () if text.contains("PRIVATE KEY") => Some("is a private key"),
        () if text.trim_end().contains('\n') => Some("has several lines"),
        () if !has_key => Some("is no public key"),
        () => None,
    }
}
