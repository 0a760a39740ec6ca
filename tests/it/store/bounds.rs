//! Shows what bounds the records: bytes of a device, devices of a sender, and what gives way; and
//! that what others wrote into the file stays there.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::beats::*;
use crate::support::*;

fn heartbeat_with(service: &Service, mac: &str, detail: &str) -> Response {
    let beat = json!({"mac": mac, "stage": "payload", "phase": "progress", "detail": detail});
    service.post("/heartbeat", &beat.to_string())
}

// ---- Bytes of a device ---------------------------------------------------------------------

#[test]
fn a_record_is_bounded_in_bytes_by_short_details_first_and_dropped_events_then() {
    let service = Start::fresh().service();
    // Six bytes of JSON each: the worst that a box can do with a detail.
    let detail = "\u{1}".repeat(2650);
    for n in 0..120 {
        let answer = heartbeat_with(&service, &mac(1), &format!("{n} {detail}"));
        assert_eq!(answer.status, 200);
        assert!(
            answer.body.len() <= 256 * 1024,
            "{n}: {}",
            answer.body.len()
        );
    }
    let record = service.get(&format!("/clients/{}", mac(1))).json();
    let stages = record["stages"].as_array().unwrap();
    assert_eq!(
        stages.len(),
        120,
        "no event is dropped while details can be cut"
    );
    assert!(record["details_shortened"].as_u64().unwrap() > 50);
    assert_eq!(record.get("events_dropped"), None);
    // The newest is whole, the oldest says that it is not.
    assert_eq!(stages[119]["detail"], format!("119 {detail}"));
    let oldest = stages[0]["detail"].as_str().unwrap();
    assert!(
        oldest.starts_with("0 ") && oldest.ends_with('…'),
        "{oldest}"
    );
    // Where the events came in stays as it was.
    for (n, event) in stages.iter().enumerate() {
        assert!(
            event["detail"]
                .as_str()
                .unwrap()
                .starts_with(&format!("{n} "))
        );
    }
}

#[test]
fn a_small_bound_drops_the_oldest_events_and_counts_them() {
    let service = Start::fresh().env("RECORD_BYTES", "4096").service();
    for n in 0..200 {
        let answer = heartbeat_with(&service, &mac(1), &format!("beat {n}"));
        assert!(answer.body.len() <= 4096, "{}", answer.body.len());
    }
    let record = service.get(&format!("/clients/{}", mac(1))).json();
    let stages = record["stages"].as_array().unwrap();
    let dropped = record["events_dropped"].as_u64().unwrap() as usize;
    assert_eq!(dropped + stages.len(), 200);
    assert_eq!(stages.last().unwrap()["detail"], "beat 199");
    assert_eq!(stages[0]["detail"], format!("beat {dropped}"));
}

#[test]
fn no_box_makes_the_commits_of_others_slow() {
    let service = Start::fresh().service();
    let detail = "\u{2}".repeat(2650);
    std::thread::scope(|scope| {
        let mad = scope.spawn(|| {
            for _ in 0..300 {
                heartbeat_with(&service, &mac(1), &detail);
            }
        });
        while !mad.is_finished() {
            let beat = service.heartbeat(&mac(2), "network", "done");
            assert_eq!(beat.status, 200);
        }
    });
    let size = fs::metadata(service.state_file()).unwrap().len();
    assert!(size < 600 * 1024, "{size}");
}

// ---- Devices of a sender -------------------------------------------------------------------

fn records(service: &Service) -> usize {
    service.get("/clients").json().as_object().unwrap().len()
}

fn invented(n: usize) -> String {
    format!("02:bd:00:00:{:02x}:{:02x}", n / 256, n % 256)
}

#[test]
fn fetches_of_invented_macs_make_no_records() {
    let service = Start::fresh().env("MAX_CLIENTS", "50").service();
    for n in 0..300 {
        let seed = service.get_as_box(&format!("/cloud-init/{}/user-data", invented(n)));
        assert_eq!(seed.status, 200);
    }
    // A new box still has its place, and its round would have taken theirs along.
    assert_eq!(service.heartbeat(&mac(1), "network", "done").status, 200);
    assert_eq!(records(&service), 1);
}

