//! Shows that each box of a pair learns who the other is and where, whichever of the two
//! `devices.json` has it from, and that nobody is taken for a box without a pair by mistake.

use crate::support::lan::{self, Lan};
use crate::support::needs::{Need, needs};
use crate::support::*;
use serde_json::{Value, json};

/// Its lower MAC makes it the first.
const FIRST: &str = "3c:6d:66:0a:1b:2c";
const PORT_OF_FIRST: &str = "3c:6d:66:0a:1b:2d";
const SECOND: &str = "3c:6d:66:0a:1b:3c";
const PORT_OF_SECOND: &str = "3c:6d:66:0a:1b:3d";
const ALONE: &str = "3c:6d:66:0a:1b:4c";

const PAIR: &str = "/onboard/pair.json";

fn pair_of(service: &Service, mac: &str) -> Value {
    let answer = service.get(&format!("{PAIR}?mac={mac}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn paired(first: &Value, second: &Value) -> String {
    json!({FIRST: first, SECOND: second, ALONE: {}}).to_string()
}

#[test]
fn either_box_of_a_pair_learns_of_the_other_by_any_of_their_macs() {
    let (ports_of_first, ports_of_second) = ([PORT_OF_FIRST], [PORT_OF_SECOND]);
    let service = Start::fresh().service();
    for (by_first, by_second) in [
        (Some(SECOND), None),
        (Some(PORT_OF_SECOND), None),
        (None, Some(FIRST)),
        (None, Some("3C-6D-66-0A-1B-2D")),
        (Some(PORT_OF_SECOND), Some(FIRST)),
    ] {
        let entry = |name, macs, pair: Option<&str>| {
            let mut entry = json!({"hostname": name, "macs": macs});
            if let Some(pair) = pair {
                entry["pair"] = pair.into();
            }
            entry
        };
        let first = entry("spark-1", ports_of_first, by_first);
        let second = entry("spark-2", ports_of_second, by_second);
        service.stage("devices.json", &paired(&first, &second));
        for mac in [FIRST, PORT_OF_FIRST, "01-3c-6d-66-0a-1b-2d"] {
            assert_eq!(
                pair_of(&service, mac),
                json!({"mac": SECOND, "hostname": "spark-2", "is_first": true, "own_mac": FIRST})
            );
        }
        for mac in [SECOND, PORT_OF_SECOND] {
            assert_eq!(
                pair_of(&service, mac),
                json!({"mac": FIRST, "hostname": "spark-1", "is_first": false, "own_mac": SECOND})
            );
        }
        service.get(&format!("{PAIR}?mac={ALONE}")).problem(404);
    }
    assert!(!service.log().contains("WARN"), "{}", service.log());
}

#[test]
fn the_address_of_the_other_is_the_one_that_it_was_last_heard_from() {
    let devices = paired(&json!({"pair": SECOND}), &json!({}));
    let service = Start::fresh().stage("devices.json", &devices).service();
    // Never heard of: no address, and the name that it will have.
    let other = pair_of(&service, FIRST);
    assert_eq!(other.get("ip"), None);
    assert_eq!(other["hostname"], "gb10-pxe-3c-6d-66-0a-1b-3c");
    // By its seed.
    service.get_as_box(&format!("/cloud-init/{SECOND}/user-data"));
    eventually("its address by its seed", || {
        (pair_of(&service, FIRST)["ip"] == BOX.to_string()).then_some(())
    });
    // By a report, which comes from another address.
    service.heartbeat(SECOND, "network", "start");
    assert_eq!(pair_of(&service, FIRST)["ip"], "127.0.0.1");
    service.wait_for_log(&["onboarding file served: pair.json to 127.0.0.1, 200", FIRST]);
}

#[test]
fn a_pair_need_not_have_an_entry() {
    let devices = json!({SECOND: {"pair": FIRST}}).to_string();
    let service = Start::fresh().stage("devices.json", &devices).service();
    assert_eq!(pair_of(&service, FIRST)["mac"], SECOND);
    assert_eq!(pair_of(&service, SECOND)["is_first"], false);
}

#[test]
fn a_box_without_a_mac_is_known_by_its_address() {
    needs!(Need::NetworkNamespaces);
    let lan = Lan::with_device(PORT_OF_FIRST);
    let first = json!({"macs": [PORT_OF_FIRST], "pair": SECOND});
    let start = lan.start();
    let service = start
        .stage("devices.json", &paired(&first, &json!({})))
        .service();
    for target in [
        PAIR,
        "/onboard/pair.json?mac=",
        "/onboard//pair.json?mac=unknown",
    ] {
        let answer = lan.get(lan::DEVICE, &service, target);
        assert_eq!(answer.json()["mac"], SECOND, "{target}");
    }
}

#[test]
fn a_box_that_nobody_knows_is_told_so_and_not_that_it_has_no_pair() {
    let devices = paired(&json!({"pair": SECOND}), &json!({}));
    let service = Start::fresh().stage("devices.json", &devices).service();
    service.get(PAIR).problem(422);
    service.get(&format!("{PAIR}?mac=kitchen")).problem(400);
}

#[test]
fn what_is_staged_under_that_name_is_another_file_and_head_is_answered() {
    let service = Start::fresh().service();
    service.stage("onboard/pair.json", r#"{"mac": "3c:6d:66:ff:ff:ff"}"#);
    let of_first = format!("{PAIR}?mac={FIRST}");
    service.get(&of_first).problem(404);
    let devices = paired(&json!({"pair": SECOND}), &json!({}));
    service.stage("devices.json", &devices);
    assert_eq!(pair_of(&service, FIRST)["mac"], SECOND);
    let answer = service.get(&of_first);
    assert_eq!(answer.header("content-type"), "application/json");
    let head = request(service.address, "HEAD", &of_first, &[], b"").unwrap();
    assert_eq!((head.status, head.text()), (200, ""));
    assert_eq!(
        head.header("content-length"),
        answer.header("content-length")
    );
    let post = request(service.address, "POST", &of_first, &[], b"").unwrap();
    post.problem(405);
}

#[test]
fn while_devices_json_has_a_fault_its_last_good_version_says_who_the_pair_is() {
    let start = Start::fresh().stage("devices.json", r#"{"pair": 7}"#);
    let service = start.service();
    // Never a good one: the box has to try again.
    let answer = service.get(&format!("{PAIR}?mac={FIRST}"));
    answer.problem(503);
    assert_eq!(answer.header("retry-after"), "2");
    service.wait_for_log(&[
        "onboarding file not served: pair.json",
        "503: devices.json:1:",
    ]);
    service.stage(
        "devices.json",
        &paired(&json!({"pair": SECOND}), &json!({})),
    );
    assert_eq!(pair_of(&service, FIRST)["mac"], SECOND);
    service.stage("devices.json", &paired(&json!({"pair": FIRST}), &json!({})));
    assert_eq!(pair_of(&service, FIRST)["mac"], SECOND);
    std::fs::remove_file(service.data.join("devices.json")).unwrap();
    eventually("no pair at all", || {
        (service.get(&format!("{PAIR}?mac={FIRST}")).status == 404).then_some(())
    });
}
