//! Shows that what was served is told apart from what was reported: fetches are counted, cost no
//! fsync, change neither stage nor name, and show a device that is installed again and again.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::beats::*;
use crate::support::needs::{Need, needs};
use crate::support::system::under_strace;
use crate::support::*;
use rustix::process::Signal;
use serde_json::{Value, json};

const MAC: &str = "00:00:5e:00:53:07";
const USER_DATA: &str = "/cloud-init/00:00:5e:00:53:07/user-data";
const TEMPLATE: &str = "cloud-init-templates/user-data.yaml.j2";

/// Another device, whose heartbeat is the next round: what was noted before is on record with it.
const NEXT_ROUND: &str = "00:00:5e:00:53:ff";

/// With a device that the operator knows: of any other a fetch makes no record, unless the kernel
/// knows it.
fn known(start: Start) -> Start {
    start.stage("devices.json", &json!({MAC: {}}).to_string())
}

fn fetch(service: &Service) {
    assert_eq!(service.get_as_box(USER_DATA).status, 200);
}

fn record(service: &Service) -> Value {
    let answer = service.heartbeat(NEXT_ROUND, "network", "start");
    assert_eq!(answer.status, 200, "{}", answer.text());
    service.get(&format!("/clients/{MAC}")).json()
}

fn report(service: &Service, stage: &str, phase: &str) {
    pass_a_tick();
    assert_eq!(service.heartbeat(MAC, stage, phase).status, 200);
    pass_a_tick();
}

/// Records tell times in milliseconds, and nothing else tells two events apart here: minutes lie
/// between those of a real device.
fn pass_a_tick() {
    std::thread::sleep(Duration::from_millis(3));
}

