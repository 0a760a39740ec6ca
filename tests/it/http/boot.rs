//! What GRUB asks: the gate's decision, the image, and the whole configuration.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::beats::mac;
use crate::support::lan::*;
use crate::support::needs::{Need, needs};
use crate::support::*;

const GB10: &str = "3c:6d:66:0a:1b:2c";

/// Devices that `devices.json` knows have a record before they report.
fn knowing(devices: &str) -> Start {
    Start::fresh().stage("devices.json", devices)
}

/// What a box that asks is told: the decision alone, and the whole answer.
fn told(service: &Service, target: &str) -> (String, String) {
    let answer = service.get_as_box(target);
    assert_eq!(answer.status, 200, "{target}");
    let text = answer.text().to_owned();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let [decision] = lines[..] else {
        panic!("{target}: {text}")
    };
    let decision = decision.strip_prefix("set default=").unwrap().to_owned();
    (decision, text)
}

fn decision(service: &Service, mac: &str) -> String {
    told(service, &format!("/boot/{mac}/grub.cfg")).0
}

/// The box fetches its user-data, as the installer does that it was told to boot.
fn fetches(service: &Service, mac: &str) {
    let seed = service.get_as_box(&format!("/cloud-init/{mac}/user-data"));
    assert_eq!(seed.status, 200);
}

/// The `boot` of the device's record, once that is as it should be.
fn boot_on_record(service: &Service, mac: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually("the boot on record", || {
        let record = service.get(&format!("/clients/{mac}"));
        let boot = record.json()["boot"].clone();
        is_so(&boot).then_some(boot)
    })
}

