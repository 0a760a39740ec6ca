//! `baseline.json`: its patterns are Python's, its faults are named, its last good version stays in
//! force, and who leaves it is told once.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gb10_provision_api::site::glob::Glob;
use serde_json::{Value, json};

use crate::support::beats::{Dice, mac};
use crate::support::*;

const FNMATCH: &str = "
import fnmatch, json, sys
print(json.dumps([fnmatch.fnmatchcase(text, pattern) for pattern, text in json.load(sys.stdin)]))";

fn by_fnmatch(cases: &[(String, String)]) -> Vec<bool> {
    by_python(&["-c".as_ref(), FNMATCH.as_ref()], &cases)
}

fn text_of(dice: &mut Dice, letters: &[char], most: u64) -> String {
    let length = dice.below(most + 1);
    let letter = |_| letters[dice.below(letters.len() as u64) as usize];
    (0..length).map(letter).collect()
}

fn assert_as_fnmatch(cases: &[(String, String)]) {
    let theirs = by_fnmatch(cases);
    let mut fitting = 0;
    for ((pattern, text), theirs) in cases.iter().zip(theirs) {
        let ours = Glob::new(pattern.clone()).unwrap().fits(text);
        assert_eq!(ours, theirs, "{pattern:?} and {text:?}");
        fitting += usize::from(ours);
    }
    figure(&format!(
        "{fitting} of {} patterns fit, by both",
        cases.len()
    ));
}

#[test]
fn patterns_mean_what_they_mean_to_python() {
    // Of few characters, so that much fits by chance.
    let of_pattern: Vec<char> = "ab-c!^[]*?\\&~|.\né".chars().collect();
    let of_text: Vec<char> = "ab-c!^[]*?\\&~|.\né".chars().collect();
    let mut dice = Dice::new();
    let random = (0..60_000).map(|_| {
        let pattern = text_of(&mut dice, &of_pattern, 9);
        let text = text_of(&mut dice, &of_text, 5);
        (pattern, text)
    });
    let cases: Vec<(String, String)> = random.filter(|(pattern, _)| !pattern.is_empty()).collect();
    assert_as_fnmatch(&cases);
}

#[test]
fn sets_mean_what_they_mean_to_python() {
    let inside: Vec<char> = "abcd-!^[&\\|~".chars().collect();
    let mut dice = Dice::new();
    let mut cases = Vec::new();
    for _ in 0..10_000 {
        let set = format!("[{}]", text_of(&mut dice, &inside, 7));
        for c in "abcd-!^[]&\\|~".chars() {
            cases.push((set.clone(), c.to_string()));
        }
    }
    assert_as_fnmatch(&cases);
}

#[test]
fn patterns_of_versions_mean_what_they_mean_to_python() {
    let versions = [
        "6.17.0-1008-nvidia",
        "6.17.0",
        "6.170.1",
        "6.8.0-45-generic",
        "580.95.05",
        "580.126.09",
        "7.3.1",
        "Ubuntu 24.04.3 LTS",
        "5.36_0ACVM017.00",
        "28.45.4028 (NVD0000000087)",
        "",
    ];
    let patterns = [
        "6.17.*",
        "6.17.0-*-nvidia",
        "580.[0-9]*.0?",
        "580.[!9]*",
        "*",
        "?",
        "*24.04*",
        "[5-7].*",
        "28.45.4028 (NVD*)",
        "6.17.[0]",
        "[",
        "6.17.[0-",
        "7.3.[1-]",
        "**.*.**",
    ];
    let cases: Vec<(String, String)> = patterns
        .iter()
        .flat_map(|pattern| {
            versions
                .iter()
                .map(|version| ((*pattern).to_owned(), (*version).to_owned()))
        })
        .collect();
    assert_as_fnmatch(&cases);
}

#[test]
fn the_pattern_of_a_text_fits_that_text_alone() {
    let letters: Vec<char> = "a*?[]!-".chars().collect();
    let mut dice = Dice::new();
    let texts: Vec<String> = (0..400)
        .map(|_| text_of(&mut dice, &letters, 4))
        .filter(|text| !text.is_empty())
        .collect();
    let mut cases = Vec::new();
    for text in &texts {
        for other in texts.iter().take(50).chain([text]) {
            cases.push((Glob::of_text(text), other.clone()));
        }
    }
    for ((pattern, other), fits) in cases.iter().zip(by_fnmatch(&cases)) {
        assert_eq!(
            fits,
            *pattern == Glob::of_text(other),
            "{pattern:?} and {other:?}"
        );
    }
    assert_as_fnmatch(&cases);
}

