//! The board over HTTP: complete as a page, live by events, and no burden to boxes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::*;

const MAC: &str = "3c:6d:66:0a:1b:2c";

/// What is served for browsers.
const ROUTES: [&str; 5] = [
    "/",
    "/board/3c:6d:66:0a:1b:2c",
    "/board/style.css",
    "/board/script.js",
    "/board/events",
];

fn mac(n: usize) -> String {
    format!("3c:6d:66:0a:{:02x}:{:02x}", n >> 8, n & 255)
}

fn beat(service: &Service, mac: &str, stage: &str, phase: &str, detail: &str) {
    let body = json!({"mac": mac, "stage": stage, "phase": phase, "detail": detail});
    assert_eq!(service.post("/heartbeat", &body.to_string()).status, 200);
}

/// Somebody who follows the board.
struct Follower {
    stream: BufReader<TcpStream>,
    head: String,
    text: String,
}

/// An event, or a comment, of a stream.
#[derive(Debug, Default)]
struct Event {
    id: String,
    kind: String,
    data: String,
    comment: String,
}

impl Event {
    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }

    /// The boxes in its rows.
    fn boxes(&self) -> Vec<String> {
        let json = self.json();
        let rows = json["rows"].as_str().unwrap().split("<a href=").skip(1);
        rows.map(|row| row.split_once('>').unwrap().0.to_owned())
            .collect()
    }
}

impl Follower {
    fn new(service: &Service, headers: &str) -> Self {
        Self::from(Ipv4Addr::LOCALHOST, service, headers)
    }

    fn from(source: Ipv4Addr, service: &Service, headers: &str) -> Self {
        Self::try_from(source, service, headers).unwrap()
    }

    fn try_from(source: Ipv4Addr, service: &Service, headers: &str) -> io::Result<Self> {
        let mut stream = connect_from(Some(source), service.address)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let host = service.address;
        write!(
            stream,
            "GET /board/events HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"
        )?;
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Self {
            stream,
            head,
            text: String::new(),
        })
    }

    fn status(&self) -> &str {
        &self.head[9..12]
    }

    /// The next piece of the stream that is an event or a comment; none at its orderly end.
    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((text, rest)) = self.text.split_once("\n\n") {
                let mut event = Event::default();
                for line in text.lines() {
                    match line.split_once(':').unwrap() {
                        ("id", value) => event.id = value.trim().to_owned(),
                        ("event", value) => event.kind = value.trim().to_owned(),
                        ("data", value) => event.data = value.trim().to_owned(),
                        ("", value) => event.comment = value.trim().to_owned(),
                        ("retry", _) => {}
                        other => panic!("{other:?}"),
                    }
                }
                self.text = rest.to_owned();
                if event.data.is_empty() && event.comment.is_empty() {
                    continue;
                }
                return Some(event);
            }
            let mut size = String::new();
            self.stream.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            self.stream.read_exact(&mut chunk).unwrap();
            if size == 0 {
                return None;
            }
            chunk.truncate(size);
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
    }

    /// The next event that tells of boxes.
    fn news(&mut self) -> Event {
        loop {
            let event = self.next().expect("the stream goes on");
            if event.kind.is_empty() {
                return event;
            }
        }
    }
}

#[test]
fn what_a_box_says_stays_text_in_pages_and_events() {
    let service = Start::fresh()
        .stage(
            "devices.json",
            r#"{"3c:6d:66:0a:1b:2c": {"role": "<b onclick=x>'\"&"}}"#,
        )
        .service();
    let script = "<script>alert(1)</script> \" ' onload=x";
    beat(&service, MAC, "network", "fail", script);
    let story = format!("/board/{MAC}");
    let mut events = Follower::new(&service, "");
    let event = events.news().json()["rows"].as_str().unwrap().to_owned();
    let page = service.get("/").text().to_owned();
    for text in [page.as_str(), service.get(&story).text(), &event] {
        assert!(text.contains("&lt;script&gt;alert(1)&lt;"), "{text}");
        assert!(!text.contains("<script>"), "{text}");
        assert!(text.contains("&lt;b onclick=x&gt;"), "{text}");
        assert!(!text.contains("<b onclick"), "{text}");
    }
}

