//! Shows that `boot dnsmasq` writes a configuration that fits the host, and that a real dnsmasq
//! gives real DHCP clients what they need to boot by it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::lan::ip;
use crate::support::needs::{Need, needs};
use crate::support::rack::{Rack, inside};
use crate::support::{BINARY, stage};

/// `boot dnsmasq` with these options, on a host that has none of these addresses.
fn run(data: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(["boot", "dnsmasq"]).env("DATA_PATH", data);
    // A setting of the service is no option of a command.
    let mut options_left = options.iter();
    while let Some(option) = options_left.next() {
        match *option {
            "--allowed-networks" => {
                _ = command.env("ALLOWED_NETWORKS", options_left.next().unwrap())
            }
            own => _ = command.arg(own),
        }
    }
    if !options.contains(&"--reached-at") {
        command.args(["--reached-at", "10.88.0.1:8088"]);
    }
    command.output().unwrap()
}

fn printed(data: &Path, options: &[&str]) -> String {
    let output = run(data, options);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it says where it refuses.
fn refused(data: &Path, options: &[&str]) -> String {
    let output = run(data, options);
    assert!(
        !output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    String::from_utf8(output.stderr).unwrap()
}

/// Asserts that dnsmasq itself takes a configuration.
fn is_taken(text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dnsmasq.conf");
    fs::write(&path, text).unwrap();
    let mut command = Command::new("dnsmasq");
    let output = command
        .arg("--test")
        .arg(format!("--conf-file={}", path.display()));
    let output = output.output().unwrap();
    assert!(output.status.success(), "{output:?}\n{text}");
}

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|other| other == line)
}

#[test]
fn the_packages_example_is_what_it_prints() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/dnsmasq.conf");
    let data = Path::new("/var/lib/gb10-provision-api");
    // There is no site.json that would change it.
    if data.join("site.json").exists() {
        return;
    }
    let printed = printed(data, &["--interface", "eth1"]);
    assert_eq!(fs::read_to_string(example).unwrap(), printed);
}

#[test]
fn dnsmasq_takes_every_one() {
    needs!(Need::Program("dnsmasq"));
    let data = tempfile::tempdir().unwrap();
    let networks = ["10.88.0.0/24", "10.0.0.0/8", "10.88.0.0/30", "10.88.0.0/16"];
    for network in networks {
        for mode in [&[][..], &["--proxy"]] {
            let options = ["--interface", "enP7s7", "--allowed-networks", network];
            is_taken(&printed(data.path(), &[&options[..], mode].concat()));
        }
    }
}

#[test]
fn boxes_get_addresses_of_the_lan_that_are_not_the_hosts() {
    let data = tempfile::tempdir().unwrap();
    let cases: [(&str, &str, &[&str]); 8] = [
        (
            "10.88.0.0/24",
            "10.88.0.1",
            &["10.88.0.20,10.88.0.250,255.255.255.0"],
        ),
        (
            "192.168.7.0/24",
            "192.168.7.100",
            &[
                "192.168.7.20,192.168.7.99,255.255.255.0",
                "192.168.7.101,192.168.7.250,255.255.255.0",
            ],
        ),
        (
            "10.88.0.0/24",
            "10.88.0.20",
            &["10.88.0.21,10.88.0.250,255.255.255.0"],
        ),
        (
            "10.88.0.0/24",
            "10.88.0.250",
            &["10.88.0.20,10.88.0.249,255.255.255.0"],
        ),
        (
            "10.88.0.0/24",
            "10.88.0.254",
            &["10.88.0.20,10.88.0.250,255.255.255.0"],
        ),
        (
            "10.88.4.0/22",
            "10.88.4.1",
            &["10.88.4.20,10.88.7.250,255.255.252.0"],
        ),
        (
            "10.88.0.0/29",
            "10.88.0.1",
            &["10.88.0.2,10.88.0.6,255.255.255.248"],
        ),
        (
            "10.88.0.0/30",
            "10.88.0.2",
            &["10.88.0.1,10.88.0.1,255.255.255.252"],
        ),
    ];
    for (network, host, ranges) in cases {
        let at = format!("{host}:8088");
        let options = [
            "--interface",
            "eth1",
            "--allowed-networks",
            network,
            "--reached-at",
            &at,
        ];
        let text = printed(data.path(), &options);
        let found: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("dhcp-range="))
            .collect();
        let expected: Vec<_> = ranges.iter().map(|range| format!("{range},12h")).collect();
        assert_eq!(found, expected, "{network} {host}");
        assert!(has(
            &text,
            &format!("dhcp-boot=tag:arm64http,http://{at}/bootaa64.efi")
        ));
    }
    // Of several networks that are allowed, the closest.
    let networks = "10.0.0.0/8,10.88.0.0/24,127.0.0.0/8,::1/128";
    let text = printed(
        data.path(),
        &["--interface", "eth1", "--allowed-networks", networks],
    );
    assert!(
        has(&text, "dhcp-range=10.88.0.20,10.88.0.250,255.255.255.0,12h"),
        "{text}"
    );
}

