//! How a file is replaced: by a new version that is complete and on the disk before it has the
//! file's name, so that neither a reader nor a power cut finds half of one.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

/// The step of a replacement that failed, as in "creating", and why.
#[derive(Debug)]
pub struct Failed(pub &'static str, pub io::Error);

fn step<T>(name: &'static str, outcome: Result<T, Errno>) -> Result<T, Failed> {
    outcome.map_err(|cause| Failed(name, cause.into()))
}

/// A new version of a file, under the name of the file and `.tmp` until it takes its place. Dropped
/// before that, it is gone.
pub struct NewVersion<'a> {
    file: File,
    name: Temporary<'a>,
}

struct Temporary<'a> {
    folder: BorrowedFd<'a>,
    path: PathBuf,
    /// Of the file.
    place: &'a Path,
    is_gone: bool,
}

impl Temporary<'_> {
    fn remove(&mut self) -> Result<(), Errno> {
        self.is_gone = true;
        rustix::fs::unlinkat(self.folder, &self.path, AtFlags::empty())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.is_gone {
            // The next version is made anew whatever it finds there.
            let _ = self.remove();
        }
    }
}

impl<'a> NewVersion<'a> {
    /// Creates an empty one for the file of that path from `folder`, with this owner, where it is
    /// not to be the caller, and with this mode under any umask.
    pub fn create(
        folder: BorrowedFd<'a>,
        path: &'a Path,
        owner: Option<(Uid, Gid)>,
        mode: Mode,
    ) -> Result<Self, Failed> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(folder, &temporary, flags, mode);
        let opened = match open() {
            // Left by one that was killed, or a link somewhere else: never written through.
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(folder, &temporary, AtFlags::empty()).and_then(|()| open())
            }
            opened => opened,
        };
        let new = Self {
            file: File::from(step("creating", opened)?),
            name: Temporary {
                folder,
                path: temporary,
                place: path,
                is_gone: false,
            },
        };
        if let Some((user, group)) = owner {
            let given = rustix::fs::fchown(&new.file, Some(user), Some(group));
            step("setting the owner of", given)?;
        }
        // After the owner, which may take bits of the mode away.
        step("setting the mode of", rustix::fs::fchmod(&new.file, mode))?;
        Ok(new)
    }

    /// To be written.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Waits until the content is on the disk.
    pub fn sync(&self) -> Result<(), Failed> {
        step("fsync of", rustix::fs::fsync(&self.file))
    }

    /// Gives it the file's name. That lasts once the folder is synced, too.
    pub fn take_place(mut self) -> Result<File, Failed> {
        let Temporary {
            folder,
            path,
            place,
            ..
        } = &self.name;
        step(
            "renaming",
            rustix::fs::renameat(folder, path, folder, *place),
        )?;
        self.name.is_gone = true;
        Ok(self.file)
    }

    /// Removes it again.
    pub fn discard(mut self) -> Result<(), Failed> {
        step("removing", self.name.remove())
    }
}
