//! `arm` and `disarm`: an operator's word goes on record whole, whoever writes meanwhile.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::beats::*;
use crate::support::needs::{Need, needs};
use crate::support::system::under_strace;
use crate::support::*;

fn command(data: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(words).env("DATA_PATH", data);
    command
}

fn run(data: &Path, words: &[&str]) -> (Option<i32>, String) {
    let output = command(data, words).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// The devices that are armed on record.
fn armed(data: &Path) -> BTreeSet<String> {
    let clients = clients_in(data).unwrap_or_else(|| json!({}));
    let clients = clients.as_object().unwrap().clone();
    let armed = clients
        .into_iter()
        .filter(|(_, record)| record["boot"]["armed"].is_object());
    armed.map(|(mac, _)| mac).collect()
}

fn set(macs: &[usize]) -> BTreeSet<String> {
    macs.iter().map(|n| mac(*n)).collect()
}

#[test]
fn devices_are_armed_by_mac_by_role_and_all_whether_the_service_runs_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let devices = json!({
        mac(1): {"hostname": "one", "role": "train", "macs": [mac(11)]},
        mac(2): {"role": "train"},
        mac(3): {"role": "serve"},
    });
    stage(data, "devices.json", &devices.to_string());

    // No service ran yet, and none of them is on record.
    let (code, said) = run(data, &["arm", "--role", "train"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("armed: {} (one)", mac(1))), "{said}");
    assert_eq!(armed(data), set(&[1, 2]));

    let service = Start::on(data).service();
    assert_eq!(service.heartbeat(&mac(4), "network", "done").status, 200);
    let (code, said) = run(data, &["arm", "--all"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(armed(data), set(&[1, 2, 3, 4]));
    let record = service.get(&format!("/clients/{}", mac(4))).json();
    assert_eq!(record["current_stage"], "network");
    assert_eq!(
        record["boot"]["armed"]["by"],
        format!("uid {}", rustix::process::getuid().as_raw())
    );

    let by_sudo = command(data, &["arm", &mac(4)])
        .env("SUDO_USER", "kim")
        .status();
    assert!(by_sudo.unwrap().success());
    let record = service.get(&format!("/clients/{}", mac(4))).json();
    assert_eq!(record["boot"]["armed"]["by"], "kim");

    // By another port, and one that is not armed.
    let (code, said) = run(data, &["disarm", &mac(11), &mac(9)]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("disarmed: {}", mac(1))), "{said}");
    assert!(
        said.contains(&format!("was not armed: {}", mac(9))),
        "{said}"
    );
    let all_the_same = "is installed all the same: it was never installed";
    assert!(
        said.contains(&format!("{} {all_the_same}", mac(9))),
        "{said}"
    );
    assert_eq!(armed(data), set(&[2, 3, 4]));
    let (_, said) = run(data, &["--install", "armed", "disarm", &mac(4)]);
    assert_eq!(said, format!("disarmed: {}\n", mac(4)));
    let (_, said) = run(data, &["--install", "never", "arm", &mac(4)]);
    assert!(said.contains("0 devices will be installed"), "{said}");
    assert_eq!(service.heartbeat(&mac(4), "storage", "done").status, 200);
    assert_eq!(
        armed(data),
        set(&[2, 3, 4]),
        "the service keeps what it did not write"
    );
    let (code, _) = run(data, &["disarm", "--all"]);
    assert_eq!(code, Some(0));
    assert!(armed(data).is_empty());
}

#[test]
fn what_cannot_be_armed_is_named_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    stage(
        data,
        "devices.json",
        &json!({mac(1): {"role": "train"}}).to_string(),
    );
    let cases: [(&[&str], i32, &str); 6] = [
        (&["arm"], 2, "MAC"),
        (&["arm", "nonsense"], 2, "nonsense"),
        (
            &["arm", "--all", "--role", "train"],
            2,
            "cannot be used with",
        ),
        (&["arm", "--role", "serve"], 1, "serve"),
        (&["arm", "00:00:00:00:00:00"], 2, "00:00:00:00:00:00"),
        (
            &["--data-path", "/nonexistent", "arm", "--all"],
            1,
            "/nonexistent",
        ),
    ];
    for (words, expected, needed) in cases {
        let (code, said) = run(data, words);
        assert_eq!(code, Some(expected), "{words:?}: {said}");
        assert!(said.contains(needed), "{words:?}: {said}");
    }
    stage(data, "devices.json", "{\"not a mac\": {}}");
    let (code, said) = run(data, &["arm", &mac(1)]);
    assert_eq!(code, Some(1));
    assert!(said.contains("devices.json:1"), "{said}");
    assert!(armed(data).is_empty());
    // The table has room for two.
    stage(data, "devices.json", "{}");
    let command = command(data, &["arm", &mac(1), &mac(2), &mac(3)])
        .env("MAX_CLIENTS", "2")
        .output()
        .unwrap();
    assert_eq!(command.status.code(), Some(1));
    assert!(armed(data).is_empty());
}

