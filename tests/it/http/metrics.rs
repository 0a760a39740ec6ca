//! Shows that `/metrics` is OpenMetrics, tells what `/clients` tells and what happened, and that a
//! real Prometheus reads it and makes alerts of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::beats::*;
use crate::support::needs::{Need, needs};
use crate::support::*;
use serde_json::{Value, json};

/// The samples of a scrape, by name and labels as they stand there.
type Samples = BTreeMap<String, f64>;

/// Scrapes, and holds the text against OpenMetrics 1.0.
fn scrape(service: &Service) -> Samples {
    let answer = service.get("/metrics");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let text = answer.text();
    let lines = text.strip_suffix("# EOF\n").expect("an end");
    let (mut samples, mut types) = (Samples::new(), BTreeMap::new());
    let mut current = String::new();
    for line in lines.lines() {
        assert!(!line.is_empty() && !line.contains("EOF"), "{line}");
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            let [keyword, family, rest] = words[..] else {
                panic!("{line}");
            };
            assert!(family.starts_with("gb10_"), "{line}");
            match keyword {
                "HELP" => {
                    assert!(
                        rest.len() > 10 && rest.ends_with('.') && !rest.ends_with(".."),
                        "{line}"
                    );
                    current = family.to_owned();
                }
                "TYPE" => {
                    _ = types
                        .insert(family.to_owned(), rest.to_owned())
                        .map(|_| panic!("{family} twice"))
                }
                "UNIT" => assert!(family.ends_with(&format!("_{rest}")), "{line}"),
                _ => panic!("{line}"),
            }
            assert_eq!(family, current, "families are mixed");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        let suffixes: &[&str] = match types[&current].as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            other => panic!("{other}"),
        };
        assert!(
            suffixes
                .iter()
                .any(|suffix| name == format!("{current}{suffix}")),
            "{line}"
        );
        let value = value.parse().unwrap();
        assert_eq!(
            samples.insert(series.to_owned(), value),
            None,
            "{series} twice"
        );
    }
    samples
}

fn sum_of(samples: &Samples, start: &str) -> f64 {
    let of = samples
        .iter()
        .filter(|(series, _)| series.starts_with(start));
    of.map(|(_, value)| value).sum()
}

#[test]
fn a_fresh_service_has_all_that_an_alert_asks_for() {
    let service = Start::fresh().service();
    let samples = scrape(&service);
    let version = env!("CARGO_PKG_VERSION");
    let expected = [
        (format!("gb10_build_info{{version=\"{version}\"}}"), 1.0),
        ("gb10_state_writable".to_owned(), 1.0),
        ("gb10_state_bytes".to_owned(), 4.0),
        ("gb10_template_faults".to_owned(), 0.0),
        ("gb10_peers_refused_total".to_owned(), 0.0),
        ("gb10_connections_over_limit_total".to_owned(), 0.0),
        ("gb10_commit_failures_total".to_owned(), 0.0),
        ("gb10_commit_duration_seconds_count".to_owned(), 0.0),
        ("gb10_http_answers_total{code=\"503\"}".to_owned(), 0.0),
        (
            "gb10_stage_devices{stage=\"driver\",phase=\"fail\"}".to_owned(),
            0.0,
        ),
    ];
    for (series, value) in expected {
        assert_eq!(samples.get(&series), Some(&value), "{series}");
    }
    for standing in ["failed", "stalled", "on-its-way", "ready"] {
        assert_eq!(
            samples[&format!("gb10_devices{{standing=\"{standing}\"}}")],
            0.0
        );
    }
    let now = jiff::Timestamp::now().as_second() as f64;
    assert!((now - samples["gb10_start_time_seconds"]).abs() < 60.0);
    let head = request(service.address, "HEAD", "/metrics", &[], b"").unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
}

