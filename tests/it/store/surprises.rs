//! What people and accidents do to the state folder of a running service.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::beats::*;
use crate::support::needs::{Need, needs};
use crate::support::system::under_strace;
use crate::support::*;

fn assert_mode(path: &Path, mode: u32) {
    let found = std::fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(found, mode, "{} has mode {found:o}", path.display());
}

#[test]
fn a_removed_state_folder_is_made_anew_and_what_readers_see_is_empty() {
    let service = Start::fresh().service();
    assert_eq!(service.heartbeat(&mac(1), "network", "done").status, 200);
    std::fs::remove_dir_all(service.data.join("state")).unwrap();
    assert_eq!(service.get("/clients").text(), "{\n}\n");
    service.get(&format!("/clients/{}", mac(1))).problem(404);
    let recorded = service.heartbeat(&mac(2), "network", "done");
    assert_eq!(recorded.status, 200, "{}", recorded.text());
    let clients = clients_in(&service.data).unwrap();
    assert_eq!(
        clients.as_object().unwrap().keys().collect::<Vec<_>>(),
        [&mac(2)]
    );
    assert_eq!(service.get("/clients").json(), clients);
    assert_mode(&service.data.join("state"), 0o750);
    assert_mode(&service.state_file(), 0o640);
}

#[test]
fn two_processes_do_not_both_commit_after_the_lock_was_removed_under_a_waiting_one() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Start::on(folder.path()).service();
    let [one, two] = [start(), start()];
    assert_eq!(beat(one.address, &mac(1), "before").unwrap().status, 200);
    let old_lock = hold_lock(folder.path());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| beat(one.address, &mac(1), "waiting").unwrap());
        eventually("a process that waits for the lock", || {
            let locks = std::fs::read_to_string("/proc/locks").unwrap();
            let waiting = format!(" {} ", one.pid().as_raw_nonzero());
            locks
                .lines()
                .find(|line| line.contains("->") && line.contains(&waiting))
                .map(drop)
        });
        std::fs::remove_file(folder.path().join("state/clients.json.lock")).unwrap();
        // The lock that counts is another one now, and somebody has it.
        let new_lock = hold_lock(folder.path());
        drop(old_lock);
        std::thread::sleep(Duration::from_millis(300));
        assert!(
            !waiting.is_finished(),
            "a commit under a lock that has no name any more"
        );
        drop(new_lock);
        assert_eq!(waiting.join().unwrap().status, 200);
    });
    assert_eq!(beat(two.address, &mac(1), "after").unwrap().status, 200);
    let expected = ["before", "waiting", "after"].map(|detail| (detail.to_owned(), 1));
    assert_eq!(
        details(&clients_in(folder.path()).unwrap()),
        expected.into()
    );
}

#[test]
fn a_state_folder_that_became_a_symlink_is_followed_and_a_dangling_one_refuses() {
    let service = Start::fresh().service();
    assert_eq!(
        beat(service.address, &mac(1), "before").unwrap().status,
        200
    );
    let state = service.data.join("state");
    let moved = service.data.join("moved");
    std::fs::rename(&state, &moved).unwrap();
    symlink(&moved, &state).unwrap();
    assert_eq!(
        beat(service.address, &mac(1), "through the link")
            .unwrap()
            .status,
        200
    );
    let expected = ["before", "through the link"].map(|detail| (detail.to_owned(), 1));
    assert_eq!(
        details(&service.get("/clients").json()),
        expected.clone().into()
    );
    assert!(moved.join("clients.json").is_file());

    std::fs::remove_file(&state).unwrap();
    symlink(service.data.join("nowhere"), &state).unwrap();
    let refused = beat(service.address, &mac(1), "into nowhere").unwrap();
    refused.problem(503);
    assert_eq!(refused.header("retry-after"), "2");
    assert_eq!(service.get("/healthz").status, 503);

    std::fs::remove_file(&state).unwrap();
    std::fs::rename(&moved, &state).unwrap();
    assert_eq!(details(&service.get("/clients").json()), expected.into());
    assert_eq!(beat(service.address, &mac(1), "back").unwrap().status, 200);
}

#[test]
fn a_folder_in_the_place_of_clients_json_refuses_until_it_is_gone() {
    let service = Start::fresh().service();
    assert_eq!(
        beat(service.address, &mac(1), "before").unwrap().status,
        200
    );
    let kept = service.data.join("kept.json");
    std::fs::rename(service.state_file(), &kept).unwrap();
    std::fs::create_dir(service.state_file()).unwrap();
    service.get("/clients").problem(503);
    beat(service.address, &mac(1), "refused")
        .unwrap()
        .problem(503);
    service.wait_for_log(&[
        "ERROR",
        "the state was not written",
        "clients.json is a folder",
    ]);
    assert!(service.state_file().is_dir());
    std::fs::remove_dir(service.state_file()).unwrap();
    std::fs::rename(&kept, service.state_file()).unwrap();
    assert_eq!(beat(service.address, &mac(1), "after").unwrap().status, 200);
    let expected = ["before", "after"].map(|detail| (detail.to_owned(), 1));
    assert_eq!(details(&service.get("/clients").json()), expected.into());
}