#[test]
fn a_pattern_of_many_stars_costs_no_time() {
    let pattern = Glob::new("*a".repeat(120) + "b").unwrap();
    let text = "a".repeat(30_000);
    let began = std::time::Instant::now();
    assert!(!pattern.fits(&text));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

fn check(data: &Path) -> (bool, String) {
    let output = Command::new(BINARY)
        .arg("check")
        .env("DATA_PATH", data)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    (output.status.success(), text)
}

#[test]
fn check_names_each_fault_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let many = json!({"kernel": vec!["6.*"; 65]}).to_string();
    let long = json!({"kernel": ["x".repeat(257)]}).to_string();
    for (text, expected) in [
        (
            "{\n  \"kernel\": [\"6.17.*\"],\n}",
            "baseline.json:3:1: trailing comma",
        ),
        ("[]", "baseline.json:1:"),
        (
            "{\"kernl\": [\"6.17.*\"]}",
            "unknown field \"kernl\": is kernel meant?",
        ),
        (
            "{\n \"colour\": [\"red\"]}",
            "unknown field \"colour\": expected one of kernel, driver, bios, ec, nic_firmware, nvme_firmware, os_release, dgx_release",
        ),
        ("{\n \"kernel\": \"6.17.*\"}", "baseline.json:2:"),
        ("{\n \"kernel\": [6.17]}", "baseline.json:2:"),
        (
            "{\n \"kernel\": []}",
            "an empty list allows nothing: expected at least one pattern",
        ),
        ("{\n \"kernel\": [\"\"]}", "an empty pattern"),
        (&many, "65 patterns: expected at most 64"),
        (&long, "a pattern of 257 characters: expected at most 256"),
        (
            "{\n \"kernel\": [\"6.*\"],\n \"kernel\": [\"7.*\"]}",
            "baseline.json:3: kernel stands there twice",
        ),
    ] {
        stage(folder.path(), "baseline.json", text);
        let (is_sound, said) = check(folder.path());
        assert!(!is_sound, "{text}: {said}");
        assert!(said.contains(expected), "{text}: {said}");
        assert!(said.contains("baseline.json:"), "{text}: {said}");
    }
    for text in [
        "{}",
        "{\"kernel\": [\"6.17.*\"], \"dgx_release\": [\"7.3.*\", \"7.4.*\"]}",
    ] {
        stage(folder.path(), "baseline.json", text);
        assert!(check(folder.path()).0, "{text}: {}", check(folder.path()).1);
    }
}

const BASELINE: &str = "/onboard/baseline.json";

#[test]
fn boxes_get_the_last_good_version_and_no_other() {
    let service = Start::fresh().service();
    assert_eq!(service.get(BASELINE).status, 404);
    // What is staged under that name is another file.
    service.stage("onboard/baseline.json", "{\"kernel\": [\"0.*\"]}");
    assert_eq!(service.get(BASELINE).status, 404);
    let good = "{\n  \"kernel\": [\"6.17.*\"]\n}\n";
    service.stage("baseline.json", good);
    let answer = service.get(BASELINE);
    assert_eq!((answer.status, answer.text()), (200, good));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(service.get("/onboard//baseline.json").text(), good);
    service.stage("baseline.json", "{\"kernel\": [\"6.18.*\"]");
    assert_eq!(service.get(BASELINE).text(), good);
    service.wait_for_log(&["its last good version stays in force: baseline.json:1:21: EOF"]);
    // Its fault stops no installation.
    let told = service.get(&format!("/boot/{}/grub.cfg", mac(1)));
    assert!(!told.text().contains("has a fault"), "{}", told.text());
    service.stage("baseline.json", "{\"driver\": [\"580.*\"]}");
    assert_eq!(service.get(BASELINE).text(), "{\"driver\": [\"580.*\"]}");
}

