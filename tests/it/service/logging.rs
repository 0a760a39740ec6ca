//! Logging: one line per seed and per heartbeat with its fields, nothing that is nobody's business,
//! to stderr or to the journal.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use crate::support::needs::{Need, needs};
use crate::support::*;
use serde_json::json;

const MAC: &str = "3c:6d:66:0a:1b:2c";
const HASH: &str = "$6$saltsalt$0123456789abcdefghijklmnopqrstuvwxyz";

/// The lines of the log that have all of `parts`. To be asked once a later line was seen.
fn lines(service: &Service, parts: &[&str]) -> Vec<String> {
    let log = service.log();
    let has_all = |line: &&str| parts.iter().all(|part| line.contains(part));
    log.lines().filter(has_all).map(str::to_owned).collect()
}

/// Makes a line of its own and waits for it, so that all earlier ones are there.
fn flush(service: &Service, mark: &str) {
    service.get(&format!("/{mark}"));
    service.wait_for_log(&["request refused", mark]);
}

#[test]
fn a_heartbeat_that_is_too_large_is_one_line_with_its_status_and_reason() {
    let service = Start::fresh().service();
    let too_long =
        json!({"mac": MAC, "stage": "verify", "phase": "done", "detail": "x".repeat(4097)});
    for (body, status, reason) in [
        (&too_long.to_string(), "422", "4097 bytes long"),
        (&"x".repeat(64 * 1024 + 1), "413", "too large"),
    ] {
        service.post("/heartbeat", body);
        let line = service.wait_for_log(&["refused", "/heartbeat", status, reason]);
        assert!(line.contains("gb10.ip=127.0.0.1"), "{line}");
        assert!(line.contains(&format!("gb10.status={status}")), "{line}");
    }
    flush(&service, "mark");
    let found = lines(&service, &["refused", "method=POST"]);
    assert_eq!(found.len(), 2, "{found:?}");
}

