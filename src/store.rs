//! `clients.json`: lock, read, merge, replace.
//!
//! One thread commits. It takes all reports that wait, and for all of them together locks
//! `clients.json.lock`, reads what is there if another process changed it, merges, writes a
//! temporary file, fsyncs it, renames it into place, fsyncs the folder, and only then
//! acknowledges each. While one round is under way the next one gathers: a group commit, so that
//! many reports share the price of one fsync.
//!
//! The file is one JSON object keyed by MAC, a record a line, sorted by key. Readers need no lock,
//! since a rename shows them the old file or the new one, whole.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{self, IoSlice, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::mac::MacAddr;
use crate::message_id;
use crate::onboarding::{Phase, Report, Stage};
use crate::record::{ClientRecord, Fetch, Fetches, compact};
use crate::stamp::FileStamp;

/// How long a report waits for the lock, and for the rounds before its own.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// A round that takes longer hangs: healthy disks answer an fsync in milliseconds, poor ones in
/// seconds.
const STALLED_ROUND: Duration = Duration::from_secs(30);

/// How long a note may wait for a round that others need.
const NOTE_PATIENCE: Duration = Duration::from_secs(2);

/// Longest that a round waits for reports that are likely to come.
const GATHER_PATIENCE: Duration = Duration::from_millis(3);

/// An editor that writes in place empties the file first, so what is no JSON may be half written.
/// It counts as corrupt once it did not change for so long.
const EDIT_PAUSE: Duration = Duration::from_millis(500);

/// Longest that a round waits for such an editor: below what a report waits.
const EDIT_PATIENCE: Duration = Duration::from_secs(3);

/// Between two looks at a file that is being edited.
const EDIT_LOOK: Duration = Duration::from_millis(20);

/// Reports that may wait. They wait in memory while another process holds the lock, those that
/// were refused as late included, so there must be an end to it.
const QUEUE_LENGTH: usize = 4096;

const STATE_FILE: &str = "clients.json";
const LOCK_FILE: &str = "clients.json.lock";
const TEMPORARY_FILE: &str = "clients.json.tmp";
const PROBE_FILE: &str = "clients.json.probe";

/// `clients.json` and its lock: the service's user writes, its group reads.
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o750);

/// Written by the probe: a full file system refuses a block where it may still take a name.
const PROBE_BLOCK: [u8; 4096] = [0; 4096];

/// Most that one writev(2) takes, `IOV_MAX` of Linux.
const PIECES_AT_ONCE: usize = 1024;

/// Why the state could not be read or changed. No text of a record is in it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another process held the lock, or the disk was busy, for too long.
    #[error("the state was locked or busy for over {} s", LOCK_PATIENCE.as_secs())]
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
    /// `clients.json` is no object of records. Only a reader sees this; a round moves it aside.
    #[error("clients.json is not readable as a JSON object of records: {0}")]
    Corrupt(Arc<serde_json::Error>),
    /// The thread that commits has ended, which only a defect can cause.
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

/// What bounds the state's size.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Events kept of one device.
    pub history: usize,
    /// Devices kept.
    pub clients: usize,
}

/// All records as one version of `clients.json` has them.
#[derive(Debug, Clone, Default)]
pub struct Clients {
    lines: BTreeMap<Arc<str>, Arc<Line>>,
    /// The file that these records are in; none before there is one.
    source: Option<Source>,
}

/// One record, and its line in the file: `"aa:bb:cc:dd:ee:ff": {…}`.
#[derive(Debug)]
struct Line {
    record: ClientRecord,
    text: Bytes,
    record_at: usize,
}

/// How a device stands by its last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    OnItsWay,
    Ready,
    Failed,
}

/// Recognises the version of the file that was read or written last.
#[derive(Debug, Clone)]
struct Source {
    stamp: FileStamp,
    /// Kept open, so that no later file can be given the same inode number, and so that its
    /// content can be put back after it was replaced.
    file: Arc<File>,
}

impl Line {
    fn new(key: &str, mut record: ClientRecord) -> Result<Self, serde_json::Error> {
        let (text, record_at) = record.write(key)?;
        Ok(Self {
            record,
            text,
            record_at,
        })
    }

