//! Shows how a device is told by its address: the kernel's own tables in network namespaces, what
//! does not count in them, and that a lookup is bounded in time and in processes.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use crate::support::lan::*;
use crate::support::needs::{Need, make_ext4, needs};
use crate::support::system::{Mount, run};
use crate::support::*;
use gb10_provision_api::device::mac::MacAddr;
use gb10_provision_api::net::neighbours::{complete_entries, parse_ip_neigh};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

// ---- The parsers, on any table -------------------------------------------------------------

const HEADING: &str =
    "IP address       HW type     Flags       HW address            Mask     Device\n";

/// An entry as arp_format_neigh_entry of the kernel's net/ipv4/arp.c prints it.
fn arp_line(ip: Ipv4Addr, hardware: u32, flags: u32, mac: &str) -> String {
    let (hardware, flags) = (format!("0x{hardware:x}"), format!("0x{flags:x}"));
    format!("{ip:<16} {hardware:<10}  {flags:<10}  {mac:<17}     *        enP7s7\n")
}

fn found(table: &str) -> Vec<(Ipv4Addr, String)> {
    complete_entries(table)
        .map(|(ip, mac)| (ip, mac.to_string()))
        .collect()
}

#[test]
fn only_complete_entries_of_the_arp_table_count() {
    let table = "\
IP address       HW type     Flags       HW address            Mask     Device
10.88.0.2        0x1         0x2         aa:bb:cc:00:00:02     *        enP7s7
10.88.0.3        0x1         0x0         00:00:00:00:00:00     *        enP7s7
10.88.0.4        0x1         0x0         aa:bb:cc:00:00:04     *        enP7s7
10.88.0.5        0x1         0x2         00:00:00:00:00:00     *        enP7s7
10.88.0.6        0x1         0x6         AA:BB:CC:00:00:06     *        enP7s7
10.88.0.7        0x1         0xc         aa:bb:cc:00:00:07     *        enP7s7
10.88.0.8        0x20        0x2         80:00:02:08:fe:80:00:00:00:00:00:00:00:02:c9:03:00:2f:6b:11     *        ib0
10.88.0.9        0x1         0x2         ff:ff:ff:ff:ff:ff     *        enP7s7
10.88.0.10       0x1         0x2
not a line of it
10.88.0.11       0x1         0x2         aa:bb:cc:00:00:0b     *        enP7s7
";
    let known = |ip: [u8; 4], mac: &str| (Ipv4Addr::from(ip), mac.to_owned());
    assert_eq!(
        found(table),
        [
            known([10, 88, 0, 2], "aa:bb:cc:00:00:02"),
            known([10, 88, 0, 6], "aa:bb:cc:00:00:06"), // permanent, and complete
            known([10, 88, 0, 11], "aa:bb:cc:00:00:0b"),
        ]
    );
    assert_eq!(found(""), []);
    assert_eq!(found(HEADING), []);
}

