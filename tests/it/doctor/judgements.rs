//! Shows what the doctor makes of facts that no test can make on a host.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use gb10_provision_api::doctor::configuration::Kind;
use gb10_provision_api::doctor::dhcp::{self, Asked, Heard, Reply};
use gb10_provision_api::doctor::host::{self, Clock, Space};
use gb10_provision_api::doctor::link::{self, Port};
use gb10_provision_api::doctor::policy::{self, Standing};
use gb10_provision_api::doctor::sockets::{self, Open};
use gb10_provision_api::doctor::tftp::{self, Outcome};
use gb10_provision_api::doctor::{Check, Packet, Verdict, grub, service};
use serde_json::json;

const OWN: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 9);
const AT: SocketAddrV4 = SocketAddrV4::new(OWN, 8088);

/// Each with its verdict.
fn verdicts(checks: &[Check]) -> Vec<(&str, Verdict)> {
    checks
        .iter()
        .map(|check| (check.name, check.verdict))
        .collect()
}

#[test]
fn the_address_and_its_link() {
    let port = |name: &str, is_up, has_link, addresses: &[&str]| Port {
        name: name.to_owned(),
        is_up,
        has_link,
        addresses: addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect(),
    };
    let lan = |is_up, has_link| {
        vec![
            port("lo", true, true, &["127.0.0.1/8"]),
            port("eth0", true, true, &["192.0.2.7/24"]),
            port("eth1", is_up, has_link, &["10.99.0.1/16", "10.88.0.1/24"]),
        ]
    };
    let (ok, fail) = (Verdict::Ok, Verdict::Fail);
    let cases = [
        (lan(true, true), None, vec![("address", ok), ("link", ok)]),
        (
            lan(true, true),
            Some("eth1"),
            vec![("address", ok), ("link", ok)],
        ),
        (lan(true, true), Some("eth0"), vec![("address", fail)]),
        (
            lan(true, false),
            None,
            vec![("address", ok), ("link", fail)],
        ),
        (
            lan(false, false),
            None,
            vec![("address", ok), ("link", fail)],
        ),
        (vec![], None, vec![("address", fail)]),
        (
            lan(true, true)[..2].to_vec(),
            Some("eth1"),
            vec![("address", fail)],
        ),
    ];
    for (ports, interface, expected) in cases {
        let checks = link::judge(Ok(&ports), OWN, interface);
        assert_eq!(verdicts(&checks), expected, "{ports:?} {interface:?}");
    }
    let checks = link::judge(Err("ip is not installed"), OWN, None);
    assert_eq!(verdicts(&checks), [("address", Verdict::Warn)]);
}

#[test]
fn the_answer_of_the_service() {
    let cases = [
        (Ok((200, json!({"status": "ok"}))), Verdict::Ok),
        (Ok((200, json!({"status": "degraded"}))), Verdict::Warn),
        (
            Ok((503, json!({"status": "failing", "reason": "no space"}))),
            Verdict::Fail,
        ),
        // Another server.
        (Ok((200, json!(null))), Verdict::Fail),
        (Ok((404, json!({"status": "ok"}))), Verdict::Fail),
        (Err("connection refused".to_owned()), Verdict::Fail),
    ];
    for (health, expected) in cases {
        let check = service::judge(AT, &health, &Open::default());
        assert_eq!(check.verdict, expected, "{health:?}: {check:?}");
    }
}

#[test]
fn the_ports_of_dnsmasq() {
    let at = |address: &str| address.parse::<SocketAddrV4>().unwrap();
    let (dhcp, pxe) = (at("0.0.0.0:67"), at("0.0.0.0:4011"));
    let (tftp, elsewhere) = (at("10.88.0.1:69"), at("192.0.2.7:69"));
    let cases = [
        (Kind::Direct, vec![dhcp, tftp], Verdict::Ok),
        (Kind::Direct, vec![dhcp, at("0.0.0.0:69")], Verdict::Ok),
        (Kind::Direct, vec![dhcp], Verdict::Fail),
        (Kind::Direct, vec![tftp], Verdict::Fail),
        // It serves another network.
        (Kind::Direct, vec![dhcp, elsewhere], Verdict::Fail),
        (Kind::Proxy, vec![dhcp, tftp], Verdict::Fail),
        (Kind::Proxy, vec![dhcp, tftp, pxe], Verdict::Ok),
    ];
    for (kind, udp, expected) in cases {
        let open = Open {
            udp,
            ..Open::default()
        };
        assert_eq!(
            sockets::judge(AT, kind, &open).verdict,
            expected,
            "{kind:?} {open:?}"
        );
    }
}