    /// The line of something that is no record, and is kept as it is.
    fn foreign(key: &str, value: &RawValue) -> Result<Self, serde_json::Error> {
        let text = format!("{}: {}", serde_json::to_string(key)?, compact(value));
        Ok(Self {
            record: ClientRecord::default(),
            record_at: 0,
            text: text.into(),
        })
    }

    fn standing(&self) -> Standing {
        match (self.record.current_phase(), self.record.current_stage()) {
            (Some(Phase::Fail), _) => Standing::Failed,
            (Some(Phase::Done), Some(stage)) if stage == Stage::Ready.name() => Standing::Ready,
            _ => Standing::OnItsWay,
        }
    }
}

impl Clients {
    /// The record of one device, as JSON text.
    pub fn record(&self, mac: MacAddr) -> Option<Bytes> {
        let line = self.line(mac)?;
        Some(line.text.slice(line.record_at..))
    }

    fn line(&self, mac: MacAddr) -> Option<&Line> {
        self.lines.get(mac.to_string().as_str()).map(Arc::as_ref)
    }

    /// The content of the file, in pieces: one JSON object, a record a line.
    pub fn pieces(&self) -> impl Iterator<Item = Bytes> {
        let separators = std::iter::once("{\n").chain(std::iter::repeat(",\n"));
        let lines = self.lines.values().zip(separators);
        let end = if self.lines.is_empty() {
            "{\n}\n"
        } else {
            "\n}\n"
        };
        lines
            .flat_map(|(line, before)| [Bytes::from_static(before.as_bytes()), line.text.clone()])
            .chain([Bytes::from_static(end.as_bytes())])
    }

    /// How many devices are on record.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether no device is on record.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// How many devices are ready, and how many failed, by their last report.
    pub fn ready_and_failed(&self) -> (usize, usize) {
        let count = |wanted| {
            self.lines
                .values()
                .filter(|line| line.standing() == wanted)
                .count()
        };
        (count(Standing::Ready), count(Standing::Failed))
    }

    /// When any device was last heard of, RFC 3339.
    pub fn last_heartbeat(&self) -> Option<String> {
        self.lines
            .values()
            .filter_map(|line| line.record.last_heartbeat())
            .max()
    }

    /// Reads the file's text. Keys that are MACs in another spelling become canonical, except
    /// where that would make two records one.
    fn parse(text: &str) -> Result<BTreeMap<Arc<str>, Arc<Line>>, serde_json::Error> {
        let mut lines = BTreeMap::new();
        let records: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
        for (key, raw) in &records {
            let canonical = key.parse::<MacAddr>().map(|mac| mac.to_string());
            let key = match canonical {
                Ok(canonical)
                    if !records.contains_key(&canonical)
                        && !lines.contains_key(canonical.as_str()) =>
                {
                    canonical
                }
                _ => key.clone(),
            };
            let line = match ClientRecord::deserialize(*raw) {
                Ok(record) => Line::new(&key, record)?,
                Err(_) if key.parse::<MacAddr>().is_err() => Line::foreign(&key, raw)?,
                Err(error) => return Err(error),
            };
            lines.insert(Arc::from(key), Arc::new(line));
        }
        Ok(lines)
    }
}

/// The records that a round changes.
struct Changes<'a> {
    clients: &'a Clients,
    limits: Limits,
    records: BTreeMap<MacAddr, ClientRecord>,
    new: usize,
}

