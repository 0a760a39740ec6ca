//! Shows that an edited template is what the next request gets, that a fault in one never costs a
//! device its install, and that faults can be found before.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::needs::{Need, needs};
use crate::support::system::Mount;
use crate::support::*;
use gb10_provision_api::seed::yaml::check_mapping;

const USER_DATA: &str = "cloud-init-templates/user-data.yaml.j2";
const MAC: &str = "02:00:00:00:00:01";

/// A crypt hash that is nowhere else, to be found or missed.
const HASH: &str = "$6$saltofthistest$Hash.of/this/test.that/is/found/nowhere.else";

fn user_data(service: &Service) -> String {
    let answer = service.get(&format!("/cloud-init/{MAC}/user-data"));
    assert_eq!(answer.status, 200);
    answer.text().to_owned()
}

/// A user-data of always the same size.
fn version(n: u64) -> String {
    format!("#cloud-config\nversion: v{n:06}\n")
}

fn version_in(text: &str) -> u64 {
    let (_, version) = text
        .split_once("version: v")
        .unwrap_or_else(|| panic!("{text}"));
    version.trim_end().parse().unwrap()
}

/// Longer than a change may stay unseen in a file's stamp: only after it is a stamp trusted.
fn let_stamps_settle() {
    std::thread::sleep(Duration::from_millis(80));
}

// ---- Edits ---------------------------------------------------------------------------------

#[test]
fn an_edited_template_is_what_the_next_request_gets() {
    edit_and_request(&Start::fresh().stage(USER_DATA, &version(0)).service());
}

/// On ramfs: newer kernels stamp files of other file systems more finely, older ones do not.
#[test]
fn an_edited_template_is_what_the_next_request_gets_where_stamps_are_coarse() {
    needs!(Need::Mounts);
    let folder = tempfile::tempdir().unwrap();
    let mount = Mount::new(&["-t", "ramfs", "none"], &folder.path().join("data"));
    edit_and_request(&Start::on(&mount.at).stage(USER_DATA, &version(0)).service());
}

/// Edits in place, to the same size, at once after a request: many of these fall in one tick of
/// the clock that files are stamped with.
fn edit_and_request(service: &Service) {
    assert_eq!(version_in(&user_data(service)), 0);
    for n in 1..=300 {
        service.stage(USER_DATA, &version(n));
        assert_eq!(version_in(&user_data(service)), n);
        if n % 100 == 0 {
            let_stamps_settle();
            assert_eq!(version_in(&user_data(service)), n);
        }
    }
}

#[test]
fn an_edit_is_seen_whatever_the_file_says_of_its_age() {
    let service = Start::fresh().stage(USER_DATA, &version(0)).service();
    let path = service.data.join(USER_DATA);
    for n in 1..=3 {
        let_stamps_settle();
        user_data(&service);
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let mut file = File::options().write(true).open(&path).unwrap();
        file.write_all(version(n).as_bytes()).unwrap();
        file.set_modified(modified).unwrap();
        assert_eq!(version_in(&user_data(&service)), n);
    }
}

#[test]
fn a_template_that_is_replaced_by_rename_is_what_the_next_request_gets() {
    let service = Start::fresh().stage(USER_DATA, &version(0)).service();
    let path = service.data.join(USER_DATA);
    for n in 1..=100 {
        let beside = path.with_extension("new");
        fs::write(&beside, version(n)).unwrap();
        fs::rename(&beside, &path).unwrap();
        assert_eq!(version_in(&user_data(&service)), n);
    }
}

#[test]
fn under_load_no_request_gets_a_version_from_before_it_began() {
    let service = Start::fresh().stage(USER_DATA, &version(0)).service();
    let path = service.data.join(USER_DATA);
    let (written, over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let at_least = written.load(Ordering::SeqCst);
                    let got = version_in(&user_data(&service));
                    assert!(
                        got >= at_least,
                        "version {got} after {at_least} was written"
                    );
                }
            });
        }
        for n in 1..=200 {
            let beside = path.with_extension("new");
            fs::write(&beside, version(n)).unwrap();
            fs::rename(&beside, &path).unwrap();
            written.store(n, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(n % 7));
        }
        over.store(true, Ordering::SeqCst);
    });
    assert!(!service.log().contains("WARN"), "{}", service.log());
}

