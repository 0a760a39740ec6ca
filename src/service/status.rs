//! The line of `systemctl status`.

use std::time::Duration;

use crate::device::view::Totals;
use crate::http::App;

/// How old the verdict on the state may be.
const MAX_AGE: Duration = Duration::from_secs(2);

/// How things stand, in one line.
pub async fn line(app: &App) -> String {
    let clients = app
        .store
        .clients()
        .await
        .unwrap_or_else(|_| app.store.latest());
    let Totals {
        known,
        ready,
        failed,
        stalled,
        ..
    } = clients.totals();
    let last = clients.last_heartbeat();
    let last = last.map_or_else(|| "never".to_owned(), |at| format!("{at:.3}"));
    let faults = app.templates.faults();
    let templates = match faults.first() {
        None => "templates ok".to_owned(),
        Some(fault) => format!("template broken: {fault}"),
    };
    let trouble = app.store.health(MAX_AGE).await.err();
    let state = match trouble.or_else(|| app.store.trouble()) {
        None => String::new(),
        Some(reason) => format!("; STATE NOT WRITTEN: {reason}"),
    };
    let line = format!(
        "{known} devices, {ready} ready, {failed} failed, {stalled} stalled; last heartbeat {last}; {templates}{state}"
    );
    // Some of it is what files say, and this goes to terminals.
    line.replace(char::is_control, "?")
}
