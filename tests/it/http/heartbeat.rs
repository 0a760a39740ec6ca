//! A heartbeat: what is accepted, what is refused and how, and what the answer and the record say.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::support::*;
use jiff::Timestamp;
use serde_json::{Value, json};

const MAC: &str = "3c:6d:66:0a:1b:2c";

const STAGES: [&str; 9] = [
    "install",
    "first_boot",
    "network",
    "storage",
    "driver",
    "container_runtime",
    "payload",
    "verify",
    "ready",
];
const PHASES: [&str; 4] = ["start", "progress", "done", "fail"];

/// `GET /clients` of a service that nothing was reported to.
const NO_CLIENTS: &str = "{\n}\n";

/// Sends bytes as they are, and reads the answer.
fn exchange(address: SocketAddr, bytes: &[u8]) -> Response {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    // The service may refuse a large body before it has read it all.
    let _ = stream.write_all(bytes);
    read_response(&mut stream).unwrap()
}

/// A heartbeat whose body comes in chunks, of unknown length to the service.
fn post_chunked(address: SocketAddr, body: &str) -> Response {
    let mut bytes = format!(
        "POST /heartbeat HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    for chunk in body.as_bytes().chunks(5000) {
        let chunk = std::str::from_utf8(chunk).unwrap();
        bytes += &format!("{:x}\r\n{chunk}\r\n", chunk.len());
    }
    bytes += "0\r\n\r\n";
    exchange(address, bytes.as_bytes())
}

