//! The onboarding folder, `{DATA_PATH}/onboard`: what boxes fetch, and the manifest that lists it.
//!
//! [`Folder`] is the one way in, for the server and for `gb10-provision-api manifest`.

pub mod manifest;

use std::fs::File;
use std::io;
use std::path::{Component, Path};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;

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
    #[error("is not there, or a link to nothing")]
    Missing,
    /// A folder, a pipe, a device.
    #[error("is not a regular file")]
    NotRegular,
    /// A link leads out of the folder.
    #[error("leads out of the onboarding folder")]
    Outside,
    /// The system refused.
    #[error("cannot be read: {0}")]
    Io(io::Error),
}

impl From<io::Error> for Unreachable {
    fn from(error: io::Error) -> Self {
        match (error.kind(), error.raw_os_error()) {
            // cap-std's own refusal; the system's has a number.
            (io::ErrorKind::PermissionDenied, None) => Self::Outside,
            (io::ErrorKind::NotFound, _) => Self::Missing,
            _ => Self::Io(error),
        }
    }
}

impl Folder {
    /// Opens the folder at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            inside: Dir::open_ambient_dir(path, ambient_authority())?,
        })
    }

    /// Opens a regular file for reading.
    pub fn open_file(&self, path: &str) -> Result<File, Unreachable> {
        let mut parts = Path::new(path).components();
        if !parts.all(|part| matches!(part, Component::Normal(_))) {
            return Err(Unreachable::NotPlain);
        }
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
}
