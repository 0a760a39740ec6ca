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

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{error, warn};

use crate::mac::MacAddr;
use crate::message_id;
use crate::onboarding::{ClientRecord, Phase, Report, Stage};
use crate::stamp::FileStamp;

/// How long a report waits for the lock, and for the rounds before its own.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// A round that takes longer hangs: healthy disks answer an fsync in milliseconds, poor ones in
/// seconds.
const STALLED_ROUND: Duration = Duration::from_secs(30);

const STATE_FILE: &str = "clients.json";
const LOCK_FILE: &str = "clients.json.lock";
const TEMPORARY_FILE: &str = "clients.json.tmp";
const PROBE_FILE: &str = "clients.json.probe";

/// `clients.json` and its lock: the service's user writes, its group reads.
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o750);

/// Written by the probe: a full file system refuses a block where it may still take a name.
const PROBE_BLOCK: [u8; 4096] = [0; 4096];

const WRITE_BUFFER: usize = 128 * 1024;

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
    lines: BTreeMap<Arc<str>, Line>,
    /// The file that these records are in; none before there is one.
    source: Option<Source>,
}

/// One record, as the line of the file: `"aa:bb:cc:dd:ee:ff": {…}`.
#[derive(Debug, Clone)]
struct Line {
    text: Bytes,
    record_at: usize,
    standing: Standing,
    last_heartbeat: Option<Box<str>>,
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
    /// Kept open, so that no later file can be given the same inode number.
    _file: Arc<File>,
}

/// The line of one record under its key.
fn line(key: &str, record: &ClientRecord) -> Result<Line, serde_json::Error> {
    let mut text = serde_json::to_string(key)?;
    text.push_str(": ");
    let record_at = text.len();
    text.push_str(&record.to_json()?);
    let standing = match (record.current_phase(), record.current_stage()) {
        (Some(Phase::Fail), _) => Standing::Failed,
        (Some(Phase::Done), Some(stage)) if stage == Stage::Ready.name() => Standing::Ready,
        _ => Standing::OnItsWay,
    };
    let last_heartbeat = record.last_heartbeat().map(String::into_boxed_str);
    Ok(Line {
        text: text.into(),
        record_at,
        standing,
        last_heartbeat,
    })
}

impl Clients {
    /// The record of one device, as JSON text.
    pub fn record(&self, mac: MacAddr) -> Option<Bytes> {
        let line = self.lines.get(mac.to_string().as_str())?;
        Some(line.text.slice(line.record_at..))
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
        let count = |standing| {
            self.lines
                .values()
                .filter(|line| line.standing == standing)
                .count()
        };
        (count(Standing::Ready), count(Standing::Failed))
    }

    /// When any device was last heard of, RFC 3339.
    pub fn last_heartbeat(&self) -> Option<&str> {
        self.lines
            .values()
            .filter_map(|line| line.last_heartbeat.as_deref())
            .max()
    }

    /// Reads the file's text. Keys that are MACs in another spelling become canonical, except
    /// where that would make two records one.
    fn parse(text: &str) -> Result<BTreeMap<Arc<str>, Line>, serde_json::Error> {
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
            let record = ClientRecord::deserialize(*raw)?;
            let line = line(&key, &record)?;
            lines.insert(Arc::from(key), line);
        }
        Ok(lines)
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
    queue: mpsc::Sender<Message>,
    committer: JoinHandle<()>,
}

enum Message {
    Record(Job),
    /// Read the file again under the lock, and move it aside if it is corrupt.
    Recover(oneshot::Sender<Result<(), StoreError>>),
}

