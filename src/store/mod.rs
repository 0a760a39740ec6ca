//! The records of all devices, shared with other processes by way of `clients.json`.
//!
//! | file | concern |
//! |---|---|
//! | `mod` | the handle: change a record, read the records |
//! | [`rounds`] | group commit: many changes share the price of one fsync |
//! | [`clients`] | the records, and the text that each is in the file |
//! | `file` | the file: lock, read, replace, restore |
//! | `probing` | whether the next report would go on record |
//! | `figures` | what commits take |
//! | `unconfirmed` | which records give way in a full table |
//! | `by_hand` | an operator changes records, whether a service runs or not |
//! | `error` | why the state could not be read or changed |
//!
//! Two threads belong to a store. One commits. The other reads the file when somebody asks and it
//! may have changed, once for all who wait: so no thread that serves requests ever waits for the
//! disk. Both publish what they know as an [`Arc<Clients>`] in a watch channel.

mod by_hand;
pub mod clients;
mod error;
mod figures;
mod file;
mod probing;
pub mod rounds;
mod unconfirmed;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::{debug, error, warn};

pub use by_hand::{alter_boots, forget};
pub use clients::Clients;
pub use error::StoreError;
pub use figures::Figures;
use file::StateFile;
use probing::Probing;
use rounds::{Change, Message, Pending};
use unconfirmed::Unconfirmed;

use crate::device::mac::MacAddr;
use crate::device::record::ClientRecord;
use crate::message_id;

/// How long a change that somebody waits for may take: the lock, and the rounds before its own.
pub const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// A round that takes longer hangs: healthy disks answer an fsync in milliseconds, poor ones in
/// seconds.
const STALLED_ROUND: Duration = Duration::from_secs(30);

/// Between two lines of the journal that say that the table of devices is full.
const FULL_PAUSE: Duration = Duration::from_secs(60);

/// Changes that may wait. They wait in memory while another process holds the lock, those that
/// were refused as late included, so there must be an end to it.
const QUEUE_LENGTH: usize = 4096;

/// Whose record is changed.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// The device.
    pub mac: MacAddr,
    /// Whether the neighbour table or `devices.json` says that there is such a device. A record of
    /// one that nothing ever confirmed gives way to others in a full table.
    pub is_confirmed: bool,
}

/// A change that is on the disk.
#[derive(Debug, Clone)]
pub struct Changed<T> {
    /// What the change returned.
    pub outcome: T,
    /// The updated record, as JSON text.
    pub record: Bytes,
    /// Whether this is the first that is known of the device.
    pub is_new: bool,
}

/// The state of all devices.
pub struct Store {
    shared: Arc<Shared>,
    queue: mpsc::SyncSender<Message>,
    looks: mpsc::Sender<Look>,
    probing: tokio::sync::Mutex<Probing>,
    committer: JoinHandle<()>,
}

/// Somebody who waits for the records as the file has them.
type Look = oneshot::Sender<Result<Arc<Clients>, StoreError>>;

/// What a look at the file has to know.
#[derive(Default)]
struct Looking {
    /// The committer looked at the file under the lock and is replacing it. Until its version is
    /// published the latest one is what counts, and the file is not looked at.
    is_replacing: bool,
}

/// What both threads and the handle share.
struct Shared {
    file: StateFile,
    /// Most devices that are kept on record.
    max_clients: usize,
    /// The version of the records that was read or written last.
    latest: watch::Sender<Arc<Clients>>,
    /// Held by whoever looks at the file and publishes what it holds, so that it is never parsed
    /// twice for one change.
    looking: Mutex<Looking>,
    /// Why the last round failed; none when it went well.
    trouble: Mutex<Option<StoreError>>,
    /// When the round that is under way got the lock.
    round_began: Mutex<Option<Instant>>,
    /// The devices that nothing confirms.
    unconfirmed: Mutex<Unconfirmed>,
    /// When the journal was last told that the table of devices is full: that old records give way,
    /// and that new devices are refused.
    full_told: Mutex<[Option<Instant>; 2]>,
    /// What commits take.
    figures: Figures,
}

