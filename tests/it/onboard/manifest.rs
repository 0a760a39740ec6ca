//! `gb10-provision-api manifest`: what it writes, what it finds, what it refuses, and that a
//! device's own reader agrees.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::support::{BINARY, eventually, is_root};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// SHA-256 of "abc" (FIPS 180-2, B.1) and of nothing.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What is served where no manifest is staged.
const DEFAULT: &str = include_str!("../../../packaging/onboard/manifest.json");

/// Long enough to hash that something can be done meanwhile, also with SHA instructions.
const LARGE: u64 = 1 << 28;

/// A data folder with an empty `onboard/payload/`.
struct Site(TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(site.onboard().join("payload")).unwrap();
        site
    }

    fn onboard(&self) -> PathBuf {
        self.0.path().join("onboard")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.onboard().join(name)
    }

    fn stage(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A file of [`LARGE`] zeros that takes no space.
    fn stage_large(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        File::create(&path).unwrap().set_len(LARGE).unwrap();
        path
    }

    fn manifest(&self) -> PathBuf {
        self.path("manifest.json")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.manifest()).unwrap()
    }

    fn payloads(&self) -> Vec<Value> {
        let manifest: Value = serde_json::from_str(&self.text()).unwrap();
        manifest["payloads"].as_array().unwrap().clone()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.arg("manifest").args(arguments);
        command.env("DATA_PATH", self.0.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).output().unwrap())
    }

    /// Writes, and shows that both `check` and a device take what was written.
    fn write(&self) -> Run {
        let run = self.run(&["write"]).well();
        self.run(&["check"]).well();
        let device = device(&self.manifest());
        assert!(device.status.success(), "{device:?}");
        run
    }

    /// What `check` finds in this manifest, without the summary; a device must refuse it too
    /// where `by_device`.
    fn faults(&self, manifest: &str, by_device: bool) -> Vec<String> {
        self.stage("manifest.json", manifest);
        let run = self.run(&["check"]);
        assert_eq!(run.code, Some(1), "{run:?}");
        let device = device(&self.manifest());
        assert_eq!(device.status.success(), !by_device, "{manifest} {device:?}");
        let prefix = format!("{}/manifest.json", self.onboard().display());
        let faults: Vec<_> = (run.errors.lines())
            .map(|line| line.strip_prefix(&prefix).unwrap().to_owned())
            .collect();
        let ending = match faults.len() {
            1 => ", 1 fault\n".to_owned(),
            several => format!(", {several} faults\n"),
        };
        assert!(run.output.ends_with(&ending), "{run:?}");
        faults
    }

    /// Starts hashing, and waits until it is under way.
    fn start(&self, large: &Path) -> Child {
        let mut command = self.command(&["write"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let folder = format!("/proc/{}/fd", child.id());
        eventually("the large file to be opened", || {
            let mut fds = fs::read_dir(&folder).ok()?.flatten();
            fds.find(|fd| fs::read_link(fd.path()).is_ok_and(|path| path == large))
        });
        child
    }
}

#[derive(Debug)]
struct Run {
    code: Option<i32>,
    output: String,
    errors: String,
}

impl Run {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            output: String::from_utf8(output.stdout).unwrap(),
            errors: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn well(self) -> Self {
        assert_eq!((self.code, self.errors.as_str()), (Some(0), ""), "{self:?}");
        self
    }

    /// It failed, and said all of this.
    fn refused(self, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(1), "{self:?}");
        for part in parts {
            assert!(self.errors.contains(part), "no {part:?} in {self:?}");
        }
        self
    }
}

/// What a device makes of a manifest.
fn device(manifest: &Path) -> Output {
    let program = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/packaging/onboard/gb10-onboard"
    );
    let mut command = Command::new(program);
    command.args([Path::new("--manifest"), manifest]);
    command.output().unwrap()
}

/// A manifest with these payloads, the first of them in line 4.
fn with(payloads: &str) -> String {
    format!(
        "{{\"version\": 1,\n\"stages\": [{{\"stage\": \"network\", \"script\": \"stages/10-network.sh\"}}],\n\
         \"payloads\": [\n{payloads}\n]}}"
    )
}

