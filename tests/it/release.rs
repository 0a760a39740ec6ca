//! A release: the version stands in one place, and goes to all others from there.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::needs::{Need, needs};

const FILES: [&str; 7] = [
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "debian/changelog",
    "debian/control",
    "packaging/gb10-provision-api.8",
    "packaging/release",
];

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

/// The newest version that the changelog has, and its day.
fn latest(folder: &Path) -> (String, String) {
    let log = read(folder, "CHANGELOG.md");
    let headings = log.lines().filter_map(|line| line.strip_prefix("## "));
    let mut releases = headings.filter_map(|heading| heading.split_once(" - "));
    let (version, day) = releases.next().unwrap();
    (version.to_owned(), day.to_owned())
}

/// Asserts that all files have that version, by the words around it.
fn all_have(folder: &Path, version: &str) {
    for (file, text) in [
        ("Cargo.toml", format!("\nversion = \"{version}\"\n")),
        (
            "Cargo.lock",
            format!("\nname = \"gb10-provision-api\"\nversion = \"{version}\"\n"),
        ),
        (
            "packaging/gb10-provision-api.8",
            format!("\"gb10-provision-api {version}\""),
        ),
        (
            "debian/changelog",
            format!("gb10-provision-api ({version}) "),
        ),
    ] {
        let content = read(folder, file);
        // In the changelog of Debian the first entry counts.
        let head = content.split("\n -- ").next().unwrap();
        assert!(head.contains(&text), "{file} does not say {version}");
    }
}

#[test]
fn the_version_of_the_changelog_stands_everywhere() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    all_have(source, &latest(source).0);
}

fn prepare(folder: &Path, version: &str) -> Output {
    Command::new("python3")
        .arg(folder.join("packaging/release"))
        .args(["prepare", version])
        .output()
        .unwrap()
}

#[test]
fn preparing_a_release_takes_version_and_changes_from_the_changelog_to_all_places() {
    needs!(Need::Program("python3"));
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for file in FILES {
        let to = folder.join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), to).unwrap();
    }
    let before = latest(folder).0;
    let log = "# Changelog\n\n## Unreleased\n\n### Added\n- A new thing, which takes more than\n  one line.\n- Another.\n\n### Fixed\n- A fault.\n";
    let old = read(folder, "CHANGELOG.md");
    let old = old.split_once(&format!("## {before} - ")).unwrap().1;
    let log = format!("{log}\n## {before} - {old}");
    fs::write(folder.join("CHANGELOG.md"), &log).unwrap();

    let texts = || FILES.map(|file| read(folder, file));
    let untouched = texts();
    for wrong in ["", "1", "1.2", "v1.2.3", "1.2.3-rc1", &before] {
        let output = prepare(folder, wrong);
        assert!(!output.status.success(), "{wrong}: {output:?}");
        assert_eq!(texts(), untouched, "{wrong}");
    }

    let output = prepare(folder, "7.8.9");
    assert!(output.status.success(), "{output:?}");
    all_have(folder, "7.8.9");
    let (version, day) = latest(folder);
    assert_eq!(version, "7.8.9");
    let manual = read(folder, "packaging/gb10-provision-api.8");
    assert!(manual.starts_with(&format!(".TH GB10-PROVISION-API 8 {day} ")));
    let debian = read(folder, "debian/changelog");
    assert!(
        debian.contains(
            "\n  [ Added ]\n  * A new thing, which takes more than one line.\n  * Another.\n\n  [ Fixed ]\n  * A fault.\n\n -- "
        ),
        "{debian}"
    );
    assert!(debian.contains(&format!("gb10-provision-api ({before}) ")));

    // Once more there is nothing to release.
    let output = prepare(folder, "7.8.10");
    assert!(!output.status.success());
    let reason = String::from_utf8(output.stderr).unwrap();
    assert!(reason.contains("nothing stands below"), "{reason}");
}

#[test]
fn what_debian_makes_of_the_changelog_has_the_version() {
    needs!(Need::Program("dpkg-parsechangelog"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("dpkg-parsechangelog")
        .args(["--show-field", "Version"])
        .current_dir(source)
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    let version = String::from_utf8(output.stdout).unwrap();
    assert_eq!(version.trim(), latest(source).0);
}