#[test]
fn an_edited_include_is_what_the_next_request_gets() {
    let service = Start::fresh()
        .stage("cloud-init-templates/parts/version.j2", "v000000")
        .stage(
            USER_DATA,
            "#cloud-config\nversion: {% include 'parts/version.j2' %}\n",
        )
        .service();
    assert_eq!(version_in(&user_data(&service)), 0);
    for n in 1..=100 {
        service.stage("cloud-init-templates/parts/version.j2", &format!("v{n:06}"));
        assert_eq!(version_in(&user_data(&service)), n);
        if n == 50 {
            let_stamps_settle();
            user_data(&service);
        }
    }
}

#[test]
fn an_include_that_appears_is_in_the_next_answer_and_gone_with_it() {
    let service = Start::fresh()
        .stage(
            USER_DATA,
            "#cloud-config\na: b\n{% include 'site/extra.j2' ignore missing %}\n",
        )
        .service();
    for _ in 0..2 {
        assert_eq!(user_data(&service), "#cloud-config\na: b\n");
        let_stamps_settle();
        assert_eq!(user_data(&service), "#cloud-config\na: b\n");
        service.stage("cloud-init-templates/site/extra.j2", "c: d");
        assert_eq!(user_data(&service), "#cloud-config\na: b\nc: d");
        fs::remove_dir_all(service.data.join("cloud-init-templates/site")).unwrap();
        eventually("the include to count as gone", || {
            (user_data(&service) == "#cloud-config\na: b\n").then_some(())
        });
    }

    // Where it is required, its lack is a fault, and that too is over at once.
    service.stage(USER_DATA, "#cloud-config\n{% include 'site/extra.j2' %}\n");
    assert!(user_data(&service).contains("install-server: true"));
    service.stage("cloud-init-templates/site/extra.j2", "c: d");
    assert_eq!(user_data(&service), "#cloud-config\nc: d");
}

#[test]
fn an_include_that_only_some_devices_need_is_fresh_too() {
    let service = Start::fresh()
        .stage("cloud-init-templates/one.j2", "v000001")
        .stage("cloud-init-templates/other.j2", "v000002")
        .stage(
            USER_DATA,
            "#cloud-config\nversion: {% include 'one.j2' if mac.endswith('01') else 'other.j2' %}",
        )
        .service();
    let other = || {
        service
            .get("/cloud-init/02:00:00:00:00:02/user-data")
            .text()
            .to_owned()
    };
    assert_eq!(
        (version_in(&user_data(&service)), version_in(&other())),
        (1, 2)
    );
    let_stamps_settle();
    assert_eq!(
        (version_in(&user_data(&service)), version_in(&other())),
        (1, 2)
    );
    service.stage("cloud-init-templates/other.j2", "v000003");
    assert_eq!(
        (version_in(&user_data(&service)), version_in(&other())),
        (1, 3)
    );
}

#[test]
fn the_folder_of_templates_may_appear_disappear_and_be_exchanged() {
    let service = Start::fresh().service();
    let folder = service.data.join("cloud-init-templates");
    let embedded = user_data(&service);
    assert!(embedded.starts_with("#cloud-config\n# Ubuntu autoinstall for an NVIDIA GB10"));
    for n in 0..5 {
        service.stage(USER_DATA, &version(n));
        assert_eq!(version_in(&user_data(&service)), n);
        fs::rename(&folder, service.data.join(format!("old-{n}"))).unwrap();
    }
    let gone = || (user_data(&service) == embedded).then_some(());
    eventually("the folder to count as gone", gone);
    // A release per folder, and a link to the one that counts.
    for n in [3, 1, 4] {
        let link = service.data.join("link");
        symlink(format!("old-{n}"), &link).unwrap();
        fs::rename(&link, &folder).unwrap();
        assert_eq!(version_in(&user_data(&service)), n);
        let_stamps_settle();
        assert_eq!(version_in(&user_data(&service)), n);
    }
    fs::remove_file(&folder).unwrap();
    eventually("the link to count as gone", gone);
}

