//! Shows which faults of an autoinstall are found, that no sound one is blamed, and that the
//! installer's own schema refuses nothing that is not found.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::support::by_python;
use crate::support::needs::{Need, needs};
use gb10_provision_api::seed::autoinstall::findings;
use gb10_provision_api::seed::yaml;
use serde_json::{Value, json};

/// Reads a list of YAML texts, prints them as JSON.
const YAML: &str = "
import json, sys, yaml
json.dump([yaml.safe_load(text) for text in json.load(sys.stdin)], sys.stdout, default=str)
";

/// Reads a list of autoinstalls, prints which of them the schema allows.
const SCHEMA: &str = "
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
validator = jsonschema.validators.validator_for(schema)(schema)
json.dump([validator.is_valid(each) for each in json.load(sys.stdin)], sys.stdout)
";

fn python(program: &str, arguments: &[PathBuf], input: &Value) -> Vec<Value> {
    let mut command = vec![OsStr::new("-c"), OsStr::new(program)];
    command.extend(arguments.iter().map(|path| path.as_os_str()));
    by_python(&command, input)
}

fn it() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it")
}

/// An autoinstall with nothing wrong.
fn sound() -> Value {
    json!({
        "version": 1,
        "identity": {"hostname": "spark-07", "username": "ops", "password": "$6$salt$hash"},
    })
}

/// What is found in the sound autoinstall with these sections added.
fn found_with(sections: Value) -> Vec<String> {
    let mut autoinstall = sound();
    for (key, value) in sections.as_object().unwrap() {
        autoinstall[key] = value.clone();
    }
    found(json!({ "autoinstall": autoinstall }))
}

fn found(user_data: Value) -> Vec<String> {
    let findings = findings(&user_data).into_iter();
    findings
        .map(|finding| format!("{}: {}", finding.path, finding.reason))
        .collect()
}

