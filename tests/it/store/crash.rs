//! `kill -9` at any moment: `clients.json` is whole and has every acknowledged event.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::support::beats::*;
use crate::support::needs::{Need, needs};
use crate::support::system::under_strace;
use crate::support::*;
use rustix::process::{Signal, kill_process};

#[test]
fn fifty_kills_under_load_lose_no_acknowledged_heartbeat() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice::new();
    let mut all = Outcome::default();
    let mut cut_short = 0;
    for round in 0..50 {
        let mut service = Start::on(folder.path())
            .env("HISTORY_LIMIT", "1000000")
            .service();
        let name = format!("round-{round}");
        let never = AtomicBool::new(false);
        let outcome = std::thread::scope(|scope| {
            let load = scope.spawn(|| load(service.address, &name, 4, &never));
            std::thread::sleep(Duration::from_millis(dice.below(100)));
            service.signal(Signal::KILL);
            load.join().unwrap()
        });
        assert_eq!(service.wait_for_end().signal(), Some(9));
        assert!(
            outcome.others.keys().all(|status| *status == 0),
            "{:?}",
            outcome.others
        );
        cut_short += outcome.others.get(&0).map_or(0, Vec::len);
        all.add(outcome);
        if let Some(clients) = clients_in(folder.path()) {
            all.assert_in(&clients, &name);
        }
        let asides = state_names(folder.path());
        assert!(
            !asides.iter().any(|name| name.contains("corrupt")),
            "{asides:?}"
        );
    }
    figure(&format!(
        "50 kills: {} acknowledged, {cut_short} cut short",
        all.acknowledged.len()
    ));
    assert!(all.acknowledged.len() > 100 && cut_short > 50);
    let service = Start::on(folder.path())
        .env("HISTORY_LIMIT", "1000000")
        .service();
    assert_eq!(service.heartbeat(&mac(0), "ready", "done").status, 200);
    all.assert_in(&service.get("/clients").json(), "in the end");
    assert_eq!(
        state_names(folder.path()),
        ["clients.json", "clients.json.lock"]
    );
}

/// A system call of a trace: its name, and how many of that name came before it, itself included.
type Call = (String, usize);

/// Calls that only wait or manage memory: another run need not make them.
const INCIDENTAL: [&str; 8] = [
    "futex",
    "mmap",
    "munmap",
    "mprotect",
    "madvise",
    "brk",
    "getrandom",
    "restart_syscall",
];

/// The calls in a trace of one thread, without the incidental ones.
fn calls(trace: &str) -> Vec<Call> {
    let mut counts = std::collections::BTreeMap::new();
    let names = trace.lines().filter_map(|line| {
        let (name, _) = line.split_once('(')?;
        let name = name.rsplit(' ').next()?;
        name.chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_')
            .then_some(name)
    });
    let mut calls = Vec::new();
    for name in names {
        let count = counts.entry(name.to_owned()).or_insert(0);
        *count += 1;
        if !INCIDENTAL.contains(&name) {
            calls.push((name.to_owned(), *count));
        }
    }
    calls
}

/// strace on the thread of a running service that commits.
fn attach(service: &Service, trace: &Path, options: &[&str]) -> Child {
    let tasks = format!("/proc/{}/task", service.pid().as_raw_nonzero());
    let id = eventually("a thread named commit", || {
        let mut tasks = std::fs::read_dir(&tasks).unwrap().map(|task| task.unwrap());
        let name = |task: &std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
        tasks.find(|task| name(task).is_ok_and(|name| name == "commit\n"))
    })
    .file_name();
    let mut command = Command::new("strace");
    command.arg("-o").arg(trace).args(options).arg("-p").arg(id);
    let mut strace = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let stderr = strace.stderr.take().unwrap();
    BufReader::new(stderr).read_line(&mut said).unwrap();
    assert!(said.contains("attached"), "strace says: {said}");
    strace
}

