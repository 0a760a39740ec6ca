//! How a file of the folder is replaced: by one process at a time, and whole.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use super::{During, Folder, FolderError};
use crate::files::Fault;
use crate::files::replace::{Failed, NewVersion};
use crate::files::stamp::FileStamp;

/// A new file is for everybody: boxes get it unasked.
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);

/// Replaces one file of the folder, as the only process that does.
pub(super) struct Writer {
    /// Of the folder.
    path: PathBuf,
    /// The folder, open for reading: a mere path could be neither locked nor synced.
    locked: OwnedFd,
    name: &'static str,
    /// What is to be replaced.
    old: Option<Stat>,
}

impl Writer {
    /// Locks the folder, and looks at the file.
    pub(super) fn lock(
        folder: &Folder,
        path: &Path,
        name: &'static str,
    ) -> Result<Self, FolderError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let locked = rustix::fs::openat(&folder.inside, ".", flags, Mode::empty());
        let mut writer = Self {
            path: path.to_owned(),
            locked: locked.during("opening", path)?,
            name,
            old: None,
        };
        match rustix::fs::flock(&writer.locked, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(Fault::new(name, "another process is writing it"))?,
            outcome => outcome.during("locking", path)?,
        }
        writer.old = writer.look()?;
        Ok(writer)
    }

    fn look(&self) -> Result<Option<Stat>, FolderError> {
        match rustix::fs::statat(&self.locked, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_file() => Ok(Some(stat)),
            // A link would be replaced, and what it leads to go stale.
            Ok(_) => Err(Fault::new(
                self.name,
                "is not a regular file, so it is not replaced",
            ))?,
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error).during("looking at", &self.path.join(self.name)),
        }
    }

    /// Puts a new file in the place of the old one, which readers see whole until then.
    pub(super) fn replace(&self, text: &[u8]) -> Result<(), FolderError> {
        let path = Path::new(self.name);
        let failed =
            |failed| FolderError::replacing(self.path.join(format!("{}.tmp", self.name)), failed);
        // Written by root, the service's user or group must be able to read it as before.
        let owner = |old: Stat| (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
        let mode = |old: Stat| Mode::from_raw_mode(old.st_mode & 0o777);
        let mut new = NewVersion::create(
            self.locked.as_fd(),
            path,
            self.old.map(owner),
            self.old.map_or(FILE_MODE, mode),
        )
        .map_err(failed)?;
        let written = new.file().write_all(text);
        written.map_err(|error| failed(Failed("writing", error)))?;
        new.sync().map_err(failed)?;
        let stamp = |stat: Option<&Stat>| stat.map(FileStamp::of);
        if stamp(self.look()?.as_ref()) != stamp(self.old.as_ref()) {
            Err(Fault::new(
                self.name,
                "was changed during the run, and is left as it is now",
            ))?;
        }
        new.take_place().map_err(failed)?;
        rustix::fs::fsync(&self.locked).during("fsync of", &self.path)
    }
}
