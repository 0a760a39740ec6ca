//! An image is staged: its parts found, checked, copied and put in their places.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};

use super::error::During;
use super::medium::Medium;
use super::place::{BootFolder, LOADERS, link, new_file};
use super::record::{Content, Image, Iso, Kernel};
use super::sources::{Media, Source};
use super::sum::{Sum, read_through};
use super::{IMAGE_FILE, ImageError, folder, kernel};
use crate::files::replace::NewVersion;
use crate::site::ImageName;

/// The files of an image, beside `image.json`.
const KERNEL: &str = "vmlinuz";
const INITRD: &str = "initrd";
const ISO: &str = "installer.iso";

/// Is told how many bytes of the ISO are read, and of how many.
pub type Progress<'a> = &'a dyn Fn(u64, u64);

/// What is to be staged.
#[derive(Debug)]
pub struct Order {
    /// The ISO and the archive, in any order, each with the sum that it must have.
    pub files: Vec<(PathBuf, Option<Sum>)>,
    /// The name of the image, where it is not to be made of that of the ISO.
    pub name: Option<ImageName>,
}

/// What was staged.
#[derive(Debug)]
pub struct Staged {
    /// The image.
    pub image: Image,
    /// Whether the ISO is the file that was given, under a second name.
    pub is_linked: bool,
    /// Where shim and GRUB come from; none where those that were there were kept.
    pub loaders: Option<[PathBuf; 2]>,
}

/// Stages an image in the boot folder.
///
/// # Errors
/// The folder is as it was then, unless it could not be synced after the image had got its place.
pub fn stage(boot: &Path, order: &Order, progress: Progress<'_>) -> Result<Staged, ImageError> {
    let opened = order.files.iter().map(|(path, _)| Medium::open(path));
    let opened = opened.collect::<Result<Vec<_>, _>>()?;
    let media = Media::sort(&opened)?;
    let pair = media.kernel_and_initrd()?;
    let loaders = media.loaders(boot)?;
    let name = match &order.name {
        Some(name) => name.clone(),
        None => media.name()?,
    };
    if let Some(archive) = media.archive
        && let Some(sum) = order.sum_of(archive)
    {
        sum.check(&archive.path, &hash(archive, &|_| ())?)?;
    }

    let place = BootFolder::lock(boot)?;
    let making = Making {
        folder: place.begin()?,
        path: folder(boot).join(name.as_str()),
    };
    let kernel = Kernel {
        content: making.part(&pair.kernel, KERNEL)?,
        version: making.kernel_version(&pair.kernel)?,
        hwe: pair.is_hwe,
    };
    let initrd = making.part(&pair.initrd, INITRD)?;
    let sources = loaders.iter().flatten().zip(LOADERS);
    let new_loaders = sources.map(|(source, name)| loader(&place, boot, source, name));
    let new_loaders = new_loaders.collect::<Result<Vec<_>, _>>()?;
    let (iso, is_linked) = making.iso(media.iso, progress)?;
    if let Some(sum) = order.sum_of(media.iso) {
        sum.check(&media.iso.path, &iso)?;
    }
    for medium in &opened {
        medium.check_unchanged()?;
    }
    let file = media.iso.path.file_name().unwrap_or_default();
    let image = Image {
        name,
        staged_at: Timestamp::now(),
        kernel,
        initrd,
        iso: Iso {
            file: file.to_string_lossy().into_owned(),
            volume: media.volume.to_owned(),
            content: iso,
        },
    };
    making.record(&image)?;

    // What may yet be refused comes first.
    place.finish(&making.folder, &image.name)?;
    for (new, name) in new_loaders.into_iter().zip(LOADERS) {
        placed(new, &boot.join(name))?;
    }
    place.sync()?;
    Ok(Staged {
        image,
        is_linked,
        loaders: loaders.map(|sources| sources.map(|source| source.path())),
    })
}

impl Order {
    /// The sum that was given for a file.
    fn sum_of(&self, medium: &Medium) -> Option<&Sum> {
        let mut files = self.files.iter();
        files.find_map(|(path, sum)| sum.as_ref().filter(|_| *path == medium.path))
    }
}

/// An image that is being made.
struct Making {
    folder: OwnedFd,
    /// Where it will be, which is told in an error.
    path: PathBuf,
}