// ---- Faults --------------------------------------------------------------------------------

fn assert_fallback(text: &str, mac: &str) {
    let slug = mac.replace(':', "-");
    assert!(text.starts_with("#cloud-config\n# The fallback"), "{text}");
    for line in [
        &*format!("    hostname: \"gb10-pxe-{slug}\""),
        "    username: gb10",
        &*format!("    password: \"{HASH}\""),
        "    install-server: true",
        "    allow-pw: true",
        "      expire: true",
        &*format!("          password: \"{HASH}\""),
    ] {
        assert!(
            text.lines().any(|have| have == line),
            "no {line:?} in\n{text}"
        );
    }
}

#[test]
fn a_fault_gives_the_fallback_autoinstall_and_a_warning_with_file_line_and_reason() {
    let include = "{% include 'part.j2' %}";
    let cases: &[(&str, &str, &str, &[&str])] = &[
        // The template and what it includes; file, and line with reason in the log.
        (
            "#cloud-config\na: b\nc: {{ nosuch }}\n",
            "",
            USER_DATA,
            &["line=3", "`nosuch` is undefined"],
        ),
        (
            "#cloud-config\na: {{ mac.nosuch.x }}\n",
            "",
            USER_DATA,
            &["line=2", "is undefined"],
        ),
        (
            "#cloud-config\n\n\n{% if %}\n",
            "",
            USER_DATA,
            &["line=4", "syntax error"],
        ),
        (
            "#cloud-config\na: {{ mac\n",
            "",
            USER_DATA,
            &["syntax error"],
        ),
        (
            "#cloud-config\na: {{ mac|nosuch }}\n",
            "",
            USER_DATA,
            &["line=2", "unknown filter", "nosuch"],
        ),
        (
            "#cloud-config\na: {{ mac + 1 }}\n",
            "",
            USER_DATA,
            &["line=2", "unsupported types"],
        ),
        (
            "#cloud-config\na: {{ 1 // 0 }}\n",
            "",
            USER_DATA,
            &["line=2", "reason="],
        ),
        (
            "#cloud-config\n{% include 'no.j2' %}\n",
            "",
            USER_DATA,
            &["line=2", "non-existing template 'no.j2'"],
        ),
        (
            "#cloud-config\n{% include '../state/clients.json' %}\n",
            "",
            USER_DATA,
            &["line=2", "template not found"],
        ),
        (
            include,
            "\n\n{{ nosuch }}",
            "part.j2",
            &["line=3", "`nosuch` is undefined"],
        ),
        (
            include,
            "#cloud-config\n{% for %}",
            "part.j2",
            &["line=2", "syntax error"],
        ),
        ("a: b\n", "", USER_DATA, &["does not begin with"]),
        ("", "", USER_DATA, &["does not begin with"]),
        (
            "\u{feff}#cloud-config\na: b\n",
            "",
            USER_DATA,
            &["begins with a byte order mark"],
        ),
        (
            "#cloud-config\n",
            "",
            USER_DATA,
            &["empty: expected a YAML mapping"],
        ),
        (
            "#cloud-config\n- a\n- b\n",
            "",
            USER_DATA,
            &["not a YAML mapping"],
        ),
        (
            "#cloud-config\njust words\n",
            "",
            USER_DATA,
            &["not a YAML mapping"],
        ),
        (
            "#cloud-config\na: b\n---\nc: d\n",
            "",
            USER_DATA,
            &["a second YAML document"],
        ),
        (
            "#cloud-config\na: b\n c: d\n",
            "",
            USER_DATA,
            &["line 3 of the rendered text"],
        ),
        (
            "#cloud-config\na: 'b\nc: d\n",
            "",
            USER_DATA,
            &["line 2 of the rendered text"],
        ),
        // What stands for the variables never gets into the log, not even so.
        (
            "#cloud-config\n{% include fallback_password_hash %}\n",
            "",
            USER_DATA,
            &["line=2", "template not found"],
        ),
        (
            "#cloud-config\n{% extends fallback_password_hash %}\n",
            "",
            USER_DATA,
            &["line=2", "template not found"],
        ),
        (
            "#cloud-config\n{% set p = fallback_password_hash %}{{ p.x }}\n",
            "",
            USER_DATA,
            &["line=2", "is undefined"],
        ),
        (
            "#cloud-config\na: {{ fallback_password_hash }}: b\n",
            "",
            USER_DATA,
            &["line 2 of the rendered text"],
        ),
        (
            "{{ fallback_password_hash }}\n",
            "",
            USER_DATA,
            &["does not begin with"],
        ),
    ];
    let service = Start::fresh().env("FALLBACK_PASSWORD_HASH", HASH).service();
    for (n, (template, part, file, reasons)) in cases.iter().enumerate() {
        service.stage("cloud-init-templates/part.j2", part);
        service.stage(USER_DATA, template);
        let mac = format!("02:00:00:00:01:{n:02x}");
        let answer = service.get(&format!("/cloud-init/{mac}/user-data"));
        assert_eq!(answer.status, 200, "{template}");
        assert_fallback(answer.text(), &mac);
        let (mac, file) = (
            format!("gb10.mac=\"{mac}\""),
            file.rsplit('/').next().unwrap(),
        );
        let file = format!("gb10.template=\"{file}\"");
        let place = ["WARN", "a staged template failed", "fallback", &mac, &file];
        service.wait_for_log(&[&place[..], reasons].concat());
        service.wait_for_log(&["seed served", &mac, "gb10.template=\"fallback\""]);
    }
    assert!(!service.log().contains(HASH), "{}", service.log());
    assert!(
        !service.log().contains("Hash.of/this/test"),
        "{}",
        service.log()
    );
}