/// A record of another version, and of boxes in each way to stand.
fn records() -> Value {
    let event = |stage: &str, phase: &str| json!({"stage": stage, "phase": phase, "timestamp": "2026-01-01T00:00:01.000Z"});
    let record = |n: usize, hostname: &str, stage: &str, phase: &str| {
        json!({"mac": mac(n), "ip": "10.88.0.7", "hostname": hostname, "current_stage": stage,
            "last_heartbeat": "2026-01-01T00:00:01.000Z", "stages": [event(stage, phase)]})
    };
    let mut stalled = record(4, "four", "network", "start");
    stalled["stalled"] = stalled["last_heartbeat"].clone();
    let mut given_up = record(5, "five", "install", "start");
    given_up["boot"] = json!({"decision": "local", "given_up": true, "attempts": 3});
    json!({
        mac(1): record(1, "one", "ready", "done"),
        mac(2): record(2, "two \"2\"\n\\", "driver", "fail"),
        mac(3): record(3, "three", "some_future_stage", "some_phase"),
        mac(4): stalled,
        mac(5): given_up,
        mac(6): {"mac": mac(6), "hostname": "six", "seed": {"count": 1,
            "first": {"timestamp": "2026-01-01T00:00:01.000Z", "ip": "10.88.0.7", "template": "fallback", "mac_source": "arp"},
            "last": {"timestamp": "2026-01-01T00:00:01.000Z", "ip": "10.88.0.7", "template": "fallback", "mac_source": "arp"}}},
        "notes": "not a box",
    })
}

#[test]
fn boxes_are_told_as_the_records_have_them_and_no_name_of_another_version_is_a_label() {
    let service = Start::fresh()
        .stage("state/clients.json", &records().to_string())
        .service();
    let samples = scrape(&service);
    let of = |standing: &str| samples[&format!("gb10_devices{{standing=\"{standing}\"}}")];
    assert_eq!((of("ready"), of("failed"), of("stalled")), (1.0, 2.0, 1.0));
    assert_eq!(sum_of(&samples, "gb10_devices{"), 6.0);
    let at = |stage: &str, phase: &str| {
        samples[&format!("gb10_stage_devices{{stage=\"{stage}\",phase=\"{phase}\"}}")]
    };
    assert_eq!(at("ready", "done"), 1.0);
    assert_eq!(at("driver", "fail"), 1.0);
    assert_eq!(at("other", "other"), 1.0);
    assert_eq!(at("none", "none"), 1.0);
    assert_eq!(sum_of(&samples, "gb10_stage_devices{"), 6.0);
    let stages: BTreeSet<&str> = samples
        .keys()
        .filter_map(|series| series.split("stage=\"").nth(1)?.split('"').next())
        .collect();
    assert!(
        stages.len() <= 11 && !stages.contains("some_future_stage"),
        "{stages:?}"
    );

    let troubles: Vec<&String> = samples
        .keys()
        .filter(|series| series.starts_with("gb10_device_trouble"))
        .collect();
    let trouble = |n: usize, trouble: &str| {
        format!(
            "gb10_device_trouble{{mac=\"{}\",trouble=\"{trouble}\"}}",
            mac(n)
        )
    };
    let expected = [
        trouble(2, "failed"),
        trouble(4, "stalled"),
        trouble(5, "given-up"),
        trouble(6, "fallback"),
    ];
    assert_eq!(troubles, expected.iter().collect::<Vec<_>>());
    let info = format!(
        "gb10_device_info{{mac=\"{}\",hostname=\"two \\\"2\\\"\\\\n\\\\\"}}",
        mac(2)
    );
    assert!(samples.contains_key(&info), "{samples:?}");
    let reported = format!(
        "gb10_device_last_heartbeat_timestamp_seconds{{mac=\"{}\"}}",
        mac(1)
    );
    assert_eq!(samples[&reported], 1_767_225_601.0);
    assert!(!samples.contains_key(&reported.replace(&mac(1), &mac(6))));

    // And it moves with them at once.
    assert_eq!(service.heartbeat(&mac(2), "ready", "done").status, 200);
    let samples = scrape(&service);
    assert_eq!(samples["gb10_devices{standing=\"ready\"}"], 2.0);
    assert!(!samples.contains_key(&trouble(2, "failed")));
    let length = std::fs::metadata(service.state_file()).unwrap().len();
    assert_eq!(samples["gb10_state_bytes"], length as f64);
}

