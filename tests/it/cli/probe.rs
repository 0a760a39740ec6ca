//! What `gb10-provision-api probe` says to a monitoring system: one line with figures, an exit
//! status, and both in time, whatever the service does.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::beats::*;
use crate::support::needs::{Need, needs, skip};
use crate::support::*;

fn probe(at: SocketAddr, arguments: &[&str]) -> Output {
    let at = at.to_string();
    let mut command = Command::new(BINARY);
    command.args(["probe", "--reached-at", &at]).args(arguments);
    command.output().unwrap()
}

/// The exit status and the line, which must be one.
fn told(output: &Output) -> (i32, String) {
    let line = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(line.matches('\n').count(), 1, "{output:?}");
    assert!(line.ends_with('\n'), "{output:?}");
    let line = line.trim_end().to_owned();
    assert!(!line.contains(char::is_control), "{line:?}");
    let status = output.status.code().unwrap();
    let level = ["OK", "WARNING", "CRITICAL", "UNKNOWN"][status as usize];
    assert!(
        line.starts_with(&format!("GB10 {level}: ")),
        "{status}: {line}"
    );
    (status, line)
}

/// The figures of a line, each as the guidelines of the Monitoring Plugins have them:
/// label=value[unit];warning;critical;least.
fn figures(line: &str) -> Vec<(&str, &str)> {
    let (_, figures) = line
        .split_once(" | ")
        .unwrap_or_else(|| panic!("no figures: {line}"));
    assert!(!figures.contains('|'), "{line}");
    let split = |figure| {
        let (label, rest): (&str, &str) = str::split_once(figure, '=').unwrap();
        assert!(
            label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{line}"
        );
        let value = rest.split(';').next().unwrap();
        assert!(value.trim_end_matches('s').parse::<f64>().is_ok(), "{line}");
        assert_eq!(rest.split(';').count(), 4, "{line}");
        (label, value)
    };
    figures.split(' ').map(split).collect()
}

fn assert_figures(line: &str, expected: [(&str, &str); 5]) {
    let figures = figures(line);
    assert_eq!(figures[..5], expected, "{line}");
    assert_eq!(figures[5].0, "time", "{line}");
    assert_eq!(figures.len(), 6, "{line}");
}

#[test]
fn all_is_well() {
    let service = Start::fresh().service();
    let (status, line) = told(&probe(service.address, &[]));
    assert_eq!(status, 0, "{line}");
    assert!(line.contains("0 boxes: 0 failed"), "{line}");
    assert_eq!(service.heartbeat(&mac(1), "network", "done").status, 200);
    assert_eq!(service.heartbeat(&mac(2), "ready", "done").status, 200);
    let (status, line) = told(&probe(service.address, &[]));
    assert_eq!(status, 0, "{line}");
    assert!(
        line.contains("2 boxes: 0 failed, 0 stalled, 1 on their way, 1 ready"),
        "{line}"
    );
    assert_figures(
        &line,
        [
            ("devices", "2"),
            ("ready", "1"),
            ("on_their_way", "1"),
            ("failed", "0"),
            ("stalled", "0"),
        ],
    );
}

#[test]
fn a_box_that_failed_or_stalled_is_a_warning() {
    let at = "2026-11-30T10:00:00.000Z";
    let stalled = json!({"mac": mac(1), "current_stage": "network", "last_heartbeat": at,
        "stalled": at, "stages": [{"stage": "network", "phase": "start", "timestamp": at}]});
    let service = Start::fresh()
        .stage("state/clients.json", &json!({mac(1): stalled}).to_string())
        .service();
    let (status, line) = told(&probe(service.address, &[]));
    assert_eq!(status, 1, "{line}");
    assert!(line.contains("1 box: 0 failed, 1 stalled"), "{line}");

    assert_eq!(service.heartbeat(&mac(2), "driver", "fail").status, 200);
    let (status, line) = told(&probe(service.address, &[]));
    assert_eq!(status, 1, "{line}");
    assert_figures(
        &line,
        [
            ("devices", "2"),
            ("ready", "0"),
            ("on_their_way", "0"),
            ("failed", "1"),
            ("stalled", "1"),
        ],
    );

    // Both speak again.
    assert_eq!(service.heartbeat(&mac(1), "network", "done").status, 200);
    assert_eq!(service.heartbeat(&mac(2), "driver", "start").status, 200);
    assert_eq!(told(&probe(service.address, &[])).0, 0);
}

#[test]
fn a_broken_template_is_a_warning() {
    let service = Start::fresh().service();
    assert_eq!(told(&probe(service.address, &[])).0, 0);
    service.stage(
        "cloud-init-templates/user-data.yaml.j2",
        "#cloud-config\n{{ nothing }}\n",
    );
    let (status, line) = told(&probe(service.address, &[]));
    assert_eq!(status, 1, "{line}");
    assert!(
        line.contains("template has a fault") && line.contains("0 boxes"),
        "{line}"
    );
    assert_eq!(figures(&line)[0], ("devices", "0"));
}

#[test]
fn heartbeats_that_cannot_be_recorded_are_critical() {
    let folder = tempfile::tempdir().unwrap();
    let service = Start::on(folder.path()).service();
    assert_eq!(service.heartbeat(&mac(1), "network", "done").status, 200);
    fs::remove_file(service.state_file()).unwrap();
    fs::create_dir(service.state_file()).unwrap();
    let line = eventually("a critical state", || {
        let (status, line) = told(&probe(service.address, &[]));
        (status == 2).then_some(line)
    });
    let expected = "heartbeats cannot be recorded: clients.json is a folder";
    assert!(line.contains(expected), "{line}");
    assert_eq!(figures(&line)[0], ("devices", "1"));

    fs::remove_dir(service.state_file()).unwrap();
    eventually("a sound state", || {
        (told(&probe(service.address, &[])).0 == 0).then_some(())
    });
    let lock = hold_lock(folder.path());
    eventually("a critical state", || {
        (told(&probe(service.address, &[])).0 == 2).then_some(())
    });
    drop(lock);
}