#[test]
fn failed_and_incomplete_entries_of_ip_neigh_do_not_count() {
    let ip = IpAddr::from([10, 88, 0, 2]);
    let mac = "aa:bb:cc:00:00:02";
    let of = |answer: &Value| {
        parse_ip_neigh(answer.to_string().as_bytes(), ip)
            .unwrap()
            .map(|mac| mac.to_string())
    };
    for state in ["REACHABLE", "STALE", "DELAY", "PROBE", "PERMANENT", "NOARP"] {
        let answer = json!([{"dst": ip, "dev": "enP7s7", "lladdr": mac, "state": [state]}]);
        assert_eq!(of(&answer).as_deref(), Some(mac), "{state}");
    }
    for state in ["FAILED", "INCOMPLETE"] {
        let answer = json!([{"dst": ip, "dev": "enP7s7", "lladdr": mac, "state": [state]}]);
        assert_eq!(of(&answer), None, "{state}");
    }
    let other = json!([{"dst": "10.88.0.20", "dev": "enP7s7", "lladdr": mac, "state": ["STALE"]}]);
    assert_eq!(of(&other), None);
    let no_address = json!([{"dst": ip, "dev": "enP7s7", "state": ["STALE"]}]);
    assert_eq!(of(&no_address), None);
    let zero = json!([{"dst": ip, "lladdr": "00:00:00:00:00:00", "state": ["STALE"]}]);
    assert_eq!(of(&zero), None);
    let second = json!([{}, {"dst": ip, "dev": "eth0", "state": ["FAILED"]},
        {"dst": ip, "dev": "enP7s7", "lladdr": mac, "state": ["STALE"]}]);
    assert_eq!(of(&second).as_deref(), Some(mac));
    for nothing in ["", "\n", "[]", "[ ]\n", "[{}]"] {
        assert_eq!(
            parse_ip_neigh(nothing.as_bytes(), ip).unwrap(),
            None,
            "{nothing:?}"
        );
    }
    for garbage in [
        "10.88.0.2 dev eth0 lladdr aa:bb:cc:00:00:02 STALE",
        "[",
        "{}",
        "[1]",
        "\0",
    ] {
        assert!(
            parse_ip_neigh(garbage.as_bytes(), ip).is_err(),
            "{garbage:?}"
        );
    }
}

/// A hardware address as tables have it, all-zero and group addresses among them.
fn hardware_address() -> impl Strategy<Value = [u8; 6]> {
    prop_oneof![
        6 => any::<[u8; 6]>(),
        2 => any::<[u8; 6]>().prop_map(|[_, rest @ ..]| {
            let [b, c, d, e, f] = rest;
            [2, b, c, d, e, f]
        }),
        1 => Just([0; 6]),
        1 => Just([0xff; 6]),
    ]
}

fn text_of(octets: [u8; 6]) -> String {
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

/// Whether the octets name one device: neither zero nor of a group.
fn is_a_device(octets: [u8; 6]) -> bool {
    octets != [0; 6] && octets[0].is_multiple_of(2)
}

#[derive(Debug, Clone)]
enum Line {
    Entry {
        ip: Ipv4Addr,
        hardware: u32,
        flags: u32,
        mac: [u8; 6],
    },
    Garbage(String),
}

fn line() -> impl Strategy<Value = Line> {
    let entry = (
        any::<Ipv4Addr>(),
        prop_oneof![Just(1_u32), any::<u32>()],
        0..16_u32,
        hardware_address(),
    );
    prop_oneof![
        4 => entry.prop_map(|(ip, hardware, flags, mac)| Line::Entry { ip, hardware, flags, mac }),
        1 => "[ -~\t]{0,60}".prop_map(Line::Garbage),
        1 => "\\PC{0,20}".prop_map(Line::Garbage),
    ]
}

const STATES: [&str; 8] = [
    "INCOMPLETE",
    "REACHABLE",
    "STALE",
    "DELAY",
    "PROBE",
    "FAILED",
    "NOARP",
    "PERMANENT",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_arp_table_gives_its_complete_entries_and_no_others(
        lines in prop::collection::vec(line(), 0..30),
    ) {
        let mut table = HEADING.to_owned();
        let mut complete = Vec::new();
        for line in lines {
            match line {
                Line::Entry { ip, hardware, flags, mac } => {
                    table += &arp_line(ip, hardware, flags, &text_of(mac));
                    if flags & 2 != 0 && is_a_device(mac) {
                        complete.push((ip, text_of(mac)));
                    }
                }
                Line::Garbage(text) => table += &(text + "\n"),
            }
        }
        prop_assert_eq!(found(&table), complete.as_slice());
        // Cut short at any place, it has no entry that the whole has not.
        let cut: String = table.chars().take(table.chars().count() * 2 / 3).collect();
        prop_assert!(complete.starts_with(&found(&cut)));
    }

    #[test]
    fn any_text_for_an_arp_table_is_read_without_a_panic(text in any::<String>()) {
        found(&text);
    }

    #[test]
    fn any_answer_of_ip_neigh_gives_the_first_entry_that_counts(
        entries in prop::collection::vec(
            (0..4_u8, prop::option::of(hardware_address()), prop::sample::subsequence(STATES.to_vec(), 0..3)),
            0..12,
        ),
    ) {
        let asked = IpAddr::from([10, 88, 0, 0]);
        let address = |n: u8| IpAddr::from([10, 88, 0, n]);
        let rendered: Vec<Value> = entries.iter().map(|(n, mac, states)| {
            let mut entry = json!({"dst": address(*n), "dev": "enP7s7", "state": states});
            if let Some(mac) = mac {
                entry["lladdr"] = text_of(*mac).into();
            }
            entry
        }).collect();
        let expected = entries.iter().find_map(|(n, mac, states)| {
            let counts = *n == 0 && !states.contains(&"FAILED") && !states.contains(&"INCOMPLETE");
            mac.filter(|mac| counts && is_a_device(*mac)).map(text_of)
        });
        let answer = serde_json::to_vec(&rendered).unwrap();
        let mac = parse_ip_neigh(&answer, asked).unwrap().map(|mac: MacAddr| mac.to_string());
        prop_assert_eq!(mac, expected);
        // Cut short, it is an error, or nothing where nothing is left.
        let cut = &answer[..answer.len() / 2];
        prop_assert!(parse_ip_neigh(cut, asked).is_err() || cut.is_empty());
    }

    #[test]
    fn any_bytes_for_an_answer_of_ip_neigh_are_read_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = parse_ip_neigh(&bytes, IpAddr::from([10, 88, 0, 2]));
    }
}

