//! Has this file changed since it was read?

use std::fmt;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;

/// Kernels stamp files with the time of their last tick (at most 10 ms ago), so two changes within
/// one tick look alike. A file that changed less than this before it was read may change again
/// unseen, and is not trusted yet.
const SETTLING_TIME: Duration = Duration::from_millis(50);

/// What tells one state of a file from another: device, inode, size, and the times of the last
/// change of data and of inode, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    size: i64,
    modified: i128,
    changed: i128,
}

impl fmt::Display for FileStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            device: _,
            inode,
            size,
            modified,
            changed,
        } = self;
        write!(f, "{inode:x}-{size:x}-{modified:x}-{changed:x}")
    }
}

impl FileStamp {
    /// The stamp of the file at `path`, or none where there is no such file.
    pub fn at(path: &Path) -> io::Result<Option<Self>> {
        match rustix::fs::stat(path) {
            Ok(stat) => Ok(Some(Self::of(&stat))),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The stamp in the answer of a `stat` call.
    pub fn of(stat: &Stat) -> Self {
        let nanoseconds = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            modified: nanoseconds(stat.st_mtime, stat.st_mtime_nsec as i64),
            changed: nanoseconds(stat.st_ctime, stat.st_ctime_nsec as i64),
        }
    }

    /// Whether size and time of the data are those of another stamp, whatever became of the file's
    /// name, owner or mode.
    pub fn has_content_of(&self, other: &Self) -> bool {
        (self.size, self.modified) == (other.size, other.modified)
    }

    /// Whether at `now` the file's last change was at least `time` ago.
    pub fn unchanged_for(&self, time: Duration, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.changed.max(self.modified) < now.saturating_sub(time).as_nanos() as i128
    }
}

/// A file's state when it was read; no stamp where there was none.
#[derive(Debug, Clone)]
pub struct Watch {
    stamp: Option<FileStamp>,
    /// When the file was first seen in this state.
    seen: Instant,
    settled: bool,
    /// When the file has to be read again, changed or not.
    until: Option<Instant>,
}

impl Watch {
    /// The state of a file, where the clocks were read before the file was. `before` is what was
    /// seen of it last.
    ///
    /// The file's own times tell at once that a file of old is settled. Where they lie in the
    /// future, or the clock was set back, the monotonic clock tells it a moment later.
    pub fn new(
        stamp: Option<FileStamp>,
        before: Option<&Self>,
        wall_clock: SystemTime,
        now: Instant,
    ) -> Self {
        let seen = match before {
            Some(before) if before.stamp == stamp => before.seen,
            _ => now,
        };
        let is_settled = |stamp: FileStamp| {
            stamp.unchanged_for(SETTLING_TIME, wall_clock)
                || now.duration_since(seen) >= SETTLING_TIME
        };
        Self {
            stamp,
            seen,
            settled: stamp.is_none_or(is_settled),
            until: None,
        }
    }

    /// The state of the file at `path` now. Where that cannot be seen, nothing holds.
    pub fn at(path: &Path, before: Option<&Self>) -> Self {
        let (wall_clock, now) = (SystemTime::now(), Instant::now());
        match FileStamp::at(path) {
            Ok(stamp) => Self::new(stamp, before, wall_clock, now),
            Err(_) => Self::new(None, None, wall_clock, now).until(now),
        }
    }

    /// Holds no longer than until then.
    pub fn until(self, until: Instant) -> Self {
        Self {
            until: Some(until),
            ..self
        }
    }

    /// Whether there is no file, and only one that appears would change that.
    pub fn is_of_nothing(&self) -> bool {
        self.stamp.is_none() && self.until.is_none()
    }

    /// Whether a file read then would read the same now.
    pub fn still_holds(&self, path: &Path) -> bool {
        self.settled
            && self.until.is_none_or(|until| Instant::now() < until)
            && FileStamp::at(path).is_ok_and(|stamp| stamp == self.stamp)
    }
}