#[test]
fn what_happens_is_counted() {
    let start = Start::fresh().env("ALLOWED_NETWORKS", "127.0.0.1/32");
    let service = start.service();
    for _ in 0..3 {
        assert_eq!(service.heartbeat(&mac(1), "driver", "fail").status, 200);
    }
    assert_eq!(service.post("/heartbeat", "{").status, 400);
    for target in [
        format!("/cloud-init/{}/user-data", mac(1)),
        "/cloud-init/meta-data".to_owned(),
    ] {
        assert_eq!(service.get(&target).status, 200);
    }
    let _ = request_from(Some(BOX), service.address, "GET", "/healthz", &[], b"");
    let samples = eventually("the peer that was refused", || {
        let samples = scrape(&service);
        (samples["gb10_peers_refused_total"] == 1.0).then_some(samples)
    });
    assert_eq!(
        samples["gb10_heartbeats_total{stage=\"driver\",phase=\"fail\"}"],
        3.0
    );
    assert_eq!(sum_of(&samples, "gb10_heartbeats_total"), 3.0);
    assert_eq!(
        samples["gb10_seeds_total{file=\"user-data\",template=\"embedded\",source=\"path\"}"],
        1.0
    );
    assert_eq!(sum_of(&samples, "gb10_seeds_total{file=\"meta-data\""), 1.0);
    assert_eq!(samples["gb10_http_answers_total{code=\"400\"}"], 1.0);
    assert!(samples["gb10_commit_duration_seconds_count"] >= 3.0);
    assert!(samples["gb10_commit_reports_sum"] >= 3.0);

    // A state that cannot be written, and a template with a fault.
    let lock = service.data.join("state/clients.json");
    std::fs::rename(&lock, service.data.join("aside")).unwrap();
    std::fs::create_dir(&lock).unwrap();
    service.stage(
        "cloud-init-templates/user-data.yaml.j2",
        "#cloud-config\n{{ nosuch }}\n",
    );
    assert_eq!(service.heartbeat(&mac(1), "driver", "done").status, 503);
    let samples = eventually("the verdict on the state", || {
        let samples = scrape(&service);
        (samples["gb10_state_writable"] == 0.0).then_some(samples)
    });
    assert_eq!(samples["gb10_template_faults"], 1.0);
    assert_eq!(samples["gb10_commit_failures_total"], 1.0);
    assert_eq!(samples["gb10_http_answers_total{code=\"503\"}"], 1.0);
    // What was read last is still told.
    assert_eq!(samples["gb10_devices{standing=\"failed\"}"], 1.0);
    assert_eq!(sum_of(&samples, "gb10_heartbeats_total"), 3.0);
}

