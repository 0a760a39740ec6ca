//! Full and failing disks: a heartbeat is refused with the reason in the log, the file stays as it
//! was, and the service goes on by itself.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::support::beats::*;
use crate::support::needs::{Need, make_ext4, needs};
use crate::support::system::{Mount, under_strace};
use crate::support::*;
use serde_json::Value;
use std::os::unix::fs::MetadataExt;

/// A state as the former Python service wrote it.
const BEFORE: &str = r#"{
  "00:00:5e:00:53:01": {
    "mac": "00:00:5e:00:53:01",
    "ip": "10.88.0.17",
    "hostname": "gb10-pxe-00-00-5e-00-53-01",
    "current_stage": "verify",
    "last_heartbeat": "2026-11-01T08:00:00.123456+00:00",
    "stages": [
      {
        "stage": "verify",
        "phase": "start",
        "timestamp": "2026-11-01T08:00:00.123456+00:00",
        "detail": "before"
      }
    ]
  }
}
"#;

fn before() -> Value {
    serde_json::from_str(BEFORE).unwrap()
}

/// Asserts that a heartbeat is refused as it should be while the disk has a fault, and that
/// nothing of it is in the file, in the answers or beside the file.
fn assert_refused(service: &Service, detail: &str, reason: &str) {
    let answer = beat(service.address, &mac(1), detail).unwrap();
    let problem = answer.problem(503);
    assert_eq!(answer.header("retry-after"), "2");
    // The reason is for the journal: it names files.
    assert!(
        !problem["detail"].as_str().unwrap().contains(reason),
        "{problem}"
    );
    service.wait_for_log(&["ERROR", "the state was not written", reason]);
    service.wait_for_log(&["WARN", "heartbeat refused", "00:00:5e:00:53:01", reason]);
    assert_eq!(
        std::fs::read_to_string(service.state_file()).unwrap(),
        BEFORE
    );
    assert_eq!(service.get("/clients").json(), before());
    assert_eq!(
        state_names(&service.data),
        ["clients.json", "clients.json.lock"]
    );
}

/// Asserts that a heartbeat is recorded, beside what was there and nothing else.
fn assert_recorded(service: &Service, detail: &str) {
    let answer = beat(service.address, &mac(1), detail).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let clients = clients_in(&service.data).unwrap();
    let expected = [("before".to_owned(), 1), (detail.to_owned(), 1)];
    assert_eq!(details(&clients), expected.into());
    assert_eq!(service.get("/clients").json(), clients);
    assert_eq!(
        state_names(&service.data),
        ["clients.json", "clients.json.lock"]
    );
    // That of the file before it, which the test wrote.
    let mode = std::fs::metadata(service.state_file()).unwrap().mode();
    assert_eq!(mode & 0o7733, 0o600, "{mode:o}");
}

/// The first four times that the service makes one of `calls` on `state/NAME` fail with `error`.
/// Refusals name `reason`.
fn faults(name: &str, calls: &str, error: &str, reason: &str) {
    let folder = tempfile::tempdir().unwrap();
    stage(folder.path(), "data/state/clients.json", BEFORE);
    let data = folder.path().join("data");
    let path = data.join("state").join(name);
    let inject = format!("inject={calls}:error={error}:when=1..4");
    let options = ["-P", path.to_str().unwrap(), "-e", &inject];
    let trace = folder.path().join("trace");
    let command = under_strace(&trace, &options);
    let service = Start::by(command, &data).service();
    let injected = || {
        std::fs::read_to_string(&trace)
            .unwrap()
            .matches("(INJECTED)")
            .count()
    };
    // One heartbeat may meet several faults, but each must meet one.
    let mut met = 0;
    for attempt in 0.. {
        assert_refused(&service, &format!("refused-{attempt}"), reason);
        let by_now = eventually("a fault", || Some(injected()).filter(|now| *now > met));
        met = by_now;
        if met == 4 {
            break;
        }
    }
    assert_recorded(&service, "retried");
    assert_eq!(injected(), 4);
}

#[test]
fn a_failed_fsync_of_the_file_refuses_and_recovers() {
    faults(
        "clients.json.tmp",
        "fsync",
        "EIO",
        "fsync of the new clients.json failed",
    );
}

#[test]
fn a_failed_fsync_of_the_folder_refuses_puts_the_file_back_byte_for_byte_and_recovers() {
    faults("", "fsync", "EIO", "fsync of the state folder failed");
}

#[test]
fn a_failed_write_refuses_and_recovers() {
    faults("clients.json.tmp", "writev", "EIO", "Input/output error");
}

#[test]
fn a_write_for_which_there_is_no_space_refuses_and_recovers() {
    faults(
        "clients.json.tmp",
        "writev",
        "ENOSPC",
        "No space left on device",
    );
}

#[test]
fn a_new_file_for_which_there_is_no_space_refuses_and_recovers() {
    faults(
        "clients.json.tmp",
        "/^open(at)?$",
        "ENOSPC",
        "No space left on device",
    );
}

#[test]
fn a_failed_rename_refuses_and_recovers() {
    faults(
        "clients.json.tmp",
        "/^rename",
        "EIO",
        "renaming the new clients.json failed",
    );
}

