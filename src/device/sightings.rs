//! What this host saw of a device itself: that it asked what to boot, that it fetched its seed.

use std::net::IpAddr;

use super::boot::Asked;
use super::fetches::Fetches;
use super::heartbeat::Sender;
use super::mac::MacAddr;

/// Most of one device that wait for the record; the oldest give way. A record has little more than
/// the last of each, and none can be entered as long as the state cannot be written.
const MAX_SEEN: usize = 32;

/// What was seen of one device, and is not on record yet.
#[derive(Debug, Clone)]
pub struct Sightings {
    /// The device.
    pub mac: MacAddr,
    /// The name that `devices.json` gives it.
    pub hostname: Option<String>,
    /// Whether the neighbour table or `devices.json` says that there is such a device.
    pub is_confirmed: bool,
    /// The address that it came from last.
    pub ip: IpAddr,
    seen: Vec<Seen>,
}

/// One thing that a device did, perhaps some times in a row.
#[derive(Debug, Clone)]
pub enum Seen {
    /// It asked what to boot.
    Asked(Asked),
    /// It fetched its user-data.
    Fetched(Fetches),
}

impl Sightings {
    /// The first of a device.
    pub fn new(sender: &Sender, seen: Seen) -> Self {
        Self {
            mac: sender.mac,
            hostname: sender.hostname.clone(),
            is_confirmed: sender.is_confirmed,
            ip: sender.ip,
            seen: vec![seen],
        }
    }

    /// In the order in which they happened.
    pub fn iter(&self) -> impl Iterator<Item = &Seen> {
        self.seen.iter()
    }

    /// Adds later ones.
    pub fn join(&mut self, later: Self) {
        self.ip = later.ip;
        self.is_confirmed |= later.is_confirmed;
        for next in later.seen {
            match (self.seen.last_mut(), next) {
                (Some(Seen::Fetched(last)), Seen::Fetched(next)) => last.join(next),
                (Some(Seen::Asked(last)), Seen::Asked(next)) => last.join(next),
                (_, next) => self.seen.push(next),
            }
        }
        let excess = self.seen.len().saturating_sub(MAX_SEEN);
        self.seen.drain(..excess);
    }
}
