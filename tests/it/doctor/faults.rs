//! Shows that `doctor` finds nothing on a good host, and each fault of one that is not, alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::lan::ip;
use crate::support::needs::{Need, needs};
use crate::support::rack::*;
use crate::support::system::Mount;

/// What a rack needs.
const NEEDS: [Need; 4] = [
    Need::NetworkNamespaces,
    Need::Program("dnsmasq"),
    Need::Program("cpio"),
    Need::Program("bsdcat"),
];

/// Asserts that all is well but the clock, which is the machine's own, and what is left out.
fn is_good(findings: &Findings, skipped: &[&str]) {
    assert_eq!(findings.named("fail"), [""; 0], "{findings:#?}");
    let left_out = findings.named("skip");
    assert_eq!(left_out, skipped, "{findings:#?}");
    let warnings = findings.named("warn");
    assert!(
        warnings.iter().all(|name| *name == "clock"),
        "{findings:#?}"
    );
    assert_eq!(findings.status, 0);
}

#[test]
fn a_good_host_has_no_fault() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let rack = Rack::new();
    is_good(&rack.doctor(&[]), &[]);
}

#[test]
fn without_root_only_dhcp_and_the_records_are_left_out() {
    needs!(
        NEEDS[0],
        NEEDS[1],
        NEEDS[2],
        NEEDS[3],
        Need::Program("setpriv")
    );
    let rack = Rack::new();
    // A record, which only the service and its group may read.
    let service = rack.service.as_ref().unwrap();
    let mut report = rack.inside(&["curl", "--fail", "--silent", "--data"]);
    report.arg(r#"{"mac": "00:00:5e:00:53:01", "stage": "network", "phase": "done"}"#);
    report.arg(format!("http://{}/heartbeat", service.address));
    assert!(report.output().unwrap().status.success());
    let findings = rack.doctor_of_nobody(&[]);
    is_good(&findings, &["dhcp", "policy"]);
    assert!(findings.text("dhcp").contains("needs root"));
}

#[test]
fn a_good_proxy_has_no_fault() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let mut rack = Rack::without_dnsmasq();
    rack.write_configuration(&["--proxy"]);
    rack.start_dnsmasq();
    // Nobody gives out addresses.
    let text = rack.doctor(&["--quick"]).failed(&["dhcp"]);
    assert!(text.contains("nobody offered an address"), "{text}");
    let _other = other_server(&rack);
    is_good(&rack.doctor(&["--quick"]), &[]);
}

/// Another DHCP server on the LAN.
fn other_server(rack: &Rack) -> Dnsmasq {
    let device = &rack.lan.device;
    ip(&format!("-n {device} address add 10.88.0.9/24 dev lan0"));
    let configuration = rack.path("other.conf");
    let text = "interface=lan0\nbind-dynamic\nport=0\ndhcp-range=10.88.0.100,10.88.0.110\n";
    fs::write(&configuration, text).unwrap();
    dnsmasq(device, &configuration, &[])
}

/// Makes a fault on a good host; which checks fail by it is asserted, for a user without rights
/// unless root is needed. What the first one says is returned.
fn fault(make: impl FnOnce(&mut Rack), failed: &[&str]) -> String {
    let mut rack = Rack::new();
    make(&mut rack);
    rack.doctor_of_nobody(&[]).failed(failed)
}

/// The same, as root.
fn fault_for_root(make: impl FnOnce(&mut Rack), failed: &[&str]) -> String {
    let mut rack = Rack::new();
    make(&mut rack);
    rack.doctor(&["--quick"]).failed(failed)
}

/// Asserts that a text has all of these parts.
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

#[test]
fn an_address_that_is_missing_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let mut rack = Rack::new();
    rack.dnsmasq = None;
    ip(&format!(
        "-n {} address del 10.88.0.1/24 dev lan0",
        rack.lan.server
    ));
    let findings = rack.doctor_of_nobody(&["--interface", "lan0"]);
    let text = findings.failed(&["address", "service", "dnsmasq", "tftp"]);
    says(
        &text,
        &[
            "no interface has 10.88.0.1",
            "ip address add 10.88.0.1/24 dev lan0",
        ],
    );
}

