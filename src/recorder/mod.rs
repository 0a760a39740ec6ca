//! Puts what devices report on record, and announces what it means.
//!
//! Heartbeats and the installer's events become reports here, and every line of the journal that
//! tells of a device's progress (first seen, stage failed, ready, reinstalling) is written here,
//! once the disk has what it tells. What nobody waits for is tried again here.

mod announce;
mod sighted;
mod silence;
mod waiting;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};
use tracing::warn;

use self::announce::{announce, announce_drift, tell_lost};
use self::sighted::Sighted;
pub use self::silence::SilenceWatch;
use self::waiting::Waiting;
use crate::device::boot::{Asked, Boot, Decision};
use crate::device::facts::Versions;
use crate::device::fetches::{Fetch, Fetches};
use crate::device::heartbeat::{Checked, Report, Sender};
use crate::device::installer::{Event, Installations};
use crate::device::mac::MacAddr;
use crate::device::record::Limits;
use crate::device::sightings::{Seen, Sightings};
use crate::device::stage::Stage;
use crate::site::SiteFiles;
use crate::store::{CHANGE_TIMEOUT, Changed, Clients, Store, StoreError, Subject};

/// Devices that neither the neighbour table nor `devices.json` knows, for each address that reports
/// them: more than any one box has ports, and enough to try the service by hand.
const MAX_STRANGERS: usize = 256;

/// Addresses that such devices are counted for. Beyond that the count begins anew.
const MAX_STRANGE_ADDRESSES: usize = 4096;

/// How long the answer to a milestone waits for the disk.
const MILESTONE_ANSWER: Duration = Duration::from_secs(2);

/// Pauses between the tries to put a milestone on record, in seconds: some ten minutes in all.
const PAUSES: [u64; 8] = [1, 2, 5, 15, 30, 60, 180, 300];

/// How long a milestone or a sighting may stand in the queue for the state. Nobody waits for it, and
/// it must not be overtaken by the device's next one, whatever holds the lock meanwhile.
const UNATTENDED_TIMEOUT: Duration = Duration::from_secs(600);

/// A report that is on record.
struct Entered {
    report: Report,
    /// What the facts of the device said before those that came with it.
    before: Option<Versions>,
}

/// The way to the record.
pub struct Recorder {
    store: Arc<Store>,
    /// What the operator says of boxes.
    site_files: Arc<SiteFiles>,
    /// What bounds a record.
    limits: Limits,
    /// Devices of which sightings are kept in memory.
    max_clients: usize,
    installations: Mutex<Installations>,
    /// Milestones that are not on record yet.
    waiting: Arc<Waiting>,
    /// Set once the service stops: nothing is tried again after that, …
    stops: AtomicBool,
    /// … and whatever waits for its next try has it at once.
    hurry: Notify,
    /// By address, the devices reported from there that nothing confirms.
    strangers: Mutex<HashMap<IpAddr, HashSet<MacAddr>>>,
    /// What was seen of devices, and is not on record yet.
    sighted: Sighted,
    /// When this was made, by the clock that nobody sets.
    began: Instant,
}

impl Recorder {
    /// Records in `store`, each record within `limits`, of at most `max_clients` devices.
    pub fn new(
        store: Arc<Store>,
        site_files: Arc<SiteFiles>,
        limits: Limits,
        max_clients: usize,
    ) -> Self {
        Self {
            store,
            site_files,
            limits,
            max_clients,
            installations: Mutex::default(),
            waiting: Arc::default(),
            stops: AtomicBool::new(false),
            hurry: Notify::new(),
            strangers: Mutex::default(),
            sighted: Sighted::default(),
            began: Instant::now(),
        }
    }

    /// Puts a heartbeat on record, and returns the device's updated record as JSON text.
    ///
    /// # Errors
    /// It is not on record then, and nothing was logged: that is for whoever answers.
    pub async fn heartbeat(self: &Arc<Self>, report: Report) -> Result<Bytes, StoreError> {
        self.enter_sightings_before(report.sender.mac);
        let changed = self.enter(report, CHANGE_TIMEOUT).await?;
        let Entered { report, before } = &changed.outcome;
        announce(report, changed.is_new, 200);
        if let (Some(before), Some(facts)) = (before, &report.checked.facts) {
            let now = facts.versions();
            announce_drift(report, &self.site_files.baseline(), before, &now);
        }
        Ok(changed.record)
    }

