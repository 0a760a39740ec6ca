//! `gb10-provision-api forget` beside others who change the records: under their lock, and the file
//! stays whose it is. What becomes of the boxes is shown in `store`, and its line in the journal by
//! the tests of the package.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::beats::*;
use crate::support::needs::skip;
use crate::support::*;

fn forget(data: &Path, macs: &[&str]) -> Child {
    Command::new(BINARY)
        .arg("forget")
        .args(macs)
        .env("DATA_PATH", data)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn stage_three(data: &Path) {
    let record = |n| json!({"mac": mac(n), "stages": [], "note": "kept"});
    let clients = json!({mac(1): record(1), mac(2): record(2), mac(3): record(3)});
    stage(data, "state/clients.json", &clients.to_string());
}

#[test]
fn it_waits_for_the_lock_and_gives_up_in_time() {
    let folder = tempfile::tempdir().unwrap();
    stage_three(folder.path());
    let lock = hold_lock(folder.path());
    let began = Instant::now();
    let waiting = forget(folder.path(), &[&mac(1)])
        .wait_with_output()
        .unwrap();
    assert_eq!(waiting.status.code(), Some(1), "{waiting:?}");
    assert!(
        began.elapsed() >= Duration::from_secs(9),
        "{:?}",
        began.elapsed()
    );
    let stderr = String::from_utf8(waiting.stderr).unwrap();
    assert!(
        stderr.contains("nothing is forgotten: the state was locked or busy"),
        "{stderr}"
    );
    assert!(clients_in(folder.path()).unwrap().get(mac(1)).is_some());

    // One that is let in while it waits.
    let mut waiting = forget(folder.path(), &[&mac(1)]);
    std::thread::sleep(Duration::from_millis(300));
    assert!(waiting.try_wait().unwrap().is_none());
    drop(lock);
    assert!(waiting.wait().unwrap().success());
    let left = clients_in(folder.path()).unwrap();
    assert_eq!(left.as_object().unwrap().len(), 2);
    assert_eq!(left[mac(2)]["note"], "kept");
}

#[test]
fn the_file_keeps_its_owner_group_and_mode() {
    if !is_root() {
        return skip("needs root, to have a file of another user");
    }
    let folder = tempfile::tempdir().unwrap();
    stage_three(folder.path());
    let state = folder.path().join("state");
    let file = state.join("clients.json");
    // The mode is the one that the service gives it, too.
    for (n, owner, group) in [(1, 4321, 4322), (2, 4323, 4323)] {
        for path in [&state, &file] {
            chown(path, Some(owner), Some(group)).unwrap();
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let output = forget(folder.path(), &[&mac(n)])
            .wait_with_output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(clients_in(folder.path()).unwrap().get(mac(n)).is_none());
        let found = fs::metadata(&file).unwrap();
        assert_eq!((found.uid(), found.gid()), (owner, group));
        assert_eq!(found.permissions().mode() & 0o7777, 0o640);
        let lock = fs::metadata(state.join("clients.json.lock")).unwrap();
        assert_eq!(
            (lock.uid(), lock.gid()),
            (owner, group),
            "the service can take it"
        );
    }
}