// ---- The kernel's own tables ---------------------------------------------------------------

/// The line of the log about a seed for that device, told by that source.
fn served(mac: &str, ip: &str, source: &str) -> [String; 4] {
    let fields = [format!("gb10.mac=\"{mac}\""), format!("gb10.ip={ip} ")];
    let [mac, ip] = fields;
    [
        "seed served".to_owned(),
        mac,
        ip,
        format!("mac_source=\"{source}\""),
    ]
}

fn wait_for_served(service: &Service, mac: &str, ip: &str, source: &str) {
    let parts = served(mac, ip, source);
    service.wait_for_log(&parts.each_ref().map(String::as_str));
}

#[test]
fn a_device_on_the_lan_is_told_by_the_kernels_arp_table() {
    needs!(Need::NetworkNamespaces);
    let lan = Lan::new();
    let service = lan.start().service();
    lan.get(DEVICE, &service, "/cloud-init/user-data")
        .is_for(MAC);
    wait_for_served(&service, MAC, DEVICE, "arp");
    // An unset variable of a boot loader is no claim.
    lan.get(DEVICE, &service, "/cloud-init/user-data?mac=")
        .is_for(MAC);
    lan.get(DEVICE, &service, "/cloud-init//user-data")
        .is_for(MAC);
    lan.get(DEVICE, &service, "/cloud-init/?mac=user-data")
        .is_for(MAC);
    assert!(!service.log().contains("WARN"), "{}", service.log());
}

#[test]
fn the_path_goes_before_the_query_and_the_query_before_the_arp_table() {
    needs!(Need::NetworkNamespaces);
    let lan = Lan::new();
    let service = lan.start().service();
    let (path, query) = ("02:00:00:00:00:aa", "02:00:00:00:00:bb");
    lan.get(
        DEVICE,
        &service,
        &format!("/cloud-init/{path}/user-data?mac={query}"),
    )
    .is_for(path);
    wait_for_served(&service, path, DEVICE, "path");
    lan.get(
        DEVICE,
        &service,
        &format!("/cloud-init/user-data?mac={query}"),
    )
    .is_for(query);
    wait_for_served(&service, query, DEVICE, "query");
    lan.get(DEVICE, &service, "/cloud-init/user-data")
        .is_for(MAC);
    wait_for_served(&service, MAC, DEVICE, "arp");
    // A wrong claim is an error, and not a reason to guess.
    assert_eq!(
        lan.get(DEVICE, &service, "/cloud-init/user-data?mac=kitchen")
            .status,
        400
    );
}