#[test]
fn the_first_and_the_last_fetch_are_on_record_with_their_count() {
    let service = known(Start::fresh()).service();
    fetch(&service);
    let seed = record(&service)["seed"].take();
    let first = seed["first"].clone();
    assert_eq!(
        seed,
        json!({"count": 1, "first": first, "last": first}),
        "no word of reinstalling"
    );
    let time = first["timestamp"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
    assert_eq!(
        first,
        json!({"timestamp": time, "ip": "127.0.0.2", "template": "embedded", "mac_source": "path"})
    );

    pass_a_tick();
    service.stage(TEMPLATE, "#cloud-config\nx: {{ nowhere.at_all }}");
    service.get_as_box(&format!("/cloud-init/user-data?mac={MAC}"));
    let seed = record(&service)["seed"].take();
    assert_eq!((&seed["count"], &seed["first"]), (&json!(2), &first));
    assert_eq!(seed["last"]["template"], "fallback");
    assert_eq!(seed["last"]["mac_source"], "query");
    assert!(seed["last"]["timestamp"].as_str().unwrap() > time, "{seed}");

    service.stage(TEMPLATE, "#cloud-config\nx: 1");
    for _ in 0..3 {
        service.get_as_box(&format!("/cloud-init/?mac={MAC}&f=user-data"));
    }
    let seed = record(&service)["seed"].take();
    assert_eq!((&seed["count"], &seed["first"]), (&json!(5), &first));
    assert_eq!(seed["last"]["template"], "staged");
}

#[test]
fn what_is_no_fetch_of_user_data_does_not_count() {
    let service = known(Start::fresh()).service();
    fetch(&service);
    for target in [USER_DATA, "/cloud-init/user-data?mac=00:00:5e:00:53:07"] {
        let head = request(service.address, "HEAD", target, &[], b"").unwrap();
        assert_eq!(head.status, 200);
    }
    for file in ["meta-data", "vendor-data", "network-config", "other"] {
        service.get_as_box(&format!("/cloud-init/{MAC}/{file}"));
    }
    assert_eq!(record(&service)["seed"]["count"], 1);
    // A device without a known MAC has no record.
    service.get_as_box("/cloud-init/user-data");
    let clients = record(&service);
    assert_eq!(clients["seed"]["count"], 1);
    let all = service.get("/clients").json();
    assert_eq!(all.as_object().unwrap().len(), 2, "{all}");
}

#[test]
fn a_fetch_alone_makes_a_record_that_reports_nothing() {
    let service = known(Start::fresh()).service();
    fetch(&service);
    // Nobody reports, and it is on record all the same.
    let record = eventually("the fetch on record", || {
        let answer = service.get(&format!("/clients/{MAC}"));
        (answer.status == 200).then(|| answer.json())
    });
    assert_eq!(record["mac"], MAC);
    assert_eq!(record["hostname"], "gb10-pxe-00-00-5e-00-53-07");
    assert_eq!(record["stages"], json!([]));
    for field in ["current_stage", "last_heartbeat"] {
        assert_eq!(record.get(field), None, "{record}");
    }
    service.wait_for_log(&["new device", MAC, "fetched its seed"]);
}

#[test]
fn a_fetch_changes_neither_stage_nor_identity_of_a_record() {
    let before = json!({MAC: {"mac": MAC, "ip": "10.88.0.9", "hostname": "spark-07",
        "current_stage": "driver", "last_heartbeat": "2026-11-01T10:00:00.000Z", "note": "kept",
        "stages": [{"stage": "driver", "phase": "fail", "timestamp": "2026-11-01T10:00:00.000Z"}]}});
    let start = known(Start::fresh()).stage("state/clients.json", &before.to_string());
    // A name that a heartbeat would bring.
    let devices = format!(r#"{{"{MAC}": {{"hostname": "other"}}}}"#);
    let service = start.stage("devices.json", &devices).service();
    fetch(&service);
    let mut after = record(&service);
    assert_eq!(after["seed"]["last"]["ip"], "127.0.0.2");
    after.as_object_mut().unwrap().remove("seed");
    assert_eq!(after, before[MAC]);
}

#[test]
fn two_hundred_fetches_cost_a_few_fsyncs_and_not_one_each() {
    needs!(Need::Strace);
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let command = under_strace(&trace, &["-e", "trace=fsync,fdatasync,sync_file_range"]);
    let known: serde_json::Map<String, Value> = (0..20).map(|n| (mac(n), json!({}))).collect();
    let service = Start::by(command, &folder.path().join("data"))
        .stage("devices.json", &Value::Object(known).to_string())
        .service();
    // strace writes a line when the call is over; what began and ended apart has two.
    let fsyncs = || {
        let text = std::fs::read_to_string(&trace).unwrap();
        text.lines().filter(|line| line.contains("sync(")).count()
    };
    let began = Instant::now();
    for n in 0..200 {
        let answer = service.get_as_box(&format!("/cloud-init/{}/user-data", mac(n % 20)));
        assert_eq!(answer.status, 200);
    }
    let count = |clients: &Value| -> u64 {
        let records = clients.as_object().unwrap().values();
        records
            .filter_map(|record| record["seed"]["count"].as_u64())
            .sum()
    };
    eventually("all fetches on record", || {
        (count(&service.get("/clients").json()) == 200).then_some(())
    });
    // Two a round, a round every 2 s, and the making of the folder.
    let allowed = 2 * (began.elapsed().as_secs() as usize / 2 + 1) + 2;
    let fsyncs = fsyncs();
    figure(&format!("200 fetches: {fsyncs} fsyncs, {allowed} allowed"));
    assert!((2..=allowed).contains(&fsyncs), "{fsyncs} of {allowed}");
}

#[test]
fn fetches_are_on_record_after_a_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let mut service = known(Start::on(folder.path())).service();
        for _ in 0..7 {
            fetch(&service);
        }
        service.signal(Signal::TERM);
        assert_eq!(service.wait_for_end().code(), Some(0));
        let clients = clients_in(folder.path()).unwrap();
        assert_eq!(clients[MAC]["seed"]["count"], 7 * round, "{clients}");
    }
}

#[test]
fn a_lock_held_elsewhere_holds_up_no_fetch_and_the_fetches_are_entered_later() {
    let folder = tempfile::tempdir().unwrap();
    let service = known(Start::on(folder.path())).service();
    let lock = hold_lock(folder.path());
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut count = 0;
    // Until a round, which begins after 2 s, waits for the lock.
    while began.elapsed() < Duration::from_millis(2_500) {
        let asked = Instant::now();
        fetch(&service);
        slowest = slowest.max(asked.elapsed());
        count += 1;
    }
    figure(&format!(
        "slowest of {count} fetches while the state was locked: {slowest:?}"
    ));
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert_eq!(clients_in(folder.path()), None);
    drop(lock);
    let seed = eventually("the fetches on record", || {
        let clients = clients_in(folder.path())?;
        let seed = clients.get(MAC)?["seed"].clone();
        (seed["count"] == count).then_some(seed)
    });
    assert!(seed["first"]["timestamp"].as_str() < seed["last"]["timestamp"].as_str());
}

