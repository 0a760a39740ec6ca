//! What a box says of itself: what is kept of it, what gives way, and when a box that is checked again
//! counts as ready.

use gb10_provision_api::device::facts::{FACTS_BYTES, Facts, Part};
use gb10_provision_api::device::heartbeat::{Checked, Heartbeat, HeartbeatError, Report, Sender};
use gb10_provision_api::device::mac::MacSource;
use gb10_provision_api::device::record::{ClientRecord, Limits};
use gb10_provision_api::device::view::{Row, Standing, Trouble};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

const MAC: &str = "3c:6d:66:0a:1b:2c";
const ROOMY: Limits = Limits {
    events: 500,
    bytes: 256 * 1024,
};

fn beat(body: &Value) -> Result<Heartbeat, HeartbeatError> {
    Heartbeat::from_json(body.to_string().as_bytes())
}

/// Enters a heartbeat at a second of 2026, and tells what is on record then.
fn enter(record: &mut ClientRecord, second: i64, limits: Limits, body: &Value) -> Value {
    let heartbeat = beat(body).unwrap();
    let sender = Sender {
        mac: MAC.parse().unwrap(),
        mac_source: MacSource::Body,
        arp_mac: None,
        is_neighbour: true,
        is_confirmed: true,
        ip: [10, 88, 0, 7].into(),
        hostname: None,
    };
    let began: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let report = Report {
        sender,
        at: began + SignedDuration::from_secs(second),
        stage: heartbeat.stage,
        phase: heartbeat.phase,
        detail: heartbeat.detail,
        checked: heartbeat.checked,
        is_addition: false,
    };
    record.enter(&report, limits).unwrap();
    written(record)
}

fn written(record: &mut ClientRecord) -> Value {
    let (line, at) = record.write(MAC).unwrap();
    serde_json::from_slice(&line[at..]).unwrap()
}

fn read(record: &Value) -> ClientRecord {
    serde_json::from_str(&record.to_string()).unwrap()
}

fn warning(check: &str) -> Value {
    json!({"check": check, "reason": format!("{check} is not as it should be")})
}

#[test]
fn facts_are_kept_to_the_letter_without_white_space_until_newer_ones_come() {
    let body = "{\"mac\": \"3c:6d:66:0a:1b:2c\", \"stage\": \"verify\", \"phase\": \"done\", \"facts\": \n\
        {\"kernel\": \"6.17.0 \\\" x\",\t\"big\": 123456789012345678901234567890.50, \"a\": [ 1 , {} ] }}";
    let heartbeat = Heartbeat::from_json(body.as_bytes()).unwrap();
    let facts = heartbeat.checked.facts.unwrap();
    assert_eq!(
        facts.json(),
        r#"{"kernel":"6.17.0 \" x","big":123456789012345678901234567890.50,"a":[1,{}]}"#
    );

    let mut record = ClientRecord::default();
    let first = json!({"stage": "verify", "phase": "done", "facts": {"kernel": "6.17"}});
    let now = enter(&mut record, 1, ROOMY, &first);
    assert_eq!(now["facts"], json!({"kernel": "6.17"}));
    assert_eq!(now["facts_at"], "2026-01-01T00:00:01.000Z");
    let without = json!({"stage": "ready", "phase": "start"});
    let now = enter(&mut record, 2, ROOMY, &without);
    assert_eq!(now["facts"], json!({"kernel": "6.17"}));
    assert_eq!(now["facts_at"], "2026-01-01T00:00:01.000Z");
    let second = json!({"stage": "ready", "phase": "done", "facts": {"driver": "580"}});
    let now = enter(&mut record, 3, ROOMY, &second);
    assert_eq!(now["facts"], json!({"driver": "580"}));
    assert_eq!(now["facts_at"], "2026-01-01T00:00:03.000Z");
}