#[test]
fn a_failed_lock_refuses_and_recovers() {
    needs!(Need::Strace);
    let reason = "locking clients.json.lock failed: No locks available";
    let folder = tempfile::tempdir().unwrap();
    stage(folder.path(), "data/state/clients.json", BEFORE);
    let data = folder.path().join("data");
    // The start of the service meets the first fault, and goes on.
    let options = [
        "-e",
        "trace=flock",
        "-e",
        "inject=flock:error=ENOLCK:when=1..3",
    ];
    let command = under_strace(&folder.path().join("trace"), &options);
    let service = Start::by(command, &data).service();
    service.wait_for_log(&[
        "ERROR",
        "the state cannot be used yet",
        "No locks available",
    ]);
    for attempt in ["first", "second"] {
        assert_refused(&service, attempt, reason);
    }
    assert_recorded(&service, "third");
}

#[test]
fn a_file_that_cannot_be_read_is_neither_moved_aside_nor_overwritten() {
    needs!(Need::Strace);
    let folder = tempfile::tempdir().unwrap();
    stage(folder.path(), "data/state/clients.json", BEFORE);
    let data = folder.path().join("data");
    let path = data.join("state/clients.json");
    // A bad block: each thread's first two reads of the file fail.
    let options = [
        "-P",
        path.to_str().unwrap(),
        "-e",
        "inject=read:error=EIO:when=1..2",
    ];
    let command = under_strace(&folder.path().join("trace"), &options);
    let service = Start::by(command, &data).service();
    service.wait_for_log(&[
        "ERROR",
        "the state cannot be used yet",
        "reading clients.json failed",
    ]);
    eventually("the bad block to be gone", || {
        let answer = service.get("/clients");
        match answer.status {
            200 => {
                assert_eq!(answer.json(), before());
                Some(())
            }
            _ => {
                answer.problem(503);
                assert_eq!(answer.header("retry-after"), "2");
                assert_eq!(std::fs::read_to_string(&path).unwrap(), BEFORE);
                None
            }
        }
    });
    assert_recorded(&service, "after");
}

#[test]
fn health_is_503_while_the_state_folder_takes_no_data() {
    needs!(Need::Strace);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/clients.json.tmp");
    // The first few times the disk has no room for a new version.
    let options = [
        "-P",
        path.to_str().unwrap(),
        "-e",
        "inject=fallocate:error=ENOSPC:when=1..6",
    ];
    let command = under_strace(&folder.path().join("trace"), &options);
    let service = Start::by(command, folder.path()).service();
    let answer = service.get("/healthz");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.json()["state_writable"], false);
    service.wait_for_log(&[
        "WARN",
        "the state is not writable",
        "No space left on device",
    ]);
    eventually("health", || {
        (service.get("/healthz").status == 200).then_some(())
    });
    assert_eq!(state_names(folder.path()), ["clients.json.lock"]);
}

/// Fills what is left of a file system, to the last block.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    let mut block = 64 * 1024;
    while block >= 256 {
        if file.write_all(&vec![b'x'; block]).is_err() {
            block /= 2;
        }
    }
    // ext4 allocates late: what it took is on the disk now.
    let _ = file.sync_all();
}

/// A full disk and a read-only one, on a file system that is really there.
fn on_a_small_file_system(arguments: &[&str], folder: &Path) {
    let mounted = folder.join("mounted");
    let mount = Mount::new(arguments, &mounted);
    let data = mounted.join("data");
    stage(&data, "state/clients.json", BEFORE);
    let service = Start::on(&data).service();
    assert_eq!(service.get("/healthz").status, 200);

    let ballast = mounted.join("ballast");
    fill(&ballast);
    for attempt in ["full", "still full"] {
        assert_refused(&service, attempt, "No space left on device");
    }
    assert_failing(&service);
    std::fs::remove_file(&ballast).unwrap();
    // Some file systems give blocks back a moment later.
    eventually("room", || {
        (service.get("/healthz").status == 200).then_some(())
    });

    mount.remount("ro");
    assert_refused(&service, "read-only", "Read-only file system");
    assert_failing(&service);
    mount.remount("rw");
    assert_eq!(service.get("/healthz").status, 200);
    assert_recorded(&service, "after");
    assert!(service.stop().success());
}

/// Asserts that `/healthz` says that the state takes no writes.
fn assert_failing(service: &Service) {
    let answer = service.get("/healthz");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["status"], "failing");
    assert_eq!(answer.json()["state_writable"], false);
}

#[test]
fn a_full_and_a_read_only_tmpfs_refuse_and_recover() {
    needs!(Need::Mounts);
    let folder = tempfile::tempdir().unwrap();
    on_a_small_file_system(&["-t", "tmpfs", "-o", "size=256k", "tmpfs"], folder.path());
}

#[test]
fn a_full_and_a_read_only_ext4_refuse_and_recover() {
    needs!(Need::LoopMounts);
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    assert!(make_ext4(&image, 4 << 20));
    let arguments = ["-o", "loop", image.to_str().unwrap()];
    on_a_small_file_system(&arguments, folder.path());
}

#[test]
fn a_client_hears_of_a_fault_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let service = Start::on(folder.path()).service();
    // A real fault that needs no privilege: a folder stands where the new file would.
    std::fs::create_dir(folder.path().join("state/clients.json.tmp")).unwrap();
    let asked = std::time::Instant::now();
    service.heartbeat(&mac(1), "network", "done").problem(503);
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );
    std::fs::remove_dir(folder.path().join("state/clients.json.tmp")).unwrap();
    assert_eq!(service.heartbeat(&mac(1), "network", "done").status, 200);
}
