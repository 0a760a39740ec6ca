//! Shows that every common spelling of a MAC address is one device, and that what names no single
//! device is refused with a word on what was expected.

use crate::support::*;
use gb10_provision_api::device::mac::{MacAddr, MacError};
use proptest::prelude::*;

/// The device of the spellings below.
const CANONICAL: &str = "aa:bb:cc:0d:ee:ff";

/// A user-data that says which device it was rendered for.
const WHO: &str = "#cloud-config\nmac: '{{ mac }}'\n";

#[test]
fn every_common_spelling_is_the_same_device() {
    let spellings = [
        // Linux, GRUB's $net_default_mac
        "aa:bb:cc:0d:ee:ff",
        "AA:BB:CC:0D:EE:FF",
        "Aa:bB:Cc:0d:eE:Ff",
        // iPXE's ${mac:hexhyp}, Windows
        "aa-bb-cc-0d-ee-ff",
        "AA-BB-CC-0D-EE-FF",
        // Cisco
        "aabb.cc0d.eeff",
        "AABB.CC0D.EEFF",
        // iPXE's ${mac:hexraw}
        "aabbcc0deeff",
        "AABBCC0DEEFF",
        // PXELINUX's BOOTIF, with the hardware type in front
        "01-aa-bb-cc-0d-ee-ff",
        "01-AA-BB-CC-0D-EE-FF",
        "01:aa:bb:cc:0d:ee:ff",
    ];
    for spelling in spellings {
        let mac: MacAddr = spelling
            .parse()
            .unwrap_or_else(|error| panic!("{spelling}: {error}"));
        assert_eq!(mac.to_string(), CANONICAL, "{spelling}");
        assert_eq!(mac.slug(), "aa-bb-cc-0d-ee-ff", "{spelling}");
    }
}

#[test]
fn what_is_no_mac_is_refused_with_what_was_expected() {
    let refused = [
        "",
        " ",
        "unknown",
        "localhost",
        "aa:bb:cc:dd:ee",
        "aa:bb:cc:dd:ee:ff:00",
        "aa:bb:cc:dd:ee:f",
        "aa:bb:cc:dd:ee:fff",
        "a:b:c:d:e:f",
        "aabbccddeef",
        "aabbccddeeff0",
        "01aabbccddeeff",
        "aabb.ccdd",
        "aab.bcc.dde.eff",
        "aabb.ccdd.eeff.0011",
        "gg:bb:cc:dd:ee:ff",
        "aa:bb:cc-dd-ee-ff",
        "aa:bb.cc:dd.ee:ff",
        ":aa:bb:cc:dd:ee:ff",
        "aa::bb:cc:dd:ee:ff",
        "aa:bb:cc:dd:ee:ff:",
        " aa:bb:cc:dd:ee:ff",
        "aa:bb:cc:dd:ee:ff\n",
        "aa bb cc dd ee ff",
        "0xaabbccddee",
        "+abbccddeeff",
        "-1:-1:-1:-1:-1:-1",
        "aa:bb:cc:dd:ee:é",
        "ａａ:bb:cc:dd:ee:ff",
        "02-aa-bb-cc-dd-ee-ff",
        "20-aa-bb-cc-dd-ee-ff",
        "01-01-aa-bb-cc-dd-ee-ff",
        "aa:bb:cc:dd:ee:ff\0",
        "10.88.0.17",
        "fe80::1",
    ];
    for text in refused {
        let error = text.parse::<MacAddr>().expect_err(text);
        assert!(matches!(error, MacError::Spelling(_)), "{text:?}: {error}");
        let error = error.to_string();
        assert!(
            error.starts_with(&format!("{text:?} is not a MAC address: expected ")),
            "{error}"
        );
        assert!(error.contains("such as aa:bb:cc:dd:ee:ff"), "{error}");
    }
}