#[test]
fn an_ipv4_mapped_peer_is_told_by_its_ipv4_address() {
    needs!(Need::NetworkNamespaces);
    let lan = Lan::new();
    let service = lan.start().env("LISTEN", "[::ffff:10.88.0.1]:0").service();
    let url = format!(
        "http://10.88.0.1:{}/cloud-init/user-data",
        service.address.port()
    );
    lan.curl(DEVICE, &[&url]).pop().unwrap().is_for(MAC);
    wait_for_served(&service, MAC, DEVICE, "arp");
}

#[test]
fn without_a_readable_arp_table_ip_neigh_answers() {
    needs!(Need::NetworkNamespaces);
    let lan = Lan::new();
    let heading_only = lan.folder.path().join("heading-only");
    std::fs::write(&heading_only, HEADING).unwrap();
    let incomplete = lan.folder.path().join("incomplete");
    let line = arp_line(Ipv4Addr::new(10, 88, 0, 2), 1, 0, "00:00:00:00:00:00");
    std::fs::write(&incomplete, format!("{HEADING}{line}")).unwrap();
    // Missing, unreadable (a folder), and without a complete entry of the device.
    for table in [
        lan.missing(),
        lan.folder.path().to_owned(),
        heading_only,
        incomplete,
    ] {
        let service = lan.start().env("ARP_TABLE", &table).service();
        lan.get(DEVICE, &service, "/cloud-init/user-data")
            .is_for(MAC);
        wait_for_served(&service, MAC, DEVICE, "ip-neigh");
    }
}

#[test]
fn a_storm_of_64_lookups_is_answered_by_ip_neigh() {
    needs!(Need::NetworkNamespaces);
    let lan = Lan::new();
    let service = lan.start().env("ARP_TABLE", lan.missing()).service();
    for answer in lan.storm(&service) {
        answer.is_for(MAC);
    }
}

#[test]
fn an_ipv6_peer_is_told_by_ip_neigh() {
    needs!(Need::NetworkNamespaces, Need::Ipv6);
    let lan = Lan::new();
    for (end, address) in [(&lan.server, "fd88::1"), (&lan.device, "fd88::2")] {
        ip(&format!("-n {end} address add {address}/64 dev lan0 nodad"));
    }
    let start = lan
        .start()
        .env("LISTEN", "[fd88::1]:0")
        .env("ALLOWED_NETWORKS", "fd88::/64");
    let service = start.service();
    lan.get("fd88::2", &service, "/cloud-init/user-data")
        .is_for(MAC);
    wait_for_served(&service, MAC, "fd88::2", "ip-neigh");
}

#[test]
fn an_unknown_device_gets_its_seed_and_a_warning_names_its_address() {
    needs!(Need::NetworkNamespaces);
    let lan = Lan::new();
    // Neither table is to be had: no file, and no program.
    let start = lan.start_by(&["/usr/bin/env", "PATH=/nowhere", BINARY]);
    let service = start.env("ARP_TABLE", lan.missing()).service();
    lan.get(DEVICE, &service, "/cloud-init/user-data")
        .is_for("unknown");
    wait_for_served(&service, "unknown", DEVICE, "unknown");
    let address = format!("gb10.ip={DEVICE} ");
    service.wait_for_log(&["WARN", "a device whose MAC is unknown", address.trim()]);
    service.wait_for_log(&["WARN", "ip could not be started", &address]);
    let meta_data = lan.get(DEVICE, &service, "/cloud-init/meta-data");
    assert_eq!(meta_data.status, 200);
    assert_eq!(
        meta_data.body.lines().next(),
        Some("instance-id: \"gb10-pxe-unknown\"")
    );
}

