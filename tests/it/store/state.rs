//! `clients.json`: its form, what it keeps of the former service's file, and what becomes of a
//! file that cannot be read.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::*;
use indexmap::IndexMap;
use serde_json::Value;
use serde_json::value::RawValue;

const MAC: &str = "3c:6d:66:0a:1b:2c";

/// As the former Python service's `json.dump(clients, file, indent=2)` wrote it.
const LEGACY: &str = include_str!("../data/legacy-clients.json");

/// The values of a JSON object as they are written.
type Fields = IndexMap<String, Box<RawValue>>;

fn fields(text: &str) -> Fields {
    serde_json::from_str(text).unwrap()
}

/// JSON without the white space between its tokens; the tokens are as they were.
fn tokens(text: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let mut kept = String::new();
    for c in text.chars() {
        if inside || !c.is_ascii_whitespace() {
            kept.push(c);
        }
        if c == '"' && !escaped {
            inside = !inside;
        }
        escaped = c == '\\' && !escaped;
    }
    kept
}

/// What lies beside `clients.json` under a name that says it is corrupt.
fn moved_aside(service: &Service) -> Vec<PathBuf> {
    let folder = service.state_file().parent().unwrap().to_owned();
    let paths = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_aside = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("clients.json.corrupt-")
    };
    paths.filter(is_aside).collect()
}

/// Puts a file in the place of `clients.json`, as another process would.
fn replace(state_file: &Path, bytes: &[u8]) {
    let new = state_file.with_extension("json.other");
    fs::write(&new, bytes).unwrap();
    fs::rename(new, state_file).unwrap();
}

#[test]
fn the_file_has_mode_0640_under_any_umask() {
    for umask in ["0000", "0022", "0077", "0777"] {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        fs::create_dir(&state).unwrap();
        // A crash may have left one behind, of another mode.
        let left = state.join("clients.json.tmp");
        fs::write(&left, "left by a crash").unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o666)).unwrap();

        let mut shell = Command::new("sh");
        shell.args(["-c", &format!(r#"umask {umask}; exec "$0""#), BINARY]);
        let service = Start::by(shell, folder.path()).service();
        for phase in ["start", "done"] {
            let answer = service.heartbeat(MAC, "network", phase);
            // Under 0777 nobody but root could open the lock file again.
            if umask == "0777" && !is_root() {
                break;
            }
            assert_eq!(answer.status, 200);
            let mode = fs::metadata(service.state_file())
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o7777, 0o640, "umask {umask}");
        }
    }
}