#[test]
fn fetches_that_could_not_be_written_are_entered_once_they_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let service = known(Start::on(folder.path())).service();
    // No file can be renamed to a folder that is not empty.
    let blocked = folder.path().join("state/clients.json");
    std::fs::create_dir_all(blocked.join("x")).unwrap();
    fetch(&service);
    assert_eq!(service.heartbeat(MAC, "network", "start").status, 503);
    fetch(&service);
    std::fs::remove_dir_all(&blocked).unwrap();
    assert_eq!(record(&service)["seed"]["count"], 2);
}

// ---- Reinstalling --------------------------------------------------------------------------

fn reinstalls(service: &Service) -> (Value, Value) {
    let mut seed = record(service)["seed"].take();
    (seed["reinstalling"].take(), seed["reinstalls"].take())
}

fn warnings(service: &Service) -> usize {
    let log = service.log();
    log.lines()
        .filter(|line| line.contains("WARN reinstalling: "))
        .count()
}

#[test]
fn a_device_that_installed_and_starts_from_pxe_again_is_reinstalling_until_it_is_ready() {
    let service = known(Start::fresh()).service();
    fetch(&service);
    report(&service, "install", "start");
    report(&service, "install", "done");
    assert_eq!(reinstalls(&service), (Value::Null, Value::Null));
    assert_eq!(warnings(&service), 0);

    fetch(&service);
    assert_eq!(reinstalls(&service), (json!(true), json!(1)));
    let warning = service.wait_for_log(&["WARN reinstalling: ", MAC]);
    assert!(warning.contains(&format!("gb10.mac={MAC}")), "{warning}");

    // Twice in one boot is once.
    pass_a_tick();
    fetch(&service);
    assert_eq!(reinstalls(&service), (json!(true), json!(1)));
    // On its way, and still not out of the loop.
    report(&service, "install", "done");
    report(&service, "first_boot", "done");
    report(&service, "ready", "fail");
    assert_eq!(reinstalls(&service), (json!(true), json!(1)));
    report(&service, "ready", "done");
    assert_eq!(
        reinstalls(&service),
        (Value::Null, json!(1)),
        "the count stays"
    );
    assert_eq!(record(&service)["seed"]["count"], 3);
    assert_eq!(warnings(&service), 1, "{}", service.log());
}

#[test]
fn a_loop_of_three_counts_three_and_warns_each_time() {
    let service = known(Start::fresh()).service();
    fetch(&service);
    for times in 1..=3 {
        // By the installer's own word this time.
        pass_a_tick();
        let event = r#"{"name": "subiquity/Install/install", "event_type": "start"}"#;
        assert_eq!(service.post(&format!("/report/{MAC}"), event).status, 204);
        pass_a_tick();
        fetch(&service);
        assert_eq!(reinstalls(&service), (json!(true), json!(times)));
        service.wait_for_log(&["WARN reinstalling: ", MAC, &format!("({times} so far)")]);
    }
    assert_eq!(warnings(&service), 3, "{}", service.log());
    assert_eq!(record(&service)["seed"]["count"], 4);
}

#[test]
fn a_device_that_never_reported_an_installation_is_not_reinstalling() {
    let service = known(Start::fresh()).service();
    fetch(&service);
    report(&service, "first_boot", "start");
    report(&service, "network", "fail");
    fetch(&service);
    assert_eq!(reinstalls(&service), (Value::Null, Value::Null));
}

#[test]
fn reinstalling_is_seen_over_restarts_and_while_the_state_is_locked() {
    let folder = tempfile::tempdir().unwrap();
    let on = |folder: &Path| known(Start::on(folder)).service();
    let service = on(folder.path());
    fetch(&service);
    report(&service, "install", "done");
    assert_eq!(service.stop().code(), Some(0));
    let service = on(folder.path());
    fetch(&service);
    assert_eq!(reinstalls(&service), (json!(true), json!(1)));

    // Two fetches with an installation between them, all entered in one round.
    let lock = hold_lock(folder.path());
    let event = r#"{"name": "subiquity/Install/install", "event_type": "start"}"#;
    for _ in 0..2 {
        pass_a_tick();
        fetch(&service);
        pass_a_tick();
        // It is kept, though not on record yet.
        assert_eq!(service.post(&format!("/report/{MAC}"), event).status, 503);
    }
    pass_a_tick();
    fetch(&service);
    drop(lock);
    let (reinstalling, times) = reinstalls(&service);
    assert_eq!(reinstalling, true);
    // What fell together counts once at least.
    assert!(times.as_u64() >= Some(2), "{times}");
    eventually("all fetches", || {
        (record(&service)["seed"]["count"] == 5).then_some(())
    });
}
