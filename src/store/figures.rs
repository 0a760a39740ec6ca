//! What commits take, counted since the start, for whoever watches the service.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

/// Upper bounds of how long a commit takes, in seconds. A good disk needs a millisecond or two.
const SECONDS: [f64; 13] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0,
];

/// Upper bounds of how many reports share a commit.
const REPORTS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 250.0, 1000.0];

/// Of all commits together. Clones count the same.
#[derive(Debug, Clone)]
pub struct Figures {
    /// How long each took from the lock on, failed ones included.
    pub seconds: Histogram,
    /// How many reports and sightings were in each.
    pub reports: Histogram,
    /// Those that failed.
    pub failures: Counter,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            seconds: Histogram::new(SECONDS),
            reports: Histogram::new(REPORTS),
            failures: Counter::default(),
        }
    }
}

impl Figures {
    /// Counts one more.
    pub(super) fn count(&self, took: Duration, reports: usize, is_failure: bool) {
        self.seconds.observe(took.as_secs_f64());
        self.reports.observe(reports as f64);
        self.failures.inc_by(u64::from(is_failure));
    }
}
