//! `gb10-provision-api baseline from` and `clients --suggest-device`: what an accepted box says of
//! itself becomes a file of the operator's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::beats::mac;
use crate::support::*;

fn run(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command
        .args(arguments)
        .env("DATA_PATH", data)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn printed(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn facts() -> Value {
    json!({
        "kernel": "6.17.0-1008-nvidia", "driver": "580.95.05", "bios": "5.36_[A]", "os_release": "Ubuntu 24.04.3 LTS",
        "nvme": [{"firmware": "5B2QGXA7"}],
        "nics": [
            {"name": "enP7s7", "mac": mac(1), "firmware": "rtl8127"},
            {"name": "enp1s0f0np0", "mac": mac(11)}, {"name": "enp1s0f1np1", "mac": mac(12)},
            {"name": "docker0", "mac": "02:42:ac:11:00:02"}, {"name": "broken", "mac": "00:00:00:00:00:00"},
            {"name": "bare"}, {"name": "foreign", "mac": mac(13)}, {"name": "own", "mac": mac(14)},
        ],
    })
}

/// The records of a box that is ready, one that failed its recheck, and one without facts.
fn stage_boxes(data: &Path) {
    let record = |n: usize, phase: &str, facts: Option<Value>| {
        let at = "2026-11-30T10:00:00.000Z";
        let stage = if phase == "fail" { "verify" } else { "ready" };
        let mut record = json!({"mac": mac(n), "hostname": format!("spark-{n}"), "current_stage": stage,
            "last_heartbeat": at, "stages": [{"stage": stage, "phase": phase, "timestamp": at}]});
        if let Some(facts) = facts {
            record["facts"] = facts;
            record["facts_at"] = json!(at);
        }
        record
    };
    let clients = json!({
        mac(1): record(1, "done", Some(facts())),
        mac(2): record(2, "fail", Some(facts())),
        mac(3): record(3, "done", None),
        mac(4): record(4, "done", Some(json!({"product": "GB10"}))),
        mac(14): record(14, "done", None),
    });
    stage(data, "state/clients.json", &clients.to_string());
}

#[test]
fn a_baseline_is_made_of_an_accepted_box_which_is_inside_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    stage_boxes(data);
    let expected = json!({
        "kernel": ["6.17.0-1008-nvidia"], "driver": ["580.95.05"], "bios": ["5.36_[[]A]"],
        "nic_firmware": ["rtl8127"], "nvme_firmware": ["5B2QGXA7"], "os_release": ["Ubuntu 24.04.3 LTS"],
    });
    assert_eq!(
        printed(&run(data, &["baseline", "from", &mac(1)])),
        expected
    );
    assert!(!data.join("baseline.json").exists(), "it only prints");

    let written = run(data, &["baseline", "from", &mac(1), "--write"]);
    assert!(written.status.success(), "{written:?}");
    let path = data.join("baseline.json");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    // The service, which is another user, reads it.
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o644
    );
    let checked = run(data, &["check"]);
    assert!(checked.status.success(), "{checked:?}");
    let story = printed(&run(data, &["clients", "--json", &mac(1)]));
    assert_eq!(story["client"]["drift"], json!([]));

    // What an operator wrote is not overwritten unasked.
    fs::write(&path, "{\"kernel\": [\"6.*\"]}").unwrap();
    let refused = run(data, &["baseline", "from", &mac(1), "--write"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(
        said(&refused).contains("is there already: --force replaces it"),
        "{refused:?}"
    );
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "{\"kernel\": [\"6.*\"]}"
    );
    let forced = run(data, &["baseline", "from", &mac(1), "--write", "--force"]);
    assert!(forced.status.success(), "{forced:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_box_that_was_not_accepted_or_told_nothing_makes_no_baseline() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    stage_boxes(data);
    for (n, expected) in [
        (
            2,
            "is not ready, it stands at: verify fail; expected a box that was accepted",
        ),
        (3, "has sent no facts with a version"),
        (4, "has sent no facts with a version"),
        (9, "no box with that MAC is on record"),
    ] {
        let refused = run(data, &["baseline", "from", &mac(n), "--write", "--force"]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(said(&refused).contains(expected), "{refused:?}");
        assert!(refused.stdout.is_empty());
    }
    assert!(!data.join("baseline.json").exists());
    // Its folder cannot be written: nothing is left.
    let missing = run(&data.join("nowhere"), &["baseline", "from", &mac(1)]);
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
fn the_ports_of_a_box_are_offered_as_an_entry_of_devices_json() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    stage_boxes(data);
    let other = json!({mac(21): {"macs": [mac(13)]}});
    stage(data, "devices.json", &other.to_string());
    let offered = run(data, &["clients", &mac(1), "--suggest-device"]);
    assert_eq!(
        printed(&offered),
        json!({mac(1): {"hostname": "spark-1", "macs": [mac(11), mac(12), mac(14)]}})
    );
    let notes = said(&offered);
    for note in [
        "\"docker0\" is left out: its address is \"02:42:ac:11:00:02\", which is not one that a vendor gave it".to_owned(),
        "\"broken\" is left out: its address is \"00:00:00:00:00:00\"".to_owned(),
        "\"bare\" is left out: its address is none".to_owned(),
        format!("\"foreign\" is left out: {} belongs to {}, by devices.json", mac(13), mac(21)),
        format!("{} has a record of its own: gb10-provision-api forget {}", mac(14), mac(14)),
    ] {
        assert!(notes.contains(&note), "{note} is not in: {notes}");
    }
    // What is taken over is sound, and the box is one then, at whichever port.
    let mut taken = printed(&offered);
    taken[mac(21)] = other[mac(21)].clone();
    stage(data, "devices.json", &taken.to_string());
    let story = printed(&run(data, &["clients", "--json", &mac(12)]));
    assert_eq!(story["client"]["mac"], json!(mac(1)));
    let again = run(data, &["clients", &mac(12), "--suggest-device"]);
    assert_eq!(printed(&again)[mac(1)]["macs"], taken[mac(1)]["macs"]);
    assert!(
        said(&again).contains("devices.json has an entry for"),
        "{again:?}"
    );

    let none = run(data, &["clients", &mac(3), "--suggest-device"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(
        said(&none).contains("has sent no facts: a box does when it is verified"),
        "{none:?}"
    );
}

#[test]
fn the_story_of_a_box_has_its_facts_and_warnings_where_nothing_controls_the_terminal() {
    let service = Start::fresh().service();
    let warnings = json!([{"check": "nic-driver", "reason": "r8169 \u{1b}[2J", "waived": true},
        {"check": "time", "reason": "not synchronised"}]);
    let body = json!({"mac": mac(1), "stage": "network", "phase": "done", "warnings": warnings});
    assert_eq!(service.post("/heartbeat", &body.to_string()).status, 200);
    let body = json!({"mac": mac(1), "stage": "ready", "phase": "done",
        "facts": {"product": "GB10\u{1b}[2J", "gpu": {"name": "NVIDIA GB10"}}});
    assert_eq!(service.post("/heartbeat", &body.to_string()).status, 200);
    let told = run(&service.data, &["clients", &mac(1)]);
    let text = String::from_utf8(told.stdout).unwrap();
    for line in [
        "wrong        warnings",
        "  network  nic-driver (waived): r8169 \\u{1b}[2J",
        "  network  time: not synchronised",
        "  gpu      name NVIDIA GB10",
        "  product  GB10\\u{1b}[2J",
    ] {
        assert!(
            text.lines().any(|printed| printed == line),
            "{line:?} is not in: {text}"
        );
    }
    assert!(text.contains("Facts, of 20"), "{text}");
    // The same by the record itself, and on the board.
    let record = service.get(&format!("/clients/{}", mac(1))).json();
    assert_eq!(record["facts"]["gpu"], json!({"name": "NVIDIA GB10"}));
    assert_eq!(record["warnings"]["network"], warnings);
    let board = service.get(&format!("/board/{}", mac(1)));
    for part in [
        "<li><b>network</b> nic-driver (waived): r8169",
        "<dt>gpu<dd>name NVIDIA GB10</div>",
    ] {
        assert!(
            board.text().contains(part),
            "{part} is not in: {}",
            board.text()
        );
    }
}
