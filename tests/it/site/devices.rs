//! Shows what an operator's `devices.json` and `site.json` do: names, variables and the one record
//! of a box with many MACs, and that a fault in them is found by line and stops no boot.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::beats::clients_in;
use crate::support::lan::{self, Lan};
use crate::support::needs::{Need, needs};
use crate::support::*;
use rustix::fs::RenameFlags;
use serde_json::{Value, json};

const MAC: &str = "3c:6d:66:0a:1b:2c";
const SECOND: &str = "3c:6d:66:0a:1b:2d";
const SLUG: &str = "3c-6d-66-0a-1b-2c";
const OTHER: &str = "3c:6d:66:ff:00:01";

const DEVICES: &str = r#"{
  "3c:6d:66:0a:1b:2c": {
    "hostname": "spark-07",
    "macs": ["3C-6D-66-0A-1B-2D"],
    "role": "trainer",
    "vars": {"rack": 3, "disks": ["nvme0n1"]}
  }
}
"#;

const SITE: &str = r#"{
  "username": "ops",
  "password_hash": "$6$salt$VERYSECRETHASH",
  "authorized_keys": ["ssh-ed25519 AAAA ops"],
  "timezone": "Europe/Berlin",
  "colour": {"door": "green"}
}
"#;

/// What must never be shown of it.
const SECRET: &str = "VERYSECRETHASH";

const USER_DATA: &str = "cloud-init-templates/user-data.yaml.j2";

/// What a template gets of both, a line each.
const TEMPLATE: &str = "#cloud-config\n\
    mac: '{{ mac }}'\n\
    hostname: '{{ hostname }}'\n\
    device_hostname: '{{ device.hostname }}'\n\
    role: '{{ device.role }}'\n\
    macs: '{{ device.macs | join(\",\") }}'\n\
    rack: '{{ device.vars.rack | default(\"none\") }}'\n\
    disk: '{{ device.vars.disks[0] if device.vars.disks is defined else \"\" }}'\n\
    username: '{{ site.username | default(\"gb10\") }}'\n\
    key: '{{ site.authorized_keys[0] if site.authorized_keys is defined else \"\" }}'\n\
    door: '{{ site.colour.door if site.colour is defined else \"\" }}'\n";

fn start() -> Start {
    Start::fresh().stage(USER_DATA, TEMPLATE)
}

fn user_data(service: &Service, mac: &str) -> String {
    let answer = service.get(&format!("/cloud-init/{mac}/user-data"));
    assert_eq!(answer.status, 200);
    answer.text().to_owned()
}

fn rendered(mac: &str, hostname: &str, device: [&str; 4], site: [&str; 3]) -> String {
    let [role, macs, rack, disk] = device;
    let [username, key, door] = site;
    format!(
        "#cloud-config\nmac: '{mac}'\nhostname: '{hostname}'\ndevice_hostname: '{hostname}'\n\
         role: '{role}'\nmacs: '{macs}'\nrack: '{rack}'\ndisk: '{disk}'\n\
         username: '{username}'\nkey: '{key}'\ndoor: '{door}'"
    )
}

const KNOWN: [&str; 4] = ["trainer", SECOND, "3", "nvme0n1"];
const NOT_KNOWN: [&str; 4] = ["None", "", "none", ""];
const OPS: [&str; 3] = ["ops", "ssh-ed25519 AAAA ops", "green"];
const NO_SITE: [&str; 3] = ["gb10", "", ""];

#[test]
fn templates_know_the_device_and_the_site() {
    let start = start()
        .stage("devices.json", DEVICES)
        .stage("site.json", SITE);
    let service = start.service();
    let known = rendered(MAC, "spark-07", KNOWN, OPS);
    assert_eq!(user_data(&service, MAC), known);
    // Another MAC of the box is the box.
    assert_eq!(user_data(&service, SECOND), known);
    assert_eq!(user_data(&service, "01-3c-6d-66-0a-1b-2d"), known);
    let other = rendered(OTHER, "gb10-pxe-3c-6d-66-ff-00-01", NOT_KNOWN, OPS);
    assert_eq!(user_data(&service, OTHER), other);
    let meta_data = service.get(&format!("/cloud-init/{SECOND}/meta-data"));
    assert_eq!(
        meta_data.text().lines().collect::<Vec<_>>(),
        ["instance-id: \"spark-07\"", "local-hostname: \"spark-07\""]
    );
    assert!(!service.log().contains(SECRET), "{}", service.log());
}

