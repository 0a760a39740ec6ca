//! `clients.json` on the disk: lock, read, replace, restore.

use std::fs::File;
use std::io::{self, IoSlice, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use rustix::fs::{
    CWD, FallocateFlags, FileType, FlockOperation, Gid, Mode, OFlags, RenameFlags, Uid,
};
use rustix::io::Errno;
use tracing::warn;

use super::clients::{Clients, Oddity};
use super::error::{During, StoreError};
use crate::excerpt::excerpt;
use crate::files::replace::NewVersion;
use crate::files::stamp::FileStamp;

const STATE_FILE: &str = "clients.json";
const LOCK_FILE: &str = "clients.json.lock";
/// What the name of a corrupt file begins with that was moved aside; the time follows.
const ASIDE: &str = "clients.json.corrupt-";

/// `clients.json` and its lock: the service's user writes, its group reads.
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);

/// What its owner may do with it, whatever the mode of the one before.
const OWNERS: Mode = Mode::from_raw_mode(0o600);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o750);

/// Written by the probe: a full file system refuses a block where it may still take a name.
const PROBE_BLOCK: [u8; 4096] = [0; 4096];

/// Most that one writev(2) takes, `IOV_MAX` of Linux.
const PIECES_AT_ONCE: usize = 1024;

/// Recognises the version of the file that was read or written last.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) stamp: FileStamp,
    /// Kept open, so that no later file can be given the same inode number, and so that its
    /// content can be put back after it was replaced.
    file: Arc<File>,
}

/// The state folder.
pub(super) struct StateFile {
    folder: PathBuf,
}

impl StateFile {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The file that is locked by whoever changes the records.
    pub(super) fn lock_file(&self) -> PathBuf {
        self.path(LOCK_FILE)
    }