#[test]
fn the_file_keeps_its_owner_and_mode() {
    if !is_root() {
        return crate::support::needs::skip("needs root, to have a file of another user");
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    std::fs::create_dir(data.join("state")).unwrap();
    std::os::unix::fs::chown(data.join("state"), Some(4321), Some(4321)).unwrap();
    assert_eq!(run(data, &["arm", &mac(1)]).0, Some(0));
    assert_eq!(run(data, &["disarm", &mac(1)]).0, Some(0));
    for name in ["clients.json", "clients.json.lock"] {
        let file = std::fs::metadata(data.join("state").join(name)).unwrap();
        assert_eq!((file.uid(), file.gid()), (4321, 4321), "{name}");
        assert_eq!(file.permissions().mode() & 0o777, 0o640, "{name}");
    }

    // What an operator set is kept, by commands and by the service alike; but for what would make a
    // program of it, or lock its owner out.
    let file = data.join("state/clients.json");
    let looks = || {
        let file = std::fs::metadata(&file).unwrap();
        let mode = file.permissions().mode() & 0o7777;
        (file.uid(), file.gid(), mode)
    };
    for (set, kept) in [
        (0o600, 0o600),
        (0o664, 0o664),
        (0o2604, 0o604),
        (0o040, 0o640),
    ] {
        std::os::unix::fs::chown(&file, Some(4321), Some(4322)).unwrap();
        let mode = std::fs::Permissions::from_mode(set);
        std::fs::set_permissions(&file, mode).unwrap();
        assert_eq!(run(data, &["arm", &mac(1), &mac(2)]).0, Some(0));
        assert_eq!(looks(), (4321, 4322, kept));
        assert_eq!(run(data, &["forget", &mac(2)]).0, Some(0));
        assert_eq!(looks(), (4321, 4322, kept));
        let service = Start::on(data).service();
        assert_eq!(service.heartbeat(&mac(1), "network", "done").status, 200);
        assert_eq!(looks(), (4321, 4322, kept));
        drop(service);
        assert_eq!(run(data, &["disarm", &mac(1)]).0, Some(0));
    }
}

#[test]
fn two_who_write_at_once_lose_nothing_of_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let service = Start::on(folder.path())
        .env("HISTORY_LIMIT", "1000000")
        .service();
    let is_done = AtomicBool::new(false);
    let mut all = Outcome::default();
    std::thread::scope(|scope| {
        let beats = scope.spawn(|| load(service.address, "beside", 4, &is_done));
        // Odd devices are armed, even ones armed and disarmed; nobody else writes these.
        for n in 100..120 {
            let (code, said) = run(folder.path(), &["arm", &mac(n)]);
            assert_eq!(code, Some(0), "{said}");
            if n % 2 == 0 {
                let (code, said) = run(folder.path(), &["disarm", &mac(n)]);
                assert_eq!(code, Some(0), "{said}");
            }
        }
        is_done.store(true, Ordering::Relaxed);
        all.add(beats.join().unwrap());
    });
    assert!(all.acknowledged.len() > 20, "{}", all.acknowledged.len());
    let clients: Value = service.get("/clients").json();
    all.assert_in(&clients, "beside arm and disarm");
    let odd: Vec<usize> = (100..120).filter(|n| n % 2 == 1).collect();
    assert_eq!(armed(folder.path()), set(&odd));
}