#[test]
fn an_address_on_another_interface_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let rack = Rack::new();
    let findings = rack.doctor_of_nobody(&["--interface", "eth9"]);
    let text = findings.failed(&["address", "dnsmasq-config"]);
    says(&text, &["10.88.0.1 is on lan0, not on eth9"]);
}

#[test]
fn an_interface_that_is_down_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let make = |rack: &mut Rack| ip(&format!("-n {} link set lan0 down", rack.lan.server));
    says(
        &fault(make, &["link"]),
        &["lan0 is down", "ip link set lan0 up"],
    );
}

#[test]
fn a_cable_without_a_link_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let make = |rack: &mut Rack| ip(&format!("-n {} link set lan0 down", rack.lan.device));
    says(&fault(make, &["link"]), &["no link", "cable"]);
}

#[test]
fn a_service_that_is_stopped_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let text = fault(|rack| rack.service = None, &["service"]);
    says(
        &text,
        &["does not answer", "refused", "gb10-provision-api.socket"],
    );
}

#[test]
fn a_port_on_another_address_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let rack = Rack::new();
    let findings = rack.doctor_of_nobody(&["--reached-at", "10.88.0.1:9"]);
    // What is configured for one port is wrong for another.
    let text = findings.failed(&["service", "dnsmasq-config"]);
    says(
        &text,
        &["10.88.0.1:9 does not answer", &rack.at.to_string()],
    );
}

#[test]
fn a_state_that_cannot_be_written_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let make = |rack: &mut Rack| {
        fs::remove_dir_all(rack.path("state")).unwrap();
        rack.stage("state", b"no folder");
    };
    says(&fault(make, &["service"]), &["cannot record"]);
}

#[test]
fn a_dnsmasq_that_is_stopped_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let stop = |rack: &mut Rack| rack.dnsmasq = None;
    let text = fault(stop, &["dnsmasq", "tftp"]);
    says(
        &text,
        &["UDP port 67", "UDP port 69", "systemctl restart dnsmasq"],
    );
    fault_for_root(stop, &["dnsmasq", "dhcp", "dhcp-boot", "tftp"]);
}

#[test]
fn a_configuration_that_dnsmasq_does_not_take_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let make =
        |rack: &mut Rack| fs::write(rack.configuration(), "dhcp-rnage=10.88.0.20\n").unwrap();
    says(
        &fault(make, &["dnsmasq-config"]),
        &["does not take", "line 1"],
    );
}

#[test]
fn a_configuration_that_lacks_a_line_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let rack = Rack::new();
    let good = fs::read_to_string(rack.configuration()).unwrap();
    let without = |line: &str| {
        assert!(good.contains(line));
        fs::write(rack.configuration(), good.replace(line, "")).unwrap();
        rack.doctor_of_nobody(&["--quick"])
    };
    let line = "dhcp-boot=tag:arm64,bootaa64.efi\n";
    says(
        &without(line).failed(&["dnsmasq-config"]),
        &["lacks dhcp-boot=tag:arm64,bootaa64.efi"],
    );
    // Boxes boot without this one.
    let findings = without("dhcp-ignore-clid\n");
    assert_eq!(
        (findings.status, findings.named("fail").len()),
        (0, 0),
        "{findings:#?}"
    );
    assert!(findings.named("warn").contains(&"dnsmasq-config"));
    says(
        &findings.text("dnsmasq-config"),
        &["lacks dhcp-ignore-clid"],
    );

    // What is left of a write that was killed.
    fs::write(rack.configuration(), &good).unwrap();
    let leftover = rack.path("dnsmasq.conf.tmp");
    fs::write(&leftover, "interface").unwrap();
    let text = rack.doctor_of_nobody(&["--quick"]).text("dnsmasq-config");
    says(&text, &["dnsmasq.conf.tmp is there"]);
    fs::remove_file(leftover).unwrap();

    // One with more in it is as good.
    fs::write(rack.configuration(), format!("{good}log-dhcp\n")).unwrap();
    assert_eq!(rack.doctor_of_nobody(&["--quick"]).named("fail"), [""; 0]);
}

#[test]
fn a_mirror_without_a_router_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let make = |rack: &mut Rack| {
        rack.stage("site.json", br#"{"apt_mirror": "http://10.88.0.1/ubuntu"}"#);
    };
    says(
        &fault(make, &["dnsmasq-config"]),
        &["lacks dhcp-option=option:router,10.88.0.1"],
    );
}

