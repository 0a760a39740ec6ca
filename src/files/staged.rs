//! A file that an operator stages: read without waiting for anybody, and its last good version
//! kept while it cannot be read.
//!
//! A read that fails is not a file that is missing. And a file that is missing may only be between
//! two steps of an editor, which renames it away and writes it anew.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::fault::Place;
use super::stamp::{FileStamp, Watch};

/// How long a file that is gone, or was emptied, counts as it was.
const SAVING_TIME: Duration = Duration::from_secs(2);

/// How often a file is read that changes while it is read.
const ATTEMPTS: usize = 5;

/// How files begin that are no UTF-8 text, and what they are.
const NO_TEXTS: [(&[u8], &str); 8] = [
    (
        b"\xef\xbb\xbf",
        "begins with a byte order mark (BOM); save it as UTF-8 without one",
    ),
    (b"\xff\xfe", "UTF-16; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16; save it as UTF-8"),
    (b"\x1f\x8b", "compressed by gzip; unpack it"),
    (b"BZh", "compressed by bzip2; unpack it"),
    (b"\xfd7zXZ\0", "compressed by xz; unpack it"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; unpack it"),
    (b"PK\x03\x04", "a ZIP archive; unpack it"),
];

/// Why the text of a file cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// The system refused. It may not at the next attempt.
    Failed(String),
    /// What stands there is no text file, until somebody mends that.
    Unfit(String),
}

/// What is wrong with a file, so that not its content of now is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Whether reading failed, which tells nothing of the content.
    pub is_unread: bool,
    /// Where in the file it is.
    pub place: Option<Place>,
    /// What is wrong.
    pub reason: String,
}

/// A staged file as it was when it was read last.
#[derive(Debug)]
pub struct Kept<T> {
    /// The last good version; none where there never was one, or where it is gone.
    pub good: Option<T>,
    /// Why that is not what stands in the file.
    pub trouble: Option<Trouble>,
    /// Whether the good version is of an empty file, which is then no half-saved one.
    is_empty: bool,
    /// Since when the file is gone.
    gone_since: Option<Instant>,
    watch: Watch,
}

impl<T> Kept<T> {
    /// Reads the file again. `parse` makes a version of its text, or says what is wrong and where.
    pub fn read(
        path: &Path,
        before: Option<Self>,
        parse: impl FnOnce(String) -> Result<T, (Option<Place>, String)>,
    ) -> Self {
        let (now, wall_clock) = (Instant::now(), SystemTime::now());
        let (stamp, text) = read_text(path);
        let seen = before.as_ref().map(|before| &before.watch);
        let watch = Watch::new(stamp, seen, wall_clock, now);
        let (good, was_empty, gone_since, known) = match before {
            Some(before) => (
                before.good,
                before.is_empty,
                before.gone_since,
                before.trouble,
            ),
            None => (None, false, None, None),
        };
        let is_gone = match &text {
            Ok(None) => true,
            Ok(Some(text)) => text.is_empty() && !was_empty,
            Err(_) => false,
        };
        let gone_since = is_gone.then(|| gone_since.unwrap_or(now));
        if let Some(since) = gone_since
            && good.is_some()
            && now.duration_since(since) < SAVING_TIME
        {
            return Self {
                good,
                trouble: known,
                is_empty: was_empty,
                gone_since,
                watch: watch.until(since + SAVING_TIME),
            };
        }
        let (good, trouble, is_empty) = match text {
            Ok(None) => (None, None, false),
            Ok(Some(text)) => {
                let is_empty = text.is_empty();
                match parse(text) {
                    Ok(version) => (Some(version), None, is_empty),
                    Err((place, reason)) => (good, Some(trouble(false, place, reason)), was_empty),
                }
            }
            Err(Unread::Unfit(reason)) => (good, Some(trouble(false, None, reason)), was_empty),
            Err(Unread::Failed(reason)) => {
                return Self {
                    good,
                    trouble: Some(trouble(true, None, reason)),
                    is_empty: was_empty,
                    gone_since,
                    watch: watch.until(now),
                };
            }
        };
        Self {
            good,
            trouble,
            is_empty,
            gone_since,
            watch,
        }
    }

    /// Whether reading the file would find the same now.
    pub fn still_holds(&self, path: &Path) -> bool {
        self.watch.still_holds(path)
    }

    /// What tells when the file has to be read again.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }
}

fn trouble(is_unread: bool, place: Option<Place>, reason: String) -> Trouble {
    let reason = match is_unread {
        true => format!("cannot be read: {reason}"),
        false => reason,
    };
    Trouble {
        is_unread,
        place,
        reason,
    }
}

/// The text of a regular file, and the file's stamp from before it was read. No text where there is
/// no file.
fn read_text(path: &Path) -> (Option<FileStamp>, Result<Option<String>, Unread>) {
    // Opening a pipe must not wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR) => return (None, Ok(None)),
        // A link in a circle, a socket: nothing that another attempt would open.
        Err(error @ (Errno::LOOP | Errno::NXIO | Errno::NAMETOOLONG)) => {
            let reason = format!("cannot be read: {}", io::Error::from(error));
            return (None, Err(Unread::Unfit(reason)));
        }
        Err(error) => return (None, Err(failed(error.into()))),
    };
    let mut outcome = (None, Ok(None));
    for _ in 0..ATTEMPTS {
        outcome = read_once(&file);
        let after = rustix::fs::fstat(&file).map(|stat| FileStamp::of(&stat));
        if outcome.1.is_err() || after.ok() == outcome.0 {
            break;
        }
    }
    outcome
}

fn read_once(mut file: &File) -> (Option<FileStamp>, Result<Option<String>, Unread>) {
    let stat = match rustix::fs::fstat(file) {
        Ok(stat) => stat,
        Err(error) => return (None, Err(failed(error.into()))),
    };
    let stamp = Some(FileStamp::of(&stat));
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        let reason = "cannot be read: not a regular file".to_owned();
        return (stamp, Err(Unread::Unfit(reason)));
    }
    let mut bytes = Vec::new();
    let read = io::Seek::rewind(&mut file).and_then(|()| file.read_to_end(&mut bytes));
    let text = match read {
        Ok(_) => as_text(bytes).map(Some).map_err(Unread::Unfit),
        Err(error) => Err(failed(error)),
    };
    (stamp, text)
}

/// The text, or what the bytes are instead.
fn as_text(bytes: Vec<u8>) -> Result<String, String> {
    if let Some((_, what)) = NO_TEXTS.iter().find(|(start, _)| bytes.starts_with(start)) {
        return Err((*what).to_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let (bytes, place) = (error.as_bytes(), error.utf8_error().valid_up_to());
        let line = 1 + bytes[..place].iter().filter(|byte| **byte == b'\n').count();
        format!(
            "not UTF-8: byte 0x{:02x} in line {line}, perhaps Latin-1; save it as UTF-8",
            bytes[place]
        )
    })
}

fn failed(error: io::Error) -> Unread {
    Unread::Failed(error.to_string())
}