#[test]
fn a_kill_at_each_system_call_of_arm_leaves_the_state_whole_for_the_service_that_runs() {
    a_kill_at_each_system_call_leaves_the_state_whole("arm");
}

#[test]
fn a_kill_at_each_system_call_of_disarm_leaves_the_state_whole_for_the_service_that_runs() {
    a_kill_at_each_system_call_leaves_the_state_whole("disarm");
}

fn a_kill_at_each_system_call_leaves_the_state_whole(word: &str) {
    needs!(Need::Strace);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let service = Start::on(data).service();
    assert_eq!(service.heartbeat(&mac(1), "network", "done").status, 200);
    let trace = folder.path().join("trace");
    // What is to be disarmed is armed before.
    let prepare = |n: usize| {
        if word == "disarm" {
            assert_eq!(run(data, &["arm", &mac(n)]).0, Some(0));
        }
    };
    let traced = |n: usize, options: &[&str]| {
        under_strace(&trace, options)
            .args([word, &mac(n)])
            .env("DATA_PATH", data)
            .status()
            .unwrap()
    };
    prepare(2);
    assert!(traced(2, &[]).success());
    let calls = calls_between(&std::fs::read_to_string(&trace).unwrap());
    figure(&format!("{word} makes {} calls on the state", calls.len()));
    assert!(calls.len() >= 6, "{calls:?}");
    let mut old_and_new = [0, 0];
    for (index, (name, count)) in calls.iter().enumerate() {
        let n = 100 + index;
        prepare(n);
        let inject = format!("inject={name}:signal=KILL:when={count}");
        assert!(
            !traced(n, &["-e", &inject]).success(),
            "not killed at {name} {count}"
        );
        let when = format!("killed at {name} {count}");
        // The service goes on, and has either all of it or nothing.
        assert_eq!(
            service.heartbeat(&mac(1), "network", "done").status,
            200,
            "{when}"
        );
        let armed = armed(data);
        assert_eq!(armed.contains(&mac(2)), word == "arm", "{when}");
        let is_done = armed.contains(&mac(n)) == (word == "arm");
        old_and_new[usize::from(is_done)] += 1;
        assert_eq!(
            service.get("/clients").json(),
            clients_in(data).unwrap(),
            "{when}"
        );
    }
    assert!(old_and_new[0] > 0, "{old_and_new:?}");
    assert_eq!(run(data, &[word, &mac(3)]).0, Some(0));
    assert_eq!(state_names(data), ["clients.json", "clients.json.lock"]);
}

/// The calls from the lock to the end of a trace, each with how many of its name came before it in
/// the whole of it, itself included.
fn calls_between(trace: &str) -> Vec<(String, usize)> {
    let mut counts = std::collections::HashMap::new();
    let mut is_on_state = false;
    let mut calls = Vec::new();
    for line in trace.lines() {
        let line = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        let Some((name, _)) = line.split_once('(') else {
            continue;
        };
        let count = counts.entry(name.to_owned()).or_insert(0);
        *count += 1;
        is_on_state |= name == "flock";
        let waits = [
            "futex",
            "mmap",
            "munmap",
            "mprotect",
            "madvise",
            "brk",
            "getrandom",
        ];
        if is_on_state
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !waits.contains(&name)
            && !name.starts_with("exit")
        {
            calls.push((name.to_owned(), *count));
        }
    }
    calls
}