fn by_hand(service: &Service, words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(BINARY)
        .args(words)
        .env("DATA_PATH", &service.data)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn whatever_is_asked_the_answer_is_a_200_with_one_decision() {
    let service = knowing("{}").service();
    for target in [
        format!("/boot/{GB10}/grub.cfg"),
        "/boot/3C-6D-66-0A-1B-2C/grub.cfg".to_owned(),
        "/boot/3c6d660a1b2c/grub.cfg".to_owned(),
    ] {
        assert_eq!(told(&service, &target).0, "install", "{target}");
    }
    for target in [
        "/boot/unknown/grub.cfg",
        "/boot//grub.cfg",
        "/boot/nonsense/grub.cfg",
        "/boot/00:00:00:00:00:00/grub.cfg",
        "/boot/%ff/grub.cfg",
        "/boot/$(reboot)/grub.cfg",
        "/boot/%0aset%20default=install/grub.cfg",
        "/boot/3c:6d:66:0a:1b:2c:00/grub.cfg",
        &format!("/boot/{}/grub.cfg", "a".repeat(4000)),
    ] {
        assert_eq!(told(&service, target).0, "local", "{target}");
    }
}

#[test]
fn head_and_get_agree_and_only_a_get_is_a_question_of_the_box() {
    let service = knowing(&format!(r#"{{"{GB10}": {{}}}}"#)).service();
    let targets = [
        format!("/boot/{GB10}/grub.cfg"),
        format!("/boot/{GB10}/image.cfg"),
        "/boot/grub.cfg".to_owned(),
        "/grub/grub.cfg".to_owned(),
    ];
    for target in &targets {
        let head = request_from(Some(BOX), service.address, "HEAD", target, &[], b"").unwrap();
        assert_eq!(head.status, 200, "{target}");
        let get = service.get_as_box(target);
        assert_eq!(
            head.header("content-length"),
            get.body.len().to_string(),
            "{target}"
        );
        assert!(get.header("content-type").starts_with("text/plain"));
    }
    let boot = boot_on_record(&service, GB10, |boot| !boot.is_null());
    assert_eq!(boot["asked"], 1);
}

#[test]
fn a_box_is_installed_until_that_is_done_and_then_boots_its_disk() {
    let service = knowing(&format!(r#"{{"{GB10}": {{}}}}"#)).service();
    assert_eq!(decision(&service, GB10), "install");
    fetches(&service, GB10);
    // It loses power in the middle.
    assert_eq!(decision(&service, GB10), "install");
    fetches(&service, GB10);
    assert_eq!(service.heartbeat(GB10, "install", "done").status, 200);
    let (decided, text) = told(&service, &format!("/boot/{GB10}/grub.cfg"));
    assert_eq!(decided, "local");
    assert!(text.starts_with("# it is installed\n"), "{text}");
    service.wait_for_log(&["boot: ", GB10, "is told local: it is installed"]);
    let boot = boot_on_record(&service, GB10, |boot| boot["decision"] == "local");
    assert_eq!(
        (&boot["asked"], &boot["attempts"], &boot["reason"]),
        (&3.into(), &0.into(), &"it is installed".into())
    );
    assert!(boot["installed"].is_string() && boot["timestamp"].is_string());
}

#[test]
fn after_three_attempts_without_an_end_a_box_is_given_up_until_it_is_armed() {
    let service = knowing(&format!(r#"{{"{GB10}": {{}}}}"#)).service();
    for _ in 0..3 {
        assert_eq!(decision(&service, GB10), "install");
        fetches(&service, GB10);
    }
    assert_eq!(decision(&service, GB10), "local");
    service.wait_for_log(&["WARN", "given up", GB10, "arm"]);
    assert_eq!(decision(&service, GB10), "local");
    let boot = boot_on_record(&service, GB10, |boot| boot["asked"] == 5);
    assert_eq!(boot["given_up"], true);
    let warnings = service.log().matches("WARN given up").count();
    assert_eq!(warnings, 1, "{}", service.log());

    let (code, said) = by_hand(&service, &["arm", GB10]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(decision(&service, GB10), "install");
    fetches(&service, GB10);
    assert_eq!(service.heartbeat(GB10, "first_boot", "start").status, 200);
    assert_eq!(decision(&service, GB10), "local");
}

#[test]
fn the_number_of_attempts_and_the_policy_are_settings_and_a_box_may_have_its_own_policy() {
    let devices = format!(
        r#"{{"{GB10}": {{}}, "{}": {{"install": "never"}}, "{}": {{"install": "always"}}, "{}": {{"install": "once"}}}}"#,
        mac(1),
        mac(2),
        mac(3)
    );
    let service = knowing(&devices)
        .env("INSTALL", "armed")
        .env("INSTALL_ATTEMPTS", "1")
        .service();
    assert_eq!(decision(&service, GB10), "local");
    assert_eq!(decision(&service, &mac(1)), "local");
    assert_eq!(decision(&service, &mac(3)), "install");
    for _ in 0..2 {
        assert_eq!(decision(&service, &mac(2)), "install");
        fetches(&service, &mac(2));
        assert_eq!(service.heartbeat(&mac(2), "install", "done").status, 200);
    }
    let (code, said) = by_hand(&service, &["arm", GB10, &mac(1)]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("never"), "{said}");
    assert_eq!(decision(&service, &mac(1)), "local");
    assert_eq!(decision(&service, GB10), "install");
    fetches(&service, GB10);
    assert_eq!(decision(&service, GB10), "local", "one attempt");
}

#[test]
fn any_port_of_a_box_asks_for_the_box() {
    let devices = format!(r#"{{"{GB10}": {{"macs": ["{}"]}}}}"#, mac(1));
    let service = knowing(&devices).service();
    assert_eq!(service.heartbeat(GB10, "install", "done").status, 200);
    assert_eq!(decision(&service, &mac(1)), "local");
    boot_on_record(&service, GB10, |boot| boot["asked"] == 1);
    let (code, said) = by_hand(&service, &["arm", &mac(1)]);
    assert_eq!(
        (code, said.lines().next().unwrap()),
        (Some(0), format!("armed: {GB10}").as_str())
    );
    assert_eq!(decision(&service, GB10), "install");
}

#[test]
fn a_box_that_is_on_record_under_another_port_is_installed() {
    let service = Start::fresh().service();
    assert_eq!(
        service.heartbeat(&mac(1), "install", "done").status,
        200,
        "before devices.json knows it"
    );
    let devices = format!(
        r#"{{"{GB10}": {{"macs": ["{}"]}}, "{}": {{}}}}"#,
        mac(1),
        mac(2)
    );
    service.stage("devices.json", &devices);
    assert_eq!(decision(&service, GB10), "local");
    assert_eq!(decision(&service, &mac(1)), "local");
    assert_eq!(decision(&service, &mac(2)), "install");
    let (code, said) = by_hand(&service, &["arm", GB10]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(decision(&service, GB10), "install");
}

/// Whose questions are not put on record would be told to install for ever.
#[test]
fn at_the_address_of_another_box_nothing_is_installed() {
    needs!(Need::NetworkNamespaces);
    let lan = Lan::new();
    let service = lan.start().service();
    let told = |mac: &str| {
        lan.get(DEVICE, &service, &format!("/boot/{mac}/grub.cfg"))
            .body
    };
    // Somebody who is no box looks.
    assert!(told(GB10).ends_with("set default=install\n"));
    assert!(told(MAC).ends_with("set default=install\n"));
    eventually("the device on record", || {
        let record = lan.get(DEVICE, &service, &format!("/clients/{MAC}"));
        (record.status == 200).then_some(())
    });
    let other = "# ARP has another box at that address\nset default=local\n";
    assert_eq!(told(GB10), other);
    // It may ask by whichever of its ports.
    let devices = format!(r#"{{"{GB10}": {{"macs": ["{MAC}"]}}}}"#);
    service.stage("devices.json", &devices);
    assert!(told(GB10).ends_with("set default=install\n"));
    let asked = || {
        let record = lan.get(DEVICE, &service, &format!("/clients/{GB10}"));
        (record.status == 200).then(|| record.json()["boot"]["asked"].clone())
    };
    assert_eq!(eventually("the question on record", asked), 1);
}

/// The installer says that it is done before what was seen of the box was put on record.
#[test]
fn a_done_that_comes_at_once_ends_the_arming() {
    let service = knowing(&format!(r#"{{"{GB10}": {{}}}}"#)).service();
    let finished = r#"{"name": "subiquity/Install/install", "event_type": "finish",
        "result": "SUCCESS", "description": "", "origin": "curtin", "timestamp": 1}"#;
    let posts = |target: &str, body: &str| {
        request_from(
            Some(BOX),
            service.address,
            "POST",
            target,
            &[],
            body.as_bytes(),
        )
        .unwrap()
    };
    for _ in 0..3 {
        let (code, said) = by_hand(&service, &["arm", GB10]);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(decision(&service, GB10), "install");
        fetches(&service, GB10);
        assert_eq!(posts(&format!("/report/{GB10}"), finished).status, 204);
        assert_eq!(decision(&service, GB10), "local");
    }
}

#[test]
fn a_word_to_install_that_a_kill_lost_does_not_keep_a_box_armed() {
    let folder = tempfile::tempdir().unwrap();
    stage(
        folder.path(),
        "devices.json",
        &format!(r#"{{"{GB10}": {{}}}}"#),
    );
    let mut service = Start::on(folder.path()).service();
    let (code, said) = by_hand(&service, &["arm", GB10]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(decision(&service, GB10), "install");
    service.signal(rustix::process::Signal::KILL);
    service.wait_for_end();
    let service = Start::on(folder.path()).service();
    fetches(&service, GB10);
    for phase in ["start", "done"] {
        assert_eq!(service.heartbeat(GB10, "install", phase).status, 200);
    }
    assert_eq!(decision(&service, GB10), "local");
}

#[test]
fn where_the_records_were_lost_nothing_is_installed_unasked() {
    let folder = tempfile::tempdir().unwrap();
    stage(
        folder.path(),
        "state/clients.json",
        "{\"3c:6d:66:0a:1b:2c\": ",
    );
    let devices = format!(
        r#"{{"{GB10}": {{}}, "{}": {{"install": "always"}}}}"#,
        mac(1)
    );
    stage(folder.path(), "devices.json", &devices);
    let service = Start::on(folder.path()).service();
    let text = eventually("the state is moved aside", || {
        let (_, text) = told(&service, &format!("/boot/{GB10}/grub.cfg"));
        text.contains("moved aside").then_some(text)
    });
    assert!(text.ends_with("set default=local\n"), "{text}");
    assert_eq!(decision(&service, &mac(1)), "install", "always");
    // On an operator's word, and where the operator knows that nothing is lost.
    let (code, said) = by_hand(&service, &["arm", GB10]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(decision(&service, GB10), "install");
    assert_eq!(decision(&service, &mac(2)), "local");
    for entry in fs::read_dir(folder.path().join("state")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_str().unwrap().contains("corrupt-") {
            fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(decision(&service, &mac(2)), "install");
}

#[test]
fn where_nothing_can_be_decided_the_disk_boots() {
    let service = knowing("{}").service();
    assert_eq!(decision(&service, GB10), "install");

    service.stage("site.json", "{\"username\": ");
    assert_eq!(decision(&service, GB10), "local");
    fs::remove_file(service.data.join("site.json")).unwrap();
    eventually("site.json is gone for good", || {
        (decision(&service, GB10) == "install").then_some(())
    });
    service.stage("devices.json", "[]");
    assert_eq!(decision(&service, GB10), "local");
    service.stage(
        "devices.json",
        r#"{"3c:6d:66:0a:1b:2c": {"install": "sometimes"}}"#,
    );
    let (decided, text) = told(&service, &format!("/boot/{GB10}/grub.cfg"));
    assert_eq!(decided, "local");
    assert!(
        text.contains("devices.json") && !text.contains("sometimes"),
        "{text}"
    );
    service.stage("devices.json", "{}");
    assert_eq!(decision(&service, GB10), "install");

    // A state that takes no report would never learn that the installation is done.
    let state = service.state_file();
    let _ = fs::remove_file(&state);
    fs::create_dir(&state).unwrap();
    eventually("the state is found out", || {
        (decision(&service, GB10) == "local").then_some(())
    });
    fs::remove_dir(&state).unwrap();
    eventually("the state is mended", || {
        (decision(&service, GB10) == "install").then_some(())
    });
}

#[test]
fn a_box_whose_image_is_not_staged_boots_its_disk_and_the_reason_names_it() {
    let devices = format!(
        r#"{{"{}": {{"image": "other", "kernel_args": "console=ttyS0 debug"}}}}"#,
        mac(1)
    );
    let service = knowing(&devices).service();
    let stage = |name: &str| service.stage(&format!("boot/images/{name}/image.json"), "{}");
    let image = |mac: &str| {
        let answer = service.get_as_box(&format!("/boot/{mac}/image.cfg"));
        answer.text().to_owned()
    };
    assert_eq!(image(GB10), "# no image is staged\nset kernel_args=\"\"\n");
    assert_eq!(
        decision(&service, GB10),
        "install",
        "by what lies beside GRUB"
    );
    assert_eq!(decision(&service, &mac(1)), "local");
    stage("one");
    assert_eq!(image(GB10), "set image=one\nset kernel_args=\"\"\n");
    let (decided, text) = told(&service, &format!("/boot/{}/grub.cfg", mac(1)));
    assert_eq!(decided, "local");
    assert!(text.contains("other"), "{text}");
    stage("other");
    assert_eq!(decision(&service, &mac(1)), "install");
    assert_eq!(
        image(&mac(1)),
        "set image=other\nset kernel_args=\"console=ttyS0 debug\"\n"
    );
    // Two are there, and nobody says which.
    assert_eq!(decision(&service, GB10), "local");
    service.stage("site.json", r#"{"image": "one", "kernel_args": "quiet"}"#);
    assert_eq!(decision(&service, GB10), "install");
    assert_eq!(image(GB10), "set image=one\nset kernel_args=\"quiet\"\n");
}

/// What GRUB would find wrong with a configuration.
fn grub_says(text: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    let output = Command::new("grub-script-check").arg(file.path()).output();
    let output = output.unwrap();
    assert_eq!(output.status.success(), output.stderr.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn grub_takes_each_configuration_and_the_urls_in_it_are_the_sockets_own() {
    needs!(Need::Program("grub-script-check"));
    let service = knowing("{}").service();
    let headers = [("Host", "evil.example")];
    for target in ["/boot/grub.cfg", "/grub/grub.cfg"] {
        let answer =
            request_from(Some(BOX), service.address, "GET", target, &headers, b"").unwrap();
        let text = answer.text();
        assert_eq!(grub_says(text), "");
        assert!(!text.contains("evil"), "{text}");
        for needed in [
            &format!(
                "source (http,{})/boot/${{net_default_mac}}/grub.cfg",
                service.address
            ),
            &format!(
                "s=http://{}/cloud-init/${{net_default_mac}}/",
                service.address
            ),
            "set default=local",
            "--id install",
            "--id local",
            "cloud-config-url=/dev/null",
            // Without one the kernel would panic, and the box stand there.
            "if initrd ${initrd}; then",
        ] {
            assert!(text.contains(needed), "{needed} in {text}");
        }
        assert!(!text.contains("exit"), "{text}");
        // What `boot grub` puts beside GRUB is the same.
        let (code, printed) = by_hand(
            &service,
            &["boot", "grub", "--reached-at", &service.address.to_string()],
        );
        assert_eq!((code, printed.as_str()), (Some(0), text));
    }
    for mac in [GB10, "nonsense"] {
        for file in ["grub.cfg", "image.cfg"] {
            let answer = service.get_as_box(&format!("/boot/{mac}/{file}"));
            // A comment alone is no configuration to grub-script-check.
            assert_eq!(
                grub_says(&format!("{}\ntrue\n", answer.text())),
                "",
                "{mac} {file}"
            );
        }
    }
}

/// All that may stand there, between the double quotes and where GRUB puts it without any.
#[test]
fn grub_takes_each_argument_for_a_kernel_that_is_no_fault() {
    needs!(Need::Program("grub-script-check"));
    let args: String = (' '..='~')
        .filter(|c| !"\"'`;$\\{}|&<>".contains(*c))
        .collect();
    let devices = serde_json::json!({GB10: {"kernel_args": args}});
    let service = knowing(&devices.to_string()).service();
    let answer = service.get_as_box(&format!("/boot/{GB10}/image.cfg"));
    let text = answer.text();
    assert!(
        text.contains(&format!("set kernel_args=\"{args}\"")),
        "{text}"
    );
    assert_eq!(grub_says(text), "");
}

#[test]
fn grubs_configuration_is_staged_like_any_template_and_a_broken_one_is_replaced() {
    let service = knowing("{}")
        .stage(
            "cloud-init-templates/grub.cfg.j2",
            "# for {{ provision_url }}\nset default=local\n",
        )
        .service();
    let own = format!("# for http://{}\nset default=local", service.address);
    assert_eq!(service.get_as_box("/boot/grub.cfg").text().trim_end(), own);
    service.stage("cloud-init-templates/grub.cfg.j2", "{% if %}");
    let answer = service.get_as_box("/grub/grub.cfg");
    assert!(answer.text().contains("--id local"), "{}", answer.text());
    service.wait_for_log(&["WARN", "grub.cfg.j2", "embedded"]);
    let (code, said) = by_hand(&service, &["check"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("grub.cfg.j2:1:"), "{said}");
}

#[test]
fn boot_grub_writes_what_tftp_serves() {
    let service = knowing("{}").service();
    let words = ["boot", "grub", "--reached-at", "10.88.0.1:8088"];
    let (_, printed) = by_hand(&service, &words);
    let (code, said) = by_hand(&service, &[&words[..], &["--write"]].concat());
    assert_eq!(code, Some(0), "{said}");
    let path = service.data.join("boot/grub/grub.cfg");
    assert_eq!(fs::read_to_string(&path).unwrap(), printed);
    assert!(said.contains(path.to_str().unwrap()), "{said}");
}

#[test]
fn a_hundred_questions_cost_next_to_no_fsync() {
    needs!(Need::StraceAttached);
    let service = knowing(&format!(r#"{{"{GB10}": {{}}}}"#)).service();
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut strace = Command::new("strace")
        .args(["-f", "-e", "trace=fsync,fdatasync", "-o"])
        .arg(&trace)
        .args(["-p", &service.pid().as_raw_nonzero().to_string()])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let tasks = format!("/proc/{}/task", service.pid().as_raw_nonzero());
    eventually("every thread is traced", || {
        let mut tasks = fs::read_dir(&tasks).unwrap().map(|task| task.unwrap());
        let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status"));
        tasks
            .all(|task| status(task).is_ok_and(|status| !status.contains("TracerPid:\t0\n")))
            .then_some(())
    });
    for _ in 0..100 {
        assert_eq!(decision(&service, GB10), "install");
    }
    boot_on_record(&service, GB10, |boot| boot["asked"] == 100);
    service.stop();
    strace.wait().unwrap();
    let calls = fs::read_to_string(&trace).unwrap();
    let calls = calls.matches("sync(").count();
    figure(&format!("100 questions: {calls} fsyncs"));
    assert!((1..=20).contains(&calls), "{calls}");
}

// ---- Seeds behind the gate ------------------------------------------------------------------

#[test]
fn behind_the_gate_a_seed_is_served_to_its_box_alone_and_only_while_it_is_installed() {
    needs!(Need::NetworkNamespaces);
    let lan = Lan::new();
    let mut service = lan.start().env("SEED_ACCESS", "window").service();
    let status = |service: &Service, target: &str| lan.get(DEVICE, service, target).status;
    let seed = format!("/cloud-init/{MAC}/user-data");
    assert_eq!(status(&service, &seed), 403, "nobody asked the gate");
    let others = format!("/cloud-init/{MAC}/meta-data");
    assert_eq!(status(&service, &others), 200, "there is no secret in it");
    assert_eq!(status(&service, &format!("/boot/{MAC}/grub.cfg")), 200);
    assert_eq!(status(&service, &seed), 200);
    assert_eq!(status(&service, "/cloud-init/user-data"), 200, "by ARP");
    // Another box's seed, whose installation would be under way if the gate believed this one.
    let other = "02:88:00:00:00:99";
    assert_eq!(status(&service, &format!("/boot/{other}/grub.cfg")), 200);
    let of_other = format!("/cloud-init/{other}/user-data");
    assert_eq!(status(&service, &of_other), 403);
    // Nor from an address of which ARP knows nothing.
    assert_eq!(lan.get(ROUTED, &service, &seed).status, 403);
    service.wait_for_log(&["WARN", "user-data is withheld", other]);

    // Nor does a kill, a moment after the word to install is on the disk.
    let done = serde_json::json!({"stage": "install", "phase": "done"});
    assert_eq!(lan.heartbeat(DEVICE, &service, done).status, 200);
    assert_eq!(status(&service, &seed), 403);
    let armed = by_hand(&service, &["arm", MAC]);
    assert_eq!(armed.0, Some(0), "{armed:?}");
    assert_eq!(status(&service, &format!("/boot/{MAC}/grub.cfg")), 200);
    let began = std::time::Instant::now();
    eventually("the word to install on the disk", || {
        let state = fs::read_to_string(service.state_file()).unwrap();
        state.contains(r#""installing":true"#).then_some(())
    });
    assert!(began.elapsed().as_millis() < 1500, "{:?}", began.elapsed());
    service.signal(rustix::process::Signal::KILL);
    service.wait_for_end();
    service = lan.start().env("SEED_ACCESS", "window").service();
    assert_eq!(status(&service, &seed), 200);
    // A restart cuts no installation off.
    for _ in 0..2 {
        assert_eq!(service.stop().code(), Some(0));
        service = lan.start().env("SEED_ACCESS", "window").service();
        assert_eq!(status(&service, &seed), 200);
    }
    let done = serde_json::json!({"stage": "install", "phase": "done"});
    assert_eq!(lan.heartbeat(DEVICE, &service, done).status, 200);
    assert_eq!(status(&service, &seed), 403, "it is done");
}