#[test]
fn one_address_makes_records_of_so_many_unconfirmed_devices_and_no_more() {
    let service = Start::fresh().service();
    let beat = |from, n| {
        let body = json!({"mac": invented(n), "stage": "network", "phase": "done"}).to_string();
        request_from(
            Some(from),
            service.address,
            "POST",
            "/heartbeat",
            &[],
            body.as_bytes(),
        )
        .unwrap()
    };
    let statuses: Vec<u16> = (0..300).map(|n| beat(BOX, n).status).collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        256
    );
    assert!(statuses[256..].iter().all(|status| *status == 507));
    // Those that are on record go on, and another address has its own.
    assert_eq!(beat(BOX, 7).status, 200);
    assert_eq!(beat("127.0.0.3".parse().unwrap(), 299).status, 200);
    let problem = beat(BOX, 298).problem(507);
    assert!(
        problem["detail"].as_str().unwrap().contains("devices.json"),
        "{problem}"
    );
}

#[test]
fn in_a_full_table_the_oldest_that_nothing_confirms_gives_way_to_what_something_does() {
    let folder = tempfile::tempdir().unwrap();
    let known = json!({mac(1): {}, mac(2): {}, mac(3): {}}).to_string();
    let start = || {
        Start::on(folder.path())
            .env("MAX_CLIENTS", "4")
            .stage("devices.json", &known)
            .service()
    };
    let service = start();
    assert_eq!(service.heartbeat(&mac(1), "network", "done").status, 200);
    for n in 0..3 {
        assert_eq!(
            service.heartbeat(&invented(n), "network", "done").status,
            200
        );
    }
    // An invented one takes nobody's place.
    service
        .heartbeat(&invented(9), "network", "done")
        .problem(507);
    // Also after a restart it is known which ones nothing confirms.
    assert_eq!(service.stop().code(), Some(0));
    let service = start();
    assert_eq!(
        service
            .heartbeat(&invented(0), "network", "progress")
            .status,
        200
    );
    for n in 2..=3 {
        assert_eq!(service.heartbeat(&mac(n), "network", "done").status, 200);
    }
    let clients = service.get("/clients").json();
    let left: Vec<&String> = clients.as_object().unwrap().keys().collect();
    assert_eq!(left, [&mac(1), &mac(2), &mac(3), &invented(0)]);
    service.wait_for_log(&["WARN", "the table of devices is full (4)", "give way"]);
}

// ---- An operator forgets a device -----------------------------------------------------------

fn forget(data: &std::path::Path, macs: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(BINARY)
        .arg("forget")
        .args(macs)
        .env("DATA_PATH", data)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn a_device_is_forgotten_whether_the_service_runs_or_not_and_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let service = Start::on(folder.path()).service();
    for n in 1..=3 {
        assert_eq!(service.heartbeat(&mac(n), "network", "done").status, 200);
    }
    let slug = mac(1).to_uppercase().replace(':', "-");
    let (code, text) = forget(folder.path(), &[&slug]);
    let forgotten = format!("forgotten: {}\n", mac(1));
    let warned = "is a new box now: its next boot from the network installs it";
    assert_eq!(
        (code, text),
        (Some(0), format!("{forgotten}{} {warned}\n", mac(1)))
    );
    service.get(&format!("/clients/{}", mac(1))).problem(404);
    // What the service writes next has it no more, either.
    assert_eq!(service.heartbeat(&mac(2), "storage", "done").status, 200);
    assert_eq!(records(&service), 2);

    assert_eq!(service.stop().code(), Some(0));
    let (code, text) = forget(folder.path(), &[&mac(2), &mac(9)]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("forgotten: {}", mac(2))), "{text}");
    assert!(
        text.contains(&format!("no device with that MAC is on record: {}", mac(9))),
        "{text}"
    );
    let left = clients_in(folder.path()).unwrap();
    assert_eq!(
        left.as_object().unwrap().keys().collect::<Vec<_>>(),
        [&mac(3)]
    );

    let (code, text) = forget(folder.path(), &["no-mac"]);
    assert_eq!(code, Some(2), "{text}");

    // Which is not so by every policy.
    let devices = format!(r#"{{"{}": {{"install": "armed"}}}}"#, mac(3));
    stage(folder.path(), "devices.json", &devices);
    let (code, text) = forget(folder.path(), &[&mac(3)]);
    assert_eq!((code, text), (Some(0), format!("forgotten: {}\n", mac(3))));
}