#[test]
fn a_first_manifest_is_the_default_one_with_the_staged_files() {
    let site = Site::new();
    site.stage("payload/abc", "abc");
    site.stage("payload/deep/er/none", "");
    let tool = site.stage("payload/tool", "abc");
    fs::set_permissions(tool, fs::Permissions::from_mode(0o750)).unwrap();
    let run = site.write();
    assert!(
        run.output.contains("added payload/deep/er/none\n"),
        "{run:?}"
    );
    assert!(
        run.output
            .ends_with("3 payloads, 3 added, 0 updated, 0 removed\n")
    );

    let lines = format!(
        "[\n    {{\"path\": \"payload/abc\", \"size\": 3, \"sha256\": \"{ABC}\", \"target\": \"/opt/gb10/abc\", \"mode\": \"0644\"}},\n    \
         {{\"path\": \"payload/deep/er/none\", \"size\": 0, \"sha256\": \"{NOTHING}\", \"target\": \"/opt/gb10/deep/er/none\", \"mode\": \"0644\"}},\n    \
         {{\"path\": \"payload/tool\", \"size\": 3, \"sha256\": \"{ABC}\", \"target\": \"/opt/gb10/tool\", \"mode\": \"0755\"}}\n  ]"
    );
    let expected = DEFAULT.trim_end().replace("[]", &lines) + "\n";
    assert_eq!(site.text(), expected);
    assert_eq!(fs::metadata(site.manifest()).unwrap().mode() & 0o777, 0o644);
    assert!(!site.path("manifest.json.tmp").exists());

    // Nothing to do, nothing done.
    let before = fs::metadata(site.manifest()).unwrap();
    site.write();
    let after = fs::metadata(site.manifest()).unwrap();
    assert_eq!(
        (before.ino(), before.ctime_nsec()),
        (after.ino(), after.ctime_nsec())
    );
}

#[test]
fn what_it_does_not_know_or_need_not_change_is_kept() {
    let site = Site::new();
    site.stage("payload/a b", "abc");
    site.stage("models/elsewhere", "abc");
    site.stage("payload/new", "");
    site.stage(
        "manifest.json",
        concat!(
            "{\n\t\"site\": {\"rack\":7, \"note\": \"a \\u00e9 \\\"[\\n\" },\r\n\r\n",
            "        \"payloads\": [{\"why\": [1,\n 2.50e1,\n {}\n], \"mode\": \"600\", \"target\": \"/srv/\\u0061\",\n",
            " \"sha256\": \"\", \"path\": \"payload/a b\"},\n",
            "  {\"path\": \"payload/gone\", \"size\": 1, \"sha256\": \"x\", \"target\": \"/g\"},\n",
            "  {\"path\": \"models/elsewhere\", \"size\": 9, \"target\": \"/e\"}],\n",
            "  \"stages\": [\n      {\"script\": \"x/own.sh\",\n         \"stage\": \"verify\", \"big\": [1e400, 12345678901234567890123, 1.0]}\n],\n",
            "  \"version\": 1\n}",
        ),
    );
    site.stage("x/own.sh", "");
    fs::set_permissions(site.manifest(), fs::Permissions::from_mode(0o640)).unwrap();
    if is_root() {
        std::os::unix::fs::chown(site.manifest(), Some(4242), Some(4343)).unwrap();
    }
    let before = fs::metadata(site.manifest()).unwrap();
    let run = site.write();
    assert_eq!(
        run.output.lines().take(4).collect::<Vec<_>>(),
        [
            "removed payload/gone: the file is gone",
            "updated payload/a b",
            "updated models/elsewhere",
            "added payload/new"
        ]
    );
    let expected = [
        "{",
        r#"  "site": {"#,
        r#"    "rack": 7,"#,
        r#"    "note": "a \u00e9 \"[\n""#,
        r#"  },"#,
        r#"  "payloads": ["#,
        &format!(
            r#"    {{"why": [1, 2.50e1, {{}}], "mode": "600", "target": "/srv/\u0061", "sha256": "{ABC}", "path": "payload/a b", "size": 3}},"#
        ),
        &format!(
            r#"    {{"path": "models/elsewhere", "size": 3, "target": "/e", "sha256": "{ABC}"}},"#
        ),
        &format!(
            r#"    {{"path": "payload/new", "size": 0, "sha256": "{NOTHING}", "target": "/opt/gb10/new", "mode": "0644"}}"#
        ),
        "  ],",
        r#"  "stages": ["#,
        r#"    {"script": "x/own.sh", "stage": "verify", "big": [1e400, 12345678901234567890123, 1.0]}"#,
        "  ],",
        r#"  "version": 1"#,
        "}",
        "",
    ];
    assert_eq!(site.text(), expected.join("\n"));
    // Its readers can still read it.
    let after = fs::metadata(site.manifest()).unwrap();
    let access = |file: &fs::Metadata| (file.mode(), file.uid(), file.gid());
    assert_eq!(access(&after), access(&before));
}

