//! The manifest of the onboarding folder, `{DATA_PATH}/onboard/manifest.json`: which stages a
//! device walks and which payloads it fetches. `packaging/onboard/README.md` has the format.
//!
//! [`Folder::write`] makes the list of payloads say what is staged; [`Folder::check`] tells what a
//! device would refuse. Every file is reached as the server reaches it, never out of the folder.
//!
//! What `write` does not change keeps its text: only the list of payloads is made anew, and the
//! indentation of the rest. So each value of the manifest is held as the piece of text that it is.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use cap_std::fs::{Dir, MetadataExt, OpenOptions, OpenOptionsExt};
use rustix::fs::{AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

mod json;

use crate::device::stage::Stage;
use crate::excerpt::excerpt;
use crate::files::fault::Fault;
use crate::files::stamp::FileStamp;
use json::*;

/// The manifest, in the onboarding folder.
pub const MANIFEST_FILE: &str = "manifest.json";

/// Largest manifest that a device reads, in bytes: `manifest_bytes` of gb10-onboard.
pub const MANIFEST_BYTES: usize = 256 * 1024;

/// Largest script of a stage that a device reads, in bytes: `script_bytes` of gb10-onboard.
pub const SCRIPT_BYTES: u64 = 1024 * 1024;

/// What is served where none is staged. The scripts that it lists are served too.
const DEFAULT_MANIFEST: &str = crate::embedded::MANIFEST;

/// Removed and made anew by each run, so what a killed one left is no hindrance.
const TEMPORARY_FILE: &str = "manifest.json.tmp";

/// The version of the format.
const VERSION: &str = "1";

/// Deepest nesting that a device reads.
const DEPTH: usize = 16;

/// Most digits of a number that every shell reckons with.
const DIGITS: usize = 15;

/// The device's folder for payloads whose target nobody chose.
const DEFAULT_TARGET: &str = "/opt/gb10";

/// Read at a time by each thread, in bytes.
const CHUNK: usize = 256 * 1024;

/// Between two reports of progress.
const TICK: Duration = Duration::from_millis(200);

/// A new manifest is for everybody: devices get it unasked.
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);

/// Why the manifest could not be written or checked.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A system call failed.
    #[error("{}: {action} failed: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The system's answer.
        cause: io::Error,
    },
    /// What is staged or listed cannot become a manifest; the old one is as it was.
    #[error("the manifest or what is staged has faults")]
    Faults(Vec<Fault>),
    /// `--payload` is none of the onboarding folder's own folders.
    #[error("{}: expected a folder below the onboarding folder, relative to it", .0.display())]
    NotBelow(PathBuf),
    /// Another process writes this manifest.
    #[error("{}: another process is writing the manifest", .0.display())]
    Busy(PathBuf),
    /// Somebody edited the manifest during the run.
    #[error("{}: the manifest was changed meanwhile, and is left as it is now", .0.display())]
    ManifestChanged(PathBuf),
}

/// How far the hashing is, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Bytes that are hashed.
    pub done: u64,
    /// Bytes of all files.
    pub total: u64,
}

/// What [`Folder::write`] changed; paths are relative to the onboarding folder.
#[derive(Debug, Default)]
pub struct Written {
    /// Payloads in the list now.
    pub payloads: usize,
    /// New in the list.
    pub added: Vec<String>,
    /// In the list before, with another size or checksum.
    pub updated: Vec<String>,
    /// No longer in the list, since the file is gone.
    pub removed: Vec<String>,
}

/// What [`Folder::check`] found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Whether a manifest is staged; without one the embedded default is what was checked.
    pub staged: bool,
    /// Payloads in the list.
    pub payloads: usize,
    /// What is wrong, by line.
    pub faults: Vec<Fault>,
}

/// The onboarding folder.
pub struct Folder {
    path: PathBuf,
    handle: File,
    /// The same folder, as one that no path leads out of.
    inside: Dir,
}

/// Names the step that failed.
trait During<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, ManifestError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, ManifestError> {
        self.map_err(|cause| ManifestError::Io {
            path: path.to_owned(),
            action,
            cause: cause.into(),
        })
    }
}

