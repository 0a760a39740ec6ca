//! Whether the next report would go on record: found out the way of a report, through the queue, the
//! lock and the file, once for all who ask.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{info, warn};

use super::rounds::Message;
use super::{Store, StoreError};
use crate::message_id;

/// How long a probe may take before it says that reports are refused: shorter than what a report
/// waits, so that it is said within 5 s of being so.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// How often a verdict is found out anew while somebody asks without end, …
const PROBE_PERIOD: Duration = Duration::from_millis(500);
/// … after how many that came at once.
const PROBE_BURST: u32 = 8;
/// Oldest verdict that is given to those who ask more often.
const VERDICT_AGE: Duration = Duration::from_secs(1);

/// What the last probe found out.
struct Verdict {
    began: Instant,
    ended: Instant,
    outcome: Result<(), StoreError>,
}

/// What is known of whether reports go on record.
#[derive(Default)]
pub(super) struct Probing {
    verdict: Option<Verdict>,
    /// Whether the journal was told that it is bad.
    is_told: bool,
    /// One that took too long.
    under_way: Option<oneshot::Receiver<Result<(), StoreError>>>,
    /// When the probes of late would all have been made, at one in each [`PROBE_PERIOD`].
    paid_until: Option<Instant>,
}

impl Probing {
    /// With the outcome of the start as the first verdict.
    pub(super) fn after(outcome: Result<(), StoreError>) -> Self {
        let now = Instant::now();
        Self {
            verdict: Some(Verdict {
                began: now,
                ended: now,
                outcome,
            }),
            ..Self::default()
        }
    }

    /// Whether one more probe is within bounds.
    fn has_credit(&self) -> bool {
        let now = Instant::now();
        self.paid_until
            .is_none_or(|paid| paid < now + PROBE_BURST * PROBE_PERIOD)
    }

    /// Counts one more probe.
    fn pay(&mut self) {
        let now = Instant::now();
        self.paid_until = Some(self.paid_until.unwrap_or(now).max(now) + PROBE_PERIOD);
    }
}

impl Store {
    /// Whether the next report would go on record, or why not. All who ask at one time share one
    /// probe, and a verdict that is younger than `max_age` will do. However many ask, a second has
    /// two probes and a few more.
    ///
    /// A probe goes the way of a report: through the queue, the lock and the file. So it also tells
    /// that another process holds the lock, or that the disk does not answer.
    pub async fn health(&self, max_age: Duration) -> Result<(), StoreError> {
        let asked = Instant::now();
        let mut probing = self.probing.lock().await;
        if let Some(verdict) = &probing.verdict {
            let will_do = verdict.began >= asked || verdict.began.elapsed() < max_age;
            // Neither more probes than are allowed, nor a wait for one that hangs by each.
            let may_do = verdict.ended.elapsed() < VERDICT_AGE;
            if will_do || may_do && (probing.under_way.is_some() || !probing.has_credit()) {
                return verdict.outcome.clone();
            }
        }
        probing.pay();
        let began = Instant::now();
        let verdict = self.probe(&mut probing).await;
        match &verdict {
            Err(reason) if !probing.is_told => warn!(
                message_id = message_id::STATE_NOT_WRITABLE,
                %reason,
                "the state is not writable, heartbeats are refused: {reason}"
            ),
            Ok(()) if probing.is_told => info!("the state is writable again"),
            _ => {}
        }
        probing.is_told = verdict.is_err();
        probing.verdict = Some(Verdict {
            began,
            ended: Instant::now(),
            outcome: verdict.clone(),
        });
        verdict
    }

    async fn probe(&self, probing: &mut Probing) -> Result<(), StoreError> {
        // One that found no end yet is waited for again: they must not fill the queue.
        let mut probe = match probing.under_way.take() {
            Some(probe) => probe,
            None => {
                let (answer, probe) = oneshot::channel();
                self.enqueue(Message::Probe(answer))?;
                probe
            }
        };
        match timeout(PROBE_TIMEOUT, &mut probe).await {
            Ok(verdict) => verdict.map_err(|_| StoreError::Stopped)?,
            Err(_) => {
                probing.under_way = Some(probe);
                Err(StoreError::Busy(PROBE_TIMEOUT))
            }
        }
    }
}
