//! What the process may use, as its parent left it: open files, and the size of a file.

use std::io;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

use crate::net::admission::share;

/// Files that are open besides connections and downloads: sockets, the state, templates, the pipes
/// of `ip neigh`.
const OTHER_FILES: usize = 40;

/// Of too few open files, one in so many is for viewers.
const FEW_VIEWERS: usize = 8;

/// How many connections and, besides those, viewers of the board there can be at once, which is fewer
/// than wanted where the limit of open files is too low. Said here, at the start: later it would be
/// a failed accept or a template that cannot be read.
pub fn places(connections: usize, viewers: usize) -> (usize, usize) {
    let needed = files_for(connections).saturating_add(viewers);
    let limit = raised_to(needed);
    if limit >= needed {
        return (connections, viewers);
    }
    // Boxes go before.
    let viewers = viewers.min(limit.saturating_sub(OTHER_FILES) / FEW_VIEWERS);
    let possible = connections_with(limit - viewers).min(connections);
    if possible < connections {
        warn!(
            limit,
            needed,
            "MAX_CONNECTIONS={connections} needs {needed} open files and the limit is {limit}: {possible} connections are served at once; raise LimitNOFILE= of the unit, or ulimit -n"
        );
    }
    (possible, viewers)
}

/// Open files that so many connections need: one each, and one for each download.
pub fn files_for(connections: usize) -> usize {
    connections
        .saturating_add(share(connections))
        .saturating_add(OTHER_FILES)
}

/// How many connections so many open files are enough for: at least one.
pub fn connections_with(files: usize) -> usize {
    let left = files.saturating_sub(OTHER_FILES);
    // Where `left / 7 * 4` connections need a share of three quarters besides.
    let guess = left / 7 * 4;
    (guess..=guess + 4)
        .rev()
        .find(|connections| files_for(*connections) <= files)
        .unwrap_or(0)
        .max(1)
}

/// The limit of open files, raised as far as it is needed and may be.
fn raised_to(needed: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(needed as u64, |maximum| maximum.min(needed as u64));
    if current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum,
        };
        // Refused by the unit, which sets a limit that is high enough.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    let current = getrlimit(Resource::Nofile).current;
    current.map_or(usize::MAX, |current| {
        current.try_into().unwrap_or(usize::MAX)
    })
}

/// Keeps a limit on the size of files (`ulimit -f`) from killing the process: a write over the
/// limit then fails with EFBIG, and heartbeats are refused as on a full disk.
pub fn ignore_file_size_signal() -> io::Result<()> {
    // Its handler stays for the life of the process, whether anybody listens or not.
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
}
