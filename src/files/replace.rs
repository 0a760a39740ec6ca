//! How a file is replaced: by a new version that is complete and on the disk before it has the
//! file's name, so that neither a reader nor a power cut finds half of one.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

/// Of a file that other users read, such as the one that dnsmasq runs as.
const READABLE: Mode = Mode::from_raw_mode(0o644);

/// Of a file that its owner alone may read.
pub const SECRET: Mode = Mode::from_raw_mode(0o600);

/// The step of a replacement that failed, as in "creating", and why.
#[derive(Debug)]
pub struct Failed(pub &'static str, pub io::Error);

impl Failed {
    /// The same in words, with the file.
    pub fn of(&self, path: &Path) -> String {
        let Self(step, cause) = self;
        format!("{step} {} failed: {cause}", path.display())
    }
}

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
    place: PathBuf,
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
        path: &Path,
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
                place: path.to_owned(),
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
            rustix::fs::renameat(folder, path, folder, place),
        )?;
        self.name.is_gone = true;
        Ok(self.file)
    }

    /// Removes it again.
    pub fn discard(mut self) -> Result<(), Failed> {
        step("removing", self.name.remove())
    }
}

/// Replaces a file that everybody may read by this text, and returns once that is on the disk. Its
/// folder is made where there is none.
pub fn replace(path: &Path, text: &str) -> Result<(), Failed> {
    let made = std::fs::create_dir_all(folder_of(path));
    made.map_err(|cause| Failed("creating the folder of", cause))?;
    put(path, text.as_bytes(), READABLE)
}

/// Puts a file with these bytes and this mode in its place, and returns once it is on the disk.
pub fn put(path: &Path, bytes: &[u8], mode: Mode) -> Result<(), Failed> {
    let mut new = NewVersion::create(CWD, path, None, mode)?;
    let written = new.file().write_all(bytes);
    written.map_err(|cause| Failed("writing", cause))?;
    new.sync()?;
    new.take_place()?;
    let synced = File::open(folder_of(path)).and_then(|folder| folder.sync_all());
    synced.map_err(|cause| Failed("fsync of the folder of", cause))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