#[test]
fn what_a_section_has_wrong_is_told_with_its_place_and_what_was_expected() {
    let cases = [
        (
            json!({"late-command": []}),
            "late-command: unknown key, which the installer ignores; did you mean `late-commands`?",
        ),
        (
            json!({"late_commands": []}),
            "late_commands: unknown key, which the installer ignores; did you mean `late-commands`?",
        ),
        (
            json!({"Storage": {}}),
            "Storage: unknown key, which the installer ignores; did you mean `storage`?",
        ),
        (
            json!({"users": []}),
            "users: unknown key, which the installer ignores",
        ),
        (json!({"version": "1"}), "version: a text, expected 1"),
        (
            json!({"version": 2}),
            "version: another integer, expected 1",
        ),
        (json!({"version": true}), "version: a boolean, expected 1"),
        (
            json!({"late-commands": "reboot"}),
            "late-commands: a text, expected a list",
        ),
        (
            json!({"early-commands": null}),
            "early-commands: nothing, expected a list",
        ),
        (
            json!({"late-commands": ["true", {"echo a": "b"}]}),
            "late-commands[1]: a mapping, expected a text or a list: a text with a colon in it needs quotes",
        ),
        (
            json!({"error-commands": [["sleep", 5]]}),
            "error-commands[0][1]: an integer, expected a text: put it in quotes",
        ),
        (
            json!({"interactive-sections": ["netwrok"]}),
            "interactive-sections[0]: another text, expected the name of a section; did you mean `network`?",
        ),
        (
            json!({"locale": false}),
            "locale: a boolean, expected a text: put it in quotes",
        ),
        (
            json!({"keyboard": {"variant": "nodeadkeys"}}),
            "keyboard.layout: missing, expected a text",
        ),
        (
            json!({"keyboard": {"layout": "us", "model": "pc105"}}),
            "keyboard.model: unknown key, which the installer refuses; expected `layout`, `variant` or `toggle`",
        ),
        (
            json!({"source": {"search-drivers": false}}),
            "source.search-drivers: unknown key, which the installer ignores; did you mean `search_drivers`?",
        ),
        (
            json!({"network": {"ethernets": {}}}),
            "network: `version` or `network` is missing",
        ),
        (
            json!({"network": {"version": 1, "config": []}}),
            "network.version: another integer, expected 2",
        ),
        (
            json!({"apt": {"mirror_selection": {}}}),
            "apt.mirror_selection: unknown key; did you mean `mirror-selection`?",
        ),
        (
            json!({"apt": {"primary": [], "mirror-selection": {}}}),
            "apt: `primary` and `mirror-selection` exclude each other",
        ),
        (
            json!({"apt": {"fallback": "offline"}}),
            "apt.fallback: another text, expected `abort`, `offline-install` or `continue-anyway`",
        ),
        (
            json!({"apt": {"mirror-selection": {"primary": ["http://m/ubuntu"]}}}),
            "apt.mirror-selection.primary[0]: another text, expected `country-mirror`",
        ),
        (
            json!({"apt": {"mirror-selection": {"primary": [{"url": "http://m/ubuntu"}]}}}),
            "apt.mirror-selection.primary[0].uri: missing, expected a text\napt.mirror-selection.primary[0].url: unknown key; did you mean `uri`?",
        ),
        (
            json!({"storage": {"layout": "direct"}}),
            "storage.layout: a text, expected a mapping",
        ),
        (
            json!({"storage": {"layout": {"name": "ext4"}}}),
            "storage.layout.name: another text, expected `lvm`, `direct`, `zfs`, `hybrid` or `dd`",
        ),
        (
            json!({"storage": {"layout": {"match": {}}}}),
            "storage.layout.name: missing, expected `lvm`, `direct`, `zfs`, `hybrid` or `dd`",
        ),
        (
            json!({"storage": {"layout": {"name": "lvm", "match": {"serial": 7}}}}),
            "storage.layout.match.serial: an integer, expected a text: put it in quotes",
        ),
        (
            json!({"storage": {"layout": {"name": "lvm", "match": [{"sise": "largest"}]}}}),
            "storage.layout.match[0].sise: unknown key, which the installer ignores; did you mean `size`?",
        ),
        (
            json!({"storage": {"layout": {"name": "lvm", "sizing_policy": "all"}}}),
            "storage.layout.sizing_policy: unknown key, which the installer ignores; did you mean `sizing-policy`?",
        ),
        (
            json!({"storage": {"layout": {"name": "lvm"}, "config": []}}),
            "storage: `layout` and `config` exclude each other",
        ),
        (
            json!({"storage": {"config": [{"id": "d"}]}}),
            "storage.config[0].type: missing, expected a text",
        ),
        (
            json!({"storage": {"swap": {"size": 0}}}),
            "storage: neither `layout` nor `config`: no disk would be used",
        ),
        (
            json!({"identity": {"username": "ops", "password": "x"}}),
            "identity.hostname: missing, expected a text",
        ),
        (
            json!({"identity": {"hostname": 7, "username": "ops", "password": "x"}}),
            "identity.hostname: an integer, expected a text: put it in quotes",
        ),
        (
            json!({"identity": {"hostname": "h", "username": "ops", "passwd": "x", "password": "x"}}),
            "identity.passwd: unknown key, which the installer refuses; did you mean `password`?",
        ),
        (
            json!({"ssh": {"install_server": true}}),
            "ssh.install_server: unknown key, which the installer ignores; did you mean `install-server`?",
        ),
        (
            json!({"ssh": {"allow-pw": "no"}}),
            "ssh.allow-pw: a text, expected true or false",
        ),
        (
            json!({"ssh": {"authorized-keys": "ssh-ed25519 A"}}),
            "ssh.authorized-keys: a text, expected a list",
        ),
        (
            json!({"oem": {"install": "yes"}}),
            "oem.install: another text, expected `auto`",
        ),
        (
            json!({"snaps": ["lxd"]}),
            "snaps[0]: a text, expected a mapping",
        ),
        (
            json!({"packages": ["htop", 7.5]}),
            "packages[1]: a number, expected a text: put it in quotes",
        ),
        (
            json!({"kernel": {}}),
            "kernel: `package` or `flavor` is missing",
        ),
        (
            json!({"kernel": {"flavour": "hwe"}}),
            "kernel: `package` or `flavor` is missing\nkernel.flavour: unknown key, which the installer ignores; did you mean `flavor`?",
        ),
        (
            json!({"updates": "none"}),
            "updates: another text, expected `security` or `all`",
        ),
        (
            json!({"shutdown": "halt"}),
            "shutdown: another text, expected `reboot` or `poweroff`",
        ),
        (
            json!({"reporting": {"hook": {"type": "webhook", "retries": 3}}}),
            "reporting.hook.retries: an integer, expected a list",
        ),
        (
            json!({"user-data": ["a"]}),
            "user-data: a list, expected a mapping",
        ),
        (
            json!({"ubuntu-pro": {"token": "C0"}}),
            "ubuntu-pro.token: another text, expected a token of Ubuntu Pro",
        ),
    ];
    for (sections, expected) in cases {
        let expected: Vec<String> = expected
            .lines()
            .map(|line| format!("autoinstall.{line}"))
            .collect();
        assert_eq!(found_with(sections.clone()), expected, "{sections}");
    }
}

