//! Whatever befalls `boot stage` and `boot remove`, an image is there as a whole or not at all, and
//! what is left over the next run clears away.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use super::media::*;
use crate::support::needs::{Need, needs};
use crate::support::system::Mount;
use crate::support::{BINARY, eventually, figure};
use rustix::process::{Pid, Signal, kill_process};

const TOOLS: [Need; 2] = [Need::Program("bsdtar"), Need::Program("xorriso")];

/// The calls that change something on the disk.
const CHANGING: &str = "trace=mkdir,mkdirat,openat,write,linkat,fchmod,fsync,rename,renameat,renameat2,unlink,unlinkat,rmdir";

type Snapshot = Vec<(String, u32, Vec<u8>)>;

/// What of a snapshot boxes see: all but what is being made.
fn seen(snapshot: &Snapshot) -> Snapshot {
    let is_seen = |path: &str| !path.contains("/.staging") && !path.ends_with(".efi.tmp");
    let seen = snapshot.iter().filter(|(path, ..)| is_seen(path));
    seen.cloned().collect()
}

/// What is whole or not there: the image, the shim, GRUB.
const PARTS: [&str; 3] = ["images/", "bootaa64.efi", "grubaa64.efi"];

fn part(snapshot: &Snapshot, name: &str) -> Snapshot {
    let part = snapshot.iter().filter(|(path, ..)| path.starts_with(name));
    part.cloned().collect()
}

/// The command under strace; only the program itself is traced, not what it starts.
fn traced(folder: &Folder, options: &[&str], arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new("strace");
    command
        .arg("-o")
        .arg(folder.path("trace"))
        .args(options)
        .arg(BINARY)
        .args(arguments)
        .current_dir(folder.path(""))
        .env("DATA_PATH", folder.path("data"));
    command.output().unwrap()
}

/// Runs a command as often as it makes calls that change something, and kills it at each of them in
/// turn. `prepare` makes the state before; then either that is found, or the one after.
fn killed_at_each_call(folder: &Folder, arguments: &[&str], prepare: &dyn Fn()) {
    prepare();
    let before = folder.snapshot();
    assert!(
        traced(folder, &["-e", CHANGING], arguments)
            .status
            .success()
    );
    let after = folder.snapshot();
    let trace = fs::read_to_string(folder.path("trace")).unwrap();
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    let names = trace
        .lines()
        .filter_map(|line| Some(line.split_once('(')?.0));
    let names: Vec<_> = names
        .filter(|name| name.bytes().all(|it| it.is_ascii_alphanumeric()))
        .collect();
    let (mut old, mut new) = (0, 0);
    let first_change = names
        .iter()
        .position(|name| name.starts_with("mkdir"))
        .unwrap();
    for (at, name) in names.iter().enumerate() {
        let count = counts.entry(name).or_default();
        *count += 1;
        // Until then the program reads.
        if at < first_change {
            continue;
        }
        let when = format!("killed at {name} {count}");
        prepare();
        let inject = format!("inject={name}:signal=KILL:when={count}");
        let killed = traced(folder, &["-e", CHANGING, "-e", &inject], arguments);
        assert_eq!(killed.status.signal(), Some(9), "{when}: {killed:?}");
        let found = seen(&folder.snapshot());
        for name in PARTS {
            let parts = [&found, &before, &after].map(|snapshot| part(snapshot, name));
            assert!(
                parts[0] == parts[1] || parts[0] == parts[2],
                "{when}: {:?}",
                folder.names()
            );
        }
        match found == after {
            true => new += 1,
            false => old += 1,
        }
        // Whoever looks finds no fault, and the same again makes it whole, without a trace of this.
        folder.run(&["boot", "list"]).well();
        let again = folder.run(arguments);
        let is_removed = arguments[1] == "remove" && found == after;
        assert_eq!(again.code, Some(i32::from(is_removed)), "{when}: {again:?}");
        if is_removed {
            // Only the next run that changes something clears up.
            continue;
        }
        assert_eq!(folder.snapshot(), after, "{when}");
    }
    figure(&format!(
        "{arguments:?}: {old} kills before it was in force, {new} after"
    ));
    assert!(old >= 3 && new >= 1, "{old} {new}");
}

#[test]
fn a_kill_at_each_system_call_of_stage_leaves_the_former_image_or_the_new_one() {
    needs!(TOOLS[0], TOOLS[1], Need::Strace);
    let folder = Folder::new();
    folder.ubuntu("second.iso", "6.18.0-2-generic");
    folder.archive("second.tar.gz", " of the next release");
    let prepare = || {
        folder.stage(&[ISO, ARCHIVE]).well();
    };
    let arguments = [
        "boot",
        "stage",
        "second.iso",
        "second.tar.gz",
        "--name",
        NAME,
    ];
    killed_at_each_call(&folder, &arguments, &prepare);
}

#[test]
fn a_kill_at_each_system_call_of_a_copy_leaves_nothing_or_the_image() {
    needs!(TOOLS[0], TOOLS[1], Need::Strace);
    let folder = Folder::new();
    fs::set_permissions(folder.path(ISO), Permissions::from_mode(0o600)).unwrap();
    let prepare = || drop(fs::remove_dir_all(folder.boot()));
    killed_at_each_call(&folder, &["boot", "stage", ISO, ARCHIVE], &prepare);
}

