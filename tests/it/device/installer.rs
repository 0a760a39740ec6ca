//! What is remembered of an installation, and what is not.

use gb10_provision_api::device::installer::{Event, Installations};
use gb10_provision_api::device::stage::Phase;

fn event(name: &str, kind: &str, result: &str, description: &str) -> Event {
    let event = serde_json::json!({
        "name": name, "event_type": kind, "result": result, "description": description,
    });
    Event::from_json(event.to_string().as_bytes())
}

#[test]
fn a_name_that_is_longer_than_any_step_has_says_nothing() {
    let mac = "3c:6d:66:0a:1b:2c".parse().unwrap();
    let long = "n".repeat(1000);
    let mut installations = Installations::default();
    let name = format!("subiquity/{long}/stage-partitioning");
    assert_eq!(
        installations.take(mac, &event(&name, "start", "", "")),
        None
    );
    assert_eq!(
        installations.take(mac, &event(&name, "finish", "FAIL", "why")),
        None
    );
    // So it explains no failure either.
    let end = event("subiquity/Install/install", "finish", "FAIL", "");
    let milestone = installations.take(mac, &end).unwrap();
    let detail = serde_json::to_value(&milestone.detail).unwrap();
    assert_eq!(detail, "the installation failed");
}

#[test]
fn a_cause_is_remembered_no_longer_than_it_would_be_on_record() {
    let mac = "3c:6d:66:0a:1b:2c".parse().unwrap();
    let mut installations = Installations::default();
    let step = "subiquity/Install/install/curtin/stage-extract";
    let long = "d".repeat(100_000);
    installations.take(mac, &event(step, "finish", "FAIL", &long));
    let remembered = format!("{installations:?}").len();
    assert!(remembered < 6_000, "{remembered}");
    let end = event("subiquity/Install/install", "finish", "FAIL", "");
    let milestone = installations.take(mac, &end).unwrap();
    assert_eq!(milestone.phase, Phase::Fail);
    let detail = serde_json::to_value(&milestone.detail).unwrap();
    let detail = detail.as_str().unwrap();
    assert!(
        detail.starts_with("copying the system failed: ddd"),
        "{detail}"
    );
    assert_eq!(detail.len(), 4096);
}