#[test]
fn a_closed_port_is_critical() {
    let service = Start::fresh().service();
    let at = service.address;
    assert!(service.stop().success());
    let output = probe(at, &[]);
    let (status, line) = told(&output);
    assert_eq!(status, 2, "{line}");
    assert!(
        line.contains(&format!("the port is closed: nobody listens on {at}")),
        "{line}"
    );
    assert!(
        !line.contains('|') && output.stderr.is_empty(),
        "{output:?}"
    );
}

/// A server that does this with each connection; no service does, so it is a stand-in.
fn server(each: impl Fn(std::net::TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(each));
    address
}

#[test]
fn a_server_that_never_ends_its_answer_is_critical_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let dripping = server(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    for at in [silent.local_addr().unwrap(), dripping] {
        let began = Instant::now();
        let (status, line) = told(&probe(at, &["--timeout", "1"]));
        let took = began.elapsed();
        assert_eq!(status, 2, "{line}");
        assert!(line.contains("in time"), "{line}");
        assert!(
            took >= Duration::from_secs(1) && took < Duration::from_secs(3),
            "{took:?}"
        );
    }
    let endless = server(|mut stream| while stream.write_all(&[b'x'; 65536]).is_ok() {});
    let (status, line) = told(&probe(endless, &["--timeout", "5"]));
    assert_eq!(status, 2, "{line}");
}

#[test]
fn what_is_not_the_service_is_critical_and_says_nothing_into_the_line() {
    let answer = |head: &'static str, body: &'static str| {
        server(move |mut stream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes());
        })
    };
    for (head, body, status, expected) in [
        (
            "HTTP/1.1 404 Not Found",
            "<html>",
            2,
            "something else answers, with status 404",
        ),
        (
            "HTTP/1.1 200 OK",
            "{\"status\": \"fine\"}",
            2,
            "something else answers, with status 200",
        ),
        ("SSH-2.0-OpenSSH_9.2", "", 2, "does not answer"),
        // A version that does not count boxes by how they stand.
        (
            "HTTP/1.1 200 OK",
            "{\"status\": \"ok\", \"clients\": 3}",
            0,
            "does not count",
        ),
        (
            "HTTP/1.1 503 Service Unavailable",
            r#"{"status": "failing", "reason": "disk | x=1;2;3\n\u001b[31mOK: all is well"}"#,
            2,
            "cannot be recorded: disk / x=1;2;3",
        ),
    ] {
        let at = answer(head, body);
        let (code, line) = told(&probe(at, &[]));
        assert_eq!(code, status, "{line}");
        assert!(line.contains(expected), "{line}");
        assert!(line.matches('|').count() <= 1, "{line}");
    }
}

#[test]
fn wrong_usage_is_unknown_and_not_critical() {
    for (arguments, environment) in [
        (&["--no-such-option"][..], ""),
        (&["--timeout", "0"], ""),
        (&["--timeout", "soon"], ""),
        (&["--reached-at", "10.88.0.1"], ""),
        (&["surplus"], ""),
        (&[], "kitchen"),
    ] {
        let mut command = Command::new(BINARY);
        command.arg("probe").args(arguments);
        if !environment.is_empty() {
            command.env("MAX_CLIENTS", environment);
        }
        let output = command.output().unwrap();
        let (status, line) = told(&output);
        assert_eq!(status, 3, "{arguments:?}: {line}");
        assert!(line.contains("wrong usage: "), "{line}");
        assert!(!output.stderr.is_empty());
    }
    // Of other commands it is what it was.
    let other = Command::new(BINARY)
        .args(["check", "--no-such-option"])
        .output()
        .unwrap();
    assert_eq!(other.status.code(), Some(2));
    let help = Command::new(BINARY)
        .args(["probe", "--help"])
        .output()
        .unwrap();
    assert_eq!(help.status.code(), Some(0));
}

/// systemd is a stand-in here: the real one is asked by the tests of the package.
#[test]
fn it_asks_where_the_socket_listens_and_ends_in_time_where_systemd_hangs() {
    use std::os::unix::fs::PermissionsExt;
    let service = Start::fresh().service();
    let folder = tempfile::tempdir().unwrap();
    let systemctl = folder.path().join("systemctl");
    let run = |script: &str, timeout: &str| {
        fs::write(&systemctl, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let mut command = Command::new(BINARY);
        command
            .args(["probe", "--timeout", timeout])
            .env("PATH", path);
        told(&command.output().unwrap())
    };
    let listens = format!("echo '{} (Stream)'", service.address);
    let (status, line) = run(&listens, "5");
    assert_eq!(status, 0, "{line}");
    let began = Instant::now();
    run("sleep 60", "1");
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_user_who_may_read_nothing_may_ask() {
    needs!(Need::Program("setpriv"));
    if !is_root() {
        return skip("needs root, to be somebody else");
    }
    let service = Start::fresh().service();
    assert_eq!(service.heartbeat(&mac(1), "driver", "fail").status, 200);
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let binary = folder.path().join("binary");
    fs::copy(BINARY, &binary).unwrap();
    let at = service.address.to_string();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&binary)
        .args(["probe", "--reached-at", &at])
        .output()
        .unwrap();
    let (status, line) = told(&output);
    assert_eq!(status, 1, "{line}");
    assert!(line.contains("1 box: 1 failed"), "{line}");
}