#[test]
fn failed_and_incomplete_entries_of_the_kernel_do_not_count() {
    needs!(Need::NetworkNamespaces);
    let lan = Lan::new();
    let lan = lan.without_questions_of_the_device();
    let service = lan.start().service();
    let unknown = || {
        lan.get(ROUTED, &service, "/cloud-init/user-data")
            .is_for("unknown")
    };
    let ip_neigh = ["ip", "neigh", "show", "to", ROUTED];

    assert_eq!(lan.table(&ip_neigh), "", "no entry at all");
    unknown();
    lan.entry("nud incomplete");
    assert!(
        lan.table(&ip_neigh).contains("INCOMPLETE"),
        "{}",
        lan.table(&ip_neigh)
    );
    unknown();
    // One that was complete before it failed keeps its old MAC.
    lan.entry("lladdr 02:88:00:00:00:99 nud reachable");
    lan.get(ROUTED, &service, "/cloud-init/user-data")
        .is_for("02:88:00:00:00:99");
    lan.entry("lladdr 02:88:00:00:00:99 nud failed");
    assert!(
        lan.table(&ip_neigh).contains("FAILED"),
        "{}",
        lan.table(&ip_neigh)
    );
    unknown();
    lan.entry("lladdr 00:00:00:00:00:00 nud permanent");
    assert!(lan.table(&["cat", "/proc/net/arp"]).contains(ROUTED));
    unknown();
    // Nothing of all that was remembered.
    lan.entry("lladdr 02:88:00:00:00:98 nud stale");
    lan.get(ROUTED, &service, "/cloud-init/user-data")
        .is_for("02:88:00:00:00:98");
    wait_for_served(&service, "02:88:00:00:00:98", ROUTED, "arp");
}

#[test]
fn a_dead_address_is_in_neither_of_the_kernels_tables() {
    needs!(Need::NetworkNamespaces);
    let lan = Lan::new();
    // Something to send; whether it can be is told by the table.
    lan.table(&["curl", "--silent", "--max-time", "1", "http://10.88.0.77/"]);
    let dead = IpAddr::from([10, 88, 0, 77]);
    let text = lan.table(&["ip", "neigh", "show", "to", "10.88.0.77"]);
    assert!(
        text.contains("INCOMPLETE") || text.contains("FAILED"),
        "{text}"
    );
    let answer = lan.table(&["ip", "-json", "neigh", "show", "to", "10.88.0.77"]);
    assert!(answer.contains("10.88.0.77"), "{answer}");
    assert_eq!(parse_ip_neigh(answer.as_bytes(), dead).unwrap(), None);
    let table = lan.table(&["cat", "/proc/net/arp"]);
    assert!(table.contains("10.88.0.77"), "{table}");
    assert_eq!(complete_entries(&table).count(), 0, "{table}");
}

#[test]
fn a_heartbeat_without_a_mac_is_of_the_device_in_the_arp_table() {
    needs!(Need::NetworkNamespaces);
    let lan = Lan::new();
    let lan = lan.without_questions_of_the_device();
    let service = lan.start().service();
    lan.get(DEVICE, &service, "/healthz");
    for (mac, phase) in [(Value::Null, "start"), ("".into(), "done")] {
        let beat = json!({"mac": mac, "stage": "network", "phase": phase});
        let record = lan.heartbeat(DEVICE, &service, beat);
        assert_eq!(record.status, 200, "{record:?}");
        assert_eq!(record.json()["mac"], MAC);
        assert_eq!(record.json()["ip"], DEVICE);
        assert_eq!(record.json()["hostname"], "gb10-pxe-02-88-00-00-00-02");
    }
    service.wait_for_log(&[
        "heartbeat",
        &format!("gb10.mac={MAC}"),
        "mac_source=\"arp\"",
    ]);

    let beat = json!({"stage": "network", "phase": "start"});
    let refused = lan.heartbeat(ROUTED, &service, beat.clone());
    assert_eq!(refused.status, 422, "{refused:?}");
    assert_eq!(refused.json()["field"], "mac");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains(ROUTED) && detail.contains("expected the device's MAC"),
        "{detail}"
    );

    // The other table is asked, too.
    let service = lan.start().env("ARP_TABLE", lan.missing()).service();
    let record = lan.heartbeat(DEVICE, &service, beat);
    assert_eq!(record.json()["mac"], MAC);
    service.wait_for_log(&[
        "heartbeat",
        &format!("gb10.mac={MAC}"),
        "mac_source=\"ip-neigh\"",
    ]);
}