/// A rack of which much is said: each box has its default name, which is long, a role, a seed that it
/// fetched, and a payload under way; a few failed.
fn busy_rack() -> Service {
    let now = jiff::Timestamp::now();
    let (mut records, mut devices) = (serde_json::Map::new(), serde_json::Map::new());
    for n in 0..254 {
        let (mac, phase) = (mac(n), if n % 32 == 0 { "fail" } else { "progress" });
        let event = |stage: &str, phase: &str, detail: &str| json!({"stage": stage, "phase": phase, "detail": detail, "timestamp": now});
        let record = json!({
            "mac": mac, "ip": format!("10.88.0.{n}"),
            "hostname": format!("gb10-pxe-{}", mac.replace(':', "-")),
            "current_stage": "payload", "last_heartbeat": now,
            "seed": {"count": 2, "last": {"timestamp": now, "ip": "10.88.0.9", "template": "staged", "mac_source": "arp"}},
            "stages": [
                event("install", "done", ""),
                event("payload", phase, &format!("{} %, 1,234,567,890 of 4,085,123,456 bytes, at 90 MB/s", n % 100)),
            ],
        });
        devices.insert(mac.clone(), json!({"role": "worker"}));
        records.insert(mac, record);
    }
    Start::fresh()
        .stage("state/clients.json", &Value::from(records).to_string())
        .stage("devices.json", &Value::from(devices).to_string())
        .service()
}

#[test]
fn the_page_of_254_busy_boxes_is_under_60_kb() {
    let service = busy_rack();
    let page = service.get("/");
    assert_eq!(page.text().matches("<tr class=").count(), 254);
    assert_eq!(page.text().matches(" worker<td>").count(), 254);
    let bytes = page.body.len();
    figure(&format!("{bytes} bytes for 254 boxes"));
    assert!(bytes < 60_000, "{bytes}");
    assert!(!page.headers.contains_key("content-encoding"));
}

#[test]
fn a_rack_of_which_every_box_failed_still_says_why() {
    let now = jiff::Timestamp::now().to_string();
    let detail = "no link (operstate down): is the cable in, and the switch port up? ".repeat(20);
    let page = failed_rack("worker", &detail, None, |record| {
        record.remove("seed");
        record.remove("warnings");
        record.insert("last_heartbeat".to_owned(), json!(now));
        record["stages"][0]["timestamp"] = json!(now);
    });
    assert_eq!(page.matches("no link (operstate").count(), 254);
    assert!(page.len() < 60_000, "{}", page.len());
}

/// Whatever boxes and operators say: each text as long as it can be, also by what HTML makes of it.
#[test]
fn no_page_of_254_boxes_is_over_60_kb() {
    let long = format!("gb10-{}", "x".repeat(58));
    for (what, role, detail, hostname) in [
        ("much is wrong", "worker", "no link ".repeat(200), None),
        (
            "what HTML makes long",
            &*"'/".repeat(200),
            "\"'<&>".repeat(800),
            Some(&*long),
        ),
        (
            "long characters",
            &*"🦀€".repeat(100),
            "€".repeat(1300),
            Some(&*long),
        ),
    ] {
        let page = failed_rack(role, &detail, hostname, |_| {});
        let bytes = page.len();
        figure(&format!("{bytes} bytes: {what}"));
        assert!(bytes < 60_000, "{bytes}: {what}");
    }
}

/// The page of a rack of which every box failed in a stage with a long name, on another day, after it
/// fetched its seed again and got the fallback, and with a warning; each record changed by `change`.
fn failed_rack(
    role: &str,
    detail: &str,
    hostname: Option<&str>,
    change: impl Fn(&mut serde_json::Map<String, Value>),
) -> String {
    let day = "2026-01-01T10:00:00Z";
    let (mut records, mut devices) = (serde_json::Map::new(), serde_json::Map::new());
    for n in 0..254 {
        let own = format!("gb10-pxe-{}", mac(n).replace(':', "-"));
        let record = json!({
            "mac": mac(n), "ip": format!("10.88.0.{n}"), "hostname": hostname.unwrap_or(&own),
            "current_stage": "container_runtime", "last_heartbeat": day,
            "seed": {"count": 9_999_999, "reinstalls": 7, "reinstalling": true, "last":
                {"timestamp": "2026-01-02T10:00:00Z", "ip": "10.88.0.9", "template": "fallback", "mac_source": "arp"}},
            "warnings": {"network": [{"check": "nic-driver", "reason": "slow"}]},
            "stages": [{"stage": "container_runtime", "phase": "fail", "detail": detail, "timestamp": day}],
        });
        let Value::Object(mut record) = record else {
            unreachable!()
        };
        change(&mut record);
        records.insert(mac(n), record.into());
        devices.insert(mac(n), json!({"role": role}));
    }
    let service = Start::fresh()
        .stage("state/clients.json", &Value::from(records).to_string())
        .stage("devices.json", &Value::from(devices).to_string())
        .service();
    let page = service.get("/").text().to_owned();
    assert_eq!(page.matches("<tr class=f>").count(), 254);
    // All of it is a click away.
    let story = service.get(&format!("/board/{}", mac(7)));
    assert!(story.text().len() > detail.len());
    page
}

