//! Group commit.
//!
//! One thread commits. It takes all changes that wait, and for all of them together locks
//! `clients.json.lock`, reads what is there if another process changed it, merges, writes a
//! temporary file, fsyncs it, renames it into place, fsyncs the folder, and only then
//! acknowledges each. While one round is under way the next one gathers.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use rustix::fs::FlockOperation;
use tokio::sync::oneshot;
use tracing::error;

use super::clients::{Changes, Clients};
use super::{Changed, Looking, Shared, StoreError, Subject, locked};
use crate::device::record::ClientRecord;
use crate::message_id;

/// Longest that a round waits for changes that are likely to come.
const GATHER_TIMEOUT: Duration = Duration::from_millis(3);

/// An editor that writes in place empties the file first, so what is not JSON may be half written.
/// It counts as corrupt once it did not change for so long.
const EDIT_PAUSE: Duration = Duration::from_millis(500);

/// Longest that a round waits for such an editor: below what a change waits.
const EDIT_TIMEOUT: Duration = Duration::from_secs(3);

/// Between two looks at a file that is being edited.
const EDIT_LOOK: Duration = Duration::from_millis(20);

/// What a report may add to the file, in bytes.
const REPORT_BYTES: usize = 32 * 1024;

/// What the committing thread is asked for.
pub(super) enum Message {
    Change(Change),
    /// Have a round, which also moves a corrupt file aside, and tell when it is over.
    Flush(oneshot::Sender<Result<(), StoreError>>),
    /// Find out whether a change would go on record now.
    Probe(oneshot::Sender<Result<(), StoreError>>),
}

/// A change of one record on its way to the thread that commits.
pub(super) struct Change {
    subject: Subject,
    claim: Claim,
    body: Box<dyn Body>,
}

/// Taken once, by whoever comes first: the thread that makes the change, or the waiter that gives
/// up. So a change that was refused as late is never made afterwards.
#[derive(Clone, Default)]
pub(super) struct Claim(Arc<AtomicBool>);

impl Claim {
    /// Whether this is the first to take it.
    pub(super) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

impl Change {
    pub(super) fn new(subject: Subject, body: Box<dyn Body>) -> Self {
        Self {
            subject,
            claim: Claim::default(),
            body,
        }
    }