#[test]
fn a_clients_json_that_may_not_be_read_refuses_is_kept_and_is_used_once_it_may() {
    needs!(Need::Program("setpriv"));
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    // root reads everything: as root, the service runs as nobody here, from a copy that nobody
    // can reach.
    let command = if is_root() {
        let binary = folder.path().join("service");
        std::fs::copy(BINARY, &binary).unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(&data, Some(65534), Some(65534)).unwrap();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(binary);
        command
    } else {
        Command::new(BINARY)
    };
    let service = Start::by(command, &data).service();
    assert_eq!(
        beat(service.address, &mac(1), "before").unwrap().status,
        200
    );
    let text = std::fs::read(service.state_file()).unwrap();
    let set_mode = |mode| {
        std::fs::set_permissions(service.state_file(), PermissionsExt::from_mode(mode)).unwrap();
    };
    set_mode(0o000);
    service.get("/clients").problem(503);
    let refused = beat(service.address, &mac(1), "refused").unwrap();
    refused.problem(503);
    assert_eq!(refused.header("retry-after"), "2");
    service.wait_for_log(&["ERROR", "the state was not written", "Permission denied"]);
    assert_eq!(state_names(&data), ["clients.json", "clients.json.lock"]);
    set_mode(0o640);
    assert_eq!(std::fs::read(service.state_file()).unwrap(), text);
    assert_eq!(beat(service.address, &mac(1), "after").unwrap().status, 200);
    let expected = ["before", "after"].map(|detail| (detail.to_owned(), 1));
    assert_eq!(details(&service.get("/clients").json()), expected.into());
}

#[test]
fn the_file_has_mode_0640_under_any_umask() {
    for umask in ["0000", "0022", "0077"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {umask} && exec \"$0\""), BINARY]);
        let service = Start::by(command, folder.path()).service();
        for stage in ["install", "network"] {
            assert_eq!(
                service.heartbeat(&mac(1), stage, "done").status,
                200,
                "umask {umask}"
            );
            assert_mode(&service.state_file(), 0o640);
        }
    }
}

#[test]
fn what_a_crash_left_beside_the_file_is_written_over() {
    let service = Start::fresh()
        .stage(
            "state/clients.json.tmp",
            &"half a file, and longer than the new one ".repeat(1000),
        )
        .service();
    assert_eq!(service.heartbeat(&mac(1), "network", "done").status, 200);
    assert_eq!(
        clients_in(&service.data).unwrap(),
        service.get("/clients").json()
    );
    assert_eq!(service.get("/healthz").status, 200);
    assert_eq!(
        state_names(&service.data),
        ["clients.json", "clients.json.lock"]
    );
    assert_mode(&service.state_file(), 0o640);
}

#[test]
fn health_asked_by_many_at_once_does_not_take_its_own_probe_for_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Start::on(folder.path()).service();
    let services = [start(), start()];
    std::thread::scope(|scope| {
        for n in 0..8 {
            let service = &services[n % 2];
            scope.spawn(move || {
                for _ in 0..60 {
                    let answer = service.get("/healthz");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            });
        }
    });
}

#[test]
fn a_state_folder_whose_making_may_not_last_is_made_again_before_anything_is_acknowledged() {
    needs!(Need::Strace);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let trace = folder.path().join("trace");
    // The fsync of the data folder fails twice: at the start, and for the first heartbeat.
    let options = [
        "-P",
        data.to_str().unwrap(),
        "-e",
        "inject=fsync:error=EIO:when=1..2",
    ];
    let command = under_strace(&trace, &options);
    let service = Start::by(command, &data).service();
    service.wait_for_log(&[
        "ERROR",
        "the state cannot be used yet",
        "Input/output error",
    ]);
    beat(service.address, &mac(1), "refused")
        .unwrap()
        .problem(503);
    assert_eq!(
        beat(service.address, &mac(1), "recorded").unwrap().status,
        200
    );
    let trace = std::fs::read_to_string(&trace).unwrap();
    let fsyncs: Vec<_> = trace
        .lines()
        .filter(|line| line.contains("fsync("))
        .collect();
    assert!(
        fsyncs.last().is_some_and(|line| line.ends_with("= 0")),
        "{fsyncs:?}"
    );
    assert_eq!(
        details(&clients_in(&data).unwrap()),
        [("recorded".to_owned(), 1)].into()
    );
}