impl<'a> Changes<'a> {
    fn to(clients: &'a Clients, limits: Limits) -> Self {
        Self {
            clients,
            limits,
            records: BTreeMap::new(),
            new: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Changes one record. Tells whether it is the first of that device.
    fn change(
        &mut self,
        mac: MacAddr,
        change: impl FnOnce(&mut ClientRecord) -> Result<(), serde_json::Error>,
    ) -> Result<bool, StoreError> {
        let (record, is_new) = match (self.records.entry(mac), self.clients.line(mac)) {
            (Entry::Occupied(entry), _) => (entry.into_mut(), false),
            (Entry::Vacant(entry), Some(line)) => (entry.insert(line.record.clone()), false),
            (Entry::Vacant(_), None) if self.clients.len() + self.new >= self.limits.clients => {
                return Err(StoreError::TooManyClients(self.limits.clients));
            }
            (Entry::Vacant(entry), None) => {
                self.new += 1;
                (entry.insert(ClientRecord::default()), true)
            }
        };
        change(record).during("changing a record")?;
        Ok(is_new)
    }

    /// All records with the changes.
    fn apply(self) -> Result<Clients, StoreError> {
        let mut next = self.clients.clone();
        for (mac, record) in self.records {
            let key = mac.to_string();
            let line = Line::new(&key, record).during("writing a record")?;
            next.lines.insert(Arc::from(key), Arc::new(line));
        }
        Ok(next)
    }
}

/// An acknowledged report.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The updated record, as JSON text.
    pub record: Bytes,
    /// Whether this is the first that is known of the device.
    pub first_seen: bool,
}

/// A report on its way to the thread that commits.
struct Job {
    report: Report,
    /// Set once, by whoever comes first: the thread that commits it, or the waiter that gives up.
    /// So a report that was refused as late is never written afterwards.
    settled: Arc<AtomicBool>,
    answer: oneshot::Sender<Result<Recorded, StoreError>>,
}

fn claim(settled: &AtomicBool) -> bool {
    !settled.swap(true, Ordering::AcqRel)
}

/// The state of all devices, shared with other processes by way of the file.
pub struct Store {
    state: Arc<State>,
    queue: mpsc::SyncSender<Message>,
    committer: JoinHandle<()>,
}

enum Message {
    Record(Job),
    /// Have a round, which also moves a corrupt file aside, and tell when it is over.
    Flush(oneshot::Sender<Result<(), StoreError>>),
}

/// Fetches of seeds that no round has entered yet, coalesced by device.
type Unentered = BTreeMap<MacAddr, Fetches>;

/// What readers and the committing thread share.
struct State {
    folder: PathBuf,
    limits: Limits,
    latest: RwLock<Arc<Clients>>,
    unentered: Mutex<Unentered>,
    /// Why the last round failed; none when it went well.
    trouble: Mutex<Option<StoreError>>,
    /// When the round that is under way got the lock.
    round_began: Mutex<Option<Instant>>,
}

impl Store {
    /// Opens the state in `folder` and starts the thread that commits.
    ///
    /// A state that cannot be read is no error here: seeds are served all the same, reports are
    /// refused until it can be, and the journal has the reason.
    pub fn open(folder: PathBuf, limits: Limits) -> io::Result<Self> {
        let state = Arc::new(State {
            folder,
            limits,
            latest: RwLock::default(),
            unentered: Mutex::default(),
            trouble: Mutex::default(),
            round_began: Mutex::default(),
        });
        let (queue, messages) = mpsc::sync_channel(QUEUE_LENGTH);
        let (prepared, is_prepared) = mpsc::channel();
        let commits = Arc::clone(&state);
        let committer = std::thread::Builder::new()
            .name("commit".to_owned())
            .spawn(move || {
                // The first reading is done here, too: memory that a thread allocates stays with it.
                let _ = prepared.send(commits.prepare());
                commits.commit_until_closed(&messages);
            })?;
        if let Ok(Err(reason)) = is_prepared.recv() {
            error!(
                message_id = message_id::STATE_NOT_WRITABLE,
                %reason,
                "the state cannot be used yet, heartbeats are refused until it can: {reason}"
            );
        }
        Ok(Self {
            state,
            queue,
            committer,
        })
    }

    /// Makes a report last, and answers with the device's updated record.
    ///
    /// The report stands in the queue when this returns, before the answer is waited for: reports
    /// are entered in the order of the calls. An error says that the report is not on record; the
    /// file is as it was.
    pub fn record(
        &self,
        report: Report,
    ) -> impl Future<Output = Result<Recorded, StoreError>> + Send + use<> {
        self.record_within(LOCK_PATIENCE, report)
    }

    /// As [`record`](Self::record), for a report that nobody waits for: it may stand in the queue
    /// for `patience`, and so keeps its place before later ones.
    pub fn record_within(
        &self,
        patience: Duration,
        report: Report,
    ) -> impl Future<Output = Result<Recorded, StoreError>> + Send + use<> {
        let (answer, mut committed) = oneshot::channel();
        let settled = Arc::new(AtomicBool::new(false));
        let job = Job {
            report,
            settled: Arc::clone(&settled),
            answer,
        };
        let queued = self.enqueue(Message::Record(job));
        async move {
            queued?;
            let outcome = match timeout(patience, &mut committed).await {
                Ok(outcome) => outcome,
                Err(_) if claim(&settled) => return Err(StoreError::Busy),
                Err(_) => committed.await,
            };
            outcome.map_err(|_| StoreError::Stopped)?
        }
    }

