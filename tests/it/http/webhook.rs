//! Shows what the installer's webhook events become: the few install events of a real run and of
//! failing ones, a 204 for everything else, and nothing lost or out of order behind it.

use std::time::{Duration, Instant};

use crate::support::beats::*;
use crate::support::*;
use rustix::process::Signal;
use serde_json::{Value, json};

const MAC: &str = "00:00:5e:00:53:07";

/// The install events of the real run: phase and detail.
const REAL_RUN: [(&str, &str); 11] = [
    ("start", "the installer runs"),
    ("progress", "configuring apt"),
    ("progress", "partitioning"),
    ("progress", "copying the system"),
    ("progress", "configuring the installed system"),
    ("progress", "installing kernel"),
    ("progress", "installing boot loader"),
    ("progress", "final configuration"),
    ("progress", "running late command 0"),
    ("progress", "running late command 1"),
    ("done", "installed"),
];

const INSTALL: &str = "subiquity/Install/install";

/// The bodies of the real run, as they were posted.
fn real_run() -> Vec<String> {
    let text = include_str!("../data/subiquity-webhook-events.jsonl");
    let events: Vec<_> = text.lines().map(str::to_owned).collect();
    assert_eq!(events.len(), 300);
    events
}

fn event(name: &str, event_type: &str, description: &str) -> Value {
    json!({"name": name, "description": description, "event_type": event_type,
        "origin": "curtin", "timestamp": 1795360785.03, "level": "INFO"})
}

fn finished(name: &str, result: &str, description: &str) -> String {
    let mut event = event(name, "finish", description);
    event["result"] = result.into();
    event.to_string()
}

/// The real run up to the start of a step, which then fails with all steps around it.
///
/// No real run that fails is at hand; this has the order in which a failure travels outwards.
fn run_that_fails_at(step_end: &str, description: &str) -> Vec<String> {
    let mut events = Vec::new();
    let mut open: Vec<Value> = Vec::new();
    for text in real_run() {
        let event: Value = serde_json::from_str(&text).unwrap();
        events.push(text);
        match event["event_type"].as_str() {
            Some("start") => open.push(event.clone()),
            _ => {
                let of = open.iter().rposition(|open| open["name"] == event["name"]);
                of.map(|of| open.remove(of));
            }
        }
        let step = event["name"].as_str().unwrap();
        if !step.ends_with(step_end) || !step.contains("/install") && !step.contains("/Late/") {
            continue;
        }
        events.push(finished(step, "FAIL", description));
        for around in open.iter().rev() {
            let name = around["name"].as_str().unwrap();
            if step.starts_with(&format!("{name}/")) && name != INSTALL {
                let description = around["description"].as_str().unwrap();
                events.push(finished(name, "FAIL", description));
            }
        }
        events.push(finished(INSTALL, "FAIL", ""));
        for (step, result) in [("run", "SUCCESS"), ("run_user_supplied", "SUCCESS")] {
            let name = format!("subiquity/Error/{step}");
            events.push(self::event(&name, "start", "").to_string());
            events.push(finished(&name, result, ""));
        }
        return events;
    }
    panic!("no step ends with {step_end}");
}

/// Posts an event as cloud-init does, without a Content-Type.
fn post(service: &Service, mac: &str, body: &[u8]) {
    let target = format!("/report/{mac}");
    let answer = request(service.address, "POST", &target, &[], body).unwrap();
    assert_eq!((answer.status, answer.text()), (204, ""));
}

fn post_all(service: &Service, mac: &str, events: &[String]) {
    for event in events {
        post(service, mac, event.as_bytes());
    }
}