impl Folder {
    /// Opens the onboarding folder.
    pub fn open(path: &Path) -> Result<Self, ManifestError> {
        // For reading: a folder opened as a mere path could be neither locked nor synced.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty()).during("opening", path)?;
        let handle = File::from(handle);
        let inside = Dir::from_std_file(handle.try_clone().during("opening", path)?);
        Ok(Self {
            path: path.to_owned(),
            handle,
            inside,
        })
    }

    /// Makes the list of payloads say what is staged below `payload`, a folder relative to this
    /// one, and what else is listed. Everything else in the manifest is kept.
    ///
    /// # Errors
    /// The old manifest is as it was then, unless the folder could not be synced after the new one
    /// had got its place.
    pub fn write(
        &self,
        payload: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Written, ManifestError> {
        let payload = below(payload)?;
        let manifest_path = self.path.join(MANIFEST_FILE);
        match rustix::fs::flock(&self.handle, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(ManifestError::Busy(manifest_path)),
            outcome => outcome.during("locking", &self.path)?,
        }
        let old = self.manifest_stat()?;
        let text = match &old {
            Some(_) => match self.read_manifest()? {
                Ok(text) => Cow::Owned(text),
                Err(fault) => return Err(ManifestError::Faults(vec![fault])),
            },
            None => Cow::Borrowed(DEFAULT_MANIFEST),
        };
        let mut faults = Vec::new();
        let document = document(&text).map_err(|fault| ManifestError::Faults(vec![fault]))?;
        version(&document, &mut faults);
        let listed = payloads(&document, &mut faults);
        let mut files = self.staged(&payload, &mut faults);
        let mut written = Written::default();
        let mut gone = BTreeSet::new();
        for entry in &listed {
            let Some((path, line)) = &entry.path else {
                continue;
            };
            if files.contains_key(path) || gone.contains(path) {
                continue;
            }
            match self.look(path) {
                Ok(Some(file)) => {
                    files.insert(path.clone(), file);
                }
                Ok(None) => {
                    gone.insert(path.clone());
                }
                Err(reason) => faults.push(at(*line, format!("{path:?} {reason}"))),
            }
        }
        if !faults.is_empty() {
            return Err(ManifestError::Faults(faults));
        }

        let jobs: Vec<_> = files
            .iter()
            .map(|(path, file)| (path.clone(), file.length))
            .collect();
        let mut sums = BTreeMap::new();
        for (path, sum) in self.hash(jobs, progress)? {
            match sum {
                Ok(sum) => drop(sums.insert(path, sum)),
                Err(reason) => faults.push(Fault::new(&path, reason)),
            }
        }

        let mut targets = HashMap::new();
        let mut lines = Vec::new();
        for entry in listed {
            let Some((path, _)) = entry.path else {
                continue;
            };
            let Some(sum) = sums.get(&path) else {
                if gone.contains(&path) {
                    written.removed.push(path);
                }
                continue;
            };
            let mut fields: Vec<_> = (entry.fields.iter())
                .map(|(name, value)| (name.as_str(), inline(value.raw)))
                .collect();
            let mut changed = set(&mut fields, "size", sum.size.to_string());
            changed |= set(&mut fields, "sha256", quoted(&sum.sha256));
            let target = entry.target.unwrap_or_else(|| {
                let target = default_target(&payload, &path);
                changed |= set(&mut fields, "target", quoted(&target));
                target
            });
            lines.push(one_line(&fields));
            claim(target, &path, &mut targets, &mut faults);
            if changed {
                written.updated.push(path.clone());
            }
            files.remove(&path);
        }
        for (path, file) in files {
            let Some(sum) = sums.get(&path) else {
                continue;
            };
            let target = default_target(&payload, &path);
            lines.push(one_line(&[
                ("path", quoted(&path)),
                ("size", sum.size.to_string()),
                ("sha256", quoted(&sum.sha256)),
                ("target", quoted(&target)),
                (
                    "mode",
                    quoted(if file.executable { "0755" } else { "0644" }),
                ),
            ]));
            claim(target, &path, &mut targets, &mut faults);
            written.added.push(path);
        }
        // A long run leaves time for changes after a file's turn, too.
        for (path, sum) in &sums {
            match self.open_file(path).and_then(|file| stamp(&file)) {
                Ok(stamp) if stamp == sum.stamp => {}
                _ => faults.push(Fault::new(path, CHANGED)),
            }
        }
        written.payloads = lines.len();
        let new = with_payloads(&document, &lines);
        if new.len() > MANIFEST_BYTES {
            faults.push(too_large(new.len()));
        }
        if !faults.is_empty() {
            return Err(ManifestError::Faults(faults));
        }
        if old.is_none() || new != text {
            self.replace(&new, old.as_ref())?;
        }
        Ok(written)
    }

    /// Tells what a device would refuse: in the manifest, and in the files that it lists.
    pub fn check(&self, progress: &mut dyn FnMut(Progress)) -> Result<Checked, ManifestError> {
        let mut checked = Checked::default();
        let read = match self.open_file(MANIFEST_FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(DEFAULT_MANIFEST.into()),
            _ => {
                checked.staged = true;
                self.read_manifest()?
            }
        };
        let text = match read {
            Ok(text) => text,
            Err(fault) => {
                checked.faults.push(fault);
                return Ok(checked);
            }
        };
        let faults = &mut checked.faults;
        let document = match document(&text) {
            Ok(document) => document,
            Err(fault) => {
                faults.push(fault);
                return Ok(checked);
            }
        };
        version(&document, faults);
        for (script, line) in stages(&document, faults) {
            if let Err(reason) = self.script(&script) {
                faults.push(at(line, format!("the script {script:?} {reason}")));
            }
        }
        let listed = payloads(&document, faults);
        checked.payloads = listed.len();
        let mut expected = Vec::new();
        let mut jobs = BTreeMap::new();
        for entry in &listed {
            let size = entry.size(faults);
            let sha256 = entry.sha256(faults);
            if entry.target.is_none() && entry.field("target").is_none() {
                faults.push(at(entry.line, format!("{}.target is missing", entry.label)));
            }
            let Some((path, line)) = &entry.path else {
                continue;
            };
            let length = match self.look(path) {
                Ok(Some(file)) => file.length,
                Ok(None) => {
                    faults.push(at(*line, format!("{path:?} is not staged")));
                    continue;
                }
                Err(reason) => {
                    faults.push(at(*line, format!("{path:?} {reason}")));
                    continue;
                }
            };
            match size {
                // Its checksum would be wrong too, and say nothing more.
                Some((size, line)) if size != length => faults.push(at(
                    line,
                    format!("{path:?} has {length} bytes, not the {size} that are listed"),
                )),
                _ => {
                    if let Some((sha256, line)) = sha256 {
                        jobs.insert(path.clone(), length);
                        expected.push((path, sha256, line));
                    }
                }
            }
        }
        let sums: HashMap<_, _> = self
            .hash(jobs.into_iter().collect(), progress)?
            .into_iter()
            .collect();
        for (path, sha256, line) in expected {
            match sums.get(path) {
                Some(Ok(sum)) if sum.sha256.eq_ignore_ascii_case(&sha256) => {}
                Some(Ok(sum)) => faults.push(at(
                    line,
                    format!(
                        "{path:?} has the sha256 {}, not the one that is listed",
                        sum.sha256
                    ),
                )),
                Some(Err(reason)) => faults.push(at(line, format!("{path:?}: {reason}"))),
                None => {}
            }
        }
        faults.sort_by_key(|fault| fault.line);
        Ok(checked)
    }

    /// The manifest's place; none where there is no file yet.
    fn manifest_stat(&self) -> Result<Option<Stat>, ManifestError> {
        let path = self.path.join(MANIFEST_FILE);
        match rustix::fs::statat(&self.handle, MANIFEST_FILE, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                Ok(Some(stat))
            }
            // A link would be replaced, and what it leads to go stale.
            Ok(_) => Err(ManifestError::Faults(vec![Fault::new(
                MANIFEST_FILE,
                "is no regular file, so it is not replaced",
            )])),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error).during("looking at", &path),
        }
    }

    /// The manifest's text, or why it is none.
    fn read_manifest(&self) -> Result<Result<String, Fault>, ManifestError> {
        let path = self.path.join(MANIFEST_FILE);
        let file = self.open_file(MANIFEST_FILE).during("opening", &path)?;
        let mut bytes = Vec::new();
        let size = file.metadata().during("looking at", &path)?.len();
        file.take(MANIFEST_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .during("reading", &path)?;
        if bytes.len() > MANIFEST_BYTES {
            return Ok(Err(too_large(bytes.len().max(size as usize))));
        }
        Ok(String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
            at(line, "not JSON: not UTF-8")
        }))
    }

    /// Opens a file as the server does: never out of the folder, and without waiting for a writer
    /// should somebody have staged a named pipe.
    fn open_file(&self, path: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32);
        let file = self.inside.open_with(path, &options)?.into_std();
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("no regular file")),
        }
    }

    /// What is staged under this path: none where nothing is.
    fn look(&self, path: &str) -> Result<Option<StagedFile>, String> {
        match self.inside.metadata(path) {
            Ok(metadata) if metadata.is_file() => Ok(Some(StagedFile::of(&metadata))),
            Ok(_) => Err("is no regular file".to_owned()),
            // A file is where one of its folders was.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && self.inside.symlink_metadata(path).is_err() =>
            {
                Ok(None)
            }
            Err(error) => Err(unreachable_because(&error)),
        }
    }

    /// Whether a device would get this script.
    fn script(&self, path: &str) -> Result<(), String> {
        match self.look(path)? {
            Some(file) if file.length > SCRIPT_BYTES => Err(format!(
                "has {} bytes: a device reads at most {SCRIPT_BYTES}",
                file.length
            )),
            Some(_) => Ok(()),
            None if default_scripts().contains(path) => Ok(()),
            None => Err("is neither staged nor one of the defaults".to_owned()),
        }
    }

    /// Every file below `payload`, by its path relative to the onboarding folder.
    fn staged(&self, payload: &str, faults: &mut Vec<Fault>) -> BTreeMap<String, StagedFile> {
        let mut files = BTreeMap::new();
        let metadata = match self.inside.metadata(payload) {
            Ok(metadata) => metadata,
            Err(error) => {
                // Not taken for empty: more likely than that every payload is gone, a disk is not
                // mounted.
                faults.push(Fault::new(payload, unreachable_because(&error)));
                return files;
            }
        };
        let above = vec![(metadata.dev(), metadata.ino())];
        self.walk(payload, &above, &mut files, faults);
        files
    }

    /// Enters the files of one folder, and of those below it. `above` are the folders on the way,
    /// by device and inode: links to one of them would be followed forever.
    fn walk(
        &self,
        folder: &str,
        above: &[(u64, u64)],
        files: &mut BTreeMap<String, StagedFile>,
        faults: &mut Vec<Fault>,
    ) {
        let entries = match self
            .inside
            .read_dir(folder)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        {
            Ok(entries) => entries,
            Err(error) => return faults.push(Fault::new(folder, unreachable_because(&error))),
        };
        for entry in entries {
            let name = entry.file_name();
            let path = match name.to_str() {
                Some(name) => format!("{folder}/{name}"),
                None => {
                    faults.push(Fault::new(
                        folder,
                        format!("the name {name:?} is not UTF-8"),
                    ));
                    continue;
                }
            };
            // The name alone is new on each floor; above, it has passed this.
            if let Some(reason) = name.to_str().and_then(unsafe_path) {
                faults.push(Fault::new(folder, format!("the name {name:?} {reason}")));
                continue;
            }
            match self.inside.metadata(&path) {
                Ok(metadata) if metadata.is_file() => {
                    files.insert(path, StagedFile::of(&metadata));
                }
                Ok(metadata) if metadata.is_dir() => {
                    let identity = (metadata.dev(), metadata.ino());
                    if above.contains(&identity) {
                        faults.push(Fault::new(&path, "a link to a folder that it is in"));
                    } else {
                        self.walk(&path, &[above, &[identity]].concat(), files, faults);
                    }
                }
                Ok(_) => faults.push(Fault::new(&path, "is no regular file")),
                Err(error) => faults.push(Fault::new(&path, unreachable_because(&error))),
            }
        }
    }

    /// Hashes files, given with their lengths, on all cores; the memory that it takes depends on
    /// neither.
    #[allow(clippy::type_complexity)] // each path with its outcome
    fn hash(
        &self,
        mut jobs: Vec<(String, u64)>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<(String, Result<Sum, String>)>, ManifestError> {
        // The longest first: begun last, one would keep a single core busy when the others are
        // done.
        jobs.sort_by_key(|(_, length)| std::cmp::Reverse(*length));
        let total = jobs.iter().map(|(_, length)| length).sum();
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
        let (results, finished) = mpsc::channel();
        let work = || {
            let results = results.clone();
            let mut chunk = vec![0; CHUNK];
            while let Some((path, _)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let sum = self.hash_file(path, &mut chunk, &done);
                // Nobody waits for it only where starting the threads failed.
                let _ = results.send((path.clone(), sum));
            }
        };
        thread::scope(|scope| {
            for number in 0..cores.min(jobs.len()) {
                match thread::Builder::new().spawn_scoped(scope, work) {
                    Err(error) if number == 0 => {
                        return Err(error).during("starting a thread for", &self.path);
                    }
                    // Those that there are do the work.
                    _ => {}
                }
            }
            let mut outcomes = Vec::with_capacity(jobs.len());
            while outcomes.len() < jobs.len() {
                match finished.recv_timeout(TICK) {
                    Ok(outcome) => outcomes.push(outcome),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                let done = done.load(Ordering::Relaxed);
                progress(Progress { done, total });
            }
            Ok(outcomes)
        })
    }

    fn hash_file(&self, path: &str, chunk: &mut [u8], done: &AtomicU64) -> Result<Sum, String> {
        let file = self
            .open_file(path)
            .map_err(|error| unreachable_because(&error))?;
        let unreadable = |error: io::Error| format!("cannot be read: {error}");
        let before = stamp(&file).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let mut hasher = Sha256::new();
        let mut read = 0;
        // One byte more than there should be: a file that grows all the time must not hold this up.
        let mut bytes = (&file).take(size + 1);
        loop {
            match bytes.read(chunk) {
                Ok(0) => break,
                Ok(n) => {
                    hasher.update(&chunk[..n]);
                    read += n as u64;
                    done.fetch_add(n as u64, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(error)),
            }
        }
        if read != size || stamp(&file).map_err(unreadable)? != before {
            return Err(CHANGED.to_owned());
        }
        let sha256 = hasher
            .finalize()
            .iter()
            .fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}"); // a String takes everything
                hex
            });
        Ok(Sum {
            size,
            sha256,
            stamp: before,
        })
    }

    /// Puts a new manifest in the place of the old one, which readers see whole until then.
    fn replace(&self, text: &str, old: Option<&Stat>) -> Result<(), ManifestError> {
        let temporary = self.path.join(TEMPORARY_FILE);
        match rustix::fs::unlinkat(&self.handle, TEMPORARY_FILE, AtFlags::empty()) {
            Err(Errno::NOENT) => {}
            outcome => outcome.during("removing", &temporary)?,
        }
        let outcome = self.replace_by(&temporary, text, old);
        if outcome.is_err() {
            // It is not there, where it has got its new name already.
            let _ = rustix::fs::unlinkat(&self.handle, TEMPORARY_FILE, AtFlags::empty());
        }
        outcome
    }

    fn replace_by(
        &self,
        temporary: &Path,
        text: &str,
        old: Option<&Stat>,
    ) -> Result<(), ManifestError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.handle, TEMPORARY_FILE, flags, FILE_MODE)
            .during("creating", temporary)?;
        let mut file = File::from(file);
        if let Some(old) = old {
            let new = rustix::fs::fstat(&file).during("looking at", temporary)?;
            // Written by root, the service's user or group must be able to read it as before.
            if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid) {
                let (user, group) = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
                rustix::fs::fchown(&file, Some(user), Some(group))
                    .during("giving the old manifest's owner to", temporary)?;
            }
        }
        // Whatever the umask is; and after the owner, which may take bits of the mode away.
        let mode = old.map_or(FILE_MODE, |old| Mode::from_raw_mode(old.st_mode & 0o777));
        rustix::fs::fchmod(&file, mode).during("setting the mode of", temporary)?;
        file.write_all(text.as_bytes())
            .during("writing", temporary)?;
        file.sync_all().during("fsync of", temporary)?;
        let stamp = |stat: Option<&Stat>| stat.map(FileStamp::of);
        if stamp(self.manifest_stat()?.as_ref()) != stamp(old) {
            return Err(ManifestError::ManifestChanged(
                self.path.join(MANIFEST_FILE),
            ));
        }
        rustix::fs::renameat(&self.handle, TEMPORARY_FILE, &self.handle, MANIFEST_FILE)
            .during("renaming", temporary)?;
        rustix::fs::fsync(&self.handle).during("fsync of", &self.path)
    }
}

