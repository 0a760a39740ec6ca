//! `gb10-provision-api boot list` and `boot remove`, and what `check` says of the images that are
//! named.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use super::media::*;
use crate::support::needs::{Need, needs};
use crate::support::{BINARY, TIMEOUT};
use serde_json::Value;

const TOOLS: [Need; 2] = [Need::Program("bsdtar"), Need::Program("xorriso")];

/// A folder with the images [`NAME`] and `dgx`.
fn with_two() -> Folder {
    let folder = Folder::new();
    folder.stage(&[ISO, ARCHIVE]).well();
    folder.iso(
        "dgx.iso",
        &[
            ("casper/vmlinuz", &kernel("6.14.0-1-nvidia")),
            ("casper/initrd", b"initrd"),
        ],
    );
    folder.stage(&["dgx.iso"]).well();
    folder
}

#[test]
fn a_list_has_each_image_and_who_is_installed_from_it() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = Folder::empty();
    let run = folder.run(&["boot", "list"]).well();
    assert!(
        run.output
            .ends_with("data/boot/images: no image is staged\n"),
        "{run:?}"
    );

    let folder = with_two();
    folder.write(
        "data/devices.json",
        br#"{"3c:6d:66:0a:1b:2c": {"image": "dgx"}}"#,
    );
    folder.write("data/site.json", br#"{"image": "ubuntu-24.04.4"}"#);
    let run = folder.run(&["boot", "list"]).well();
    let rows: Vec<Vec<&str>> = run
        .output
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["NAME", "KERNEL", "HWE", "LOADED", "ISO", "USED"]);
    assert_eq!(rows[1][..3], ["dgx", "6.14.0-1-nvidia", "no"]);
    assert!(
        run.output
            .contains("devices.json names it for 3c:6d:66:0a:1b:2c"),
        "{run:?}"
    );
    assert_eq!(rows[2][..3], [NAME, HWE, "yes"]);
    assert!(run.output.contains("site.json names it\n"), "{run:?}");

    let run = folder.run(&["boot", "list", "--json"]).well();
    let listing: Value = serde_json::from_str(&run.output).unwrap();
    assert_eq!(listing["images"][1]["used"][0], "site.json names it");
    let mut image = listing["images"][1].clone();
    image.as_object_mut().unwrap().remove("used");
    assert_eq!(image, folder.record());
}

#[test]
fn what_is_no_image_is_not_listed_and_a_broken_record_is_told() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = with_two();
    let images = folder.boot().join("images");
    fs::create_dir(images.join("empty")).unwrap();
    fs::create_dir(images.join("not a name")).unwrap();
    fs::write(images.join("notes.txt"), "x").unwrap();
    symlink(images.join("dgx"), images.join("linked")).unwrap();
    fs::write(images.join("dgx/image.json"), "{\"name\": \"dgx\"").unwrap();
    let run = folder.run(&["boot", "list"]);
    assert!(
        !run.output.contains("dgx") && run.output.contains(NAME),
        "{run:?}"
    );
    assert_eq!(run.output.lines().count(), 2, "{run:?}");
    run.refused(&["images/dgx/image.json: ", "line 1"]);
    let run = folder.run(&["boot", "list", "--json"]);
    let listing: Value = serde_json::from_str(&run.output).unwrap();
    assert_eq!(listing["faults"].as_array().unwrap().len(), 1);
    // Staged anew, it is in order.
    folder.stage(&["dgx.iso"]).well();
    folder.run(&["boot", "list"]).well();
}

#[test]
fn an_image_that_boxes_are_installed_from_is_not_removed() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = with_two();
    let remove = |name| folder.run(&["boot", "remove", name]);
    folder.write(
        "data/devices.json",
        br#"{"3c:6d:66:0a:1b:2c": {"image": "dgx"}}"#,
    );
    remove("dgx").refused(&[
        "dgx is in use",
        "devices.json names it for 3c:6d:66:0a:1b:2c",
        "--force",
    ]);
    folder.write("data/devices.json", b"{}");
    folder.write("data/site.json", br#"{"image": "dgx"}"#);
    remove("dgx").refused(&["dgx is in use", "site.json names it"]);
    // Nobody can tell whether it is.
    folder.write("data/site.json", br#"{"image": "dgx""#);
    remove("dgx").refused(&["it may be, site.json:1"]);
    folder.write("data/site.json", b"{}");
    remove("none").refused(&["there is no image none; staged: dgx, ubuntu-24.04.4"]);
    let run = remove("dgx").well();
    assert_eq!(run.output, "removed: dgx\n");
    assert!(!folder.boot().join("images/dgx").exists());

    remove(NAME).refused(&["it is the only one, so every box gets it"]);
    folder.write("data/site.json", br#"{"image": "another"}"#);
    remove(NAME).well();
    assert_eq!(folder.names(), ["bootaa64.efi", "grubaa64.efi", "images"]);
}

#[test]
fn force_removes_an_image_all_the_same() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = with_two();
    folder.write("data/site.json", br#"{"image": "dgx"}"#);
    folder.run(&["boot", "remove", "dgx", "--force"]).well();
    let run = folder.run(&["check"]);
    run.refused(&["data/site.json: image dgx is not staged; staged: ubuntu-24.04.4"]);
}

/// journald's socket in a mount namespace, which gets what a real one would.
#[test]
fn the_journal_has_who_staged_and_who_removed_an_image() {
    needs!(TOOLS[0], TOOLS[1], Need::Mounts);
    let folder = with_two();
    let run = folder.path("journal");
    fs::create_dir(&run).unwrap();
    let journal = UnixDatagram::bind(run.join("socket")).unwrap();
    journal.set_read_timeout(Some(TIMEOUT)).unwrap();
    let script = r#"
        mount -t tmpfs none /run && mkdir -p /run/systemd/journal &&
        mount --bind "$1" /run/systemd/journal && shift && exec "$0" boot "$@""#;
    let staged = ["stage", "dgx.iso"];
    let removed = ["remove", "dgx", "--force"];
    for (arguments, event, message) in [
        (
            &staged[..],
            "46bca341e1704b0894723bbda42b2201",
            "image staged: dgx, of dgx.iso, by \"ops\"",
        ),
        (
            &removed[..],
            "af6a5d9f342e46d9af90413c679e9581",
            "image removed: dgx, by \"ops\"",
        ),
    ] {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script, BINARY])
            .arg(&run)
            .args(arguments)
            .current_dir(folder.path(""))
            .env("DATA_PATH", folder.path("data"))
            .env("SUDO_USER", "ops");
        Run::of(command.output().unwrap()).well();
        let mut buffer = vec![0; 1 << 16];
        let mut length = 0;
        // Before its first entry a program tries the socket with nothing.
        while length == 0 {
            length = journal.recv(&mut buffer).expect("an entry in the journal");
        }
        let entry = String::from_utf8_lossy(&buffer[..length]).into_owned();
        for part in [event, message, "GB10_IMAGE", "WHO"] {
            assert!(entry.contains(part), "no {part} in {entry}");
        }
    }
}

#[test]
fn progress_is_shown_on_a_terminal_only() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = Folder::new();
    let command = format!("{BINARY} boot stage {ISO} {ARCHIVE}");
    let mut terminal = Command::new("script");
    terminal
        .args(["-qec", &command, "/dev/null"])
        .current_dir(folder.path(""))
        .env("DATA_PATH", folder.path("data"));
    let run = Run::of(terminal.stdin(Stdio::null()).output().unwrap());
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(
        run.output.contains(" / 1.") && run.output.contains("B/s"),
        "{run:?}"
    );
}
