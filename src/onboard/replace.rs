//! How a file of the folder is replaced: by one process at a time, and whole.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use super::{During, Folder, FolderError};
use crate::files::Fault;
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
        let temporary = format!("{}.tmp", self.name);
        let path = self.path.join(&temporary);
        // Made anew by each run, so what a killed one left is no hindrance.
        match rustix::fs::unlinkat(&self.locked, &temporary, AtFlags::empty()) {
            Err(Errno::NOENT) => {}
            outcome => outcome.during("removing", &path)?,
        }
        let replaced = self.write(&temporary, &path, text).and_then(|()| {
            let stamp = |stat: Option<&Stat>| stat.map(FileStamp::of);
            if stamp(self.look()?.as_ref()) != stamp(self.old.as_ref()) {
                Err(Fault::new(
                    self.name,
                    "was changed during the run, and is left as it is now",
                ))?;
            }
            rustix::fs::renameat(&self.locked, &temporary, &self.locked, self.name)
                .during("renaming", &path)
        });
        if replaced.is_err() {
            let _ = rustix::fs::unlinkat(&self.locked, &temporary, AtFlags::empty());
            return replaced;
        }
        rustix::fs::fsync(&self.locked).during("fsync of", &self.path)
    }

    /// Writes the new file, with the owner and the mode of the old one.
    fn write(&self, name: &str, path: &Path, text: &[u8]) -> Result<(), FolderError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.locked, name, flags, FILE_MODE);
        let mut file = File::from(file.during("creating", path)?);
        let mut mode = FILE_MODE;
        if let Some(old) = self.old {
            mode = Mode::from_raw_mode(old.st_mode & 0o777);
            let new = rustix::fs::fstat(&file).during("looking at", path)?;
            // Written by root, the service's user or group must be able to read it as before.
            if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid) {
                let (user, group) = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
                rustix::fs::fchown(&file, Some(user), Some(group))
                    .during("giving the old file's owner to", path)?;
            }
        }
        // Whatever the umask is; and after the owner, which may take bits of the mode away.
        rustix::fs::fchmod(&file, mode).during("setting the mode of", path)?;
        file.write_all(text).during("writing", path)?;
        file.sync_all().during("fsync of", path)
    }
}