/// The install events on record: phase and detail. A heartbeat, which stands behind them in the
/// queue, tells when they are there.
fn install_events(service: &Service, mac: &str) -> Vec<(String, String)> {
    let answer = service.heartbeat(mac, "first_boot", "start");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let record = answer.json();
    let events = record["stages"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    events
        .filter(|event| event["stage"] == "install")
        .map(|event| (text(&event["phase"]), text(&event["detail"])))
        .collect()
}

fn owned(events: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(phase, detail): &(&str, &str)| ((*phase).to_owned(), (*detail).to_owned());
    events.iter().map(own).collect()
}

#[test]
fn a_real_run_gives_the_right_few_install_events_in_order() {
    let service = Start::fresh().service();
    post_all(&service, MAC, &real_run());
    assert_eq!(install_events(&service, MAC), owned(&REAL_RUN));
    let record = service.get(&format!("/clients/{MAC}")).json();
    assert_eq!(record["mac"], MAC);
    assert_eq!(record["ip"], "127.0.0.1");
    assert_eq!(record["hostname"], "gb10-pxe-00-00-5e-00-53-07");
    assert_eq!(record["stages"].as_array().unwrap().len(), 12);
}

#[test]
fn a_run_that_fails_gives_a_fail_with_the_innermost_reason() {
    let service = Start::fresh().service();
    let cases = [
        (
            "/stage-partitioning",
            "no disk matches",
            3,
            "partitioning failed: no disk matches",
        ),
        (
            "/installing-kernel",
            "apt-get ended with 100",
            6,
            "installing kernel failed: apt-get ended with 100",
        ),
        (
            "/install_openssh-server",
            "",
            8,
            "subiquity/Install/install/postinstall/install_openssh-server failed",
        ),
    ];
    for (n, (step, description, before, reason)) in cases.into_iter().enumerate() {
        let mac = mac(n);
        post_all(&service, &mac, &run_that_fails_at(step, description));
        let mut expected = REAL_RUN[..before].to_vec();
        expected.push(("fail", reason));
        assert_eq!(install_events(&service, &mac), owned(&expected), "{step}");
        service.wait_for_log(&["WARN", "stage failed", &mac, "install"]);
    }
}

#[test]
fn a_late_command_that_fails_is_named_as_the_reason() {
    let service = Start::fresh().service();
    let reason = "sh -c 'echo late': exit status 7";
    let events = run_that_fails_at("/Late/run_user_supplied/command_1", reason);
    post_all(&service, MAC, &events);
    let mut expected = REAL_RUN[..10].to_vec();
    expected.push((
        "fail",
        "late command 1 failed: sh -c 'echo late': exit status 7",
    ));
    assert_eq!(install_events(&service, MAC), owned(&expected));
}

#[test]
fn a_refused_autoinstall_is_a_fail_with_the_reason() {
    let service = Start::fresh().service();
    let name = "subiquity/load_autoinstall_config";
    post_all(&service, MAC, &real_run()[..20]);
    let reason = "Malformed autoinstall in 'version': 7 is not one of [1]";
    post(&service, MAC, finished(name, "FAIL", reason).as_bytes());
    let text = format!("the autoinstall was refused: {reason}");
    assert_eq!(install_events(&service, MAC), owned(&[("fail", &text)]));
}

#[test]
fn a_second_installation_does_not_inherit_the_cause_of_the_first() {
    let service = Start::fresh().service();
    let first = run_that_fails_at("/stage-extract", "no space left on device");
    post_all(&service, MAC, &first);
    post_all(
        &service,
        MAC,
        &[
            event(INSTALL, "start", "").to_string(),
            finished(INSTALL, "FAIL", "killed by the operator"),
            event(INSTALL, "start", "").to_string(),
            finished(INSTALL, "SUCCESS", ""),
        ],
    );
    let mut expected = REAL_RUN[..4].to_vec();
    expected.extend([
        ("fail", "copying the system failed: no space left on device"),
        ("start", "the installer runs"),
        ("fail", "the installation failed: killed by the operator"),
        ("start", "the installer runs"),
        ("done", "installed"),
    ]);
    assert_eq!(install_events(&service, MAC), owned(&expected));
}

#[test]
fn a_failure_that_was_overcome_or_that_ran_beside_is_not_taken_for_the_reason() {
    let service = Start::fresh().service();
    let package = "subiquity/Install/install/postinstall/install_openssh-server";
    let retrieving = format!("{package}/retrieving");
    let late = "subiquity/Late/run_user_supplied/command_0";
    let ended = |mac: &str, events: &[String]| {
        post(
            &service,
            mac,
            event(INSTALL, "start", "").to_string().as_bytes(),
        );
        post_all(&service, mac, events);
        post(&service, mac, finished(INSTALL, "FAIL", "").as_bytes());
        install_events(&service, mac).pop().unwrap()
    };
    let because = |reason: &str| ("fail".to_owned(), reason.to_owned());

    // Tried again with success; or the step around it went on without.
    let again = [
        finished(&retrieving, "FAIL", "timed out"),
        finished(&retrieving, "SUCCESS", ""),
        finished(late, "FAIL", "false"),
    ];
    let reason = because("late command 0 failed: false");
    assert_eq!(ended(&mac(1), &again), reason);
    let without = [
        finished(&retrieving, "FAIL", "timed out"),
        finished(package, "SUCCESS", ""),
        finished(late, "FAIL", "false"),
    ];
    assert_eq!(ended(&mac(2), &without), reason);

    // A LAN without a way out: these fail, and every installation goes on.
    let beside = [
        finished("subiquity/Refresh/check_for_update", "FAIL", "no route"),
        finished("subiquity/Drivers/_list_drivers", "FAIL", "no route"),
        finished(late, "FAIL", "false"),
        finished(package, "FAIL", "a later failure explains nothing"),
    ];
    assert_eq!(ended(&mac(3), &beside), reason);

    // Nor where there is no other.
    let only = [finished(
        "subiquity/Mirror/apply_autoinstall_config/waiting",
        "FAIL",
        "timed out",
    )];
    assert_eq!(ended(&mac(4), &only), because("the installation failed"));
}

/// What the end of a record says: of the newest event, which is what operators see.
fn last_detail(service: &Service, mac: &str) -> String {
    let record = service.get(&format!("/clients/{mac}")).json();
    let last = record["stages"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&last["stage"], &last["phase"]),
        (&json!("install"), &json!("fail"))
    );
    last["detail"].as_str().unwrap().to_owned()
}

