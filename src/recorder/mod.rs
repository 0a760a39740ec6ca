//! Puts what devices report on record, and announces what it means.
//!
//! Heartbeats and the installer's events become reports here, and every line of the journal that
//! tells of a device's progress (first seen, stage failed, ready, reinstalling) is written here,
//! once the disk has what it tells. What nobody waits for is tried again here.

mod announce;
mod waiting;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;
use tracing::warn;

use self::announce::{announce, announce_fetches, tell_lost};
use self::waiting::Waiting;
use crate::device::fetches::{Fetch, Fetches};
use crate::device::heartbeat::{Report, Sender};
use crate::device::installer::{Event, Installations};
use crate::device::mac::MacAddr;
use crate::device::record::Limits;
use crate::device::stage::Stage;
use crate::store::{CHANGE_TIMEOUT, Changed, Store, StoreError, Subject};

/// Devices that neither the neighbour table nor `devices.json` knows, for each address that reports
/// them: more than any one box has ports, and enough to try the service by hand.
const MAX_STRANGERS: usize = 256;

/// Addresses that such devices are counted for. Beyond that the count begins anew.
const MAX_STRANGE_ADDRESSES: usize = 4096;

/// How long the answer to a milestone waits for the disk.
const MILESTONE_ANSWER: Duration = Duration::from_secs(2);

/// Pauses between the tries to put a milestone on record, in seconds: some ten minutes in all.
const PAUSES: [u64; 8] = [1, 2, 5, 15, 30, 60, 180, 300];

/// How long a milestone may stand in the queue for the state. Nobody waits for it, and it must not
/// be overtaken by the device's next one, whatever holds the lock meanwhile.
const MILESTONE_TIMEOUT: Duration = Duration::from_secs(600);

/// How long fetches of seeds gather before they cost an fsync.
const FETCHES_PAUSE: Duration = Duration::from_secs(2);

/// How long they wait after the state could not be written.
const FETCHES_RETRY: Duration = Duration::from_secs(10);

/// Devices whose fetches are entered with one commit.
const FETCHES_AT_ONCE: usize = 256;

/// Fetches on their way to the record; what comes of it is how often the device was reinstalled, if
/// these fetches show that it is again.
type Entering = Pin<Box<dyn Future<Output = Result<Changed<Option<u64>>, StoreError>> + Send>>;

/// The way to the record.
pub struct Recorder {
    store: Arc<Store>,
    /// What bounds a record.
    limits: Limits,
    /// Devices whose fetches are kept in memory.
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
    /// Fetches of seeds that are not on record yet, coalesced by device.
    fetches: Mutex<BTreeMap<MacAddr, Fetches>>,
    fetched: Notify,
}

impl Recorder {
    /// Records in `store`, each record within `limits`, of at most `max_clients` devices.
    pub fn new(store: Arc<Store>, limits: Limits, max_clients: usize) -> Self {
        Self {
            store,
            limits,
            max_clients,
            installations: Mutex::default(),
            waiting: Arc::default(),
            stops: AtomicBool::new(false),
            hurry: Notify::new(),
            strangers: Mutex::default(),
            fetches: Mutex::default(),
            fetched: Notify::new(),
        }
    }