#[test]
fn without_either_file_the_defaults_hold_and_nothing_is_warned_of() {
    let service = start().service();
    let default = rendered(MAC, "gb10-pxe-3c-6d-66-0a-1b-2c", NOT_KNOWN, NO_SITE);
    assert_eq!(user_data(&service, MAC), default);
    // Without either, they are empty mappings, that a template may ask for keys.
    let kinds = "#cloud-config\nkinds: {{ site is mapping }} {{ device.vars is mapping }} {{ site.items() | list }}";
    service.stage(USER_DATA, kinds);
    assert_eq!(
        user_data(&service, MAC),
        "#cloud-config\nkinds: True True []"
    );
    assert!(!service.log().contains("WARN"), "{}", service.log());
}

#[test]
fn an_edit_is_what_the_next_request_gets() {
    let service = start().service();
    let default = rendered(MAC, "gb10-pxe-3c-6d-66-0a-1b-2c", NOT_KNOWN, NO_SITE);
    for round in 0..20 {
        let name = format!("spark-{round}");
        service.stage("devices.json", &DEVICES.replace("spark-07", &name));
        let site = if round == 0 { NO_SITE } else { OPS };
        let known = rendered(MAC, &name, KNOWN, site);
        assert_eq!(user_data(&service, SECOND), known);
        service.stage("site.json", SITE);
        assert_eq!(user_data(&service, MAC), rendered(MAC, &name, KNOWN, OPS));
    }
    for name in ["site.json", "devices.json"] {
        std::fs::remove_file(service.data.join(name)).unwrap();
    }
    eventually("both to count as gone", || {
        (user_data(&service, MAC) == default).then_some(())
    });
}

#[test]
fn heartbeats_and_seeds_of_any_mac_of_a_box_are_one_record_with_its_name() {
    let devices = r#"{"3c:6d:66:0a:1b:2c": {"hostname": "spark-07", "macs": ["3c:6d:66:0a:1b:2d"]},
        "3c:6d:66:00:00:01": {"role": "nameless"}}"#;
    let service = start().stage("devices.json", devices).service();
    service.get_as_box(&format!("/cloud-init/{SECOND}/user-data"));
    let seen = eventually("the fetch on record", || {
        let clients = service.get("/clients").json();
        clients.get(MAC).cloned()
    });
    assert_eq!(seen["mac"], MAC);
    assert_eq!(seen["hostname"], "spark-07", "by the fetch alone");
    for mac in [SECOND, MAC, "3C6D660A1B2D"] {
        let record = service.heartbeat(mac, "network", "start").json();
        assert_eq!(
            (&record["mac"], &record["hostname"]),
            (&json!(MAC), &json!("spark-07"))
        );
    }
    let nameless = service
        .heartbeat("3c:6d:66:00:00:01", "network", "start")
        .json();
    assert_eq!(nameless["hostname"], "gb10-pxe-3c-6d-66-00-00-01");
    let clients = service.get("/clients").json();
    assert_eq!(clients.as_object().unwrap().len(), 2, "{clients}");
    assert_eq!(clients[MAC]["stages"].as_array().unwrap().len(), 3);

    // A new name reaches the record with the next heartbeat, and stays when the file is gone.
    service.stage("devices.json", &devices.replace("spark-07", "spark-08"));
    let record = service.heartbeat(SECOND, "network", "done").json();
    assert_eq!(record["hostname"], "spark-08");
    std::fs::remove_file(service.data.join("devices.json")).unwrap();
    let record = service.heartbeat(MAC, "storage", "start").json();
    assert_eq!(record["hostname"], "spark-08");
}

// ---- A template of its own -----------------------------------------------------------------

