//! Shows that no peer floods the journal, forges a line of it, or writes to a reader's terminal.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use crate::support::*;

const MAC: &str = "3c:6d:66:0a:1b:2c";

/// What `src/service/quota.rs` lets pass at once, and how many more each second.
const BURST: u64 = 200;
const PER_SECOND: u64 = 2;

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn post(target: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// Sends requests on one connection without waiting, and waits until the last is answered.
fn send_all(service: &Service, source: Ipv4Addr, requests: impl Iterator<Item = String>) {
    let mut stream = connect_from(Some(source), service.address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut writer: TcpStream = stream.try_clone().unwrap();
    let mut bytes: Vec<u8> = requests.flat_map(String::into_bytes).collect();
    bytes.extend(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let sending = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
    stream.read_to_end(&mut Vec::new()).unwrap();
    sending.join().unwrap();
}

/// The number after `lines left out: ` in those lines of a log that are of a peer.
fn left_out(log: &str, peer: &str) -> u64 {
    let of_peer = format!(" of {peer}, ");
    log.lines()
        .filter_map(|line| line.split_once("lines left out: "))
        .filter(|(_, rest)| rest.contains(&of_peer))
        .map(|(_, rest)| rest.split(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

#[test]
fn what_a_peer_writes_beyond_its_quota_is_counted_and_nothing_of_others_is_lost() {
    let mut service = Start::fresh().stage("onboard/file", "x").service();
    let heartbeat = format!(r#"{{"mac": "{MAC}", "stage": "network", "phase": "done"}}"#);
    let kinds: [(&str, &dyn Fn(u64) -> String); 6] = [
        ("request refused: GET \"/nowhere", &|n| {
            get(&format!("/nowhere/{n}"))
        }),
        ("onboarding file served: file", &|_| get("/onboard/file")),
        ("onboarding file not served: ..", &|n| {
            get(&format!("/onboard/..%2f{n}"))
        }),
        ("seed served: meta-data", &|n| {
            get(&format!(
                "/cloud-init/02:00:00:00:{:02x}:{:02x}/meta-data",
                n / 256,
                n % 256
            ))
        }),
        ("heartbeat: 3c:6d:66:0a:1b:2c", &|_| {
            post("/heartbeat", &heartbeat)
        }),
        ("a device whose MAC is unknown", &|_| {
            get("/cloud-init/vendor-data")
        }),
    ];
    let count = 600;
    let [flood, victim] = [Ipv4Addr::LOCALHOST, BOX];
    for (kind, request) in &kinds {
        let begun = Instant::now();
        send_all(&service, flood, (0..count).map(request));
        send_all(&service, victim, (0..20).map(request));
        let all_of_victim = || {
            let log = service.log();
            let of_victim = |line: &&str| line.contains(kind) && line.contains("gb10.ip=127.0.0.2");
            (log.lines().filter(of_victim).count() == 20).then_some(log)
        };
        let log = eventually("each line of the other peer", all_of_victim);
        let of_flood = |line: &&str| line.contains(kind) && line.contains("gb10.ip=127.0.0.1");
        let of_flood = log.lines().filter(of_flood).count() as u64;
        let bound = BURST + PER_SECOND * (begun.elapsed().as_secs() + 1);
        assert!(
            (BURST..=bound).contains(&of_flood),
            "{kind}: {of_flood} lines"
        );
    }
    // It is told while the service runs, …
    let told = service.wait_for_log(&[
        "WARN lines left out: ",
        " of 127.0.0.1, the first of them: ",
    ]);
    assert!(told.contains("gb10.ip=127.0.0.1"), "{told}");
    service.signal(rustix::process::Signal::TERM);
    assert!(service.wait_for_end().success());
    let log = service.whole_log();
    // … and the last of it at the stop, so that every line is there or counted.
    let passed = |line: &&str| line.contains("gb10.ip=127.0.0.1") && !line.contains("left out");
    let passed = log.lines().filter(passed).count() as u64;
    // The seed of a device without a MAC has a line of its own, and the device is new once.
    let all = count * (kinds.len() as u64 + 1) + 1;
    assert_eq!(passed + left_out(&log, "127.0.0.1"), all, "{log}");
    assert_eq!(left_out(&log, "127.0.0.2"), 0);
}

#[test]
fn a_quota_comes_back_with_time() {
    let service = Start::fresh().service();
    send_all(
        &service,
        BOX,
        (0..400).map(|n| get(&format!("/nowhere/{n}"))),
    );
    assert!(!service.log().contains("/nowhere/399"));
    let again = || {
        service.get_as_box("/later");
        service.log().contains("\"/later\"").then_some(())
    };
    let begun = Instant::now();
    eventually("a line of a peer that was over its quota", again);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// Whether a reader's terminal, or a program that reads lines, could take this for something else.
fn is_odd(c: char) -> bool {
    let is_invisible = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffe}');
    c.is_control() || is_invisible
}

/// At the most talkative level, by every way that a text of a peer has into the journal.
#[test]
fn no_text_of_a_peer_is_more_than_an_escaped_piece_of_one_line() {
    let service = Start::fresh()
        .env("LOG", "trace")
        .stage("onboard/file", "x")
        .service();
    let long = "n".repeat(5000);
    let odd = [
        "x%0a2026-01-01T00:00:00Z%20ERROR%20forged",
        "x%0d%0aforged",
        "x%1b%5b2Jforged",
        "x%00forged",
        "x%c2%9bforged",
        "x%7fforged",
        "x%e2%80%aeforged",
        "x%e2%80%8bforged",
        "x%ef%bb%bfforged",
        "x%e2%80%a8forged",
        &long,
    ];
    // Of many addresses: one would be over its quota.
    let mut addresses = (10..=250)
        .cycle()
        .map(|last| Ipv4Addr::new(127, 0, 0, last));
    let mut send = |method: &str, target: &str, headers: &[(&str, &str)], body: &str| {
        let source = addresses.next();
        let _ = request_from(
            source,
            service.address,
            method,
            target,
            headers,
            body.as_bytes(),
        );
    };
    for name in odd {
        for target in [
            format!("/{name}"),
            format!("/onboard/{name}"),
            format!("/onboard/..%2f{name}"),
            format!("/onboard/file%2f{name}"),
            format!("/onboard/file/{name}"),
            format!("/cloud-init/{name}"),
            format!("/cloud-init/{name}/user-data"),
            format!("/cloud-init/{MAC}/{name}"),
            format!("/cloud-init/user-data?mac={name}"),
            format!("/cloud-init/?mac={name}user-data"),
            format!("/clients/{name}"),
            format!("/report/{name}"),
            format!("/healthz?{name}"),
        ] {
            send("GET", &target, &[], "");
            send("POST", &target, &[], "{}");
        }
    }
    for text in [
        "x\n2026-01-01T00:00:00Z ERROR forged",
        "x\u{1b}[2Jforged\u{202e}\u{200b}",
        &long,
    ] {
        let json = serde_json::to_string(text).unwrap();
        for body in [
            format!(r#"{{"mac": {json}, "stage": "network", "phase": "done"}}"#),
            format!(r#"{{"mac": "{MAC}", "stage": {json}, "phase": "done"}}"#),
            format!(r#"{{"mac": "{MAC}", "stage": "network", "phase": {json}}}"#),
            format!(r#"{{"mac": "{MAC}", "stage": "network", "phase": "fail", "detail": {json}}}"#),
            format!(r#"{{{json}: 1}}"#),
            json.clone(),
            text.to_owned(),
        ] {
            send("POST", "/heartbeat", &[], &body);
            send("POST", &format!("/report/{MAC}"), &[], &body);
        }
        let event = format!(
            r#"{{"name": {json}, "description": {json}, "event_type": "finish", "result": "FAIL"}}"#
        );
        send("POST", &format!("/report/{MAC}"), &[], &event);
        send(
            "POST",
            &format!("/report/{MAC}"),
            &[],
            &format!("{event}\n{text}"),
        );
    }
    // In heads a newline would end the header: what else is odd, as raw bytes.
    for text in ["x\tforged", "x\u{202e}forged", "x\u{9b}forged", &long] {
        for header in [
            "Host",
            "Origin",
            "User-Agent",
            "If-Range",
            "Range",
            "If-None-Match",
        ] {
            for target in [
                "/clients",
                "/onboard/file",
                "/cloud-init/user-data",
                "/nowhere",
            ] {
                send("GET", target, &[(header, text)], "");
            }
        }
    }
    let method = format!("FORGED{}", "X".repeat(5000));
    send(&method, "/nowhere", &[], "");
    service.get("/the-end");
    service.wait_for_log(&["request refused", "/the-end"]);
    let log = service.log();
    assert!(
        log.contains("forged") && log.contains("FORGED"),
        "this shows nothing:\n{log}"
    );
    for line in log.lines() {
        let time = line.split(' ').next().unwrap();
        let is_ours = time
            .parse::<jiff::Timestamp>()
            .is_ok_and(|time| time.strftime("%Y%m%d").to_string() != "20260101");
        assert!(is_ours, "a forged line: {line}");
        assert!(!line.contains(is_odd), "{line:?}");
        let length = line.chars().count();
        let bound = if line.contains("installer") {
            5000
        } else {
            1000
        };
        assert!(length <= bound, "{length} characters: {line}");
    }
}

#[test]
fn a_404_of_an_onboarding_file_is_a_line_with_its_status() {
    let service = Start::fresh().stage("onboard/folder/file", "x").service();
    let too_long = "n".repeat(300);
    for name in [
        "no-such-file",
        "folder",
        "folder/nothing",
        "..%2fclients.json",
        "x%00y",
        &too_long,
    ] {
        assert_eq!(
            service.get(&format!("/onboard/{name}")).status,
            404,
            "{name}"
        );
    }
    service.get("/the-end");
    service.wait_for_log(&["request refused", "/the-end"]);
    let log = service.log();
    let found = |line: &&str| line.contains("gb10.status=404") && !line.contains("the-end");
    assert_eq!(log.lines().filter(found).count(), 6, "{log}");
}