#[test]
fn a_real_run_without_the_disk_that_it_wants_fails_once_with_that_reason() {
    let service = Start::fresh().service();
    let events: Vec<_> = include_str!("../data/subiquity-fail-storage.jsonl")
        .lines()
        .map(str::to_owned)
        .collect();
    post_all(&service, MAC, &events);
    let reason = "the autoinstall could not be applied: \
        Failed to find matching device for {'path': '/dev/nvme*'}";
    let expected = [("start", "the installer runs"), ("fail", reason)];
    assert_eq!(install_events(&service, MAC), owned(&expected));
    // The same box at its next try fails again, and is told of again.
    post_all(&service, MAC, &events);
    let twice = [expected, expected].concat();
    assert_eq!(install_events(&service, MAC), owned(&twice));
}

#[test]
fn what_fails_before_the_installation_begins_is_a_fail_with_the_words_of_the_first_step() {
    let service = Start::fresh().service();
    let early = "subiquity/Early/run_user_supplied/command_1";
    let why = "Command '['sh', '-c', 'false']' returned non-zero exit status 1.";
    let cases: [(&[&str], &str); 4] = [
        (
            &[
                early,
                "subiquity/Early/run_user_supplied",
                "subiquity/Early/run",
            ],
            "early command 1 failed: ",
        ),
        (
            &[
                "subiquity/Early/load_autoinstall_data",
                "subiquity/load_autoinstall_config",
            ],
            "subiquity/Early/load_autoinstall_data failed: ",
        ),
        (
            &[
                "subiquity/Storage/apply_autoinstall_config",
                "subiquity/apply_autoinstall_config",
                // Whatever waits for it is cancelled later.
                INSTALL,
            ],
            "the autoinstall could not be applied: ",
        ),
        (
            &["subiquity/load_autoinstall_config"],
            "the autoinstall was refused: ",
        ),
    ];
    for (n, (steps, words)) in cases.into_iter().enumerate() {
        let mac = mac(n);
        // These did no harm.
        for harmless in [
            "Mirror/apply_autoinstall_config/waiting",
            "Refresh/check_for_update",
        ] {
            let name = format!("subiquity/{harmless}");
            post(
                &service,
                &mac,
                finished(&name, "FAIL", "no way out").as_bytes(),
            );
        }
        for step in steps {
            post(&service, &mac, finished(step, "FAIL", why).as_bytes());
        }
        let expected = [("fail".to_owned(), format!("{words}{why}"))];
        assert_eq!(install_events(&service, &mac), expected, "{steps:?}");
    }
}

