//! Shows that the embedded default and the fallback, as they are served, are autoinstalls that
//! Ubuntu's installer takes, with commands that a shell takes.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::needs::{Need, needs};
use crate::support::*;
use gb10_provision_api::site::password::DEFAULT_FALLBACK_PASSWORD_HASH;
use serde_json::Value;

const MAC: &str = "02:00:00:00:00:01";

/// The password that the README documents.
const DOCUMENTED_PASSWORD: &str = "gb10-change-me";

/// Reads YAML as cloud-init does, checks what is under `autoinstall`, and prints it as JSON.
const VALIDATE: &str = r#"
import json, sys
import jsonschema, yaml
document = yaml.safe_load(sys.stdin.buffer)
assert list(document) == ["autoinstall"], list(document)
schema = json.load(open(sys.argv[1]))
faults = list(jsonschema.validators.validator_for(schema)(schema).iter_errors(document["autoinstall"]))
for fault in faults:
    print(f"{list(fault.absolute_path)}: {fault.message}", file=sys.stderr)
json.dump(document["autoinstall"], sys.stdout)
sys.exit(len(faults) != 0)
"#;

fn feed(command: &mut Command, input: &str) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
    process.wait_with_output().unwrap()
}

/// What [`VALIDATE`] takes.
const PYTHON: Need = Need::Python(&["jsonschema", "yaml"]);

/// The autoinstall in a user-data, which is valid by the schema.
fn valid_autoinstall(user_data: &str) -> Value {
    assert!(user_data.starts_with("#cloud-config\n"), "{user_data}");
    let schema =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/data/autoinstall-schema.json");
    let mut python = Command::new("/usr/bin/python3");
    let output = feed(python.args(["-c", VALIDATE]).arg(schema), user_data);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{user_data}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn assert_shell(command: &str) {
    let output = feed(Command::new("sh").args(["-n", "-s"]), command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{said}\n{command}"
    );
}

/// What every autoinstall of ours has: somebody who can log in, and has to choose a password.
fn assert_can_be_logged_in_to(autoinstall: &Value, hostname: &str, hash: &str) {
    assert_eq!(autoinstall["version"], 1);
    assert_eq!(autoinstall["identity"]["hostname"], hostname);
    assert_eq!(autoinstall["identity"]["username"], "gb10");
    assert_eq!(autoinstall["identity"]["password"], hash);
    assert_eq!(autoinstall["ssh"]["install-server"], true);
    assert_eq!(autoinstall["ssh"]["allow-pw"], true);
    // cloud-init's set_passwords expires only whom it sets a password for: expire alone does
    // nothing, and a user without a password gets the hash "RANDOM", which locks it out.
    let chpasswd = &autoinstall["user-data"]["chpasswd"];
    assert_eq!(chpasswd["expire"], true);
    assert_eq!(
        chpasswd["users"][0]["name"],
        autoinstall["identity"]["username"]
    );
    assert_eq!(chpasswd["users"][0]["password"], hash);
    assert_eq!(chpasswd["users"][0]["type"], "hash");
    // Any interactive section would wait for somebody.
    assert_eq!(autoinstall.get("interactive-sections"), None);
}

fn get(service: &Service, target: &str) -> String {
    let answer = service.get(target);
    assert_eq!(answer.status, 200);
    answer.text().to_owned()
}

const DEVICES: [(&str, &str); 2] = [
    (
        "/cloud-init/02:00:00:00:00:01/user-data",
        "gb10-pxe-02-00-00-00-00-01",
    ),
    ("/cloud-init/user-data", "gb10-pxe-unknown"),
];

#[test]
fn the_embedded_default_is_a_valid_autoinstall() {
    needs!(PYTHON);
    let service = Start::fresh().service();
    for (target, hostname) in DEVICES {
        let autoinstall = valid_autoinstall(&get(&service, target));
        assert_can_be_logged_in_to(&autoinstall, hostname, DEFAULT_FALLBACK_PASSWORD_HASH);
        for section in ["late-commands", "error-commands"] {
            let commands = autoinstall[section].as_array().unwrap();
            assert!(!commands.is_empty());
            for command in commands {
                assert_shell(command.as_str().unwrap());
            }
        }
    }
}

#[test]
fn the_fallback_is_a_valid_autoinstall() {
    needs!(PYTHON);
    let service = Start::fresh()
        .stage(
            "cloud-init-templates/user-data.yaml.j2",
            "#cloud-config\na: {{ nosuch }}\n",
        )
        .service();
    for (target, hostname) in DEVICES {
        let user_data = get(&service, target);
        assert!(
            user_data.starts_with("#cloud-config\n# The fallback"),
            "{user_data}"
        );
        let autoinstall = valid_autoinstall(&user_data);
        assert_can_be_logged_in_to(&autoinstall, hostname, DEFAULT_FALLBACK_PASSWORD_HASH);
    }
}

#[test]
fn a_configured_hash_is_in_both_whatever_scheme_it_is_of() {
    needs!(PYTHON);
    for hash in [
        "$6$rounds=5000$abc.DEF/123$Q7/x.Y",
        "$y$j9T$saltSALT./$hash.HASH/hash",
        "$2b$12$saltSALTsaltSALTsaltSALT./hash",
    ] {
        let service = Start::fresh().env("FALLBACK_PASSWORD_HASH", hash).service();
        for fallback in [false, true] {
            if fallback {
                service.stage("cloud-init-templates/user-data.yaml.j2", "");
            }
            let user_data = get(&service, &format!("/cloud-init/{MAC}/user-data"));
            assert_eq!(user_data.contains("# The fallback"), fallback);
            let autoinstall = valid_autoinstall(&user_data);
            assert_can_be_logged_in_to(&autoinstall, "gb10-pxe-02-00-00-00-00-01", hash);
        }
    }
}

#[test]
fn the_error_commands_report_the_failure_with_the_end_of_the_installers_log() {
    needs!(PYTHON);
    let service = Start::fresh().service();
    let log = service.data.join("installer.log");
    std::fs::write(
        &log,
        "first\n\t\"quoted\" \\ $HOME `id` 'single' \u{1b}[1m \u{e4}\nlast words\n",
    )
    .unwrap();
    let user_data = get(&service, &format!("/cloud-init/{MAC}/user-data"));
    let autoinstall = valid_autoinstall(&user_data);
    for command in autoinstall["error-commands"].as_array().unwrap() {
        let log_of_the_installer = "/var/log/installer/subiquity-server-debug.log";
        let command = command.as_str().unwrap();
        assert!(command.contains(log_of_the_installer));
        let command = command.replace(log_of_the_installer, log.to_str().unwrap());
        assert!(
            Command::new("sh")
                .args(["-c", &command])
                .status()
                .unwrap()
                .success()
        );
    }
    let record = service.get(&format!("/clients/{MAC}")).json();
    let event = record["stages"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&event["stage"], &event["phase"]),
        (&"install".into(), &"fail".into())
    );
    let detail = event["detail"].as_str().unwrap();
    assert!(
        detail.contains("last words") && detail.contains("$HOME `id` 'single'"),
        "{detail}"
    );
}