#[test]
fn a_stage_that_is_interrupted_in_the_middle_of_a_copy_is_made_up_for_by_the_next() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = Folder::new();
    let path = folder.path(ISO);
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    // Zeros behind the volume: enough to read that there is a middle.
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1 << 31)
        .unwrap();
    let mut command = folder.command(&["boot", "stage", ISO, ARCHIVE]);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let growing = folder.boot().join("images/.staging/installer.iso.tmp");
    eventually("the copy to grow", || {
        fs::metadata(&growing)
            .ok()
            .filter(|file| file.len() > 1 << 20)
    });
    let other = folder.stage(&[ISO, ARCHIVE]);
    other.refused(&["another process is staging or removing an image"]);
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert!(growing.exists());
    let list = folder.run(&["boot", "list"]).well();
    assert!(list.output.contains("no image is staged"), "{list:?}");

    folder.ubuntu(ISO, HWE);
    folder.stage(&[ISO, ARCHIVE]).well();
    assert!(
        !folder.names().iter().any(|name| name.contains(".staging")),
        "{:?}",
        folder.names()
    );
}

#[test]
fn a_full_disk_leaves_the_former_image() {
    needs!(TOOLS[0], TOOLS[1], Need::Mounts);
    let folder = Folder::new();
    fs::create_dir(folder.boot()).unwrap();
    // Room for one image of a little over 1 MiB, and a bit.
    let options = ["-t", "tmpfs", "-o", "size=2200k,mode=755", "tmpfs"];
    let _mount = Mount::new(&options, &folder.boot());
    folder.stage(&[ISO, ARCHIVE]).well();
    let before = folder.snapshot();
    folder.ubuntu("second.iso", "6.18.0-2-generic");
    for name in [NAME, "second"] {
        let run = folder.stage(&["second.iso", ARCHIVE, "--name", name]);
        run.refused(&[
            "installer.iso: writing failed: No space left on device",
            "nothing is staged",
        ]);
        assert_eq!(folder.snapshot(), before, "no litter either");
    }
    // Whatever is written when it gets full: the kernel, a loader, the ISO.
    let filler = folder.boot().join("filler");
    for left in (0..20).chain([40, 80]) {
        let mut file = fs::File::create(&filler).unwrap();
        let mut size = 0;
        while let Ok(written @ 1..) = file.write(&[1; 4096]) {
            size += written as u64;
        }
        file.set_len(size - left * 4096).unwrap();
        let run = folder.stage(&["second.iso", ARCHIVE, "--name", "second"]);
        run.refused(&["No space left on device", "nothing is staged"]);
        // A process that another test is just starting may have it open for a moment.
        file.set_len(0).unwrap();
        fs::remove_file(&filler).unwrap();
        assert_eq!(folder.snapshot(), before, "with room for {left} pages");
    }
    folder.run(&["boot", "remove", NAME, "--force"]).well();
    folder.stage(&["second.iso"]).well();
}

#[test]
fn an_iso_that_changes_while_it_is_staged_is_refused() {
    needs!(TOOLS[0], TOOLS[1], Need::Strace);
    let folder = Folder::new();
    folder.stage(&[ISO, ARCHIVE]).well();
    let before = folder.snapshot();
    let iso = folder.path(ISO);
    // Stopped when it has linked the ISO, and before it has hashed it.
    let mut command = Command::new("strace");
    command
        .args([
            "-D",
            "-o",
            "/dev/null",
            "-e",
            "trace=linkat",
            "-e",
            "inject=linkat:signal=STOP",
            BINARY,
        ])
        .args(["boot", "stage", ISO])
        .current_dir(folder.path(""))
        .env("DATA_PATH", folder.path("data"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let linked = folder.boot().join("images/.staging/installer.iso");
    eventually("the ISO to be linked", || linked.exists().then_some(()));
    // A download that goes on.
    fs::File::options()
        .append(true)
        .open(&iso)
        .unwrap()
        .set_len(fs::metadata(&iso).unwrap().len() + 1)
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    eventually("the process to stop", || {
        let status = fs::read_to_string(&status).unwrap();
        status
            .lines()
            .find(|line| line.starts_with("State:\tT (") || line.starts_with("State:\tt ("))
            .map(drop)
    });
    kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
    let run = Run::of(child.wait_with_output().unwrap());
    run.refused(&[ISO, "changed while it was staged"]);
    // The former image is the same file, by another name, and no other.
    assert_eq!(folder.names().len(), before.len());
}

#[test]
fn a_kill_at_each_system_call_of_remove_leaves_the_image_or_nothing() {
    needs!(TOOLS[0], TOOLS[1], Need::Strace);
    let folder = Folder::new();
    let prepare = || {
        folder.stage(&[ISO, ARCHIVE]).well();
    };
    // It makes no folder that was there: the first call counted is one of these all the same.
    killed_at_each_call(&folder, &["boot", "remove", NAME, "--force"], &prepare);
}