#[test]
fn the_log_that_an_error_command_sends_stands_behind_the_reason() {
    let service = Start::fresh().service();
    let send = |detail: &str| {
        let beat = json!({"mac": MAC, "stage": "install", "phase": "fail", "detail": detail});
        assert_eq!(service.post("/heartbeat", &beat.to_string()).status, 200);
    };
    // Without a reason it stands alone.
    send("the log: words");
    assert_eq!(last_detail(&service, MAC), "the log: words");

    let refused = "subiquity/load_autoinstall_config";
    post(
        &service,
        MAC,
        event(refused, "start", "").to_string().as_bytes(),
    );
    post(
        &service,
        MAC,
        finished(refused, "FAIL", "7 is not one of [1]").as_bytes(),
    );
    let reason = "the autoinstall was refused: 7 is not one of [1]";
    assert_eq!(last_detail(&service, MAC), reason);
    // Twice, if the answer to the first was lost.
    for _ in 0..2 {
        send("the log: last words");
        assert_eq!(
            last_detail(&service, MAC),
            format!("{reason}; the log: last words")
        );
    }

    // A long reason leaves room for the end of the log, a short one for as much as there is.
    for (reason_bytes, log_bytes) in [(10, 4096), (4000, 2030), (4000, 4096), (2100, 1000)] {
        let start = event(refused, "start", "").to_string();
        post(&service, MAC, start.as_bytes());
        let reason = "\u{e4}".repeat(reason_bytes / 2);
        post(&service, MAC, finished(refused, "FAIL", &reason).as_bytes());
        let log = format!("{}end", "x".repeat(log_bytes - 3));
        send(&log);
        let detail = last_detail(&service, MAC);
        assert!(detail.len() <= 4096, "{}", detail.len());
        assert!(
            detail.len() >= 4000.min(reason_bytes + log_bytes),
            "{}",
            detail.len()
        );
        assert!(detail.starts_with("the autoinstall was refused: \u{e4}\u{e4}"));
        assert!(detail.ends_with("xxend"), "{detail}");
    }

    // What was the reason of an earlier try is none of a later one.
    service.get_as_box(&format!("/cloud-init/{MAC}/user-data"));
    eventually("the fetch on record", || {
        let record = service.get(&format!("/clients/{MAC}")).json();
        record["seed"]["count"].as_u64()
    });
    send("the log: of the second try");
    assert_eq!(last_detail(&service, MAC), "the log: of the second try");
    // Nor is one of another stage.
    service.heartbeat(MAC, "network", "fail");
    send("the log: of the third try");
    assert_eq!(last_detail(&service, MAC), "the log: of the third try");
}