#[test]
fn a_devices_own_template_goes_before_the_common_one_for_every_mac_of_it() {
    let own = format!("cloud-init-templates/{SLUG}/user-data.yaml.j2");
    let service = start().stage("devices.json", DEVICES).service();
    let common = rendered(MAC, "spark-07", KNOWN, NO_SITE);
    assert_eq!(user_data(&service, MAC), common);
    for round in 0..5 {
        let text = format!("#cloud-config\nown: '{{{{ hostname }}}}-{round}'");
        service.stage(&own, &text);
        let expected = format!("#cloud-config\nown: 'spark-07-{round}'");
        assert_eq!(user_data(&service, MAC), expected);
        assert_eq!(user_data(&service, SECOND), expected);
        let other = user_data(&service, OTHER);
        assert!(
            other.starts_with(&format!("#cloud-config\nmac: '{OTHER}'")),
            "{other}"
        );
    }
    std::fs::remove_file(service.data.join(&own)).unwrap();
    eventually("its own to count as gone", || {
        (user_data(&service, MAC) == common).then_some(())
    });
    // One file of its own says nothing of the others.
    service.stage(
        &format!("cloud-init-templates/{SLUG}/vendor-data.yaml.j2"),
        "#cloud-config\nown: 1",
    );
    let vendor_data = |mac: &str| service.get(&format!("/cloud-init/{mac}/vendor-data"));
    assert_eq!(vendor_data(SECOND).text(), "#cloud-config\nown: 1");
    assert_eq!(vendor_data(OTHER).text(), "");
    assert_eq!(user_data(&service, MAC), common);
    assert!(!service.log().contains("WARN"), "{}", service.log());
}

#[test]
fn a_devices_own_template_that_fails_is_warned_of_and_the_common_one_served() {
    let own = format!("cloud-init-templates/{SLUG}/user-data.yaml.j2");
    let file = format!("{SLUG}/user-data.yaml.j2");
    let service = start().stage("devices.json", DEVICES).service();
    let common = rendered(MAC, "spark-07", KNOWN, NO_SITE);
    for (text, line) in [
        ("#cloud-config\nx: 1\ny: {{ nowhere.at_all }}", Some("3")),
        ("#cloud-config\n{% if %}", Some("2")),
        ("#cloud-config\nx: [1", None),
        ("no: cloud-config", None),
    ] {
        service.stage(&own, text);
        assert_eq!(user_data(&service, SECOND), common, "{text:?}");
        let place = match line {
            Some(line) => format!("{file}:{line}: "),
            None => format!("{file}: "),
        };
        service.wait_for_log(&["WARN", "a staged template failed", &place, MAC]);
        let (status, _, stderr) = check(&service.data);
        assert_eq!(status, Some(1));
        assert!(stderr.contains(&place), "{stderr}");
    }
    service.stage(&own, "#cloud-config\nhealed: 1");
    assert_eq!(user_data(&service, MAC), "#cloud-config\nhealed: 1");
}

// ---- Faults --------------------------------------------------------------------------------