// ---- What others wrote ---------------------------------------------------------------------

#[test]
fn a_record_that_is_none_stays_as_it_is_and_costs_the_others_nothing() {
    let clients = json!({mac(1): null, mac(2): [1, 2], mac(3): "text",
        mac(4): {"mac": mac(4), "stages": [], "note": "kept"}});
    let service = Start::fresh()
        .stage("state/clients.json", &clients.to_string())
        .service();
    assert_eq!(service.heartbeat(&mac(5), "network", "done").status, 200);
    let after = service.get("/clients").json();
    for n in 1..=4 {
        assert_eq!(after[mac(n)], clients[mac(n)], "{n}");
    }
    assert_eq!(
        service.get(&format!("/clients/{}", mac(2))).json(),
        json!([1, 2])
    );
    for n in 1..=3 {
        let told = service.log();
        assert_eq!(
            told.matches(&format!("no record under {}", mac(n))).count(),
            1,
            "{told}"
        );
    }
    // Where the device reports, its record takes the place, and keeps what was there.
    let record = service.heartbeat(&mac(2), "network", "done").json();
    assert_eq!(record["before"], json!([1, 2]));
    assert_eq!(record["mac"], mac(2));
    let names = fs::read_dir(service.data.join("state")).unwrap().count();
    assert_eq!(names, 2, "nothing was moved aside");
}

#[test]
fn unknown_values_of_known_fields_are_kept() {
    let devices = json!({mac(1): {}, mac(2): {}}).to_string();
    let fetch = json!({"timestamp": "2026-11-01T10:00:00.000Z", "ip": "10.88.0.9",
        "template": "staged", "mac_source": "path"});
    let clients = json!({
        mac(1): {"mac": mac(1), "seed": {"count": 2, "first": fetch, "last": fetch, "rack": [7]},
            "events_dropped": "many", "stages": []},
        mac(2): {"mac": mac(2), "seed": "sown", "stages": []},
    });
    let service = Start::fresh()
        .env("HISTORY_LIMIT", "1")
        .stage("devices.json", &devices)
        .stage("state/clients.json", &clients.to_string())
        .service();
    for n in 1..=2 {
        service.get_as_box(&format!("/cloud-init/{}/user-data", mac(n)));
        for _ in 0..2 {
            assert_eq!(service.heartbeat(&mac(n), "network", "done").status, 200);
        }
    }
    let after = eventually("the fetch on record", || {
        let clients = service.get("/clients").json();
        (clients[mac(1)]["seed"]["count"] == 3).then_some(clients)
    });
    assert_eq!(after[mac(1)]["seed"]["rack"], json!([7]));
    assert_eq!(after[mac(1)]["seed"]["first"], fetch);
    assert_eq!(after[mac(1)]["events_dropped"], "many");
    assert_eq!(after[mac(2)]["seed"], "sown");
}

#[test]
fn a_key_that_stands_twice_is_warned_of() {
    let text = format!(
        r#"{{"{0}": {{"stages": [], "n": 1}}, "{0}": {{"stages": [], "n": 2}}}}"#,
        mac(1)
    );
    let service = Start::fresh().stage("state/clients.json", &text).service();
    service.wait_for_log(&["WARN", &mac(1), "twice"]);
    assert_eq!(service.get("/clients").json()[mac(1)]["n"], 2);
}

#[test]
fn a_symlink_in_the_place_of_the_file_is_refused_with_a_word_and_not_replaced() {
    let service = Start::fresh().service();
    assert_eq!(service.heartbeat(&mac(1), "network", "done").status, 200);
    let elsewhere = service.data.join("elsewhere.json");
    fs::rename(service.state_file(), &elsewhere).unwrap();
    symlink(&elsewhere, service.state_file()).unwrap();
    service.heartbeat(&mac(1), "network", "done").problem(503);
    service.wait_for_log(&["clients.json is a symbolic link: expected a regular file"]);
    assert!(service.state_file().is_symlink());
    let kept: Value = serde_json::from_slice(&fs::read(&elsewhere).unwrap()).unwrap();
    assert_eq!(kept[mac(1)]["stages"].as_array().unwrap().len(), 1);
}
