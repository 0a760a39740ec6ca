//! Shows that the embedded default and the fallback, as they are served, are autoinstalls that
//! Ubuntu's installer takes, with commands that a shell takes.

use std::path::Path;
use std::process::Command;

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
        assert_asks_nobody_outside(&autoinstall);
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
        assert_asks_nobody_outside(&autoinstall);
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

/// Where nothing listens, in the variables that a proxy has for curl and others.
const DEAD_PROXY: [(&str, &str); 3] = [
    ("http_proxy", "http://127.0.0.1:9"),
    ("https_proxy", "http://127.0.0.1:9"),
    ("ALL_PROXY", "http://127.0.0.1:9"),
];

/// Runs the commands of a section as the installer does, behind a proxy that is not there, with
/// other paths in them.
fn run(autoinstall: &Value, section: &str, paths: &[(&str, &Path)]) {
    let commands = autoinstall[section].as_array().unwrap();
    let commands: Vec<&str> = commands.iter().map(|it| it.as_str().unwrap()).collect();
    for (path, _) in paths {
        assert!(commands.join("\n").contains(path), "{commands:?}");
    }
    for command in commands {
        let mut command = command.to_owned();
        for (path, instead) in paths {
            command = command.replace(path, instead.to_str().unwrap());
        }
        let mut shell = Command::new("sh");
        let status = shell.args(["-c", &command]).envs(DEAD_PROXY).status();
        assert!(status.unwrap().success());
    }
}

const INSTALLERS_LOG: &str = "/var/log/installer/subiquity-server-debug.log";

#[test]
fn the_error_commands_add_the_end_of_the_installers_log_to_the_reason() {
    needs!(PYTHON, Need::Program("curl"));
    let site = r#"{"proxy": "http://127.0.0.1:9"}"#;
    let service = Start::fresh().stage("site.json", site).service();
    let user_data = get(&service, &format!("/cloud-init/{MAC}/user-data"));
    let autoinstall = valid_autoinstall(&user_data);
    let log = service.data.join("installer.log");
    let write = |words: &str| {
        // The installer logs the command before it runs it.
        let command = autoinstall["error-commands"][0].as_str().unwrap();
        let text = format!(
            "first\n{words}\nDEBUG start: subiquity/Error/run: \n\
             DEBUG start: subiquity/Error/run_user_supplied/command_0: {command}\n"
        );
        std::fs::write(&log, text).unwrap();
    };
    let detail = || {
        run(&autoinstall, "error-commands", &[(INSTALLERS_LOG, &log)]);
        let record = service.get(&format!("/clients/{MAC}")).json();
        let event = record["stages"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(event["stage"], "install");
        assert_eq!(event["phase"], "fail");
        event["detail"].as_str().unwrap().to_owned()
    };
    let words = "\t\"quoted\" \\ $HOME `id` 'single' \u{1b}[1m \u{e4}\nlast words";
    write(words);
    let without_reason = detail();
    assert!(
        without_reason.starts_with("the log: first "),
        "{without_reason}"
    );
    assert!(
        without_reason.contains("$HOME `id` 'single'"),
        "{without_reason}"
    );
    assert!(
        without_reason.trim_end().ends_with("last words"),
        "{without_reason}"
    );

    // A long log, and a reason that the webhook told before.
    write(&format!("{}last words", "a line of a log\n".repeat(500)));
    let event = r#"{"name": "subiquity/apply_autoinstall_config", "event_type": "finish",
        "result": "FAIL", "description": "no disk"}"#;
    assert_eq!(service.post(&format!("/report/{MAC}"), event).status, 204);
    let with_reason = detail();
    assert!(
        with_reason.starts_with("the autoinstall could not be applied: no disk; the log: "),
        "{with_reason}"
    );
    assert!(
        with_reason.trim_end().ends_with("last words"),
        "{with_reason}"
    );
    assert!(with_reason.len() > 2000, "{with_reason}");
    for own in ["curl", "tail -c", "Error/run"] {
        assert!(!with_reason.contains(own), "{with_reason}");
    }
}

