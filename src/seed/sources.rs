//! The texts of staged templates, each as it could be read last.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use minijinja::{Error, ErrorKind};
use tracing::{info, warn};

use super::jinja;
use crate::files::staged::{Kept, Trouble};
use crate::files::stamp::Watch;
use crate::files::{Fault, Place};
use crate::message_id;

/// Every file that was looked for, and how it was found.
pub(super) type Watched = Arc<Mutex<BTreeMap<PathBuf, Watch>>>;

/// The folder of templates. It outlives what is made of them: where one cannot be read again, its
/// last good text stays in force.
pub(super) struct Sources {
    pub(super) folder: PathBuf,
    kept: RwLock<HashMap<String, Kept<Arc<str>>>>,
}

/// Why the engine did not get a template, as the source of its error.
#[derive(Debug, thiserror::Error)]
#[error("{fault}")]
pub(super) struct NotRead {
    pub(super) fault: Fault,
    /// Whether the system refused, so that nothing is known of the content.
    pub(super) is_unread: bool,
}

impl Sources {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            kept: RwLock::default(),
        }
    }

    /// Where a template lies.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The text of a template as Python reads a text file, for the engine: none where it is not
    /// there. What was found of the file is noted.
    pub(super) fn read(&self, name: &str, watched: &Watched) -> Result<Option<String>, Error> {
        let outside = |segment: &str| segment.is_empty() || segment.starts_with('.');
        if name.split('/').any(outside) {
            return Ok(None);
        }
        let path = self.path(name);
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let before = kept.remove(name);
        let known = before.as_ref().and_then(|before| before.trouble.clone());
        let now = Kept::read(&path, before, |text| {
            let text = text.replace("\r\n", "\n").replace('\r', "\n");
            let fault = jinja::too_deep(&text).err();
            match fault {
                Some((line, reason)) => Err((line.map(Place::from), reason)),
                None => Ok(text.into()),
            }
        });
        note(watched, &path, now.watch());
        report(name, known.as_ref(), &now);
        let text = match (&now.trouble, &now.good) {
            (Some(trouble), good) if good.is_none() || !trouble.is_unread => {
                let not_read = NotRead {
                    fault: Fault::new(name, trouble.reason.clone()).at(trouble.place),
                    is_unread: trouble.is_unread,
                };
                Err(Error::from(ErrorKind::InvalidOperation).with_source(not_read))
            }
            (_, good) => Ok(good.as_deref().map(str::to_owned)),
        };
        if now.good.is_some() || now.trouble.is_some() {
            kept.insert(name.to_owned(), now);
        }
        text
    }

    /// Whether a template was there when it was looked for last.
    pub(super) fn is_kept(&self, name: &str) -> bool {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.contains_key(name)
    }

    /// The text of that template, as it was read last.
    pub(super) fn text(&self, name: &str) -> Option<Arc<str>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.get(name)?.good.clone()
    }

    /// Whether a word stands in the text of any template.
    pub(super) fn have(&self, word: &str) -> bool {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let mut texts = kept.values().filter_map(|kept| kept.good.as_ref());
        texts.any(|text| text.contains(word))
    }

    /// The files that cannot be read now, but could before.
    pub(super) fn unread(&self, watched: &Watched) -> Vec<Fault> {
        // In the order of `read`, which notes under the other lock.
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
        let unread = kept.iter().filter_map(|(name, kept)| match &kept.trouble {
            Some(trouble) if trouble.is_unread && kept.good.is_some() => {
                let is_used = watched.contains_key(&self.path(name));
                is_used.then(|| Fault::new(name, trouble.reason.clone()))
            }
            _ => None,
        });
        unread.collect()
    }
}

/// Notes how a file was found.
pub(super) fn note(watched: &Watched, path: &Path, watch: &Watch) {
    let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
    // A name that a watched folder lacks cannot appear without a change of the folder.
    let is_covered = || {
        path.parent()
            .is_some_and(|folder| watched.contains_key(folder))
    };
    if !watch.is_of_nothing() || path.is_symlink() || !is_covered() {
        watched.insert(path.to_owned(), watch.clone());
    }
}

/// Tells once that a file cannot be read, and that it can again. What else is wrong is told when
/// the templates were tried.
fn report(name: &str, known: Option<&Trouble>, now: &Kept<Arc<str>>) {
    match (&now.trouble, &now.good) {
        (Some(trouble), Some(_)) if trouble.is_unread && known != Some(trouble) => warn!(
            message_id = message_id::STAGED_UNREADABLE,
            gb10.template = name,
            reason = trouble.reason,
            "a staged file cannot be read, its last good version stays in force: {name}: {}",
            trouble.reason
        ),
        (Some(trouble), None) if trouble.is_unread && known != Some(trouble) => warn!(
            message_id = message_id::STAGED_UNREADABLE,
            gb10.template = name,
            reason = trouble.reason,
            "a staged file cannot be read, what needs it is not served until it can: {name}: {}",
            trouble.reason
        ),
        (None, Some(_)) if known.is_some_and(|known| known.is_unread) => {
            info!(file = name, "{name} can be read again");
        }
        _ => {}
    }
}