#[test]
fn a_kill_at_each_system_call_of_a_commit_loses_no_acknowledged_heartbeat() {
    needs!(Need::StraceAttached);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let trace = folder.path().join("trace");
    let service = Start::on(&data).service();
    assert_eq!(beat(service.address, &mac(1), "first").unwrap().status, 200);
    let mut strace = attach(&service, &trace, &[]);
    assert_eq!(
        beat(service.address, &mac(1), "traced").unwrap().status,
        200
    );
    service.signal(Signal::KILL);
    strace.wait().unwrap();
    let calls = calls(&std::fs::read_to_string(&trace).unwrap());
    figure(&format!("a commit makes these calls: {calls:?}"));
    for needed in ["flock", "writev", "fsync"] {
        assert!(
            calls.iter().any(|(name, _)| name == needed),
            "no {needed} in {calls:?}"
        );
    }

    let mut acknowledged = vec!["first".to_owned(), "traced".to_owned()];
    let mut old_and_new = [0, 0];
    for (name, count) in &calls {
        let when = format!("killed at {name} {count}");
        let mut service = Start::on(&data).service();
        let inject = format!("inject={name}:signal=KILL:when={count}");
        let mut strace = attach(&service, &trace, &["-e", &inject]);
        let detail = format!("{name}-{count}");
        let answer = beat(service.address, &mac(1), &detail);
        if answer.is_ok() && ["close", "fcntl"].contains(&name.as_str()) {
            // The replaced file is closed after the answer, by whichever thread lets go of it last.
            acknowledged.push(detail);
            let _ = kill_process(service.pid(), Signal::KILL);
            service.wait_for_end();
            strace.wait().unwrap();
            continue;
        }
        assert!(answer.is_err(), "not {when}");
        assert_eq!(service.wait_for_end().signal(), Some(9), "{when}");
        strace.wait().unwrap();

        // The heartbeat may be recorded or not: nobody was told.
        let clients = clients_in(&data).unwrap();
        let counts = details(&clients);
        old_and_new[counts.get(&detail).copied().unwrap_or(0)] += 1;
        for detail in &acknowledged {
            assert_eq!(counts.get(detail), Some(&1), "{when}: {detail}");
        }
        // A start on what is left goes on, and a retry makes it.
        let service = Start::on(&data).service();
        let retried = format!("{detail}-retried");
        assert_eq!(
            beat(service.address, &mac(1), &retried).unwrap().status,
            200,
            "{when}"
        );
        acknowledged.push(retried);
        assert_eq!(
            service.get("/clients").json(),
            clients_in(&data).unwrap(),
            "{when}"
        );
        assert_eq!(
            state_names(&data),
            ["clients.json", "clients.json.lock"],
            "{when}"
        );
    }
    assert!(
        old_and_new[0] >= 6 && old_and_new[1] >= 3,
        "old and new file: {old_and_new:?}"
    );
}

#[test]
fn a_kill_at_each_system_call_that_makes_the_state_folder_leaves_nothing_that_stops_a_start() {
    needs!(Need::Strace);
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let run = |n: usize, inject: &[&str]| {
        let data = folder.path().join(format!("data-{n}"));
        let state = data.join("state");
        let paths = [
            data.clone(),
            state.clone(),
            state.join("clients.json"),
            state.join("clients.json.lock"),
        ];
        let paths = paths.map(|path| path.into_os_string().into_string().unwrap());
        let mut options: Vec<&str> = paths.iter().flat_map(|path| ["-P", path]).collect();
        options.extend(inject);
        let command = under_strace(&trace, &options);
        (Start::by(command, &data).try_service(), data)
    };
    let (service, _) = run(0, &[]);
    drop(service.unwrap_or_else(|(_, log)| panic!("{log}")));
    let text = eventually("the trace of a start", || {
        std::fs::read_to_string(&trace)
            .ok()
            .filter(|text| text.contains("+++ killed by SIGKILL"))
    });
    // The state is opened by the thread that commits from then on.
    let locks = text.lines().find(|line| line.contains("flock(")).unwrap();
    let thread = locks.split_once(' ').unwrap().0;
    let of_thread: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with(thread))
        .collect();
    // Later ones are looks at the state, which come again and again.
    let until = of_thread
        .iter()
        .position(|line| line.contains("flock("))
        .unwrap()
        + 1;
    let calls = calls(&of_thread[..until].join("\n"));
    figure(&format!("a start makes these calls: {calls:?}"));
    assert!(
        calls.iter().any(|(name, _)| name.starts_with("mkdir")),
        "{calls:?}"
    );
    assert!(calls.iter().any(|(name, _)| name == "fsync"), "{calls:?}");
    for (n, (name, count)) in calls.iter().enumerate() {
        let when = format!("killed at {name} {count}");
        let inject = format!("inject={name}:signal=KILL:when={count}");
        let (outcome, data) = run(n + 1, &["-e", &inject]);
        let (status, _) = outcome.err().unwrap_or_else(|| panic!("not {when}"));
        assert_eq!(status.signal(), Some(9), "{when}");
        let service = Start::on(&data).service();
        assert_eq!(
            beat(service.address, &mac(1), &when).unwrap().status,
            200,
            "{when}"
        );
        assert_eq!(details(&clients_in(&data).unwrap())[&when], 1);
    }
}