    /// The stamp of the file as it is now; none where there is no file.
    ///
    /// # Errors
    /// What is not a regular file is refused: to replace a link or a folder by a file would take
    /// away what somebody put there.
    pub(super) fn stamp(&self) -> Result<Option<FileStamp>, StoreError> {
        let stat = match rustix::fs::lstat(self.path(STATE_FILE)) {
            Err(Errno::NOENT) => return Ok(None),
            stat => stat.during("looking at clients.json")?,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Some(FileStamp::of(&stat))),
            FileType::Symlink => Err(StoreError::NotAFile("a symbolic link")),
            FileType::Directory => Err(StoreError::NotAFile("a folder")),
            _ => Err(StoreError::NotAFile("not a regular file")),
        }
    }

    /// Makes the folder, and makes it last.
    pub(super) fn make_folder(&self) -> Result<(), StoreError> {
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

    /// Reads the file; where there is none, there are no records.
    pub(super) fn read(&self) -> Result<Clients, StoreError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = match rustix::fs::open(self.path(STATE_FILE), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(Clients::default()),
            error => error.map(File::from).during("opening clients.json")?,
        };
        // The stamp comes first: a change during the reading then shows at the next look.
        let stat = rustix::fs::fstat(&file).during("looking at clients.json")?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .during("reading clients.json")?;
        let corrupt = |error| StoreError::Corrupt(Arc::new(error));
        let text = std::str::from_utf8(&bytes)
            .map_err(|error| corrupt(serde::de::Error::custom(error)))?;
        let source = Source {
            stamp: FileStamp::of(&stat),
            file: Arc::new(file),
        };
        let (clients, oddities) = Clients::parse(text, source).map_err(corrupt)?;
        for oddity in oddities {
            match oddity {
                Oddity::Twice(key) => {
                    let key = excerpt(&key);
                    warn!(
                        key,
                        "clients.json has {key} twice: the last one counts, the other is lost with the next report"
                    );
                }
                Oddity::NoRecord(key) => {
                    warn!(
                        gb10.mac = key,
                        "clients.json has no record under {key}, but something else: it stays there"
                    );
                }
            }
        }
        Ok(clients)
    }

    /// Gives the file another name, and returns that.
    pub(super) fn move_aside(&self) -> Result<PathBuf, StoreError> {
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let names = std::iter::once(String::new()).chain((2..100).map(|n| format!("-{n}")));
        for suffix in names {
            let aside = self.path(&format!("{ASIDE}{time}{suffix}"));
            let from = self.path(STATE_FILE);
            match rustix::fs::renameat_with(CWD, &from, CWD, &aside, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => continue,
                outcome => outcome.during("moving the corrupt clients.json aside")?,
            }
            sync_folder(&self.folder)?;
            return Ok(aside);
        }
        Err(Errno::EXIST).during("moving the corrupt clients.json aside")
    }

    /// Whether a file that was moved aside is there still.
    pub(super) fn has_moved_aside(&self) -> io::Result<bool> {
        for entry in std::fs::read_dir(&self.folder)? {
            if entry?
                .file_name()
                .as_encoded_bytes()
                .starts_with(ASIDE.as_bytes())
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Opens and locks the lock file, which is never replaced; closing it releases the lock.
    /// None where [`FlockOperation::NonBlockingLockExclusive`] found it locked.
    pub(super) fn lock(&self, operation: FlockOperation) -> Result<Option<OwnedFd>, StoreError> {
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

    /// Who owns the folder, and has to change later what root makes in it; none where that is who
    /// asks.
    fn owner(&self) -> Result<Option<(Uid, Gid)>, StoreError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let folder = rustix::fs::stat(&self.folder).during("looking at the state folder")?;
        Ok(Some((
            Uid::from_raw(folder.st_uid),
            Gid::from_raw(folder.st_gid),
        )))
    }

    /// Gives a file that root made to whoever owns the folder.
    pub(super) fn give_to_owner_of_folder(&self, file: impl AsFd) -> Result<(), StoreError> {
        match self.owner()? {
            Some((user, group)) => rustix::fs::fchown(file, Some(user), Some(group))
                .during("setting the owner of a file"),
            None => Ok(()),
        }
    }

    /// Puts `next` in the place of `current`, and returns once that is on the disk. After an error
    /// the file has the content of `current`.
    pub(super) fn replace(&self, current: &Clients, next: &mut Clients) -> Result<(), StoreError> {
        let path = self.path(STATE_FILE);
        let new = self.write(&path, next.pieces())?;
        new.sync()?;
        let file = new.take_place()?;
        // Only now: renaming changes the file's ctime.
        let stat = rustix::fs::fstat(&file);
        next.source = stat.ok().map(|stat| Source {
            stamp: FileStamp::of(&stat),
            file: Arc::new(file),
        });
        sync_folder(&self.folder).inspect_err(|_| {
            // The reports are about to be refused, and will come again: they must not stand in
            // the file already.
            if let Err(reason) = self.restore(current) {
                warn!(%reason, "the old clients.json could not be put back, so reports that were refused may be on record: {reason}");
            }
        })
    }

    /// Puts back what the file was before it was replaced, byte for byte.
    fn restore(&self, current: &Clients) -> Result<(), StoreError> {
        let path = self.path(STATE_FILE);
        let new = match &current.source {
            Some(source) => {
                let mut bytes = Vec::new();
                let mut replaced = &*source.file;
                replaced
                    .rewind()
                    .and_then(|()| replaced.read_to_end(&mut bytes))
                    .during("reading the replaced clients.json")?;
                self.write(&path, [bytes.into()])
            }
            None => self.write(&path, current.pieces()),
        }?;
        // The disk just failed, and may fail here too: the content is put back all the same.
        let _ = new.sync();
        new.take_place()?;
        Ok(())
    }

    /// A new version of the file at `path`, written and not yet in its place.
    fn write<'a>(
        &self,
        path: &'a Path,
        pieces: impl IntoIterator<Item = Bytes>,
    ) -> Result<NewVersion<'a>, StoreError> {
        let mut new = self.create(path)?;
        write_pieces(new.file(), pieces.into_iter()).map_err(StoreError::writing)?;
        Ok(new)
    }

    /// An empty one. Owner and mode are those that the file has, as an operator may have set them;
    /// the service, which is not root, can give it no other owner than itself.
    fn create<'a>(&self, path: &'a Path) -> Result<NewVersion<'a>, StoreError> {
        let (mut owner, mut mode) = (self.owner()?, FILE_MODE);
        if let Ok(old) = rustix::fs::stat(path) {
            let of_file = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
            owner = owner.map(|_| of_file);
            mode = Mode::from_raw_mode(old.st_mode & 0o777).union(OWNERS);
        }
        Ok(NewVersion::create(CWD, path, owner, mode)?)
    }

    /// Whether a new version of `bytes` bytes could be written now: takes the space for it, and
    /// gives it back. To be called under the lock.
    pub(super) fn probe(&self, bytes: u64) -> Result<(), StoreError> {
        let path = self.path(STATE_FILE);
        let mut new = self.create(&path)?;
        let file = new.file();
        match rustix::fs::fallocate(&*file, FallocateFlags::empty(), 0, bytes.max(1)) {
            // A file system that cannot reserve space takes or refuses a block of data.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                file.write_all(&PROBE_BLOCK).map_err(StoreError::writing)
            }
            outcome => outcome.map_err(StoreError::writing),
        }?;
        Ok(new.discard()?)
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
