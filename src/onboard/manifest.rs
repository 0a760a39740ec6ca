//! The manifest of the onboarding folder, `{DATA_PATH}/onboard/manifest.json`: which stages a box
//! walks and which payloads it fetches. `packaging/onboard/README.md` has the format.
//!
//! [`write()`] makes the list of payloads say what is staged; [`check`] tells what a box would
//! refuse.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use cap_std::fs::MetadataExt;

pub use super::format::MANIFEST_FILE;
use super::format::{self, MANIFEST_BYTES, SCRIPT_BYTES, at, wrong_path, wrong_sha256};
pub use super::hash::Progress;
use super::hash::{Sum, hash};
use super::json::Node;
use super::replace::Writer;
use super::{During, Folder, FolderError, Unreachable, unreachable};
use crate::embedded;
use crate::files::Fault;

const DEFAULT: &[u8] = embedded::MANIFEST.as_bytes();

/// The box's folder for payloads whose target nobody chose.
const DEFAULT_TARGET: &str = "/opt/gb10";

/// What [`write()`] changed; paths are relative to the onboarding folder.
#[derive(Debug, Default)]
pub struct Written {
    /// Payloads in the list now.
    pub payloads: usize,
    /// New in the list.
    pub added: Vec<String>,
    /// In the list before, with another size or checksum.
    pub updated: Vec<String>,
    /// No longer in the list, since the file is gone.
    pub removed: Vec<String>,
}

/// What [`check`] found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Whether a manifest is staged; without one the embedded default is what was checked.
    pub staged: bool,
    /// Payloads in the list.
    pub payloads: usize,
    /// What is wrong, by line.
    pub faults: Vec<Fault>,
}

/// Makes the list of payloads say what is staged below `payload`, a folder relative to the
/// onboarding folder at `path`, and what else is listed. Everything else in the manifest is kept.
///
/// `progress` is told, by several threads, how many bytes are hashed, and of how many.
///
/// # Errors
/// The old manifest is as it was then, unless the folder could not be synced after the new one had
/// got its place.
pub fn write(path: &Path, payload: &Path, progress: Progress<'_>) -> Result<Written, FolderError> {
    let payload = below(payload)?;
    let folder = Folder::open(path).during("opening", path)?;
    let writer = Writer::lock(&folder, path, MANIFEST_FILE)?;
    let text = staged(&folder)?;
    let mut manifest = format::read(text.as_deref().unwrap_or(DEFAULT))?;

    // Faults that are quickly found come before the hashing, which may take minutes.
    let mut before = Vec::new();
    for entry in manifest.items_mut("payloads").into_iter().flatten() {
        before.push(entry.json(2));
        // A size and a checksum that are about to be replaced are no fault.
        let target = default_target(&payload, &entry.text_of("path"));
        complete(entry, 0, &"0".repeat(64), &target);
    }
    let mut faults = format::faults(&manifest);
    let mut files = folder.files_below(&payload, &mut faults);
    for (path, line, _) in with_path(&manifest, "payloads", "path") {
        if files.contains_key(&path) {
            continue;
        }
        match folder.find(&path) {
            Ok(file) => drop(files.insert(path, file)),
            Err(Unreachable::Missing) => {}
            Err(reason) => faults.push(at(line, format!("{path:?} {reason}"))),
        }
    }
    FolderError::unless_none(faults)?;

    let mut faults = Vec::new();
    let sums = hash(&folder, &files, progress, &mut faults);
    let mut written = Written::default();
    let mut targets = HashMap::new();
    let mut entries = Vec::new();
    let listed = manifest.items_mut("payloads").map(std::mem::take);
    for (mut entry, before) in listed.into_iter().flatten().zip(before) {
        let path = entry.text_of("path");
        let Some(sum) = sums.get(&path) else {
            written.removed.push(path);
            continue;
        };
        complete(&mut entry, sum.size, &sum.sha256, "");
        targets.insert(entry.text_of("target"), path.clone());
        files.remove(&path);
        if entry.json(2) != before {
            written.updated.push(path);
        }
        entries.push(entry);
    }
    for (path, file) in files {
        let Some(sum) = sums.get(&path) else {
            continue;
        };
        let target = default_target(&payload, &path);
        let executable = file.mode() & 0o111 != 0;
        let mut entry = Node::read("{}")?;
        entry.set("path", path.as_str());
        complete(&mut entry, sum.size, &sum.sha256, &target);
        entry.set("mode", if executable { "0755" } else { "0644" });
        entries.push(entry);
        if let Some(other) = targets.insert(target.clone(), path.clone()) {
            let taken = format!("its target {target:?} is that of {other:?} too");
            faults.push(Fault::new(&path, taken + ": list it with another"));
        }
        written.added.push(path);
    }
    written.payloads = entries.len();
    manifest.set_items("payloads", entries);
    // A long run leaves time for changes after a file's turn, too.
    let changed = (sums.iter()).filter(|(path, sum)| !sum.still_holds(&folder, path));
    faults.extend(changed.map(|(path, _)| unreachable(path, Unreachable::Changed)));
    FolderError::unless_none(faults)?;

    let new = (manifest.json(0) + "\n").into_bytes();
    format::read(&new)?; // it may be too large
    if text.is_none_or(|text| text != new) {
        writer.replace(&new)?;
    }
    Ok(written)
}