#[test]
fn those_that_need_somebody_stand_first_and_are_counted() {
    let at = "2026-01-01T00:00:01.000Z";
    let record = |mac: &str, name: &str, stage: &str, phase: &str, stalled: bool| {
        let mut record = json!({"mac": mac, "hostname": name, "current_stage": stage, "last_heartbeat": at,
            "stages": [{"stage": stage, "phase": phase, "timestamp": at, "detail": ""}]});
        if stalled {
            record["stalled"] = json!(at);
        }
        record
    };
    let records = json!({
        mac(1): record(&mac(1), "a-ready", "ready", "done", false),
        mac(2): record(&mac(2), "b-way", "network", "done", false),
        mac(3): record(&mac(3), "d-failed", "driver", "fail", false),
        mac(4): record(&mac(4), "c-failed", "driver", "fail", false),
        mac(5): record(&mac(5), "e-stalled", "network", "done", true),
    });
    let service = Start::fresh()
        .stage("state/clients.json", &records.to_string())
        .service();
    let page = service.get("/");
    let page = page.text();
    let place = |name: &str| page.find(&format!(">{name}<")).unwrap();
    let places = ["c-failed", "d-failed", "e-stalled", "b-way", "a-ready"].map(place);
    assert!(places.is_sorted(), "{page}");
    for (id, count) in [
        ("ready", 1),
        ("on_their_way", 1),
        ("failed", 2),
        ("stalled", 1),
    ] {
        assert!(page.contains(&format!("<b id={id}>{count}</b>")), "{page}");
    }
    assert!(page.contains("<title>2 failed, 1 stalled, 1 of 5 ready</title>"));
}

