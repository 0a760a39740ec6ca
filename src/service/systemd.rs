//! What systemd is told of the service's life, sd_notify(3). Without systemd, nothing is.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// The service answers.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// How things stand, for `systemctl status`.
pub fn status(status: &str) {
    notify(&[NotifyState::Status(status)]);
}

/// A reload begins; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(reason) => warn!(%reason, "the monotonic clock cannot be read: {reason}"),
    }
}

/// The service stops, and may take `patience` from now on.
pub fn stopping(patience: Duration) {
    let microseconds = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
    notify(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(microseconds),
    ]);
}

/// The service makes progress.
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// How often [`alive`] must be said: twice in each interval of `WatchdogSec=`, where that is set.
pub fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|interval| interval / 2)
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(reason) = sd_notify::notify(state) {
        warn!(%reason, "systemd could not be notified: {reason}");
    }
}
