//! What boxes boot from the network: the boot folder, `{DATA_PATH}/boot`, and the images in it.
//!
//! An image is a folder `images/NAME` with a kernel, its initrd and the installer's ISO, which is
//! put in its place whole. `docs/netboot.md` has the layout and the format of `image.json`.

mod choice;
mod error;
mod kernel;
mod medium;
mod members;
mod place;
mod record;
mod sources;
mod stage;
mod sum;

use std::io;
use std::path::{Path, PathBuf};

pub use choice::{NoImage, advice, chosen, kernel_args, unknown, users};
pub use error::ImageError;
pub use record::{Content, Image, Iso, Kernel};
pub use stage::{Order, Progress, Staged, stage};
pub use sum::Sum;

use crate::site::ImageName;
use error::During;

/// What is staged of an image, in its folder.
pub const IMAGE_FILE: &str = "image.json";

/// The images, below the boot folder.
pub fn folder(boot: &Path) -> PathBuf {
    boot.join(place::IMAGES)
}

/// The names of the staged images, in order. None where there is no folder.
///
/// # Errors
/// Where the folder cannot be read.
pub fn staged(boot: &Path) -> io::Result<Vec<ImageName>> {
    let entries = match std::fs::read_dir(folder(boot)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        // The server follows no link out of the boot folder either.
        let is_image = entry.file_type()?.is_dir() && entry.path().join(IMAGE_FILE).is_file();
        names.extend(name.filter(|_| is_image));
    }
    names.sort();
    Ok(names)
}

/// Whether a path below the boot folder is one that boxes ask for: a loader, or a file of an image.
/// What is being staged is not.
pub fn is_served(path: &str) -> bool {
    let of_image = || {
        let (name, file) = path.strip_prefix("images/")?.split_once('/')?;
        Some(name.parse::<ImageName>().is_ok() && !file.contains('/'))
    };
    place::LOADERS.contains(&path) || of_image().unwrap_or_default()
}

/// Takes an image out of the boot folder. Who is installed from it, the caller has found out.
///
/// # Errors
/// Where there is none of that name, or the system refuses.
pub fn remove(boot: &Path, name: &ImageName) -> Result<(), ImageError> {
    let names = staged(boot).during("reading", &folder(boot))?;
    if !names.contains(name) {
        return Err(ImageError::Unknown(name.clone(), listed(&names)));
    }
    place::BootFolder::lock(boot)?.remove(name)
}

/// What the file of that path holds, read to its end. `count` is told of each piece.
///
/// # Errors
/// Where it cannot be read.
pub fn content(path: &Path, count: &dyn Fn(u64)) -> Result<Content, ImageError> {
    let file = std::fs::File::open(path).during("opening", path)?;
    sum::read_through(file, path, None, count)
}

/// The names, for a person.
fn listed(names: &[ImageName]) -> String {
    let names: Vec<_> = names.iter().map(ImageName::as_str).collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}