#[test]
fn the_file_has_a_record_a_line_sorted_by_mac() {
    let service = Start::fresh().service();
    let macs = [
        "3c:6d:66:00:00:09",
        "02:00:00:00:00:01",
        "fc:6d:66:00:00:01",
        "3c:6d:66:00:00:0a",
    ];
    for mac in macs {
        assert_eq!(service.heartbeat(mac, "network", "done").status, 200);
    }
    let text = fs::read_to_string(service.state_file()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let starts: Vec<&str> = lines
        .iter()
        .map(|line| line.get(..22).unwrap_or(line))
        .collect();
    assert_eq!(
        starts,
        [
            "{",
            r#""02:00:00:00:00:01": {"#,
            r#""3c:6d:66:00:00:09": {"#,
            r#""3c:6d:66:00:00:0a": {"#,
            r#""fc:6d:66:00:00:01": {"#,
            "}",
        ]
    );
    assert!(text.ends_with("}\n"));
    for line in &lines[1..5] {
        // So that `grep MAC clients.json` gives a whole record.
        let record = line.strip_suffix(',').unwrap_or(line);
        serde_json::from_str::<Value>(&format!("{{{record}}}")).unwrap();
    }
    assert_eq!(
        serde_json::from_str::<Value>(&text)
            .unwrap()
            .as_object()
            .unwrap()
            .len(),
        4
    );

    // So that a diff shows what changed.
    assert_eq!(
        service
            .heartbeat("3c:6d:66:00:00:09", "storage", "fail")
            .status,
        200
    );
    let after = fs::read_to_string(service.state_file()).unwrap();
    let changed: Vec<&str> = after
        .lines()
        .zip(&lines)
        .filter(|(new, old)| new != *old)
        .map(|(new, _)| new)
        .collect();
    assert_eq!(after.lines().count(), lines.len());
    assert_eq!(changed.len(), 1);
    assert!(changed[0].starts_with(r#""3c:6d:66:00:00:09": {"mac":"3c:6d:66:00:00:09","#));
}

#[test]
fn get_clients_is_the_file_byte_for_byte() {
    let service = Start::fresh().service();
    let empty = service.get("/clients");
    assert_eq!((empty.status, empty.text()), (200, "{\n}\n"));
    assert_eq!(empty.header("content-type"), "application/json");
    for number in 0..20 {
        let mac = format!("3c:6d:66:00:00:{:02x}", number % 7);
        assert_eq!(service.heartbeat(&mac, "payload", "progress").status, 200);
        let clients = service.get("/clients");
        assert_eq!(clients.body, fs::read(service.state_file()).unwrap());
        assert_eq!(
            clients.header("content-length"),
            clients.body.len().to_string()
        );
    }
    // Also once another process replaced it, or took it away.
    let other = "{\n\"02:00:00:00:00:01\": {\"mac\":\"02:00:00:00:00:01\",\"stages\":[]}\n}\n";
    replace(&service.state_file(), other.as_bytes());
    assert_eq!(service.get("/clients").text(), other);
    fs::remove_file(service.state_file()).unwrap();
    assert_eq!(service.get("/clients").text(), "{\n}\n");
}

#[test]
fn a_record_is_found_by_any_spelling_of_its_mac() {
    let service = Start::fresh().service();
    let record = service.heartbeat(MAC, "network", "done");
    for spelling in [
        "3c:6d:66:0a:1b:2c",
        "3C:6D:66:0A:1B:2C",
        "3c-6d-66-0a-1b-2c",
        "01-3C-6D-66-0A-1B-2C",
        "3c6d.660a.1b2c",
        "3c6d660a1b2c",
        "3c%3A6d%3a66%3A0a%3A1b%3A2c",
    ] {
        let answer = service.get(&format!("/clients/{spelling}"));
        assert_eq!(answer.status, 200, "{spelling}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.body, record.body, "{spelling}");
    }
    let unknown = service.get("/clients/3c:6d:66:0a:1b:2d").problem(404);
    assert_eq!(unknown["detail"], "no device with that MAC is on record");
    for (wrong, expected) in [
        (
            "unknowns",
            "\"unknowns\" is not a MAC address: expected six octets in hexadecimal",
        ),
        ("3c:6d:66:0a:1b", "expected six octets in hexadecimal"),
        ("00:00:00:00:00:00", "is the all-zero address"),
        ("ff-ff-ff-ff-ff-ff", "is the broadcast address"),
        ("%ff", "cannot be decoded"),
    ] {
        let problem = service.get(&format!("/clients/{wrong}")).problem(400);
        assert!(
            problem["detail"].as_str().unwrap().contains(expected),
            "{problem}"
        );
    }
}

#[test]
fn the_former_services_file_loads_and_survives_to_the_letter() {
    let folder = tempfile::tempdir().unwrap();
    stage(folder.path(), "state/clients.json", LEGACY);
    let spellings = [
        ("3c:6d:66:0a:1b:2c", "3C:6D:66:0A:1B:2C"),
        ("3c:6d:66:0a:1b:2d", "3c-6d-66-0a-1b-2d"),
        ("3c:6d:66:0a:1b:2e", "3c:6d:66:0a:1b:2e"),
        ("3c:6d:66:0a:1b:2f", "3c:6d:66:0a:1b:2f"),
    ];
    let legacy = fields(LEGACY);

    // Until the first heartbeat the file is the old one; what is served are its records.
    let service = Start::on(folder.path()).service();
    assert_eq!(fs::read_to_string(service.state_file()).unwrap(), LEGACY);
    let served = fields(service.get("/clients").text());
    assert_eq!(
        served.keys().collect::<Vec<_>>(),
        spellings.map(|(mac, _)| mac)
    );
    for (mac, old_key) in spellings {
        let (old, new) = (fields(legacy[old_key].get()), fields(served[mac].get()));
        assert_eq!(
            old.keys().collect::<BTreeSet<_>>(),
            new.keys().collect::<BTreeSet<_>>(),
            "{mac}"
        );
        for (field, value) in &old {
            assert_eq!(new[field].get(), tokens(value.get()), "{mac}: {field}");
        }
        assert_eq!(
            service.get(&format!("/clients/{mac}")).text(),
            served[mac].get()
        );
    }
    // Some of the above in plain words.
    let record = service.get("/clients/3c:6d:66:0a:1b:2e");
    for kept in [
        r#""serial":18446744073709551616123"#,
        r#""clock_drift":1e-07"#,
        r#""notes":"line one\nline two\t\"quoted\" {not: json, [at] all} \\ ""#,
        r#"{"stage":"install","phase":"start","timestamp":"2025-03-01T09:15:42.123456+00:00"}"#,
        r#"{"stage":"bios_update","phase":"progress","timestamp":"2025-03-01T09:33:00+00:00","detail":"60 \u00b0C, 3 of 4 \u2713","attempt":2,"retried_after":1.5}"#,
        r#""timestamp":"2025-03-01T09:58:00+00:00","detail":null}"#,
    ] {
        assert!(
            record.text().contains(kept),
            "{kept} is not in {}",
            record.text()
        );
    }

    // Heartbeats of three of the four.
    let reports = &spellings[..3];
    for (mac, _) in reports {
        assert_eq!(service.heartbeat(mac, "verify", "start").status, 200);
    }
    assert!(service.stop().success());
    let service = Start::on(folder.path()).service();
    assert_eq!(
        service.heartbeat(reports[0].0, "verify", "done").status,
        200
    );

    let text = fs::read_to_string(service.state_file()).unwrap();
    assert_eq!(service.get("/clients").text(), text);
    assert_eq!(text.lines().count(), 6);
    let now = fields(&text);
    assert_eq!(
        now.keys().collect::<Vec<_>>(),
        spellings.map(|(mac, _)| mac)
    );
    for (index, (mac, old_key)) in spellings.into_iter().enumerate() {
        let (old, new) = (fields(legacy[old_key].get()), fields(now[mac].get()));
        let set_by_heartbeats = ["mac", "ip", "hostname", "current_stage", "last_heartbeat"];
        for (field, value) in &old {
            if index == 3 || !set_by_heartbeats.contains(&field.as_str()) && field != "stages" {
                assert_eq!(new[field].get(), tokens(value.get()), "{mac}: {field}");
            }
        }
        // The events of then come first, unchanged.
        let events = |text: &str| serde_json::from_str::<Vec<Box<RawValue>>>(text).unwrap();
        let (old, new) = (events(old["stages"].get()), events(new["stages"].get()));
        assert_eq!(new.len(), old.len() + [2, 1, 1, 0][index]);
        for (old, new) in old.iter().zip(&new) {
            assert_eq!(new.get(), tokens(old.get()), "{mac}");
        }
    }
    let record = service.get("/clients/3c:6d:66:0a:1b:2c").json();
    assert_eq!(record["mac"], "3c:6d:66:0a:1b:2c");
    assert_eq!(record["hostname"], "rack-7-left");
    assert_eq!(record["current_stage"], "verify");
    assert_eq!(record["first_seen"], "2025-02-28T23:59:59.000001+00:00");
    // A host name that was null is the default one now.
    let record = service.get("/clients/3c:6d:66:0a:1b:2d").json();
    assert_eq!(record["hostname"], "gb10-pxe-3c-6d-66-0a-1b-2d");
    assert_eq!(record["ip"], "127.0.0.1");
    assert_eq!(moved_aside(&service).len(), 0);
}

#[test]
fn half_a_character_that_python_wrote_survives() {
    // Python reads a stray byte of a program's output as a lone surrogate, and json.dump writes it.
    let odd = r#"{"mac": "3c:6d:66:0a:1b:2c", "vendor": "caf\udce9", "stages": [{"stage": "driver", "phase": "fail", "timestamp": "2025-03-01T09:15:42+00:00", "detail": "\udcff"}]}"#;
    let state = format!("{{\"{MAC}\": {odd}}}");
    let service = Start::fresh().stage("state/clients.json", &state).service();
    let record = service.heartbeat(MAC, "driver", "done");
    assert_eq!(record.status, 200);
    assert!(
        record.text().contains(r#""vendor":"caf\udce9""#),
        "{}",
        record.text()
    );
    assert!(
        record.text().contains(r#""detail": "\udcff"}"#),
        "{}",
        record.text()
    );
    assert_eq!(moved_aside(&service).len(), 0);
}

#[test]
fn two_spellings_of_one_mac_do_not_make_one_record_of_two() {
    let state = r#"{
        "3C:6D:66:0A:1B:2C": {"mac": "3C:6D:66:0A:1B:2C", "hostname": "old", "stages": []},
        "3c:6d:66:0a:1b:2c": {"mac": "3c:6d:66:0a:1b:2c", "hostname": "new", "stages": []}
    }"#;
    let service = Start::fresh().stage("state/clients.json", state).service();
    assert_eq!(
        service.heartbeat(MAC, "driver", "done").json()["hostname"],
        "new"
    );
    let clients = service.get("/clients").json();
    assert_eq!(clients["3C:6D:66:0A:1B:2C"]["hostname"], "old");
    assert_eq!(clients[MAC]["stages"].as_array().unwrap().len(), 1);
}

#[test]
fn a_file_that_is_corrupt_at_the_start_is_moved_aside_and_the_service_goes_on() {
    let half = &LEGACY.as_bytes()[..LEGACY.len() / 2];
    let twice = LEGACY.repeat(2);
    let kinds: [&[u8]; 8] = [
        b"",
        b"\n",
        b"not JSON at all",
        b"[]",
        b"null",
        b"{\"3c:6d:66:0a:1b:2c\": {\"mac\": \"\xff\xfe\"}}",
        // What some file systems leave of a file after a power cut.
        &[0; 4096],
        half,
    ];
    for bytes in kinds.into_iter().chain([twice.as_bytes()]) {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let folder = tempfile::tempdir().unwrap();
        stage(folder.path(), "state/clients.json", "");
        let state_file = folder.path().join("state/clients.json");
        fs::write(&state_file, bytes).unwrap();
        let service = Start::on(folder.path()).service();
        service.wait_for_log(&[
            "ERROR",
            "clients.json is corrupt",
            "clients.json.corrupt-20",
        ]);
        let aside = moved_aside(&service);
        assert_eq!(aside.len(), 1, "{shown}");
        assert_eq!(fs::read(&aside[0]).unwrap(), bytes, "{shown}");
        assert_eq!(service.get("/clients").text(), "{\n}\n", "{shown}");
        assert_eq!(
            service.heartbeat(MAC, "driver", "done").status,
            200,
            "{shown}"
        );
        assert_eq!(service.get("/healthz").json()["status"], "ok");
        assert_eq!(moved_aside(&service), aside, "{shown}");
        assert_eq!(fs::read(&aside[0]).unwrap(), bytes, "{shown}");
    }
}

#[test]
fn a_file_cut_short_anywhere_while_running_is_moved_aside_whole() {
    // Each takes the half second in which an editor might go on: so many at once.
    let cuts: Vec<usize> = (0..LEGACY.len()).step_by(61).collect();
    std::thread::scope(|scope| {
        for cuts in cuts.chunks(cuts.len().div_ceil(6)) {
            scope.spawn(|| cut_short(cuts));
        }
    });
}

/// Cuts the file of a running service at each of these places.
fn cut_short(cuts: &[usize]) {
    let service = Start::fresh().service();
    for (round, cut) in cuts.iter().enumerate() {
        let bytes = &LEGACY.as_bytes()[..*cut];
        replace(&service.state_file(), bytes);
        // Whoever comes first finds it: a reader or a writer.
        if round % 2 == 0 {
            assert_eq!(service.get("/clients").text(), "{\n}\n", "cut at {cut}");
        } else {
            let record = service.heartbeat(MAC, "driver", "done");
            assert_eq!(record.status, 200, "cut at {cut}");
            assert_eq!(record.json()["stages"].as_array().unwrap().len(), 1);
            let clients = service.get("/clients").json();
            assert_eq!(clients.as_object().unwrap().len(), 1, "cut at {cut}");
        }
        let aside = moved_aside(&service);
        assert_eq!(aside.len(), 1, "cut at {cut}");
        assert_eq!(fs::read(&aside[0]).unwrap(), bytes, "cut at {cut}");
        fs::remove_file(&aside[0]).unwrap();
    }
    service.wait_for_log(&[
        "ERROR",
        "clients.json is corrupt",
        "clients.json.corrupt-20",
    ]);
}

#[test]
fn corrupt_files_within_one_second_are_all_kept() {
    let service = Start::fresh().service();
    let mut contents = BTreeSet::new();
    for number in 0..20 {
        let content = format!("broken, number {number}");
        replace(&service.state_file(), content.as_bytes());
        contents.insert(content);
        match number % 2 {
            0 => assert_eq!(service.get("/clients").status, 200),
            _ => assert_eq!(service.heartbeat(MAC, "driver", "done").status, 200),
        }
        // Two of them had the same second for a name.
        if number >= 3 && seconds_of(&moved_aside(&service)).len() < contents.len() {
            break;
        }
    }
    let aside = moved_aside(&service);
    let kept: BTreeSet<String> = aside
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    assert_eq!(kept, contents);
    let seconds = seconds_of(&aside);
    assert!(seconds.len() < aside.len(), "void: {seconds:?}");
}

/// The seconds in the names of files that were moved aside.
fn seconds_of(aside: &[PathBuf]) -> BTreeSet<String> {
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap()[..37].to_owned();
    aside.iter().map(name).collect()
}

#[test]
fn a_corrupt_file_of_the_same_second_is_not_overwritten_by_another_process() {
    // Many names may be taken already, whoever took them.
    let service = Start::fresh().service();
    let now = jiff::Timestamp::now();
    for second in 0..20 {
        let time = now + jiff::SignedDuration::from_secs(second);
        let name = time
            .strftime("clients.json.corrupt-%Y%m%dT%H%M%SZ")
            .to_string();
        service.stage(&format!("state/{name}"), "of another process");
    }
    replace(&service.state_file(), b"broken");
    assert_eq!(service.get("/clients").text(), "{\n}\n");
    let contents = moved_aside(&service)
        .into_iter()
        .map(|path| fs::read_to_string(path).unwrap());
    let mut contents: Vec<String> = contents.collect();
    contents.sort();
    let mut expected = vec!["of another process"; 20];
    expected.insert(0, "broken");
    assert_eq!(contents, expected);
}