#[test]
fn addresses_of_no_single_device_are_refused_by_name() {
    let refused = [
        (
            "00:00:00:00:00:00",
            "00:00:00:00:00:00 is the all-zero address",
        ),
        ("000000000000", "00:00:00:00:00:00 is the all-zero address"),
        (
            "01-00-00-00-00-00-00",
            "00:00:00:00:00:00 is the all-zero address",
        ),
        (
            "FFFF.FFFF.FFFF",
            "ff:ff:ff:ff:ff:ff is the broadcast address",
        ),
        (
            "01-00-5E-00-00-FB",
            "01:00:5e:00:00:fb is a multicast address",
        ),
        (
            "33:33:00:00:00:01",
            "33:33:00:00:00:01 is a multicast address",
        ),
        (
            "03:00:00:00:00:00",
            "03:00:00:00:00:00 is a multicast address",
        ),
        (
            "ff:ff:ff:ff:ff:fe",
            "ff:ff:ff:ff:ff:fe is a multicast address",
        ),
    ];
    for (text, reason) in refused {
        let error = text.parse::<MacAddr>().expect_err(text).to_string();
        assert_eq!(
            error,
            format!("{reason}: expected the unicast address of one device")
        );
    }
    // Their neighbours are devices.
    for text in [
        "00:00:00:00:00:01",
        "fe:ff:ff:ff:ff:ff",
        "02:00:00:00:00:00",
    ] {
        assert_eq!(text.parse::<MacAddr>().unwrap().to_string(), text);
    }
}

#[test]
fn an_error_repeats_at_most_64_characters_of_what_came() {
    let error = "é"
        .repeat(100_000)
        .parse::<MacAddr>()
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&format!("\"{}\"… is not", "é".repeat(64))),
        "{error}"
    );
    let error = "\x1b[31m\r\n".parse::<MacAddr>().unwrap_err().to_string();
    assert!(!error.contains(char::is_control), "{error:?}");
}

#[test]
fn spellings_are_understood_in_the_path_and_in_the_query() {
    let service = Start::fresh()
        .stage("cloud-init-templates/user-data.yaml.j2", WHO)
        .service();
    let spellings = [
        "aa:bb:cc:0d:ee:ff",
        "AA-BB-CC-0D-EE-FF",
        "AABB.cc0d.eeff",
        "aabbcc0deeff",
        "01-aa-bb-cc-0d-ee-ff",
        "aa%3Abb%3acc%3A0d%3aee%3Aff",
        "%61a%2Dbb-cc-0d-ee-%66f",
        "%61%61%62%62%63%63%30%64%65%65%66%66",
    ];
    for spelling in spellings {
        for target in [
            format!("/cloud-init/{spelling}/user-data"),
            format!("/cloud-init/user-data?mac={spelling}"),
            format!("/cloud-init/?mac={spelling}user-data"),
            format!("/cloud-init/?mac={spelling}&f=user-data"),
        ] {
            let answer = service.get(&target);
            assert_eq!(answer.status, 200, "{target}: {}", answer.text());
            assert_eq!(
                answer.text(),
                format!("#cloud-config\nmac: '{CANONICAL}'"),
                "{target}"
            );
        }
    }
}