#[test]
fn a_claimed_mac_that_differs_from_the_arp_entry_is_recorded_and_warned_of() {
    needs!(Need::NetworkNamespaces);
    let lan = Lan::new();
    let lan = lan.without_questions_of_the_device();
    let service = lan.start().service();
    let claimed = "02:00:00:00:00:cc";
    let beat = |mac: &str| json!({"mac": mac, "stage": "driver", "phase": "done"});

    let record = lan.heartbeat(DEVICE, &service, beat(claimed)).json();
    assert_eq!(record["mac"], claimed);
    assert_eq!(record["stages"][0]["arp_mac"], MAC);
    assert_eq!(
        lan.get(DEVICE, &service, &format!("/clients/{claimed}"))
            .json()["stages"][0]["arp_mac"],
        MAC
    );
    let mac = format!("gb10.mac={claimed}");
    service.wait_for_log(&["WARN", "another MAC", &mac, &format!("arp_mac={MAC}")]);

    // Neither its own MAC nor one that no table contradicts is worth a word.
    let before = service.log().matches("another MAC").count();
    let own = lan
        .heartbeat(DEVICE, &service, beat("02-88-00-00-00-02"))
        .json();
    let not_in_the_table = lan
        .heartbeat(ROUTED, &service, beat("02:00:00:00:00:dd"))
        .json();
    for record in [own, not_in_the_table] {
        assert_eq!(record["stages"][0]["phase"], "done");
        assert_eq!(record["stages"][0].get("arp_mac"), None);
    }
    service.wait_for_log(&["heartbeat", "gb10.mac=02:00:00:00:00:dd"]);
    assert_eq!(service.log().matches("another MAC").count(), before);
}

#[test]
fn whoever_asks_and_however_it_is_one_box() {
    needs!(Need::NetworkNamespaces);
    let lan = Lan::new();
    let lan = lan.without_questions_of_the_device();
    // The port that the kernel knows is another one of the box than its record is under.
    let primary = "02:00:00:00:00:aa";
    let devices = json!({primary: {"hostname": "spark-07", "macs": [MAC]}}).to_string();
    let service = lan.start().stage("devices.json", &devices).service();
    lan.get(DEVICE, &service, "/healthz");

    let start = json!({"name": "subiquity/Install/install", "event_type": "start"}).to_string();
    for mac in ["unknown", MAC, primary] {
        let seed = lan.get(DEVICE, &service, &format!("/cloud-init/{mac}/meta-data"));
        assert!(seed.body.contains("spark-07"), "{mac}: {seed:?}");
        let beat = json!({"mac": mac, "stage": "network", "phase": "done"});
        assert_eq!(lan.heartbeat(DEVICE, &service, beat).status, 200, "{mac}");
        let url = format!("http://{}/report/{mac}", service.address);
        let report = lan.curl(DEVICE, &["--data", &start, &url]);
        assert_eq!(report[0].status, 204, "{mac}: {report:?}");
    }
    let seed = lan.get(DEVICE, &service, "/cloud-init/meta-data?mac=unknown");
    assert!(seed.body.contains("spark-07"), "{seed:?}");

    // A milestone is on record behind its answer.
    let record = eventually("all six reports", || {
        let record = lan.get(DEVICE, &service, "/clients/unknown").json();
        let stages = record["stages"].as_array()?.len();
        (stages == 6).then_some(record)
    });
    assert_eq!(record["mac"], primary);
    for mac in [MAC, primary] {
        let same = lan.get(DEVICE, &service, &format!("/clients/{mac}")).json();
        assert_eq!(same, record, "{mac}");
    }
    let all = lan.get(DEVICE, &service, "/clients").json();
    assert_eq!(all.as_object().unwrap().len(), 1, "{all}");
    assert_eq!(service.log().matches("another MAC").count(), 0);
}

