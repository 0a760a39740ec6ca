//! Who may read the records by `gb10-provision-api clients`, what it says of the service, and that
//! it is for machines, too. What it prints is in `golden/`.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::beats::*;
use crate::support::needs::{Need, needs, skip};
use crate::support::*;

fn clients(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .arg("clients")
        .args(arguments)
        .env("DATA_PATH", data)
        .env_remove("COLUMNS");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn parsed(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn it_says_the_same_while_the_service_runs_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let service = Start::on(folder.path()).service();
    assert_eq!(service.heartbeat(&mac(1), "driver", "fail").status, 200);
    assert_eq!(service.heartbeat(&mac(2), "ready", "done").status, 200);
    let running = clients(folder.path(), &[]).output().unwrap();
    assert!(running.status.success(), "{running:?}");
    assert!(
        text(&running.stdout).contains("2 boxes: 1 failed, 0 stalled, 0 on their way, 1 ready")
    );
    // The counts are those of the service.
    let health = service.get("/healthz").json();
    let listing = parsed(&clients(folder.path(), &["--json"]).output().unwrap());
    for (of_health, of_listing) in [
        ("clients", "known"),
        ("ready", "ready"),
        ("on_their_way", "on_their_way"),
        ("failed", "failed"),
        ("stalled", "stalled"),
    ] {
        assert_eq!(
            health[of_health], listing["totals"][of_listing],
            "{of_health}"
        );
    }
    assert!(service.stop().success());
    let stopped = clients(folder.path(), &[]).output().unwrap();
    assert_eq!(text(&stopped.stdout), text(&running.stdout));
}

/// What asks systemd is a stand-in: the real one is asked by the tests of the package.
#[test]
fn it_says_how_the_service_is_that_has_these_records() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    stage(&data, "state/clients.json", "{}");
    let systemctl = folder.path().join("systemctl");
    let run = |of_unit: &Path, states: &str, arguments: &[&str]| {
        let script = format!(
            "#!/bin/sh\ncase $* in *Environment*) echo 'Environment=DATA_PATH={}';; *) printf '{states}';; esac\n",
            of_unit.display()
        );
        fs::write(&systemctl, script).unwrap();
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        clients(&data, arguments)
            .env("PATH", path)
            .output()
            .unwrap()
    };
    for (states, expected, note) in [
        ("active\\n\\nactive\\n", "running", ""),
        ("reloading\\n\\nactive\\n", "running", ""),
        (
            "inactive\\n\\nactive\\n",
            "waiting",
            "the next connection starts it",
        ),
        (
            "inactive\\n\\ninactive\\n",
            "stopped",
            "systemctl start gb10-provision-api.socket",
        ),
        (
            "failed\\n\\nfailed\\n",
            "stopped",
            "systemctl start gb10-provision-api.socket",
        ),
        ("", "unknown", ""),
    ] {
        let listing = parsed(&run(&data, states, &["--json"]));
        assert_eq!(listing["service"], expected, "{states}");
        let stderr = text(&run(&data, states, &[]).stderr);
        assert!(
            stderr.contains(note) && stderr.is_empty() == note.is_empty(),
            "{states}: {stderr}"
        );
    }
    // The records of another service, or of none.
    let elsewhere = parsed(&run(
        Path::new("/elsewhere"),
        "active\\n\\nactive\\n",
        &["--json"],
    ));
    assert_eq!(elsewhere["service"], "unknown");
}

#[test]
fn members_of_the_group_may_read_and_others_are_told_who_may() {
    needs!(Need::Program("setpriv"));
    if !is_root() {
        return skip("needs root, to be somebody else");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let data = folder.path().join("data");
    let service = Start::on(&data).service();
    assert_eq!(service.heartbeat(&mac(1), "network", "done").status, 200);
    assert!(service.stop().success());
    // The group `daemon`, which every Debian has, in place of the package's.
    const GROUP: u32 = 1;
    for (name, mode) in [("state", 0o750), ("state/clients.json", 0o640)] {
        let path = data.join(name);
        std::os::unix::fs::chown(&path, Some(4321), Some(GROUP)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    // Where nobody can reach it.
    let binary = folder.path().join("binary");
    fs::copy(BINARY, &binary).unwrap();
    let run = |groups: &str, arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", groups])
            .arg(&binary)
            .args(arguments)
            .env("DATA_PATH", &data)
            .env_remove("COLUMNS");
        command.output().unwrap()
    };
    let story = mac(1);
    for arguments in [
        &["clients"][..],
        &["clients", "--json"],
        &["clients", &story],
    ] {
        let member = run("--groups=1", arguments);
        assert!(member.status.success(), "{member:?}");
        assert!(text(&member.stdout).contains(&mac(1)), "{member:?}");

        let other = run("--clear-groups", arguments);
        assert_eq!(other.status.code(), Some(1), "{other:?}");
        assert!(other.stdout.is_empty(), "{other:?}");
        let stderr = text(&other.stderr);
        assert!(stderr.contains("Permission denied"), "{stderr}");
        let expected = "expected root or a member of the group daemon";
        assert!(stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let record = json!({"mac": mac(1), "hostname": "x".repeat(63), "stages": []});
    let clients_json: serde_json::Map<String, Value> = (0..3000)
        .map(|n| {
            (
                format!("02:00:00:00:{:02x}:{:02x}", n / 256, n % 256),
                record.clone(),
            )
        })
        .collect();
    let text = serde_json::to_string(&clients_json).unwrap();
    stage(folder.path(), "state/clients.json", &text);
    for arguments in [&[][..], &["--json"]] {
        let mut command = clients(folder.path(), arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut first = [0; 10];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut first).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
    }
}

/// What docs/clients-json.md says of each field is what is printed: none is missing there.
#[test]
fn every_field_for_machines_is_documented() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clients-json.md");
    let document = fs::read_to_string(document).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = "2026-11-30T10:00:00.000Z";
    let record = json!({"mac": mac(1), "ip": "10.88.0.1", "hostname": "spark",
        "current_stage": "payload", "last_heartbeat": at, "events_dropped": 3,
        "seed": {"count": 1, "last": {"timestamp": at, "ip": "10.88.0.1", "template": "staged", "mac_source": "path"}},
        "boot": {"decision": "install", "reason": "it was never installed", "timestamp": at, "asked": 1},
        "stages": [{"stage": "payload", "phase": "progress", "timestamp": at, "detail": "40 %", "arp_mac": mac(2)}]});
    stage(
        folder.path(),
        "state/clients.json",
        &json!({mac(1): record}).to_string(),
    );
    stage(
        folder.path(),
        "devices.json",
        &json!({mac(1): {"role": "train"}}).to_string(),
    );
    let listing = parsed(&clients(folder.path(), &["--json"]).output().unwrap());
    let story = parsed(
        &clients(folder.path(), &["--json", &mac(1)])
            .output()
            .unwrap(),
    );
    let mut fields = Vec::new();
    fields_of(&listing, &mut fields);
    fields_of(&story, &mut fields);
    for field in [
        "role",
        "percent",
        "template",
        "reason",
        "arp_mac",
        "events_dropped",
        "logs",
    ] {
        assert!(
            fields.contains(&field.to_owned()),
            "{field} is not printed: {story}"
        );
    }
    for field in fields {
        assert!(
            document.contains(&format!("`{field}`")),
            "{field} is not documented"
        );
    }
}

fn fields_of(value: &Value, fields: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                fields.push(name.clone());
                fields_of(value, fields);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| fields_of(value, fields)),
        _ => {}
    }
}
