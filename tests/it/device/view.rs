//! The line of a box, and its story: what is shown for what is on record.

use gb10_provision_api::device::record::ClientRecord;
use gb10_provision_api::device::story::Story;
use gb10_provision_api::device::view::{Row, Standing, Totals, Trouble};
use serde_json::{Value, json};

const AT: &str = "2026-01-01T00:00:0";

fn record(record: &Value) -> ClientRecord {
    serde_json::from_str(&record.to_string()).unwrap()
}

fn row(value: &Value) -> Row {
    Row::of("3c:6d:66:0a:1b:2c".parse().unwrap(), &record(value))
}

/// An event at a second of the first ten.
fn event(second: u8, stage: &str, phase: &str, detail: &str) -> Value {
    json!({"stage": stage, "phase": phase, "timestamp": format!("{AT}{second}.000Z"), "detail": detail})
}

/// A record of these events, last heard of with the last of them.
fn with_events(events: &[Value]) -> Value {
    let last = events.last().unwrap();
    json!({
        "mac": "3c:6d:66:0a:1b:2c", "ip": "10.88.0.7", "hostname": "box-7",
        "current_stage": last["stage"], "last_heartbeat": last["timestamp"], "stages": events,
    })
}

#[test]
fn a_line_says_where_a_box_stands_and_since_when() {
    let row = row(&with_events(&[
        event(1, "network", "done", "10 Gb/s"),
        event(2, "payload", "start", "stages/50-payload.sh"),
        event(
            5,
            "payload",
            "progress",
            "\n 40 %, 1,234 of 3,085 bytes, at a\nmore",
        ),
    ]));
    assert_eq!(row.stands(), "payload progress");
    assert_eq!(
        row.detail.as_deref(),
        Some("40 %, 1,234 of 3,085 bytes, at a")
    );
    assert_eq!(row.percent, Some(40));
    assert_eq!(row.since.unwrap().to_string(), format!("{AT}2.000Z"));
    assert_eq!(row.heard.unwrap().to_string(), format!("{AT}5.000Z"));
    assert_eq!((row.standing, row.troubles), (Standing::OnItsWay, vec![]));
}

#[test]
fn what_is_wrong_is_named_the_worst_first() {
    let mut value = with_events(&[event(1, "driver", "fail", "no GPU")]);
    value["seed"] = json!({"count": 2, "reinstalling": true, "last":
        {"timestamp": format!("{AT}3.000Z"), "ip": "10.88.0.7", "template": "fallback", "mac_source": "arp"}});
    value["stages"][0]["arp_mac"] = json!("3c:6d:66:0a:1b:2d");
    let row = row(&value);
    assert_eq!(row.standing, Standing::Failed);
    let troubles = [
        Trouble::Failed,
        Trouble::Reinstalling,
        Trouble::Fallback,
        Trouble::MacContradicted,
    ];
    assert_eq!(row.troubles, troubles);
    let served = row.served.unwrap();
    assert_eq!((served.template.as_str(), served.count), ("fallback", 2));
    assert!(
        served.is_unanswered,
        "it fetched its seed, and reported nothing since"
    );
}

#[test]
fn silence_that_is_on_record_counts_until_the_box_is_heard_of_by_whoever_writes() {
    let stalled = |since: Value, value: &Value| {
        let mut value = value.clone();
        value["stalled"] = since;
        Standing::of(&record(&value))
    };
    let value = with_events(&[event(4, "network", "done", "")]);
    let heard = || json!(format!("{AT}4.000Z"));
    assert_eq!(stalled(heard(), &value), Standing::Stalled);
    // Another version entered a report, and knows nothing of that field.
    assert_eq!(
        stalled(json!(format!("{AT}3.000Z")), &value),
        Standing::OnItsWay
    );
    let ready = with_events(&[event(4, "ready", "done", "")]);
    assert_eq!(stalled(heard(), &ready), Standing::Ready);
    let failed = with_events(&[event(4, "verify", "fail", "")]);
    assert_eq!(stalled(heard(), &failed), Standing::Failed);
}

#[test]
fn nothing_is_awaited_of_a_box_that_was_told_to_boot_its_disk_and_no_more() {
    let told = |decision: &str, installing: bool| {
        let mut boot = json!({"decision": decision, "reason": "never", "timestamp": format!("{AT}1.000Z"), "asked": 1});
        if installing {
            boot["installing"] = json!(true);
        }
        record(&json!({"mac": "3c:6d:66:0a:1b:2c", "boot": boot, "stages": []}))
    };
    assert!(!told("local", false).is_awaited());
    assert!(!told("local", false).stall().unwrap());
    let mut installing = told("install", true);
    assert!(installing.stall().unwrap());
    assert!(!installing.stall().unwrap(), "once");
    assert_eq!(Standing::of(&installing), Standing::Stalled);
    installing.resume();
    assert_eq!(Standing::of(&installing), Standing::OnItsWay);
}