/// An answer of the server `from`, which offers an address, and what to boot.
fn reply(asked: Asked, from: Ipv4Addr, offers: bool, boot_file: &str) -> Reply {
    Reply {
        asked,
        from,
        packet: Packet {
            xid: 1,
            offered: offers.then_some(Ipv4Addr::new(10, 88, 0, 77)),
            next_server: from,
            server: Some(from),
            class: (asked == Asked::Http).then(|| "HTTPClient".to_owned()),
            boot_file: (!boot_file.is_empty()).then(|| boot_file.to_owned()),
        },
    }
}

#[test]
fn who_answers_dhcp() {
    let shim = "bootaa64.efi";
    let url = "http://10.88.0.1:8088/bootaa64.efi";
    let pxe = |file: &str| reply(Asked::Pxe, OWN, true, file);
    let http = |file: &str| reply(Asked::Http, OWN, true, file);
    let foreign = reply(Asked::Pxe, OTHER, true, "");
    let proxy = |file: &str| {
        vec![
            foreign.clone(),
            reply(Asked::Pxe, OWN, false, ""),
            reply(Asked::BootService, OWN, false, file),
        ]
    };
    let mut misled = pxe(shim);
    misled.packet.next_server = OTHER;
    let mut unnamed = http(url);
    unnamed.packet.class = None;
    // One that does not say who it is is known by its address.
    let mut silent = foreign.clone();
    silent.packet.server = None;
    let (ok, warn, fail) = (Verdict::Ok, Verdict::Warn, Verdict::Fail);
    let cases = [
        (Kind::Direct, vec![pxe(shim), http(url)], [ok, ok]),
        (
            Kind::Direct,
            vec![pxe(shim), http(url), foreign.clone()],
            [fail, ok],
        ),
        (Kind::Direct, vec![pxe(shim), http(url), silent], [fail, ok]),
        (Kind::Direct, vec![foreign.clone()], [fail, fail]),
        (Kind::Direct, vec![], [fail, fail]),
        (Kind::Direct, vec![pxe("pxelinux.0"), http(url)], [ok, fail]),
        (Kind::Direct, vec![pxe(""), http("")], [ok, fail]),
        (Kind::Direct, vec![misled, http(url)], [ok, fail]),
        (
            Kind::Direct,
            vec![pxe(shim), http("http://10.88.0.1/x")],
            [ok, warn],
        ),
        (Kind::Direct, vec![pxe(shim), unnamed], [ok, warn]),
        (Kind::Proxy, proxy(shim), [ok, ok]),
        (Kind::Proxy, proxy("pxelinux.0"), [ok, fail]),
        (Kind::Proxy, proxy(shim)[..2].to_vec(), [ok, fail]),
        (Kind::Proxy, proxy(shim)[1..].to_vec(), [fail, ok]),
        (
            Kind::Proxy,
            [proxy(shim), vec![pxe(shim)]].concat(),
            [fail, ok],
        ),
        (Kind::Proxy, vec![foreign], [ok, fail]),
    ];
    for (kind, replies, [servers, boot]) in cases {
        let checks = dhcp::judge(AT, kind, &Heard::Replies(replies.clone()));
        let expected = [("dhcp", servers), ("dhcp-boot", boot)];
        assert_eq!(verdicts(&checks), expected, "{kind:?} {replies:#?}");
    }
    for (heard, expected) in [
        (Heard::Nowhere, Verdict::Skip),
        (Heard::NotAllowed, Verdict::Skip),
        (Heard::Failed("a reason".to_owned()), Verdict::Warn),
    ] {
        assert_eq!(
            verdicts(&dhcp::judge(AT, Kind::Direct, &heard)),
            [("dhcp", expected)]
        );
    }
}

#[test]
fn what_tftp_gives() {
    for (outcome, expected) in [
        (Outcome::Same, Verdict::Ok),
        (Outcome::Differs, Verdict::Fail),
        (Outcome::NotStaged, Verdict::Fail),
        (Outcome::Refused("file not found".to_owned()), Verdict::Fail),
        (Outcome::Failed("no answer".to_owned()), Verdict::Fail),
    ] {
        let outcomes = [("bootaa64.efi", Outcome::Same), ("grubaa64.efi", outcome)];
        assert_eq!(tftp::judge(&outcomes).verdict, expected, "{outcomes:?}");
    }
}

