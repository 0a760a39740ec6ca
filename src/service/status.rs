//! The line of `systemctl status`.

use crate::http::App;

/// How things stand, in one line.
pub async fn line(app: &App) -> String {
    let clients = app
        .store
        .clients()
        .await
        .unwrap_or_else(|_| app.store.latest());
    let (ready, failed) = clients.ready_and_failed();
    let last = clients.last_heartbeat();
    let last = last.as_deref().unwrap_or("never");
    let faults = app.templates.faults();
    let templates = match faults.first() {
        None => "templates ok".to_owned(),
        Some(fault) => format!("template broken: {fault}"),
    };
    let known = clients.len();
    let state = match app.store.trouble() {
        None => String::new(),
        Some(reason) => format!("; STATE NOT WRITTEN: {reason}"),
    };
    format!(
        "{known} devices, {ready} ready, {failed} failed; last heartbeat {last}; {templates}{state}"
    )
}