/// A lock that another process holds keeps no scrape waiting for longer than a scraper does.
#[test]
fn a_state_that_nobody_can_write_is_told_in_time() {
    let service = Start::fresh().service();
    assert_eq!(service.heartbeat(&mac(1), "ready", "done").status, 200);
    let lock = hold_lock(&service.data);
    eventually("the verdict", || {
        let began = Instant::now();
        let samples = scrape(&service);
        assert!(
            began.elapsed() < Duration::from_secs(8),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(samples["gb10_devices{standing=\"ready\"}"], 1.0);
        (samples["gb10_state_writable"] == 0.0).then_some(())
    });
    drop(lock);
    eventually("the state to be writable again", || {
        (scrape(&service)["gb10_state_writable"] == 1.0).then_some(())
    });
}

#[test]
fn it_is_served_as_records_are_under_this_hosts_own_names() {
    let service = Start::fresh()
        .env("SERVER_NAMES", "provision.example")
        .service();
    for (host, status) in [
        ("10.88.0.1:8088", 200),
        ("localhost:8088", 200),
        ("provision.example:8088", 200),
        ("rebound.example", 403),
    ] {
        let answer = request(service.address, "GET", "/metrics", &[("Host", host)], b"").unwrap();
        assert_eq!(answer.status, status, "{host}");
    }
    let origin = [("Origin", "http://elsewhere.example")];
    assert_eq!(
        request(service.address, "GET", "/metrics", &origin, b"")
            .unwrap()
            .status,
        403
    );
    assert_eq!(service.post("/metrics", "").status, 405);
}

#[test]
fn a_rack_of_4096_boxes_is_told_in_one_scrape_of_bounded_length() {
    let record = |n: usize| {
        let mac = format!("02:00:00:00:{:02x}:{:02x}", n / 256, n % 256);
        let record = json!({"mac": mac, "hostname": "x".repeat(1000), "current_stage": "driver",
            "last_heartbeat": "2026-01-01T00:00:01.000Z",
            "stages": [{"stage": "driver", "phase": "fail", "timestamp": "2026-01-01T00:00:01.000Z"}]});
        (mac, record)
    };
    let records: serde_json::Map<_, _> = (0..4096).map(record).collect();
    let service = Start::fresh()
        .stage("state/clients.json", &Value::Object(records).to_string())
        .service();
    let began = Instant::now();
    let answer = service.get("/metrics");
    figure(&format!(
        "4,096 boxes: {} KiB in {:?}",
        answer.body.len() / 1024,
        began.elapsed()
    ));
    assert!(answer.body.len() < 1 << 21, "{}", answer.body.len());
    assert_eq!(
        scrape(&service)["gb10_devices{standing=\"failed\"}"],
        4096.0
    );

    // Of answers that nobody takes, one address can keep sixteen in memory.
    let waiting: Vec<_> = (0..16)
        .map(|_| {
            let mut stream = TcpStream::connect(service.address).unwrap();
            stream
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                .unwrap();
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            let mut status = [0; 12];
            stream.read_exact(&mut status).unwrap();
            assert_eq!(&status, b"HTTP/1.1 200");
            stream
        })
        .collect();
    let answer = service.get("/metrics");
    answer.problem(503);
    assert_eq!(answer.header("retry-after"), "2");
    drop(waiting);
    eventually("a scrape again", || {
        (service.get("/metrics").status == 200).then_some(())
    });
}

const RULES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/docs/gb10-provision-api.rules.yml"
);

/// Runs promtool; its words, where it finds a fault.
fn promtool(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("promtool").args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&said).into_owned()),
    }
}

#[test]
fn the_alert_rules_are_sound_and_fire_when_they_should() {
    needs!(Need::Program("promtool"));
    promtool(&["check", "rules", RULES]).unwrap();
    let tests = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/it/data/gb10-provision-api.rules.test.yml"
    );
    promtool(&["test", "rules", tests]).unwrap();
    // Each alert has a case there.
    let (rules, tests) = (
        std::fs::read_to_string(RULES).unwrap(),
        std::fs::read_to_string(tests).unwrap(),
    );
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        assert!(
            tests.contains(&format!("alertname: {alert}\n        exp_alerts:")),
            "{alert} never fires"
        );
    }
}

#[test]
fn each_metric_is_documented_and_each_that_a_rule_asks_for_is_there() {
    let service = Start::fresh()
        .stage("state/clients.json", &records().to_string())
        .service();
    assert_eq!(service.heartbeat(&mac(1), "ready", "done").status, 200);
    assert_eq!(service.get("/cloud-init/user-data").status, 200);
    let names: BTreeSet<String> = scrape(&service)
        .keys()
        .map(|series| series.split('{').next().unwrap().to_owned())
        .collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_to_string(root.join("docs/metrics.md")).unwrap();
    let documented: BTreeSet<&str> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("| `gb10_")?.split(['`', '{']).next())
        .collect();
    let family = |name: &str| {
        let name = name.strip_prefix("gb10_").unwrap();
        let suffixes = ["_bucket", "_sum", "_count"];
        let base = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
        base.unwrap_or(name).to_owned()
    };
    let served: BTreeSet<String> = names.iter().map(|name| family(name)).collect();
    assert_eq!(documented, served.iter().map(String::as_str).collect());
    let rules = std::fs::read_to_string(RULES).unwrap();
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let mut asked = 0;
    for rest in rules.split("gb10_").skip(1) {
        let name: String = rest.chars().take_while(|c| is_part(*c)).collect();
        assert!(names.contains(&format!("gb10_{name}")), "gb10_{name}");
        asked += 1;
    }
    assert!(asked > 10);
}