impl Making {
    /// Copies the kernel or the initrd.
    fn part(&self, source: &Source<'_>, name: &'static str) -> Result<Content, ImageError> {
        let path = self.path.join(name);
        let mut new = new_file(&self.folder, name, &path)?;
        let copied = copy(source, &mut new, &path)?;
        placed(new, &path)?;
        Ok(copied)
    }

    /// The version of the kernel that was copied, which must be one for arm64.
    fn kernel_version(&self, source: &Source<'_>) -> Result<Option<String>, ImageError> {
        let path = self.path.join(KERNEL);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.folder, KERNEL, flags, Mode::empty());
        let mut file = File::from(opened.during("opening", &path)?);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).during("reading", &path)?;
        kernel::version(&bytes).map_err(|what| {
            ImageError::Unfit(source.path(), format!("{what}: expected one for arm64"))
        })
    }

    /// Gives the ISO a second name here, or copies it; and whether it is the former.
    fn iso(&self, iso: &Medium, progress: Progress<'_>) -> Result<(Content, bool), ImageError> {
        let path = self.path.join(ISO);
        let done = Cell::new(0);
        let count = |bytes| {
            done.set(done.get() + bytes);
            progress(done.get(), iso.size);
        };
        if link(&iso.file, &self.folder, ISO) {
            let found = hash(iso, &count)?;
            // It may have been downloaded a moment ago.
            rustix::fs::fsync(&iso.file).during("fsync of", &iso.path)?;
            return Ok((found, true));
        }
        let mut new = new_file(&self.folder, ISO, &path)?;
        let target = Some((new.file(), &*path));
        let copied = read_through(iso.rewound()?, &iso.path, target, &count)?;
        synced(&new, &path)?;
        placed(new, &path)?;
        Ok((copied, false))
    }

    /// Writes `image.json`.
    fn record(&self, image: &Image) -> Result<(), ImageError> {
        let path = self.path.join(IMAGE_FILE);
        let mut new = new_file(&self.folder, IMAGE_FILE, &path)?;
        let text = serde_json::to_string_pretty(image).map_err(io::Error::from);
        let written = text.and_then(|text| writeln!(new.file(), "{text}"));
        written.during("writing", &path)?;
        synced(&new, &path)?;
        placed(new, &path)
    }
}

/// Copies shim or GRUB, which then waits for its place.
fn loader<'a>(
    place: &'a BootFolder,
    boot: &Path,
    source: &Source<'_>,
    name: &'static str,
) -> Result<NewVersion<'a>, ImageError> {
    let path = boot.join(name);
    let mut new = place.loader(name)?;
    copy(source, &mut new, &path)?;
    let mut start = Vec::new();
    let mut file: &File = new.file();
    let read = file.rewind();
    read.and_then(|()| file.take(kernel::HEADER_BYTES).read_to_end(&mut start))
        .during("reading", &path)?;
    match kernel::is_arm64_program(&start) {
        true => Ok(new),
        false => Err(ImageError::Unfit(
            source.path(),
            "is no EFI program for arm64".to_owned(),
        )),
    }
}

/// Copies a part from where it comes from, and waits until it is on the disk.
fn copy(source: &Source<'_>, new: &mut NewVersion<'_>, path: &Path) -> Result<Content, ImageError> {
    let target = Some((new.file(), path));
    let copied = source.read(|from| read_through(from, &source.path(), target, &|_| ()))?;
    synced(new, path)?;
    match copied.size {
        0 => Err(ImageError::Unfit(source.path(), "is empty".to_owned())),
        _ => Ok(copied),
    }
}

fn hash(medium: &Medium, count: &dyn Fn(u64)) -> Result<Content, ImageError> {
    read_through(medium.rewound()?, &medium.path, None, count)
}

fn synced(new: &NewVersion<'_>, path: &Path) -> Result<(), ImageError> {
    let synced = new.sync();
    synced.map_err(|failed| ImageError::replacing(path, failed))
}

fn placed(new: NewVersion<'_>, path: &Path) -> Result<(), ImageError> {
    let placed = new.take_place().map(drop);
    placed.map_err(|failed| ImageError::replacing(path, failed))
}
