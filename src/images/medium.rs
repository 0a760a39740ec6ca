//! The files that an image is made of: an ISO 9660 image or an archive, and what is in it.
//!
//! Both are read by bsdtar(1) of libarchive, which gets the open file: what is read is the same file
//! from the first look to the last.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::OFlags;

use super::ImageError;
use super::error::During;
use super::members::Members;
use crate::excerpt::one_line;
use crate::files::stamp::FileStamp;

/// The reader of both.
const READER: &str = "bsdtar";

/// Where the primary volume descriptor stands (ECMA-119, 7.1.1 and 8.4), and how long it is.
const DESCRIPTOR_AT: u64 = 16 * 2048;
const DESCRIPTOR_BYTES: usize = 2048;
/// Where the name of the volume stands in it.
const VOLUME_NAME: Range<usize> = 40..72;
/// How it begins: its type, the standard, the version.
const DESCRIPTOR: &[u8] = b"\x01CD001\x01";

/// How archives begin that bsdtar reads.
const ARCHIVES: [&[u8]; 4] = [b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"BZh"];

/// How files begin that are given by mistake, and what they are. The first that fits counts.
const MISTAKES: [(&[u8], &str); 6] = [
    (b"<!", "a web page"),
    (b"<html", "a web page"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"QFI\xfb", "a disk image (qcow2)"),
    (b"MZ", "a program or kernel"),
    (b"!<arch>", "a Debian package"),
];

/// Longest reason of bsdtar that is told, in characters.
const REASON_CHARS: usize = 200;

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// An ISO 9660 image, with the name of its volume.
    Iso(String),
    /// A tar archive, mostly compressed.
    Archive,
}

/// A file that was given, open.
#[derive(Debug)]
pub(super) struct Medium {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) kind: Kind,
    pub(super) size: u64,
    stamp: FileStamp,
    members: Members,
}

impl Medium {
    /// Opens a file, finds out what it is and lists what is in it.
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        let unfit = |reason: String| ImageError::Unfit(path.to_owned(), reason);
        // Opening a named pipe must not wait for its writer.
        let mut options = OpenOptions::new();
        options
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32);
        let file = options.open(path).during("opening", path)?;
        let found = file.metadata().during("looking at", path)?;
        if !found.is_file() {
            return Err(unfit("not a regular file".to_owned()));
        }
        let size = found.len();
        let kind = recognise(&file, size).during("reading", path)?;
        let mut medium = Self {
            path: path.to_owned(),
            kind: kind.map_err(unfit)?,
            size,
            stamp: stamp(&file).during("looking at", path)?,
            file,
            members: Members::default(),
        };
        medium.members = medium.list()?;
        Ok(medium)
    }

    /// Whether the file is what it was when it was opened. A link to it changes nothing of that.
    pub(super) fn check_unchanged(&self) -> Result<(), ImageError> {
        let now = stamp(&self.file).during("looking at", &self.path)?;
        match now.has_content_of(&self.stamp) {
            true => Ok(()),
            false => Err(ImageError::Unfit(
                self.path.clone(),
                "changed while it was staged: run this again when it is complete".to_owned(),
            )),
        }
    }

    /// The file of that path in it, or the one that a link there leads to, as bsdtar calls it.
    pub(super) fn member(&self, path: &str) -> Option<&str> {
        self.members.find(path)
    }

    /// Reads a member, and hands its content to `take`.
    pub(super) fn extract<T>(
        &self,
        member: &str,
        take: impl FnOnce(&mut dyn Read) -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        let mut reader = self.reader(&["-xOqf", "-", "--", member])?;
        let mut child = reader.spawn().map_err(no_reader)?;
        let taken = match &mut child.stdout {
            Some(output) => take(output),
            None => take(&mut io::empty()),
        };
        // Closed, so that a reader whose output nobody took ends.
        drop(child.stdout.take());
        let ended = child.wait_with_output();
        let taken = taken?;
        let ended = ended.during("reading", &self.path)?;
        match ended.status.success() {
            true => Ok(taken),
            false => Err(self.unreadable(&ended.stderr)),
        }
    }

    fn list(&self) -> Result<Members, ImageError> {
        let listed = self.reader(&["-tvf", "-"])?.output().map_err(no_reader)?;
        if !listed.status.success() {
            return Err(self.unreadable(&listed.stderr));
        }
        Ok(Members::read(&String::from_utf8_lossy(&listed.stdout)))
    }

    /// The file, to be read from its beginning, by one at a time.
    pub(super) fn rewound(&self) -> Result<File, ImageError> {
        let mut file = self.file.try_clone().during("opening", &self.path)?;
        file.rewind().during("reading", &self.path)?;
        Ok(file)
    }

    /// bsdtar, which reads this.
    fn reader(&self, arguments: &[&str]) -> Result<Command, ImageError> {
        let file = self.rewound()?;
        let mut reader = Command::new(READER);
        reader
            .args(arguments)
            // Names beyond ASCII are no reason to fail.
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::from(file))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(reader)
    }

    fn unreadable(&self, said: &[u8]) -> ImageError {
        let said = String::from_utf8_lossy(said);
        let first = said.lines().find(|line| !line.trim().is_empty());
        let reason = first.map_or("no reason given".into(), |line| {
            one_line(line, REASON_CHARS)
        });
        let reason = format!("cannot be read, the download may be incomplete: {reason}");
        ImageError::Unfit(self.path.clone(), reason)
    }
}