/// Of a file that somebody wrote to.
const CHANGED: &str = "changed while it was hashed: run this again when it is complete";

/// A regular file, when it was looked at.
struct StagedFile {
    length: u64,
    executable: bool,
}

impl StagedFile {
    fn of(metadata: &cap_std::fs::Metadata) -> Self {
        Self {
            length: metadata.len(),
            executable: metadata.mode() & 0o111 != 0,
        }
    }
}

/// What a file's content is, as of one state of it.
struct Sum {
    size: u64,
    sha256: String,
    stamp: FileStamp,
}

fn stamp(file: &File) -> io::Result<FileStamp> {
    Ok(FileStamp::of(&rustix::fs::fstat(file)?))
}

/// Why a file cannot be had.
fn unreachable_because(error: &io::Error) -> String {
    match (error.kind(), error.raw_os_error()) {
        // cap-std's own, not the system's.
        (io::ErrorKind::PermissionDenied, None) => {
            "leads out of the onboarding folder, where nothing is served".to_owned()
        }
        (io::ErrorKind::NotFound, _) => "is not there, or a link to nothing".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

/// The folder of payloads as the paths of its files begin.
fn below(payload: &Path) -> Result<String, ManifestError> {
    let refused = || ManifestError::NotBelow(payload.to_owned());
    let mut parts = Vec::new();
    for part in payload.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str().ok_or_else(refused)?),
            _ => return Err(refused()),
        }
    }
    let path = parts.join("/");
    match unsafe_path(&path) {
        None => Ok(path),
        Some(_) => Err(refused()),
    }
}