#[test]
fn a_wrong_mac_in_the_path_or_the_query_is_400_and_says_what_was_expected() {
    let service = Start::fresh()
        .stage("cloud-init-templates/user-data.yaml.j2", WHO)
        .service();
    let refused = [
        (
            "kitchen",
            r#""kitchen" is not a MAC address: expected six octets in hexadecimal"#,
        ),
        (
            "aa:bb:cc:dd:ee",
            r#""aa:bb:cc:dd:ee" is not a MAC address: expected six octets"#,
        ),
        (
            "aa:bb:cc:dd:ee:ff%20",
            r#""aa:bb:cc:dd:ee:ff " is not a MAC address: expected"#,
        ),
        (
            "00:00:00:00:00:00",
            "the all-zero address: expected the unicast address of one device",
        ),
        (
            "ff-ff-ff-ff-ff-ff",
            "the broadcast address: expected the unicast address",
        ),
        (
            "01:00:5e:00:00:01",
            "a multicast address: expected the unicast address",
        ),
        ("%00", r#""\0" is not a MAC address: expected"#),
        (
            "$net_default_mac",
            r#""$net_default_mac" is not a MAC address: expected"#,
        ),
    ];
    for (mac, reason) in refused {
        for target in [
            format!("/cloud-init/{mac}/user-data"),
            format!("/cloud-init/{mac}/meta-data"),
            format!("/cloud-init/user-data?mac={mac}"),
            format!("/cloud-init/vendor-data?mac={mac}"),
            format!("/cloud-init/?mac={mac}user-data"),
            format!("/cloud-init/?mac={mac}&f=user-data"),
        ] {
            let problem = service.get(&target).problem(400);
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(reason), "{target}: {detail}");
        }
    }
    // No text in any encoding.
    service.get("/cloud-init/%ff%fe/user-data").problem(400);
    service.get("/cloud-init/user-data?mac=%ff%fe").problem(400);
}

/// Six octets of a single device.
fn unicast() -> impl Strategy<Value = [u8; 6]> {
    any::<[u8; 6]>().prop_filter_map("no device", |mut octets| {
        octets[0] &= 0xfe;
        (octets != [0; 6]).then_some(octets)
    })
}

/// The text with the case of each letter as `upper` says.
fn in_case(text: &str, upper: &[bool]) -> String {
    let letters = text.chars().zip(upper.iter().cycle());
    letters
        .map(|(c, up)| if *up { c.to_ascii_uppercase() } else { c })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_spelling_of_any_device_gives_its_canonical_address(
        octets in unicast(),
        upper in prop::collection::vec(any::<bool>(), 20),
    ) {
        let pairs: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        let quads: Vec<String> = pairs.chunks(2).map(<[String]>::concat).collect();
        let canonical = pairs.join(":");
        for spelling in [
            pairs.join(":"),
            pairs.join("-"),
            quads.join("."),
            pairs.concat(),
            format!("01-{}", pairs.join("-")),
            format!("01:{}", pairs.join(":")),
        ] {
            let spelling = in_case(&spelling, &upper);
            let mac: MacAddr = spelling.parse().unwrap();
            prop_assert_eq!(mac.to_string(), canonical.as_str(), "{}", spelling);
            prop_assert_eq!(mac.slug(), pairs.join("-"));
            prop_assert_eq!(Ok(mac), MacAddr::from_octets(octets));
        }
    }

    #[test]
    fn any_group_address_is_refused_in_any_spelling(octets in any::<[u8; 6]>()) {
        let pairs = octets.map(|octet| format!("{octet:02x}"));
        let group = pairs[0].ends_with(['1', '3', '5', '7', '9', 'b', 'd', 'f']);
        let all_zero = octets == [0; 6];
        for spelling in [pairs.join(":"), pairs.concat()] {
            prop_assert_eq!(spelling.parse::<MacAddr>().is_err(), group || all_zero, "{}", spelling);
        }
    }

    #[test]
    fn any_text_is_refused_or_becomes_canonical(
        text in prop_oneof![
            any::<String>(),
            "[0-9a-fA-F:.-]{0,24}",
            "(01[:-])?([0-9a-fA-F]{2}[:.-]?){4,8}",
        ],
    ) {
        if let Ok(mac) = text.parse::<MacAddr>() {
            let canonical = mac.to_string();
            prop_assert_eq!(canonical.len(), 17);
            prop_assert_eq!(canonical.parse::<MacAddr>(), Ok(mac));
            let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
            let digits = digits.to_ascii_lowercase();
            prop_assert!(digits.ends_with(&canonical.replace(':', "")), "{} from {}", canonical, text);
            prop_assert!(digits.len() == 12 || digits.len() == 14 && digits.starts_with("01"));
        }
    }
}