/// What readers and the committing thread share.
struct State {
    folder: PathBuf,
    limits: Limits,
    latest: RwLock<Arc<Clients>>,
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
            trouble: Mutex::default(),
            round_began: Mutex::default(),
        });
        if let Err(reason) = state.prepare() {
            error!(message_id = message_id::STATE_NOT_WRITABLE, %reason, "the state cannot be used yet: heartbeats are refused until it can");
        }
        let (queue, messages) = mpsc::channel();
        let commits = Arc::clone(&state);
        let committer = std::thread::Builder::new()
            .name("commit".to_owned())
            .spawn(move || commits.commit_until_closed(&messages))?;
        Ok(Self {
            state,
            queue,
            committer,
        })
    }

    /// Makes a report last, and answers with the device's updated record.
    ///
    /// An error says that the report is not on record; the file is as it was.
    pub async fn record(&self, report: Report) -> Result<Recorded, StoreError> {
        let (answer, mut committed) = oneshot::channel();
        let settled = Arc::new(AtomicBool::new(false));
        let job = Job {
            report,
            settled: Arc::clone(&settled),
            answer,
        };
        self.queue
            .send(Message::Record(job))
            .map_err(|_| StoreError::Stopped)?;
        let outcome = match timeout(LOCK_PATIENCE, &mut committed).await {
            Ok(outcome) => outcome,
            Err(_) if claim(&settled) => return Err(StoreError::Busy),
            Err(_) => committed.await,
        };
        outcome.map_err(|_| StoreError::Stopped)?
    }

    /// All records, as the file has them at this moment.
    pub async fn clients(&self) -> Result<Arc<Clients>, StoreError> {
        match self.state.refresh() {
            Err(StoreError::Corrupt(_)) => {
                let (answer, recovered) = oneshot::channel();
                self.queue
                    .send(Message::Recover(answer))
                    .map_err(|_| StoreError::Stopped)?;
                let recovered = timeout(LOCK_PATIENCE, recovered).await;
                recovered
                    .map_err(|_| StoreError::Busy)?
                    .map_err(|_| StoreError::Stopped)??;
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
        sync_folder(parent)
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
            _file: Arc::new(file),
        };
        Ok(Clients {
            lines,
            source: Some(source),
        })
    }

    /// Called under the lock, so that what is found corrupt is not being mended by another.
    fn refresh_or_move_aside(&self) -> Result<Arc<Clients>, StoreError> {
        match self.refresh() {
            Err(StoreError::Corrupt(reason)) => {
                let aside = self.move_aside()?;
                error!(
                    message_id = message_id::STATE_CORRUPT,
                    %reason,
                    file = %aside.display(),
                    "clients.json is corrupt: it was moved aside, and the records begin anew"
                );
                Ok(self.publish(Clients::default()))
            }
            outcome => outcome,
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
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let file = rustix::fs::open(self.path(LOCK_FILE), flags, FILE_MODE)
            .during("opening clients.json.lock")?;
        loop {
            match rustix::fs::flock(&file, operation) {
                Ok(()) => return Ok(Some(file)),
                Err(Errno::INTR) => continue,
                Err(Errno::WOULDBLOCK) => return Ok(None),
                error => error.during("locking clients.json.lock")?,
            }
        }
    }

    fn commit_until_closed(&self, messages: &mpsc::Receiver<Message>) {
        while let Ok(first) = messages.recv() {
            let lock = self
                .make_folder()
                .and_then(|()| self.lock(FlockOperation::LockExclusive));
            *locked(&self.round_began) = Some(Instant::now());
            // What came while the lock was waited for, or the last round was under way.
            let messages = std::iter::once(first).chain(messages.try_iter());
            self.round(lock, messages);
            *locked(&self.round_began) = None;
        }
    }

    /// One group commit, with the lock or with the reason why there is none.
    fn round(
        &self,
        lock: Result<Option<OwnedFd>, StoreError>,
        messages: impl Iterator<Item = Message>,
    ) {
        let mut jobs = Vec::new();
        let mut recoveries = Vec::new();
        for message in messages {
            match message {
                Message::Record(job) if claim(&job.settled) => jobs.push(job),
                Message::Record(_) => {}
                Message::Recover(answer) => recoveries.push(answer),
            }
        }
        let (lock, clients) = match lock {
            Ok(lock) => (lock, self.refresh_or_move_aside()),
            Err(reason) => (None, Err(reason)),
        };
        for answer in recoveries {
            // Nobody waits any more where the receiver is gone; likewise below.
            let _ = answer.send(clients.as_ref().map(drop).map_err(Clone::clone));
        }
        if jobs.is_empty() {
            return;
        }
        let outcome = clients.and_then(|clients| self.commit(&clients, &jobs));
        drop(lock);
        *locked(&self.trouble) = outcome.as_ref().err().cloned();
        match outcome {
            Ok(outcomes) => {
                for (job, outcome) in jobs.into_iter().zip(outcomes) {
                    let _ = job.answer.send(outcome);
                }
            }
            Err(reason) => {
                error!(
                    message_id = message_id::STATE_NOT_WRITABLE,
                    %reason,
                    heartbeats = jobs.len(),
                    "the state was not written"
                );
                for job in jobs {
                    let _ = job.answer.send(Err(reason.clone()));
                }
            }
        }
    }

    /// Merges the reports into the records, and makes the outcome last.
    ///
    /// Answers with the outcome of each job, in order.
    fn commit(
        &self,
        clients: &Clients,
        jobs: &[Job],
    ) -> Result<Vec<Result<Recorded, StoreError>>, StoreError> {
        let mut changed: BTreeMap<MacAddr, ClientRecord> = BTreeMap::new();
        let mut new: BTreeSet<MacAddr> = BTreeSet::new();
        let mut refused: Vec<Option<StoreError>> = Vec::with_capacity(jobs.len());
        let encoding = |error: serde_json::Error| io::Error::from(error);
        for Job { report, .. } in jobs {
            let record = match changed.get_mut(&report.mac) {
                Some(record) => record,
                None => match clients.record(report.mac) {
                    Some(text) => {
                        let record = serde_json::from_slice(&text).map_err(encoding);
                        changed
                            .entry(report.mac)
                            .or_insert(record.during("reading a record")?)
                    }
                    None if clients.len() + new.len() >= self.limits.clients => {
                        refused.push(Some(StoreError::TooManyClients(self.limits.clients)));
                        continue;
                    }
                    None => {
                        new.insert(report.mac);
                        changed.entry(report.mac).or_default()
                    }
                },
            };
            record
                .enter(report, self.limits.history)
                .map_err(encoding)
                .during("entering a heartbeat")?;
            refused.push(None);
        }
        let mut next = clients.clone();
        for (mac, record) in &changed {
            let key = mac.to_string();
            let line = line(&key, record)
                .map_err(encoding)
                .during("writing a record")?;
            next.lines.insert(Arc::from(key), line);
        }
        if !changed.is_empty() {
            self.replace(clients, &mut next)?;
        }
        let next = self.publish(next);
        let outcomes = jobs.iter().zip(refused).map(|(job, refused)| {
            let mac = job.report.mac;
            match (refused, next.record(mac)) {
                (Some(error), _) => Err(error),
                (None, Some(record)) => Ok(Recorded {
                    record,
                    first_seen: new.remove(&mac),
                }),
                (None, None) => Err(StoreError::Stopped),
            }
        });
        Ok(outcomes.collect())
    }

    /// Puts `next` in the place of `current`, and returns once that is on the disk. After an error
    /// the file has the content of `current`.
    fn replace(&self, current: &Clients, next: &mut Clients) -> Result<(), StoreError> {
        let temporary = self.path(TEMPORARY_FILE);
        let written = self.write(&temporary, next).and_then(|file| {
            rustix::fs::fsync(&file).during("fsync of the new clients.json")?;
            rustix::fs::rename(&temporary, self.path(STATE_FILE))
                .during("renaming the new clients.json")?;
            // Only now: renaming changes the file's ctime.
            let stat = rustix::fs::fstat(&file);
            Ok(stat.ok().map(|stat| Source {
                stamp: FileStamp::of(&stat),
                _file: Arc::new(file),
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
            let restored = self.write(&temporary, current).and_then(|_| {
                rustix::fs::rename(&temporary, self.path(STATE_FILE)).during("renaming")
            });
            if let Err(reason) = restored {
                warn!(%reason, "refused heartbeats may stand in clients.json all the same");
            }
        })
    }

    fn write(&self, path: &Path, clients: &Clients) -> Result<File, StoreError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file =
            rustix::fs::open(path, flags, FILE_MODE).during("creating the new clients.json")?;
        // The mode of `open` is cut by the umask, and does not apply to a file left by a crash.
        rustix::fs::fchmod(&file, FILE_MODE).during("setting the mode of the new clients.json")?;
        let mut writer = BufWriter::with_capacity(WRITE_BUFFER, File::from(file));
        let written = clients
            .pieces()
            .try_for_each(|piece| writer.write_all(&piece));
        let flushed = written.and_then(|()| writer.into_inner().map_err(io::Error::from));
        flushed.during("writing the new clients.json")
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

fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::empty())
        .and_then(rustix::fs::fsync)
        .during("fsync of the state folder")
}