#[test]
fn what_other_versions_left_is_shown_as_far_as_it_is_understood() {
    let value = json!({
        "mac": 7, "ip": null, "hostname": ["x"], "current_stage": "warp", "last_heartbeat": "yesterday",
        "seed": "none", "boot": 5,
        "stages": [3, {"stage": "network"}, {"stage": "warp", "phase": "engaged", "timestamp": 12, "detail": {"a": 1}, "arp_mac": "x"}],
    });
    let row = row(&value);
    assert_eq!(row.stands(), "warp engaged");
    assert_eq!((row.since, row.heard, row.detail), (None, None, None));
    let story = Story::of(row.mac, &record(&value));
    assert_eq!(story.events.len(), 1);
    assert_eq!(story.stages[0].seconds, None);
}

#[test]
fn a_detail_is_cut_to_one_harmless_line() {
    let long = format!("\u{1b}[2J{}\nrest", "ü".repeat(300));
    let row = row(&with_events(&[event(1, "driver", "progress", &long)]));
    let detail = row.detail.unwrap();
    assert!(
        !detail.contains(char::is_control) && detail.len() <= 204,
        "{detail}"
    );
    assert!(
        detail.starts_with(" [2Jü") && detail.ends_with("ü…"),
        "{detail}"
    );
}

#[test]
fn a_story_has_a_leg_per_stage_with_its_duration() {
    let story = Story::of(
        "3c:6d:66:0a:1b:2c".parse().unwrap(),
        &record(&with_events(&[
            event(0, "install", "start", ""),
            event(3, "install", "done", ""),
            event(4, "install", "start", "again"),
            event(5, "install", "fail", "disk"),
            event(9, "network", "start", ""),
            event(2, "network", "done", ""),
        ])),
    );
    let legs = story.stages.iter();
    let legs: Vec<_> = legs
        .map(|leg| {
            (
                leg.stage.as_str(),
                leg.phase.as_str(),
                leg.seconds,
                leg.events,
            )
        })
        .collect();
    let expected = [
        ("install", "done", Some(3), 2),
        ("install", "fail", Some(1), 2),
        ("network", "done", None, 2), // the clock was set in between
    ];
    assert_eq!(legs, expected);
}

#[test]
fn totals_count_every_box_once() {
    let totals: Totals = [
        Standing::Ready,
        Standing::Failed,
        Standing::Stalled,
        Standing::Stalled,
        Standing::OnItsWay,
    ]
    .into_iter()
    .collect();
    let expected = Totals {
        known: 5,
        ready: 1,
        on_their_way: 1,
        failed: 1,
        stalled: 2,
    };
    assert_eq!(totals, expected);
}

#[test]
fn those_that_need_somebody_come_first_then_by_name() {
    let mut rows = [
        row(&with_events(&[event(1, "ready", "done", "")])),
        row(&with_events(&[event(1, "network", "start", "")])),
        row(&with_events(&[event(1, "network", "fail", "")])),
    ];
    rows.sort_by_key(Row::order);
    let standings = rows.map(|row| row.standing);
    assert_eq!(
        standings,
        [Standing::Failed, Standing::OnItsWay, Standing::Ready]
    );
}

#[test]
fn a_story_has_the_first_fetch_of_a_seed_and_the_last_where_there_were_more() {
    let fetch = |second: u8| json!({"timestamp": format!("{AT}{second}.000Z"), "ip": "10.88.0.7", "template": "staged", "mac_source": "arp"});
    let fetches = |seed: Value| {
        let mut value = with_events(&[event(1, "network", "done", "")]);
        value["seed"] = seed;
        let story = Story::of("3c:6d:66:0a:1b:2c".parse().unwrap(), &record(&value));
        let fetches = story.fetches.iter();
        fetches
            .map(|fetch| fetch.at().to_string())
            .collect::<Vec<_>>()
    };
    let one = json!({"count": 1, "first": fetch(2), "last": fetch(2)});
    assert_eq!(fetches(one), [format!("{AT}2Z")]);
    let three = json!({"count": 3, "first": fetch(2), "last": fetch(5)});
    assert_eq!(fetches(three), [format!("{AT}2Z"), format!("{AT}5Z")]);
    assert!(fetches(json!({})).is_empty());
}
