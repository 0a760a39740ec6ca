//! The records of all devices, shared with other processes by way of `clients.json`.
//!
//! | file | concern |
//! |---|---|
//! | `mod` | the handle: change a record, read the records |
//! | [`rounds`] | group commit: many changes share the price of one fsync |
//! | [`clients`] | the records, and the text that each is in the file |
//! | `file` | the file: lock, read, replace, restore |
//!
//! Two threads belong to a store. One commits. The other reads the file when somebody asks and it
//! may have changed, once for all who wait: so no thread that serves requests ever waits for the
//! disk. Both publish what they know as an [`Arc<Clients>`] in a watch channel.

pub mod clients;
mod file;
pub mod rounds;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::{debug, error};

pub use clients::Clients;
use file::StateFile;
use rounds::{Change, Message, Pending};

use crate::device::mac::MacAddr;
use crate::device::record::ClientRecord;
use crate::message_id;

/// How long a change that somebody waits for may take: the lock, and the rounds before its own.
pub const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// A round that takes longer hangs: healthy disks answer an fsync in milliseconds, poor ones in
/// seconds.
const STALLED_ROUND: Duration = Duration::from_secs(30);

/// Changes that may wait. They wait in memory while another process holds the lock, those that
/// were refused as late included, so there must be an end to it.
const QUEUE_LENGTH: usize = 4096;

/// Why the state could not be read or changed. No text of a record is in it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another process held the lock, or the disk was busy, for too long.
    #[error("the state was locked or busy for over {} s", CHANGE_TIMEOUT.as_secs())]
    Busy,
    /// A system call failed; the state is as it was.
    #[error("{action} failed: {cause}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The system's answer.
        cause: Arc<io::Error>,
    },
    /// A new device would be one more than the configured limit.
    #[error("{0} devices are on record already, which is the limit (MAX_CLIENTS)")]
    TooManyClients(usize),
    /// `clients.json` is not an object of records. Only a reader sees this; a round moves it aside.
    #[error("clients.json is not a JSON object of records: {0}")]
    Corrupt(Arc<serde_json::Error>),
    /// A thread of the store has ended, which only a defect can cause.
    #[error("the state is no longer being written")]
    Stopped,
}

/// Names the step that failed.
trait During<T> {
    fn during(self, action: &'static str) -> Result<T, StoreError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, action: &'static str) -> Result<T, StoreError> {
        self.map_err(|cause| StoreError::Io {
            action,
            cause: Arc::new(cause.into()),
        })
    }
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
}

impl Store {
    /// Opens the state in `folder`, of at most `max_clients` devices, and starts its threads.
    ///
    /// A state that cannot be read is no error here: seeds are served regardless, changes are
    /// refused until it can be, and the journal has the reason.
    pub fn open(folder: PathBuf, max_clients: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            file: StateFile::new(folder),
            max_clients,
            latest: watch::Sender::default(),
            looking: Mutex::default(),
            trouble: Mutex::default(),
            round_began: Mutex::default(),
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
        if let Ok(Err(reason)) = is_prepared.recv() {
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
        mac: MacAddr,
        limit: Duration,
        change: F,
    ) -> impl Future<Output = Result<Changed<T>, StoreError>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&mut ClientRecord) -> Result<T, serde_json::Error> + Send + 'static,
    {
        let (pending, mut committed) = Pending::new(change);
        let job = Change::new(mac, Box::new(pending));
        let claim = job.claim();
        let queued = self.enqueue(Message::Change(job));
        async move {
            queued?;
            let outcome = match timeout(limit, &mut committed).await {
                Ok(outcome) => outcome,
                Err(_) if claim.take() => return Err(StoreError::Busy),
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
            .map_err(|_| StoreError::Busy)?
            .map_err(|_| StoreError::Stopped)?
    }

    fn enqueue(&self, message: Message) -> Result<(), StoreError> {
        self.queue.try_send(message).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => StoreError::Busy,
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

    /// The records, and a signal at each new version of them.
    pub fn watch(&self) -> watch::Receiver<Arc<Clients>> {
        self.shared.latest.subscribe()
    }

    /// Why the last round of commits failed; none when it went well.
    pub fn trouble(&self) -> Option<StoreError> {
        locked(&self.shared.trouble).clone()
    }

    /// Whether commits go on: no round hangs in the disk. Waiting for another process's lock is
    /// no hang, for a restart would not help.
    pub fn is_making_progress(&self) -> bool {
        let began = *locked(&self.shared.round_began);
        !self.committer.is_finished() && began.is_none_or(|began| began.elapsed() < STALLED_ROUND)
    }

    /// Whether the state folder takes a new file with a block of data in it.
    pub fn probe(&self) -> Result<(), StoreError> {
        self.shared.file.probe()
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