#[test]
fn a_story_has_the_way_of_a_box_its_seeds_and_its_events() {
    let service = Start::fresh().service();
    beat(&service, MAC, "network", "start", "");
    service.get_as_box(&format!("/cloud-init/{MAC}/user-data"));
    beat(&service, MAC, "network", "done", "10 Gb/s");
    beat(&service, MAC, "driver", "fail", "no GPU was found");
    let log = "3c-6d-66-0a-1b-2c-20260101T101500Z.tar.gz";
    service.stage(&format!("state/logs/{log}"), "a log, in a test");
    let log = format!("<li><code>{log}</code>");
    for spelling in [MAC, "3c6d660a1b2c", "3C-6D-66-0A-1B-2C"] {
        let story = service.get(&format!("/board/{spelling}"));
        let text = story.text();
        assert_eq!(story.status, 200, "{text}");
        for part in [
            "<p class=\"standing f\">failed",
            "<b>network</b> <i>done</i> <span>0 s</span>",
            "<b>driver</b> <i>fail</i>",
            "embedded, from 127.0.0.2",
            "<td>network done<td><pre>10 Gb&#x2f;s</pre>",
            &log,
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    service.get("/board/3c:6d:66:0a:1b:2d").problem(404);
    service.get("/board/nonsense").problem(400);
}

#[test]
fn pages_load_nothing_from_elsewhere_and_are_kept_nowhere() {
    let service = Start::fresh().service();
    beat(&service, MAC, "network", "done", "");
    let types = [
        "text/html; charset=utf-8",
        "text/html; charset=utf-8",
        "text/css; charset=utf-8",
        "text/javascript; charset=utf-8",
        "text/event-stream",
    ];
    for (route, kind) in ROUTES.into_iter().zip(types) {
        // Whose answer to HEAD is that to GET without its body; the stream has no end.
        let answer = request(service.address, "HEAD", route, &[], b"").unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{route}");
        assert_eq!(answer.header("content-type"), kind, "{route}");
        assert_eq!(answer.header("cache-control"), "no-store", "{route}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{route}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(
            !policy.contains("unsafe") && !policy.contains("http"),
            "{policy}"
        );
        for method in ["POST", "PUT", "DELETE"] {
            let answer = request(service.address, method, route, &[], b"").unwrap();
            answer.problem(405);
            assert_eq!(answer.header("allow"), "GET,HEAD", "{route}");
        }
    }
    for route in ["/", "/board/3c:6d:66:0a:1b:2c"] {
        let page = service.get(route);
        let text = page.text();
        assert!(!text.contains("://") && !text.contains("style="), "{text}");
        for source in text
            .split("src=")
            .skip(1)
            .chain(text.split("href=").skip(1))
        {
            let is_own = source.starts_with("\"/") || source.starts_with("3c6d");
            assert!(is_own || source.starts_with("\"data:,"), "{source}");
        }
    }
}

#[test]
fn a_page_of_another_server_or_name_reads_nothing() {
    let service = Start::fresh().env("SERVER_NAMES", "prov.lan").service();
    beat(&service, MAC, "network", "done", "");
    for route in ROUTES {
        for header in [("Host", "evil.example"), ("Origin", "http://evil.example")] {
            let answer = request(service.address, "GET", route, &[header], b"").unwrap();
            answer.problem(403);
        }
        for host in ["127.0.0.1", "prov.lan:8088", "localhost"] {
            let headers = [("Host", host)];
            let answer = request(service.address, "HEAD", route, &headers, b"").unwrap();
            assert_eq!(answer.status, 200, "{route} {host}");
        }
    }
}

#[test]
fn updates_come_at_most_twice_a_second_however_many_heartbeats_do() {
    const BOXES: usize = 50;
    let service = Start::fresh().service();
    let mut follower = Follower::new(&service, "");
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begin = Instant::now();
    let mut times = Vec::new();
    let mut last = Value::Null;
    thread::scope(|scope| {
        for sender in 0..5 {
            let (service, stop, sent) = (&service, &stop, &sent);
            scope.spawn(move || {
                let mut number = 0;
                // 50 a second each.
                while !stop.load(Ordering::Relaxed) {
                    let n = sender * BOXES / 5 + number % (BOXES / 5);
                    beat(
                        service,
                        &mac(n),
                        "payload",
                        "progress",
                        &format!("{number} %"),
                    );
                    sent.fetch_add(1, Ordering::Relaxed);
                    number += 1;
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        while begin.elapsed() < Duration::from_secs(4) {
            last = follower.news().json();
            times.push(begin.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
    });
    let sent = sent.into_inner();
    figure(&format!(
        "{} updates of {sent} heartbeats in 4 s",
        times.len()
    ));
    assert!(sent > 200, "{sent}");
    assert!(times.len() >= 5, "it is live: {times:?}");
    for three in times.windows(3) {
        // Some slack for who reads: the pace is that of sending.
        let within = three[2] - three[0];
        assert!(within > Duration::from_millis(900), "{times:?}");
    }
    assert_eq!(last["totals"]["known"], BOXES);
    // All that was reported is shown in the end.
    beat(&service, &mac(0), "ready", "done", "");
    eventually("the last report", || {
        (follower.news().json()["totals"]["ready"] == 1).then_some(())
    });
}

#[test]
fn who_comes_back_is_sent_what_it_missed_and_no_more() {
    let service = Start::fresh().service();
    for n in 0..5 {
        beat(&service, &mac(n), "network", "start", "");
    }
    let mut follower = Follower::new(&service, "");
    let whole = follower.news();
    assert_eq!(
        (whole.boxes().len(), &whole.json()["whole"]),
        (5, &json!(true))
    );
    drop(follower);
    beat(&service, &mac(3), "network", "done", "");
    beat(&service, &mac(7), "network", "start", "");
    let missed = |headers: &str| {
        let event = Follower::new(&service, headers).news();
        let mut boxes = event.boxes();
        boxes.sort();
        (event.json()["whole"] == true, boxes)
    };
    let both = ["3c6d660a0003", "3c6d660a0007"].map(str::to_owned).to_vec();
    let id = format!("Last-Event-ID: {}\r\n", whole.id);
    assert_eq!(missed(&id), (false, both.clone()));
    for id in ["", "Last-Event-ID: 1-1\r\n", "Last-Event-ID: x\r\n"] {
        let (is_whole, boxes) = missed(id);
        assert!(is_whole && boxes.len() == 6, "{id}: {boxes:?}");
    }
    // A page knows as much as the mark in it says.
    let page = service.get("/").text().to_owned();
    let (_, mark) = page.split_once("data-mark=\"").unwrap();
    let (mark, _) = mark.split_once('"').unwrap();
    beat(&service, &mac(1), "network", "done", "");
    let id = format!("Last-Event-ID: {mark}\r\n");
    assert_eq!(missed(&id), (false, vec!["3c6d660a0001".to_owned()]));
}

#[test]
fn a_quiet_stream_says_that_it_is_alive() {
    let service = Start::fresh().service();
    let mut follower = Follower::new(&service, "");
    let begin = Instant::now();
    let alive = loop {
        let event = follower.next().unwrap();
        if !event.comment.is_empty() {
            break event;
        }
    };
    assert_eq!(alive.kind, "alive");
    assert!(begin.elapsed() < Duration::from_secs(15));
}

#[test]
fn viewers_have_places_of_their_own_and_boxes_theirs() {
    // Fewer connections than viewers: none of these takes one.
    let service = Start::fresh()
        .env("MAX_CONNECTIONS", "4")
        .env("PEER_CONNECTIONS", "2")
        .service();
    let viewer = |n: u8| Follower::from(Ipv4Addr::new(127, 0, 0, n), &service, "");
    let mut viewers: Vec<Follower> = (0..24).map(|_| viewer(3)).collect();
    assert_eq!(viewer(3).status(), "503", "one address has three quarters");
    viewers.extend((0..8).map(|_| viewer(4)));
    assert!(viewers.iter().all(|viewer| viewer.status() == "200"));
    let mut refused = viewer(5);
    assert_eq!(refused.status(), "503");
    assert!(refused.head.contains("Retry-After: 2"), "{}", refused.head);
    let mut text = vec![0; 40];
    refused.stream.read_exact(&mut text).unwrap();
    assert!(text.starts_with(b"{\"type\":\"about:blank\""));
    for n in 0..20 {
        beat(&service, &mac(n), "network", "done", "");
    }
    assert_eq!(service.get("/").status, 200);
    for viewer in &mut viewers {
        assert!(viewer.head.contains("Connection: close"), "{}", viewer.head);
        viewer.news();
    }
    drop(viewers);
    // Closed pages are seen at the second word to them, whether boxes report or not.
    let begin = Instant::now();
    eventually("a place", || {
        let other = Follower::try_from(Ipv4Addr::new(127, 0, 0, 6), &service, "");
        other.ok().filter(|other| other.status() == "200")
    });
    assert!(begin.elapsed() < Duration::from_secs(12));
}

#[test]
fn streams_end_at_once_when_the_service_stops() {
    let mut service = Start::fresh().service();
    beat(&service, MAC, "network", "done", "");
    let mut viewers: Vec<Follower> = (0..10).map(|_| Follower::new(&service, "")).collect();
    for viewer in &mut viewers {
        viewer.news();
    }
    let begin = Instant::now();
    service.signal(Signal::TERM);
    for viewer in &mut viewers {
        assert!(viewer.next().is_none(), "a whole stream, not a broken one");
    }
    assert!(service.wait_for_end().success());
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    assert!(!service.whole_log().contains("connections are cut"));
}

#[test]
fn the_board_says_that_reports_are_refused_and_that_a_template_is_broken() {
    let service = Start::fresh().service();
    let is_shown = |id: &str| {
        let page = service.get("/").text().to_owned();
        assert!(page.contains(&format!("<p id={id} class=notice")), "{page}");
        !page.contains(&format!("<p id={id} class=notice hidden>"))
    };
    assert!(!is_shown("is_template_broken"));
    service.stage("cloud-init-templates/user-data.yaml.j2", "{{ nothing }}");
    eventually("the fault", || is_shown("is_template_broken").then_some(()));
    assert!(!is_shown("is_state_broken"));
}
