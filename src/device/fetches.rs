//! Fetches of seeds: what this host saw of a device itself.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::fields::Fields;
use super::history::Rfc3339;

/// The value of `seed` in a record, unknown fields included.
///
/// | field | |
/// |---|---|
/// | `count` | how often user-data was fetched |
/// | `first`, `last` | a [`Fetch`] each |
/// | `reinstalling` | true from a fetch after an install was reported, until the device is ready |
/// | `reinstalls` | how often that happened |
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeedFetches(Fields);

impl SeedFetches {
    /// Adds fetches.
    pub fn add(&mut self, fetches: &Fetches) -> Result<(), serde_json::Error> {
        self.0.count("count", fetches.count)?;
        if !self.0.has("first") {
            self.0.set("first", &fetches.first)?;
        }
        self.0.set("last", &fetches.last)
    }

    /// The first fetch, where one is known.
    pub fn first(&self) -> Option<Fetch> {
        self.0.get("first")
    }

    /// The last fetch, where one is known.
    pub fn last(&self) -> Option<Fetch> {
        self.0.get("last")
    }

    /// When that was.
    pub fn latest(&self) -> Option<Timestamp> {
        self.last().map(|fetch| fetch.at())
    }

    /// How often user-data was fetched.
    pub fn count(&self) -> u64 {
        self.0.get("count").unwrap_or(0)
    }

    /// Whether the device is being installed again.
    pub fn is_reinstalling(&self) -> bool {
        self.0.get("reinstalling").unwrap_or(false)
    }

    /// Enters that the device is being installed again, or, by a fetch before it became ready, was.
    /// Returns how often that happened.
    pub fn reinstalled(&mut self, is_under_way: bool) -> Result<u64, serde_json::Error> {
        if is_under_way {
            self.0.set("reinstalling", &true)?;
        }
        self.0.count("reinstalls", 1)?;
        Ok(self.0.get("reinstalls").unwrap_or(1))
    }

    /// Enters that the device is ready.
    pub fn ready(&mut self) {
        self.0.remove("reinstalling");
    }
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

    /// What was served: `staged`, `embedded` or `fallback`.
    pub fn template(&self) -> &str {
        &self.template
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

/// Fetches of one device in a row.
#[derive(Debug, Clone)]
pub struct Fetches {
    /// The first of them.
    pub first: Fetch,
    /// The last of them.
    pub last: Fetch,
    /// How many there are.
    pub count: u64,
}

impl Fetches {
    /// The first of them.
    pub fn new(fetch: Fetch) -> Self {
        Self {
            first: fetch.clone(),
            last: fetch,
            count: 1,
        }
    }

    /// Adds later ones.
    pub fn join(&mut self, later: Self) {
        self.last = later.last;
        self.count += later.count;
    }
}