/// The records in the state of `folder` as they are now, for a look from outside of the service.
pub fn read(folder: PathBuf) -> Result<Clients, StoreError> {
    StateFile::new(folder).read()
}

/// The same, where the file is not the one that `former` was read from.
pub fn read_if_changed(folder: PathBuf, former: &Clients) -> Result<Option<Clients>, StoreError> {
    let file = StateFile::new(folder);
    match file.stamp()? == former.source.as_ref().map(|source| source.stamp) {
        true => Ok(None),
        false => file.read().map(Some),
    }
}

/// Whether a corrupt `clients.json` was moved aside in `folder`, and nobody mended or removed it
/// since: then boxes may be installed that nothing is on record of.
pub fn has_moved_aside(folder: &Path) -> io::Result<bool> {
    StateFile::new(folder.to_owned()).has_moved_aside()
}

impl Store {
    /// Opens the state in `folder`, of at most `max_clients` devices, and starts its threads.
    ///
    /// A state that cannot be read is no error here: seeds are served regardless, changes are
    /// refused until it can be, and the journal has the reason.
    pub fn open(folder: PathBuf, max_clients: usize) -> io::Result<Self> {
        let file = StateFile::new(folder);
        let shared = Arc::new(Shared {
            unconfirmed: Mutex::new(Unconfirmed::load(&file.lock_file())),
            file,
            max_clients,
            latest: watch::Sender::default(),
            looking: Mutex::default(),
            trouble: Mutex::default(),
            round_began: Mutex::default(),
            full_told: Mutex::default(),
            figures: Figures::default(),
        });
        let (queue, messages) = mpsc::sync_channel(QUEUE_LENGTH);
        let (prepared, is_prepared) = mpsc::channel();
        let commits = Arc::clone(&shared);
        let committer = spawn("commit", move || {
            // The first reading is done here, too: memory that a thread allocates stays with it.
            let _ = prepared.send(commits.prepare());
            commits.commit_until_closed(&messages);
        })?;
        let (looks, waiting) = mpsc::channel();
        let reads = Arc::clone(&shared);
        spawn("read", move || reads.read_until_closed(&waiting))?;
        let prepared = is_prepared.recv().unwrap_or(Err(StoreError::Stopped));
        if let Err(reason) = &prepared {
            error!(
                message_id = message_id::STATE_NOT_WRITABLE,
                %reason,
                "the state cannot be used yet; heartbeats are refused until it can: {reason}"
            );
        }
        Ok(Self {
            shared,
            queue,
            looks,
            probing: tokio::sync::Mutex::new(Probing::after(prepared)),
            committer,
        })
    }

