//! What was seen of devices and is not on record yet: it gathers for a moment, so that it costs no
//! fsync of its own, and is entered then.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::announce::announce_sightings;
use super::{Recorder, UNATTENDED_TIMEOUT};
use crate::device::mac::MacAddr;
use crate::device::record::Noticed;
use crate::device::sightings::Sightings;
use crate::store::{Changed, StoreError, Subject};

/// How long sightings gather before they cost an fsync.
const SIGHTINGS_PAUSE: Duration = Duration::from_secs(2);

/// How long they wait after the state could not be written.
const SIGHTINGS_RETRY: Duration = Duration::from_secs(10);

/// Devices whose sightings are entered with one commit.
const SIGHTINGS_AT_ONCE: usize = 256;

/// Sightings on their way to the record.
type Entering = Pin<Box<dyn Future<Output = Result<Changed<Noticed>, StoreError>> + Send>>;

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

    /// When anything was heard of the device, as far as this process knows.
    pub(super) fn heard_of_at(&self, mac: MacAddr) -> Option<Instant> {
        self.lists(|lists| lists.seen_at.get(&mac).copied())
    }

    /// Whether that was within this time.
    pub(super) fn was_heard_of(&self, mac: MacAddr, within: Duration) -> bool {
        let heard_of_at = self.heard_of_at(mac);
        heard_of_at.is_some_and(|at| at.elapsed() < within)
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

impl Recorder {
    /// Enters sightings, a little after they came, for as long as it is polled.
    pub async fn enter_sightings(&self) {
        loop {
            self.sighted.first.notified().await;
            let mut pause = SIGHTINGS_PAUSE;
            while !self.sighted.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.sighted.urgent.notified() => {}
                }
                pause = match self.enter_sightings_now().await {
                    Ok(()) => SIGHTINGS_PAUSE,
                    Err(_) => SIGHTINGS_RETRY,
                };
            }
        }
    }

    pub(super) async fn enter_sightings_now(&self) -> Result<(), StoreError> {
        loop {
            let queued = self.queue_sightings(None);
            if queued.is_empty() {
                return Ok(());
            }
            self.finish_sightings(queued).await?;
        }
    }

    /// Puts sightings in the store's queue, so that a report of this device comes behind its own, as
    /// it did here: an end of an installation that was entered before its begin would end nothing.
    /// They share the round.
    pub(super) fn enter_sightings_before(self: &Arc<Self>, reporter: MacAddr) {
        let queued = self.queue_sightings(Some(reporter));
        if !queued.is_empty() {
            let recorder = Arc::clone(self);
            tokio::spawn(async move { recorder.finish_sightings(queued).await });
        }
    }

    /// Puts sightings in the store's queue, those of `first` before all others.
    fn queue_sightings(&self, first: Option<MacAddr>) -> Vec<(u64, Sightings, Entering)> {
        let taken = self.sighted.take(first, SIGHTINGS_AT_ONCE);
        let queue = |(taken, sightings): (u64, Sightings)| {
            let enter = sightings.clone();
            let subject = Subject {
                mac: sightings.mac,
                is_confirmed: sightings.is_confirmed,
            };
            let entering = self
                .store
                .change(subject, UNATTENDED_TIMEOUT, move |record| {
                    record.enter_sightings(&enter)
                });
            (taken, sightings, Box::pin(entering) as Entering)
        };
        taken.into_iter().map(queue).collect()
    }

    /// Waits for sightings that are in the queue. Those that could not be entered are kept.
    async fn finish_sightings(
        &self,
        queued: Vec<(u64, Sightings, Entering)>,
    ) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        for (taken, sightings, entering) in queued {
            match entering.await {
                Ok(changed) => {
                    self.sighted.entered(taken);
                    announce_sightings(&sightings, &changed);
                }
                // The store is full, and stays so: the device is told of it when it reports.
                Err(StoreError::TooManyClients(_)) => self.sighted.entered(taken),
                Err(reason) => {
                    self.sighted.keep(taken);
                    outcome = Err(reason);
                }
            }
        }
        outcome
    }
}
