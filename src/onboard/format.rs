//! What a box accepts of the onboarding folder. Its own reader is `read_manifest` of
//! packaging/onboard/gb10-onboard; tests/device/test_manifest.py holds the two against each other.

use std::collections::HashMap;

use super::json::Node;
use super::wishes;
use crate::device::stage::Stage;
use crate::excerpt::excerpt;
use crate::files::Fault;

/// The manifest, in the onboarding folder.
pub const MANIFEST_FILE: &str = "manifest.json";

/// Largest manifest, in bytes.
pub const MANIFEST_BYTES: usize = 256 * 1024;

/// Largest script of a stage, in bytes.
pub const SCRIPT_BYTES: u64 = 1024 * 1024;

/// Deepest nesting of the manifest.
pub(super) const DEPTH: usize = 16;

/// Most digits of a number, so that whoever reckons with it is exact.
const DIGITS: usize = 15;

/// Tells what is wrong with a value of the right kind.
type Wrong = fn(&str) -> Option<&'static str>;

/// A field of an object: its name, whether it must be there, and what its value must be.
type Field = (&'static str, Presence, &'static str, Wrong);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Optional,
    Needed,
    /// Needed, and with another value in each object of the list.
    Unique,
}
use Presence::{Needed, Optional, Unique};

const MANIFEST: &[Field] = &[
    ("version", Needed, "a number", wrong_version),
    ("stages", Needed, "an array", |list| {
        (list == "[]").then_some("is empty")
    }),
    ("payloads", Optional, "an array", |_| None),
    ("checks", Optional, "an object", |_| None),
    ("expect", Optional, "an object", |_| None),
];

const STAGE: &[Field] = &[
    ("stage", Needed, "a string", wrong_stage),
    ("script", Unique, "a string", wrong_script),
    ("timeout", Optional, "a number", wrong_timeout),
    ("optional", Optional, "a boolean", |_| None),
];

const PAYLOAD: &[Field] = &[
    ("path", Needed, "a string", wrong_path),
    ("size", Needed, "a number", wrong_size),
    ("sha256", Needed, "a string", wrong_sha256),
    ("target", Unique, "a string", wrong_target),
    ("mode", Optional, "a string", wrong_mode),
];

/// A fault of a line of the manifest.
pub(super) fn at(line: usize, reason: impl Into<String>) -> Fault {
    Fault::new(MANIFEST_FILE, reason).at(Some(line.into()))
}

/// Reads a manifest as JSON.
pub(super) fn read(text: &[u8]) -> Result<Node, Fault> {
    if text.len() > MANIFEST_BYTES {
        let reason = format!("has more than {MANIFEST_BYTES} bytes, the most that a box reads");
        return Err(Fault::new(MANIFEST_FILE, reason));
    }
    let text = str::from_utf8(text).map_err(|error| {
        let valid = &text[..error.valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        at(line, "not JSON: not UTF-8")
    })?;
    Node::read(text)
}

/// Why a box would refuse this manifest, whatever files are staged.
pub(super) fn faults(manifest: &Node) -> Vec<Fault> {
    let mut check = Check::default();
    check.object(manifest, "the manifest", "", MANIFEST);
    for (list, fields) in [("stages", STAGE), ("payloads", PAYLOAD)] {
        for (number, item) in manifest.items(list).iter().enumerate() {
            let label = format!("{list}[{number}]");
            check.object(item, &label, &format!("{label}."), fields);
        }
    }
    check.faults.extend(wishes::faults(manifest));
    check.faults
}

#[derive(Default)]
struct Check {
    faults: Vec<Fault>,
    /// The lines of what must be unique.
    seen: HashMap<(&'static str, String), usize>,
}

impl Check {
    fn object(&mut self, object: &Node, label: &str, prefix: &str, fields: &[Field]) {
        let mut fault = |line, reason| self.faults.push(at(line, reason));
        if object.kind() != "an object" {
            let reason = format!("{label} is {}, not an object", object.kind());
            return fault(object.line, reason);
        }
        for (name, presence, wanted, wrong) in fields {
            let label = format!("{prefix}{name}");
            let Some(node) = object.get(name) else {
                if *presence != Optional {
                    fault(object.line, format!("{label} is missing"));
                }
                continue;
            };
            let (kind, text) = (node.kind(), node.text());
            let shown = match kind {
                "a string" => excerpt(&text),
                _ => excerpt(&text).replace('"', ""),
            };
            if kind != *wanted {
                fault(node.line, format!("{label} is {kind}, not {wanted}"));
            } else if let Some(reason) = wrong(&text) {
                fault(node.line, format!("{label}: {shown} {reason}"));
            } else if *presence == Unique
                && let Some(line) = self.seen.insert((name, text), node.line)
            {
                let reason = format!("{label}: {shown} comes twice, first in line {line}");
                fault(node.line, reason);
            }
        }
    }
}

/// Why a box does not take this path below the onboarding folder; none where it does.
pub(super) fn wrong_path(path: &str) -> Option<&'static str> {
    let control = |byte: u8| byte < 0x20 || byte == 0x7f || byte == b'\\';
    if path.bytes().any(control) {
        return Some("has a control character or a backslash in it");
    }
    match path {
        "" => Some("is empty"),
        _ if path.starts_with('/') => Some("is absolute, not below the onboarding folder"),
        _ => path.split('/').find_map(|part| match part {
            "" => Some("has an empty part"),
            "." => Some("has a part \".\""),
            ".." => Some("has a part \"..\""),
            _ => None,
        }),
    }
}

pub(super) fn wrong_sha256(sum: &str) -> Option<&'static str> {
    let right = sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
    (!right).then_some("is not 64 hexadecimal digits")
}

fn wrong_version(version: &str) -> Option<&'static str> {
    (version != "1").then_some("is a version that boxes do not read: expected 1")
}

fn wrong_stage(name: &str) -> Option<&'static str> {
    match name.parse() {
        // They are over when a box begins to onboard.
        Err(_) | Ok(Stage::Install | Stage::FirstBoot) => Some(
            "is an unknown stage: expected network, storage, driver, container_runtime, payload, \
             verify or ready",
        ),
        Ok(_) => None,
    }
}

fn wrong_script(path: &str) -> Option<&'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
    let named = path.len() > 3 && path.ends_with(".sh") && path.bytes().all(plain);
    let misnamed = "must end in .sh, and have only letters, digits, . _ - and /";
    wrong_path(path).or((!named).then_some(misnamed))
}

fn wrong_timeout(seconds: &str) -> Option<&'static str> {
    (!is_whole(seconds, 1)).then_some("is not a whole number from 1 on")
}

fn wrong_size(bytes: &str) -> Option<&'static str> {
    (!is_whole(bytes, 0)).then_some("is not a whole number from 0 on")
}

pub(super) fn is_whole(text: &str, least: u64) -> bool {
    let plain = text.len() <= DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    plain && text.parse::<u64>().is_ok_and(|number| number >= least)
}

fn wrong_target(path: &str) -> Option<&'static str> {
    path.strip_prefix('/')
        .map_or(Some("is not absolute"), wrong_path)
}

fn wrong_mode(mode: &str) -> Option<&'static str> {
    let octal = mode.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    match mode.len() {
        3 if octal => None,
        4 if octal && mode.starts_with('0') => None,
        4 if octal => Some("sets the setuid, setgid or sticky bit: expected one like \"0644\""),
        _ => Some("is not like \"0644\""),
    }
}