#[test]
fn what_is_wrong_with_facts_and_warnings_is_named() {
    let deep = |levels: usize| {
        let text = format!(
            "{{\"a\": {}{}}}",
            "[".repeat(levels - 1),
            "]".repeat(levels - 1)
        );
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let long = |bytes: usize| json!({"a": "x".repeat(bytes - 8)});
    let many = |count: usize| Value::from(vec![warning("a"); count]);
    let reason = |bytes: usize| json!([{"check": "a", "reason": "ä".repeat(bytes / 2)}]);
    for (field, value) in [
        ("facts", json!({})),
        ("facts", Value::Null),
        ("facts", long(FACTS_BYTES)),
        ("facts", deep(16)),
        ("warnings", json!([])),
        ("warnings", Value::Null),
        ("checked_again", Value::Null),
        ("checked_again", json!(vec!["a"; 256])),
        ("warnings", many(64)),
        ("warnings", reason(500)),
        (
            "warnings",
            json!([{"check": "nic-driver-2", "reason": "", "waived": null, "more": 1}]),
        ),
        (
            "warnings",
            json!([{"check": "a".repeat(40), "reason": "x", "waived": true}]),
        ),
    ] {
        let body = json!({"stage": "verify", "phase": "done", field: value});
        assert!(beat(&body).is_ok(), "{field}: {:?}", beat(&body));
    }
    let name = "expected 1 to 40 lower-case letters, digits and hyphens";
    for (field, value, expected) in [
        (
            "facts",
            json!([{"kernel": "6.17"}]),
            "a list: expected an object",
        ),
        ("facts", json!("kernel"), "a text: expected an object"),
        ("facts", json!(7), "a number: expected an object"),
        ("facts", json!(false), "true or false: expected an object"),
        (
            "facts",
            long(FACTS_BYTES + 1),
            "32769 bytes long: at most 32768 are kept",
        ),
        ("facts", deep(17), "nested 17 deep: at most 16 are kept"),
        (
            "warnings",
            json!({"driver": []}),
            "no list: expected a list of objects with check and reason",
        ),
        ("warnings", many(65), "65 entries: at most 64 are kept"),
        ("warnings", json!([warning("a"), 7]), "[1]: "),
        (
            "warnings",
            json!([{"reason": "x"}]),
            "[0]: missing field `check`",
        ),
        (
            "warnings",
            json!([{"check": "a"}]),
            "[0]: missing field `reason`",
        ),
        ("warnings", json!([{"check": "Nic", "reason": "x"}]), name),
        ("warnings", json!([{"check": "", "reason": "x"}]), name),
        (
            "warnings",
            json!([{"check": "a".repeat(41), "reason": "x"}]),
            name,
        ),
        (
            "warnings",
            reason(502),
            "[0]: reason: 502 bytes long: at most 500 are kept",
        ),
        (
            "warnings",
            json!([{"check": "a", "reason": "x", "waived": "yes"}]),
            "[0]: ",
        ),
        ("checked_again", json!("xid"), "invalid type: string"),
        ("checked_again", json!([7]), "invalid type: integer"),
        ("checked_again", json!(["Xid"]), name),
        ("checked_again", json!([""]), name),
        (
            "checked_again",
            json!(vec!["a"; 257]),
            "257 entries: at most 256 are read",
        ),
    ] {
        let body = json!({"stage": "verify", "phase": "done", field: value});
        let error = beat(&body).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field}: ")), "{error}");
        assert!(error.contains(expected), "{field}: {error}");
    }
    for phase in ["start", "progress"] {
        let body = json!({"stage": "verify", "phase": phase, "warnings": [warning("a")]});
        assert_eq!(
            beat(&body).unwrap_err().to_string(),
            format!("warnings: came with the phase {phase}: expected done or fail")
        );
        let none = json!({"stage": "verify", "phase": phase, "warnings": []});
        assert!(beat(&none).is_ok());
    }
}