/// Where a payload goes on the device, if nobody said.
fn default_target(payload: &str, path: &str) -> String {
    let inner = path
        .strip_prefix(payload)
        .and_then(|rest| rest.strip_prefix('/'));
    format!("{DEFAULT_TARGET}/{}", inner.unwrap_or(path))
}

/// Gives a payload its target; a fault where another payload has it.
fn claim(
    target: String,
    path: &str,
    targets: &mut HashMap<String, String>,
    faults: &mut Vec<Fault>,
) {
    if let Some(other) = targets.get(&target) {
        let reason =
            format!("its target {target:?} is that of {other:?} too: list it with another");
        faults.push(Fault::new(path, reason));
    } else {
        targets.insert(target, path.to_owned());
    }
}

/// The scripts that are served where none are staged.
fn default_scripts() -> BTreeSet<String> {
    // Its faults would be a defect, and a script that is not known is one that is missed.
    let mut faults = Vec::new();
    document(DEFAULT_MANIFEST)
        .map(|document| stages(&document, &mut faults))
        .unwrap_or_default()
        .into_iter()
        .map(|(script, _)| script)
        .collect()
}

/// A fault of a line of the manifest.
fn at(line: usize, reason: impl Into<String>) -> Fault {
    Fault {
        line: Some(line),
        ..Fault::new(MANIFEST_FILE, reason)
    }
}