/// A valid heartbeat of exactly so many bytes.
fn heartbeat_of(bytes: usize) -> String {
    let start = format!(r#"{{"mac": "{MAC}", "stage": "driver", "phase": "done", "padding": ""#);
    let padding = "x".repeat(bytes - start.len() - 2);
    format!("{start}{padding}\"}}")
}

#[test]
fn the_answer_is_the_updated_record_to_the_letter() {
    let service = Start::fresh().service();
    let before = Timestamp::now();
    let first = service.post(
        "/heartbeat",
        r#"{"mac": "3C-6D-66-0A-1B-2C", "stage": "network", "phase": "done", "detail": "10 Gb/s"}"#,
    );
    let after = Timestamp::now();
    assert_eq!(first.status, 200);
    assert_eq!(first.header("content-type"), "application/json");
    let time = first.json()["last_heartbeat"].as_str().unwrap().to_owned();
    let event =
        format!(r#"{{"stage":"network","phase":"done","timestamp":"{time}","detail":"10 Gb/s"}}"#);
    assert_eq!(
        first.text(),
        format!(
            r#"{{"mac":"3c:6d:66:0a:1b:2c","ip":"127.0.0.1","hostname":"gb10-pxe-3c-6d-66-0a-1b-2c","current_stage":"network","last_heartbeat":"{time}","stages":[{event}]}}"#
        )
    );

    // RFC 3339, UTC, milliseconds: 2026-11-22T16:32:41.239Z, and it is the time of the arrival.
    let shape: String = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z");
    let arrived: Timestamp = time.parse().unwrap();
    assert!(before.as_millisecond() <= arrived.as_millisecond() && arrived <= after);

    let second = service.heartbeat(MAC, "storage", "start");
    let later = second.json()["last_heartbeat"].as_str().unwrap().to_owned();
    assert_eq!(
        second.text(),
        format!(
            r#"{{"mac":"3c:6d:66:0a:1b:2c","ip":"127.0.0.1","hostname":"gb10-pxe-3c-6d-66-0a-1b-2c","current_stage":"storage","last_heartbeat":"{later}","stages":[{event},{{"stage":"storage","phase":"start","timestamp":"{later}"}}]}}"#
        )
    );
    assert_eq!(
        service.get(&format!("/clients/{MAC}")).text(),
        second.text()
    );
}

#[test]
fn every_stage_goes_with_every_phase() {
    let service = Start::fresh().service();
    let mut expected = Vec::new();
    for stage in STAGES {
        for phase in PHASES {
            let answer = service.heartbeat(MAC, stage, phase);
            assert_eq!(answer.status, 200, "{stage} {phase}: {}", answer.text());
            assert_eq!(answer.json()["current_stage"], stage);
            expected.push((stage.to_owned(), phase.to_owned()));
        }
    }
    let record = service.get(&format!("/clients/{MAC}")).json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let events = record["stages"].as_array().unwrap().iter();
    let events: Vec<_> = events
        .map(|event| (text(&event["stage"]), text(&event["phase"])))
        .collect();
    assert_eq!(events, expected);
}

#[test]
fn a_body_that_is_not_json_is_a_400_that_says_where_it_breaks() {
    let service = Start::fresh().service();
    let too_deep = format!(
        r#"{{"mac": "{MAC}", "stage": "driver", "phase": "done", "x": {}{}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    let bodies: [(&[u8], &str); 12] = [
        (b"", "line 1 column 0"),
        (b"{", "line 1 column 1"),
        (b"stage=driver&phase=done", "line 1 column 1"),
        (b"{\"stage\": driver}", "line 1 column 11"),
        (b"{\n  \"stage\": \"driver\",\n  oops\n}", "line 3 column 3"),
        (b"{'stage': 'driver'}", "line 1 column 2"),
        (b"{\"stage\": \"driver\",}", "line 1 column 20"),
        (b"{} {}", "line 1 column 4"),
        (b"{\"stage\": NaN}", "line 1 column 11"),
        (b"{\"stage\": \"\xff\xfe\"}", "line 1 column 1"),
        (b"\x00\x01\x02", "line 1 column 1"),
        (too_deep.as_bytes(), "line 1 column 1"),
    ];
    for (body, place) in bodies {
        let answer = request(service.address, "POST", "/heartbeat", &[], body).unwrap();
        let shown = String::from_utf8_lossy(body).into_owned();
        let problem = answer.problem(400);
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.starts_with("the body is not JSON: "),
            "{shown}: {detail}"
        );
        assert!(detail.contains(place), "{shown}: {detail}");
    }
    assert_eq!(service.get("/clients").text(), NO_CLIENTS);
    assert_eq!(service.heartbeat(MAC, "driver", "done").status, 200);
}

#[test]
fn json_that_is_no_object_is_a_422() {
    let service = Start::fresh().service();
    let list = r#"[{"mac": "3c:6d:66:0a:1b:2c", "stage": "driver", "phase": "done"}]"#;
    for (body, what) in [
        ("[]", "an array"),
        (list, "an array"),
        ("null", "null"),
        ("7", "a single value"),
        ("true", "a single value"),
        (r#""driver""#, "a single value"),
    ] {
        let problem = service.post("/heartbeat", body).problem(422);
        assert_eq!(
            problem["detail"],
            format!("the body is {what}: expected a JSON object with stage and phase")
        );
    }
    assert_eq!(service.get("/clients").text(), NO_CLIENTS);
}

#[test]
fn a_wrong_stage_or_phase_is_a_422_that_names_it_and_lists_what_is_allowed() {
    let service = Start::fresh().service();
    let stages = "install, first_boot, network, storage, driver, container_runtime, payload, \
                  verify, ready";
    for (fields, field, detail) in [
        (
            json!({"phase": "done"}),
            "stage",
            format!("stage: missing: expected one of {stages}"),
        ),
        (
            json!({"phase": "done", "stage": null}),
            "stage",
            format!("stage: missing: expected one of {stages}"),
        ),
        (
            json!({"phase": "done", "stage": "drivers"}),
            "stage",
            format!(r#"stage: unknown stage "drivers": expected one of {stages}"#),
        ),
        (
            json!({"phase": "done", "stage": "Driver"}),
            "stage",
            format!(r#"stage: unknown stage "Driver": expected one of {stages}"#),
        ),
        (
            json!({"phase": "done", "stage": ""}),
            "stage",
            format!(r#"stage: unknown stage "": expected one of {stages}"#),
        ),
        (
            json!({"stage": "driver"}),
            "phase",
            "phase: missing: expected one of start, progress, done, fail".to_owned(),
        ),
        (
            json!({"stage": "driver", "phase": "failed"}),
            "phase",
            r#"phase: unknown phase "failed": expected one of start, progress, done, fail"#
                .to_owned(),
        ),
        // What was sent under another name is missing.
        (
            json!({"Stage": "driver", "phase": "done"}),
            "stage",
            format!("stage: missing: expected one of {stages}"),
        ),
    ] {
        let mut body = fields;
        body["mac"] = json!(MAC);
        let problem = service.post("/heartbeat", &body.to_string()).problem(422);
        assert_eq!(problem["field"], field, "{body}");
        assert_eq!(problem["detail"], detail, "{body}");
        let allowed = if field == "stage" {
            json!(STAGES)
        } else {
            json!(PHASES)
        };
        assert_eq!(problem["allowed"], allowed, "{body}");
    }
    assert_eq!(service.get("/clients").text(), NO_CLIENTS);
}

#[test]
fn a_field_of_a_wrong_type_is_a_422_that_names_it() {
    let service = Start::fresh().service();
    let wrong = [
        json!(5),
        json!(-0.5),
        json!(true),
        json!(["driver"]),
        json!({"a": 1}),
    ];
    for field in ["mac", "stage", "phase", "detail"] {
        for value in &wrong {
            let mut body = json!({"mac": MAC, "stage": "driver", "phase": "done", "detail": "x"});
            body[field] = value.clone();
            let problem = service.post("/heartbeat", &body.to_string()).problem(422);
            assert_eq!(problem["field"], field, "{body}");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.starts_with(&format!("{field}: ")), "{detail}");
            match field {
                "stage" => assert_eq!(problem["allowed"], json!(STAGES)),
                "phase" => assert_eq!(problem["allowed"], json!(PHASES)),
                _ => assert_eq!(problem.get("allowed"), None),
            }
        }
    }
    assert_eq!(service.get("/clients").text(), NO_CLIENTS);
}

#[test]
fn a_wrong_mac_is_a_422_that_names_mac_and_says_what_was_expected() {
    let service = Start::fresh().service();
    for (mac, expected) in [
        ("unknown", "not in the neighbour table"),
        ("unknowns", "expected six octets in hexadecimal"),
        ("3c:6d:66:0a:1b", "expected six octets in hexadecimal"),
        ("3c:6d:66:0a:1b:2c:00", "expected six octets in hexadecimal"),
        ("3c:6d:66:0a:1b:2g", "expected six octets in hexadecimal"),
        (" 3c:6d:66:0a:1b:2c", "expected six octets in hexadecimal"),
        (" ", "expected six octets in hexadecimal"),
        (
            "00:00:00:00:00:00",
            "is the all-zero address: expected the unicast address",
        ),
        (
            "ff:ff:ff:ff:ff:ff",
            "is the broadcast address: expected the unicast address",
        ),
        (
            "01:00:5e:00:00:01",
            "is a multicast address: expected the unicast address",
        ),
    ] {
        let problem = service.heartbeat(mac, "driver", "done").problem(422);
        assert_eq!(problem["field"], "mac", "{mac}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with("mac: "), "{detail}");
        assert!(detail.contains(expected), "{mac}: {detail}");
    }
    assert_eq!(service.get("/clients").text(), NO_CLIENTS);
}

#[test]
fn without_a_mac_a_sender_that_no_table_knows_gets_a_422() {
    let service = Start::fresh().service();
    for body in [
        r#"{"stage": "driver", "phase": "done"}"#,
        r#"{"stage": "driver", "phase": "done", "mac": null}"#,
        r#"{"stage": "driver", "phase": "done", "mac": ""}"#,
    ] {
        let problem = service.post("/heartbeat", body).problem(422);
        assert_eq!(problem["field"], "mac");
        assert_eq!(
            problem["detail"],
            "mac: missing, and 127.0.0.1 is not in the neighbour table: expected the device's MAC"
        );
    }
    assert_eq!(service.get("/clients").text(), NO_CLIENTS);
}

#[test]
fn a_mac_in_any_spelling_is_one_device() {
    let service = Start::fresh().service();
    for mac in [
        "3c:6d:66:0a:1b:2c",
        "3C:6D:66:0A:1B:2C",
        "3c-6d-66-0a-1b-2c",
        "3c6d.660a.1b2c",
        "3C6D660A1B2C",
        "01-3c-6d-66-0a-1b-2c",
    ] {
        let record = service.heartbeat(mac, "driver", "progress");
        assert_eq!(record.status, 200, "{mac}");
        assert_eq!(record.json()["mac"], MAC);
    }
    let clients = service.get("/clients").json();
    assert_eq!(clients.as_object().unwrap().len(), 1);
    assert_eq!(clients[MAC]["stages"].as_array().unwrap().len(), 6);
}

#[test]
fn a_detail_has_at_most_4_kib_of_utf_8() {
    let service = Start::fresh().service();
    let with_detail = |detail: &str| {
        let body = json!({"mac": MAC, "stage": "verify", "phase": "fail", "detail": detail});
        service.post("/heartbeat", &body.to_string())
    };
    for longest in ["x".repeat(4096), "é".repeat(2048)] {
        let answer = with_detail(&longest);
        assert_eq!(answer.status, 200);
        let events = answer.json()["stages"].as_array().unwrap().clone();
        assert_eq!(events.last().unwrap()["detail"], longest);
    }
    // 4,097 bytes each, the second in 2,049 characters.
    for longer in ["x".repeat(4097), format!("{}x", "é".repeat(2048))] {
        let problem = with_detail(&longer).problem(422);
        assert_eq!(problem["field"], "detail");
        assert_eq!(
            problem["detail"],
            "detail: 4097 bytes long: at most 4096 are kept"
        );
    }
    // A text of any kind comes back as it was, on one line of the file.
    let odd = "tab\t, \"quotes\", back\\slash, \u{1b}[31m, \u{2028}, \0, line\r\nbreak, 🦀";
    let answer = with_detail(odd);
    assert_eq!(answer.json()["stages"][2]["detail"], odd);
    assert_eq!(with_detail("").json()["stages"][3]["detail"], "");
    let null = format!(r#"{{"mac": "{MAC}", "stage": "verify", "phase": "fail", "detail": null}}"#);
    let answer = service.post("/heartbeat", &null);
    assert_eq!(answer.json()["stages"][4].get("detail"), None);
    let file = std::fs::read_to_string(service.state_file()).unwrap();
    assert_eq!(file.lines().count(), 3);
}

#[test]
fn a_body_of_64_kib_is_accepted_and_one_byte_more_is_a_413() {
    let service = Start::fresh().service();
    let largest = heartbeat_of(64 * 1024);
    let larger = heartbeat_of(64 * 1024 + 1);
    assert_eq!(service.post("/heartbeat", &largest).status, 200);
    assert_eq!(post_chunked(service.address, &largest).status, 200);
    for answer in [
        service.post("/heartbeat", &larger),
        post_chunked(service.address, &larger),
        service.post("/heartbeat", &heartbeat_of(4 * 1024 * 1024)),
    ] {
        let problem = answer.problem(413);
        assert_eq!(
            problem["detail"],
            "the body is too large: at most 65536 bytes are accepted"
        );
    }
    let record = service.get(&format!("/clients/{MAC}")).json();
    assert_eq!(record["stages"].as_array().unwrap().len(), 2);
}

#[test]
fn no_content_type_is_needed_and_any_is_taken() {
    let service = Start::fresh().service();
    let body = format!(r#"{{"mac": "{MAC}", "stage": "driver", "phase": "done"}}"#);
    for headers in [
        &[][..],
        &[("Content-Type", "application/json; charset=utf-8")],
        // What `curl -d` says of everything.
        &[("Content-Type", "application/x-www-form-urlencoded")],
        &[("Content-Type", "nonsense")],
    ] {
        let answer = request(
            service.address,
            "POST",
            "/heartbeat",
            headers,
            body.as_bytes(),
        );
        assert_eq!(answer.unwrap().status, 200, "{headers:?}");
    }
}

#[test]
fn unknown_fields_are_ignored_so_that_a_newer_device_can_report() {
    let service = Start::fresh().service();
    let body = json!({
        "mac": MAC, "stage": "driver", "phase": "done",
        "schema": 2, "gpu": {"temperature": [41.5, null]}, "timestamp": "1999-01-01T00:00:00Z",
        "hostname": "mine", "ip": "10.88.0.99", "stages": [], "events_dropped": 7,
    });
    let record = service.post("/heartbeat", &body.to_string()).json();
    let fields: Vec<&String> = record.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "current_stage",
            "hostname",
            "ip",
            "last_heartbeat",
            "mac",
            "stages"
        ]
    );
    assert_eq!(record["hostname"], "gb10-pxe-3c-6d-66-0a-1b-2c");
    assert_eq!(record["ip"], "127.0.0.1");
    let event = record["stages"][0].as_object().unwrap();
    assert_eq!(
        event.keys().collect::<Vec<_>>(),
        ["phase", "stage", "timestamp"]
    );
    assert_eq!(event["timestamp"], record["last_heartbeat"]);
}

#[test]
fn a_body_that_does_not_arrive_in_10_s_is_a_408_however_it_drips() {
    let service = Start::fresh().service();
    let head = format!(
        "POST /heartbeat HTTP/1.1\r\nHost: {}\r\nContent-Length: 100\r\n\r\n{{",
        service.address
    );
    let slow = |drips: bool| {
        let mut stream = TcpStream::connect(service.address).unwrap();
        let begin = Instant::now();
        stream.write_all(head.as_bytes()).unwrap();
        // A byte every half second: each is a sign of life, all of them are too slow.
        let pause = Duration::from_millis(500);
        stream
            .set_read_timeout(Some(if drips { pause } else { TIMEOUT }))
            .unwrap();
        let mut answer = Vec::new();
        while begin.elapsed() < TIMEOUT {
            let mut piece = [0; 4096];
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => answer.extend_from_slice(&piece[..length]),
                Err(_) if answer.is_empty() && drips => stream.write_all(b" ").unwrap(),
                Err(_) => break,
            }
        }
        (begin.elapsed(), String::from_utf8(answer).unwrap())
    };
    std::thread::scope(|scope| {
        let outcomes = [false, true].map(|drips| scope.spawn(move || slow(drips)));
        // Meanwhile others are served.
        assert_eq!(service.heartbeat(MAC, "driver", "done").status, 200);
        for outcome in outcomes {
            let (took, answer) = outcome.join().unwrap();
            assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
            assert!(answer.contains("Content-Type: application/problem+json\r\n"));
            assert!(answer.contains(r#""detail":"the body did not arrive within 10 s""#));
            assert!(
                (Duration::from_millis(9_900)..Duration::from_secs(15)).contains(&took),
                "{took:?}"
            );
        }
    });
}

#[test]
fn a_body_that_breaks_off_records_nothing() {
    let service = Start::fresh().service();
    let body = format!(r#"{{"mac": "{MAC}", "stage": "driver", "phase": "done"}}"#);
    let mut stream = TcpStream::connect(service.address).unwrap();
    let length = body.len() + 1;
    let head = format!("POST /heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .unwrap();
    drop(stream);
    let chunks = "POST /heartbeat HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                  Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n";
    exchange(service.address, chunks.as_bytes()).problem(400);
    assert_eq!(service.get("/clients").text(), NO_CLIENTS);
}

#[test]
fn a_device_too_many_gets_a_507_and_the_known_ones_go_on() {
    let service = Start::fresh().env("MAX_CLIENTS", "2").service();
    assert_eq!(
        service
            .heartbeat("3c:6d:66:00:00:01", "driver", "start")
            .status,
        200
    );
    assert_eq!(
        service
            .heartbeat("3c:6d:66:00:00:02", "driver", "start")
            .status,
        200
    );
    let refused = service.heartbeat("3c:6d:66:00:00:03", "driver", "start");
    assert_eq!(
        refused.problem(507)["detail"],
        "too many devices are on record: no new one is added"
    );
    service.wait_for_log(&["WARN", "heartbeat refused", "MAX_CLIENTS"]);
    assert_eq!(
        service
            .heartbeat("3c:6d:66:00:00:02", "driver", "done")
            .status,
        200
    );
    let clients = service.get("/clients").json();
    let macs: Vec<&String> = clients.as_object().unwrap().keys().collect();
    assert_eq!(macs, ["3c:6d:66:00:00:01", "3c:6d:66:00:00:02"]);
    service.get("/clients/3c:6d:66:00:00:03").problem(404);
}

#[test]
fn a_history_at_its_limit_drops_the_oldest_events_and_counts_them() {
    let service = Start::fresh().env("HISTORY_LIMIT", "3").service();
    let beat = |detail: &str| {
        let body = json!({"mac": MAC, "stage": "payload", "phase": "progress", "detail": detail});
        let record = service.post("/heartbeat", &body.to_string()).json();
        let details = record["stages"].as_array().unwrap().iter();
        let details = details.map(|event| event["detail"].as_str().unwrap().to_owned());
        (
            details.collect::<Vec<_>>().join(" "),
            record.get("events_dropped").cloned(),
        )
    };
    assert_eq!(beat("1"), ("1".to_owned(), None));
    assert_eq!(beat("2"), ("1 2".to_owned(), None));
    assert_eq!(beat("3"), ("1 2 3".to_owned(), None));
    assert_eq!(beat("4"), ("2 3 4".to_owned(), Some(json!(1))));
    assert_eq!(beat("5"), ("3 4 5".to_owned(), Some(json!(2))));
    // Another device's history is its own.
    let other = service.heartbeat("3c:6d:66:00:00:01", "driver", "start");
    assert_eq!(other.json().get("events_dropped"), None);
}

#[test]
fn a_history_keeps_1000_events_unless_told_otherwise() {
    let event = |number: usize| {
        format!(
            r#"{{"stage":"payload","phase":"progress","timestamp":"2026-01-01T00:00:00Z","detail":"{number}"}}"#
        )
    };
    let events: Vec<String> = (1..=999).map(event).collect();
    let state = format!("{{\"{MAC}\": {{\"stages\":[{}]}}}}", events.join(","));
    let service = Start::fresh().stage("state/clients.json", &state).service();
    let record = service.heartbeat(MAC, "verify", "start").json();
    assert_eq!(record["stages"].as_array().unwrap().len(), 1000);
    assert_eq!(record.get("events_dropped"), None);
    let record = service.heartbeat(MAC, "verify", "done").json();
    assert_eq!(record["stages"].as_array().unwrap().len(), 1000);
    assert_eq!(record["stages"][0]["detail"], "2");
    assert_eq!(record["events_dropped"], 1);
}

#[test]
fn a_device_that_hangs_up_right_after_sending_is_on_record() {
    const DEVICES: usize = 100;
    // They have one address here.
    let service = Start::fresh().env("PEER_CONNECTIONS", "256").service();
    for device in 0..DEVICES {
        let body = format!(
            r#"{{"mac": "3c:6d:66:00:01:{device:02x}", "stage": "ready", "phase": "done"}}"#
        );
        let head = format!(
            "POST /heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(service.address).unwrap();
        stream.write_all((head + &body).as_bytes()).unwrap();
    }
    eventually("a record of each device", || {
        let clients = service.get("/clients").json();
        (clients.as_object().unwrap().len() == DEVICES).then_some(())
    });
}

#[test]
fn a_device_that_closes_its_sending_half_still_gets_the_answer() {
    let service = Start::fresh().service();
    let body = format!(r#"{{"mac": "{MAC}", "stage": "ready", "phase": "done"}}"#);
    let head = format!(
        "POST /heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(service.address).unwrap();
    stream.write_all((head + &body).as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let answer = read_response(&mut stream).unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["current_stage"], "ready");
}

#[test]
fn facts_and_warnings_are_on_record_and_wrong_ones_are_a_422_that_changes_nothing() {
    let service = Start::fresh().service();
    let post = |body: &Value| service.post("/heartbeat", &body.to_string());
    let facts = json!({"kernel": "6.17.0-1008-nvidia", "padding": "x".repeat(32 * 1024 - 44)});
    assert_eq!(facts.to_string().len(), 32 * 1024);
    let warnings: Vec<Value> = (0..64)
        .map(|n| json!({"check": format!("check-{n}"), "reason": "\"".repeat(200), "waived": true}))
        .collect();
    let body = json!({"mac": MAC, "stage": "verify", "phase": "done", "facts": facts, "warnings": warnings});
    let answer = post(&body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let record = answer.json();
    assert_eq!(record["facts"], facts);
    assert_eq!(record["facts_at"], record["last_heartbeat"]);
    assert_eq!(record["warnings"], json!({"verify": warnings}));
    for (field, value, detail) in [
        ("facts", json!("none"), "facts: a text: expected an object".to_owned()),
        (
            "facts",
            json!({"kernel": "x".repeat(32 * 1024)}),
            "facts: 32781 bytes long: at most 32768 are kept".to_owned(),
        ),
        ("warnings", json!("none"), "warnings: no list: expected a list of objects with check and reason".to_owned()),
        (
            "warnings",
            json!([{"check": "a", "reason": "x"}, {"check": "\u{1b}[2J", "reason": "x"}]),
            "warnings: [1]: check: \"\\u{1b}[2J\" is no name of a check: expected 1 to 40 lower-case letters, digits and hyphens".to_owned(),
        ),
    ] {
        let mut body = json!({"mac": MAC, "stage": "ready", "phase": "done"});
        body[field] = value;
        let problem = post(&body).problem(422);
        assert_eq!((&problem["field"], &problem["detail"]), (&json!(field), &json!(detail)));
    }
    assert_eq!(service.get(&format!("/clients/{MAC}")).json(), record);
    // It is there after a start, too.
    let data = service.data.clone();
    let text = std::fs::read_to_string(data.join("state/clients.json")).unwrap();
    assert!(text.contains(r#""facts":{"kernel":"#), "{}", &text[..400]);
}
