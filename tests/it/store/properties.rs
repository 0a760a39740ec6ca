//! The store against a plain map: whatever the order of reports, re-opens and foreign changes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use gb10_provision_api::device::heartbeat::{Checked, Detail, Heartbeat, Report, Sender};
use gb10_provision_api::device::mac::{MacAddr, MacSource};
use gb10_provision_api::device::record;
use gb10_provision_api::device::stage::{Phase, Stage};
use gb10_provision_api::store::{CHANGE_TIMEOUT, Changed, Store, StoreError, Subject};
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Devices in the random sequences.
const DEVICES: u8 = 4;

/// What is done to the store.
#[derive(Debug, Clone)]
enum Step {
    /// These reports arrive at once.
    Reports(Vec<(u8, Beat)>),
    /// The service ends and another one starts, with another history limit.
    Reopen(usize),
    /// Another program writes the file anew.
    Replace(Foreign),
    /// Somebody removes the file.
    Remove,
}

#[derive(Debug, Clone)]
struct Beat {
    stage: &'static str,
    phase: &'static str,
    detail: Option<String>,
    ip: IpAddr,
    facts: Option<u8>,
    warnings: usize,
}

#[derive(Debug, Clone)]
enum Foreign {
    /// One device is struck out.
    Strike(u8),
    /// A field, a stage and a device come in that the service knows nothing of.
    Unknown(u8, u32),
    /// The same records, pretty-printed.
    Reformat,
}

/// What bounds the state's size.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Events kept of one device.
    history: usize,
    /// Devices kept.
    clients: usize,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let beat = (
        prop::sample::select(Stage::NAMES),
        prop::sample::select(Phase::NAMES),
        prop::option::of("\\PC{0,12}|[\"\\\\\n\t\u{0}é]{0,4}"),
        prop::sample::select(vec!["10.88.0.7", "10.88.0.8", "::1"]),
        prop::option::of(0..3_u8),
        0..3_usize,
    );
    let beat = beat.prop_map(|(stage, phase, detail, ip, facts, warnings)| Beat {
        stage,
        phase,
        detail,
        ip: ip.parse().unwrap(),
        facts,
        warnings,
    });
    let foreign = prop_oneof![
        (0..DEVICES).prop_map(Foreign::Strike),
        (0..DEVICES, any::<u32>()).prop_map(|(device, n)| Foreign::Unknown(device, n)),
        Just(Foreign::Reformat),
    ];
    let step = prop_oneof![
        6 => vec((0..DEVICES, beat), 1..8).prop_map(Step::Reports),
        1 => (1..6_usize).prop_map(Step::Reopen),
        2 => foreign.prop_map(Step::Replace),
        1 => Just(Step::Remove),
    ];
    vec(step, 1..25)
}

fn device(n: u8) -> MacAddr {
    format!("00:00:5e:00:53:{n:02x}").parse().unwrap()
}

/// What the records ought to be, as plain JSON values.
struct Model {
    clients: BTreeMap<String, Value>,
    limits: Limits,
}

impl Model {
    /// Enters a report as the service promises to; false where it is to be refused.
    fn enter(&mut self, report: &Report) -> bool {
        let mac = report.sender.mac.to_string();
        if !self.clients.contains_key(&mac) && self.clients.len() >= self.limits.clients {
            return false;
        }
        let hostname = format!("gb10-pxe-{}", mac.replace(':', "-"));
        let record = self
            .clients
            .entry(mac.clone())
            .or_insert(json!({"stages": []}));
        let timestamp = format!("{:.3}", report.at);
        let mut event = json!({
            "stage": report.stage.name(), "phase": report.phase.name(), "timestamp": timestamp,
        });
        if let Some(detail) = &report.detail {
            event["detail"] = json!(detail);
        }
        let last = |record: &Value, phase: &str| {
            let stages = record["stages"].as_array().unwrap();
            stages.last().is_some_and(|last| last["phase"] == phase)
        };
        let is_checked_again = record["rechecking"].is_string()
            && record["rechecking"] == record["last_heartbeat"]
            && !last(record, "fail");
        let was_ready = record["current_stage"] == "ready" && last(record, "done");
        let fields = record.as_object_mut().unwrap();
        fields.remove("rechecking");
        match (report.stage, report.phase) {
            (Stage::Ready, Phase::Done) | (_, Phase::Fail) => {}
            (Stage::Verify | Stage::Ready, _) if was_ready || is_checked_again => {
                fields.insert("rechecking".to_owned(), json!(timestamp));
            }
            _ => {}
        }
        if let Some(facts) = &report.checked.facts {
            fields.insert(
                "facts".to_owned(),
                serde_json::from_str(facts.json()).unwrap(),
            );
            fields.insert("facts_at".to_owned(), json!(timestamp));
        }
        let mut warnings = fields.remove("warnings").unwrap_or_else(|| json!({}));
        let lists = warnings.as_object_mut().unwrap();
        match (report.stage, report.phase) {
            (Stage::Install, Phase::Start) => lists.clear(),
            (stage, Phase::Done | Phase::Fail) => {
                lists.remove(stage.name());
                if !report.checked.warnings.is_empty() {
                    lists.insert(stage.name().to_owned(), json!(report.checked.warnings));
                }
            }
            _ => {}
        }
        if !lists.is_empty() {
            fields.insert("warnings".to_owned(), warnings);
        }
        record["mac"] = json!(mac);
        record["ip"] = json!(report.sender.ip);
        record["hostname"] = json!(hostname);
        record["current_stage"] = json!(report.stage.name());
        record["last_heartbeat"] = json!(timestamp);
        let stages = record["stages"].as_array_mut().unwrap();
        stages.push(event);
        let excess = stages.len().saturating_sub(self.limits.history);
        stages.drain(..excess);
        if excess > 0 {
            let before = record["events_dropped"].as_u64().unwrap_or(0);
            record["events_dropped"] = json!(before + excess as u64);
        }
        true
    }