#[test]
fn a_template_that_is_no_readable_file_gives_the_fallback() {
    let service = Start::fresh().env("FALLBACK_PASSWORD_HASH", HASH).service();
    let folder = service.data.join("cloud-init-templates");
    let template = service.data.join(USER_DATA);
    fs::create_dir(&folder).unwrap();
    assert_fallback(&user_data(&service), MAC);
    service.wait_for_log(&[
        "a staged template failed",
        "user-data.yaml.j2",
        "missing from the folder",
    ]);
    fs::create_dir(&template).unwrap();
    assert_fallback(&user_data(&service), MAC);
    service.wait_for_log(&["a staged template failed", "cannot be read"]);
    fs::remove_dir(&template).unwrap();
    fs::write(&template, b"#cloud-config\na: \xff\xfe\n").unwrap();
    assert_fallback(&user_data(&service), MAC);
    service.wait_for_log(&["a staged template failed", "UTF-8"]);
    fs::remove_file(&template).unwrap();
    symlink("user-data.yaml.j2", &template).unwrap();
    assert_fallback(&user_data(&service), MAC);
    fs::remove_file(&template).unwrap();
    service.stage(
        USER_DATA,
        "#cloud-config\n{% include 'user-data.yaml.j2' %}\n",
    );
    assert_fallback(&user_data(&service), MAC);
    service.stage(USER_DATA, &version(1));
    assert_eq!(version_in(&user_data(&service)), 1);
}