#[test]
fn changed_and_removed_files_are_seen() {
    let site = Site::new();
    let file = site.stage("payload/file", "abc");
    site.stage("payload/folder/inner", "abc");
    site.write();
    fs::write(&file, "").unwrap();
    fs::remove_dir_all(site.path("payload/folder")).unwrap();
    site.stage("payload/folder", "now a file");
    let run = site.write();
    assert!(
        run.output
            .ends_with("2 payloads, 1 added, 1 updated, 1 removed\n"),
        "{run:?}"
    );
    fs::remove_file(file).unwrap();
    fs::remove_file(site.path("payload/folder")).unwrap();
    site.write();
    // The folder's absence is not taken for an empty one.
    site.stage("payload/file", "abc");
    site.write();
    fs::rename(site.path("payload"), site.path("elsewhere")).unwrap();
    let before = site.text();
    site.run(&["write"])
        .refused(&["onboard/payload: is not there"]);
    assert_eq!(site.text(), before);
}

#[test]
fn another_folder_of_payloads_may_be_named() {
    let site = Site::new();
    site.stage("payload/left", "");
    site.stage("models/big/one", "abc");
    site.run(&["write", "--payload", "./models/big/"]).well();
    assert_eq!(site.payloads().len(), 1);
    assert_eq!(site.payloads()[0]["path"], "models/big/one");
    assert_eq!(site.payloads()[0]["target"], "/opt/gb10/one");
    for folder in ["..", "/etc", "models/../..", ".", "./", "models\n"] {
        let run = site.run(&["write", "--payload", folder]);
        run.refused(&["expected a folder below the onboarding folder"]);
    }
    site.run(&["write", "--payload", "nowhere"])
        .refused(&["onboard/nowhere: is not there"]);
    fs::remove_dir_all(site.onboard()).unwrap();
    site.run(&["write"]).refused(&["onboard: opening failed"]);
}

#[test]
fn names_are_taken_as_a_device_takes_them() {
    let site = Site::new();
    let names = [
        " spaces  here ",
        "\"quotes\" 'n $(x)",
        "größe ∑ 模型.tar",
        "a{b}[c],:%20",
        "-rf",
        ".hidden",
    ];
    for name in names {
        site.stage(&format!("payload/{name}"), name);
    }
    site.write();
    let rows = String::from_utf8(device(&site.manifest()).stdout).unwrap();
    for name in names {
        assert!(
            rows.contains(&format!("payload\tpayload/{name}\t{}\t", name.len())),
            "{rows}"
        );
    }

    let before = site.text();
    site.stage("payload/two\nlines", "");
    site.stage("payload/sub/back\\slash", "");
    let bytes: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"payload/latin-\xe4");
    fs::write(site.onboard().join(bytes), "").unwrap();
    let run = site.run(&["write"]).refused(&[
        r#"onboard/payload: the name "two\nlines" has a control character or a backslash in it"#,
        r#"onboard/payload/sub: the name "back\\slash" has a control character"#,
        r#"onboard/payload: the name "latin-\xE4" is not UTF-8"#,
        "manifest.json: not written",
    ]);
    assert_eq!(run.errors.lines().count(), 4, "{run:?}");
    assert_eq!(site.text(), before);
}