/// At the most talkative level, all that is served and received is looked for in the log.
#[test]
fn no_level_shows_a_body_a_detail_or_a_password_hash() {
    let service = Start::fresh()
        .env("LOG", "trace")
        .env("FALLBACK_PASSWORD_HASH", HASH)
        .stage("onboard/file", "bytes-of-a-file")
        .service();
    let body = json!({
        "mac": MAC, "stage": "driver", "phase": "fail",
        "detail": "detail-of-a-device", "token": "unknown-field-of-a-device",
    });
    assert_eq!(service.post("/heartbeat", &body.to_string()).status, 200);
    for broken in [
        r#"{"detail": "detail-of-a-device""#.to_owned(),
        r#"{"detail": ["detail-of-a-device"], "stage": "driver", "phase": "fail", "mac": null}"#.to_owned(),
        json!({"mac": MAC, "detail": "detail-of-a-device", "phase": "fail"}).to_string(),
        json!({"mac": MAC, "stage": "driver", "phase": "fail", "detail": "detail-of-a-device".repeat(300)}).to_string(),
        "detail-of-a-device".repeat(2000),
    ] {
        assert!(service.post("/heartbeat", &broken).status >= 400);
    }
    // The hash is in what is served: by the embedded default, and by the fallback.
    let target = format!("/cloud-init/user-data?mac={MAC}");
    let seed = service.get(&target);
    assert!(seed.text().contains(HASH));
    service.stage(
        "cloud-init-templates/user-data.yaml.j2",
        "#cloud-config\np: {{ fallback_password_hash }} {{ nope }}\n",
    );
    let fallback = service.get(&target);
    assert!(fallback.text().contains(HASH));
    assert_eq!(service.get("/onboard/file").text(), "bytes-of-a-file");
    service.get("/clients");
    service.wait_for_log(&["WARN", "user-data.yaml.j2", "line=2", "undefined value"]);
    flush(&service, "mark");
    let log = service.log();
    for secret in [
        HASH,
        "saltsalt",
        "detail-of-a-device",
        "unknown-field-of-a-device",
        "bytes-of-a-file",
        "autoinstall",
        "{{",
    ] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

#[test]
fn a_device_cannot_write_lines_of_its_own() {
    let service = Start::fresh().service();
    let forged = "2026-01-01T00:00:00Z ERROR forged";
    let encoded = forged.replace(' ', "%20");
    service.get(&format!("/cloud-init/x%0a{encoded}/user-data"));
    service.get(&format!("/cloud-init/user-data?mac=x%0a{encoded}%1b%5b31m"));
    service.get(&format!("/onboard/x%0a{encoded}%1b%5b31m"));
    service.get(&format!("/clients/x%0d%0a{encoded}"));
    service.get(&format!("/x%0a{encoded}"));
    let body = json!({"mac": MAC, "stage": format!("x\n{forged}\u{1b}[31m"), "phase": "done"});
    service.post("/heartbeat", &body.to_string());
    let body = json!({"mac": format!("x\n{forged}"), "stage": "driver", "phase": "done"});
    service.post("/heartbeat", &body.to_string());
    flush(&service, "mark");
    let log = service.log();
    assert!(log.contains("forged"), "the test shows nothing:\n{log}");
    for line in log.lines() {
        assert!(!line.starts_with(forged), "{log}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
}

#[test]
fn the_level_is_what_log_says() {
    let folder = tempfile::tempdir().unwrap();
    let with_level = |level: &str| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let start = Start::on_sockets(folder.path(), [OwnedFd::from(listener)]);
        let service = start.env("LOG", level).service_at(address);
        assert_eq!(service.heartbeat(MAC, "network", "done").status, 200);
        assert_eq!(service.heartbeat(MAC, "driver", "fail").status, 200);
        service.get("/onboard/..%2fsecret");
        service
    };
    let info = with_level("info");
    info.wait_for_log(&["WARN", "not served"]);
    for part in [
        "listening on http://",
        "templates loaded",
        "INFO heartbeat",
        "WARN stage failed",
    ] {
        assert_eq!(lines(&info, &[part]).len(), 1, "{part}: {}", info.log());
    }
    assert!(lines(&info, &["DEBUG"]).is_empty());

    let warn = with_level("warn");
    warn.wait_for_log(&["WARN", "not served"]);
    assert_eq!(lines(&warn, &["INFO"]), [""; 0]);
    assert_eq!(lines(&warn, &["WARN stage failed"]).len(), 1);

    for level in [
        "error",
        "off",
        "warn,gb10_provision_api::http=error,gb10_provision_api::recorder=error",
    ] {
        let mut quiet = with_level(level);
        quiet.signal(rustix::process::Signal::TERM);
        assert!(quiet.wait_for_end().success());
        assert_eq!(quiet.log(), "", "{level}");
    }
    let one = with_level("off,gb10_provision_api::recorder=info");
    one.wait_for_log(&["WARN stage failed"]);
    assert_eq!(lines(&one, &["INFO heartbeat"]).len(), 1);
    assert_eq!(lines(&one, &["templates loaded"]), [""; 0]);
}

#[test]
fn without_the_journal_behind_it_stderr_gets_readable_lines() {
    // A shell that systemd started hands JOURNAL_STREAM down to what it redirects elsewhere.
    for stream in [None, Some("8:4242"), Some(""), Some("nonsense")] {
        let mut start = Start::fresh();
        if let Some(stream) = stream {
            start = start.env("JOURNAL_STREAM", stream);
        }
        let service = start.service();
        assert_eq!(service.heartbeat(MAC, "network", "done").status, 200);
        let line = service.wait_for_log(&["INFO heartbeat"]);
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
        assert!(
            rest.trim_start().starts_with(
                "INFO heartbeat: 3c:6d:66:0a:1b:2c at 127.0.0.1, network done gb10.mac=3c:6d:66:0a:1b:2c gb10.ip=127.0.0.1 mac_source=\"body\" gb10.stage=network gb10.phase=done gb10.status=200"
            ),
            "{line}"
        );
        assert!(!line.contains('\u{1b}'), "colours in a file: {line:?}");
    }
}

/// The fields of a datagram in journald's native protocol: `NAME=value` lines, or a line with the
/// name, then a length and the value.
fn fields(mut datagram: &[u8]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    while let Some(end) = datagram.iter().position(|byte| *byte == b'\n') {
        let line = text(&datagram[..end]);
        datagram = &datagram[end + 1..];
        if let Some((name, value)) = line.split_once('=') {
            fields.push((name.to_owned(), value.to_owned()));
            continue;
        }
        let (length, rest) = datagram.split_first_chunk().unwrap();
        let (value, rest) = rest.split_at(u64::from_le_bytes(*length) as usize);
        fields.push((line, text(value)));
        datagram = &rest[1..];
    }
    fields
}

/// The journal's own socket in a mount namespace: journald is where this cannot be, in a container.
/// The service is real, and so are its datagrams.
#[test]
fn with_the_journal_behind_stderr_its_socket_gets_the_fields() {
    needs!(Need::Mounts);
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("journal");
    fs::create_dir(&run).unwrap();
    let journal = UnixDatagram::bind(run.join("socket")).unwrap();
    journal.set_read_timeout(Some(TIMEOUT)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // JOURNAL_STREAM is the device and inode of what stderr is.
    let script = r#"
        mount -t tmpfs none /run && mkdir -p /run/systemd/journal &&
        mount --bind "$1" /run/systemd/journal &&
        export LISTEN_FDS=1 JOURNAL_STREAM="$(stat -L -c %d:%i /proc/self/fd/2)" &&
        exec "$0" 3<&0 </dev/null"#;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script, BINARY])
        .arg(&run);
    let mut start = Start::by(command, folder.path());
    start.command.stdin(OwnedFd::from(listener));
    let service = start
        .env("FALLBACK_PASSWORD_HASH", HASH)
        .service_at(address);

    let body =
        json!({"mac": MAC, "stage": "driver", "phase": "fail", "detail": "detail-of-a-device"});
    assert_eq!(service.post("/heartbeat", &body.to_string()).status, 200);
    for odd in ["..%2fx%0aFORGED=1%1b%5b2J", "x%0aFORGED=1%1b%5b2J"] {
        assert_eq!(service.get(&format!("/onboard/{odd}")).status, 404);
        assert_eq!(service.get(&format!("/clients/{odd}")).status, 400);
    }
    assert_eq!(
        service
            .get(&format!("/cloud-init/user-data?mac={MAC}"))
            .status,
        200
    );
    let mut entries: Vec<String> = Vec::new();
    let mut buffer = vec![0; 256 * 1024];
    while !entries.iter().any(|entry| entry.contains("seed served")) {
        let length = journal.recv(&mut buffer).expect("an entry in the journal");
        for (name, value) in fields(&buffer[..length]) {
            let is_odd = |c: char| c.is_control();
            assert!(
                !name.contains("FORGED") && !value.contains(is_odd),
                "{name}={value:?}"
            );
        }
        entries.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    let entry = |text: &str| {
        let found: Vec<&String> = entries
            .iter()
            .filter(|entry| entry.contains(text))
            .collect();
        assert_eq!(found.len(), 1, "{text}: {entries:?}");
        found[0]
    };
    // journald's native protocol: NAME=value lines, or NAME, a length and the value.
    let has = |entry: &str, field: &str, value: &str| {
        let native = |value: &str| {
            let length = String::from_utf8((value.len() as u64).to_le_bytes().to_vec());
            format!("{field}\n{}{value}\n", length.unwrap())
        };
        entry.contains(&format!("{field}={value}\n")) || entry.contains(&native(value))
    };
    for (text, fields) in [
        (
            "stage failed",
            &[
                ("PRIORITY", "4"),
                ("GB10_MAC", MAC),
                ("GB10_IP", "127.0.0.1"),
                ("GB10_STAGE", "driver"),
                ("GB10_PHASE", "fail"),
                ("GB10_STATUS", "200"),
            ][..],
        ),
        (
            "seed served",
            &[
                ("PRIORITY", "6"),
                ("GB10_MAC", MAC),
                ("GB10_TEMPLATE", "embedded"),
                ("GB10_STATUS", "200"),
            ],
        ),
    ] {
        for (field, value) in fields {
            assert!(
                has(entry(text), field, value),
                "{field} of {:?}",
                entry(text)
            );
        }
    }
    assert!(
        entry("stage failed").contains("\nMESSAGE_ID")
            || entry("stage failed").starts_with("MESSAGE_ID")
    );
    for secret in [HASH, "detail-of-a-device"] {
        assert!(
            !entries.iter().any(|entry| entry.contains(secret)),
            "{secret}"
        );
    }
    let has_odd = |entry: &&String| entry.contains("FORGED=1");
    assert_eq!(entries.iter().filter(has_odd).count(), 4, "{entries:?}");
    // Nothing comes twice.
    assert_eq!(service.log(), "");
}