#[test]
fn the_interface_says_which_network_it_is() {
    needs!(Need::NetworkNamespaces, Need::Program("cpio"));
    let rack = Rack::without_dnsmasq();
    let server = &rack.lan.server;
    ip(&format!("-n {server} address del 10.88.0.1/24 dev lan0"));
    ip(&format!("-n {server} address add 10.88.0.1/22 dev lan0"));
    rack.write_configuration(&[]);
    let text = fs::read_to_string(rack.configuration()).unwrap();
    assert!(
        has(&text, "dhcp-range=10.88.0.20,10.88.3.250,255.255.252.0,12h"),
        "{text}"
    );
}

/// What it prints where systemd says this of the socket unit. A script stands in for systemctl,
/// for tests do not run under systemd.
fn printed_by_unit(data: &Path, said: &str) -> String {
    let fake = data.join("systemctl");
    let asked = "show --property=Listen --value gb10-provision-api.socket";
    let script = format!("#!/bin/sh\n[ \"$*\" = '{asked}' ] || exit 1\n{said}\n");
    fs::write(&fake, script).unwrap();
    fs::set_permissions(&fake, PermissionsExt::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new(BINARY);
    command
        .args(["boot", "dnsmasq", "--interface", "eth1", "--data-path"])
        .arg(data);
    command.env("ALLOWED_NETWORKS", "10.88.0.0/24,192.168.7.0/24");
    command.env("PATH", format!("{}:{path}", data.display()));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_socket_unit_says_where_boxes_reach_the_service() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    for (said, at) in [
        ("echo '192.168.7.1:8088 (Stream)'", "192.168.7.1:8088"),
        (
            "printf '%s (Stream)\\n' 127.0.0.1:8088 '[fd00::1]:80' /run/a 192.168.7.1:80",
            "192.168.7.1:80",
        ),
        // No such unit; no systemd; one that hangs.
        ("echo", "10.88.0.1:8088"),
        ("exit 1", "10.88.0.1:8088"),
        ("exec sleep 60", "10.88.0.1:8088"),
    ] {
        let text = printed_by_unit(data, said);
        let line = format!("dhcp-boot=tag:arm64http,http://{at}/bootaa64.efi");
        assert!(has(&text, &line), "{said}: {text}");
    }
}

#[test]
fn a_mirror_needs_a_router() {
    let data = tempfile::tempdir().unwrap();
    let options = ["--interface", "eth1"];
    let router = "dhcp-option=option:router,10.88.0.1";
    assert!(has(
        &printed(data.path(), &options),
        "dhcp-option=option:router"
    ));
    stage(
        data.path(),
        "site.json",
        r#"{"apt_mirror": "http://10.88.0.1/ubuntu"}"#,
    );
    assert!(has(&printed(data.path(), &options), router));
    // The other server's matter.
    assert!(!printed(data.path(), &["--interface", "eth1", "--proxy"]).contains("option:router"));
}

#[test]
fn what_dnsmasq_would_misread_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let long = "a".repeat(16);
    for interface in [
        "",
        "eth1\nport=53",
        "eth 1",
        "eth1,eth2",
        "../eth1",
        "-x",
        "eth*",
        &long,
    ] {
        let said = refused(data, &[&format!("--interface={interface}")]);
        assert!(
            said.contains("expected the name of an interface"),
            "{interface:?}: {said}"
        );
    }
    for name in ["a folder", "a,eth0", "a#b", "a\"b", "a\nb", "ä"] {
        let said = refused(&data.join(name), &["--interface", "eth1"]);
        assert!(said.contains("cannot take this path"), "{name:?}: {said}");
    }
    let at = ["--interface", "eth1", "--reached-at"];
    for address in ["[::1]:8088", "10.88.0.1", "host:8088"] {
        refused(data, &[&at[..], &[address]].concat());
    }
    let said = refused(data, &[&at[..], &["172.16.0.1:8088"]].concat());
    assert!(
        said.contains("172.16.0.1 is on no interface, and in none of ALLOWED_NETWORKS"),
        "{said}"
    );
    let said = refused(
        data,
        &["--interface", "eth1", "--allowed-networks", "10.88.0.1/32"],
    );
    assert!(said.contains("no room for boxes"), "{said}");
    stage(data, "site.json", "{");
    assert!(run(data, &["--interface", "eth1"]).status.success());
}