#[test]
fn an_event_without_words_or_with_very_many_keeps_its_meaning() {
    let service = Start::fresh().service();
    let long = "why ".repeat(100_000);
    let files = json!([{"path": "/var/log/x", "content": "eA==".repeat(200_000)}]);
    let many: Vec<_> = (0..20_000)
        .map(|n| json!({"path": n, "content": "\"}],"}))
        .collect();
    let bodies = [
        // No text where one might be.
        json!({"name": INSTALL, "event_type": "start", "description": null, "result": null}),
        json!({"name": INSTALL, "event_type": "start", "description": 7, "result": [1]}),
        json!({"name": INSTALL, "event_type": "start", "description": {"name": "x"}}),
        // Long ones, in whatever order.
        json!({"name": INSTALL, "description": long, "event_type": "start"}),
        json!({"files": files, "name": INSTALL, "event_type": "start"}),
        json!({"files": many, "name": INSTALL, "event_type": "start"}),
        json!({"name": INSTALL, "event_type": "start", "files": many, "description": long}),
    ];
    for (n, body) in bodies.iter().enumerate() {
        let mac = mac(n);
        post(&service, &mac, body.to_string().as_bytes());
        assert_eq!(install_events(&service, &mac), owned(&REAL_RUN[..1]), "{n}");
    }

    // The words that are kept of a long failure are its first ones. serde sorts the keys, Python
    // does not.
    let mac = mac(20);
    for words in [
        r#"why \u00fc \\ \" \ud800 "#,
        "\u{fc}\u{1f512}",
        r#"\\\\\\\" "#,
    ] {
        let text = words.repeat(400_000 / words.len());
        let body = format!(
            r#"{{"name": "subiquity/load_autoinstall_config", "description": "{text}",
            "event_type": "finish", "origin": "curtin", "level": "ERROR", "result": "FAIL"}}"#
        );
        let start = event("subiquity/load_autoinstall_config", "start", "").to_string();
        post(&service, &mac, start.as_bytes());
        post(&service, &mac, body.as_bytes());
        let (phase, detail) = install_events(&service, &mac).pop().unwrap();
        assert_eq!(phase, "fail");
        assert!(detail.len() > 4000, "{}", detail.len());
        let json: String =
            serde_json::from_str(&format!("\"{}\"", words.replace(r"\ud800", ""))).unwrap();
        let first = json.trim_end();
        assert!(
            detail.starts_with(&format!("the autoinstall was refused: {first}")),
            "{detail}"
        );
    }
}

/// The most memory that a service had so far, in bytes.
fn peak(service: &Service) -> usize {
    let status = format!("/proc/{}/status", service.pid().as_raw_nonzero());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kilobytes.parse::<usize>().unwrap() * 1024
}