#[test]
fn a_version_and_somebody_who_can_log_in_are_asked_for() {
    let nobody = "autoinstall: neither `identity` nor `user-data`: the installer refuses that";
    let no_version = "autoinstall.version: missing, expected 1";
    let cases: [(Value, &[&str]); 12] = [
        (json!({}), &[no_version, nobody]),
        (json!({"version": 1}), &[nobody]),
        (json!({"version": 1, "identity": null}), &[nobody]),
        (
            json!({"version": 1, "active-directory": {"admin-name": "a", "domain-name": "b"}}),
            &[nobody],
        ),
        (
            json!({"version": 1, "interactive-sections": ["network"]}),
            &[nobody],
        ),
        (
            json!({"version": 1, "source": {"id": "ubuntu-server-minimal"}}),
            &[nobody],
        ),
        // The installer takes each of these.
        (json!({"version": 1, "user-data": {}}), &[]),
        (json!({"version": 1, "user-data": null}), &[]),
        (
            json!({"version": 1, "interactive-sections": ["identity"]}),
            &[],
        ),
        (json!({"version": 1, "interactive-sections": ["*"]}), &[]),
        (
            json!({"version": 1, "source": {"id": "ubuntu-desktop"}}),
            &[],
        ),
        (
            json!({"version": 1, "storage": {"layout": {"name": "direct", "reset-partition": true, "reset-partition-only": true}}}),
            &[],
        ),
    ];
    for (autoinstall, expected) in cases {
        assert_eq!(
            found(json!({"autoinstall": autoinstall})),
            expected,
            "{autoinstall}"
        );
    }
}

#[test]
fn an_autoinstall_that_stands_in_the_wrong_place_is_found() {
    let misspelt = "unknown key, and there is no `autoinstall`: did you mean that?";
    for key in [
        "autoinstal",
        "auto-install",
        "auto_install",
        "Autoinstall",
        "autoinstalls",
        "autionstall",
    ] {
        assert_eq!(found(json!({key: sound()})), [format!("{key}: {misspelt}")]);
    }
    let cases: [(Value, &[&str]); 6] = [
        (
            json!({"autoinstall": sound(), "late-commands": []}),
            &["late-commands: a key of autoinstall's beside it: indent it below"],
        ),
        (
            json!({"autoinstall": null}),
            &["autoinstall: nothing, expected a mapping"],
        ),
        (
            json!({"autoinstall": [sound()]}),
            &["autoinstall: a list, expected a mapping"],
        ),
        (
            sound(),
            &["autoinstall: missing: `identity` and `version` belong below it"],
        ),
        // Another program's keys, and none of anybody's.
        (json!({"version": 1, "hostname": "h", "install": true}), &[]),
        (json!(null), &[]),
    ];
    for (user_data, expected) in cases {
        assert_eq!(found(user_data.clone()), expected, "{user_data}");
    }
}

#[test]
fn no_finding_tells_a_value_or_a_key_that_may_be_a_text() {
    let secret = "hunter2 s3cret";
    let findings = [
        found_with(
            json!({"late-commands": [{secret: secret}], secret: secret, "shutdown": secret}),
        ),
        found_with(json!({"identity": {"password": secret, secret: 1}, "ssh": secret})),
        found_with(json!({"reporting": {secret: {}}, "interactive-sections": [secret]})),
    ];
    for finding in findings.iter().flatten() {
        assert!(
            !finding.contains("hunter2") && !finding.contains("s3cret"),
            "{finding}"
        );
    }
    assert!(findings.iter().all(|findings| findings.len() >= 2));
}

/// The user-data in a golden folder.
fn golden_seeds() -> Vec<String> {
    let folders = std::fs::read_dir(it().join("seed/golden")).unwrap();
    let sessions =
        folders.map(|it| std::fs::read_to_string(it.unwrap().path().join("expected")).unwrap());
    let mut seeds = Vec::new();
    for session in sessions {
        for answer in session.split("\n> ").filter(|it| it.contains("user-data")) {
            if let Some(start) = answer.find("#cloud-config\n") {
                let seed = answer[start..].trim_end();
                let seed = seed
                    .strip_suffix("\\ no newline at the end")
                    .unwrap_or(seed);
                seeds.push(seed.to_owned());
            }
        }
    }
    seeds
}

#[test]
fn nothing_is_found_in_what_the_service_makes_itself_nor_in_other_sound_seeds() {
    needs!(Need::Python(&["yaml"]));
    let mut seeds = golden_seeds();
    assert!(seeds.len() > 5 && seeds.iter().any(|seed| seed.contains("# The fallback")));
    let own = std::fs::read_to_string(it().join("data/autoinstall-sound.yaml")).unwrap();
    seeds.extend(own.split("\n---\n").map(str::to_owned));
    for (seed, value) in seeds.iter().zip(python(YAML, &[], &json!(seeds))) {
        assert_eq!(findings(&value), [], "{seed}");
    }
}

/// A place in a value, by the keys that lead there.
type Place = Vec<String>;