#[test]
fn an_installer_that_claims_another_mac_than_its_arp_entry_is_warned_of_as_a_heartbeat_is() {
    needs!(Need::NetworkNamespaces);
    let lan = Lan::new();
    let lan = lan.without_questions_of_the_device();
    let service = lan.start().service();
    let claimed = "02:00:00:00:00:cc";
    let start = json!({"name": "subiquity/Install/install", "event_type": "start"}).to_string();
    let url = format!("http://{}/report/{claimed}", service.address);
    assert_eq!(lan.curl(DEVICE, &["--data", &start, &url])[0].status, 204);
    let mac = format!("gb10.mac={claimed}");
    service.wait_for_log(&["WARN", "another MAC", &mac, &format!("arp_mac={MAC}")]);
    // The line tells the status that was answered.
    service.wait_for_log(&["heartbeat", &mac, "gb10.stage=install", "gb10.status=204"]);
    let record = lan.get(DEVICE, &service, &format!("/clients/{claimed}"));
    assert_eq!(record.json()["stages"][0]["arp_mac"], MAC);
}

// ---- An `ip` that misbehaves. It is a fake, for no real one can be made to. ------------------

#[test]
fn an_ip_that_hangs_is_killed_and_the_seed_is_served_after_two_seconds() {
    needs!(Need::NetworkNamespaces);
    let lan = Lan::new();
    let start = lan.start_with_fake_ip("echo $$ >>$FAKE/pids; exec sleep 600");
    let service = start.service();
    let answer = lan.get(DEVICE, &service, "/cloud-init/user-data");
    answer.is_for("unknown");
    let took = answer.took.as_secs_f64();
    assert!((1.5..3.5).contains(&took), "{took} s");
    service.wait_for_log(&["WARN", "ip neigh show did not answer", "over 2 s", DEVICE]);
    let pids = std::fs::read_to_string(lan.folder.path().join("fake/pids")).unwrap();
    assert_eq!(pids.lines().count(), 1);
    let process = Path::new("/proc").join(pids.trim());
    eventually("the end of the hung ip", || {
        (!process.exists()).then_some(())
    });

    // A heartbeat waits no longer, and has no MAC then.
    let beat = json!({"stage": "network", "phase": "start"});
    let refused = lan.heartbeat(DEVICE, &service, beat);
    assert_eq!(refused.status, 422);
    assert!(refused.took < Duration::from_millis(3_500), "{refused:?}");
}

#[test]
fn a_storm_of_64_lookups_never_runs_more_than_four_ip_at_once() {
    needs!(Need::NetworkNamespaces);
    let lan = Lan::new();
    // Each run holds one of four locks until it is killed; one too many leaves word.
    let start = lan.start_with_fake_ip(
        "for n in 1 2 3 4; do exec 9>$FAKE/slot$n; flock -n 9 && { echo >>$FAKE/runs; exec sleep 600; }; done
         echo >>$FAKE/too-many",
    );
    let service = start.service();
    let fake = lan.folder.path().join("fake");
    let runs = || std::fs::read_to_string(fake.join("runs")).map_or(0, |runs| runs.lines().count());
    // The second storm waits for the slots of those that the first one has to kill.
    let answers = std::thread::scope(|scope| {
        let first = scope.spawn(|| lan.storm(&service));
        eventually("four ip at once", || (runs() == 4).then_some(()));
        // Not for them, but for the second storm to have time left once they are killed.
        std::thread::sleep(Duration::from_secs(1));
        let mut answers = lan.storm(&service);
        answers.extend(first.join().unwrap());
        answers
    });
    assert_eq!(answers.len(), 128);
    for answer in answers {
        answer.is_for("unknown");
        assert!(answer.took < Duration::from_secs(5), "{answer:?}");
    }
    assert!(!fake.join("too-many").exists(), "more than four at once");
    assert!(runs() > 4, "nobody had the slots of the killed");
    // The service still answers who needs no table at once.
    let known = lan.get(DEVICE, &service, "/cloud-init/02:00:00:00:00:01/user-data");
    known.is_for("02:00:00:00:00:01");
    assert!(known.took < Duration::from_secs(1), "{known:?}");
}