#[test]
fn a_dnsmasq_that_runs_with_another_configuration_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let make = |rack: &mut Rack| {
        let good = fs::read_to_string(rack.configuration()).unwrap();
        let bad = good.replace("tag:arm64,bootaa64.efi", "tag:arm64,pxelinux.0");
        rack.dnsmasq = None;
        fs::write(rack.configuration(), bad).unwrap();
        rack.start_dnsmasq();
        fs::write(rack.configuration(), good).unwrap();
    };
    says(
        &fault_for_root(make, &["dhcp-boot"]),
        &["pxelinux.0", "not bootaa64.efi"],
    );
}

#[test]
fn a_second_dhcp_server_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let mut other = None;
    let make = |rack: &mut Rack| other = Some(other_server(rack));
    let text = fault_for_root(make, &["dhcp"]);
    says(&text, &["a second DHCP server: 10.88.0.9", "--proxy"]);
}

#[test]
fn a_boot_folder_without_shim_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let make = |rack: &mut Rack| fs::remove_file(rack.path("boot/bootaa64.efi")).unwrap();
    says(
        &fault(make, &["tftp"]),
        &["bootaa64.efi is not in the boot folder", "boot stage"],
    );
}

#[test]
fn a_file_that_tftp_refuses_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let make = |rack: &mut Rack| {
        let path = rack.path("boot/grubaa64.efi");
        fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    };
    // It is root who can read it here, and dnsmasq who cannot.
    says(
        &fault_for_root(make, &["tftp"]),
        &["grubaa64.efi is refused"],
    );
}

#[test]
fn a_tftp_root_that_is_another_folder_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let make = |rack: &mut Rack| {
        let boot = rack.path("boot").display().to_string();
        let old = rack.path("old").display().to_string();
        rack.stage("old/bootaa64.efi", b"an older shim");
        fs::set_permissions(&old, PermissionsExt::from_mode(0o755)).unwrap();
        let text = fs::read_to_string(rack.configuration()).unwrap();
        rack.dnsmasq = None;
        fs::write(rack.configuration(), text.replace(&boot, &old)).unwrap();
        rack.start_dnsmasq();
    };
    let text = fault(make, &["dnsmasq-config", "tftp"]);
    says(&text, &["lacks tftp-root="]);
}

#[test]
fn a_grub_cfg_that_is_not_the_services_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let make = |rack: &mut Rack| rack.stage("boot/grub/grub.cfg", b"set default=install\n");
    says(
        &fault(make, &["grub.cfg"]),
        &["is not what the service gives", "boot grub --write"],
    );
}

#[test]
fn a_grub_cfg_that_grub_does_not_take_is_found() {
    needs!(
        NEEDS[0],
        NEEDS[1],
        NEEDS[2],
        NEEDS[3],
        Need::Program("grub-script-check")
    );
    let make = |rack: &mut Rack| rack.stage("boot/grub/grub.cfg", b"menuentry {\n if\n");
    says(&fault(make, &["grub.cfg"]), &["GRUB does not take"]);
}

#[test]
fn a_grub_cfg_that_is_missing_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let make = |rack: &mut Rack| fs::remove_file(rack.path("boot/grub/grub.cfg")).unwrap();
    fault(make, &["tftp", "grub.cfg"]);
}

const IMAGE: &str = "boot/images/ubuntu-24.04.4";

#[test]
fn an_image_that_is_missing_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let make = |rack: &mut Rack| fs::remove_dir_all(rack.path(IMAGE)).unwrap();
    says(
        &fault(make, &["image"]),
        &["no image is staged", "boot stage"],
    );
}

#[test]
fn a_kernel_that_is_no_image_is_warned_of() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let rack = Rack::new();
    fs::remove_dir_all(rack.path(IMAGE)).unwrap();
    rack.stage("boot/linux", b"a kernel");
    rack.stage("boot/initrd", b"its initrd");
    let findings = rack.doctor_of_nobody(&["--quick"]);
    assert_eq!(findings.status, 0, "{findings:#?}");
    assert!(findings.named("warn").contains(&"image"), "{findings:#?}");
}

