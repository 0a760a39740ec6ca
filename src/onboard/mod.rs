//! The onboarding folder, `{DATA_PATH}/onboard`: what boxes fetch, and the manifest that lists it.
//!
//! [`Folder`] is the one way in, for the server and for `gb10-provision-api manifest`.

mod format;
mod hash;
mod json;
pub mod manifest;
mod replace;
mod wishes;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::files::Fault;
use crate::files::replace::Failed;

/// The onboarding folder. No path leads out of it: each step is kept inside, by the kernel where
/// openat2(2) is allowed, so neither `..` nor a symlink gets out.
pub struct Folder {
    inside: Dir,
}

/// Why a file of the folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// The path is absolute, or has `.` or `..` in it.
    #[error("is not a plain relative path")]
    NotPlain,
    /// There is no such file.
    #[error("is not there")]
    Missing,
    /// There is a link, and nothing where it leads.
    #[error("is a link to nothing")]
    Dangling,
    /// A folder, a pipe, a device.
    #[error("is not a regular file")]
    NotRegular,
    /// A link leads out of the folder.
    #[error("leads out of its folder")]
    Outside,
    /// Somebody writes to it.
    #[error("changed while it was hashed: run this again when it is complete")]
    Changed,
    /// The system refuses it for good: the service may not read it, or its links lead in a circle.
    #[error("cannot be read: {0}")]
    Refused(io::Error),
    /// The system refused. It may not at the next attempt.
    #[error("cannot be read: {0}")]
    Io(io::Error),
}

/// What the system says of a file however often it is asked.
const REFUSALS: [Errno; 6] = [
    Errno::ACCESS,
    Errno::INVAL,
    Errno::LOOP,
    Errno::NAMETOOLONG,
    Errno::NXIO,
    Errno::PERM,
];

impl From<io::Error> for Unreachable {
    fn from(error: io::Error) -> Self {
        match (error.kind(), error.raw_os_error()) {
            // cap-std's own refusal; the system's has a number.
            (io::ErrorKind::PermissionDenied, None) => Self::Outside,
            (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, _) => Self::Missing,
            // A byte that no path has.
            (io::ErrorKind::InvalidInput, None) => Self::NotPlain,
            (_, Some(number)) if REFUSALS.iter().any(|it| it.raw_os_error() == number) => {
                Self::Refused(error)
            }
            _ => Self::Io(error),
        }
    }
}

/// Why work on the folder came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A system call failed: on what, in doing what, and why.
    #[error("{path}: {1} failed: {2}", path = .0.display())]
    Io(PathBuf, &'static str, io::Error),
    /// What is staged is not as it must be; nothing was changed.
    #[error("what is staged has faults")]
    Faults(Vec<Fault>),
    /// `--payload` is not a folder below the onboarding folder.
    #[error("{}: expected a folder below the onboarding folder, relative to it", .0.display())]
    NotBelow(PathBuf),
}

impl FolderError {
    fn replacing(path: PathBuf, Failed(step, cause): Failed) -> Self {
        Self::Io(path, step, cause)
    }

    /// An error if there are faults.
    fn unless_none(faults: Vec<Fault>) -> Result<(), Self> {
        match faults.is_empty() {
            true => Ok(()),
            false => Err(Self::Faults(faults)),
        }
    }
}

impl From<Fault> for FolderError {
    fn from(fault: Fault) -> Self {
        Self::Faults(vec![fault])
    }
}

/// Names the step that failed.
trait During<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, FolderError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, FolderError> {
        self.map_err(|cause| FolderError::Io(path.to_owned(), action, cause.into()))
    }
}

impl Folder {
    /// Opens the folder at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let inside = Dir::open_ambient_dir(path, ambient_authority())?;
        Ok(Self { inside })
    }

    /// Opens a regular file for reading.
    pub fn open_file(&self, path: &str) -> Result<File, Unreachable> {
        plain(path)?;
        let mut options = OpenOptions::new();
        // Opening a named pipe must not wait for its writer.
        options
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32);
        let file = self.inside.open_with(path, &options)?.into_std();
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(Unreachable::NotRegular),
        }
    }

    /// The content of a file, as far as these bytes.
    fn read(&self, path: &str, most: usize) -> Result<Vec<u8>, Unreachable> {
        let mut bytes = Vec::new();
        let file = self.open_file(path)?;
        file.take(most as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The regular file of that path.
    fn find(&self, path: &str) -> Result<Metadata, Unreachable> {
        match self.inside.metadata(path) {
            Ok(found) if found.is_file() => Ok(found),
            Ok(_) => Err(Unreachable::NotRegular),
            // A file is where one of its folders was.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(Unreachable::Missing),
            Err(error) => Err(match error.into() {
                Unreachable::Missing if self.inside.symlink_metadata(path).is_ok() => {
                    Unreachable::Dangling
                }
                reason => reason,
            }),
        }
    }

    /// Every file below a folder of this one, by its path here.
    fn files_below(&self, path: &str, faults: &mut Vec<Fault>) -> BTreeMap<String, Metadata> {
        let mut files = BTreeMap::new();
        match self.inside.metadata(path) {
            Ok(folder) => self.walk(path, &[identity(&folder)], &mut files, faults),
            // Not taken for empty: more likely than that every payload is gone, a disk is not
            // mounted.
            Err(error) => faults.push(unreachable(path, error)),
        }
        files
    }

    /// Enters the files of one folder, and of those below it. `above` are the folders on the way:
    /// a link to one of them would be followed forever.
    fn walk(
        &self,
        folder: &str,
        above: &[(u64, u64)],
        files: &mut BTreeMap<String, Metadata>,
        faults: &mut Vec<Fault>,
    ) {
        let entries = self.inside.read_dir(folder);
        let entries = match entries.and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(error) => return faults.push(unreachable(folder, error)),
        };
        for entry in entries {
            let name = entry.file_name();
            // The name alone is new on each floor; above, it has passed this.
            let (text, reason) = match name.to_str() {
                None => ("", Some("is not UTF-8")),
                Some(text) => (text, format::wrong_path(text)),
            };
            if let Some(reason) = reason {
                faults.push(Fault::new(folder, format!("the name {name:?} {reason}")));
                continue;
            }
            let path = format!("{folder}/{text}");
            match self.inside.metadata(&path) {
                Ok(inner) if inner.is_dir() && above.contains(&identity(&inner)) => {
                    faults.push(Fault::new(&path, "a link to a folder that it is in"));
                }
                Ok(inner) if inner.is_dir() => {
                    self.walk(&path, &[above, &[identity(&inner)]].concat(), files, faults);
                }
                _ => match self.find(&path) {
                    Ok(file) => drop(files.insert(path, file)),
                    Err(reason) => faults.push(unreachable(&path, reason)),
                },
            }
        }
    }
}

/// Whether a path is relative, and goes down only.
pub fn plain(path: &str) -> Result<(), Unreachable> {
    let mut parts = Path::new(path).components();
    match parts.all(|part| matches!(part, Component::Normal(_))) {
        true => Ok(()),
        false => Err(Unreachable::NotPlain),
    }
}

/// What tells a folder from others: device and inode.
fn identity(folder: &Metadata) -> (u64, u64) {
    (folder.dev(), folder.ino())
}

fn unreachable(path: &str, reason: impl Into<Unreachable>) -> Fault {
    Fault::new(path, reason.into().to_string())
}