fn too_large(bytes: usize) -> Fault {
    let reason = format!("{bytes} bytes: a device reads at most {MANIFEST_BYTES}");
    Fault::new(MANIFEST_FILE, reason)
}

// --- what a device expects of it ---------------------------------------------------------------

/// Why a device does not take this relative path; none where it does.
fn unsafe_path(path: &str) -> Option<String> {
    let control = |byte: u8| byte < 0x20 || byte == 0x7f || byte == b'\\';
    if path.is_empty() {
        Some("is empty".to_owned())
    } else if path.bytes().any(control) {
        Some("has a control character or a backslash in it".to_owned())
    } else if path.starts_with('/') {
        Some("is absolute, not below the onboarding folder".to_owned())
    } else {
        path.split('/').find_map(|part| match part {
            "" => Some("has an empty part".to_owned()),
            "." | ".." => Some(format!("has a part {part:?}")),
            _ => None,
        })
    }
}

fn version(document: &Node, faults: &mut Vec<Fault>) {
    match field(document, "version", "", faults) {
        Some(node) if node.kind() != "a number" => faults.push(node.not("version", "a number")),
        Some(node) if node.raw != VERSION => faults.push(at(
            node.line,
            format!("version is {}: devices read version {VERSION}", node.raw),
        )),
        _ => {}
    }
}