/// Tells what a box would refuse: in the manifest, and in the files that it lists. `progress` is
/// that of [`write()`].
pub fn check(path: &Path, progress: Progress<'_>) -> Result<Checked, FolderError> {
    let folder = Folder::open(path).during("opening", path)?;
    let mut checked = Checked::default();
    if let Err(fault) = examine(&folder, &mut checked, progress) {
        checked.faults.push(fault);
    }
    checked.faults.sort_by_key(|fault| fault.line);
    Ok(checked)
}

fn examine(folder: &Folder, checked: &mut Checked, progress: Progress<'_>) -> Result<(), Fault> {
    let text = staged(folder);
    checked.staged = !matches!(text, Ok(None));
    let text = text?;
    let manifest = format::read(text.as_deref().unwrap_or(DEFAULT))?;
    let faults = &mut checked.faults;
    faults.extend(format::faults(&manifest));
    for (script, line, _) in with_path(&manifest, "stages", "script") {
        let reason = match folder.find(&script) {
            Ok(file) if file.len() <= SCRIPT_BYTES => continue,
            Ok(_) => format!("has more than {SCRIPT_BYTES} bytes, the most that a box reads"),
            Err(Unreachable::Missing) if embedded::onboarding_file(&script).is_some() => continue,
            Err(Unreachable::Missing) => "is neither staged nor one of the defaults".to_owned(),
            Err(reason) => reason.to_string(),
        };
        faults.push(at(line, format!("the script {script:?} {reason}")));
    }

    checked.payloads = manifest.items("payloads").len();
    let mut files = BTreeMap::new();
    let mut listed = Vec::new();
    for (path, line, entry) in with_path(&manifest, "payloads", "path") {
        let file = match folder.find(&path) {
            Ok(file) => file,
            Err(reason) => {
                faults.push(at(line, format!("{path:?} {reason}")));
                continue;
            }
        };
        let (length, size) = (file.len(), entry.text_of("size").parse::<u64>());
        if let Ok(size) = size
            && size != length
        {
            // Its checksum would be wrong too, and say nothing more.
            let reason = format!("{path:?} has {length} bytes, but {size} are listed");
            faults.push(at(entry.line_of("size"), reason));
        } else if wrong_sha256(&entry.text_of("sha256")).is_none() {
            files.insert(path.clone(), file);
            listed.push((path, entry));
        }
    }
    let sums = hash(folder, &files, progress, faults);
    for (path, entry) in listed {
        if let Some(Sum { sha256, .. }) = sums.get(&path)
            && !sha256.eq_ignore_ascii_case(&entry.text_of("sha256"))
        {
            let reason = format!("{path:?} has the sha256 {sha256}, not the one listed");
            faults.push(at(entry.line_of("sha256"), reason));
        }
    }
    Ok(())
}

/// The time limits that the manifest in force gives stages, by their names: of a stage with several
/// scripts the longest. None where what is staged cannot be read, or a box would refuse it.
pub fn time_limits(path: &Path) -> Option<BTreeMap<String, Duration>> {
    let text = match Folder::open(path) {
        Ok(folder) => staged(&folder).ok()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => return None,
    };
    let manifest = format::read(text.as_deref().unwrap_or(DEFAULT)).ok()?;
    if !format::faults(&manifest).is_empty() {
        return None;
    }
    let mut limits = BTreeMap::new();
    for entry in manifest.items("stages") {
        // A box takes more digits than a time has.
        let Ok(seconds) = entry.text_of("timeout").parse() else {
            continue;
        };
        let limit: &mut Duration = limits.entry(entry.text_of("stage")).or_default();
        *limit = (*limit).max(Duration::from_secs(seconds));
    }
    Some(limits)
}

/// The text of the manifest, if one is staged.
fn staged(folder: &Folder) -> Result<Option<Vec<u8>>, Fault> {
    match folder.read(MANIFEST_FILE, MANIFEST_BYTES + 1) {
        Ok(text) => Ok(Some(text)),
        Err(Unreachable::Missing) => Ok(None),
        Err(reason) => Err(unreachable(MANIFEST_FILE, reason)),
    }
}

/// The folder of payloads as the paths of its files begin.
fn below(payload: &Path) -> Result<String, FolderError> {
    let parts = payload.components();
    let path: PathBuf = parts.filter(|part| *part != Component::CurDir).collect();
    match path.to_str().filter(|path| wrong_path(path).is_none()) {
        Some(path) => Ok(path.to_owned()),
        None => Err(FolderError::NotBelow(payload.to_owned())),
    }
}

/// Where a payload goes on the box, if nobody said.
fn default_target(payload: &str, path: &str) -> String {
    let inner = path.strip_prefix(&format!("{payload}/")).unwrap_or(path);
    format!("{DEFAULT_TARGET}/{inner}")
}

/// Enters in a payload what its file is, and its target if it has none.
fn complete(entry: &mut Node, size: u64, sha256: &str, target: &str) {
    entry.set("size", size);
    entry.set("sha256", sha256);
    if entry.get("target").is_none() {
        entry.set("target", target);
    }
}

/// The entries of a list that have a path which a box would take, with it and its line.
fn with_path<'n>(manifest: &'n Node, list: &str, field: &str) -> Vec<(String, usize, &'n Node)> {
    let entries = manifest.items(list).iter();
    let entries = entries.map(|entry| (entry.text_of(field), entry.line_of(field), entry));
    entries
        .filter(|(path, ..)| wrong_path(path).is_none())
        .collect()
}
