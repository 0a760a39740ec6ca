//! What a site wants of its boxes: `checks` and `expect` of the manifest.
//!
//! Boxes judge by packaging/onboard/wanted.py and checks.py, which know the same names;
//! tests/device/test_manifest.py holds the two against each other.

use super::format::{at, is_whole};
use super::json::Node;
use crate::files::Fault;
use crate::nearest::nearest;

/// The checks that boxes make.
const CHECKS: &[&str] = &[
    "nic-driver",
    "nic-speed",
    "connectx-speed",
    "time-sync",
    "nvme-health",
    "nvme-wear",
    "nvme-model",
    "free-space",
    "root-disk",
    "gpu-model",
    "xid",
    "persistence-mode",
    "rdma-devices",
    "rdma-memlock",
    "gpu-container",
    "load",
    "power-limited",
    "throttle",
    "ota",
    "baseline-kernel",
    "baseline-driver",
    "baseline-bios",
    "baseline-ec",
    "baseline-nic",
    "baseline-nvme",
    "baseline-os",
    "baseline-dgx",
    "fabric",
];

/// What the names of a site's own checks begin with, and the most characters that follow.
const SITES_OWN: (&str, usize) = ("site-", 35);

/// What can be expected, and what its value is.
const EXPECT: &[(&str, Kind)] = &[
    ("link_mbps", Kind::Number),
    ("connectx_mbps", Kind::Number),
    ("free_gib", Kind::Number),
    ("root", Kind::Text),
    ("nvme_models", Kind::Texts),
    ("wear_percent", Kind::Number),
    ("gpu", Kind::Text),
    ("xid_ignored", Kind::Numbers),
    ("rdma", Kind::Flag),
    ("load", Kind::Text),
    ("load_seconds", Kind::Number),
    ("clock_mhz", Kind::Number),
    ("watts", Kind::Number),
    (FABRIC[0], Kind::Text),
    (FABRIC[1], Kind::Text),
    ("fabric_gbps", Kind::Number),
    ("fabric_seconds", Kind::Number),
    ("fabric_port", Kind::Port),
];

/// The commands that measure a fabric, each of no use without the other.
const FABRIC: [&str; 2] = ["fabric_serve", "fabric_measure"];

/// Most characters of a text.
const TEXT: usize = 1000;

/// Most items of a list.
const ITEMS: usize = 64;

#[derive(Clone, Copy)]
enum Kind {
    Number,
    Port,
    Text,
    Texts,
    Numbers,
    Flag,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Self::Number => "a whole number",
            Self::Port => "a port, from 1 to 65535",
            Self::Text => "a text of 1 to 1000 characters",
            Self::Texts => "a list of 1 to 64 texts",
            Self::Numbers => "a list of 1 to 64 whole numbers",
            Self::Flag => "true or false",
        }
    }

    fn is_of(self, value: &Node) -> bool {
        let text = value.text();
        let all = |kind: Self| {
            let items = value.list();
            (1..=ITEMS).contains(&items.len()) && items.iter().all(|item| kind.is_of(item))
        };
        match self {
            Self::Number => value.kind() == "a number" && is_whole(&text, 0),
            Self::Port => Self::Number.is_of(value) && text.parse().is_ok_and(|port: u16| port > 0),
            Self::Text => value.kind() == "a string" && (1..=TEXT).contains(&text.chars().count()),
            Self::Texts => all(Self::Text),
            Self::Numbers => all(Self::Number),
            Self::Flag => value.kind() == "a boolean",
        }
    }
}

/// What of the wishes nobody heeds, or a box would refuse.
pub(super) fn faults(manifest: &Node) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, choice) in manifest.members("checks") {
        let own = name.strip_prefix(SITES_OWN.0);
        if !CHECKS.contains(&name) && !own.is_some_and(is_sites_own) {
            let why = format!("checks.{name} is no check{}", meant(name, CHECKS));
            faults.push(at(choice.line, why + " (a site's own begins with site-)"));
        } else if choice.kind() != "a string"
            || !["fail", "warn", "off"].contains(&choice.text().as_str())
        {
            let why = format!("checks.{name} must be \"fail\", \"warn\" or \"off\"");
            faults.push(at(choice.line, why));
        }
    }
    let names: Vec<_> = EXPECT.iter().map(|(name, _)| *name).collect();
    for (name, value) in manifest.members("expect") {
        match EXPECT.iter().find(|(known, _)| *known == name) {
            None => {
                let why = format!("expect.{name} is nothing that a check looks at");
                faults.push(at(value.line, why + &meant(name, &names)));
            }
            Some((_, kind)) if !kind.is_of(value) => {
                let why = format!("expect.{name} must be {}", kind.words());
                faults.push(at(value.line, why));
            }
            Some(_) => {}
        }
    }
    let expects = |name: &str| manifest.members("expect").find(|(it, _)| *it == name);
    if let [Some((name, value)), None] | [None, Some((name, value))] = FABRIC.map(expects) {
        let why = format!(
            "expect.{name} stands there alone: fabric_serve and fabric_measure need one another"
        );
        faults.push(at(value.line, why));
    }
    faults
}

/// Whether this may follow `site-`.
fn is_sites_own(rest: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=SITES_OWN.1).contains(&rest.len()) && rest.bytes().all(plain)
}

fn meant(name: &str, names: &[&'static str]) -> String {
    match nearest(name, names.iter().copied()) {
        Some(near) => format!(": did you mean {near}?"),
        None => format!(": expected one of {}", names.join(", ")),
    }
}