#[test]
fn links_out_of_the_folder_are_refused_and_others_followed() {
    let site = Site::new();
    site.stage("shared/deep/model", "abc");
    symlink("../shared", site.path("payload/shared")).unwrap();
    symlink("../shared/deep/model", site.path("payload/alias")).unwrap();
    site.write();
    let paths: Vec<_> = site
        .payloads()
        .iter()
        .map(|entry| entry["path"].clone())
        .collect();
    assert_eq!(paths, ["payload/alias", "payload/shared/deep/model"]);

    let before = site.text();
    fs::write(site.0.path().join("outside"), "abc").unwrap();
    symlink("../../outside", site.path("payload/up")).unwrap();
    symlink("/etc/hostname", site.path("payload/absolute")).unwrap();
    symlink("/etc", site.path("payload/folder")).unwrap();
    symlink("nothing", site.path("payload/dangling")).unwrap();
    symlink("..", site.path("payload/loop")).unwrap();
    let made = Command::new("mkfifo")
        .arg(site.path("payload/pipe"))
        .status();
    assert!(made.unwrap().success());
    let out = "leads out of its folder";
    site.run(&["write"]).refused(&[
        &format!("payload/up: {out}"),
        &format!("payload/absolute: {out}"),
        &format!("payload/folder: {out}"),
        "payload/dangling: is a link to nothing",
        "payload/loop/payload: a link to a folder that it is in",
        "payload/pipe: is not a regular file",
    ]);
    assert_eq!(site.text(), before);

    // Those that somebody listed are found too.
    let entry =
        |path: &str| json!({"path": path, "size": 3, "sha256": ABC, "target": format!("/{path}")});
    let entries = [
        "payload/up",
        "payload/folder/hostname",
        "payload/pipe",
        "payload/dangling",
    ];
    let list = entries.map(|path| entry(path).to_string()).join(",\n");
    let faults = site.faults(&with(&list), false);
    assert_eq!(
        faults,
        [
            format!(":4: \"payload/up\" {out}"),
            format!(":5: \"payload/folder/hostname\" {out}"),
            ":6: \"payload/pipe\" is not a regular file".to_owned(),
            ":7: \"payload/dangling\" is a link to nothing".to_owned(),
        ]
    );
    // A linked manifest would be replaced by a file, and the other one go stale.
    let site = Site::new();
    site.stage("real.json", DEFAULT);
    symlink("real.json", site.manifest()).unwrap();
    site.run(&["check"]).well();
    site.run(&["write"])
        .refused(&["manifest.json: is not a regular file, so it is not replaced"]);
}