/// What the installer has beside its log: a name that the shell must not touch, and what no other
/// user may read.
#[test]
fn the_error_commands_send_all_that_the_installer_logged_and_never_fail_or_hang() {
    needs!(PYTHON, Need::Program("curl"));
    let site = r#"{"proxy": "http://127.0.0.1:9"}"#;
    let service = Start::fresh().stage("site.json", site).service();
    let user_data = get(&service, &format!("/cloud-init/{MAC}/user-data"));
    let autoinstall = valid_autoinstall(&user_data);
    let folder = tempfile::tempdir().unwrap();
    let installer = folder.path().join("installer");
    std::fs::create_dir(&installer).unwrap();
    let log = installer.join("subiquity-server-debug.log");
    std::fs::write(&log, "first\nlast words\n").unwrap();
    std::fs::write(installer.join("a file's $(name)"), vec![b'x'; 3 << 20]).unwrap();
    let both = |folder: &Path| format!("{} installer", folder.display());
    let paths = |folder: &Path| {
        [
            (INSTALLERS_LOG, log.clone()),
            ("/var/log installer", both(folder).into()),
        ]
    };
    let run = |folder: &Path| {
        let paths = paths(folder);
        let paths = paths
            .each_ref()
            .map(|(path, instead)| (*path, instead.as_path()));
        run(&autoinstall, "error-commands", &paths);
    };
    run(folder.path());
    let logs = service.data.join("state/logs");
    let names = || -> Vec<_> {
        let entries = std::fs::read_dir(&logs).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let [kept] = &names()[..] else {
        panic!("{:?}", names());
    };
    let unpacked = folder.path().join("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    let tar = Command::new("tar")
        .arg("-xzf")
        .arg(kept)
        .arg("-C")
        .arg(&unpacked)
        .status();
    assert!(tar.unwrap().success());
    let same = Command::new("diff")
        .arg("-r")
        .args([&installer, &unpacked.join("installer")])
        .status();
    assert!(same.unwrap().success());
    // The report came first: without it the log would have been refused.
    assert_eq!(
        service.get(&format!("/clients/{MAC}")).json()["stages"][0]["phase"],
        "fail"
    );

    // There is nothing to send; the server does not want it; the server is gone.
    run(Path::new("/nowhere"));
    std::fs::write(installer.join("large"), {
        let mut dice = crate::support::beats::Dice::new();
        (0..17 << 20)
            .map(|_| dice.below(256) as u8)
            .collect::<Vec<u8>>()
    })
    .unwrap();
    let before = names().len();
    run(folder.path());
    assert_eq!(names().len(), before);
    assert_eq!(service.stop().code(), Some(0));
    let command = autoinstall["error-commands"][1].as_str().unwrap();
    let began = std::time::Instant::now();
    assert!(
        Command::new("sh")
            .args(["-c", command])
            .status()
            .unwrap()
            .success()
    );
    assert!(
        began.elapsed() < std::time::Duration::from_secs(90),
        "{:?}",
        began.elapsed()
    );
    for bound in [
        "timeout 60 ",
        "--connect-timeout 5 ",
        "--max-time 30 ",
        "--retry-max-time 60 ",
    ] {
        assert!(command.contains(bound), "{command}");
    }
}

#[test]
fn the_late_commands_go_by_no_proxy() {
    needs!(PYTHON, Need::Program("curl"));
    let site = r#"{"proxy": "http://127.0.0.1:9"}"#;
    let service = Start::fresh().stage("site.json", site).service();
    let user_data = get(&service, &format!("/cloud-init/{MAC}/user-data"));
    let autoinstall = valid_autoinstall(&user_data);
    let target = service.data.join("installed");
    // There is no curtin here: the commands say that what they installed is not enabled.
    std::fs::create_dir_all(target.join("etc")).unwrap();
    run(&autoinstall, "late-commands", &[("/target", &target)]);
    let onboarding = std::fs::read_to_string(target.join("usr/local/sbin/gb10-onboard")).unwrap();
    assert_eq!(onboarding, get(&service, "/onboard/gb10-onboard"));
    let conf = std::fs::read_to_string(target.join("etc/gb10-onboard.conf")).unwrap();
    assert_eq!(
        conf,
        format!("PROVISION_URL=http://{}\nMAC={MAC}\n", service.address)
    );
    let apt = autoinstall["apt"]["conf"].as_str().unwrap();
    assert_eq!(apt, "Acquire::http::Proxy::127.0.0.1 \"DIRECT\";\n");
}

/// What ends an installation for the install gate. The server is away at first; a box must not hang
/// for that, either.
#[test]
fn the_last_late_command_reports_the_end_once_the_server_is_back_and_waits_no_longer_than_that() {
    needs!(PYTHON, Need::Program("curl"));
    let service = Start::fresh().service();
    let user_data = get(&service, &format!("/cloud-init/{MAC}/user-data"));
    let autoinstall = valid_autoinstall(&user_data);
    let last = autoinstall["late-commands"].as_array().unwrap().last();
    let last = last.unwrap().as_str().unwrap().to_owned();
    let bounds = [
        "--retry-max-time 300 ",
        "--max-time 10 ",
        "--connect-timeout 5 ",
    ];
    assert!(bounds.iter().all(|bound| last.contains(bound)), "{last}");

    let address = service.address;
    assert_eq!(service.stop().code(), Some(0));
    // Something answers there that is no server.
    let listener = std::net::TcpListener::bind(address).unwrap();
    let mut shell = Command::new("sh");
    let mut shell = shell.args(["-c", &last]).spawn().unwrap();
    drop(listener.accept().unwrap());
    drop(listener);
    let service = Start::fresh().env("LISTEN", address.to_string()).service();
    assert!(shell.wait().unwrap().success());
    let record = service.get(&format!("/clients/{MAC}")).json();
    let event = &record["stages"][0];
    assert_eq!(
        (&event["stage"], &event["phase"]),
        (&"install".into(), &"done".into())
    );
}

/// YAML texts as PyYAML reads them.
fn loaded(texts: &[String]) -> Vec<Value> {
    let load =
        "import json, sys, yaml\njson.dump(list(yaml.safe_load_all(sys.stdin.buffer)), sys.stdout)";
    let mut python = Command::new("/usr/bin/python3");
    let output = feed(python.args(["-c", load]), &texts.join("\n---\n"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn names_that_yaml_reads_as_other_things_stay_names() {
    needs!(Need::Python(&["yaml"]));
    let names = [
        "007",
        "12",
        "no",
        "No",
        "off",
        "on",
        "y",
        "yes",
        "true",
        "null",
        "NULL",
        "1e5",
        "0x10",
        "0b1",
        "0o7",
        "2024-01-01",
        "1-2",
    ];
    // A MAC of digits is a number to base 60.
    let mac = |n: usize| format!("12:34:56:12:34:{n:02}");
    let devices: serde_json::Map<_, _> = names
        .iter()
        .enumerate()
        .map(|(n, name)| (mac(n), serde_json::json!({"hostname": name})))
        .collect();
    let service = Start::fresh()
        .stage("devices.json", &Value::Object(devices).to_string())
        .stage(
            "site.json",
            r#"{"username": "null", "locale": "no", "keyboard": "no"}"#,
        )
        .service();
    let each = |file: &str| -> Vec<_> {
        let texts =
            (0..names.len()).map(|n| get(&service, &format!("/cloud-init/{}/{file}", mac(n))));
        loaded(&texts.collect::<Vec<_>>())
    };
    for (meta_data, name) in each("meta-data").iter().zip(names) {
        let expected = serde_json::json!({"instance-id": name, "local-hostname": name});
        assert_eq!(meta_data, &expected);
    }
    for username in ["null", "gb10"] {
        for (n, user_data) in each("user-data").iter().enumerate() {
            let autoinstall = &user_data["autoinstall"];
            let identity = serde_json::json!({
                "hostname": names[n], "username": username, "password": DEFAULT_FALLBACK_PASSWORD_HASH,
            });
            assert_eq!(autoinstall["identity"], identity);
            let endpoint = format!("http://{}/report/{}", service.address, mac(n));
            let reporting = &autoinstall["reporting"]["gb10-provision-api"];
            assert_eq!(reporting["endpoint"], endpoint);
            assert_eq!(
                autoinstall["user-data"]["chpasswd"]["users"][0]["name"],
                username
            );
        }
        // From then on, the fallback.
        service.stage("cloud-init-templates/user-data.yaml.j2", "");
    }
}

/// What every autoinstall of ours has on a LAN without a way out.
fn assert_asks_nobody_outside(autoinstall: &Value) {
    assert_eq!(
        autoinstall["storage"]["layout"]["match"]["path"],
        "/dev/nvme*"
    );
    assert_eq!(autoinstall["apt"]["geoip"], false);
    assert_eq!(autoinstall["apt"]["fallback"], "offline-install");
    assert_eq!(autoinstall["source"]["search_drivers"], false);
    assert_eq!(autoinstall["oem"]["install"], false);
    let reporting = &autoinstall["reporting"]["gb10-provision-api"];
    assert_eq!(reporting["type"], "webhook");
    assert!(reporting["endpoint"].as_str().unwrap().contains("/report/"));
}

#[test]
fn what_a_site_sets_of_mirror_and_kernel_is_in_the_embedded_default_and_nothing_else() {
    needs!(PYTHON);
    let mirror = "http://10.88.0.1/ubuntu-ports";
    let autoinstall = |site: &str| {
        let service = Start::fresh().stage("site.json", site).service();
        valid_autoinstall(&get(&service, &format!("/cloud-init/{MAC}/user-data")))
    };
    let bare = autoinstall(r#"{"apt_mirror": "", "proxy": "", "kernel": {}}"#);
    for absent in ["kernel", "proxy"] {
        assert_eq!(bare.get(absent), None);
    }
    for absent in ["mirror-selection", "security", "conf"] {
        assert_eq!(bare["apt"].get(absent), None);
    }
    let full = autoinstall(&format!(
        r#"{{"apt_mirror": "{mirror}", "kernel": {{"flavor": "hwe"}}}}"#
    ));
    assert_eq!(full["kernel"], serde_json::json!({"flavor": "hwe"}));
    let security = serde_json::json!([{"arches": ["default"], "uri": mirror}]);
    assert_eq!(full["apt"]["security"], security);
    assert_eq!(full["apt"]["mirror-selection"]["primary"][0]["uri"], mirror);
    assert_eq!(full["apt"].get("conf"), None);
    for autoinstall in [bare, full] {
        assert_asks_nobody_outside(&autoinstall);
    }
}

#[test]
fn the_apt_of_a_box_goes_past_the_proxy_to_this_server_whatever_its_name() {
    needs!(PYTHON);
    let site = r#"{"proxy": "http://10.88.0.9:3128"}"#;
    let service = Start::fresh().stage("site.json", site).service();
    let target = format!("/cloud-init/{MAC}/user-data");
    for (host, direct) in [
        ("10.88.0.1:8088", Some("10.88.0.1")),
        ("provision.lan", Some("provision.lan")),
        // apt has no name for it.
        ("[fd88::1]:8088", None),
    ] {
        let headers = [("Host", host)];
        let answer = request(service.address, "GET", &target, &headers, b"").unwrap();
        let autoinstall = valid_autoinstall(answer.text());
        let conf = direct.map(|host| format!("Acquire::http::Proxy::{host} \"DIRECT\";\n"));
        assert_eq!(autoinstall["apt"]["conf"].as_str(), conf.as_deref());
    }
}

#[test]
fn what_a_site_sets_is_in_the_embedded_default() {
    needs!(PYTHON);
    let hash = "$6$site$hash";
    let sites = [
        // Keys alone: no password, and none asked for by sudo.
        (
            r#"{"username": "ops", "authorized_keys": ["ssh-ed25519 AAAA it's \"one\""]}"#,
            "*",
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
        assert_eq!(sudo_asks, password != "*", "{site}");
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