#[test]
fn an_event_of_many_megabytes_costs_little_memory_and_one_without_end_is_refused() {
    let service = Start::fresh().service();
    let before = peak(&service);
    let head = format!(r#"{{"name": "{INSTALL}", "event_type": "start", "files": ["#);
    let body = [head.as_bytes(), &vec![b'['; 8 * 1024 * 1024]].concat();
    post(&service, MAC, &body);
    assert_eq!(install_events(&service, MAC), owned(&REAL_RUN[..1]));
    let after = peak(&service);
    assert!(after < before + 4 * 1024 * 1024, "{before} {after}");
    let target = format!("/report/{MAC}");
    let body = vec![b' '; 17 * 1024 * 1024];
    match request(service.address, "POST", &target, &[], &body) {
        Ok(answer) => assert_eq!(answer.status, 413),
        // It may be told before the body is all written.
        Err(error) => assert!(
            error.to_string().contains("reset") || error.to_string().contains("pipe"),
            "{error}"
        ),
    }
}

#[test]
fn whatever_is_no_milestone_is_taken_and_ignored() {
    let service = Start::fresh().service();
    let with_unknown_fields = json!({"name": "modules-final", "description": 7, "event_type":
        ["start"], "files": [{"path": "/var/log/x", "content": "eA=="}], "future": {"a": null}});
    let large = json!({"name": "modules-final", "description": "x".repeat(200 * 1024)});
    let bodies: [Vec<u8>; 16] = [
        b"".into(),
        b"not JSON".into(),
        b"{\"name\": \"subiquity/Install/install\", \"event_type".into(),
        b"null".into(),
        b"[1, 2]".into(),
        b"\xff\xfe\x00".into(),
        b"{}".into(),
        with_unknown_fields.to_string().into(),
        large.to_string().into(),
        event("modules-final/config-scripts_user", "start", "")
            .to_string()
            .into(),
        event("modules-final/config-installing-kernel", "start", "")
            .to_string()
            .into(),
        finished("modules-final", "WARN", "x").into(),
        finished("init-network/check-cache", "SUCCESS", "").into(),
        event("subiquity/Install/install", "warning", "")
            .to_string()
            .into(),
        event("subiquity/Late/run_user_supplied/command_x", "start", "")
            .to_string()
            .into(),
        event("subiquity/Early/run_user_supplied/command_0", "start", "")
            .to_string()
            .into(),
    ];
    for body in &bodies {
        post(&service, MAC, body);
    }
    assert_eq!(install_events(&service, MAC), []);
    let with_more = json!({"name": INSTALL, "event_type": "start", "future": {"a": [1]}});
    post(&service, MAC, with_more.to_string().as_bytes());
    assert_eq!(install_events(&service, MAC), owned(&REAL_RUN[..1]));
    assert!(!service.log().contains("WARN"), "{}", service.log());
}

#[test]
fn the_content_type_does_not_matter_and_the_method_does() {
    let service = Start::fresh().service();
    let target = format!("/report/{MAC}");
    let body = event(INSTALL, "start", "").to_string();
    for kind in [
        "application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "?",
    ] {
        let headers = [("Content-Type", kind)];
        let answer = request(service.address, "POST", &target, &headers, body.as_bytes());
        assert_eq!(answer.unwrap().status, 204, "{kind}");
    }
    assert_eq!(install_events(&service, MAC).len(), 4);
    service.get(&target).problem(405);
}

#[test]
fn a_wrong_mac_is_400_and_an_unknown_device_422() {
    let service = Start::fresh().service();
    let body = event(INSTALL, "start", "").to_string();
    for wrong in [
        "kitchen",
        "00:00:5e:00:53",
        "ff:ff:ff:ff:ff:ff",
        "unknown00:00:5e:00:53:01",
    ] {
        service
            .post(&format!("/report/{wrong}"), &body)
            .problem(400);
    }
    // Loopback is in no neighbour table.
    let problem = service.post("/report/unknown", &body).problem(422);
    assert_eq!(problem["field"], "mac");
    assert_eq!(service.get("/clients").json(), json!({}));
    // Any spelling of a boot loader will do.
    post(&service, "01-00-00-5E-00-53-07", body.as_bytes());
    assert_eq!(install_events(&service, MAC).len(), 1);
}

#[test]
fn events_from_all_macs_of_a_box_are_one_installation() {
    let devices =
        r#"{"00:00:5e:00:53:07": {"hostname": "spark-07", "macs": ["00:00:5e:00:53:08"]}}"#;
    let service = Start::fresh().stage("devices.json", devices).service();
    let events = run_that_fails_at("/stage-extract", "no space left on device");
    for (n, event) in events.iter().enumerate() {
        let mac = ["00:00:5e:00:53:07", "00:00:5e:00:53:08"][n % 2];
        post(&service, mac, event.as_bytes());
    }
    let mut expected = REAL_RUN[..4].to_vec();
    expected.push(("fail", "copying the system failed: no space left on device"));
    assert_eq!(
        install_events(&service, "00:00:5e:00:53:08"),
        owned(&expected)
    );
    let clients = service.get("/clients").json();
    assert_eq!(clients.as_object().unwrap().len(), 1, "{clients}");
    assert_eq!(clients[MAC]["hostname"], "spark-07");
}

#[test]
fn the_raw_event_is_in_the_log_at_debug_and_only_there() {
    let raw = event("subiquity/Some/step", "start", "a word like xyzzy").to_string();
    let service = Start::fresh().env("LOG", "debug").service();
    post(&service, MAC, raw.as_bytes());
    let line = service.wait_for_log(&["DEBUG", MAC, "xyzzy"]);
    assert!(line.contains(&raw), "{line}");

    let service = Start::fresh().service();
    post(&service, MAC, raw.as_bytes());
    post_all(&service, MAC, &real_run());
    assert_eq!(install_events(&service, MAC).len(), 11);
    // A line a milestone and one for the heartbeat, each after it is on record, and not hundreds.
    let lines = |log: &str| log.matches("heartbeat:").count();
    eventually("a line a milestone", || {
        (lines(&service.log()) >= 12).then_some(())
    });
    let log = service.log();
    assert_eq!(lines(&log), 12, "{log}");
    assert!(!log.contains("xyzzy") && !log.contains("curtin"), "{log}");
}

#[test]
fn while_the_state_is_locked_milestones_are_refused_and_kept_and_all_else_is_answered_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let service = Start::on(folder.path()).service();
    let lock = hold_lock(folder.path());
    let events = real_run();
    let target = format!("/report/{MAC}");
    let (mut refused, mut slowest) = (0, Duration::ZERO);
    // A heartbeat is given up after 5 s; milestones from before and after that must not pass each
    // other.
    let began = Instant::now();
    let mut posted = 0;
    for event in &events {
        if refused == 3 {
            break;
        }
        let asked = Instant::now();
        let answer = service.post(&target, event);
        match answer.status {
            503 => {
                assert_eq!(answer.header("retry-after"), "2");
                assert!(
                    asked.elapsed() >= Duration::from_secs(2),
                    "refused too early"
                );
                refused += 1;
            }
            status => {
                assert_eq!(status, 204, "{}", answer.text());
                slowest = slowest.max(asked.elapsed());
            }
        }
        posted += 1;
    }
    assert!(began.elapsed() > Duration::from_secs(5));
    assert_eq!(clients_in(folder.path()), None);
    figure(&format!(
        "slowest answer to what is no milestone while the state was locked: {slowest:?}"
    ));
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    drop(lock);
    post_all(&service, MAC, &events[posted..]);
    assert_eq!(install_events(&service, MAC), owned(&REAL_RUN));
    // None is there twice later.
    assert_eq!(service.stop().code(), Some(0));
    let clients = clients_in(folder.path()).unwrap();
    assert_eq!(clients[MAC]["stages"].as_array().unwrap().len(), 12);
}