#[test]
fn grubs_configuration() {
    let (text, other) = ("set a=b".to_owned(), "set a=c".to_owned());
    let good = grub::Found {
        staged: Ok(Some(text.clone())),
        served: Ok((200, text)),
        fault: Ok(None),
    };
    let no_answer = || Err("connection refused".to_owned());
    let cases = [
        (good.clone(), Verdict::Ok),
        // GRUB's own word is more than is needed.
        (
            grub::Found {
                fault: Err("not installed".to_owned()),
                ..good.clone()
            },
            Verdict::Ok,
        ),
        (
            grub::Found {
                fault: Ok(Some("error: line 1".to_owned())),
                ..good.clone()
            },
            Verdict::Fail,
        ),
        (
            grub::Found {
                served: Ok((200, other)),
                ..good.clone()
            },
            Verdict::Fail,
        ),
        (
            grub::Found {
                served: Ok((503, String::new())),
                ..good.clone()
            },
            Verdict::Fail,
        ),
        (
            grub::Found {
                served: no_answer(),
                ..good.clone()
            },
            Verdict::Skip,
        ),
        (
            grub::Found {
                staged: Ok(None),
                ..good.clone()
            },
            Verdict::Fail,
        ),
        (
            grub::Found {
                staged: Err("no UTF-8".to_owned()),
                ..good
            },
            Verdict::Fail,
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(grub::judge(&found).verdict, expected, "{found:?}");
    }
}

#[test]
fn the_clock() {
    for (now, is_synchronised, expected) in [
        ("2026-11-25T12:00:00Z", Some(true), Verdict::Ok),
        ("2026-11-25T12:00:00Z", None, Verdict::Ok),
        ("2026-11-25T12:00:00Z", Some(false), Verdict::Warn),
        ("1970-01-01T00:05:00Z", Some(true), Verdict::Fail),
        ("2024-04-25T00:00:00Z", None, Verdict::Fail),
        ("2106-02-07T06:28:15Z", None, Verdict::Fail),
    ] {
        let clock = Clock {
            now: now.parse().unwrap(),
            is_synchronised,
        };
        assert_eq!(host::judge_clock(&clock).verdict, expected, "{clock:?}");
    }
}

#[test]
fn the_room_in_the_data_folder() {
    let space = |megabytes: u64, inodes, is_read_only| {
        Ok(Space {
            bytes: megabytes << 20,
            inodes,
            is_read_only,
        })
    };
    for (space, expected) in [
        (space(50_000, Some(1_000_000), false), Verdict::Ok),
        (space(50_000, None, false), Verdict::Ok),
        (space(500, Some(1_000_000), false), Verdict::Warn),
        (space(50_000, Some(5_000), false), Verdict::Warn),
        (space(63, Some(1_000_000), false), Verdict::Fail),
        (space(50_000, Some(0), false), Verdict::Fail),
        (space(50_000, Some(1_000_000), true), Verdict::Fail),
        (Err("No such file or directory".to_owned()), Verdict::Fail),
    ] {
        assert_eq!(
            host::judge_space(Path::new("/data"), &space).verdict,
            expected,
            "{space:?}"
        );
    }
}

#[test]
fn the_policy() {
    let standing = |to_install, installs_new, given_up: usize| {
        Ok(Standing {
            policy: "once",
            known: 12,
            to_install,
            installs_new,
            given_up: vec!["3c:6d:66:0a:1b:2c".to_owned(); given_up],
        })
    };
    for (standing, expected, text) in [
        (
            standing(3, true, 0),
            Verdict::Ok,
            "once: 3 of 12 known boxes would be installed now; a new",
        ),
        (standing(0, true, 0), Verdict::Ok, "a new one would be, too"),
        (standing(1, false, 0), Verdict::Ok, "a new one would not be"),
        (standing(0, false, 0), Verdict::Warn, "0 of 12"),
        (
            standing(3, true, 1),
            Verdict::Warn,
            "given up: 3c:6d:66:0a:1b:2c",
        ),
        (standing(3, true, 9), Verdict::Warn, ", …"),
        (
            Err("needs root, to read the records".to_owned()),
            Verdict::Skip,
            "needs root",
        ),
    ] {
        let check = policy::judge(&standing);
        assert_eq!(check.verdict, expected, "{standing:?}");
        assert!(check.text.contains(text), "{check:?}");
    }
}