/// The scripts of the stages, each with its line.
fn stages(document: &Node, faults: &mut Vec<Fault>) -> Vec<(String, usize)> {
    let mut scripts: Vec<(String, usize)> = Vec::new();
    let Some(list) = field(document, "stages", "", faults) else {
        return scripts;
    };
    let Value::Array(items) = &list.value else {
        faults.push(list.not("stages", "an array"));
        return scripts;
    };
    if items.is_empty() {
        faults.push(at(list.line, "stages is empty"));
    }
    for (number, item) in items.iter().enumerate() {
        let label = format!("stages[{number}].");
        if !matches!(item.value, Value::Object(_)) {
            faults.push(item.not(label.trim_end_matches('.'), "an object"));
            continue;
        }
        if let Some((name, line)) = text_field(item, "stage", &label, faults)
            && let Some(reason) = match name.parse() {
                // Those are over when a device begins to onboard.
                Ok(Stage::Install | Stage::FirstBoot) => Some(format!("{name} is the installer's")),
                Ok(_) => None,
                Err(error) => Some(error.to_string()),
            }
        {
            faults.push(at(line, format!("{label}stage: {reason}")));
        }
        if let Some((script, line)) = text_field(item, "script", &label, faults) {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
            let reason = unsafe_path(script).or_else(|| {
                if !script.bytes().all(plain) || script.len() <= 3 || !script.ends_with(".sh") {
                    Some("must end in .sh, and be of letters, digits, . _ - and /".to_owned())
                } else if scripts.iter().any(|(other, _)| other == script) {
                    Some("comes twice".to_owned())
                } else {
                    None
                }
            });
            match reason {
                Some(reason) => {
                    let script = excerpt(script);
                    faults.push(at(line, format!("{label}script: {script} {reason}")));
                }
                None => scripts.push((script.to_owned(), line)),
            }
        }
        if item.get("timeout").is_some() {
            whole(item, "timeout", 1, &label, faults);
        }
        if let Some(optional) = item.get("optional")
            && optional.kind() != "a boolean"
        {
            faults.push(optional.not(&format!("{label}optional"), "a boolean"));
        }
    }
    scripts
}