    /// Notes that a device fetched its seed. That costs no fsync: it is entered with the next
    /// round, or a little later. A device that is new then gets `hostname`, or the default.
    pub fn note(&self, mac: MacAddr, hostname: Option<String>, fetch: Fetch) {
        let mut unentered = locked(&self.state.unentered);
        let room = unentered.len() < self.state.limits.clients;
        match unentered.entry(mac) {
            Entry::Occupied(mut entry) => entry.get_mut().add(fetch),
            Entry::Vacant(entry) if room => _ = entry.insert(Fetches::new(mac, hostname, fetch)),
            Entry::Vacant(_) => {}
        }
    }

    /// Enters all that was noted, and waits for what is under way.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (answer, flushed) = oneshot::channel();
        self.enqueue(Message::Flush(answer))?;
        let flushed = timeout(LOCK_PATIENCE, flushed).await;
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

    /// All records, as the file has them at this moment.
    pub async fn clients(&self) -> Result<Arc<Clients>, StoreError> {
        match self.state.refresh() {
            Err(StoreError::Corrupt(_)) => {
                self.flush().await?;
                self.state.refresh()
            }
            outcome => outcome,
        }
    }

    /// The records that were read or written last, without a look at the file.
    pub fn latest(&self) -> Arc<Clients> {
        self.state.latest()
    }

    /// Why the last round of commits failed; none when it went well.
    pub fn trouble(&self) -> Option<StoreError> {
        locked(&self.state.trouble).clone()
    }

    /// Whether commits go on: no round hangs in the disk. Waiting for another process's lock is
    /// no hang, for a restart would not help.
    pub fn is_making_progress(&self) -> bool {
        let began = *locked(&self.state.round_began);
        !self.committer.is_finished() && began.is_none_or(|began| began.elapsed() < STALLED_ROUND)
    }

