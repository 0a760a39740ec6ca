//! The staged images: is one there for every box, is each whole, and does it boot a GB10?

use std::cell::Cell;
use std::io;
use std::path::Path;

use super::{Check, Verdict, initrd};
use crate::doctor::initrd::Initrd;
use crate::files::layout;
use crate::images::{self, Content, Image};
use crate::site::{ImageName, SiteFiles};

const CHOICE: &str = "image";
const CONTENT: &str = "image-files";
const KERNEL: &str = "kernel";
const PORT: &str = "rtl8127";
const SIZE: &str = "boot-size";

/// The files of an image, and what of them is told apart.
const FILES: [&str; 3] = ["vmlinuz", "initrd", "installer.iso"];
const INITRD: &str = "initrd";

/// The kernel and the initrd beside GRUB, as Ubuntu's netboot archive has them.
const LOOSE: [&str; 2] = ["linux", "initrd"];

/// Bytes of kernel and initrd together that are known to boot on a GB10, and that are known to
/// hang.
const KNOWN_TO_BOOT: u64 = 100_000_000;
const KNOWN_TO_HANG: u64 = 210_000_000;

/// All images.
#[derive(Debug, Clone)]
pub struct Images {
    /// Those that are staged, or why that cannot be told.
    pub staged: Result<Vec<Found>, String>,
    /// Why a box has none, where one has none.
    pub unserved: Vec<String>,
    /// Whether a kernel and an initrd lie beside GRUB, which boxes get where no image is staged.
    pub has_loose_kernel: bool,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its name.
    pub name: ImageName,
    /// Whether a box is installed from it.
    pub is_used: bool,
    /// What was staged, by its `image.json`.
    pub record: Result<Image, String>,
    /// What each of [`FILES`] is now.
    pub files: Vec<File>,
    /// What is in its initrd.
    pub initrd: Result<Initrd, Unread>,
}

/// A file of an image as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: &'static str,
    /// Its size, or why it has none.
    pub size: Result<u64, String>,
    /// Its checksum, where it was hashed.
    pub sha256: Option<String>,
}

/// Why an initrd could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// What unpacks it is not there.
    NoUnpacker,
    /// It is broken, or missing.
    Broken(String),
}

/// Looks at all images. Unless it shall be quick, every file whose size is right is hashed.
pub fn gather(data_path: &Path, is_quick: bool, progress: &dyn Fn(u64, u64)) -> Images {
    let boot = layout::boot(data_path);
    let site_files = SiteFiles::load(data_path);
    let (site, devices) = (site_files.site().unwrap_or_default(), site_files.devices());
    let names = match images::staged(&boot) {
        Ok(names) => names,
        Err(error) => {
            return Images {
                staged: Err(format!("{}: {error}", images::folder(&boot).display())),
                unserved: Vec::new(),
                has_loose_kernel: false,
            };
        }
    };
    let unknown = images::unknown(&site, &devices, &names);
    let mut unserved: Vec<_> = unknown.iter().map(ToString::to_string).collect();
    if let Err(images::NoImage::NotNamed(_)) = images::chosen(None, &site, &names) {
        let reason = "several are staged, and site.json names none for boxes without their own";
        unserved.push(reason.to_owned());
    }
    let found = names.iter().map(|name| {
        let is_used = !images::users(name, &site, &devices, &names).is_empty();
        look_at(&boot, name, is_used)
    });
    let mut found: Vec<_> = found.collect();
    if !is_quick {
        hash(&boot, &mut found, progress);
    }
    Images {
        staged: Ok(found),
        unserved,
        has_loose_kernel: LOOSE.iter().all(|name| boot.join(name).is_file()),
    }
}