fn no_reader(error: io::Error) -> ImageError {
    match error.kind() {
        io::ErrorKind::NotFound => ImageError::NoReader(READER),
        _ => ImageError::Io(PathBuf::from(READER), "starting", error),
    }
}

fn stamp(file: &File) -> io::Result<FileStamp> {
    Ok(FileStamp::of(&rustix::fs::fstat(file)?))
}

/// What a file of that size is; an error tells what came instead, and what was expected.
fn recognise(file: &File, size: u64) -> io::Result<Result<Kind, String>> {
    let mut start = [0; 512];
    let length = read_at(file, &mut start, 0)?;
    let start = &start[..length];
    let mut descriptor = [0; DESCRIPTOR_BYTES];
    let length = read_at(file, &mut descriptor, DESCRIPTOR_AT)?;
    if length == DESCRIPTOR_BYTES && descriptor.starts_with(DESCRIPTOR) {
        return Ok(iso(&descriptor, size));
    }
    let is_tar = start.get(257..262) == Some(b"ustar");
    if is_tar || ARCHIVES.iter().any(|begin| start.starts_with(begin)) {
        return Ok(Ok(Kind::Archive));
    }
    let mistake = MISTAKES.iter().find(|(begin, _)| start.starts_with(begin));
    let came = match mistake {
        Some((_, what)) => (*what).to_owned(),
        None if size == 0 => "an empty file".to_owned(),
        None => format!("no ISO 9660 image and no archive ({size} bytes)"),
    };
    Ok(Err(format!(
        "{came}: expected the ISO of an installer, or Ubuntu's netboot archive (tar.gz)"
    )))
}

/// Compares the size of the volume with that of the file: a download that broke off is shorter.
fn iso(descriptor: &[u8; DESCRIPTOR_BYTES], size: u64) -> Result<Kind, String> {
    let number = |at: usize, bytes: usize| {
        let bytes = descriptor[at..at + bytes].iter().rev();
        bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    let volume_bytes = number(80, 4) * number(128, 2);
    match size >= volume_bytes {
        true => {
            let name = String::from_utf8_lossy(&descriptor[VOLUME_NAME]);
            // It is printed on a terminal.
            let name = one_line(name.trim_end_matches([' ', '\0']), VOLUME_NAME.len());
            Ok(Kind::Iso(name))
        }
        false => Err(format!(
            "has {size} bytes, and is an ISO of {volume_bytes}: the download is incomplete"
        )),
    }
}

/// As many bytes as there are.
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], at + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