    /// Changes one device's record, which is made if it is not there, and makes that last.
    ///
    /// The change stands in the queue when this returns, before its outcome is waited for: changes
    /// are made in the order of the calls. It may stand there for `limit`.
    ///
    /// # Errors
    /// The change is not on record then, and the file is as it was.
    pub fn change<T, F>(
        &self,
        subject: Subject,
        limit: Duration,
        change: F,
    ) -> impl Future<Output = Result<Changed<T>, StoreError>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&mut ClientRecord) -> Result<T, serde_json::Error> + Send + 'static,
    {
        let (pending, mut committed) = Pending::new(change);
        let job = Change::new(subject, Box::new(pending));
        let claim = job.claim();
        let queued = self.enqueue(Message::Change(job));
        async move {
            queued?;
            let outcome = match timeout(limit, &mut committed).await {
                Ok(outcome) => outcome,
                Err(_) if claim.take() => return Err(StoreError::Busy(limit)),
                Err(_) => committed.await,
            };
            outcome.map_err(|_| StoreError::Stopped)?
        }
    }

    /// Waits for what is under way; a corrupt file is moved aside.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (answer, flushed) = oneshot::channel();
        self.enqueue(Message::Flush(answer))?;
        let flushed = timeout(CHANGE_TIMEOUT, flushed).await;
        flushed
            .map_err(|_| StoreError::Busy(CHANGE_TIMEOUT))?
            .map_err(|_| StoreError::Stopped)?
    }

    fn enqueue(&self, message: Message) -> Result<(), StoreError> {
        self.queue.try_send(message).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => StoreError::Busy(CHANGE_TIMEOUT),
            mpsc::TrySendError::Disconnected(_) => StoreError::Stopped,
        })
    }

    /// All records, as the file has them at this moment; while a round of ours is under way, as
    /// the last one left them.
    pub async fn clients(&self) -> Result<Arc<Clients>, StoreError> {
        match self.look().await {
            Err(StoreError::Corrupt(_)) => {
                self.flush().await?;
                self.look().await
            }
            outcome => outcome,
        }
    }

    async fn look(&self) -> Result<Arc<Clients>, StoreError> {
        let (answer, looked) = oneshot::channel();
        self.looks.send(answer).map_err(|_| StoreError::Stopped)?;
        looked.await.map_err(|_| StoreError::Stopped)?
    }

    /// The records that were read or written last, without a look at the file.
    pub fn latest(&self) -> Arc<Clients> {
        self.shared.latest()
    }

    /// As [`has_moved_aside`]. It looks at the disk.
    pub fn has_moved_aside(&self) -> io::Result<bool> {
        self.shared.file.has_moved_aside()
    }

    /// The records, and a signal at each new version of them.
    pub fn watch(&self) -> watch::Receiver<Arc<Clients>> {
        self.shared.latest.subscribe()
    }

    /// Why the last round of commits failed; none when it went well.
    pub fn trouble(&self) -> Option<StoreError> {
        locked(&self.shared.trouble).clone()
    }

    /// What commits took since the start.
    pub fn figures(&self) -> &Figures {
        &self.shared.figures
    }

    /// Whether commits go on: no round hangs in the disk. Waiting for another process's lock is
    /// no hang, for a restart would not help.
    pub fn is_making_progress(&self) -> bool {
        let began = *locked(&self.shared.round_began);
        !self.committer.is_finished() && began.is_none_or(|began| began.elapsed() < STALLED_ROUND)
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(body)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn latest(&self) -> Arc<Clients> {
        Arc::clone(&self.latest.borrow())
    }

    fn publish(&self, clients: Clients) -> Arc<Clients> {
        let clients = Arc::new(clients);
        self.latest.send_replace(Arc::clone(&clients));
        clients
    }

    /// Tells the journal that the table of devices is full, now and then.
    fn tell_full(&self, gave_way: usize, refused: usize) {
        let mut told = locked(&self.full_told);
        // A warning must not hide the error that follows it.
        let told = &mut told[usize::from(refused > 0)];
        if told.is_some_and(|told| told.elapsed() < FULL_PAUSE) {
            return;
        }
        *told = Some(Instant::now());
        let limit = self.max_clients;
        match refused {
            0 => warn!(
                message_id = message_id::TABLE_FULL,
                limit,
                gave_way,
                "the table of devices is full ({limit}): the oldest records that nothing confirms give way to new ones"
            ),
            _ => error!(
                message_id = message_id::TABLE_FULL,
                limit, refused, "the table of devices is full ({limit}): new devices are refused"
            ),
        }
    }

    /// Looks at the file whenever somebody asks, once for all who asked before the look began.
    fn read_until_closed(&self, looks: &mpsc::Receiver<Look>) {
        while let Ok(first) = looks.recv() {
            let waiting: Vec<Look> = std::iter::once(first).chain(looks.try_iter()).collect();
            let looking = locked(&self.looking);
            let outcome = match looking.is_replacing {
                true => Ok(self.latest()),
                false => self.refresh(&looking),
            };
            drop(looking);
            for answer in waiting {
                // Nobody waits any more where a receiver is gone.
                let _ = answer.send(outcome.clone());
            }
        }
    }

    /// The records in the file, from memory where it is still the file that was read last.
    fn refresh(&self, _looking: &Looking) -> Result<Arc<Clients>, StoreError> {
        let latest = self.latest();
        if self.file.stamp()? == latest.source.as_ref().map(|source| source.stamp) {
            return Ok(latest);
        }
        let began = Instant::now();
        let clients = self.publish(self.file.read()?);
        debug!(
            clients = clients.len(),
            milliseconds = began.elapsed().as_millis(),
            "clients.json was read: another process changed it"
        );
        Ok(clients)
    }
}