fn look_at(boot: &Path, name: &ImageName, is_used: bool) -> Found {
    let folder = images::folder(boot).join(name.as_str());
    let file = |name: &'static str| File {
        name,
        size: match std::fs::metadata(folder.join(name)) {
            Ok(file) if file.is_file() => Ok(file.len()),
            Ok(_) => Err("not a regular file".to_owned()),
            Err(error) => Err(error.to_string()),
        },
        sha256: None,
    };
    let initrd = initrd::read(&folder.join(INITRD)).map_err(|error| match error.kind() {
        io::ErrorKind::Unsupported => Unread::NoUnpacker,
        _ => Unread::Broken(error.to_string()),
    });
    Found {
        name: name.clone(),
        is_used,
        record: Image::read(boot, name),
        files: FILES.map(file).into(),
        initrd,
    }
}

/// Hashes what may be right.
fn hash(boot: &Path, images: &mut [Found], progress: &dyn Fn(u64, u64)) {
    let files = images.iter().flat_map(|image| &image.files);
    let total = files.filter_map(|file| file.size.as_ref().ok()).sum();
    let done = Cell::new(0);
    let count = |bytes| {
        done.set(done.get() + bytes);
        progress(done.get(), total);
    };
    for image in images {
        let folder = images::folder(boot).join(image.name.as_str());
        for file in image.files.iter_mut().filter(|file| file.size.is_ok()) {
            match images::content(&folder.join(file.name), &count) {
                Ok(content) => file.sha256 = Some(content.sha256),
                Err(error) => file.size = Err(error.to_string()),
            }
        }
    }
}

/// What that means.
pub fn judge(images: &Images) -> Vec<Check> {
    let staged = match &images.staged {
        Ok(staged) => staged,
        Err(reason) => {
            return vec![Check::fail(CHOICE, reason, "see what is at that path")];
        }
    };
    let names: Vec<_> = staged.iter().map(|image| image.name.as_str()).collect();
    let choice = match (&names[..], &images.unserved[..]) {
        (_, [reason, ..]) => Check::fail(
            CHOICE,
            reason,
            "name one of boot list in that file, or stage it: boot stage",
        ),
        ([], _) if images.has_loose_kernel => Check::warn(
            CHOICE,
            "no image is staged; boxes boot linux and initrd of the boot folder, which nobody checks",
            "gb10-provision-api boot stage, with the installer's ISO",
        ),
        ([], _) => Check::fail(
            CHOICE,
            "no image is staged",
            "gb10-provision-api boot stage, with the installer's ISO and netboot archive",
        ),
        (names, _) => Check::ok(CHOICE, format!("staged: {}", names.join(", "))),
    };
    let each = staged.iter().flat_map(|image| {
        let checks = [content(image), kernel(image), port(image), size(image)];
        checks.into_iter().flatten().map(|mut check| {
            // No box stumbles over it.
            if !image.is_used && check.verdict == Verdict::Fail {
                check.verdict = Verdict::Warn;
                check.text += "; no box is installed from it";
            }
            check
        })
    });
    std::iter::once(choice).chain(each).collect()
}

/// How to get an image that is whole.
const ANEW: &str = "stage it anew: boot stage";

/// Whether the files are those that were staged.
fn content(image: &Found) -> Option<Check> {
    let name = &image.name;
    let record = match &image.record {
        Ok(record) => record,
        Err(reason) => return Some(Check::fail(CONTENT, reason, ANEW)),
    };
    let recorded = |file: &str| -> &Content {
        match file {
            "vmlinuz" => &record.kernel.content,
            INITRD => &record.initrd,
            _ => &record.iso.content,
        }
    };
    let fault = image.files.iter().find_map(|file| {
        let wanted = recorded(file.name);
        let path = format!("{name}/{}", file.name);
        match (&file.size, &file.sha256) {
            (Err(reason), _) => Some(format!("{path}: {reason}")),
            (Ok(size), _) if *size != wanted.size => Some(format!(
                "{path} has {size} bytes instead of {}",
                wanted.size
            )),
            (_, Some(sum)) if *sum != wanted.sha256 => Some(format!(
                "{path} is not what was staged: its sha256 is {sum}"
            )),
            _ => None,
        }
    });
    let is_hashed = image.files.iter().all(|file| file.sha256.is_some());
    Some(match (fault, is_hashed) {
        (Some(fault), _) => Check::fail(CONTENT, fault, ANEW),
        (None, true) => Check::ok(
            CONTENT,
            format!("{name} is whole, and its checksums are right"),
        ),
        (None, false) => Check::ok(
            CONTENT,
            format!("{name} has all files in their sizes, not hashed"),
        ),
    })
}