/// One entry of the list of payloads.
struct Entry<'n, 'a> {
    fields: &'n [(String, Node<'a>)],
    node: &'n Node<'a>,
    label: String,
    line: usize,
    /// With its line; none where it is at fault.
    path: Option<(String, usize)>,
    /// None where it is missing or at fault.
    target: Option<String>,
}

impl Entry<'_, '_> {
    fn field(&self, name: &str) -> Option<&Node<'_>> {
        self.node.get(name)
    }

    fn size(&self, faults: &mut Vec<Fault>) -> Option<(u64, usize)> {
        whole(self.node, "size", 0, &format!("{}.", self.label), faults)
    }

    fn sha256(&self, faults: &mut Vec<Fault>) -> Option<(String, usize)> {
        let (text, line) = text_field(self.node, "sha256", &format!("{}.", self.label), faults)?;
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some((text.to_owned(), line));
        }
        let reason = format!("{}.sha256 is not of 64 hexadecimal digits", self.label);
        faults.push(at(line, reason));
        None
    }
}

/// The list of payloads, as far as it does not depend on the files: a missing target, the size and
/// the checksum are left to the caller.
fn payloads<'n, 'a>(document: &'n Node<'a>, faults: &mut Vec<Fault>) -> Vec<Entry<'n, 'a>> {
    let mut entries = Vec::new();
    let Some(list) = document.get("payloads") else {
        return entries;
    };
    let Value::Array(items) = &list.value else {
        faults.push(list.not("payloads", "an array"));
        return entries;
    };
    let mut targets = HashMap::new();
    for (number, node) in items.iter().enumerate() {
        let label = format!("payloads[{number}]");
        let Value::Object(fields) = &node.value else {
            faults.push(node.not(&label, "an object"));
            continue;
        };
        let dotted = format!("{label}.");
        let mut path = None;
        if let Some((text, line)) = text_field(node, "path", &dotted, faults) {
            match unsafe_path(text) {
                None => path = Some((text.to_owned(), line)),
                Some(reason) => {
                    faults.push(at(
                        line,
                        format!("{label}.path: {} {reason}", excerpt(text)),
                    ));
                }
            }
        }
        let mut target = None;
        if node.get("target").is_some()
            && let Some((text, line)) = text_field(node, "target", &dotted, faults)
        {
            let reason = match text.strip_prefix('/').map(unsafe_path) {
                None => Some("is not absolute".to_owned()),
                Some(Some(reason)) => Some(reason),
                Some(None) => (targets.insert(text, line))
                    .map(|before| format!("is the target in line {before} already")),
            };
            match reason {
                None => target = Some(text.to_owned()),
                Some(reason) => {
                    let text = excerpt(text);
                    faults.push(at(line, format!("{label}.target: {text} {reason}")));
                }
            }
        }
        if node.get("mode").is_some()
            && let Some((text, line)) = text_field(node, "mode", &dotted, faults)
            && let Some(reason) = wrong_mode(text)
        {
            faults.push(at(
                line,
                format!("{label}.mode: {} {reason}", excerpt(text)),
            ));
        }
        entries.push(Entry {
            fields,
            node,
            label,
            line: node.line,
            path,
            target,
        });
    }
    entries
}

