//! Tells the journal, once, who is silent for too long, and puts it on record.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::task::spawn_blocking;

use super::announce::announce_silence;
use super::{Recorder, UNATTENDED_TIMEOUT};
use crate::device::mac::MacAddr;
use crate::device::record::ClientRecord;
use crate::device::silence::{Patience, Silence, Silences};
use crate::device::view::Row;
use crate::onboard::manifest;
use crate::store::{StoreError, Subject};

/// How often it is looked who is silent.
const LOOK_PERIOD: Duration = Duration::from_secs(2);

/// Watches who goes silent.
pub struct SilenceWatch {
    recorder: Arc<Recorder>,
    patience: Patience,
    /// The folder with the manifest that gives stages their time.
    onboard: PathBuf,
    silences: Silences,
}

impl SilenceWatch {
    /// Of boxes that `recorder` hears of. They may be silent for `stall_after`, or as long as the
    /// manifest in the folder `onboard` says.
    pub fn new(recorder: Arc<Recorder>, stall_after: Duration, onboard: PathBuf) -> Self {
        let patience = Patience {
            stall_after,
            stages: BTreeMap::new(),
        };
        Self {
            recorder,
            patience,
            onboard,
            silences: Silences::default(),
        }
    }

    /// Looks now and then, for as long as it is polled.
    pub async fn run(mut self) {
        loop {
            self.look().await;
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    }

    /// Looks who is silent for too long, and who is not any more, and puts that on record.
    pub async fn look(&mut self) {
        let Self {
            recorder,
            patience,
            onboard,
            silences,
        } = self;
        let clients = recorder.store.latest();
        let (now, wall) = (recorder.began.elapsed(), Timestamp::now());
        silences.keep(|mac| clients.has(mac));
        let awaited = clients.records().filter(|(_, record)| record.is_awaited());
        let awaited: Vec<_> = awaited
            .map(|(mac, record)| {
                let heard = recorder.sighted.heard_of_at(mac);
                let heard = heard.map(|at| at.saturating_duration_since(recorder.began));
                (
                    mac,
                    record,
                    heard,
                    silences.of(mac, record, heard, now, wall),
                )
            })
            .collect();
        let may_be_over = |silence: &Silence| silence.whole() >= patience.least();
        if awaited.iter().any(|(.., silence)| may_be_over(silence)) {
            // Only where it matters, and then as it is on the disk. What is no manifest now leaves
            // the limits as they were.
            let onboard = onboard.clone();
            let limits = spawn_blocking(move || manifest::time_limits(&onboard)).await;
            if let Ok(Some(limits)) = limits {
                patience.stages = limits;
            }
        }
        let (mut silent, mut heard_again) = (Vec::new(), Vec::new());
        for (mac, record, heard, silence) in awaited {
            match (record.is_stalled(), silence.over(patience.with(record))) {
                (false, Some(long)) => {
                    silent.push(recorder.stall(mac, record.last_heard_of(), long))
                }
                // By what leaves no trace on the record. What stood there before a start stays.
                (true, None) if heard.is_some() => heard_again.push(recorder.resume(mac)),
                _ => {}
            }
        }
        join_all(silent).await;
        join_all(heard_again).await;
    }
}

impl Recorder {
    /// Puts it on record that a box is silent, and tells the journal.
    async fn stall(&self, mac: MacAddr, known: Option<Timestamp>, silence: Duration) {
        let outcome = self
            .change_quietly(mac, move |record| {
                // It may have spoken in the meantime.
                let is_news = record.last_heard_of() == known && record.stall()?;
                Ok(is_news.then(|| Row::of(mac, record)))
            })
            .await;
        // Where the state cannot be written no box can report, and that is told already.
        if let Ok(Some(row)) = outcome {
            announce_silence(&row, silence);
        }
    }

    async fn resume(&self, mac: MacAddr) {
        let resumed = self.change_quietly(mac, |record| {
            record.resume();
            Ok(())
        });
        // It is tried again with the next look.
        let _ = resumed.await;
    }

    /// Changes the record of a device that has one.
    async fn change_quietly<T: Send + 'static>(
        &self,
        mac: MacAddr,
        change: impl FnOnce(&mut ClientRecord) -> Result<T, serde_json::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let subject = Subject {
            mac,
            is_confirmed: false,
        };
        let changed = self.store.change(subject, UNATTENDED_TIMEOUT, change);
        Ok(changed.await?.outcome)
    }
}