    pub(super) fn claim(&self) -> Claim {
        self.claim.clone()
    }
}

/// What a change does, and whom it answers, whatever type that is.
pub(super) trait Body: Send {
    fn apply(&mut self, record: &mut ClientRecord) -> Result<(), serde_json::Error>;
    fn answer(self: Box<Self>, committed: Result<Committed, StoreError>);
}

/// What there is to say of every change that is on the disk.
pub(super) struct Committed {
    record: Bytes,
    is_new: bool,
}

/// The one [`Body`]: a closure before it was called, its outcome after that.
pub(super) struct Pending<F, T> {
    change: Option<F>,
    outcome: Option<T>,
    answer: oneshot::Sender<Result<Changed<T>, StoreError>>,
}

impl<F, T> Pending<F, T> {
    pub(super) fn new(change: F) -> (Self, oneshot::Receiver<Result<Changed<T>, StoreError>>) {
        let (answer, committed) = oneshot::channel();
        let pending = Self {
            change: Some(change),
            outcome: None,
            answer,
        };
        (pending, committed)
    }
}

impl<F, T> Body for Pending<F, T>
where
    F: FnOnce(&mut ClientRecord) -> Result<T, serde_json::Error> + Send,
    T: Send,
{
    fn apply(&mut self, record: &mut ClientRecord) -> Result<(), serde_json::Error> {
        if let Some(change) = self.change.take() {
            self.outcome = Some(change(record)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<Committed, StoreError>) {
        let Self {
            outcome, answer, ..
        } = *self;
        let changed = committed.and_then(|Committed { record, is_new }| {
            Ok(Changed {
                outcome: outcome.ok_or(StoreError::Stopped)?,
                record,
                is_new,
            })
        });
        // Nobody waits any more where the receiver is gone.
        let _ = answer.send(changed);
    }
}

impl Shared {
    /// Makes the folder and reads the file, before the first round.
    pub(super) fn prepare(&self) -> Result<(), StoreError> {
        self.file.make_folder()?;
        match self.file.lock(FlockOperation::NonBlockingLockExclusive)? {
            Some(_lock) => self.refresh_or_move_aside(&locked(&self.looking)).map(drop),
            // Another process commits. Reading needs no lock, and moving aside can wait.
            None => self.refresh(&locked(&self.looking)).map(drop),
        }
    }

    /// Called under the lock, so that what is found corrupt is not being mended by another.
    fn refresh_or_move_aside(&self, looking: &Looking) -> Result<Arc<Clients>, StoreError> {
        let began = Instant::now();
        let mut still_since = (None, began);
        loop {
            let reason = match self.refresh(looking) {
                Err(StoreError::Corrupt(reason)) => reason,
                outcome => return outcome,
            };
            let stamp = self.file.stamp()?;
            if still_since.0 != stamp {
                still_since = (stamp, Instant::now());
            }
            // The file's own times spare a start after a power cut the wait; the monotonic clock
            // decides where the host's clock was set back since.
            let is_still = stamp.is_some_and(|stamp| {
                stamp.unchanged_for(EDIT_PAUSE, SystemTime::now())
                    || still_since.1.elapsed() >= EDIT_PAUSE
            });
            if is_still {
                let aside = self.file.move_aside()?;
                error!(
                    message_id = message_id::STATE_CORRUPT,
                    %reason,
                    file = %aside.display(),
                    "clients.json is corrupt and was moved aside to {}; a new one was begun: {reason}",
                    aside.display()
                );
                return Ok(self.publish(Clients::default()));
            }
            if began.elapsed() >= EDIT_TIMEOUT {
                return Err(StoreError::Corrupt(reason));
            }
            std::thread::sleep(EDIT_LOOK);
        }
    }

    pub(super) fn commit_until_closed(&self, messages: &mpsc::Receiver<Message>) {
        let mut gathered = Vec::new();
        let (mut last_gathered, mut last_took) = (0, Duration::ZERO);
        while let Ok(message) = messages.recv() {
            gathered.push(message);
            // Those who were answered in the last round may all be about to report again. A
            // moment's wait for them saves a round; a device that reports alone waits for nobody.
            let deadline = Instant::now() + (last_took / 3).min(GATHER_TIMEOUT);
            while gathered.len() < last_gathered
                && let Ok(message) =
                    messages.recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                gathered.push(message);
            }
            let lock = self
                .file
                .make_folder()
                .and_then(|()| self.file.lock(FlockOperation::LockExclusive));
            let began = Instant::now();
            *locked(&self.round_began) = Some(began);
            // And what came while the lock was waited for.
            gathered.extend(messages.try_iter());
            last_gathered = gathered.len();
            self.round(lock, gathered.drain(..));
            last_took = began.elapsed();
            *locked(&self.round_began) = None;
        }
    }

    /// One group commit, with the lock or with the reason why there is none.
    fn round(
        &self,
        lock: Result<Option<OwnedFd>, StoreError>,
        messages: impl Iterator<Item = Message>,
    ) {
        let began = Instant::now();
        let (mut changes, mut flushes, mut probes) = (Vec::new(), Vec::new(), Vec::new());
        for message in messages {
            match message {
                Message::Change(change) if change.claim.take() => changes.push(change),
                Message::Change(_) => {}
                Message::Flush(answer) => flushes.push(answer),
                Message::Probe(answer) => probes.push(answer),
            }
        }
        let mut looking = locked(&self.looking);
        let (lock, clients) = match lock {
            Ok(lock) => (lock, self.refresh_or_move_aside(&looking)),
            Err(reason) => (None, Err(reason)),
        };
        looking.is_replacing = clients.is_ok();
        drop(looking);
        let outcome = match &clients {
            Ok(clients) => self.commit(clients, &mut changes, lock.as_ref()),
            Err(reason) => Err(reason.clone()),
        };
        let verdict = match (probes.is_empty(), &outcome) {
            (false, Ok(_)) => self.would_record(),
            _ => outcome.as_ref().map(drop).map_err(Clone::clone),
        };
        locked(&self.looking).is_replacing = false;
        drop(lock);
        if !changes.is_empty() {
            let reports = changes.len();
            self.figures
                .count(began.elapsed(), reports, outcome.is_err());
            let trouble = outcome.as_ref().err().cloned();
            if let Some(reason) = &trouble {
                error!(
                    message_id = message_id::STATE_NOT_WRITABLE,
                    %reason,
                    changes = changes.len(),
                    "the state was not written, {} changes are not on record: {reason}",
                    changes.len()
                );
            }
            *locked(&self.trouble) = trouble;
        }
        for answer in probes {
            let _ = answer.send(verdict.clone());
        }
        for answer in flushes {
            let _ = answer.send(outcome.as_ref().map(drop).map_err(Clone::clone));
        }
        match outcome {
            Ok(outcomes) => {
                for (change, outcome) in changes.into_iter().zip(outcomes) {
                    change.body.answer(outcome);
                }
            }
            Err(reason) => {
                for change in changes {
                    change.body.answer(Err(reason.clone()));
                }
            }
        }
        // Closing the replaced file frees its blocks, which nobody needs to wait for.
        drop(clients);
    }

    /// Whether a report of a new device would go on record after this round, under whose lock this
    /// is called.
    fn would_record(&self) -> Result<(), StoreError> {
        let latest = self.latest();
        if latest.len() >= self.max_clients {
            return Err(StoreError::TooManyClients(self.max_clients));
        }
        self.file.probe((latest.bytes() + REPORT_BYTES) as u64)
    }

    /// Merges the changes into the records, and makes the outcome last.
    ///
    /// Answers with the outcome of each change, in order.
    fn commit(
        &self,
        clients: &Clients,
        changes: &mut [Change],
        lock: Option<&OwnedFd>,
    ) -> Result<Vec<Result<Committed, StoreError>>, StoreError> {
        let mut unconfirmed = locked(&self.unconfirmed);
        let mut records = Changes::to(clients, self.max_clients, unconfirmed.macs());
        let mut made = Vec::with_capacity(changes.len());
        for Change { subject, body, .. } in &mut *changes {
            match records.change(*subject, |record| body.apply(record)) {
                Err(error @ StoreError::Io { .. }) => return Err(error),
                outcome => made.push(outcome),
            }
        }
        let gave_way = records.gave_way();
        let is_refused = |made: &&Result<_, _>| matches!(made, Err(StoreError::TooManyClients(_)));
        let refused = made.iter().filter(is_refused).count();
        if !gave_way.is_empty() || refused > 0 {
            self.tell_full(gave_way.len(), refused);
        }
        let next = match records.is_empty() {
            true => self.latest(),
            false => {
                let mut next = records.apply()?;
                self.file.replace(clients, &mut next)?;
                self.publish(next)
            }
        };
        let is_new = |made: &Result<bool, _>| matches!(made, Ok(true));
        let subjects = changes.iter().map(|change| change.subject).zip(&made);
        let new = subjects.clone().filter(|(_, made)| is_new(made));
        let new = new
            .map(|(subject, _)| subject)
            .filter(|subject| !subject.is_confirmed);
        let confirmed = subjects.map(|(subject, _)| subject);
        let confirmed = confirmed.filter(|subject| subject.is_confirmed);
        let gone = confirmed.map(|subject| subject.mac).chain(gave_way);
        if let Some(lock) = lock {
            unconfirmed.update(new.map(|subject| subject.mac), gone, lock.as_fd());
        }
        let outcomes = changes.iter().zip(made).map(|(change, made)| {
            let is_new = made?;
            let record = next.record(change.subject.mac);
            let record = record.ok_or(StoreError::Stopped)?;
            Ok(Committed { record, is_new })
        });
        Ok(outcomes.collect())
    }
}