    /// Puts a heartbeat on record, and returns the device's updated record as JSON text.
    ///
    /// # Errors
    /// It is not on record then, and nothing was logged: that is for whoever answers.
    pub async fn heartbeat(self: &Arc<Self>, report: Report) -> Result<Bytes, StoreError> {
        // They share the round, and the report comes after them, as it did here.
        let fetches = self.queue_fetches();
        let changed = self.enter(report, CHANGE_TIMEOUT);
        if !fetches.is_empty() {
            let recorder = Arc::clone(self);
            tokio::spawn(async move { recorder.finish_fetches(fetches).await });
        }
        let changed = changed.await?;
        announce(&changed.outcome, changed.is_new, 200);
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
        let Some(milestone) = locked(&self.installations).take(sender.mac, event) else {
            return Ok(());
        };
        let report = Report {
            sender,
            at: Timestamp::now(),
            stage: Stage::Install,
            phase: milestone.phase,
            detail: Some(milestone.detail),
            is_addition: false,
        };
        let place = Waiting::place(&self.waiting, &report)?;
        // In the queue before this waits for anything, so that a device's events keep their order.
        let outcome = self.enter(report.clone(), MILESTONE_TIMEOUT);
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
        first: impl Future<Output = Result<Changed<Report>, StoreError>>,
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
            outcome = self.enter(report.clone(), MILESTONE_TIMEOUT).await;
        }
        match outcome {
            Ok(changed) => {
                let status = if answer.is_closed() { 503 } else { 204 };
                announce(&changed.outcome, changed.is_new, status);
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
    ) -> impl Future<Output = Result<Changed<Report>, StoreError>> + Send + use<> {
        let admitted = self.admit(&report.sender);
        let limits = self.limits;
        let change = admitted.map(|()| {
            let subject = Subject {
                mac: report.sender.mac,
                is_confirmed: report.sender.is_confirmed,
            };
            self.store.change(subject, limit, move |record| {
                record.enter(&report, limits)?;
                Ok(report)
            })
        });
        async move { change?.await }
    }

    /// Bounds the records that one address can make of devices that nothing confirms.
    fn admit(&self, sender: &Sender) -> Result<(), StoreError> {
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
        let mac = sender.mac;
        if !sender.is_confirmed && !self.store.latest().has(mac) {
            return;
        }
        let fetched = Fetches::new(mac, sender.hostname.clone(), sender.is_confirmed, fetch);
        let mut fetches = locked(&self.fetches);
        let room = fetches.len() < self.max_clients;
        match fetches.get_mut(&mac) {
            Some(earlier) => earlier.join(fetched),
            None if room => _ = fetches.insert(mac, fetched),
            None => {}
        }
        if fetches.len() == 1 {
            self.fetched.notify_one();
        }
    }

    /// Enters fetches, a little after they came, for as long as it is polled.
    pub async fn enter_fetches(&self) {
        loop {
            self.fetched.notified().await;
            let mut pause = FETCHES_PAUSE;
            while !locked(&self.fetches).is_empty() {
                tokio::time::sleep(pause).await;
                pause = match self.enter_fetches_now().await {
                    Ok(()) => FETCHES_PAUSE,
                    Err(_) => FETCHES_RETRY,
                };
            }
        }
    }

    /// Puts on record what is in memory alone, in the time that a stop leaves. What is lost is
    /// named in the journal.
    pub async fn finish(&self, within: Duration) {
        self.stops.store(true, Ordering::Relaxed);
        self.hurry.notify_waiters();
        let all = async {
            self.enter_fetches_now().await?;
            self.store.flush().await?;
            self.waiting.is_empty().await;
            Ok::<(), StoreError>(())
        };
        let outcome = timeout(within, all).await;
        if !locked(&self.fetches).is_empty() || !matches!(outcome, Ok(Ok(()))) {
            warn!(
                "the last seed fetches are not on record: the state is busy or cannot be written"
            );
        }
        for report in self.waiting.reports() {
            tell_lost(&report, &StoreError::Busy(within));
        }
    }

    async fn enter_fetches_now(&self) -> Result<(), StoreError> {
        loop {
            let queued = self.queue_fetches();
            if queued.is_empty() {
                return Ok(());
            }
            self.finish_fetches(queued).await?;
        }
    }

    /// Puts fetches in the store's queue.
    fn queue_fetches(&self) -> Vec<(Fetches, Entering)> {
        let mut waiting = locked(&self.fetches);
        let next = std::iter::from_fn(|| waiting.pop_first()).take(FETCHES_AT_ONCE);
        next.map(|(mac, fetches)| {
            let enter = fetches.clone();
            let subject = Subject {
                mac,
                is_confirmed: fetches.is_confirmed,
            };
            let entering = self.store.change(subject, CHANGE_TIMEOUT, move |record| {
                record.enter_fetches(&enter)
            });
            (fetches, Box::pin(entering) as Entering)
        })
        .collect()
    }

    /// Waits for fetches that are in the queue. Those that could not be entered are kept.
    async fn finish_fetches(&self, queued: Vec<(Fetches, Entering)>) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        for (fetches, entering) in queued {
            match entering.await {
                Ok(changed) => announce_fetches(&fetches, &changed),
                // The store is full, and stays so: the device is told of it when it reports.
                Err(StoreError::TooManyClients(_)) => {}
                Err(reason) => {
                    self.keep(fetches);
                    outcome = Err(reason);
                }
            }
        }
        outcome
    }

    /// Puts fetches back that could not be entered, under those that came since.
    fn keep(&self, mut older: Fetches) {
        let mut fetches = locked(&self.fetches);
        if let Some(newer) = fetches.remove(&older.mac) {
            older.join(newer);
        }
        fetches.insert(older.mac, older);
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