#[test]
fn it_is_written_in_one_step_for_everybody_to_read() {
    let data = tempfile::tempdir().unwrap();
    let note = run(data.path(), &["--interface", "eth1"]).stderr;
    assert!(
        String::from_utf8(note)
            .unwrap()
            .contains("/boot is not there yet")
    );
    let path = data.path().join("dnsmasq.d/it.conf");
    let write = format!("--write={}", path.display());
    let options = ["--interface", "eth1", &write];
    let script = format!("umask 077; exec {BINARY} boot dnsmasq \"$@\"");
    for _ in 0..2 {
        let mut command = Command::new("sh");
        command
            .args(["-c", &script, "sh"])
            .args(options)
            .args(["--reached-at", "10.88.0.1:8088"]);
        let output = command.env("DATA_PATH", data.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("systemctl restart dnsmasq"), "{said}");
    }
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o644);
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        printed(data.path(), &options[..2])
    );
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);

    let said = refused(
        data.path(),
        &["--interface", "eth1", "--write=/proc/it.conf"],
    );
    assert!(said.contains("/proc/it.conf"), "{said}");
}

/// A DHCP client of busybox at the other end of the cable, which sends these options and prints
/// what it is told.
fn client(rack: &Rack, options: &[&str]) -> String {
    let script = rack.path("udhcpc");
    let said =
        "#!/bin/sh\n[ \"$1\" != bound ] || echo \"$ip|$bootfile$boot_file|$siaddr|$router\"\n";
    fs::write(&script, said).unwrap();
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let udhcpc = "busybox udhcpc -f -n -q -t 3 -T 4 -i lan0 -O bootfile -O router -s";
    let command: Vec<_> = udhcpc.split(' ').collect();
    let output = inside(&rack.lan.device, &command)
        .arg(script)
        .args(options)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn firmware_is_told_what_to_boot_by_either_way_and_no_router() {
    needs!(
        Need::NetworkNamespaces,
        Need::Program("dnsmasq"),
        Need::Program("busybox"),
        Need::Program("cpio")
    );
    let rack = Rack::new();
    let pxe = client(
        &rack,
        &["-x", "0x5d:000b", "-V", "PXEClient:Arch:00011:UNDI:003000"],
    );
    let (address, told) = pxe.split_once('|').unwrap();
    assert_eq!(told, "bootaa64.efi|10.88.0.1|");
    let host: u8 = address.strip_prefix("10.88.0.").unwrap().parse().unwrap();
    assert!((20..=250).contains(&host), "{address}");

    let http = client(
        &rack,
        &["-x", "0x5d:0013", "-V", "HTTPClient:Arch:00019:UNDI:003000"],
    );
    let url = format!("http://{}/bootaa64.efi", rack.at);
    assert_eq!(http, format!("{address}|{url}|10.88.0.1|"));
    // The installed system names itself otherwise, and is the same box.
    let system = client(&rack, &["-C", "-x", "0x3d:ff00000001020304"]);
    assert_eq!(system, format!("{address}||10.88.0.1|"));
    // An x86 machine that strays here is told nothing.
    let other = client(
        &rack,
        &["-x", "0x5d:0007", "-V", "PXEClient:Arch:00007:UNDI:003016"],
    );
    assert_eq!(other, format!("{address}||10.88.0.1|"));
}