    /// Takes an event of an installer, and waits a moment until it is on record if it is a
    /// milestone. One that is not by then is kept, and tried again however long the disk or the
    /// lock takes, within reason.
    ///
    /// # Errors
    /// [`StoreError::Busy`] where the milestone is kept; anything else says that it is lost.
    pub async fn installer_event(
        self: &Arc<Self>,
        sender: Sender,
        event: &Event,
    ) -> Result<(), StoreError> {
        if self.admit(&sender).is_ok() {
            self.sighted.note(sender.mac, self.max_clients);
        }
        let Some(milestone) = locked(&self.installations).take(sender.mac, event) else {
            return Ok(());
        };
        let report = Report {
            sender,
            at: Timestamp::now(),
            stage: Stage::Install,
            phase: milestone.phase,
            detail: Some(milestone.detail),
            checked: Checked::default(),
            is_addition: false,
        };
        let place = Waiting::place(&self.waiting, &report)?;
        self.enter_sightings_before(report.sender.mac);
        // In the queue before this waits for anything, so that a device's events keep their order.
        let outcome = self.enter(report.clone(), UNATTENDED_TIMEOUT);
        let (answer, answered) = oneshot::channel();
        let recorder = Arc::clone(self);
        tokio::spawn(async move {
            recorder.persist(report, outcome, answer).await;
            drop(place);
        });
        match timeout(MILESTONE_ANSWER, answered).await {
            Ok(Ok(outcome)) => outcome,
            _ => Err(StoreError::Busy(MILESTONE_ANSWER)),
        }
    }

    /// Tries again until the report is on record, and answers whoever still waits.
    async fn persist(
        &self,
        report: Report,
        first: impl Future<Output = Result<Changed<Entered>, StoreError>>,
        answer: oneshot::Sender<Result<(), StoreError>>,
    ) {
        let (mac, ip) = (report.sender.mac, report.sender.ip);
        let mut outcome = first.await;
        for pause in PAUSES {
            let reason = match &outcome {
                Err(reason) if !is_final(reason) && !self.stops.load(Ordering::Relaxed) => reason,
                _ => break,
            };
            if pause == PAUSES[0] {
                warn!(gb10.mac = %mac, gb10.ip = %ip, %reason, "an installer's event of {mac} is not on record yet and will be tried again: {reason}");
            }
            let pause = tokio::time::sleep(Duration::from_secs(pause));
            tokio::select! {
                () = pause => {}
                () = self.hurry.notified() => {}
            }
            outcome = self.enter(report.clone(), UNATTENDED_TIMEOUT).await;
        }
        match outcome {
            Ok(changed) => {
                let status = if answer.is_closed() { 503 } else { 204 };
                announce(&changed.outcome.report, changed.is_new, status);
                let _ = answer.send(Ok(()));
            }
            Err(reason) => {
                tell_lost(&report, &reason);
                let _ = answer.send(Err(reason));
            }
        }
    }

    /// The report stands in the store's queue on return.
    fn enter(
        &self,
        report: Report,
        limit: Duration,
    ) -> impl Future<Output = Result<Changed<Entered>, StoreError>> + Send + use<> {
        let admitted = self.admit(&report.sender);
        self.sighted.note(report.sender.mac, self.max_clients);
        let limits = self.limits;
        let change = admitted.map(|()| {
            let subject = Subject {
                mac: report.sender.mac,
                is_confirmed: report.sender.is_confirmed,
            };
            self.store.change(subject, limit, move |record| {
                let has_facts = report.checked.facts.is_some();
                let before = has_facts.then(|| record.versions());
                record.enter(&report, limits)?;
                Ok(Entered { report, before })
            })
        });
        async move { change?.await }
    }

