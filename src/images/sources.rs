//! Where the parts of an image come from: which of the files that were given has which, and what
//! of this host stands in.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::ImageError;
use super::error::During;
use super::medium::{Kind, Medium};
use super::place::LOADERS;
use crate::site::ImageName;

/// A kernel and its initrd, where media of installers have them.
struct Pair {
    kernel: &'static str,
    initrd: &'static str,
    is_hwe: bool,
}

/// Of an ISO, the best first: the kernel for newer hardware knows the network port of a GB10.
const OF_ISO: [Pair; 2] = [
    Pair {
        kernel: "casper/hwe-vmlinuz",
        initrd: "casper/hwe-initrd",
        is_hwe: true,
    },
    Pair {
        kernel: "casper/vmlinuz",
        initrd: "casper/initrd",
        is_hwe: false,
    },
];

/// The folder of the archive in which shim and GRUB are.
const ARCHIVE_FOLDER: &str = "arm64";

/// The shim on an ISO. Its GRUB beside it cannot boot from the network.
const ISO_SHIM: &str = "EFI/boot/bootaa64.efi";

/// The signed network GRUB of this host's package, and the shims of the package that goes with it.
const HOST_GRUB: &str = "/usr/lib/grub/arm64-efi-signed/grubnetaa64.efi.signed";
const HOST_SHIMS: [&str; 2] = [
    "/usr/lib/shim/shimaa64.efi.signed",
    "/usr/lib/shim/shimaa64.efi.signed.latest",
];

/// Where the content of a file comes from.
#[derive(Debug, Clone)]
pub(super) enum Source<'a> {
    /// From within a medium.
    Member(&'a Medium, &'a str),
    /// From this host.
    Host(PathBuf),
}

/// The media that were given, by what they are.
pub(super) struct Media<'a> {
    pub(super) iso: &'a Medium,
    pub(super) archive: Option<&'a Medium>,
    /// The name of the ISO's volume.
    pub(super) volume: &'a str,
}

/// What GRUB loads.
pub(super) struct KernelAndInitrd<'a> {
    pub(super) kernel: Source<'a>,
    pub(super) initrd: Source<'a>,
    pub(super) is_hwe: bool,
}

impl<'a> Media<'a> {
    /// Sorts the files that were given: one ISO, and at most one archive.
    pub(super) fn sort(media: &'a [Medium]) -> Result<Self, ImageError> {
        let isos = media.iter().filter_map(|medium| match &medium.kind {
            Kind::Iso(volume) => Some((medium, volume.as_str())),
            Kind::Archive => None,
        });
        let archives = media.iter().filter(|medium| medium.kind == Kind::Archive);
        let (isos, archives): (Vec<_>, Vec<_>) = (isos.collect(), archives.collect());
        match (&isos[..], &archives[..]) {
            ([(iso, volume)], [] | [_]) => Ok(Self {
                iso,
                archive: archives.first().copied(),
                volume,
            }),
            (isos, archives) => Err(ImageError::Incomplete(format!(
                "{} ISO and {} archive were given: expected one ISO, and at most one netboot archive beside it",
                isos.len(),
                archives.len()
            ))),
        }
    }

    /// The kernel and initrd to boot.
    pub(super) fn kernel_and_initrd(&self) -> Result<KernelAndInitrd<'a>, ImageError> {
        // The archive has a pair, too, which is none for another ISO than its own.
        let iso = self.iso;
        let mut found = OF_ISO.iter().filter_map(|pair| {
            Some(KernelAndInitrd {
                kernel: Source::Member(iso, iso.member(pair.kernel)?),
                initrd: Source::Member(iso, iso.member(pair.initrd)?),
                is_hwe: pair.is_hwe,
            })
        });
        found.next().ok_or_else(|| {
            let volume = self.volume;
            let reason = format!(
                "the volume {volume:?} has no {} beside {}: expected Ubuntu's live-server ISO for arm64, or NVIDIA's BaseOS ISO",
                OF_ISO[1].kernel, OF_ISO[1].initrd
            );
            ImageError::Unfit(self.iso.path.clone(), reason)
        })
    }

    /// Shim and GRUB: those of the archive; else those that the boot folder has already, which is
    /// none here; else those of this host, with the ISO's shim where the host has none.
    pub(super) fn loaders(&self, boot: &Path) -> Result<Option<[Source<'a>; 2]>, ImageError> {
        if let Some(archive) = self.archive {
            let paths = LOADERS.map(|name| format!("{ARCHIVE_FOLDER}/{name}"));
            let found = paths.map(|path| archive.member(&path));
            if let [Some(shim), Some(grub)] = found {
                let of_archive = |member| Source::Member(archive, member);
                return Ok(Some([of_archive(shim), of_archive(grub)]));
            }
            let reason = format!(
                "has no {ARCHIVE_FOLDER}/{} beside {ARCHIVE_FOLDER}/{}: expected Ubuntu's netboot archive for arm64",
                LOADERS[0], LOADERS[1]
            );
            return Err(ImageError::Unfit(archive.path.clone(), reason));
        }
        if LOADERS.iter().all(|name| boot.join(name).is_file()) {
            return Ok(None);
        }
        let host_shim = HOST_SHIMS.iter().map(Path::new).find(|path| path.is_file());
        let shim = match host_shim {
            Some(path) => Some(Source::Host(path.to_owned())),
            None => (self.iso.member(ISO_SHIM)).map(|shim| Source::Member(self.iso, shim)),
        };
        match shim {
            Some(shim) if Path::new(HOST_GRUB).is_file() => {
                Ok(Some([shim, Source::Host(HOST_GRUB.into())]))
            }
            _ => Err(ImageError::Incomplete(format!(
                "no network GRUB: an ISO has none. Give the netboot archive (tar.gz) of the same release too, or install grub-efi-arm64-signed, which has {HOST_GRUB}"
            ))),
        }
    }

    /// A name made of that of the ISO: `ubuntu-24.04.4` of `ubuntu-24.04.4-live-server-arm64.iso`.
    pub(super) fn name(&self) -> Result<ImageName, ImageError> {
        let stem = self.iso.path.file_stem().unwrap_or_default();
        let stem = stem.to_string_lossy();
        let name = stem.split("-live-server").next().unwrap_or_default();
        name.parse().map_err(|reason| {
            ImageError::Unfit(
                self.iso.path.clone(),
                format!("{reason}; give one by --name"),
            )
        })
    }
}

impl Source<'_> {
    /// What is told of it in an error.
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::Member(medium, member) => PathBuf::from(format!(
                "{} in {}",
                member.trim_start_matches("./"),
                medium.path.display()
            )),
            Self::Host(path) => path.clone(),
        }
    }

    /// Hands the content to `take`.
    pub(super) fn read<T>(
        &self,
        take: impl FnOnce(&mut dyn Read) -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        match self {
            Self::Member(medium, member) => medium.extract(member, take),
            Self::Host(path) => take(&mut File::open(path).during("opening", path)?),
        }
    }
}
