//! Puts what devices report on record, and announces what it means.
//!
//! Heartbeats and the installer's events become reports here, and every line of the journal that
//! tells of a device's progress (first seen, stage failed, ready, reinstalling) is written here,
//! once the disk has what it tells. What nobody waits for is tried again here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};
use tracing::{error, info, warn};

use crate::device::fetches::{Fetch, Fetches};
use crate::device::heartbeat::{Report, Sender};
use crate::device::installer::{Event, Installations};
use crate::device::mac::MacAddr;
use crate::device::stage::{Phase, Stage};
use crate::message_id;
use crate::store::{CHANGE_TIMEOUT, Changed, Store, StoreError};

/// Milestones that wait for the disk at one time, for all devices.
const MAX_WAITING: usize = 4096;

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
    /// Events kept of one device.
    history_limit: usize,
    /// Devices whose fetches are kept in memory.
    max_clients: usize,
    installations: Mutex<Installations>,
    places: Arc<Semaphore>,
    /// Fetches of seeds that are not on record yet, coalesced by device.
    fetches: Mutex<BTreeMap<MacAddr, Fetches>>,
    fetched: Notify,
}

impl Recorder {
    /// Records in `store`, at most `history_limit` events of a device.
    pub fn new(store: Arc<Store>, history_limit: usize, max_clients: usize) -> Self {
        Self {
            store,
            history_limit,
            max_clients,
            installations: Mutex::default(),
            places: Arc::new(Semaphore::new(MAX_WAITING)),
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

    /// Takes an event of an installer. What is a milestone is put on record behind this call,
    /// however long the disk or the lock takes, within reason.
    pub fn installer_event(self: &Arc<Self>, sender: Sender, event: &Event) {
        let Some(milestone) = locked(&self.installations).take(sender.mac, event) else {
            return;
        };
        let report = Report {
            sender,
            at: Timestamp::now(),
            stage: Stage::Install,
            phase: milestone.phase,
            detail: Some(milestone.detail),
        };
        let mac = report.sender.mac;
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            error!(gb10.mac = %mac, "an installer's event of {mac} is lost: too many are waiting to be written");
            return;
        };
        // In the queue before this returns, so that a device's events keep their order.
        let mut outcome = self.enter(report.clone(), MILESTONE_TIMEOUT);
        let recorder = Arc::clone(self);
        tokio::spawn(async move {
            let mut pauses = PAUSES.iter();
            loop {
                let reason = match outcome.await {
                    Ok(changed) => {
                        announce(&changed.outcome, changed.is_new, 204);
                        break;
                    }
                    Err(reason) => reason,
                };
                let is_final =
                    matches!(reason, StoreError::TooManyClients(_) | StoreError::Stopped);
                let pause = pauses.next().filter(|_| !is_final);
                let Some(pause) = pause else {
                    error!(gb10.mac = %mac, %reason, "an installer's event of {mac} is lost: {reason}");
                    break;
                };
                if pauses.len() + 1 == PAUSES.len() {
                    warn!(gb10.mac = %mac, %reason, "an installer's event of {mac} is not on record yet and will be tried again: {reason}");
                }
                tokio::time::sleep(Duration::from_secs(*pause)).await;
                outcome = recorder.enter(report.clone(), MILESTONE_TIMEOUT);
            }
            drop(place);
        });
    }

    /// The report stands in the store's queue on return.
    fn enter(
        &self,
        report: Report,
        limit: Duration,
    ) -> impl Future<Output = Result<Changed<Report>, StoreError>> + Send + use<> {
        let history_limit = self.history_limit;
        self.store.change(report.sender.mac, limit, move |record| {
            record.enter(&report, history_limit)?;
            Ok(report)
        })
    }

    /// Notes that a device fetched its seed. That costs no fsync of its own: it is on record with
    /// the next heartbeat, or a little later. A device that is new then gets `hostname`, or the
    /// default.
    pub fn fetched(&self, mac: MacAddr, hostname: Option<String>, fetch: Fetch) {
        let mut fetches = locked(&self.fetches);
        let room = fetches.len() < self.max_clients;
        match fetches.get_mut(&mac) {
            Some(earlier) => earlier.add(fetch),
            None if room => _ = fetches.insert(mac, Fetches::new(mac, hostname, fetch)),
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

    /// Enters all fetches so far, and waits for every change that is under way.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.enter_fetches_now().await?;
        self.store.flush().await
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
            let entering = self.store.change(mac, CHANGE_TIMEOUT, move |record| {
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

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a report means to an operator, once it is on record and `status` is its answer.
fn announce(report: &Report, is_new: bool, status: u16) {
    let Report {
        sender,
        stage,
        phase,
        ..
    } = report;
    let Sender {
        mac,
        ip,
        mac_source,
        ..
    } = sender;
    if is_new {
        first_seen(*mac, *ip, "reported");
    }
    macro_rules! log {
        ($level:ident, $($message:tt)+) => {
            $level!(
                gb10.mac = %mac,
                gb10.ip = %ip,
                mac_source = mac_source.name(),
                gb10.stage = %stage,
                gb10.phase = %phase,
                gb10.status = status,
                $($message)+
            )
        };
    }
    match (stage, phase) {
        (_, Phase::Fail) => log!(
            warn,
            message_id = message_id::STAGE_FAILED,
            "stage failed: {mac} at {ip}, {stage}"
        ),
        (Stage::Ready, Phase::Done) => log!(
            info,
            message_id = message_id::DEVICE_READY,
            "device ready: {mac} at {ip}"
        ),
        _ => log!(info, "heartbeat: {mac} at {ip}, {stage} {phase}"),
    }
}

/// What fetches of a seed mean, once they are on record.
fn announce_fetches(fetches: &Fetches, changed: &Changed<Option<u64>>) {
    let mac = fetches.mac;
    if changed.is_new {
        first_seen(mac, fetches.last.ip(), "fetched its seed");
    }
    if let Some(times) = changed.outcome {
        warn!(gb10.mac = %mac, times, "reinstalling: {mac} fetched its seed again after it had reported an installation ({times} so far)");
    }
}

fn first_seen(mac: MacAddr, ip: IpAddr, how: &str) {
    let message_id = message_id::DEVICE_FIRST_SEEN;
    info!(message_id, gb10.mac = %mac, gb10.ip = %ip, "new device: {mac} at {ip} {how}");
}