#[test]
fn a_template_that_fails_for_one_device_gives_the_fallback_to_that_one_only() {
    let service = Start::fresh()
        .env("FALLBACK_PASSWORD_HASH", HASH)
        .stage(
            USER_DATA,
            "#cloud-config\nmac: '{{ mac }}'\n\
             {% if mac == '02:00:00:00:00:66' %}{{ nosuch }}{% endif %}\n\
             {% if mac == 'unknown' %}{{ nobody }}{% endif %}\n",
        )
        .service();
    for _ in 0..2 {
        for mac in [MAC, "02:00:00:00:00:67"] {
            let answer = service.get(&format!("/cloud-init/{mac}/user-data"));
            assert_eq!(
                answer.text().lines().nth(1),
                Some(&*format!("mac: '{mac}'"))
            );
        }
        let answer = service.get("/cloud-init/02:00:00:00:00:66/user-data");
        assert_fallback(answer.text(), "02:00:00:00:00:66");
        assert_fallback(service.get("/cloud-init/user-data").text(), "unknown");
    }
    let failed = ["WARN", "a staged template failed"];
    service.wait_for_log(&[&failed[..], &["02:00:00:00:00:66", "line=3", "`nosuch`"]].concat());
    service.wait_for_log(&[&failed[..], &["\"unknown\"", "line=4", "`nobody`"]].concat());
    assert!(!service.log().contains(&format!(
        "failed: fallback is served instead gb10.mac=\"{MAC}\""
    )));
}

#[test]
fn a_failing_meta_data_gives_the_embedded_one() {
    let service = Start::fresh()
        .stage(USER_DATA, &version(1))
        .stage(
            "cloud-init-templates/meta-data.yaml.j2",
            "instance-id: {{ nosuch }}\n",
        )
        .service();
    let meta_data = format!("/cloud-init/{MAC}/meta-data");
    let embedded = "instance-id: \"gb10-pxe-02-00-00-00-00-01\"\n\
                    local-hostname: \"gb10-pxe-02-00-00-00-00-01\"";
    for faulty in [
        "instance-id: {{ nosuch }}\n",
        "{% if %}",
        "- a list\n",
        "a: 'b\n",
        "",
    ] {
        service.stage("cloud-init-templates/meta-data.yaml.j2", faulty);
        let answer = service.get(&meta_data);
        assert_eq!((answer.status, answer.text()), (200, embedded), "{faulty}");
    }
    service.wait_for_log(&[
        "WARN",
        "failed, embedded is served",
        "meta-data.yaml.j2",
        "line=1",
        "`nosuch`",
    ]);
    // The other files are none the worse for it.
    assert_eq!(version_in(&user_data(&service)), 1);
    service.stage(
        "cloud-init-templates/meta-data.yaml.j2",
        "instance-id: i-{{ mac_slug }}\n",
    );
    assert_eq!(
        service.get(&meta_data).text(),
        "instance-id: i-02-00-00-00-00-01"
    );
}

#[test]
fn a_failing_vendor_data_or_network_config_is_200_and_empty() {
    let service = Start::fresh()
        .stage(USER_DATA, &version(1))
        .stage(
            "cloud-init-templates/vendor-data.yaml.j2",
            "#cloud-config\na: {{ nosuch }}\n",
        )
        .stage(
            "cloud-init-templates/network-config.yaml.j2",
            "\n{% endfor %}\n",
        )
        .service();
    for (file, line) in [("vendor-data", "line=2"), ("network-config", "line=2")] {
        let answer = service.get(&format!("/cloud-init/{MAC}/{file}"));
        assert_eq!((answer.status, answer.text()), (200, ""), "{file}");
        let template = format!("{file}.yaml.j2");
        service.wait_for_log(&["WARN", "a staged template failed", &template, line]);
    }
    assert_eq!(version_in(&user_data(&service)), 1);
}

