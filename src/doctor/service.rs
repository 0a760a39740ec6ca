//! The service itself: does its port answer, and can it do its work?

use std::net::SocketAddrV4;

use serde_json::Value;

use super::sockets::Open;
use super::{Check, http};
use crate::excerpt::excerpt;

const NAME: &str = "service";

/// The answer of `/healthz`, or why there is none.
pub type Health = Result<(u16, Value), String>;

/// Asks it.
pub fn gather(at: SocketAddrV4) -> Health {
    let (status, body) =
        http::get(at.into(), "/healthz", http::TIMEOUT).map_err(|error| error.to_string())?;
    let value = serde_json::from_slice(&body).unwrap_or_default();
    Ok((status, value))
}

/// What the answer means.
pub fn judge(at: SocketAddrV4, health: &Health, open: &Open) -> Check {
    let (status, value) = match health {
        Ok(answer) => answer,
        Err(reason) => {
            let near: Vec<_> = open.near(at).iter().map(ToString::to_string).collect();
            let elsewhere = match near.is_empty() {
                true => String::new(),
                false => format!("; somebody listens on {}", near.join(", ")),
            };
            return Check::fail(
                NAME,
                format!("{at} does not answer: {reason}{elsewhere}"),
                "systemctl start gb10-provision-api.socket; for another address, see THE LISTENING \
                 ADDRESS in gb10-provision-api(8), or name it by --reached-at",
            );
        }
    };
    let said = |field: &str| value[field].as_str().map(excerpt);
    match (status, value["status"].as_str()) {
        (200, Some("ok")) => Check::ok(NAME, format!("{at} answers, and can record")),
        (200, Some("degraded")) => Check::warn(
            NAME,
            format!("{at} answers, but a staged template has a fault: boxes get the fallback"),
            "see templates below",
        ),
        (503, Some("failing")) => Check::fail(
            NAME,
            format!(
                "{at} answers, but cannot record: {}",
                said("reason").unwrap_or_default()
            ),
            "journalctl -x -u gb10-provision-api -p err",
        ),
        _ => Check::fail(
            NAME,
            format!("at {at} something else answers, with status {status}"),
            "free the port, or name the address of the service by --reached-at",
        ),
    }
}