/// Why a device does not take this mode.
fn wrong_mode(mode: &str) -> Option<&'static str> {
    let octal = mode.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    match mode.len() {
        3 if octal => None,
        4 if octal && mode.starts_with('0') => None,
        4 if octal => Some("sets the setuid, setgid or sticky bit: expected one like \"0644\""),
        _ => Some("is not like \"0644\""),
    }
}

/// A field that must be there. `label` is put before its name in a fault.
fn field<'n, 'a>(
    node: &'n Node<'a>,
    name: &str,
    label: &str,
    faults: &mut Vec<Fault>,
) -> Option<&'n Node<'a>> {
    let found = node.get(name);
    if found.is_none() {
        faults.push(at(node.line, format!("{label}{name} is missing")));
    }
    found
}

/// A field that must be a string, with its line.
fn text_field<'n>(
    node: &'n Node,
    name: &str,
    label: &str,
    faults: &mut Vec<Fault>,
) -> Option<(&'n str, usize)> {
    let node = field(node, name, label, faults)?;
    match &node.value {
        Value::Text(text) => Some((text, node.line)),
        _ => {
            faults.push(node.not(&format!("{label}{name}"), "a string"));
            None
        }
    }
}

/// A field that must be a whole number from `least` on, with its line.
fn whole(
    node: &Node,
    name: &str,
    least: u64,
    label: &str,
    faults: &mut Vec<Fault>,
) -> Option<(u64, usize)> {
    let node = field(node, name, label, faults)?;
    if node.kind() != "a number" {
        faults.push(node.not(&format!("{label}{name}"), "a number"));
        return None;
    }
    let number = Some(node.raw)
        .filter(|raw| raw.len() <= DIGITS && raw.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|raw| raw.parse().ok())
        .filter(|number| *number >= least);
    if number.is_none() {
        let raw = excerpt(node.raw);
        let reason = format!("{label}{name} is {raw}, not a whole number from {least} on");
        faults.push(at(node.line, reason));
    }
    Some((number?, node.line))
}