/// What `gb10-provision-api check` says: exit status, stdout and stderr.
fn check(data: &Path) -> (Option<i32>, String, String) {
    let output = Command::new(BINARY)
        .arg("check")
        .env("DATA_PATH", data)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A file's faulty text, where the fault is, and what is said of it.
type Faulty = (&'static str, &'static str, &'static str);

const FAULTY_DEVICES: [Faulty; 23] = [
    ("{\n  \"3c:6d:66:0a:1b:2c\": {\n", "devices.json:3:", "EOF"),
    ("", "devices.json:1:", "EOF"),
    ("[]\n", "devices.json:1:", "expected a map"),
    ("{\n  \"kitchen\": {}\n}", "devices.json:2:", "kitchen"),
    (
        "{\n\n  \"ff:ff:ff:ff:ff:ff\": {}\n}",
        "devices.json:3:",
        "broadcast",
    ),
    (
        "{\"3c:6d:66:0a:1b:2c\": {\n  \"hostname\": \"spark 07\"}}",
        "devices.json:2:",
        "spark 07",
    ),
    (
        "{\"3c:6d:66:0a:1b:2c\": {\n\n  \"hostname\": 7}}",
        "devices.json:3:",
        "invalid type: integer, expected",
    ),
    (
        "{\"3c:6d:66:0a:1b:2c\": {\n  \"hostnam\": \"spark\"}}",
        "devices.json:2:",
        "unknown field `hostnam`",
    ),
    (
        "{\"3c:6d:66:0a:1b:2c\": {\n  \"macs\": [\"3c:6d:66:0a:1b\"]}}",
        "devices.json:2:",
        "3c:6d:66:0a:1b",
    ),
    (
        "{\n  \"3c:6d:66:0a:1b:2c\": {\"macs\": [\"3c:6d:66:0a:1b:2d\"]},\n  \"3c:6d:66:00:00:01\": {\"macs\": [\"3C-6D-66-0A-1B-2D\"]}\n}",
        "devices.json:3:",
        "3c:6d:66:0a:1b:2d belongs to two devices",
    ),
    (
        "{\n  \"3c:6d:66:0a:1b:2c\": {\"macs\": [\"3c:6d:66:0a:1b:2d\"]},\n  \"3c6d660a1b2d\": {}\n}",
        "devices.json:3:",
        "3c:6d:66:0a:1b:2d belongs to two devices",
    ),
    (
        "{\n  \"3c:6d:66:0a:1b:2c\": {\"hostname\": \"a\"},\n  \"3C:6D:66:0A:1B:2C\": {\"hostname\": \"b\"}\n}",
        "devices.json:3:",
        "3c:6d:66:0a:1b:2c is listed twice",
    ),
    // No label of RFC 1123.
    (
        "{\"3c:6d:66:0a:1b:2c\": {\n  \"hostname\": \"spark_07\"}}",
        "devices.json:2:",
        "\"spark_07\" is no host name",
    ),
    (
        "{\"3c:6d:66:0a:1b:2c\": {\n  \"hostname\": \"spark-\"}}",
        "devices.json:2:",
        "\"spark-\" is no host name",
    ),
    (
        "{\"3c:6d:66:0a:1b:2c\": {\n  \"hostname\": \"spark.lan\"}}",
        "devices.json:2:",
        "\"spark.lan\" is no host name",
    ),
    (
        "{\"3c:6d:66:0a:1b:2c\": {\n  \"hostname\": \"sp\u{e4}rk\"}}",
        "devices.json:2:",
        "is no host name",
    ),
    // Pairs.
    (
        "{\"3c:6d:66:0a:1b:2c\": {\n  \"pair\": \"the other\"}}",
        "devices.json:2:",
        "\"the other\" is not a MAC address",
    ),
    (
        "{\"3c:6d:66:0a:1b:2c\": {\n  \"pairs\": \"3c:6d:66:00:00:01\"}}",
        "devices.json:2:",
        "unknown field `pairs`",
    ),
    (
        "{\n  \"3c:6d:66:0a:1b:2c\": {\n    \"pair\": \"3C-6D-66-0A-1B-2C\"\n  }\n}",
        "devices.json:3:",
        "3c:6d:66:0a:1b:2c is paired with itself",
    ),
    // By a port of its own.
    (
        "{\n  \"3c:6d:66:0a:1b:2c\": {\n    \"macs\": [\"3c:6d:66:0a:1b:2d\"],\n    \"pair\": \"3c:6d:66:0a:1b:2d\"\n  }\n}",
        "devices.json:4:",
        "3c:6d:66:0a:1b:2c is paired with itself",
    ),
    // Two name a third one, each by another port of it.
    (
        "{\n  \"3c:6d:66:00:00:01\": {\"pair\": \"3c:6d:66:0a:1b:2c\"},\n  \"3c:6d:66:00:00:02\": {\"pair\": \"3c:6d:66:0a:1b:2d\"},\n  \"3c:6d:66:0a:1b:2c\": {\"macs\": [\"3c:6d:66:0a:1b:2d\"]}\n}",
        "devices.json:3:",
        "3c:6d:66:0a:1b:2c is paired with two boxes, 3c:6d:66:00:00:01 and 3c:6d:66:00:00:02",
    ),
    // One that is named names another one.
    (
        "{\n  \"3c:6d:66:00:00:01\": {\"pair\": \"3c:6d:66:00:00:02\"},\n  \"3c:6d:66:00:00:02\": {\n    \"pair\": \"3c:6d:66:00:00:03\"\n  }\n}",
        "devices.json:4:",
        "3c:6d:66:00:00:02 is paired with two boxes, 3c:6d:66:00:00:01 and 3c:6d:66:00:00:03",
    ),
    (
        "{\n  \"3c:6d:66:00:00:03\": {\"pair\": \"3c:6d:66:00:00:01\"},\n  \"3c:6d:66:00:00:02\": {\"pair\": \"3c:6d:66:00:00:01\"},\n  \"3c:6d:66:00:00:01\": {}\n}",
        "devices.json:2:",
        "3c:6d:66:00:00:01 is paired with two boxes, 3c:6d:66:00:00:02 and 3c:6d:66:00:00:03",
    ),
];

const FAULTY_SITES: [Faulty; 21] = [
    ("{\n  \"username\": \"ops\"\n", "site.json:3:", "EOF"),
    ("hello", "site.json:1:", "expected value"),
    ("[]", "site.json:1:", "expected an object"),
    (
        "[\"$6$salt$VERYSECRETHASH\"]",
        "site.json:1:",
        "expected an object",
    ),
    ("\"ops\"", "site.json:1:", "expected an object"),
    ("{\n  \"username\": \"o p s\"\n}", "site.json:2:", "o p s"),
    (
        "{\n  \"username\": \"ops\",\n  \"authorized_keys\": \"ssh-ed25519 AAAA\"\n}",
        "site.json:3:",
        "expected a sequence",
    ),
    (
        "{\n  \"password_hash\": \"plain VERYSECRETHASH\"\n}",
        "site.json:2:",
        "not a crypt hash",
    ),
    (
        "{\n  \"password_hash\": \"$6$salt$VERYSECRETHASH\",\n  \"timezone\": 1\n}",
        "site.json:3:",
        "invalid type: integer",
    ),
    // What the installer refuses.
    (
        "{\n  \"username\": \"admin\"\n}",
        "site.json:2:",
        "\"admin\" belongs to the system",
    ),
    (
        "{\n  \"username\": \"root\"\n}",
        "site.json:2:",
        "\"root\" belongs to the system",
    ),
    (
        "{\n  \"username\": \"plugdev\"\n}",
        "site.json:2:",
        "\"plugdev\" belongs to the system",
    ),
    (
        "{\n  \"username\": \"Ops\"\n}",
        "site.json:2:",
        "\"Ops\" is no user name",
    ),
    (
        "{\n  \"username\": \"7ops\"\n}",
        "site.json:2:",
        "\"7ops\" is no user name",
    ),
    (
        "{\n  \"username\": \"a23456789-123456789-123456789-123\"\n}",
        "site.json:2:",
        "is no user name",
    ),
    (
        "{\n  \"timezone\": \"Europe/Berlln\"\n}",
        "site.json:2:",
        "no time zone \"Europe/Berlln\"",
    ),
    (
        "{\n  \"timezone\": \"europe/berlin\"\n}",
        "site.json:2:",
        "no time zone \"europe/berlin\"",
    ),
    (
        "{\n  \"timezone\": \"posix/Europe/Berlin\"\n}",
        "site.json:2:",
        "no time zone \"posix/Europe/Berlin\"",
    ),
    (
        "{\n  \"timezone\": \"Etc/Unknown\"\n}",
        "site.json:2:",
        "no time zone \"Etc/Unknown\"",
    ),
    (
        "{\n  \"kernel\": {\"flavor\": \"hwe kernel\"}\n}",
        "site.json:2:",
        "no flavor of a kernel",
    ),
    (
        "{\n  \"kernel\": {\"flavour\": \"hwe\"}\n}",
        "site.json:2:",
        "unknown field `flavour`",
    ),
];

/// Puts a file in the place of another at once, for the service looks at it at any time.
fn replace(data: &Path, name: &str, text: &str) {
    stage(data, "new", text);
    std::fs::rename(data.join("new"), data.join(name)).unwrap();
}

#[test]
fn a_fault_leaves_the_last_good_version_in_force_and_is_warned_of_once_by_line() {
    let start = start()
        .stage("devices.json", DEVICES)
        .stage("site.json", SITE);
    let service = start.service();
    let good = rendered(MAC, "spark-07", KNOWN, OPS);
    for (name, sound, faults) in [
        ("devices.json", DEVICES, &FAULTY_DEVICES[..]),
        ("site.json", SITE, &FAULTY_SITES[..]),
    ] {
        for (text, place, reason) in faults {
            let before = service.log().matches("a staged file has a fault").count();
            replace(&service.data, name, text);
            for _ in 0..3 {
                assert_eq!(user_data(&service, SECOND), good, "{text}");
            }
            let warning = service.wait_for_log(&["WARN", place, reason]);
            assert!(
                warning.contains("last good version stays in force"),
                "{warning}"
            );
            // The status line looks at the files, too, and none of them says it again.
            let after = service.log().matches("a staged file has a fault").count();
            assert!(after - before <= 1, "{}", service.log());

            let (status, _, stderr) = check(&service.data);
            assert_eq!(status, Some(1), "{text}");
            let at = format!("{}/{place}", service.data.display());
            let named = |line: &&str| line.starts_with(&at) && line.contains(reason);
            assert_eq!(
                stderr.lines().filter(named).count(),
                1,
                "{at} {reason}\n{stderr}"
            );
            assert!(!stderr.contains(SECRET), "{stderr}");
        }
        let record = service.heartbeat(SECOND, "network", "start").json();
        assert_eq!(record["hostname"], "spark-07");
        // An edit back heals.
        service.stage(
            name,
            &sound.replace("spark-07", "spark-09").replace("ops", "osp"),
        );
        let healed = user_data(&service, SECOND);
        assert!(
            healed.contains("spark-09") || healed.contains("'osp'"),
            "{healed}"
        );
        service.wait_for_log(&["INFO", &format!("{name} is in order again")]);
        service.stage(name, sound);
        assert_eq!(user_data(&service, SECOND), good);
        assert_eq!(check(&service.data).0, Some(0));
    }
    assert!(!service.log().contains(SECRET), "{}", service.log());
}

#[test]
fn names_and_time_zones_that_the_installer_takes_are_no_faults() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: Value| {
        std::fs::write(folder.path().join(name), text.to_string()).unwrap();
    };
    for zone in [
        "Europe/Berlin",
        "America/Argentina/Buenos_Aires",
        "Etc/UTC",
        "UTC",
        "Etc/GMT+5",
        "US/Eastern",
        "geoip",
        "",
    ] {
        for user in [
            "ops",
            "_ops",
            "o",
            "admin2",
            "root-",
            "a23456789-123456789-123456789-12",
        ] {
            write(
                "site.json",
                json!({"timezone": zone, "username": user, "kernel": {"flavor": "hwe"}}),
            );
            assert_eq!(check(folder.path()).0, Some(0), "{zone} {user}");
        }
    }
    let long = "x".repeat(63);
    for host in ["007", "no", "SPARK-07", "a--b", &long] {
        write("devices.json", json!({MAC: {"hostname": host}}));
        assert_eq!(check(folder.path()).0, Some(0), "{host}");
    }
}

#[test]
fn time_zones_are_known_on_a_host_that_has_none() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("site.json"),
        r#"{"timezone": "Asia/Tokyo"}"#,
    )
    .unwrap();
    let output = Command::new(BINARY)
        .arg("check")
        .env("DATA_PATH", folder.path())
        .env("TZDIR", folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn check_says_what_the_lan_must_have_for_a_mirror_and_for_packages() {
    let folder = tempfile::tempdir().unwrap();
    let notes = |site: &str| {
        std::fs::write(folder.path().join("site.json"), site).unwrap();
        let (status, stdout, _) = check(folder.path());
        assert_eq!(status, Some(0));
        let notes = stdout
            .lines()
            .filter(|line| line.starts_with("note: ") && line.contains("/site.json: "));
        notes.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(check(folder.path()).1.matches("note: ").count(), 0);
    let [router] = &notes(r#"{"apt_mirror": "http://10.88.0.1/ubuntu"}"#)[..] else {
        panic!("one note");
    };
    assert!(
        router.contains("must name a router, such as this host"),
        "{router}"
    );
    let [no_router] = &notes(r#"{"username": "ops"}"#)[..] else {
        panic!("one note");
    };
    assert!(no_router.contains("should name no router"), "{no_router}");
    let all = r#"{"packages": ["htop"], "apt_mirror": "http://10.88.0.1/ubuntu"}"#;
    for site in [all, r#"{"packages": ["htop"]}"#] {
        let notes = notes(site).join("\n");
        assert!(notes.contains("fails the whole installation"), "{notes}");
    }
}

#[test]
fn a_fault_is_told_with_its_line_and_column_before_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let devices = r#"{"3c:6d:66:0a:1b:2c": {"hostnam": "a"}}"#;
    for (name, text, expected) in [
        (
            "site.json",
            r#"{"authorized_keys": ["ssh-rsa",]}"#,
            "site.json:1:32: trailing comma\n",
        ),
        (
            "site.json",
            "{\n  \"locale\": 7}",
            "site.json:2:13: invalid type: integer, expected a string\n",
        ),
        (
            "site.json",
            "{\"username\": \"x at line 3 column 4\"}",
            "site.json:1:35: ",
        ),
        // Before the first character of a line there is no column.
        (
            "site.json",
            "{\n",
            "site.json:2: EOF while parsing an object\n",
        ),
        (
            "devices.json",
            devices,
            "devices.json:1:32: unknown field `hostnam`",
        ),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
        let stderr = check(folder.path()).2;
        let expected = format!("{}/{expected}", folder.path().display());
        assert!(stderr.contains(&expected), "{expected}\n{stderr}");
        assert!(
            !stderr.contains(" at line 1") && !stderr.contains(" at line 2"),
            "{stderr}"
        );
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
}

#[test]
fn a_misspelt_field_of_the_site_is_hinted_at_and_its_own_fields_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let hints = |site: &str| {
        std::fs::write(folder.path().join("site.json"), site).unwrap();
        let (status, stdout, stderr) = check(folder.path());
        assert_eq!(status, Some(0), "{stderr}");
        let hints = stdout.lines().filter(|line| line.ends_with(" meant?"));
        hints.map(str::to_owned).collect::<Vec<_>>()
    };
    for (wrong, right) in [
        ("usrname", "username"),
        ("user_name", "username"),
        ("authorised_keys", "authorized_keys"),
        ("time-zone", "timezone"),
        ("Packages", "packages"),
        ("kernal", "kernel"),
    ] {
        let hints = hints(&json!({ wrong: SECRET }).to_string());
        let [hint] = &hints[..] else {
            panic!("{wrong}: {hints:?}");
        };
        assert!(hint.contains(&format!("site.json: {wrong}: ")), "{hint}");
        assert!(hint.ends_with(&format!("is {right} meant?")), "{hint}");
        assert!(!hint.contains(SECRET), "{hint}");
    }
    assert_eq!(
        hints(r#"{"username": "ops", "rack": 7, "key": "x"}"#),
        [""; 0]
    );
}

#[test]
fn a_file_that_cannot_be_read_leaves_the_last_good_version_in_force() {
    let start = start()
        .stage("devices.json", DEVICES)
        .stage("site.json", SITE);
    let service = start.service();
    let good = rendered(MAC, "spark-07", KNOWN, OPS);
    assert_eq!(user_data(&service, MAC), good);
    for name in ["devices.json", "site.json"] {
        // A folder, since root may read a file of any mode.
        let (file, folder) = (service.data.join(name), service.data.join("folder"));
        std::fs::create_dir(&folder).unwrap();
        let cwd = rustix::fs::CWD;
        rustix::fs::renameat_with(cwd, &folder, cwd, &file, RenameFlags::EXCHANGE).unwrap();
        assert_eq!(user_data(&service, MAC), good);
        service.wait_for_log(&["WARN", &format!("{name}: cannot be read: ")]);
        let (status, _, stderr) = check(&service.data);
        let at = format!("{}/{name}: cannot be read: ", service.data.display());
        assert_eq!(status, Some(1));
        assert!(stderr.contains(&at), "{stderr}");
        std::fs::remove_dir(&file).unwrap();
        std::fs::rename(&folder, &file).unwrap();
        assert_eq!(user_data(&service, MAC), good);
    }
    for name in ["devices.json", "site.json"] {
        std::fs::remove_file(service.data.join(name)).unwrap();
    }
    let default = rendered(MAC, "gb10-pxe-3c-6d-66-0a-1b-2c", NOT_KNOWN, NO_SITE);
    eventually("both to count as gone", || {
        (user_data(&service, MAC) == default).then_some(())
    });
}

#[test]
fn a_faulty_file_at_the_start_stops_no_boot() {
    let start = start().stage("devices.json", "{").stage("site.json", "[");
    let service = start.service();
    for place in ["devices.json:1:", "site.json:1:"] {
        service.wait_for_log(&["WARN", place]);
    }
    let default = rendered(MAC, "gb10-pxe-3c-6d-66-0a-1b-2c", NOT_KNOWN, NO_SITE);
    assert_eq!(user_data(&service, MAC), default);
    assert_eq!(service.heartbeat(MAC, "network", "start").status, 200);
    service.stage("devices.json", DEVICES);
    service.stage("site.json", SITE);
    assert_eq!(
        user_data(&service, MAC),
        rendered(MAC, "spark-07", KNOWN, OPS)
    );
}

// ---- The box's own second MAC in the neighbour table ---------------------------------------

#[test]
fn a_boxs_own_second_mac_is_no_other_device_and_not_warned_of() {
    needs!(Need::NetworkNamespaces);
    let lan = Lan::with_device(SECOND);
    let service = lan
        .start()
        .stage(USER_DATA, TEMPLATE)
        .stage("devices.json", DEVICES)
        .service();
    // By its address alone.
    let seed = lan.get(lan::DEVICE, &service, "/cloud-init/user-data");
    assert_eq!(seed.body, rendered(MAC, "spark-07", KNOWN, NO_SITE));
    let beat = |body: Value| lan.heartbeat(lan::DEVICE, &service, body).json();
    let by_arp = beat(json!({"stage": "network", "phase": "start"}));
    let claimed = beat(json!({"mac": MAC, "stage": "network", "phase": "done"}));
    assert_eq!(
        (&by_arp["mac"], &claimed["mac"]),
        (&json!(MAC), &json!(MAC))
    );
    assert_eq!(claimed["stages"][1].get("arp_mac"), None, "{claimed}");
    let event = r#"{"name": "subiquity/Install/install", "event_type": "start"}"#;
    let url = format!("http://{}/report/unknown", service.address);
    lan.curl(lan::DEVICE, &["--data", event, &url]);
    service.wait_for_log(&["heartbeat", MAC, "install start", "mac_source=\"arp\""]);
    assert!(!service.log().contains("another MAC"), "{}", service.log());

    // What is no MAC of the box still is.
    let foreign = beat(json!({"mac": OTHER, "stage": "network", "phase": "done"}));
    assert_eq!(foreign["stages"][0]["arp_mac"], SECOND);
    service.wait_for_log(&["WARN", "another MAC", OTHER]);
    let clients = clients_in(lan.folder.path()).unwrap();
    assert_eq!(clients.as_object().unwrap().len(), 2, "{clients}");
}

// ---- A burst -------------------------------------------------------------------------------

#[test]
fn four_thousand_devices_on_file_cost_a_request_little() {
    let mut devices = serde_json::Map::new();
    for n in 0..4000 {
        let mac = format!("3c:6d:66:{:02x}:{:02x}:00", n / 256, n % 256);
        let second = format!("3c:6d:66:{:02x}:{:02x}:01", n / 256, n % 256);
        devices.insert(
            mac,
            json!({"hostname": format!("spark-{n}"), "macs": [second]}),
        );
    }
    let text = Value::Object(devices).to_string();
    let service = start().stage("devices.json", &text).service();
    user_data(&service, "3c:6d:66:01:02:01");
    let began = Instant::now();
    for n in 0..100 {
        let mac = format!("3c:6d:66:00:{n:02x}:01");
        assert!(user_data(&service, &mac).contains(&format!("hostname: 'spark-{n}'")));
    }
    figure(&format!(
        "a seed with 4000 devices on file: {:?}",
        began.elapsed() / 100
    ));
    // Reading the file for each of them would take far longer in a debug build.
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn what_fails_the_embedded_default_is_told_without_a_path_that_does_not_exist() {
    let folder = tempfile::tempdir().unwrap();
    // More than one rendering may cost.
    let packages: Vec<String> = (0..300_000).map(|n| format!("package{n}")).collect();
    let site = serde_json::json!({ "packages": packages }).to_string();
    std::fs::write(folder.path().join("site.json"), site).unwrap();
    let (status, _, stderr) = check(folder.path());
    assert_eq!(status, Some(1));
    assert!(
        stderr.starts_with("the embedded user-data.yaml.j2:"),
        "{stderr}"
    );
    assert!(!stderr.contains("cloud-init-templates"), "{stderr}");
}