    /// Bounds the records that one address can make of devices that nothing confirms.
    ///
    /// # Errors
    /// There are too many of that address.
    pub fn admit(&self, sender: &Sender) -> Result<(), StoreError> {
        if sender.is_confirmed || self.store.latest().has(sender.mac) {
            return Ok(());
        }
        let mut strangers = locked(&self.strangers);
        if strangers.len() >= MAX_STRANGE_ADDRESSES && !strangers.contains_key(&sender.ip) {
            strangers.clear();
        }
        let of_address = strangers.entry(sender.ip).or_default();
        if of_address.len() >= MAX_STRANGERS && !of_address.contains(&sender.mac) {
            return Err(StoreError::TooManyUnconfirmed(MAX_STRANGERS));
        }
        of_address.insert(sender.mac);
        Ok(())
    }

    /// Notes that a device fetched its seed. That costs no fsync of its own: it is on record with
    /// the next heartbeat, or a little later. It makes a record only for a device that something
    /// confirms: anybody may ask for the seed of a MAC that does not exist.
    pub fn fetched(&self, sender: &Sender, fetch: Fetch) {
        let is_told = || !self.sighted.of(sender.mac).is_empty();
        if sender.is_confirmed || self.store.latest().has(sender.mac) || is_told() {
            self.saw(sender, Seen::Fetched(Fetches::new(fetch)));
        }
    }

    /// Notes that a device asked what to boot, and what it was told, at the same price. Its
    /// installations are to be counted, so it gets a record, within the bounds of one that reports.
    ///
    /// Where `opens_window` says that its seed depends on the word to install, that is entered at
    /// once: a process that is killed a moment later must not leave the installer without its seed.
    pub fn asked(&self, sender: &Sender, asked: Asked, opens_window: bool) {
        if self.admit(sender).is_err() {
            return;
        }
        let is_word_to_install = asked.decision == Decision::Install;
        let is_first = || {
            let boot = self.boot(&self.store.latest(), sender.mac, &[]);
            !boot.is_installing()
        };
        let is_urgent = opens_window && is_word_to_install && is_first();
        self.saw(sender, Seen::Asked(asked));
        if is_urgent {
            self.sighted.urgent.notify_one();
        }
    }

    fn saw(&self, sender: &Sender, seen: Seen) {
        let sightings = Sightings::new(sender, seen);
        self.sighted.add(sightings, self.max_clients);
    }

    /// What a device was told to boot and what came of it, by `clients` and by what is not on record
    /// yet. `ports` are its other MACs.
    pub fn boot(&self, clients: &Clients, mac: MacAddr, ports: &[MacAddr]) -> Boot {
        let mut boot = clients.boot(mac, ports);
        for sightings in self.sighted.of(mac) {
            boot.saw(&sightings);
        }
        boot
    }

    /// Whether anything was heard of the device within that time, as far as this process knows.
    pub fn was_heard_of(&self, mac: MacAddr, within: Duration) -> bool {
        self.sighted.was_heard_of(mac, within)
    }

    /// Puts on record what is in memory alone, in the time that a stop leaves. What is lost is
    /// named in the journal.
    pub async fn finish(&self, within: Duration) {
        self.stops.store(true, Ordering::Relaxed);
        self.hurry.notify_waiters();
        let all = async {
            self.enter_sightings_now().await?;
            self.store.flush().await?;
            self.waiting.is_empty().await;
            Ok::<(), StoreError>(())
        };
        let outcome = timeout(within, all).await;
        if !self.sighted.is_empty() || !matches!(outcome, Ok(Ok(()))) {
            warn!(
                "the last seed fetches and boots are not on record: the state is busy or cannot be written"
            );
        }
        for report in self.waiting.reports() {
            tell_lost(&report, &StoreError::Busy(within));
        }
    }
}

/// Whether a later try can go no better.
fn is_final(reason: &StoreError) -> bool {
    matches!(
        reason,
        StoreError::TooManyClients(_) | StoreError::TooManyUnconfirmed(_) | StoreError::Stopped
    )
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