/// A Prometheus on a loopback port of its own. Dropping it kills it.
struct Prometheus {
    child: Child,
    address: std::net::SocketAddr,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Scrapes these services every second, as docs/metrics.md says, with the rules.
    fn of(folder: &Path, services: &[&Service]) -> Self {
        let targets: Vec<String> = services
            .iter()
            .map(|service| service.address.to_string())
            .collect();
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{RULES}]\n\
             scrape_configs:\n  - job_name: gb10-provision-api\n    static_configs: [{{targets: {targets:?}}}]\n"
        );
        let path: PathBuf = folder.join("prometheus.yml");
        std::fs::write(&path, config).unwrap();
        promtool(&["check", "config", path.to_str().unwrap()]).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, address }
    }

    /// What its API says, once it is up.
    fn api(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let request = format!("GET /api/v1/{path} HTTP/1.0\r\nHost: prometheus\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        let answer: Value = serde_json::from_str(body).ok()?;
        (answer["status"] == "success").then(|| answer["data"].clone())
    }

    /// The value of a query of one series.
    fn value(&self, query: &str) -> Option<String> {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let data = self.api(&format!("query?query={query}"))?;
        Some(data["result"][0]["value"][1].as_str()?.to_owned())
    }
}

/// Several hosts at once. That a metric is there is said by what reads it.
#[test]
fn a_real_prometheus_scrapes_two_hosts_and_tells_which_box_of_which_failed() {
    needs!(Need::Program("prometheus"), Need::Program("promtool"));
    let (one, other) = (Start::fresh().service(), Start::fresh().service());
    assert_eq!(one.heartbeat(&mac(1), "driver", "fail").status, 200);
    assert_eq!(other.heartbeat(&mac(2), "ready", "done").status, 200);
    let folder = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::of(folder.path(), &[&one, &other]);
    let is = |query: &str, expected: &str| {
        eventually(&format!("{query} to be {expected}"), || {
            (prometheus.value(query)? == expected).then_some(())
        });
    };
    is("count(up{job=\"gb10-provision-api\"} == 1)", "2");
    is("sum(gb10_devices)", "2");
    is(
        &format!(
            "gb10_devices{{standing=\"failed\", instance=\"{}\"}}",
            one.address
        ),
        "1",
    );
    is(
        "sum(gb10_heartbeats_total{stage=\"driver\", phase=\"fail\"})",
        "1",
    );
    is("count(gb10_build_info)", "2");
    is("sum(gb10_commit_duration_seconds_count) >= bool 2", "1");
    is("count(gb10_device_last_heartbeat_timestamp_seconds)", "2");
    let alert = eventually("the alert of the box", || {
        let alerts = prometheus.api("alerts")?;
        let alerts = alerts["alerts"].as_array()?;
        alerts
            .iter()
            .find(|alert| alert["labels"]["alertname"] == "Gb10BoxFailed")
            .cloned()
    });
    assert_eq!(alert["labels"]["mac"], mac(1));
    assert_eq!(alert["labels"]["instance"], one.address.to_string());
    assert_eq!(
        alert["annotations"]["summary"],
        format!("gb10-pxe-{} failed ({})", mac(1).replace(':', "-"), mac(1))
    );
    // A host that is gone.
    let gone = other.address;
    drop(other);
    is(&format!("up{{instance=\"{gone}\"}}"), "0");
}
