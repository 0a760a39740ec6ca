//! Lines that a peer can cause as often as it likes: told once, then counted, and told again with
//! their number.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long further ones are only counted.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Peers that are told apart at one time. Those beyond are in the total only.
const MAX_PEERS: usize = 1024;

/// How often each peer did the same thing.
#[derive(Default)]
pub struct Repeats {
    total: AtomicU64,
    told: Mutex<HashMap<IpAddr, Told>>,
}

struct Told {
    at: Instant,
    since: u64,
}

impl Repeats {
    /// How often all peers did it together.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Counts one more of `ip`. Where it is time to tell of it: how often it happened since the
    /// last time, this one included.
    pub fn count(&self, ip: IpAddr, now: Instant) -> Option<u64> {
        self.total.fetch_add(1, Ordering::Relaxed);
        let mut peers = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = |told: &Told| now.duration_since(told.at) >= TELL_EVERY;
        if let Some(told) = peers.get_mut(&ip) {
            told.since += 1;
            if !is_due(told) {
                return None;
            }
            told.at = now;
            return Some(std::mem::take(&mut told.since));
        }
        if peers.len() >= MAX_PEERS {
            peers.retain(|_, told| !is_due(told));
        }
        if peers.len() >= MAX_PEERS {
            return None;
        }
        peers.insert(ip, Told { at: now, since: 0 });
        Some(1)
    }
}