#[test]
fn an_ip_that_fails_or_talks_nonsense_leaves_the_device_unknown() {
    for (script, reason) in [
        ("exit 1", "ip ended with exit status: 1"),
        (
            "echo '10.88.0.2 dev lan0 lladdr 02:88:00:00:00:02 STALE'",
            "its answer is not understood",
        ),
        ("exec yes", "ip ended with signal: 13"),
        ("kill -9 $$", "ip ended with signal: 9"),
    ] {
        needs!(Need::NetworkNamespaces);
        let lan = Lan::new();
        let service = lan.start_with_fake_ip(script).service();
        let answer = lan.get(DEVICE, &service, "/cloud-init/user-data");
        assert_eq!(
            (answer.status, &*answer.body),
            (200, FOR_UNKNOWN),
            "{script}"
        );
        assert!(
            answer.took < Duration::from_millis(1_900),
            "{script}: {answer:?}"
        );
        service.wait_for_log(&["WARN", "ip neigh show did not answer", reason, DEVICE]);
    }
}

/// A file system that holds whoever writes to it, out of reach of any signal, until it thaws.
struct Frozen {
    mount: Mount,
    _folder: TempDir,
}

impl Frozen {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        assert!(make_ext4(&image, 8 << 20));
        let arguments = ["-o", "loop", image.to_str().unwrap()];
        let mount = Mount::new(&arguments, &folder.path().join("mount"));
        let frozen = Self {
            mount,
            _folder: folder,
        };
        assert!(run("fsfreeze", &["--freeze", frozen.path()]));
        frozen
    }

    fn path(&self) -> &str {
        self.mount.at.to_str().unwrap()
    }

    fn thaw(&self) -> bool {
        run("fsfreeze", &["--unfreeze", self.path()])
    }
}

impl Drop for Frozen {
    /// Before the file system can be unmounted; in vain where the test thawed it.
    fn drop(&mut self) {
        self.thaw();
    }
}

#[test]
fn an_ip_that_cannot_be_killed_keeps_its_place_until_it_is_gone() {
    needs!(
        Need::NetworkNamespaces,
        Need::LoopMounts,
        Need::Program("fsfreeze")
    );
    let lan = Lan::new();
    let frozen = Frozen::new();
    let start = lan.start_with_fake_ip(&format!(
        r#"echo $$ >>$FAKE/pids
        echo >$HELD/file
        echo '[{{"dst": "{DEVICE}", "lladdr": "{MAC}", "state": ["STALE"]}}]'"#
    ));
    let service = start.env("HELD", frozen.path()).service();
    let fake = lan.folder.path().join("fake");
    let pids = || std::fs::read_to_string(fake.join("pids")).unwrap();
    for _ in 0..2 {
        for answer in lan.storm(&service) {
            answer.is_for("unknown");
            assert!(answer.took < Duration::from_secs(5), "{answer:?}");
        }
        assert_eq!(
            pids().lines().count(),
            4,
            "no further process while four are held"
        );
    }
    let held = pids();
    let is_there = |pid: &str| Path::new("/proc").join(pid).exists();
    assert!(held.lines().all(is_there), "killed, and still there");

    assert!(frozen.thaw());
    eventually("the end of the held processes", || {
        (!held.lines().any(is_there)).then_some(())
    });
    lan.get(DEVICE, &service, "/cloud-init/user-data")
        .is_for(MAC);
    wait_for_served(&service, MAC, DEVICE, "ip-neigh");
}
