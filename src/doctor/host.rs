//! The host: its clock, and the room in the data folder.

use std::path::Path;

use jiff::Timestamp;

use super::Check;
use crate::files::layout;
use crate::tools;

const CLOCK: &str = "clock";
const SPACE: &str = "space";

/// Longest that `timedatectl` may take, in seconds.
const TIMEOUT: u32 = 3;

/// No clock that is right shows less than 2026, in which this was written, or more than 2099.
const PLAUSIBLE: std::ops::Range<i64> = 1_767_225_600..4_102_444_800;

/// Bytes without which records are soon refused, and without which that is a matter of time. All
/// records together may have 1 GB at most.
const BYTES_TO_WORK: u64 = 64 << 20;
const BYTES_TO_SPARE: u64 = 1 << 30;

/// The same in inodes.
const INODES_TO_WORK: u64 = 100;
const INODES_TO_SPARE: u64 = 10_000;

/// What the clock shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// The time.
    pub now: Timestamp,
    /// Whether it follows another clock; none where nobody says.
    pub is_synchronised: Option<bool>,
}

/// Reads it.
pub fn clock() -> Clock {
    let arguments = ["show", "--property=NTPSynchronized", "--value"];
    let said = tools::ask(TIMEOUT, "timedatectl", arguments);
    let is_synchronised = match said.as_deref().map(str::trim) {
        Ok("yes") => Some(true),
        Ok("no") => Some(false),
        _ => None,
    };
    Clock {
        now: Timestamp::now(),
        is_synchronised,
    }
}

/// Boxes without a clock of their own would take certificates and packages for invalid.
pub fn judge_clock(clock: &Clock) -> Check {
    let now = clock.now.strftime("%Y-%m-%d %H:%M UTC");
    if !PLAUSIBLE.contains(&clock.now.as_second()) {
        let text = format!("{now} cannot be right");
        return Check::fail(
            CLOCK,
            text,
            "timedatectl set-time, or give the host an NTP server",
        );
    }
    match clock.is_synchronised {
        Some(true) => Check::ok(CLOCK, format!("{now}, synchronised")),
        Some(false) => Check::warn(
            CLOCK,
            format!("{now}, not synchronised with any other clock"),
            "compare it with a watch; timedatectl set-time, or give the host an NTP server",
        ),
        None => Check::ok(
            CLOCK,
            format!("{now}; whether it is synchronised nobody says"),
        ),
    }
}

/// The room in a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that the service may still write.
    pub bytes: u64,
    /// Files that it may still make; none where the file system has no such limit.
    pub inodes: Option<u64>,
    /// Whether nothing can be written there.
    pub is_read_only: bool,
}

/// Looks at where the service writes, the folder of the state, or where that will be.
pub fn space(data_path: &Path) -> Result<Space, String> {
    let state = layout::state(data_path);
    let found = rustix::fs::statvfs(&state).or_else(|_| rustix::fs::statvfs(data_path));
    let found = found.map_err(|error| error.to_string())?;
    Ok(Space {
        bytes: found.f_bavail.saturating_mul(found.f_frsize),
        inodes: (found.f_files > 0).then_some(found.f_favail),
        is_read_only: found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
    })
}

/// Whether there is room.
pub fn judge_space(data_path: &Path, space: &Result<Space, String>) -> Check {
    let path = data_path.display();
    let space = match space {
        Ok(space) => space,
        Err(reason) => {
            let remedy = "set DATA_PATH to the data folder: /var/lib/gb10-provision-api, if you \
                          did not move it";
            return Check::fail(SPACE, format!("{path}: {reason}"), remedy);
        }
    };
    let megabytes = space.bytes / 1_000_000;
    let inodes = space.inodes.unwrap_or(u64::MAX);
    let text = match space.inodes {
        Some(inodes) => format!("{path}: {megabytes} MB and {inodes} inodes are free"),
        None => format!("{path}: {megabytes} MB are free"),
    };
    let remedy = "make room: boot list shows the images; or mount a larger file system there";
    if space.is_read_only {
        let text = format!("{path} is on a file system that is mounted read-only");
        return Check::fail(SPACE, text, "dmesg says why; then mount -o remount,rw");
    }
    if space.bytes < BYTES_TO_WORK || inodes < INODES_TO_WORK {
        return Check::fail(SPACE, text, remedy);
    }
    match space.bytes < BYTES_TO_SPARE || inodes < INODES_TO_SPARE {
        true => Check::warn(SPACE, text, remedy),
        false => Check::ok(SPACE, text),
    }
}