#[test]
fn a_network_config_or_vendor_data_that_cloud_init_cannot_use_is_200_and_empty() {
    let service = Start::fresh().stage(USER_DATA, &version(1)).service();
    let faulty = [
        ("network-config", "version: ["),
        ("network-config", "- a list\n"),
        (
            "network-config",
            "version: 2\nethernets: {a: {dhcp4: !x y}}\n",
        ),
        ("vendor-data", "#cloud-config\na: b: c\n"),
        ("vendor-data", "\n#Cloud-Config\n- a list\n"),
    ];
    for (file, text) in faulty {
        let template = format!("{file}.yaml.j2");
        service.stage(&format!("cloud-init-templates/{template}"), text);
        let answer = service.get(&format!("/cloud-init/{MAC}/{file}"));
        assert_eq!((answer.status, answer.text()), (200, ""), "{text}");
        service.wait_for_log(&["WARN", "a staged template", &template, "rendered text"]);
        std::fs::remove_file(service.data.join("cloud-init-templates").join(&template)).unwrap();
    }
    // What holds nothing, and formats that are no cloud-config, are as the template has them.
    for (file, text) in [
        ("network-config", "# nothing here\n"),
        ("network-config", "\n"),
        ("vendor-data", "#!/bin/sh\necho: [\n"),
        ("vendor-data", "#cloud-config-archive\n- [\n"),
        ("vendor-data", "#cloud-config\n"),
    ] {
        service.stage(&format!("cloud-init-templates/{file}.yaml.j2"), text);
        let answer = service.get(&format!("/cloud-init/{MAC}/{file}"));
        assert_eq!((answer.status, answer.text()), (200, text.trim_end()));
    }
}

