//! How an image gets into its place in the boot folder, or out of it: by one process at a time, and
//! whole.
//!
//! An image is made in a folder of its own beside the others, which no name of an image can have,
//! and gets its name by one rename. What a process that was killed has left there, the next one
//! removes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::ImageError;
use super::error::During;
use crate::files::replace::NewVersion;
use crate::site::ImageName;

/// The images, below the boot folder.
pub(super) const IMAGES: &str = "images";

/// Where an image is made, or taken apart.
const WORK: &str = ".staging";

/// What the firmware loads, and what that loads: for everybody to read, below the boot folder.
pub(super) const LOADERS: [&str; 2] = ["bootaa64.efi", "grubaa64.efi"];

/// Boxes and dnsmasq read all of it, under any umask of who stages it.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o755);
pub(super) const FILE_MODE: Mode = Mode::from_raw_mode(0o644);

/// The boot folder, of which this process alone changes the images and loaders.
pub(super) struct BootFolder {
    path: PathBuf,
    boot: OwnedFd,
    images: OwnedFd,
}

impl BootFolder {
    /// Makes the folder where it is missing, locks it, and removes what another process that was
    /// killed has left there.
    pub(super) fn lock(path: &Path) -> Result<Self, ImageError> {
        let boot = folder(CWD, path, path)?;
        match rustix::fs::flock(&boot, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(ImageError::Busy(path.to_owned())),
            outcome => outcome.during("locking", path)?,
        }
        let images = folder(boot.as_fd(), Path::new(IMAGES), &path.join(IMAGES))?;
        let locked = Self {
            path: path.to_owned(),
            boot,
            images,
        };
        locked.clear()?;
        Ok(locked)
    }

    /// A new version of a loader.
    pub(super) fn loader(&self, name: &'static str) -> Result<NewVersion<'_>, ImageError> {
        let new = NewVersion::create(self.boot.as_fd(), Path::new(name), None, FILE_MODE);
        new.map_err(|failed| ImageError::replacing(&self.path.join(name), failed))
    }

    /// The empty folder in which an image is made.
    pub(super) fn begin(&self) -> Result<OwnedFd, ImageError> {
        folder(self.images.as_fd(), Path::new(WORK), &self.work())
    }

    /// Gives the image that was made its name. The one that had it before is gone.
    pub(super) fn finish(&self, made: &OwnedFd, name: &ImageName) -> Result<(), ImageError> {
        rustix::fs::fsync(made).during("fsync of", &self.work())?;
        let (images, name) = (&self.images, name.as_str());
        let placed = match rustix::fs::statat(images, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => rustix::fs::renameat(images, WORK, images, name),
            // Both at once, so that no box ever meets the kernel of one and the initrd of another.
            // Not every file system can, NFS for one.
            _ => rustix::fs::renameat_with(images, WORK, images, name, RenameFlags::EXCHANGE),
        };
        placed.during("putting in its place", &self.path.join(IMAGES).join(name))
    }

    /// Takes away the image of that name.
    pub(super) fn remove(&self, name: &ImageName) -> Result<(), ImageError> {
        let path = self.path.join(IMAGES).join(name.as_str());
        // First out of sight, so that nobody meets half of it.
        rustix::fs::renameat(&self.images, name.as_str(), &self.images, WORK)
            .during("removing", &path)?;
        self.sync()?;
        self.clear()
    }

    /// Makes all renaming last.
    pub(super) fn sync(&self) -> Result<(), ImageError> {
        for (folder, path) in [
            (&self.images, self.path.join(IMAGES)),
            (&self.boot, self.path.clone()),
        ] {
            rustix::fs::fsync(folder).during("fsync of", &path)?;
        }
        Ok(())
    }

    fn work(&self) -> PathBuf {
        self.path.join(IMAGES).join(WORK)
    }

    /// Removes what is in no place.
    fn clear(&self) -> Result<(), ImageError> {
        let work = self.work();
        let removed = match std::fs::remove_dir_all(&work) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                std::fs::remove_file(&work)
            }
            outcome => outcome,
        };
        unless_missing(removed).during("removing", &work)?;
        for loader in LOADERS {
            let left = self.path.join(format!("{loader}.tmp"));
            unless_missing(std::fs::remove_file(&left)).during("removing", &left)?;
        }
        Ok(())
    }
}

impl Drop for BootFolder {
    fn drop(&mut self) {
        // After an error, and what another image has taken the place of. The next one tries again.
        let _ = self.clear();
    }
}

/// A file of the image that is being made.
pub(super) fn new_file<'a>(
    made: &'a OwnedFd,
    name: &'a str,
    path: &Path,
) -> Result<NewVersion<'a>, ImageError> {
    let new = NewVersion::create(made.as_fd(), Path::new(name), None, FILE_MODE);
    new.map_err(|failed| ImageError::replacing(path, failed))
}

/// Gives the open file a second name in the folder where that does no harm: it is the caller's own,
/// everybody may read it, and nobody else may write it.
pub(super) fn link(file: &File, made: &OwnedFd, name: &str) -> bool {
    const READABLE: u32 = 0o444;
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    let is_fit = rustix::fs::fstat(file).is_ok_and(|stat| {
        stat.st_uid == rustix::process::geteuid().as_raw()
            && stat.st_mode & READABLE == READABLE
            && stat.st_mode & WRITABLE_BY_OTHERS == 0
    });
    // By the descriptor: what was hashed is what is linked.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
    is_fit && rustix::fs::linkat(CWD, path, made, name, AtFlags::SYMLINK_FOLLOW).is_ok()
}

/// Opens a folder, after it was made where there was none. `path` is told in an error.
fn folder(at: BorrowedFd<'_>, name: &Path, path: &Path) -> Result<OwnedFd, ImageError> {
    let is_new = match rustix::fs::mkdirat(at, name, FOLDER_MODE) {
        Err(Errno::EXIST) => false,
        outcome => outcome.map(|()| true).during("creating", path)?,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(at, name, flags, Mode::empty()).during("opening", path)?;
    if is_new {
        rustix::fs::fchmod(&folder, FOLDER_MODE).during("setting the mode of", path)?;
    }
    Ok(folder)
}

fn unless_missing(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
