//! An image is staged: its parts found, checked, copied and put in their places.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
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
    let media = opened.collect::<Result<Vec<_>, _>>()?;
    let sorted = Media::sort(&media)?;
    let pair = sorted.kernel_and_initrd()?;
    let loaders = sorted.loaders(boot)?;
    let name = match &order.name {
        Some(name) => name.clone(),
        None => sorted.name()?,
    };
    let sum_of = |medium: &Medium| {
        let mut given = order.files.iter();
        given.find_map(|(path, sum)| sum.as_ref().filter(|_| *path == medium.path))
    };
    if let Some(archive) = sorted.archive
        && let Some(sum) = sum_of(archive)
    {
        sum.check(&archive.path, &hash(archive, &|_| ())?)?;
    }

    let place = BootFolder::lock(boot)?;
    let made = place.begin()?;
    let path = folder(boot).join(name.as_str());
    let at = |file: &str| path.join(file);
    let kernel = part(
        &pair.kernel,
        new_file(&made, KERNEL, &at(KERNEL))?,
        &at(KERNEL),
    )?;
    let version = kernel_version(&made, &pair.kernel, &at(KERNEL))?;
    let initrd = part(
        &pair.initrd,
        new_file(&made, INITRD, &at(INITRD))?,
        &at(INITRD),
    )?;
    let mut new_loaders = Vec::new();
    for (source, name) in loaders.iter().flatten().zip(LOADERS) {
        new_loaders.push((
            loader(&place, source, name, &boot.join(name))?,
            boot.join(name),
        ));
    }
    let (iso, is_linked) = iso(sorted.iso, &made, &at(ISO), progress)?;
    if let Some(sum) = sum_of(sorted.iso) {
        sum.check(&sorted.iso.path, &iso)?;
    }
    for medium in &media {
        medium.check_unchanged()?;
    }
    let file = sorted.iso.path.file_name().unwrap_or_default();
    let image = Image {
        name: name.clone(),
        staged_at: Timestamp::now(),
        kernel: Kernel {
            version,
            hwe: pair.is_hwe,
            content: kernel,
        },
        initrd,
        iso: Iso {
            file: file.to_string_lossy().into_owned(),
            volume: sorted.volume.to_owned(),
            content: iso,
        },
    };
    write_record(&made, &image, &at(IMAGE_FILE))?;

    // What may yet be refused comes first.
    place.finish(&made, &name)?;
    for (loader, path) in new_loaders {
        placed(loader, &path)?;
    }
    place.sync()?;
    Ok(Staged {
        image,
        is_linked,
        loaders: loaders.map(|sources| sources.map(|source| source.path())),
    })
}

/// Copies a part from where it comes from, and waits until it is on the disk.
fn copy(source: &Source<'_>, new: &mut NewVersion<'_>, path: &Path) -> Result<Content, ImageError> {
    let copied = source
        .read(|from| read_through(from, &source.path(), Some((new.file(), path)), &|_| ()))?;
    let synced = new.sync();
    synced.map_err(|failed| ImageError::replacing(path, failed))?;
    match copied.size {
        0 => Err(ImageError::Unfit(source.path(), "is empty".to_owned())),
        _ => Ok(copied),
    }
}

/// Copies the kernel or the initrd.
fn part(source: &Source<'_>, mut new: NewVersion<'_>, path: &Path) -> Result<Content, ImageError> {
    let copied = copy(source, &mut new, path)?;
    placed(new, path)?;
    Ok(copied)
}

fn placed(new: NewVersion<'_>, path: &Path) -> Result<(), ImageError> {
    let placed = new.take_place().map(drop);
    placed.map_err(|failed| ImageError::replacing(path, failed))
}

/// Copies shim or GRUB, which wait for their places.
fn loader<'a>(
    place: &'a BootFolder,
    source: &Source<'_>,
    name: &'static str,
    path: &Path,
) -> Result<NewVersion<'a>, ImageError> {
    let mut new = place.loader(name)?;
    copy(source, &mut new, path)?;
    let mut start = Vec::new();
    let file = new.file();
    (file.seek(SeekFrom::Start(0)))
        .and_then(|_| file.take(kernel::HEADER_BYTES).read_to_end(&mut start))
        .during("reading", path)?;
    match kernel::is_arm64_program(&start) {
        true => Ok(new),
        false => Err(ImageError::Unfit(
            source.path(),
            "is no EFI program for arm64".to_owned(),
        )),
    }
}

/// The version of the kernel that was copied, which must be one for arm64.
fn kernel_version(
    made: &OwnedFd,
    source: &Source<'_>,
    path: &Path,
) -> Result<Option<String>, ImageError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(made, KERNEL, flags, Mode::empty()).during("opening", path)?;
    let mut bytes = Vec::new();
    File::from(file)
        .read_to_end(&mut bytes)
        .during("reading", path)?;
    kernel::version(&bytes)
        .map_err(|what| ImageError::Unfit(source.path(), format!("{what}: expected one for arm64")))
}

/// Gives the ISO a second name in the folder, or copies it there; and whether it is the former.
fn iso(
    medium: &Medium,
    made: &OwnedFd,
    path: &Path,
    progress: Progress<'_>,
) -> Result<(Content, bool), ImageError> {
    let done = Cell::new(0);
    let count = |bytes| {
        done.set(done.get() + bytes);
        progress(done.get(), medium.size);
    };
    if link(&medium.file, made, ISO) {
        let found = hash(medium, &count)?;
        // It may have been downloaded a moment ago.
        rustix::fs::fsync(&medium.file).during("fsync of", &medium.path)?;
        return Ok((found, true));
    }
    let mut new = new_file(made, ISO, path)?;
    let from = medium.rewound()?;
    let copied = read_through(from, &medium.path, Some((new.file(), path)), &count)?;
    let synced = new.sync();
    synced.map_err(|failed| ImageError::replacing(path, failed))?;
    placed(new, path)?;
    Ok((copied, false))
}

fn hash(medium: &Medium, count: &dyn Fn(u64)) -> Result<Content, ImageError> {
    read_through(medium.rewound()?, &medium.path, None, count)
}

fn write_record(made: &OwnedFd, image: &Image, path: &Path) -> Result<(), ImageError> {
    let mut new = new_file(made, IMAGE_FILE, path)?;
    let text = serde_json::to_string_pretty(image).map_err(std::io::Error::from);
    let written = text.and_then(|text| writeln!(new.file(), "{text}"));
    written.during("writing", path)?;
    let synced = new.sync();
    synced.map_err(|failed| ImageError::replacing(path, failed))?;
    placed(new, path)
}