    fn change(&mut self, change: &Foreign) -> String {
        match change {
            Foreign::Strike(n) => _ = self.clients.remove(&device(*n).to_string()),
            Foreign::Unknown(n, value) => {
                let unknown = json!({"stage": "coffee", "cups": value});
                if let Some(record) = self.clients.get_mut(&device(*n).to_string()) {
                    record["asset_tag"] = json!([value, {"nested": null}]);
                    record["stages"].as_array_mut().unwrap().push(unknown);
                } else {
                    let rack = format!("rack {value}");
                    self.clients
                        .insert(rack, json!({"stages": [unknown], "note": "no device"}));
                }
            }
            Foreign::Reformat => {}
        }
        serde_json::to_string_pretty(&self.clients).unwrap()
    }
}

fn file(folder: &Path) -> Value {
    match std::fs::read(folder.join("clients.json")) {
        Ok(text) => serde_json::from_slice(&text).expect("a whole file"),
        Err(_) => json!({}),
    }
}

async fn answer(store: &Store) -> Value {
    let pieces: Vec<_> = store.clients().await.unwrap().pieces().collect();
    serde_json::from_slice(&pieces.concat()).unwrap()
}

fn open(folder: &Path, limits: Limits) -> Store {
    Store::open(folder.to_owned(), limits.clients).unwrap()
}

