//! What was seen of devices and is not on record yet: it gathers for a moment, so that it costs no
//! fsync of its own.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::device::mac::MacAddr;
use crate::device::sightings::Sightings;

/// Sightings that wait, coalesced by device, and those that are being entered.
#[derive(Default)]
pub(super) struct Sighted {
    lists: Mutex<Lists>,
    /// Given once there is something to enter.
    pub(super) first: Notify,
    /// Given where that must not wait.
    pub(super) urgent: Notify,
}

#[derive(Default)]
struct Lists {
    waiting: BTreeMap<MacAddr, Sightings>,
    /// By the order in which they were taken.
    entering: BTreeMap<u64, Sightings>,
    taken: u64,
    /// When each device was last seen, by the clock that nobody sets.
    seen_at: BTreeMap<MacAddr, Instant>,
}

impl Sighted {
    fn lists<T>(&self, with: impl FnOnce(&mut Lists) -> T) -> T {
        with(&mut self.lists.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds what was seen of a device, unless it would be one more than `max_devices`.
    pub(super) fn add(&self, sightings: Sightings, max_devices: usize) {
        let mac = sightings.mac;
        let is_first = self.lists(|lists| {
            let has_room = lists.waiting.len() < max_devices;
            match lists.waiting.entry(mac) {
                Entry::Occupied(mut earlier) => earlier.get_mut().join(sightings),
                Entry::Vacant(place) if has_room => _ = place.insert(sightings),
                Entry::Vacant(_) => {}
            }
            lists.waiting.len() == 1
        });
        self.note(mac, max_devices);
        if is_first {
            self.first.notify_one();
        }
    }

    /// Notes that something is heard of the device now.
    pub(super) fn note(&self, mac: MacAddr, max_devices: usize) {
        self.lists(|lists| {
            if lists.seen_at.len() < max_devices || lists.seen_at.contains_key(&mac) {
                lists.seen_at.insert(mac, Instant::now());
            }
        });
    }

    /// Whether anything was heard of the device within that time.
    pub(super) fn was_heard_of(&self, mac: MacAddr, within: Duration) -> bool {
        self.lists(|lists| {
            let seen_at = lists.seen_at.get(&mac);
            seen_at.is_some_and(|at| at.elapsed() < within)
        })
    }

    /// What was seen of the device and may not be on record, in the order in which it was.
    pub(super) fn of(&self, mac: MacAddr) -> Vec<Sightings> {
        self.lists(|lists| {
            let all = lists.entering.values().chain(lists.waiting.get(&mac));
            all.filter(|seen| seen.mac == mac).cloned().collect()
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lists(|lists| lists.waiting.is_empty())
    }

    /// Takes the sightings of at most `count` devices, to be entered, those of `first` before all
    /// others. Each must come back, by [`Self::entered`] or [`Self::keep`].
    pub(super) fn take(&self, first: Option<MacAddr>, count: usize) -> Vec<(u64, Sightings)> {
        self.lists(|lists| {
            let mut taken = Vec::new();
            let mut first = first.and_then(|mac| lists.waiting.remove(&mac));
            let mut next = |lists: &mut Lists| {
                let others = || lists.waiting.pop_first().map(|(_, sightings)| sightings);
                first.take().or_else(others)
            };
            while taken.len() < count
                && let Some(sightings) = next(lists)
            {
                lists.taken += 1;
                lists.entering.insert(lists.taken, sightings.clone());
                taken.push((lists.taken, sightings));
            }
            taken
        })
    }

    /// They are on record, or never will be.
    pub(super) fn entered(&self, taken: u64) {
        self.lists(|lists| lists.entering.remove(&taken));
    }

    /// They could not be entered, and are put back under those that came since.
    pub(super) fn keep(&self, taken: u64) {
        self.lists(|lists| {
            let Some(mut older) = lists.entering.remove(&taken) else {
                return;
            };
            if let Some(newer) = lists.waiting.remove(&older.mac) {
                older.join(newer);
            }
            lists.waiting.insert(older.mac, older);
        });
    }
}
