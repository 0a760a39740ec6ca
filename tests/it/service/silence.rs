//! A box that goes silent, as the running service tells it: in real time, and by a clock on the wall
//! that the test moves (libfaketime: a jump of the host's own clock would hit all other tests).

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::needs::{Need, faketime, needs};
use crate::support::{BINARY, Response, Service, Start, eventually};

const MAC: &str = "3c:6d:66:0a:1b:2c";
const OTHER: &str = "3c:6d:66:0a:1b:2d";

fn record(service: &Service, mac: &str) -> Value {
    let answer = service.get(&format!("/clients/{mac}"));
    match answer.status {
        200 => answer.json(),
        _ => Value::Null,
    }
}

fn is_stalled(service: &Service, mac: &str) -> bool {
    !record(service, mac)["stalled"].is_null()
}

fn warnings(service: &Service) -> usize {
    let log = service.log();
    log.lines()
        .filter(|line| line.contains("stalled: "))
        .count()
}

fn ok(answer: &Response) {
    assert!((200..300).contains(&answer.status), "{}", answer.text());
}

/// Where a box is silent for too long after a moment.
fn impatient() -> Start {
    Start::fresh().env("STALL_AFTER", "1s")
}

#[test]
fn a_silent_box_is_told_once_also_over_a_restart_and_again_only_when_it_went_silent_anew() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Start::on(folder.path()).env("STALL_AFTER", "1s");
    let service = start().service();
    ok(&service.heartbeat(MAC, "install", "start"));
    ok(&service.heartbeat(OTHER, "ready", "done"));
    let line = service.wait_for_log(&["stalled: ", MAC]);
    assert!(line.contains("it stands at: install start"), "{line}");
    assert!(is_stalled(&service, MAC) && !is_stalled(&service, OTHER));
    service.stop();

    let service = start().service();
    assert!(is_stalled(&service, MAC));
    // The next warning is of a box that went silent after the start.
    ok(&service.heartbeat("3c:6d:66:0a:1b:2e", "install", "start"));
    service.wait_for_log(&["stalled: ", "3c:6d:66:0a:1b:2e"]);
    assert_eq!(warnings(&service), 1, "{}", service.log());

    ok(&service.heartbeat(MAC, "install", "progress"));
    assert!(!is_stalled(&service, MAC));
    service.wait_for_log(&["stalled: ", MAC, "install progress"]);
    assert!(is_stalled(&service, MAC));
}

#[test]
fn a_box_that_fetched_its_seed_and_never_reported_is_told() {
    let devices = json!({MAC: {"hostname": "box-7"}}).to_string();
    let service = impatient().stage("devices.json", &devices).service();
    let fetch = || ok(&service.get_as_box(&format!("/cloud-init/{MAC}/user-data")));
    fetch();
    let line = service.wait_for_log(&["stalled: ", MAC]);
    assert!(line.contains("it stands at: seed fetched"), "{line}");
    let since = record(&service, MAC)["stalled"].clone();
    // Fetching it again is a word, too.
    fetch();
    eventually("a later silence", || {
        (record(&service, MAC)["stalled"] != since).then_some(())
    });
}

#[test]
fn an_event_that_is_no_milestone_is_a_word_of_the_box() {
    let service = impatient().service();
    let event = |name: &str| {
        let event = json!({"name": name, "event_type": "start", "origin": "curtin", "description": "", "timestamp": 1});
        ok(&service.post(&format!("/report/{MAC}"), &event.to_string()));
    };
    event("subiquity/Install/install");
    service.wait_for_log(&["stalled: ", MAC]);
    let before = record(&service, MAC);
    eventually("the end of it", || {
        event("subiquity/Network/whatever");
        (!is_stalled(&service, MAC)).then_some(())
    });
    assert_eq!(record(&service, MAC)["stages"], before["stages"]);
}

#[test]
fn a_box_that_an_operator_forgets_is_not_missed() {
    let service = Start::fresh().env("STALL_AFTER", "4s").service();
    ok(&service.heartbeat(MAC, "install", "start"));
    let forgotten = Command::new(BINARY)
        .args(["forget", MAC])
        .env("DATA_PATH", &service.data)
        .output()
        .unwrap();
    assert!(forgotten.status.success());
    ok(&service.heartbeat(OTHER, "install", "start"));
    service.wait_for_log(&["stalled: ", OTHER]);
    assert_eq!(warnings(&service), 1);
    assert_eq!(record(&service, MAC), Value::Null);
}

#[test]
fn a_jump_of_the_clock_on_the_wall_makes_nobody_silent() {
    needs!(Need::Faketime);
    let folder = tempfile::tempdir().unwrap();
    let (ahead, next) = (folder.path().join("ahead"), folder.path().join("next"));
    let set = |offset: &str| {
        fs::write(&next, offset).unwrap();
        fs::rename(&next, &ahead).unwrap();
    };
    for (before, after) in [("+0s\n", "+1d\n"), ("+1d\n", "+0s\n")] {
        set(before);
        let service = Start::fresh()
            .env("STALL_AFTER", "6s")
            .env("LD_PRELOAD", faketime().unwrap())
            .env("FAKETIME_TIMESTAMP_FILE", &ahead)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .service();
        ok(&service.heartbeat(MAC, "install", "start"));
        set(after);
        // The warning comes when the six seconds are over, and names these.
        let line = service.wait_for_log(&["stalled: ", MAC]);
        let (_, seconds) = line.split_once("seconds=").unwrap();
        assert!(matches!(seconds.parse(), Ok(6..30)), "{line}");
        let record = record(&service, MAC);
        assert_eq!(record["stalled"], record["last_heartbeat"]);
    }
}

#[test]
fn a_time_that_is_none_is_refused_with_what_was_expected() {
    for wrong in ["", "0", "0s", "15", "-3min", "soon", "1y"] {
        let output = Command::new(BINARY)
            .env("STALL_AFTER", wrong)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("such as 90s, 15min or 1h 30min"),
            "{wrong:?}: {said}"
        );
    }
}