fn folder() -> TempDir {
    // In memory where there is such a place: what is shown here is not durability.
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

async fn follow(steps: Vec<Step>, history: usize, clients: usize) {
    let folder = folder();
    let state = folder.path().join("state");
    let mut model = Model {
        clients: BTreeMap::new(),
        limits: Limits { history, clients },
    };
    let mut store = open(&state, model.limits);
    for step in steps {
        match step {
            Step::Reports(beats) => {
                let reports: Vec<Report> = beats.into_iter().map(report).collect();
                // They are queued in this order, and may share a round or not.
                let outcomes = join_all(
                    reports
                        .iter()
                        .cloned()
                        .map(|r| record(&store, r, model.limits)),
                )
                .await;
                for (report, outcome) in reports.iter().zip(&outcomes) {
                    let known = model.clients.contains_key(&report.sender.mac.to_string());
                    match (model.enter(report), outcome) {
                        (true, Ok(recorded)) => {
                            assert_eq!(recorded.is_new, !known);
                            let record: Value = serde_json::from_slice(&recorded.record).unwrap();
                            assert_eq!(record["mac"], report.sender.mac.to_string());
                        }
                        (false, Err(StoreError::TooManyClients(limit))) => {
                            assert_eq!(*limit, model.limits.clients);
                        }
                        (expected, outcome) => panic!("expected {expected}: {outcome:?}"),
                    }
                }
            }
            Step::Reopen(history) => {
                model.limits.history = history;
                store = open(&state, model.limits);
            }
            Step::Replace(change) => {
                let text = model.change(&change);
                let new = state.join("by-another");
                std::fs::write(&new, text).unwrap();
                std::fs::rename(&new, state.join("clients.json")).unwrap();
            }
            Step::Remove => {
                model.clients.clear();
                let _ = std::fs::remove_file(state.join("clients.json"));
            }
        }
        let expected = json!(model.clients);
        assert_eq!(answer(&store).await, expected);
        assert_eq!(file(&state), expected);
    }
    let reopened = open(&state, model.limits);
    assert_eq!(answer(&reopened).await, json!(model.clients));
}

/// A report, as the recorder has it entered.
fn record(
    store: &Store,
    report: Report,
    limits: Limits,
) -> impl Future<Output = Result<Changed<()>, StoreError>> + use<> {
    let subject = Subject {
        mac: report.sender.mac,
        is_confirmed: true,
    };
    store.change(subject, CHANGE_TIMEOUT, move |record| {
        let limits = record::Limits {
            events: limits.history,
            bytes: usize::MAX,
        };
        record.enter(&report, limits)
    })
}

fn sender(n: u8, ip: IpAddr) -> Sender {
    Sender {
        mac: device(n),
        mac_source: MacSource::Body,
        arp_mac: None,
        is_neighbour: true,
        is_confirmed: true,
        ip,
        hostname: None,
    }
}

fn report((n, beat): (u8, Beat)) -> Report {
    let warnings = vec![json!({"check": "a", "reason": "x", "waived": true}); beat.warnings];
    let mut body = json!({"stage": beat.stage, "phase": beat.phase, "facts": beat.facts.map(|n| json!({"n": n}))});
    if matches!(beat.phase, "done" | "fail") {
        body["warnings"] = json!(warnings);
    }
    let checked = Heartbeat::from_json(body.to_string().as_bytes())
        .unwrap()
        .checked;
    Report {
        sender: sender(n, beat.ip),
        at: Timestamp::now(),
        stage: beat.stage.parse().unwrap(),
        phase: beat.phase.parse().unwrap(),
        detail: beat.detail.map(|detail| Detail::try_from(detail).unwrap()),
        checked,
        is_addition: false,
    }
}

fn run<F: Future>(future: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_store_has_what_a_plain_map_has(
        steps in steps(), history in 1..6_usize, clients in 2..6_usize,
    ) {
        run(follow(steps, history, clients));
    }
}

fn simple(n: u8, word: &str) -> Report {
    Report {
        sender: sender(n, "10.88.0.7".parse().unwrap()),
        at: Timestamp::now(),
        stage: Stage::Network,
        phase: Phase::Done,
        detail: Some(Detail::try_from(word.to_owned()).unwrap()),
        checked: Checked::default(),
        is_addition: false,
    }
}

const WIDE: Limits = Limits {
    history: 1000,
    clients: 1000,
};

#[test]
fn reports_that_wait_for_the_lock_together_take_one_round() {
    use std::os::unix::fs::MetadataExt;
    let folder = folder();
    let store = open(folder.path(), WIDE);
    let file = folder.path().join("clients.json");
    run(record(&store, simple(0, "first"), WIDE)).unwrap();
    let lock = std::fs::File::open(folder.path().join("clients.json.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let first = std::fs::metadata(&file).unwrap();
    let reports = (0..64).map(|n| record(&store, simple(n % 8, &format!("report {n}")), WIDE));
    let released = async {
        // Polled after all reports, which are in the queue by then.
        assert_eq!(std::fs::metadata(&file).unwrap().ino(), first.ino());
        drop(lock);
    };
    let (outcomes, ()) = run(async { tokio::join!(join_all(reports), released) });
    let of_last = outcomes.into_iter().map(|outcome| outcome.unwrap().record);
    // One round answers all of a device with the same record, which has all eight reports.
    let mut sizes = BTreeMap::new();
    for record in of_last {
        let record: Value = serde_json::from_slice(&record).unwrap();
        let mac = record["mac"].as_str().unwrap().to_owned();
        sizes
            .entry(mac)
            .or_insert_with(Vec::new)
            .push(record["stages"].as_array().unwrap().len());
    }
    assert_eq!(sizes.len(), 8);
    for (mac, sizes) in sizes {
        let expected = if mac.ends_with(":00") { 9 } else { 8 };
        assert_eq!(
            sizes, [expected; 8],
            "{mac}: the reports were committed in several rounds"
        );
    }
}

#[test]
fn reports_that_nobody_waits_for_cannot_fill_the_memory() {
    let folder = folder();
    let store = open(folder.path(), WIDE);
    run(record(&store, simple(0, "first"), WIDE)).unwrap();
    let lock = std::fs::File::open(folder.path().join("clients.json.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    // A mad device that hangs up at once, again and again, while the state is locked.
    let mut refused = 0;
    run(async {
        for n in 0..20_000 {
            let report = record(&store, simple(1, &n.to_string()), WIDE);
            match tokio::time::timeout(Duration::ZERO, report).await {
                Ok(Err(StoreError::Busy(_))) => refused += 1,
                Ok(other) => panic!("{other:?}"),
                Err(_) => {}
            }
        }
    });
    assert!(refused >= 10_000, "20,000 reports were taken but {refused}");
    drop(lock);
    // Those that were taken are worked off, and the store goes on.
    let store = Arc::new(store);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while let Err(reason) = run(record(&store, simple(0, "afterwards"), WIDE)) {
        assert!(std::time::Instant::now() < deadline, "{reason}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(
        file(folder.path())[device(0).to_string()]["stages"][1]["detail"],
        "afterwards"
    );
}