/// Whether kernel and initrd belong together. Nothing where another check tells more.
fn kernel(image: &Found) -> Option<Check> {
    let name = &image.name;
    let initrd = match &image.initrd {
        Ok(initrd) => initrd,
        Err(Unread::NoUnpacker) => {
            let text = format!("skipped: the initrd of {name} cannot be unpacked");
            return Some(Check::skip(KERNEL, text, "apt install libarchive-tools"));
        }
        Err(Unread::Broken(reason)) => {
            let text = format!("{name}: the initrd cannot be read: {reason}");
            return Some(Check::fail(KERNEL, text, ANEW));
        }
    };
    if !initrd.is_whole {
        let text = format!("{name}: the initrd ends in the middle");
        return Some(Check::fail(KERNEL, text, ANEW));
    }
    let version = image.record.as_ref().ok()?.kernel.version.as_ref();
    let versions: Vec<_> = initrd.versions.iter().map(String::as_str).collect();
    Some(match (version, &versions[..]) {
        (_, []) => Check::warn(
            KERNEL,
            format!("{name}: the initrd has no modules"),
            "right only where the kernel has every driver built in",
        ),
        (Some(version), of) if of.contains(&version.as_str()) => {
            Check::ok(KERNEL, format!("{name}: Linux {version}, and its initrd"))
        }
        (Some(version), of) => Check::fail(
            KERNEL,
            format!(
                "{name}: the kernel is {version}, the initrd is of {}",
                of.join(", ")
            ),
            ANEW,
        ),
        (None, of) => Check::warn(
            KERNEL,
            format!(
                "{name}: the kernel does not say its version; the initrd is of {}",
                of.join(", ")
            ),
            "watch the first box: with another kernel's initrd it finds no network",
        ),
    })
}

/// Whether the installer has a driver for the RJ45 port of a GB10.
fn port(image: &Found) -> Option<Check> {
    let name = &image.name;
    let initrd = image.initrd.as_ref().ok()?;
    Some(match (initrd.knows_rtl8127, initrd.has_list) {
        (true, _) => Check::ok(PORT, format!("{name} has a driver for a GB10's RJ45 port")),
        (false, true) => Check::fail(
            PORT,
            format!(
                "{name} has no driver for a GB10's RJ45 port (RTL8127, {})",
                initrd::RTL8127
            ),
            "stage an installer with Linux 6.16 or later, such as Ubuntu 24.04.4 with its HWE kernel",
        ),
        (false, false) => Check::warn(
            PORT,
            format!("{name}: its initrd has no list of what its modules drive"),
            "see that its Linux is 6.16 or later, which knows a GB10's RJ45 port (RTL8127)",
        ),
    })
}

/// Whether firmware can load kernel and initrd.
fn size(image: &Found) -> Option<Check> {
    let sizes = image
        .files
        .iter()
        .filter(|file| file.name != "installer.iso");
    let sizes = sizes.map(|file| file.size.as_ref().ok().copied());
    let bytes = sizes.sum::<Option<u64>>()?;
    let text = format!(
        "{}: kernel and initrd have {} MB together",
        image.name,
        bytes / 1_000_000
    );
    let remedy =
        "watch the first box: if it hangs after GRUB, stage an installer with a smaller initrd";
    Some(match bytes {
        KNOWN_TO_HANG.. => Check::fail(SIZE, format!("{text}; with 210 MB a GB10 hung"), remedy),
        KNOWN_TO_BOOT.. => Check::warn(
            SIZE,
            format!("{text}; up to 100 MB are known to boot"),
            remedy,
        ),
        _ => Check::ok(SIZE, text),
    })
}
