//! Why an image cannot be staged or removed.

use std::io;
use std::path::{Path, PathBuf};

use crate::files::replace::Failed;
use crate::site::ImageName;

/// Why nothing was staged, or removed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A system call failed: on what, in doing what, and why.
    #[error("{path}: {1} failed: {2}", path = .0.display())]
    Io(PathBuf, &'static str, io::Error),
    /// A file is not what it must be.
    #[error("{path}: {1}", path = .0.display())]
    Unfit(PathBuf, String),
    /// The files together are not what is needed.
    #[error("{0}")]
    Incomplete(String),
    /// The reader of ISOs and archives is missing.
    #[error(
        "{0} is missing, which reads ISOs and archives: apt install libarchive-tools, and try again"
    )]
    NoReader(&'static str),
    /// Another process changes the boot folder.
    #[error("{path}: another process is staging or removing an image", path = .0.display())]
    Busy(PathBuf),
    /// There is no image of that name.
    #[error("there is no image {0}; staged: {1}")]
    Unknown(ImageName, String),
    /// Boxes are installed from it.
    #[error("{0} is in use: {reasons}", reasons = .1.join("; "))]
    InUse(ImageName, Vec<String>),
}

impl ImageError {
    /// A step of replacing the file of that path failed.
    pub(super) fn replacing(path: &Path, Failed(step, cause): Failed) -> Self {
        Self::Io(path.to_owned(), step, cause)
    }
}

/// Names the step that failed, and the file.
pub(super) trait During<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, ImageError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, ImageError> {
        self.map_err(|cause| ImageError::Io(path.to_owned(), action, cause.into()))
    }
}