    /// Whether the state folder takes a new file with a block of data in it.
    pub fn probe(&self) -> Result<(), StoreError> {
        self.state.probe()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn latest(&self) -> Arc<Clients> {
        Arc::clone(&self.latest.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn publish(&self, clients: Clients) -> Arc<Clients> {
        let clients = Arc::new(clients);
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        *latest = Arc::clone(&clients);
        clients
    }

    fn prepare(&self) -> Result<(), StoreError> {
        self.make_folder()?;
        match self.lock(FlockOperation::NonBlockingLockExclusive)? {
            Some(_lock) => self.refresh_or_move_aside().map(drop),
            // Another process commits. Reading needs no lock, and moving aside can wait.
            None => self.refresh().map(drop),
        }
    }

    /// Makes the folder, and makes it last.
    fn make_folder(&self) -> Result<(), StoreError> {
        if self.folder.is_dir() {
            return Ok(());
        }
        let parent = self.folder.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).during("creating the data folder")?;
        match rustix::fs::mkdir(&self.folder, FOLDER_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            error => error.during("creating the state folder")?,
        }
        sync_folder(parent).inspect_err(|_| {
            // So that the next attempt does not take it for one that lasts.
            let _ = rustix::fs::rmdir(&self.folder);
        })
    }

    /// The records in the file, from memory where it is still the file that was read last.
    fn refresh(&self) -> Result<Arc<Clients>, StoreError> {
        let latest = self.latest();
        let stamp = FileStamp::at(&self.path(STATE_FILE)).during("looking at clients.json")?;
        if stamp == latest.source.as_ref().map(|source| source.stamp) {
            return Ok(latest);
        }
        self.read().map(|clients| self.publish(clients))
    }

    fn read(&self) -> Result<Clients, StoreError> {
        let mut file = match File::open(self.path(STATE_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Clients::default()),
            error => error.during("opening clients.json")?,
        };
        // The stamp comes first: a change during the reading then shows at the next look.
        let stat = rustix::fs::fstat(&file).during("looking at clients.json")?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .during("reading clients.json")?;
        let corrupt = |error| StoreError::Corrupt(Arc::new(error));
        let text = std::str::from_utf8(&bytes)
            .map_err(|error| corrupt(serde::de::Error::custom(error)))?;
        let lines = Clients::parse(text).map_err(corrupt)?;
        let source = Source {
            stamp: FileStamp::of(&stat),
            file: Arc::new(file),
        };
        Ok(Clients {
            lines,
            source: Some(source),
        })
    }

    /// Called under the lock, so that what is found corrupt is not being mended by another.
    fn refresh_or_move_aside(&self) -> Result<Arc<Clients>, StoreError> {
        let began = Instant::now();
        let mut still_since = (None, began);
        loop {
            let reason = match self.refresh() {
                Err(StoreError::Corrupt(reason)) => reason,
                outcome => return outcome,
            };
            let stamp = FileStamp::at(&self.path(STATE_FILE)).during("looking at clients.json")?;
            if still_since.0 != stamp {
                still_since = (stamp, Instant::now());
            }
            // The file's own times spare a start after a power cut the wait; the monotonic clock
            // decides where the host's clock was set back since.
            let is_still = stamp.is_some_and(|stamp| {
                stamp.unchanged_for(EDIT_PAUSE, SystemTime::now())
                    || still_since.1.elapsed() >= EDIT_PAUSE
            });
            if is_still {
                let aside = self.move_aside()?;
                error!(
                    message_id = message_id::STATE_CORRUPT,
                    %reason,
                    file = %aside.display(),
                    "clients.json is corrupt: it was moved aside to {}, and the records begin anew: {reason}",
                    aside.display()
                );
                return Ok(self.publish(Clients::default()));
            }
            if began.elapsed() >= EDIT_PATIENCE {
                return Err(StoreError::Corrupt(reason));
            }
            std::thread::sleep(EDIT_LOOK);
        }
    }

    fn move_aside(&self) -> Result<PathBuf, StoreError> {
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let names = std::iter::once(String::new()).chain((2..100).map(|n| format!("-{n}")));
        for suffix in names {
            let aside = self.path(&format!("{STATE_FILE}.corrupt-{time}{suffix}"));
            let cwd = rustix::fs::CWD;
            let from = self.path(STATE_FILE);
            match rustix::fs::renameat_with(cwd, &from, cwd, &aside, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => continue,
                outcome => outcome.during("moving the corrupt clients.json aside")?,
            }
            sync_folder(&self.folder)?;
            return Ok(aside);
        }
        Err(Errno::EXIST).during("moving the corrupt clients.json aside")
    }

    /// Opens and locks the lock file, which is never replaced; closing it releases the lock.
    /// None where [`FlockOperation::NonBlockingLockExclusive`] found it locked.
    fn lock(&self, operation: FlockOperation) -> Result<Option<OwnedFd>, StoreError> {
        let path = self.path(LOCK_FILE);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        loop {
            let file =
                rustix::fs::open(&path, flags, FILE_MODE).during("opening clients.json.lock")?;
            match rustix::fs::flock(&file, operation) {
                Ok(()) => {}
                Err(Errno::INTR) => continue,
                Err(Errno::WOULDBLOCK) => return Ok(None),
                error => error.during("locking clients.json.lock")?,
            }
            // Whoever removes the state folder meanwhile removes the lock with it: a lock on a
            // file that has no name any more keeps nobody out.
            let locked = rustix::fs::fstat(&file).during("looking at clients.json.lock")?;
            match rustix::fs::stat(&path) {
                Ok(named) if (named.st_dev, named.st_ino) == (locked.st_dev, locked.st_ino) => {
                    return Ok(Some(file));
                }
                Ok(_) | Err(Errno::NOENT) => {}
                error => error.map(drop).during("looking at clients.json.lock")?,
            }
        }
    }

    fn commit_until_closed(&self, messages: &mpsc::Receiver<Message>) {
        let mut gathered = Vec::new();
        let (mut last_gathered, mut last_took) = (0, Duration::ZERO);
        loop {
            match messages.recv_timeout(NOTE_PATIENCE) {
                Ok(message) => gathered.push(message),
                Err(RecvTimeoutError::Timeout) if locked(&self.unentered).is_empty() => continue,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Those who were answered in the last round may all be about to report again. A
            // moment's wait for them saves a round; a device that reports alone waits for nobody.
            let deadline = Instant::now() + (last_took / 3).min(GATHER_PATIENCE);
            while gathered.len() < last_gathered
                && let Ok(message) =
                    messages.recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                gathered.push(message);
            }
            let lock = self
                .make_folder()
                .and_then(|()| self.lock(FlockOperation::LockExclusive));
            let began = Instant::now();
            *locked(&self.round_began) = Some(began);
            // And what came while the lock was waited for.
            gathered.extend(messages.try_iter());
            last_gathered = gathered.len();
            self.round(lock, gathered.drain(..));
            last_took = began.elapsed();
            *locked(&self.round_began) = None;
        }
    }

    /// One group commit, with the lock or with the reason why there is none.
    fn round(
        &self,
        lock: Result<Option<OwnedFd>, StoreError>,
        messages: impl Iterator<Item = Message>,
    ) {
        let (mut jobs, mut flushes) = (Vec::new(), Vec::new());
        for message in messages {
            match message {
                Message::Record(job) if claim(&job.settled) => jobs.push(job),
                Message::Record(_) => {}
                Message::Flush(answer) => flushes.push(answer),
            }
        }
        let notes = std::mem::take(&mut *locked(&self.unentered));
        let (lock, clients) = match lock {
            Ok(lock) => (lock, self.refresh_or_move_aside()),
            Err(reason) => (None, Err(reason)),
        };
        let outcome = match &clients {
            Ok(clients) => self.commit(clients, &jobs, &notes),
            Err(reason) => Err(reason.clone()),
        };
        drop(lock);
        let wrote = !jobs.is_empty() || !notes.is_empty();
        if let Err(reason) = &outcome {
            self.keep(notes);
            if !jobs.is_empty() {
                error!(
                    message_id = message_id::STATE_NOT_WRITABLE,
                    %reason,
                    heartbeats = jobs.len(),
                    "the state was not written, {} heartbeats are refused: {reason}",
                    jobs.len()
                );
            }
        }
        if wrote {
            *locked(&self.trouble) = outcome.as_ref().err().cloned();
        }
        // Nobody waits any more where a receiver is gone.
        for answer in flushes {
            let _ = answer.send(outcome.as_ref().map(drop).map_err(Clone::clone));
        }
        match outcome {
            Ok(outcomes) => {
                for (job, outcome) in jobs.into_iter().zip(outcomes) {
                    let _ = job.answer.send(outcome);
                }
            }
            Err(reason) => {
                for job in jobs {
                    let _ = job.answer.send(Err(reason.clone()));
                }
            }
        }
        // Closing the replaced file frees its blocks, which nobody needs to wait for.
        drop(clients);
    }

    /// Puts notes back that could not be entered, under those that came since.
    fn keep(&self, notes: Unentered) {
        let mut unentered = locked(&self.unentered);
        for (mac, mut older) in notes {
            if let Some(newer) = unentered.remove(&mac) {
                older.join(newer);
            }
            unentered.insert(mac, older);
        }
    }

    /// Merges reports and notes into the records, and makes the outcome last.
    ///
    /// Answers with the outcome of each job, in order.
    fn commit(
        &self,
        clients: &Clients,
        jobs: &[Job],
        notes: &Unentered,
    ) -> Result<Vec<Result<Recorded, StoreError>>, StoreError> {
        let mut changes = Changes::to(clients, self.limits);
        let mut entered = Vec::with_capacity(jobs.len());
        for Job { report, .. } in jobs {
            let enter = |record: &mut ClientRecord| record.enter(report, self.limits.history);
            match changes.change(report.mac, enter) {
                Err(error @ StoreError::Io { .. }) => return Err(error),
                outcome => entered.push(outcome),
            }
        }
        let (mut first_seen, mut reinstalling) = (Vec::new(), Vec::new());
        for (mac, fetches) in notes {
            let enter = |record: &mut ClientRecord| {
                let times = record.enter_fetches(fetches)?;
                reinstalling.extend(times.map(|times| (*mac, times)));
                Ok(())
            };
            match changes.change(*mac, enter) {
                Err(error @ StoreError::Io { .. }) => return Err(error),
                Ok(true) => first_seen.push(*mac),
                Ok(false) | Err(_) => {}
            }
        }
        let next = match changes.is_empty() {
            true => self.latest(),
            false => {
                let mut next = changes.apply()?;
                self.replace(clients, &mut next)?;
                self.publish(next)
            }
        };
        for mac in first_seen {
            let message_id = message_id::DEVICE_FIRST_SEEN;
            info!(message_id, gb10.mac = %mac, "a device is first seen: {mac} fetched its seed");
        }
        for (mac, times) in reinstalling {
            warn!(gb10.mac = %mac, times, "reinstalling: {mac} fetched its seed again after it reported an installation, {times} times so far");
        }
        let outcomes = jobs.iter().zip(entered).map(|(job, entered)| {
            let first_seen = entered?;
            let record = next.record(job.report.mac).ok_or(StoreError::Stopped)?;
            Ok(Recorded { record, first_seen })
        });
        Ok(outcomes.collect())
    }

    /// Puts `next` in the place of `current`, and returns once that is on the disk. After an error
    /// the file has the content of `current`.
    fn replace(&self, current: &Clients, next: &mut Clients) -> Result<(), StoreError> {
        let temporary = self.path(TEMPORARY_FILE);
        let written = self.write(&temporary, next.pieces()).and_then(|file| {
            rustix::fs::fsync(&file).during("fsync of the new clients.json")?;
            rustix::fs::rename(&temporary, self.path(STATE_FILE))
                .during("renaming the new clients.json")?;
            // Only now: renaming changes the file's ctime.
            let stat = rustix::fs::fstat(&file);
            Ok(stat.ok().map(|stat| Source {
                stamp: FileStamp::of(&stat),
                file: Arc::new(file),
            }))
        });
        match written {
            Ok(source) => next.source = source,
            Err(error) => {
                let _ = rustix::fs::unlink(&temporary);
                return Err(error);
            }
        }
        sync_folder(&self.folder).inspect_err(|_| {
            // The reports are about to be refused, and will come again: they must not stand in
            // the file already.
            if let Err(reason) = self.restore(current) {
                let _ = rustix::fs::unlink(&temporary);
                warn!(%reason, "refused heartbeats may stand in clients.json all the same: {reason}");
            }
        })
    }

    /// Puts back what the file was before it was replaced, byte for byte.
    fn restore(&self, current: &Clients) -> Result<(), StoreError> {
        let temporary = self.path(TEMPORARY_FILE);
        let file = match &current.source {
            Some(source) => {
                let mut bytes = Vec::new();
                let mut replaced = &*source.file;
                replaced
                    .rewind()
                    .and_then(|()| replaced.read_to_end(&mut bytes))
                    .during("reading the replaced clients.json")?;
                self.write(&temporary, [bytes.into()])
            }
            None => self.write(&temporary, current.pieces()),
        }?;
        // The disk just failed, and may fail here too: the content is put back all the same.
        let _ = rustix::fs::fsync(&file);
        rustix::fs::rename(&temporary, self.path(STATE_FILE)).during("renaming")
    }

    fn write(
        &self,
        path: &Path,
        pieces: impl IntoIterator<Item = Bytes>,
    ) -> Result<File, StoreError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file =
            rustix::fs::open(path, flags, FILE_MODE).during("creating the new clients.json")?;
        // The mode of `open` is cut by the umask, and does not apply to a file left by a crash.
        rustix::fs::fchmod(&file, FILE_MODE).during("setting the mode of the new clients.json")?;
        let mut file = File::from(file);
        write_pieces(&mut file, pieces.into_iter()).during("writing the new clients.json")?;
        Ok(file)
    }

    fn probe(&self) -> Result<(), StoreError> {
        self.make_folder()?;
        let path = self.path(PROBE_FILE);
        let outcome = std::fs::write(&path, PROBE_BLOCK).during("writing to the state folder");
        let removed = match std::fs::remove_file(&path) {
            // Another probe was quicker.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        outcome.and(removed.during("removing a file from the state folder"))
    }
}

/// Writes the pieces in their order, many with one system call and without copying them together.
fn write_pieces(file: &mut File, pieces: impl Iterator<Item = Bytes>) -> io::Result<()> {
    let pieces: Vec<Bytes> = pieces.collect();
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        let most = rest.len().min(PIECES_AT_ONCE);
        match file.write_vectored(&rest[..most]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::empty())
        .and_then(rustix::fs::fsync)
        .during("fsync of the state folder")
}
