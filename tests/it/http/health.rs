//! Shows that `/healthz` and `systemctl status` tell the truth: 503 with the reason whenever the next
//! report would be refused, soon after that is so, and without a write for each poll.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::beats::*;
use crate::support::needs::{Need, needs};
use crate::support::system::under_strace;
use crate::support::*;

/// How soon the truth must be told.
const SOON: Duration = Duration::from_secs(5);

/// Waits until `/healthz` fails, and returns its reason.
fn reason(service: &Service) -> String {
    let began = Instant::now();
    let health = eventually("a 503", || {
        let health = service.get("/healthz");
        (health.status == 503).then(|| health.json())
    });
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(health["status"], "failing");
    assert_eq!(health["state_writable"], false);
    health["reason"].as_str().unwrap().to_owned()
}

fn wait_for_ok(service: &Service) {
    eventually("a 200", || {
        (service.get("/healthz").status == 200).then_some(())
    });
    assert_eq!(service.heartbeat(&mac(1), "network", "done").status, 200);
}

#[test]
fn a_lock_that_another_process_holds_is_a_503_until_it_lets_go() {
    let folder = tempfile::tempdir().unwrap();
    let service = Start::on(folder.path()).service();
    wait_for_ok(&service);
    let lock = hold_lock(folder.path());
    assert!(reason(&service).contains("locked or busy"));
    drop(lock);
    wait_for_ok(&service);
}

/// Puts something in the place of a file of the state folder.
fn in_the_way(state: &Path, name: &str, put: impl Fn(&Path)) {
    let place = state.join(name);
    let aside = state.join("aside");
    let _ = fs::rename(&place, &aside);
    put(&place);
}

fn out_of_the_way(state: &Path, name: &str) {
    let place = state.join(name);
    if place.is_dir() && !place.is_symlink() {
        fs::remove_dir_all(&place).unwrap();
    } else {
        fs::remove_file(&place).unwrap();
    }
    let _ = fs::rename(state.join("aside"), &place);
}

#[test]
fn what_stands_in_the_way_of_a_file_of_the_state_is_named() {
    let folder = |path: &Path| fs::create_dir(path).unwrap();
    let full_folder = |path: &Path| {
        fs::create_dir(path).unwrap();
        fs::write(path.join("file"), "x").unwrap();
    };
    let looping = |path: &Path| symlink(path, path).unwrap();
    let dangling = |path: &Path| symlink("nowhere", path).unwrap();
    type Put<'a> = &'a dyn Fn(&Path);
    let cases: [(&str, Put, &str); 7] = [
        ("clients.json", &folder, "clients.json is a folder"),
        ("clients.json", &full_folder, "clients.json is a folder"),
        ("clients.json", &looping, "clients.json is a symbolic link"),
        ("clients.json", &dangling, "clients.json is a symbolic link"),
        (
            "clients.json.tmp",
            &full_folder,
            "creating the new clients.json failed",
        ),
        (
            "clients.json.lock",
            &folder,
            "opening clients.json.lock failed",
        ),
        (
            "clients.json.lock",
            &looping,
            "opening clients.json.lock failed",
        ),
    ];
    let data = tempfile::tempdir().unwrap();
    let service = Start::on(data.path()).service();
    wait_for_ok(&service);
    let state = data.path().join("state");
    for (name, put, expected) in cases {
        in_the_way(&state, name, put);
        let reason = reason(&service);
        assert!(reason.contains(expected), "{name}: {reason}");
        service.heartbeat(&mac(1), "network", "done").problem(503);
        out_of_the_way(&state, name);
        wait_for_ok(&service);
    }
    // The record has lost nothing, and has nothing of what was refused.
    let record = service.get(&format!("/clients/{}", mac(1))).json();
    assert_eq!(record["stages"].as_array().unwrap().len(), cases.len() + 1);
}

#[test]
fn a_full_table_is_a_503_and_an_error_with_a_remedy() {
    let service = Start::fresh().env("MAX_CLIENTS", "2").service();
    for n in 1..=2 {
        assert_eq!(service.heartbeat(&mac(n), "network", "done").status, 200);
    }
    let reason = reason(&service);
    assert!(reason.contains("MAX_CLIENTS"), "{reason}");
    service.heartbeat(&mac(3), "network", "done").problem(507);
    service.wait_for_log(&["ERROR", "the table of devices is full (2)"]);
}

#[test]
fn a_thousand_polls_cost_a_few_probes() {
    needs!(Need::Strace);
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let command = under_strace(&trace, &["-e", "trace=fallocate"]);
    let service = Start::by(command, &folder.path().join("data")).service();
    let began = Instant::now();
    for _ in 0..1000 {
        assert_eq!(service.get("/healthz").status, 200);
    }
    let text = fs::read_to_string(&trace).unwrap();
    let probes = text
        .lines()
        .filter(|line| line.contains("fallocate("))
        .count();
    let allowed = 10 + 3 * (began.elapsed().as_secs() as usize + 1);
    assert!(probes <= allowed, "{probes} probes, {allowed} allowed");
}

/// Needs a fault: a disk that does not answer for a while. An open of the temporary file is delayed.
#[test]
fn many_polls_on_a_disk_that_hangs_are_all_answered_soon() {
    needs!(Need::Strace);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/state/clients.json.tmp");
    let options = [
        "-P",
        path.to_str().unwrap(),
        "-e",
        "inject=fallocate:delay_enter=12000000:when=2",
    ];
    let command = under_strace(&folder.path().join("trace"), &options);
    let service = Start::by(command, &folder.path().join("data"))
        .env("PEER_CONNECTIONS", "100")
        .service();
    let slowest = std::thread::scope(|scope| {
        let polls: Vec<_> = (0..60)
            .map(|_| {
                scope.spawn(|| {
                    let asked = Instant::now();
                    let health = service.get("/healthz");
                    (health.status, asked.elapsed())
                })
            })
            .collect();
        let answers = polls.into_iter().map(|poll| poll.join().unwrap());
        let answers: Vec<_> = answers.collect();
        assert!(
            answers.iter().any(|(status, _)| *status == 503),
            "{answers:?}"
        );
        answers.into_iter().map(|(_, took)| took).max().unwrap()
    });
    assert!(slowest < SOON, "{slowest:?}");
    wait_for_ok(&service);
}

#[test]
fn no_control_character_of_a_file_reaches_the_status_line() {
    // A record that somebody else wrote.
    let clients = json!({mac(1): {"mac": mac(1), "current_stage": "x\u{1b}[2J",
        "last_heartbeat": "2026\n\u{1b}[31mFORGED", "stages": []}});
    let service = Start::fresh()
        .stage("state/clients.json", &clients.to_string())
        .service();
    let log = service.log();
    assert!(!log.contains("FORGED") && !log.contains('\u{1b}'), "{log}");
    assert_eq!(service.get("/healthz").status, 200);
}