fn places(value: &Value, at: &Place, places: &mut Vec<Place>) {
    let parts: Vec<(String, &Value)> = match value {
        Value::Object(mapping) => mapping
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(items) => (0..)
            .map(|index: usize| index.to_string())
            .zip(items)
            .collect(),
        _ => return,
    };
    for (key, part) in parts {
        let at = [at.as_slice(), &[key]].concat();
        places.push(at.clone());
        self::places(part, &at, places);
    }
}

/// Every autoinstall that differs from this one in one place.
fn mutations(autoinstall: &Value) -> Vec<(Place, Value)> {
    let mut all = Vec::new();
    places(autoinstall, &Vec::new(), &mut all);
    let others = [
        json!(null),
        json!(true),
        json!(3),
        json!(1.5),
        json!("other"),
        json!([]),
        json!({}),
        json!([{}]),
        json!([7]),
        json!({"other": 1}),
    ];
    let mut mutations = Vec::new();
    for place in all {
        let pointer = format!("/{}", place.join("/"));
        for other in &others {
            let mut mutated = autoinstall.clone();
            *mutated.pointer_mut(&pointer).unwrap() = other.clone();
            mutations.push((place.clone(), mutated));
        }
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let mut mutated = autoinstall.clone();
        if let Value::Object(mapping) = mutated.pointer_mut(parent).unwrap() {
            mapping.remove(key);
            mapping.insert("no-such-key".to_owned(), json!(1));
            mutations.push((place.clone(), mutated));
        }
    }
    mutations
}

/// What of an autoinstall the installer holds against its schema: no section that is null, but for
/// those that it looks at before it knows the sections.
fn held(autoinstall: &Value) -> Value {
    let sections = autoinstall.as_object().unwrap().iter();
    let is_base = |key: &String| key == "version" || key == "interactive-sections";
    let held = sections.filter(|(key, value)| is_base(key) || !value.is_null());
    held.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[test]
fn what_the_installers_schema_refuses_is_found() {
    needs!(Need::Python(&["yaml", "jsonschema"]));
    let own = std::fs::read_to_string(it().join("data/autoinstall-sound.yaml")).unwrap();
    let seeds: Vec<&str> = own.split("\n---\n").collect();
    let seeds = python(YAML, &[], &json!(seeds));
    let mutations: Vec<(Place, Value)> = seeds
        .iter()
        .filter_map(|seed| seed.get("autoinstall"))
        .flat_map(mutations)
        .collect();
    assert!(mutations.len() > 1000, "{}", mutations.len());
    let held: Vec<Value> = mutations.iter().map(|(_, it)| held(it)).collect();
    let schema = it().join("data/autoinstall-schema.json");
    let allowed = python(SCHEMA, &[schema], &json!(held));
    let mut refused = 0;
    for ((place, mutated), is_allowed) in mutations.iter().zip(allowed) {
        if is_allowed == false {
            refused += 1;
            let user_data = json!({"autoinstall": mutated});
            assert_ne!(findings(&user_data), [], "{place:?}: {mutated}");
        }
    }
    assert!(refused > 500, "{refused}");
}

/// Texts whose values JSON has, too.
const TEXTS: [&str; 14] = [
    "a: 1",
    "{a: yes, b: No, c: ~, d: '', e: \"\\u00e9\", f: 'it''s', g: on}",
    "a: -7\nb: +3\nc: 1.5\nd: 1e5\ne: '1'",
    "- a\n- [b, {c: d}]\n- - e",
    "a: &x {b: 1}\nc: *x\nd: [*x, *x]",
    "a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3",
    "a: &x {b: 1}\ne: &y {b: 2, f: 3}\nd:\n  <<: [*x, *y]\n  g: 4",
    "a: |\n  one\n  two\nb: >-\n  three\n  four\n",
    "&k key: &v value\nother: *v\n*k : again",
    "a: !!str 1\nb: !!int '2'\nc: !!null ''",
    "a:\nb:\n- \n- c:\n",
    "- &l [1, 2]\n- *l\n- {m: *l}",
    "a: 2026-02-30x\nb: 0o7\nc: 08",
    "text",
];

#[test]
fn the_value_of_a_text_is_what_pyyaml_makes_of_it() {
    needs!(Need::Python(&["yaml"]));
    let values = python(YAML, &[], &json!(TEXTS));
    for (text, theirs) in TEXTS.iter().zip(values) {
        assert_eq!(yaml::value(text), Some(theirs), "{text}");
    }
    // Nine levels of ten aliases each.
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb += &format!("a{level}: &a{level} [{aliases}]\n");
    }
    assert_eq!(yaml::check_mapping(&bomb), Ok(()));
    assert_eq!(yaml::value(&bomb), None);
    assert_eq!(yaml::value("a: ["), None);
    assert_eq!(yaml::value("# nothing"), None);
}