#[test]
fn without_a_good_version_a_box_has_to_try_again_rather_than_pass() {
    let service = Start::fresh()
        .stage("baseline.json", "{\"kernl\": []}")
        .service();
    let answer = service.get(BASELINE);
    answer.problem(503);
    assert_eq!(answer.header("retry-after"), "2");
    service.wait_for_log(&[
        "onboarding file not served: baseline.json",
        "is kernel meant?",
    ]);
    // Reports, seeds and the board go on.
    assert_eq!(service.heartbeat(&mac(1), "network", "done").status, 200);
    assert_eq!(service.get("/cloud-init/user-data").status, 200);
    std::fs::remove_file(service.data.join("baseline.json")).unwrap();
    eventually("no baseline at all", || {
        (service.get(BASELINE).status == 404).then_some(())
    });
}

fn ready_with(service: &Service, n: usize, facts: &Value) {
    let body = json!({"mac": mac(n), "stage": "ready", "phase": "done", "facts": facts});
    assert_eq!(service.post("/heartbeat", &body.to_string()).status, 200);
}

fn drift_of(data: &Path, n: usize) -> (Value, Value) {
    let output = Command::new(BINARY)
        .args(["clients", "--json", &mac(n)])
        .env("DATA_PATH", data)
        .output()
        .unwrap();
    let story: Value = serde_json::from_slice(&output.stdout).unwrap();
    (
        story["client"]["drift"].clone(),
        story["client"]["troubles"].clone(),
    )
}

#[test]
fn a_box_that_an_upgrade_takes_out_of_the_baseline_is_told_once() {
    let service = Start::fresh()
        .stage(
            "baseline.json",
            "{\"kernel\": [\"6.17.*\", \"6.18.*\"], \"nvme_firmware\": [\"5B2*\"]}",
        )
        .service();
    let kernel = |version: &str| json!({"kernel": version, "nvme": [{"firmware": "5B2QGXA7"}]});
    ready_with(&service, 1, &kernel("6.17.0-1008-nvidia"));
    ready_with(&service, 2, &kernel("6.17.0-1008-nvidia"));
    assert_eq!(drift_of(&service.data, 1), (json!([]), json!([])));
    // The upgrade.
    ready_with(&service, 1, &kernel("6.19.0-1-nvidia\u{1b}[2J"));
    let line = format!(
        "outside the baseline: {} at 127.0.0.1: kernel \"6.19.0-1-nvidia\\u{{1b}}[2J\", expected 6.17.*, 6.18.*",
        mac(1)
    );
    service.wait_for_log(&[&line]);
    // A later report with the same, and one without facts, are no news.
    ready_with(&service, 1, &kernel("6.19.0-1-nvidia\u{1b}[2J"));
    service.heartbeat(&mac(1), "verify", "start");
    // Another part is.
    let both = json!({"kernel": "6.19.0", "nvme": [{"firmware": "5B2QGXA7"}, {"firmware": "X"}]});
    ready_with(&service, 1, &both);
    service.wait_for_log(&["nvme_firmware X, expected 5B2*"]);
    assert_eq!(
        drift_of(&service.data, 1),
        (
            json!([{"field": "kernel", "found": ["6.19.0"]}, {"field": "nvme_firmware", "found": ["X"]}]),
            json!(["drift"])
        )
    );
    assert_eq!(drift_of(&service.data, 2), (json!([]), json!([])));
    let told = service.whole_log().matches("outside the baseline").count();
    assert_eq!(told, 2, "{}", service.whole_log());
    // Board and metrics say the same, and follow the file.
    let count = |expected: usize| {
        let metrics = service.get("/metrics");
        let series = format!("gb10_drift_devices{{field=\"kernel\"}} {expected}.0");
        let board = service.get("/");
        let on_board = format!("<b id=drifting>{expected}</b>");
        (metrics.text().contains(&series) && board.text().contains(&on_board)).then_some(())
    };
    eventually("one box outside on board and in metrics", || count(1));
    let story = service.get(&format!("/board/{}", mac(1)));
    assert!(
        story
            .text()
            .contains("<dt>Outside the baseline<dd>kernel 6.19.0</div>"),
        "{}",
        story.text()
    );
    service.stage("baseline.json", "{\"kernel\": [\"6.18.*\"]}");
    eventually("both boxes outside", || count(2));
    std::fs::remove_file(service.data.join("baseline.json")).unwrap();
    eventually("no box outside", || count(0));
    // It comes back, and leaves again.
    service.stage("baseline.json", "{\"kernel\": [\"6.17.*\"]}");
    ready_with(&service, 1, &kernel("6.17.0"));
    ready_with(&service, 1, &kernel("6.20.0"));
    service.wait_for_log(&["kernel 6.20.0, expected 6.17.*"]);
}