#[test]
fn a_target_is_not_given_twice() {
    let site = Site::new();
    site.stage("payload/a", "");
    site.stage("payload/b", "");
    site.stage(
        "manifest.json",
        &with(r#"{"path": "payload/a", "target": "/opt/gb10/b"}"#),
    );
    let before = site.text();
    site.run(&["write"]).refused(&[
        r#"payload/b: its target "/opt/gb10/b" is that of "payload/a" too: list it with another"#,
    ]);
    assert_eq!(site.text(), before);
    // An entry without a target gets the default.
    site.stage("manifest.json", &with(r#"{"path": "payload/a"}"#));
    site.write();
    assert_eq!(site.payloads()[0]["target"], "/opt/gb10/a");
}

#[test]
fn a_manifest_that_it_cannot_keep_is_left_alone() {
    let site = Site::new();
    site.stage("payload/a", "");
    for (manifest, reason) in [
        ("", ":1: not JSON: EOF"),
        (
            "{\n\"version\": 1,\n}",
            ":3: not JSON: key must be a string",
        ),
        ("[]", ":1: the manifest is an array, not an object"),
        (
            "{\"version\": 2, \"stages\": []}",
            ":1: version: 2 is a version that boxes do not read",
        ),
        (
            "{\"version\": 1,\n\"version\": 1}",
            ":2: the name \"version\" comes twice",
        ),
        (
            "{\"version\": 1,\n\"payloads\": {}}",
            ":2: payloads is an object, not an array",
        ),
        (
            &with("").replace("network\"", "nets\""),
            ":2: stages[0].stage: \"nets\" is an unknown stage",
        ),
        (
            &with("{\"path\": \"../a\"}"),
            ":4: payloads[0].path: \"../a\" has a part \"..\"",
        ),
        (
            &with("{\"path\": \"payload/a\",\n\"mode\": \"4755\"}"),
            ":5: payloads[0].mode: \"4755\" sets the setuid",
        ),
    ] {
        site.stage("manifest.json", manifest);
        site.run(&["write"])
            .refused(&[reason, "manifest.json: not written"]);
        assert_eq!(site.text(), manifest);
    }
}

#[test]
fn check_finds_each_fault_by_line_and_a_device_refuses_it_too() {
    let site = Site::new();
    site.stage("payload/a", "abc");
    site.stage("stages/large.sh", &" ".repeat(1024 * 1024 + 1));
    let good = format!(
        r#""path": "payload/a", "size": 3, "sha256": "{}""#,
        ABC.to_uppercase()
    );
    site.stage(
        "manifest.json",
        &with(&format!(r#"{{{good}, "target": "/a", "mode": "0755"}}"#)),
    );
    assert!(
        site.run(&["check"])
            .well()
            .output
            .ends_with("1 payload, 0 faults\n")
    );

    let entry = |fields: &str| with(&format!("{{{fields}}}"));
    let sum = |value: &str| {
        entry(&format!(
            r#""path": "payload/a", "size": 3, "sha256": {value}, "target": "/a""#
        ))
    };
    let size = |value: &str| {
        entry(&format!(
            r#""path": "payload/a", "size": {value}, "sha256": "{ABC}", "target": "/a""#
        ))
    };
    let path = |value: &str| {
        entry(&format!(
            r#""path": {value}, "size": 3, "sha256": "{ABC}", "target": "/a""#
        ))
    };
    let target = |value: &str| entry(&format!(r#"{good}, "target": {value}"#));
    let mode = |value: &str| entry(&format!(r#"{good}, "target": "/a", "mode": {value}"#));
    let stage = |fields: &str| format!("{{\"version\": 1, \"stages\": [\n{{{fields}}}]}}");
    let script = |value: &str| stage(&format!(r#""stage": "verify", "script": {value}"#));
    let deep = "[".repeat(17) + &"]".repeat(17);
    let found = |manifest: &str, by_device: bool, expected: &str| {
        let found = site.faults(manifest, by_device);
        let is_it = |fault: &String| fault.starts_with(expected);
        assert!(found.iter().any(is_it), "{manifest}: {expected}: {found:?}");
    };
    // By a device too, or only in view of what is staged.
    let refused = |manifest: &str, expected: &str| found(manifest, true, expected);
    let unfit = |manifest: &str, expected: &str| found(manifest, false, expected);
    // The form.
    refused("{", ":1: not JSON: EOF while parsing an object");
    refused(
        "{\"version\": 1,\n\"x\": \"\\ud800\", \"stages\": []}",
        ":2: not JSON: ",
    );
    refused(
        &format!("{{\n\"x\": {deep}}}"),
        ":2: nested deeper than 16 levels",
    );
    refused(
        "{\"x\": {\"a\": 1,\n\"\\u0061\": 1}}",
        ":2: the name \"a\" comes twice",
    );
    refused("{\"x\": \"a\tb\"}", ":1: not JSON: control character");
    refused("\u{feff}{}", ":1: not JSON: ");
    refused("{\"stages\": []}", ":1: version is missing");
    refused(
        "{\"version\": \"1\", \"stages\": []}",
        ":1: version is a string, not a number",
    );
    refused("{\"version\": 1}", ":1: stages is missing");
    refused(
        "{\"version\": 1, \"stages\": []}",
        ":1: stages: [] is empty",
    );
    refused(
        "{\"version\": 1, \"stages\": [\n1]}",
        ":2: stages[0] is a number, not an object",
    );
    // Stages.
    refused(
        &stage(r#""stage": "install", "script": "stages/10-network.sh""#),
        ":2: stages[0].stage: \"install\" is an unknown stage: expected network, storage",
    );
    refused(
        &stage(r#""stage": "nets", "script": "stages/10-network.sh""#),
        ":2: stages[0].stage: \"nets\" is an unknown stage",
    );
    refused(
        &stage(r#""script": "stages/10-network.sh""#),
        ":2: stages[0].stage is missing",
    );
    refused(
        &script("\"../x.sh\""),
        ":2: stages[0].script: \"../x.sh\" has a part \"..\"",
    );
    refused(
        &script("\"x.py\""),
        ":2: stages[0].script: \"x.py\" must end in .sh",
    );
    refused(
        &script("\"a b.sh\""),
        ":2: stages[0].script: \"a b.sh\" must end in .sh",
    );
    refused(
        &script("\"x.sh\"}, {\"stage\": \"ready\",\n\"script\": \"x.sh\""),
        ":3: stages[1].script: \"x.sh\" comes twice, first in line 2",
    );
    unfit(
        &script("\"stages/11-absent.sh\""),
        ":2: the script \"stages/11-absent.sh\" is neither staged nor one of the defaults",
    );
    unfit(
        &script("\"stages/large.sh\""),
        ":2: the script \"stages/large.sh\" has more than 1048576 bytes, the most that a box reads",
    );
    refused(
        &script("\"stages/70-ready.sh\",\n\"timeout\": 0"),
        ":3: stages[0].timeout: 0 is not a whole number from 1 on",
    );
    refused(
        &script("\"stages/70-ready.sh\", \"optional\": 1"),
        ":2: stages[0].optional is a number, not a boolean",
    );
    // Wishes: judge.py refuses the wrong ones, see tests/device/test_manifest.py.
    let wish =
        |fields: &str| script("\"stages/70-ready.sh\"").replace("]}", &format!("],\n{fields}}}"));
    refused(
        &wish(r#""checks": []"#),
        ":3: checks is an array, not an object",
    );
    unfit(
        &wish("\"checks\": {\n\"nic-drivr\": \"warn\"}"),
        ":4: checks.nic-drivr is no check: did you mean nic-driver? (a site's own begins with site-)",
    );
    unfit(
        &wish(r#""checks": {"xid": "ignore"}"#),
        ":3: checks.xid must be \"fail\", \"warn\" or \"off\"",
    );
    unfit(
        &wish(r#""expect": {"clock_mgz": 1800}"#),
        ":3: expect.clock_mgz is nothing that a check looks at: did you mean clock_mhz?",
    );
    unfit(
        &wish(r#""expect": {"clock_mhz": "1800"}"#),
        ":3: expect.clock_mhz must be a whole number",
    );
    unfit(
        &wish("\"expect\": {\n\"fabric_gbps\": 180,\n\"fabric_serve\": \"ib_write_bw\"}"),
        ":5: expect.fabric_serve stands there alone: fabric_serve and fabric_measure need one another",
    );
    unfit(
        &wish(r#""expect": {"fabric_port": 65536}"#),
        ":3: expect.fabric_port must be a port, from 1 to 65535",
    );
    // Payloads.
    refused(
        &path("\"payload/../payload/a\""),
        ":4: payloads[0].path: \"payload/../payload/a\" has a part \"..\"",
    );
    refused(
        &path("\"/etc/passwd\""),
        ":4: payloads[0].path: \"/etc/passwd\" is absolute",
    );
    refused(
        &path("\"payload//a\""),
        ":4: payloads[0].path: \"payload//a\" has an empty part",
    );
    refused(
        &path("\"payload/a\\n\""),
        ":4: payloads[0].path: \"payload/a\\n\" has a control character",
    );
    unfit(&path("\"payload/b\""), ":4: \"payload/b\" is not there");
    unfit(
        &path("\"payload\""),
        ":4: \"payload\" is not a regular file",
    );
    unfit(
        &size("4"),
        ":4: \"payload/a\" has 3 bytes, but 4 are listed",
    );
    refused(
        &size("-3"),
        ":4: payloads[0].size: -3 is not a whole number from 0 on",
    );
    refused(
        &size("3.0"),
        ":4: payloads[0].size: 3.0 is not a whole number",
    );
    refused(
        &size("1234567890123456"),
        ":4: payloads[0].size: 1234567890123456 is not a whole number",
    );
    refused(
        &size("\"3\""),
        ":4: payloads[0].size is a string, not a number",
    );
    unfit(
        &sum(&format!("\"{NOTHING}\"")),
        ":4: \"payload/a\" has the sha256 ba78",
    );
    refused(
        &sum("\"abc\""),
        ":4: payloads[0].sha256: \"abc\" is not 64 hexadecimal digits",
    );
    refused(&sum("null"), ":4: payloads[0].sha256 is null, not a string");
    refused(
        &target("\"opt/a\""),
        ":4: payloads[0].target: \"opt/a\" is not absolute",
    );
    refused(
        &target("\"/opt/../a\""),
        ":4: payloads[0].target: \"/opt/../a\" has a part \"..\"",
    );
    refused(&entry(&good), ":4: payloads[0].target is missing");
    refused(
        &target(&format!("\"/a\"}}, {{{good},\n\"target\": \"/a\"")),
        ":5: payloads[1].target: \"/a\" comes twice, first in line 4",
    );
    refused(
        &mode("\"4755\""),
        ":4: payloads[0].mode: \"4755\" sets the setuid, setgid or sticky bit",
    );
    refused(
        &mode("\"0888\""),
        ":4: payloads[0].mode: \"0888\" is not like \"0644\"",
    );
    refused(
        &mode("\"00644\""),
        ":4: payloads[0].mode: \"00644\" is not like \"0644\"",
    );
    refused(
        &mode("420"),
        ":4: payloads[0].mode is a number, not a string",
    );
    refused(&with("7"), ":4: payloads[0] is a number, not an object");
    refused(
        &with("").replace("[\n\n]", "null"),
        ":3: payloads is null, not an array",
    );

    // A device's script stops at the first; here all are told, in the order of the lines.
    let many = with(&format!(
        "{{\"path\": \"payload/a\", \"size\": 4,\n\"sha256\": \"{ABC}\", \"target\": \"a\"}},\n\
         {{\"path\": \"x\",\n\"size\": 1, \"sha256\": \"\", \"mode\": \"1\"}}"
    ));
    let found = site.faults(&many, true);
    let lines: Vec<_> = found.iter().map(|fault| &fault[..3]).collect();
    assert_eq!(
        lines,
        [":4:", ":5:", ":6:", ":6:", ":7:", ":7:"],
        "{found:?}"
    );

    let mut bytes = with("").into_bytes();
    bytes.extend(b"\n\xff");
    fs::write(site.manifest(), bytes).unwrap();
    site.run(&["check"])
        .refused(&["manifest.json:6: not JSON: not UTF-8"]);
}

#[test]
fn a_manifest_larger_than_a_device_reads_is_a_fault() {
    let site = Site::new();
    let most = 256 * 1024;
    site.stage(
        "manifest.json",
        &(DEFAULT.to_owned() + &" ".repeat(most - DEFAULT.len())),
    );
    site.run(&["check"]).well();
    let faults = site.faults(
        &(DEFAULT.to_owned() + &" ".repeat(most + 1 - DEFAULT.len())),
        false,
    );
    let too_large = ": has more than 262144 bytes, the most that a box reads";
    assert_eq!(faults, [too_large]);

    fs::remove_file(site.manifest()).unwrap();
    for number in 0..1700 {
        site.stage(&format!("payload/{number}"), "");
    }
    site.run(&["write"]).refused(&["manifest.json", too_large]);
    assert!(!site.manifest().exists());
}

#[test]
fn without_a_manifest_the_default_one_is_checked() {
    let site = Site::new();
    let run = site.run(&["check"]).well();
    assert!(
        run.output.contains("the embedded default is served"),
        "{run:?}"
    );
    assert!(run.output.ends_with("0 payloads, 0 faults\n"), "{run:?}");
    site.stage("stages/10-network.sh", &" ".repeat(1024 * 1024 + 1));
    site.run(&["check"]).refused(&["stages/10-network.sh"]);
    fs::remove_dir_all(site.onboard()).unwrap();
    site.run(&["check"]).well();

    // The scripts that it lists are those that are shipped.
    let manifest: Value = serde_json::from_str(DEFAULT).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/onboard");
    for stage in manifest["stages"].as_array().unwrap() {
        let script = stage["script"].as_str().unwrap();
        assert!(shipped.join(script).is_file(), "{script}");
    }
}

#[test]
fn many_files_get_their_own_sums() {
    let site = Site::new();
    for number in 0..500 {
        site.stage(&format!("payload/{number}"), &number.to_string());
    }
    site.write();
    for entry in site.payloads() {
        let sum = Command::new("sha256sum")
            .arg(site.path(entry["path"].as_str().unwrap()))
            .output()
            .unwrap();
        assert_eq!(
            entry["sha256"],
            String::from_utf8(sum.stdout).unwrap()[..64]
        );
    }
}

#[test]
fn a_large_file_takes_no_memory() {
    let site = Site::new();
    let large = site.stage_large("payload/large");
    // 32 MiB for the data of the whole process, stacks included.
    let limited = r#"ulimit -d 32768 && exec "$0" manifest write"#;
    let mut command = Command::new("sh");
    command
        .args(["-c", limited, BINARY])
        .env("DATA_PATH", site.0.path());
    Run::of(command.output().unwrap()).well();
    let sum = Command::new("sha256sum").arg(large).output().unwrap();
    assert_eq!(
        site.payloads()[0]["sha256"],
        String::from_utf8(sum.stdout).unwrap()[..64]
    );
    assert_eq!(site.payloads()[0]["size"], LARGE);
}

#[test]
fn a_file_that_changes_while_it_is_hashed_is_named() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("written to", |large| {
            let mut file = OpenOptions::new().write(true).open(large).unwrap();
            file.write_all(b"x").unwrap();
        }),
        ("grown", |large| {
            let file = OpenOptions::new().write(true).open(large).unwrap();
            file.set_len(LARGE + 1).unwrap();
        }),
        ("cut", |large| {
            File::create(large).unwrap().set_len(7).unwrap()
        }),
        ("replaced", |large| {
            let new = large.parent().unwrap().parent().unwrap().join("new");
            File::create(&new).unwrap().set_len(LARGE).unwrap();
            fs::rename(new, large).unwrap();
        }),
    ];
    for (what, change) in changes {
        let site = Site::new();
        site.stage("manifest.json", DEFAULT);
        let large = site.stage_large("payload/large");
        let child = site.start(&large);
        let pid = Pid::from_child(&child);
        // The change takes no time, however busy the machine is.
        kill_process(pid, Signal::STOP).unwrap();
        change(&large);
        kill_process(pid, Signal::CONT).unwrap();
        let run = Run::of(child.wait_with_output().unwrap());
        assert_eq!(run.code, Some(1), "{what}: {run:?}");
        run.refused(&["onboard/payload/large: changed while it was hashed"]);
        assert_eq!(site.text(), DEFAULT, "{what}");
    }

    // A small one, long after its own turn.
    let site = Site::new();
    let large = site.stage_large("payload/large");
    let small = site.stage("payload/small", "abc");
    let child = site.start(&large);
    std::thread::sleep(Duration::from_millis(100));
    fs::write(small, "abd").unwrap();
    let run = Run::of(child.wait_with_output().unwrap());
    let run = run.refused(&["onboard/payload/small: changed while it was hashed"]);
    assert!(!run.errors.contains("large"), "{run:?}");
    assert!(!site.manifest().exists());
}

#[test]
fn an_edit_meanwhile_and_a_second_run_are_not_lost() {
    let site = Site::new();
    let large = site.stage_large("payload/large");
    site.stage("manifest.json", DEFAULT);
    let child = site.start(&large);
    site.run(&["write"])
        .refused(&["manifest.json: another process is writing it"]);
    let edited = DEFAULT.replace("14400", "20000");
    site.stage("manifest.json", &edited);
    let run = Run::of(child.wait_with_output().unwrap());
    run.refused(&["manifest.json: was changed during the run, and is left as it is now"]);
    assert_eq!(site.text(), edited);
    assert!(!site.path("manifest.json.tmp").exists());
}

#[test]
fn killed_at_any_time_it_leaves_the_old_manifest() {
    let site = Site::new();
    site.stage("manifest.json", DEFAULT);
    let large = site.stage_large("payload/large");
    let mut child = site.start(&large);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(site.text(), DEFAULT);

    // By the kernel, at the first byte that it writes of the new one.
    fs::remove_file(large).unwrap();
    site.stage("payload/a", "abc");
    let mut command = Command::new("sh");
    command.args([
        "-c",
        r#"ulimit -c 0 && ulimit -f 0 && exec "$0" manifest write"#,
        BINARY,
    ]);
    let status = command.env("DATA_PATH", site.0.path()).status().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(25),
        "SIGXFSZ"
    );
    assert_eq!(site.text(), DEFAULT);
    assert!(
        site.path("manifest.json.tmp").exists(),
        "it was killed too early"
    );

    // What it left is no hindrance.
    site.write();
    assert_eq!(site.payloads().len(), 1);
    assert!(!site.path("manifest.json.tmp").exists());
}

#[test]
fn a_folder_that_cannot_be_written_keeps_the_old_manifest() {
    let site = Site::new();
    site.stage("manifest.json", DEFAULT);
    site.stage("payload/a", "abc");
    // Permissions do not hold root back, a mount does.
    let run = if is_root() {
        let script = r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$0" manifest write"#;
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-c", script, BINARY])
            .arg(site.onboard());
        Run::of(command.env("DATA_PATH", site.0.path()).output().unwrap())
    } else {
        fs::set_permissions(site.onboard(), fs::Permissions::from_mode(0o555)).unwrap();
        let run = site.run(&["write"]);
        fs::set_permissions(site.onboard(), fs::Permissions::from_mode(0o755)).unwrap();
        run
    };
    run.refused(&["onboard/manifest.json.tmp: "]);
    assert_eq!(site.text(), DEFAULT);
    assert!(!site.path("manifest.json.tmp").exists());
}

#[test]
fn progress_is_shown_on_a_terminal_only() {
    let site = Site::new();
    site.stage_large("payload/large");
    assert_eq!(site.run(&["write"]).well().errors, "");
    let command = format!("{BINARY} manifest check");
    let mut terminal = Command::new("script");
    terminal
        .args(["-qec", &command, "/dev/null"])
        .env("DATA_PATH", site.0.path());
    let run = Run::of(terminal.stdin(Stdio::null()).output().unwrap());
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.output.contains(" / 268."), "{run:?}");
    assert!(run.output.contains("B/s"), "{run:?}");
    // It is gone when the result is printed.
    let (_, last) = run.output.rsplit_once("\r\x1b[2K").unwrap();
    let end = "manifest.json: 1 payload, 0 faults";
    assert!(last.trim_end().ends_with(end), "{run:?}");
}