#[test]
fn the_warnings_of_a_stage_stay_until_it_ends_again_or_another_system_is_installed() {
    let mut record = ClientRecord::default();
    let ends = |stage: &str, phase: &str, warnings: &[&str]| {
        let warnings: Vec<Value> = warnings.iter().map(|check| warning(check)).collect();
        json!({"stage": stage, "phase": phase, "warnings": warnings})
    };
    let names = |record: &Value| {
        let lists = record["warnings"].as_object().cloned().unwrap_or_default();
        let name = |entry: &Value| entry["check"].as_str().unwrap().to_owned();
        let names = |list: &Value| {
            list.as_array()
                .unwrap()
                .iter()
                .map(name)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let mut all: Vec<String> = lists
            .iter()
            .map(|(stage, list)| format!("{stage}: {}", names(list)))
            .collect();
        all.sort();
        all.join("; ")
    };
    for (second, (body, expected)) in [
        (
            ends("network", "done", &["nic-driver", "time"]),
            "network: nic-driver time",
        ),
        (
            ends("driver", "fail", &["xid"]),
            "driver: xid; network: nic-driver time",
        ),
        // Neither its beginning nor its progress says how it ends.
        (
            json!({"stage": "driver", "phase": "start"}),
            "driver: xid; network: nic-driver time",
        ),
        (
            json!({"stage": "network", "phase": "progress"}),
            "driver: xid; network: nic-driver time",
        ),
        (
            ends("driver", "done", &["persistence"]),
            "driver: persistence; network: nic-driver time",
        ),
        (
            ends("network", "done", &["time"]),
            "driver: persistence; network: time",
        ),
        (ends("driver", "done", &[]), "network: time"),
        (json!({"stage": "network", "phase": "done"}), ""),
        (ends("storage", "done", &["wear"]), "storage: wear"),
        (ends("network", "done", &["time", "site-rack"]), "network: time site-rack; storage: wear"),
        // Made again in another stage: what it does not warn of now is over.
        (
            json!({"stage": "verify", "phase": "done", "checked_again": ["time", "wear", "xid"], "warnings": [warning("xid")]}),
            "network: site-rack; verify: xid",
        ),
        (json!({"stage": "verify", "phase": "fail", "checked_again": ["site-rack"]}), ""),
        (ends("storage", "done", &["wear"]), "storage: wear"),
        (json!({"stage": "install", "phase": "start"}), ""),
    ]
    .into_iter()
    .enumerate()
    {
        let now = enter(&mut record, second as i64, ROOMY, &body);
        assert_eq!(names(&now), expected, "after {body}");
        assert_eq!(
            now.get("warnings").is_none(),
            expected.is_empty(),
            "after {body}"
        );
    }
}

#[test]
fn a_row_counts_what_is_warned_of_and_a_story_has_it_by_stage() {
    let mut record = ClientRecord::default();
    let waived = json!({"check": "nic-driver", "reason": "r8169", "waived": true});
    let body = json!({"stage": "network", "phase": "done", "warnings": [waived, warning("time")]});
    enter(&mut record, 1, ROOMY, &body);
    let body = json!({"stage": "ready", "phase": "done", "warnings": [warning("a")]});
    enter(&mut record, 2, ROOMY, &body);
    let row = Row::of(MAC.parse().unwrap(), &record);
    assert_eq!(row.warnings, 3);
    assert_eq!(
        (row.standing, row.troubles),
        (Standing::Ready, vec![Trouble::Warnings])
    );
    let warnings = serde_json::to_value(record.warnings()).unwrap();
    assert_eq!(
        warnings[0],
        json!({"stage": "network", "warnings": [waived, warning("time")]})
    );
}

#[test]
fn what_others_wrote_under_these_names_stays_and_is_shown_as_far_as_it_is_understood() {
    // A record of another program has words of its own here.
    let foreign = json!({"mac": MAC, "facts": "none", "warnings": "many", "stages": []});
    let mut record = read(&foreign);
    assert!(record.facts().is_none() && record.warnings().is_empty());
    let small = Limits {
        events: 500,
        bytes: 10,
    };
    let now = enter(
        &mut record,
        1,
        small,
        &json!({"stage": "network", "phase": "done"}),
    );
    assert_eq!(
        (&now["facts"], &now["warnings"]),
        (&json!("none"), &json!("many"))
    );
    // Of a later version, with a stage, a field and an entry that this one does not know.
    let later = json!({"mac": MAC, "stages": [], "warnings": {
        "firmware": [{"check": "fan", "reason": "loud", "severity": 3}, {"text": "?"}],
        "driver": [warning("xid")]}});
    let mut record = read(&later);
    let warnings = serde_json::to_value(record.warnings()).unwrap();
    assert_eq!(
        warnings,
        json!([{"stage": "driver", "warnings": [warning("xid")]},
            {"stage": "firmware", "warnings": [{"check": "fan", "reason": "loud"}]}])
    );
    let now = enter(
        &mut record,
        1,
        ROOMY,
        &json!({"stage": "driver", "phase": "done"}),
    );
    assert_eq!(
        now["warnings"],
        json!({"firmware": later["warnings"]["firmware"]})
    );
}

#[test]
fn warnings_give_way_before_facts_and_both_before_the_history_has_no_room() {
    let list = |count: usize, bytes: usize| {
        Value::from(vec![
            json!({"check": "a", "reason": "\u{1}".repeat(bytes)});
            count
        ])
    };
    let limits = Limits {
        events: 500,
        bytes: 65536,
    };
    let mut record = ClientRecord::default();
    let facts = json!({"kernel": "6.17", "padding": "x".repeat(30_000)});
    let full = |stage: &str| json!({"stage": stage, "phase": "done", "warnings": list(64, 400)});
    enter(&mut record, 1, limits, &full("network"));
    enter(&mut record, 2, limits, &full("driver"));
    let now = enter(
        &mut record,
        3,
        limits,
        &json!({"stage": "verify", "phase": "done",
        "facts": facts, "warnings": list(3, 10), "detail": "x".repeat(4000)}),
    );
    assert_eq!(now["facts"], facts);
    assert!(
        now["warnings"].get("network").is_none(),
        "the first to give way"
    );
    assert_eq!(now["warnings"]["verify"].as_array().unwrap().len(), 3);
    assert!(now["warnings_dropped"].as_u64().unwrap() > 100);
    assert_eq!(now["stages"].as_array().unwrap().len(), 3);
    assert!(now.to_string().len() <= limits.bytes);
    // Where even the facts are too much, the time says that they came.
    let small = Limits {
        events: 500,
        bytes: 20_000,
    };
    let now = enter(
        &mut record,
        4,
        small,
        &json!({"stage": "ready", "phase": "done", "facts": facts}),
    );
    assert!(now.get("facts").is_none() && now.get("warnings").is_none());
    assert_eq!(now["facts_at"], "2026-01-01T00:00:04.000Z");
    assert_eq!(
        now["stages"].as_array().unwrap().last().unwrap()["stage"],
        "ready"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_facts_and_no_warnings_ever_make_a_record_too_long(
        beats in prop::collection::vec((0..9_usize, 0..65_usize, 0..500_usize, 0..32_700_usize, 0..4096_usize), 1..12),
        bytes in 30_000..300_000_usize,
    ) {
        let stages = ["install", "first_boot", "network", "storage", "driver", "container_runtime",
            "payload", "verify", "ready"];
        let limits = Limits { events: 100, bytes };
        let mut record = ClientRecord::default();
        for (second, (stage, count, reason, facts, detail)) in beats.into_iter().enumerate() {
            let warnings = vec![json!({"check": "a", "reason": "\u{2}".repeat(reason)}); count];
            let body = json!({"stage": stages[stage], "phase": "done", "warnings": warnings,
                "facts": {"a": "x".repeat(facts)}, "detail": "\"".repeat(detail)});
            let now = enter(&mut record, second as i64, limits, &body);
            let (line, at) = record.write(MAC).unwrap();
            prop_assert!(line.len() - at <= limits.bytes, "{} bytes", line.len() - at);
            let newest = now["stages"].as_array().unwrap().last().unwrap();
            prop_assert_eq!(newest["detail"].as_str().unwrap().len(), detail);
        }
    }
}

#[test]
fn a_box_that_is_checked_again_is_ready_until_a_check_fails() {
    use Standing::{Failed, OnItsWay, Ready, Stalled};
    let mut record = ClientRecord::default();
    let mut second = 0;
    let mut after = |record: &mut ClientRecord, stage: &str, phase: &str| {
        second += 1;
        let body = json!({"stage": stage, "phase": phase});
        *record = read(&enter(record, second, ROOMY, &body));
        (Standing::of(record), record.is_awaited())
    };
    // On its first way it is not ready before it says so.
    for (stage, phase) in [
        ("network", "done"),
        ("verify", "start"),
        ("verify", "done"),
        ("ready", "start"),
    ] {
        assert_eq!(
            after(&mut record, stage, phase),
            (OnItsWay, true),
            "{stage} {phase}"
        );
    }
    assert_eq!(after(&mut record, "ready", "done"), (Ready, false));
    // Whoever is checked again is awaited: a load that hangs the box is to be noticed.
    for (stage, phase) in [
        ("verify", "start"),
        ("verify", "progress"),
        ("verify", "done"),
        ("ready", "start"),
    ] {
        assert_eq!(
            after(&mut record, stage, phase),
            (Ready, true),
            "{stage} {phase}"
        );
    }
    assert!(record.stall().unwrap());
    assert_eq!(Standing::of(&record), Stalled);
    assert_eq!(
        after(&mut record, "verify", "progress"),
        (Ready, true),
        "it goes on"
    );
    assert_eq!(after(&mut record, "ready", "done"), (Ready, false));
    // What fails is not ready, and the next check that goes on does not make it so.
    assert_eq!(after(&mut record, "verify", "start"), (Ready, true));
    assert_eq!(after(&mut record, "verify", "fail"), (Failed, false));
    assert_eq!(after(&mut record, "verify", "start"), (OnItsWay, true));
    assert_eq!(after(&mut record, "verify", "done"), (OnItsWay, true));
    assert_eq!(after(&mut record, "ready", "done"), (Ready, false));
    // Another way begins with another stage.
    assert_eq!(after(&mut record, "verify", "start"), (Ready, true));
    assert_eq!(after(&mut record, "network", "start"), (OnItsWay, true));
    assert_eq!(after(&mut record, "verify", "start"), (OnItsWay, true));
    assert_eq!(after(&mut record, "ready", "done"), (Ready, false));
    assert_eq!(after(&mut record, "install", "start"), (OnItsWay, true));
}

#[test]
fn a_check_that_an_older_version_put_on_record_counts_no_more() {
    let at = |second: u8| format!("2026-01-01T00:00:0{second}.000Z");
    let record = json!({"mac": MAC, "current_stage": "verify", "last_heartbeat": at(5), "rechecking": at(2),
        "stages": [{"stage": "verify", "phase": "start", "timestamp": at(5)}]});
    assert_eq!(Standing::of(&read(&record)), Standing::OnItsWay);
}

#[test]
fn a_recheck_is_no_reinstallation_and_installs_nothing() {
    let mut record = ClientRecord::default();
    for (second, (stage, phase)) in [("install", "done"), ("ready", "done"), ("verify", "start")]
        .into_iter()
        .enumerate()
    {
        enter(
            &mut record,
            second as i64,
            ROOMY,
            &json!({"stage": stage, "phase": phase}),
        );
    }
    let boot = record.boot();
    assert!(boot.is_installed() && !boot.is_installing() && boot.attempts() == 0);
    let row = Row::of(MAC.parse().unwrap(), &record);
    assert_eq!((row.standing, row.troubles), (Standing::Ready, vec![]));
}

fn facts(facts: &Value) -> Facts {
    let body = json!({"stage": "verify", "phase": "done", "facts": facts});
    let Checked { facts, .. } = beat(&body).unwrap().checked;
    facts.unwrap()
}

#[test]
fn versions_are_those_that_a_box_told_and_no_others() {
    let versions = facts(&json!({
        "kernel": "6.17.0-1008-nvidia", "driver": "580.95.05", "bios": "", "ec": 7, "os_release": null,
        "nics": [{"firmware": "28.45"}, {"firmware": "28.45"}, {"name": "wlan"}, "?", {"firmware": "27.1"}],
        "nvme": {"firmware": "x"}, "dgx_release": "7.2.3", "dgx_ota": "7.3.1",
    }))
    .versions();
    let found: Vec<(Part, Vec<String>)> = versions
        .iter()
        .map(|(part, values)| (part, values.to_vec()))
        .collect();
    let is = |values: &[&str]| {
        values
            .iter()
            .map(|value| (*value).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        found,
        [
            (Part::Kernel, is(&["6.17.0-1008-nvidia"])),
            (Part::Driver, is(&["580.95.05"])),
            (Part::NicFirmware, is(&["27.1", "28.45"])),
            // What runs, not what the factory installed.
            (Part::DgxRelease, is(&["7.3.1"])),
        ]
    );
    assert!(facts(&json!({})).versions().is_empty());
    let factory = facts(&json!({"dgx_release": "7.2.3"})).versions();
    assert_eq!(
        factory.iter().next(),
        Some((Part::DgxRelease, &is(&["7.2.3"])[..]))
    );
}

#[test]
fn facts_are_told_in_lines_as_people_read_them() {
    let lines = facts(&json!({
        "a": "6.17", "b": true, "c": ["x.service", "y.service"], "d": [],
        "e": {"name": "NVIDIA GB10", "throttle": ["a", "b"], "clock_mhz": 2418},
        "f": [{"name": "enP7s7", "is_up": false}, {"name": "wlan", "more": {"x": [1]}}],
    }))
    .lines();
    let lines: Vec<String> = lines
        .into_iter()
        .map(|(name, fact)| format!("{name}={fact}"))
        .collect();
    assert_eq!(
        lines,
        [
            "a=6.17",
            "b=true",
            "c=x.service, y.service",
            "d=",
            "e=clock_mhz 2418, name NVIDIA GB10, throttle a+b",
            "f=is_up false, name enP7s7",
            r#"f=more {"x":[1]}, name wlan"#,
        ]
    );
}