#[test]
fn an_image_that_no_one_staged_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let make = |rack: &mut Rack| rack.stage("site.json", br#"{"image": "ubuntu-26.04"}"#);
    says(
        &fault(make, &["image", "site"]),
        &["ubuntu-26.04 is not staged", "ubuntu-24.04.4"],
    );
}

#[test]
fn a_choice_that_nobody_made_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let make = |rack: &mut Rack| rack.stage_image("dgx-os-7", VERSION, ALIASES);
    let mut rack = Rack::new();
    make(&mut rack);
    let findings = rack.doctor_of_nobody(&["--quick"]);
    assert_eq!(findings.named("fail"), ["image"], "{findings:#?}");
    // A fault in an image from which no box is installed stops none.
    rack.stage("site.json", br#"{"image": "ubuntu-24.04.4"}"#);
    fs::remove_file(rack.path("boot/images/dgx-os-7/installer.iso")).unwrap();
    let findings = rack.doctor_of_nobody(&["--quick"]);
    assert_eq!(findings.status, 0, "{findings:#?}");
    assert!(
        findings.named("warn").contains(&"image-files"),
        "{findings:#?}"
    );
}

#[test]
fn an_initrd_that_is_missing_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let make = |rack: &mut Rack| fs::remove_file(rack.path(IMAGE).join("initrd")).unwrap();
    let text = fault(make, &["image-files", "kernel"]);
    says(&text, &["ubuntu-24.04.4/initrd: No such file"]);
}

#[test]
fn an_initrd_that_is_cut_short_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let make = |rack: &mut Rack| {
        let path = rack.path(IMAGE).join("initrd");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..600]).unwrap();
    };
    let text = fault(make, &["image-files", "kernel"]);
    says(&text, &["bytes instead of", "stage it anew"]);
}

#[test]
fn an_iso_that_was_damaged_is_found_unless_it_shall_be_quick() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let mut rack = Rack::new();
    let make = |rack: &mut Rack| {
        let path = rack.path(IMAGE).join("installer.iso");
        let mut bytes = fs::read(&path).unwrap();
        bytes[99_999] ^= 1;
        fs::write(&path, bytes).unwrap();
    };
    make(&mut rack);
    let text = rack.doctor_of_nobody(&[]).failed(&["image-files"]);
    says(&text, &["installer.iso is not what was staged", "sha256"]);
    let quick = rack.doctor_of_nobody(&["--quick"]);
    assert_eq!(quick.status, 0);
    says(&quick.text("image-files"), &["not hashed"]);
}

#[test]
fn a_kernel_and_an_initrd_of_two_versions_are_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let make = |rack: &mut Rack| rack.stage_image("ubuntu-24.04.4", "6.8.0-31-generic", ALIASES);
    let text = fault(make, &["kernel"]);
    says(
        &text,
        &["the kernel is 6.17.0-14-generic, the initrd is of 6.8.0-31-generic"],
    );
}

#[test]
fn an_installer_without_a_driver_for_the_port_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let aliases = "alias pci:v000010ECd00008125sv*sd*bc*sc*i* r8169\n";
    let make = |rack: &mut Rack| rack.stage_image("ubuntu-24.04.4", VERSION, aliases);
    says(
        &fault(make, &["rtl8127"]),
        &["no driver for a GB10's RJ45 port", "6.16"],
    );
}

#[test]
fn what_is_too_large_to_boot_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let mut rack = Rack::new();
    let grow = |rack: &mut Rack, size: u64| {
        // More zeros at its end change nothing of an initrd that is not compressed.
        let path = rack.path(IMAGE).join("initrd");
        fs::write(&path, initrd(VERSION, ALIASES, "")).unwrap();
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(size)
            .unwrap();
        rack.record("ubuntu-24.04.4", VERSION);
    };
    grow(&mut rack, 99_000_000);
    assert_eq!(rack.doctor_of_nobody(&["--quick"]).named("fail"), [""; 0]);
    grow(&mut rack, 101_000_000);
    let findings = rack.doctor_of_nobody(&["--quick"]);
    assert_eq!(findings.status, 0);
    assert!(
        findings.named("warn").contains(&"boot-size"),
        "{findings:#?}"
    );
    grow(&mut rack, 210_000_000);
    says(
        &rack.doctor_of_nobody(&["--quick"]).failed(&["boot-size"]),
        &["210 MB"],
    );
}