#[test]
fn an_emoji_in_the_comment_of_a_key_is_served() {
    let template = "#cloud-config\nssh_authorized_keys: {{ site[\"keys\"] | tojson }}\n";
    let service = Start::fresh()
        .stage(USER_DATA, template)
        .stage(
            "site.json",
            r#"{"keys": ["ssh-ed25519 AAAA u@h \ud83d\ude80"]}"#,
        )
        .service();
    let expected = r#"["ssh-ed25519 AAAA u@h \ud83d\ude80"]"#;
    let text = user_data(&service);
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn a_template_that_only_one_device_breaks_gives_only_that_device_the_fallback() {
    let template = "#cloud-config\nautoinstall:\n  version: 1\n  name: {{ device.role or 'x' }}\n";
    let service = Start::fresh()
        .stage(USER_DATA, template)
        .stage(
            "devices.json",
            &format!("{{\"{MAC}\": {{\"role\": \"a: b\"}}}}"),
        )
        .service();
    let other = service.get("/cloud-init/02:00:00:00:00:99/user-data");
    assert!(other.text().contains("name: x"), "{}", other.text());
    for _ in 0..2 {
        let text = user_data(&service);
        assert!(!text.contains("a: b"), "{text}");
        assert!(text.contains("gb10"), "{text}");
    }
}

// ---- YAML as PyYAML has it -----------------------------------------------------------------

/// Cloud-configs, and whether PyYAML reads each as one mapping. They are what operators write, and
/// what differs between YAML 1.2 and PyYAML, with which cloud-init reads.
fn cloud_configs() -> Vec<(&'static str, bool)> {
    vec![
        (
            "autoinstall:\n  version: 1\n  identity: {hostname: h, username: u, password: \"$6$a$b\"}\n  \
             late-commands:\n    - |\n      fetch() { curl --fail \"$1\"; }\n      if fetch a: b; then\n      \
             \ttabbed: line\n      fi\n    - curtin in-target --target=/target -- sh -c 'echo a: b'\n",
            true,
        ),
        // Block scalars of every kind.
        (
            "a: |\n  # no comment: %s @host `x` {y} [z]\n\n  spaces   \n    deeper\nb: >-\n  one\n  two\n\n    kept\n",
            true,
        ),
        (
            "a: |+\n  keep\n\n\nb: |2\n    leading\n   lead\nc: | # comment\n  x\nd: |\ne: >\nf:\n- |\n  x\n- >\n  y\n",
            true,
        ),
        ("a: |\n  ---\n  b: c\n  ...\n  %d\nb: c\n", true),
        // Tabs: within text, and where only spaces may be.
        (
            "write_files:\n- content: |\n    all:\n    \techo a\n    \t\techo b\n    \t\n  path: /Makefile\n",
            true,
        ),
        (
            "write_files:\n- content: |\n    \tfirst line\n    second\n",
            true,
        ),
        (
            "a: 'x\ty'\nb: \"x\ty\"\n# a\tcomment\nc: d #\tcomment\n",
            true,
        ),
        ("a:\n\tb: c\n", false),
        ("a: b\n\t\nc: d\n", false),
        ("a: b\n\t# comment\nc: d\n", false),
        ("a:\tb\n", false),
        ("a: b\t\nc: d\n", false),
        // Anchors, aliases, merges, keys that stand twice.
        (
            "x: &common\n  retries: 3\nusers:\n  - &u\n    name: u\n    <<: *common\n  - <<: [*common, *u]\n    name: b\n",
            true,
        ),
        ("a: &x |\n  y\nb: *x\n", true),
        ("a: 1\na: 2\nb: {c: 1, c: 2}\n", true),
        ("a: *nobody\n", false),
        // Flow, in lines or not.
        (
            "packages: [curl, jq , \"a, b\", 'it''s', {name: x, version: \"1:2.0\"}]\nm: {a: 1, b: [x, {y: z}], \"c\": null, d}\n",
            true,
        ),
        (
            "a: [\n  sh,\n  -c,   # with a comment\n  \"echo; true\",\n]\nb: {\n  c: d,\n}\n",
            true,
        ),
        ("a: [\nb,\nc\n]\nd:\n  e: {\nf: g\n}\n", true),
        (
            "a: {\"b\":1, \"c\":[2]}\nb: [http://10.88.0.1:8088/x, h:i]\n",
            true,
        ),
        ("a: [b\n", false),
        ("a: [b\nc: d\n", false),
        ("a: {b: c\n", false),
        // Texts of several lines.
        (
            "a: \"first\n  second \\\n  third\\n\\u00e9\"\nb: 'one\n\n  two'\nc: plain\n  goes on\n  and on\n",
            true,
        ),
        (
            "a: \"first\nsecond\"\nb:\n  - 'one\ntwo: three\n\n  four'\n  - \"x \\\" y\nz\"\nc: 'it''s\nfine'\n",
            true,
        ),
        ("a: \"never closed\nb: c\n", false),
        ("a: 'never closed\nb: c\n", false),
        ("a: \"closed\" too early\"\n", false),
        // Characters that mean something elsewhere.
        (
            "a: 100%\nb: user@host\nc: 50% of %d\nd: \"%x\"\ne: '@x'\nf:\n  - x%\n  - a%b@c\ng: h\n  %i\n",
            true,
        ),
        (
            "runcmd:\n  - echo http://10.88.0.1:8088/x?y=z&a=b\n  - curl -H 'X: y' http://a:80/\n  - date +%H:%M:%S\n  - echo a::b && echo c | tee /x > /y\n  - [ls, -l, http://a:80/b]\n",
            true,
        ),
        (
            "a: ${x} {y}\nb: a[0] x{a,b}\nc: rm *\nd: b `c` !d\ne: ?x\nf: -y\ng: :z\nh: =i\nj: a#b\n",
            true,
        ),
        (
            "users:\n  - name: x\n    sudo: ALL=(ALL) NOPASSWD:ALL\nssh_authorized_keys:\n  - ssh-ed25519 AAAAC3+/= user@host\n",
            true,
        ),
        ("a: @x\n", false),
        ("a: `x`\n", false),
        ("a: %x\n", false),
        ("runcmd:\n  - echo a: b\n", true),
        ("a: echo b: c\n", false),
        ("a: *\n", false),
        // Sequences and comments.
        ("a:\n- b\n- c: d\n  e: f\n- - g\n  - h\n-\n  i: j\n", true),
        ("# c\na: # c\n  # c\n  b: c # c\n# c\n  # odd\nd: e\n", true),
        (
            "a:\nb:\n  c:\n  d: ''\n'e f': g\n1: h\n~: i\n\"x:y\": z\na:b: c\n",
            true,
        ),
        ("a:\n  b: c\n d: e\n", false),
        ("a: b\nc\n", false),
        ("a: b\n- c\n", false),
        // Ends of lines and of documents.
        ("a: b\r\nc: |\r\n  x\r\n  y\r\nd:\r\n  - e\r\n", true),
        ("a: b", true),
        ("---\na: b\n...\n", true),
        ("--- # x\na: b\n", true),
        ("a: b\n---\nc: d\n", false),
        ("a: b\n---\n", false),
        ("a: héllo ☃ 日本\nb: \"\\u2603\"\n", true),
        ("{\"a\": 1, \"b\": [true, null, {\"c\": \"d\\/e\"}]}", true),
        ("- a\n- b\n", false),
        ("words\n", false),
        ("", false),
    ]
}

/// All of them, bare and as a cloud-config.
fn bare_and_headed() -> Vec<(String, bool)> {
    cloud_configs()
        .into_iter()
        .flat_map(|(text, ok)| {
            [
                (text.to_owned(), ok),
                (format!("#cloud-config\n{text}"), ok),
            ]
        })
        .collect()
}

#[test]
fn yaml_is_a_mapping_or_not_as_listed() {
    for (text, is_mapping) in bare_and_headed() {
        let checked = check_mapping(&text);
        assert_eq!(checked.is_ok(), is_mapping, "{text:?}: {checked:?}");
    }
}

#[test]
fn yaml_is_what_pyyaml_takes_for_it() {
    needs!(Need::Python(&["yaml"]));
    let configs = bare_and_headed();
    let script = "import json, sys, yaml\n\
        def is_mapping(text):\n    \
            try: return isinstance(yaml.safe_load(text), dict)\n    \
            except yaml.YAMLError: return False\n\
        json.dump([is_mapping(text) for text in json.load(sys.stdin)], sys.stdout)";
    let texts: Vec<&str> = configs.iter().map(|(text, _)| text.as_str()).collect();
    let by_pyyaml: Vec<bool> = by_python(&["-c".as_ref(), script.as_ref()], &texts);
    for ((text, is_mapping), by_pyyaml) in configs.iter().zip(by_pyyaml) {
        assert_eq!(*is_mapping, by_pyyaml, "{text:?}");
    }
}

#[test]
fn a_fault_in_yaml_is_named_with_its_line() {
    let line = |text: &str| check_mapping(text).unwrap_err().line;
    assert_eq!(line("a: b\nc: d: e\n"), Some(2));
    assert_eq!(line("a: b\n\t\nc: d\n"), Some(2));
    assert_eq!(line("a: b\nc: \"never closed\nd: e\n"), Some(2));
    assert_eq!(line("a: \"x\ny\"\nb:\n  - [\nc\n]\nd: e: f\n"), Some(7));
    assert_eq!(line("- a\n"), None);
}

#[test]
fn yaml_of_any_size_and_depth_is_checked_in_bounded_time() {
    let long_quote = format!("a: \"{}\"\n", "line\n".repeat(20_000));
    let unclosed = format!("a: \"{}", "line\n".repeat(20_000));
    let brackets = format!("a: [\n{}]\n", "b,\n".repeat(2_000));
    let deep = format!("a: {}{}\n", "[".repeat(10_000), "]".repeat(10_000));
    let started = std::time::Instant::now();
    assert_eq!(check_mapping(&long_quote), Ok(()));
    assert!(check_mapping(&unclosed).is_err());
    assert_eq!(check_mapping(&brackets), Ok(()));
    let _ = check_mapping(&deep);
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}