#[test]
fn milestones_that_a_stop_loses_are_named_in_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Start::on(folder.path()).service();
    let _lock = hold_lock(folder.path());
    let start = event(INSTALL, "start", "").to_string();
    std::thread::scope(|scope| {
        for n in 1..=3 {
            let target = format!("/report/00:00:5e:00:53:{n:02x}");
            let (service, start) = (&service, &start);
            scope.spawn(move || assert_eq!(service.post(&target, start).status, 503));
        }
    });
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_end().code(), Some(0));
    for n in 1..=3 {
        let mac = format!("00:00:5e:00:53:{n:02x}");
        service.wait_for_log(&[
            "ERROR",
            "an installer's event",
            &mac,
            "is lost",
            "install start",
        ]);
    }
}

#[test]
fn one_box_pushes_out_only_its_own_milestones() {
    let folder = tempfile::tempdir().unwrap();
    let service = Start::on(folder.path())
        .env("PEER_CONNECTIONS", "64")
        .service();
    let lock = hold_lock(folder.path());
    let start = event(INSTALL, "start", "").to_string();
    // A mad box, on many connections at once; and one that posts a single one.
    std::thread::scope(|scope| {
        for n in 0..40 {
            let (service, start) = (&service, &start);
            let mac = if n == 39 { "00:00:5e:00:53:02" } else { MAC };
            let target = format!("/report/{mac}");
            scope.spawn(move || assert_eq!(service.post(&target, start).status, 503));
        }
    });
    drop(lock);
    let count = |mac: &str| {
        let record = service.get(&format!("/clients/{mac}"));
        (record.status == 200).then(|| record.json()["stages"].as_array().unwrap().len())
    };
    eventually("the single one", || count("00:00:5e:00:53:02"));
    eventually("those that were kept", || (count(MAC)? == 16).then_some(()));
}

#[test]
fn a_milestone_that_was_answered_is_on_record_after_a_sigterm() {
    for _ in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let mut service = Start::on(folder.path()).service();
        let events = real_run();
        for event in [&events[122], &events[172], &events[183]] {
            post(&service, MAC, event.as_bytes());
        }
        service.signal(Signal::TERM);
        assert_eq!(service.wait_for_end().code(), Some(0));
        let clients = clients_in(folder.path()).unwrap();
        let details = clients[MAC]["stages"].as_array().unwrap().iter();
        let details: Vec<_> = details
            .map(|event| event["detail"].as_str().unwrap())
            .collect();
        assert_eq!(
            details,
            ["the installer runs", "configuring apt", "partitioning"]
        );
    }
}
