//! The checksums of many files, some of many GB: hashed on all cores, in little memory.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use cap_std::fs::Metadata;
use sha2::{Digest, Sha256};

use super::{Folder, Unreachable, unreachable};
use crate::files::Fault;
use crate::files::stamp::FileStamp;

/// Read at a time by each thread, in bytes.
const CHUNK: usize = 256 * 1024;

/// Is told, by each thread, how many bytes are hashed, and of how many.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// What a file's content is, as of one state of it.
pub(super) struct Sum {
    pub(super) size: u64,
    pub(super) sha256: String,
    stamp: FileStamp,
}

impl Sum {
    /// Whether the file of that path is in the same state now.
    pub(super) fn still_holds(&self, folder: &Folder, path: &str) -> bool {
        let stamp = folder.open_file(path).and_then(|file| stamp(&file));
        stamp.is_ok_and(|stamp| stamp == self.stamp)
    }
}

/// Hashes files. One that could not be hashed is a fault.
pub(super) fn hash(
    folder: &Folder,
    files: &BTreeMap<String, Metadata>,
    progress: Progress<'_>,
    faults: &mut Vec<Fault>,
) -> BTreeMap<String, Sum> {
    let total = files.values().map(Metadata::len).sum();
    let mut files: Vec<_> = files.iter().collect();
    // The longest first: begun last, it would keep one core busy when the others are done.
    files.sort_by_key(|(_, file)| Reverse(file.len()));
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let count = |bytes| progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total);
    let (sums, all_sums) = channel();
    let work = || {
        while let Some((path, _)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            // It is received once all is sent.
            let _ = sums.send((path.to_string(), sum(folder, path, &count)));
        }
    };
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        for _ in 1..cores.min(files.len()) {
            // This thread works too, and alone where no other can be started.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let hashed = all_sums.try_iter().filter_map(|(path, sum)| match sum {
        Ok(sum) => Some((path, sum)),
        Err(reason) => {
            faults.push(unreachable(&path, reason));
            None
        }
    });
    hashed.collect()
}

fn sum(folder: &Folder, path: &str, count: &dyn Fn(u64)) -> Result<Sum, Unreachable> {
    let file = folder.open_file(path)?;
    let (before, size) = (stamp(&file)?, file.metadata()?.len());
    let mut hasher = Sha256::new();
    let mut read = 0;
    // One byte more than there should be: a file that grows all the time must not hold this up.
    let mut bytes = BufReader::with_capacity(CHUNK, (&file).take(size.saturating_add(1)));
    loop {
        let chunk = bytes.fill_buf()?;
        let length = chunk.len();
        if length == 0 {
            break;
        }
        hasher.update(chunk);
        bytes.consume(length);
        read += length as u64;
        count(length as u64);
    }
    if read != size || stamp(&file)? != before {
        return Err(Unreachable::Changed);
    }
    let digest = hasher.finalize();
    Ok(Sum {
        size,
        sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        stamp: before,
    })
}

fn stamp(file: &File) -> Result<FileStamp, Unreachable> {
    let stat = rustix::fs::fstat(file).map_err(std::io::Error::from)?;
    Ok(FileStamp::of(&stat))
}