#[test]
fn what_a_site_sets_is_in_the_embedded_default() {
    needs!(PYTHON);
    let hash = "$6$site$hash";
    let sites = [
        // Keys alone: no password, and none asked for by sudo.
        (
            r#"{"username": "ops", "authorized_keys": ["ssh-ed25519 AAAA it's \"one\""]}"#,
            "!",
            false,
            false,
        ),
        // A password of the site's own need not be changed.
        (
            r#"{"username": "ops", "password_hash": "$6$site$hash"}"#,
            hash,
            true,
            false,
        ),
        // Neither: the documented password, which must be.
        (
            r#"{"username": "ops", "timezone": "Europe/Berlin", "packages": ["htop"], "apt_mirror":
            "http://10.88.0.1/ubuntu", "proxy": "http://10.88.0.1:3128", "authorized_keys": []}"#,
            DEFAULT_FALLBACK_PASSWORD_HASH,
            true,
            true,
        ),
    ];
    for (site, password, allow_pw, expires) in sites {
        let service = Start::fresh().stage("site.json", site).service();
        let user_data = get(&service, &format!("/cloud-init/{MAC}/user-data"));
        let autoinstall = valid_autoinstall(&user_data);
        assert_eq!(autoinstall["identity"]["username"], "ops");
        assert_eq!(autoinstall["identity"]["password"], password);
        assert_eq!(autoinstall["ssh"]["allow-pw"], allow_pw);
        assert_eq!(
            autoinstall["user-data"]["chpasswd"]["expire"] == true,
            expires
        );
        let sudo_asks = autoinstall["user-data"]["write_files"].is_null();
        assert_eq!(sudo_asks, password != "!", "{site}");
        if site.contains("htop") {
            assert_eq!(autoinstall["timezone"], "Europe/Berlin");
            assert_eq!(autoinstall["packages"][0], "htop");
            assert_eq!(autoinstall["proxy"], "http://10.88.0.1:3128");
            let mirror = &autoinstall["apt"]["mirror-selection"]["primary"][0]["uri"];
            assert_eq!(mirror, "http://10.88.0.1/ubuntu");
        }
        let endpoint = format!("http://{}/report/{MAC}", service.address);
        assert_eq!(
            autoinstall["reporting"]["gb10-provision-api"]["endpoint"],
            endpoint
        );
    }
}

#[test]
fn the_default_hash_is_of_the_documented_password() {
    needs!(Need::Program("openssl"));
    let hash = DEFAULT_FALLBACK_PASSWORD_HASH;
    let salt = hash.split('$').nth(2).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["passwd", "-6", "-salt", salt, "-stdin"]);
    let output = feed(&mut openssl, DOCUMENTED_PASSWORD);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), hash);
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    assert!(
        std::fs::read_to_string(readme)
            .unwrap()
            .contains(DOCUMENTED_PASSWORD)
    );
}