#[test]
fn a_template_that_is_broken_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let make = |rack: &mut Rack| {
        rack.stage(
            "cloud-init-templates/user-data.yaml.j2",
            b"#cloud-config\n{{ no_such_thing }}\n",
        );
    };
    says(
        &fault(make, &["templates"]),
        &["user-data.yaml.j2", "no_such_thing", "check"],
    );
}

#[test]
fn a_site_json_that_is_broken_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let make = |rack: &mut Rack| rack.stage("site.json", b"{\"username\": \"ops\",}\n");
    says(&fault(make, &["site"]), &["site.json:1"]);
}

#[test]
fn a_disk_that_is_full_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3], Need::Mounts);
    for (options, text) in [("size=1m", "1 MB"), ("size=4g,nr_inodes=50", "inodes")] {
        let rack = Rack::new();
        let state = rack.path("state");
        let _mount = Mount::new(&["-t", "tmpfs", "-o", options, "tmpfs"], &state);
        let findings = rack.doctor_of_nobody(&["--quick"]);
        assert!(findings.named("fail").contains(&"space"), "{findings:#?}");
        says(&findings.text("space"), &[text, "make room"]);
    }
}

#[test]
fn a_data_folder_that_is_not_there_is_found() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let rack = Rack::new();
    let findings = rack.doctor_of_nobody(&["--data-path", "/nonexistent", "--quick"]);
    let failed = findings.named("fail");
    assert!(
        failed.contains(&"space") && failed.contains(&"image"),
        "{findings:#?}"
    );
    says(&findings.text("space"), &["/nonexistent", "DATA_PATH"]);
}

#[test]
fn nothing_that_hangs_holds_it_up() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let rack = Rack::new();
    rack.service.as_ref().unwrap().signal(Signal::STOP);
    kill_process(
        Pid::from_child(&rack.dnsmasq.as_ref().unwrap().0),
        Signal::STOP,
    )
    .unwrap();
    let started = Instant::now();
    let findings = rack.doctor(&["--quick"]);
    let took = started.elapsed();
    findings.failed(&["service", "dhcp", "dhcp-boot", "tftp"]);
    assert!(took.as_secs() < 30, "{took:?}");
}

#[test]
fn people_get_a_line_for_each_check_and_a_remedy_below_a_fault() {
    needs!(NEEDS[0], NEEDS[1], NEEDS[2], NEEDS[3]);
    let mut rack = Rack::new();
    rack.service = None;
    let mut doctor = rack.inside(&["setpriv", "--inh-caps=-all", "--bounding-set=-all"]);
    doctor
        .arg(crate::support::BINARY)
        .args(["doctor", "--quick", "--dnsmasq-config"]);
    doctor
        .arg(rack.configuration())
        .args(["--reached-at", &rack.at.to_string()]);
    let output = doctor.env("DATA_PATH", rack.path("")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "OK    address         10.88.0.1/24 on lan0");
    let failed = lines
        .iter()
        .position(|line| line.starts_with("FAIL  service "))
        .unwrap();
    says(
        lines[failed + 1],
        &["    -> systemctl start gb10-provision-api.socket"],
    );
    says(lines.last().unwrap(), &[" checks: 1 FAIL, "]);
}

#[test]
fn machines_get_every_check_with_name_verdict_text_and_remedy() {
    needs!(
        NEEDS[0],
        NEEDS[1],
        NEEDS[2],
        NEEDS[3],
        Need::Program("setpriv")
    );
    let findings = Rack::new().doctor_of_nobody(&["--quick"]);
    let names: Vec<_> = findings
        .checks
        .iter()
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    let expected = "address link service dnsmasq dnsmasq-config dhcp tftp grub.cfg image image-files \
                    kernel rtl8127 boot-size clock space templates site policy";
    assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>());
    for check in &findings.checks {
        let mut fields: Vec<_> = check.as_object().unwrap().keys().collect();
        fields.sort();
        assert_eq!(fields, ["name", "remedy", "text", "verdict"]);
        assert_eq!(
            check["verdict"] == "ok",
            check["remedy"].is_null(),
            "{check}"
        );
    }
}
