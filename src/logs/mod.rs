//! What boxes send of installations that fail: `/var/log/installer`, packed, a file each below
//! `state/logs/`.
//!
//! A file has its name only once all of it is on the disk, so what is there is whole, whatever is
//! killed. There may be secrets in it: the service's group may read it, and no request ever gets it.
//! How much is kept is bounded for each box and in all; what gives way is decided in [`room`].

pub mod room;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rustix::fs::{CWD, FlockOperation, Mode};
use rustix::io::Errno;
use serde::Serialize;
use tracing::warn;

use crate::device::history::Rfc3339;
use crate::device::mac::MacAddr;
use crate::files::replace::{Failed, NewVersion};
use room::{Kept, give_way};

/// Largest file, in bytes. What an installer logs has a few hundred KiB, packed.
pub const FILE_BYTES: usize = 16 * 1024 * 1024;

/// Most uploads at one time, each of another box.
pub const UPLOADS: usize = 8;

/// Space that stays free for the records, whose promise is worth more than any log.
const SPARE_BYTES: u64 = 256 * 1024 * 1024;

/// The service writes, its group reads.
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o750);

/// How names end, …
const ENDING: &str = ".tar.gz";
/// … what is behind that as long as a file is not whole, …
const UNFINISHED: &str = ".tar.gz.tmp";
/// … and the time in them, in UTC.
const TIME: &str = "%Y%m%dT%H%M%SZ";

/// How a gzip begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A file that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogFile {
    /// Its name in the folder: `aa-bb-cc-dd-ee-ff-20261201T101500Z.tar.gz`.
    pub name: String,
    /// When it came.
    pub at: Rfc3339,
    /// Its length.
    pub bytes: u64,
}

/// Why a log is not kept.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// One of the box, or too many of others, are on their way.
    #[error("too many logs are on their way")]
    Busy,
    /// What came is no gzip.
    #[error("it is no gzip")]
    NotGzip,
    /// There is no space for it.
    #[error("there is no space for it: {0}")]
    NoSpace(String),
    /// The disk fails.
    #[error("{0}")]
    Failed(String),
}

impl LogError {
    fn of(failed: Failed, path: &Path) -> Self {
        let text = failed.of(path);
        match failed.1.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::NoSpace(text)
            }
            _ => Self::Failed(text),
        }
    }
}

/// The logs of a box, the oldest first; none where the folder cannot be read.
pub fn of(folder: &Path, mac: MacAddr) -> Vec<LogFile> {
    let kept = all(folder).unwrap_or_default().into_iter();
    kept.filter(|kept| kept.mac == mac)
        .map(|kept| kept.log)
        .collect()
}

/// The names of the logs of a box, of each of its ports the oldest first: what its story shows.
pub fn names(folder: &Path, macs: impl IntoIterator<Item = MacAddr>) -> Vec<String> {
    let logs = macs.into_iter().flat_map(|mac| of(folder, mac));
    logs.map(|log| log.name).collect()
}

/// Removes the logs of a box, and returns how many there were.
pub fn forget(folder: &Path, mac: MacAddr) -> io::Result<usize> {
    let logs = of(folder, mac);
    for log in &logs {
        std::fs::remove_file(folder.join(&log.name))?;
    }
    Ok(logs.len())
}

/// All that is kept, the oldest first. What others put there is none of it.
fn all(folder: &Path) -> io::Result<Vec<Kept>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut kept = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((mac, at)) = named(&name) else {
            continue;
        };
        // It may have given way since.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let log = LogFile {
            name,
            at: Rfc3339(at),
            bytes: metadata.len(),
        };
        kept.push(Kept { mac, log });
    }
    kept.sort_by(|one, other| {
        (one.log.at.0, &one.log.name).cmp(&(other.log.at.0, &other.log.name))
    });
    Ok(kept)
}

/// Whose file that is, and of when.
fn named(name: &str) -> Option<(MacAddr, Timestamp)> {
    let (slug, time) = name.strip_suffix(ENDING)?.rsplit_once('-')?;
    let at = DateTime::strptime(TIME, time).ok()?;
    let at = at.to_zoned(TimeZone::UTC).ok()?.timestamp();
    let mac: MacAddr = slug.parse().ok()?;
    (name == name_of(mac, at)).then_some((mac, at))
}

fn name_of(mac: MacAddr, at: Timestamp) -> String {
    format!("{}-{}{ENDING}", mac.slug(), at.strftime(TIME))
}

/// The folder of logs, and those that are on their way there.
#[derive(Debug)]
pub struct Logs {
    folder: PathBuf,
    under_way: Arc<Mutex<HashSet<MacAddr>>>,
}

impl Logs {
    /// Those in `folder`, which need not be there. What a process that was killed had begun goes.
    pub fn open(folder: PathBuf) -> Self {
        sweep(&folder);
        Self {
            folder,
            under_way: Arc::default(),
        }
    }

    /// As [`names`].
    pub fn names(&self, macs: impl IntoIterator<Item = MacAddr>) -> Vec<String> {
        names(&self.folder, macs)
    }

