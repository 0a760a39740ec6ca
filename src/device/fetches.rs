//! Fetches of seeds: what this host saw of a device itself.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::history::Rfc3339;
use super::mac::MacAddr;

/// The value of `seed` in a record.
#[derive(Serialize, Deserialize)]
pub struct SeedFetches {
    /// How often user-data was fetched.
    count: u64,
    first: Fetch,
    last: Fetch,
    /// Set by a fetch after an install was reported, until the device is ready.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reinstalling: bool,
    /// How often that happened.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reinstalls: u64,
}

impl SeedFetches {
    /// The first fetches of a device.
    pub fn new(first: &Fetch, last: &Fetch, count: u64) -> Self {
        Self {
            count,
            first: first.clone(),
            last: last.clone(),
            reinstalling: false,
            reinstalls: 0,
        }
    }

    /// With later ones.
    pub fn and(self, last: &Fetch, count: u64) -> Self {
        Self {
            count: self.count.saturating_add(count),
            last: last.clone(),
            ..self
        }
    }

    /// When the last fetch was.
    pub fn latest(&self) -> Timestamp {
        self.last.at()
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One fetch of a device's user-data.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fetch {
    timestamp: Rfc3339,
    ip: IpAddr,
    /// `staged`, `embedded` or `fallback`.
    template: String,
    /// Who said which device it is.
    mac_source: String,
}

impl Fetch {
    /// A fetch at `at` by this host's clock, from `ip`.
    pub fn new(at: Timestamp, ip: IpAddr, template: &str, mac_source: &str) -> Self {
        let (template, mac_source) = (template.to_owned(), mac_source.to_owned());
        Self {
            timestamp: Rfc3339(at),
            ip,
            template,
            mac_source,
        }
    }

    /// When it was.
    pub fn at(&self) -> Timestamp {
        self.timestamp.0
    }

    /// The address that it came from.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }
}

/// Fetches of one device that are not on record yet.
#[derive(Debug, Clone)]
pub struct Fetches {
    /// The device.
    pub mac: MacAddr,
    /// The name that `devices.json` gives it.
    pub hostname: Option<String>,
    /// The first of them.
    pub first: Fetch,
    /// The last of them.
    pub last: Fetch,
    /// How many there are.
    pub count: u64,
}

impl Fetches {
    /// The first of them.
    pub fn new(mac: MacAddr, hostname: Option<String>, fetch: Fetch) -> Self {
        Self {
            mac,
            hostname,
            first: fetch.clone(),
            last: fetch,
            count: 1,
        }
    }

    /// Adds later ones.
    pub fn join(&mut self, later: Fetches) {
        self.last = later.last;
        self.count += later.count;
    }

    /// Adds a later one.
    pub fn add(&mut self, fetch: Fetch) {
        self.last = fetch;
        self.count += 1;
    }
}