    /// Begins a file of this box.
    pub fn begin(&self, mac: MacAddr) -> Result<Upload, LogError> {
        let place = Place::of(&self.under_way, mac)?;
        let failed = |failed| LogError::of(failed, &self.folder);
        make_folder(&self.folder).map_err(failed)?;
        sweep(&self.folder);
        let free = free_bytes(&self.folder).map_err(failed)?;
        if free < SPARE_BYTES {
            let reason =
                format!("{free} bytes are free, and {SPARE_BYTES} stay so for the records");
            return Err(LogError::NoSpace(reason));
        }
        // Behind the others of the box, whatever the clock says, and on a second of its own.
        let last = of(&self.folder, mac).pop();
        let next = last.and_then(|last| last.at.0.checked_add(1.second()).ok());
        let name = name_of(mac, next.max(Some(Timestamp::now())).unwrap_or_default());
        let path = self.folder.join(&name);
        let new = NewVersion::create(CWD, &path, None, FILE_MODE);
        let mut new = new.map_err(|failed| LogError::of(failed, &path))?;
        // So that it is told from what a killed process left.
        let locked = rustix::fs::flock(new.file(), FlockOperation::NonBlockingLockExclusive);
        step("locking", locked).map_err(failed)?;
        Ok(Upload {
            new,
            mac,
            folder: self.folder.clone(),
            name,
            bytes: 0,
            _place: place,
        })
    }
}

/// A file that is on its way. Dropped before it is kept, nothing is left of it.
pub struct Upload {
    new: NewVersion<'static>,
    mac: MacAddr,
    folder: PathBuf,
    name: String,
    bytes: u64,
    _place: Place,
}

impl Upload {
    /// Adds what came next.
    pub fn write(&mut self, part: &[u8]) -> Result<(), LogError> {
        self.bytes += part.len() as u64;
        let written = self.new.file().write_all(part);
        let failed = |cause| LogError::of(Failed("writing", cause), &self.folder.join(&self.name));
        written.map_err(failed)
    }

    /// Keeps it, and lets others give way. It is on the disk when this returns.
    pub fn keep(self) -> Result<LogFile, LogError> {
        let Self {
            mut new,
            mac,
            folder,
            name,
            bytes,
            _place,
        } = self;
        let path = folder.join(&name);
        let failed = |failed| LogError::of(failed, &path);
        let mut begins = [0; GZIP.len()];
        let read = new.file().read_exact_at(&mut begins, 0);
        if read.is_err() || begins != GZIP {
            return Err(LogError::NotGzip);
        }
        new.sync().map_err(failed)?;
        new.take_place().map_err(failed)?;
        sync_folder(&folder).map_err(|reason| {
            // The box will send it again.
            let _ = std::fs::remove_file(&path);
            failed(reason)
        })?;
        make_room(&folder, mac);
        let (_, at) = named(&name).unwrap_or((mac, Timestamp::now()));
        Ok(LogFile {
            name,
            at: Rfc3339(at),
            bytes,
        })
    }
}

/// The right to one upload of a box, until it is dropped.
#[derive(Debug)]
struct Place {
    under_way: Arc<Mutex<HashSet<MacAddr>>>,
    mac: MacAddr,
}

impl Place {
    fn of(under_way: &Arc<Mutex<HashSet<MacAddr>>>, mac: MacAddr) -> Result<Self, LogError> {
        let mut macs = locked(under_way);
        if macs.len() >= UPLOADS || !macs.insert(mac) {
            return Err(LogError::Busy);
        }
        let under_way = Arc::clone(under_way);
        Ok(Self { under_way, mac })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        locked(&self.under_way).remove(&self.mac);
    }
}

fn locked(macs: &Mutex<HashSet<MacAddr>>) -> MutexGuard<'_, HashSet<MacAddr>> {
    macs.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what has to give way to the file of `mac` that came last.
fn make_room(folder: &Path, mac: MacAddr) {
    let removed = all(folder).and_then(|kept| {
        let removals = give_way(&kept, mac);
        let mut names = removals.iter().map(|log| folder.join(&log.name));
        names.try_for_each(|path| match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
    });
    if let Err(reason) = removed {
        warn!(%reason, "old logs of installers cannot be removed: {reason}");
    }
}

/// Removes what was begun by a process that is no more: its lock is gone with it.
fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_unfinished = entry.file_name().to_string_lossy().ends_with(UNFINISHED);
        let is_dead = || {
            let file = File::open(entry.path())?;
            let lock = rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive);
            io::Result::Ok(lock.is_ok())
        };
        if is_unfinished && is_dead().unwrap_or(false) {
            // It is tried again with the next upload.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Makes the folder, and makes it last.
fn make_folder(folder: &Path) -> Result<(), Failed> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new("."));
    let made = std::fs::create_dir_all(parent);
    made.map_err(|cause| Failed("creating the folder of", cause))?;
    match rustix::fs::mkdir(folder, FOLDER_MODE) {
        Ok(()) | Err(Errno::EXIST) => {}
        made => step("creating", made)?,
    }
    sync_folder(parent)
}

fn sync_folder(folder: &Path) -> Result<(), Failed> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|cause| Failed("fsync of the folder of", cause))
}

fn free_bytes(folder: &Path) -> Result<u64, Failed> {
    let disk = step("looking at the disk of", rustix::fs::statvfs(folder))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn step<T>(name: &'static str, outcome: Result<T, Errno>) -> Result<T, Failed> {
    outcome.map_err(|cause| Failed(name, cause.into()))
}
