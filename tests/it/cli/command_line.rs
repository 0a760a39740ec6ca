//! What commands take from where, what their help and the manual say of them, and the completions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::*;

const MAC: &str = "3c:6d:66:0a:1b:2c";

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn source(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn help(arguments: &[&str]) -> String {
    let output = Command::new(BINARY)
        .args(arguments)
        .arg("--help")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

/// The long options that a help text lists.
fn options(help: &str) -> Vec<&str> {
    let lines = help.lines().map(str::trim_start);
    let options = lines.filter(|line| line.starts_with('-'));
    options
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with("--")))
        .collect()
}

/// The commands that a help text lists.
fn commands(help: &str) -> Vec<&str> {
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let list = list.split("\n\n").next().unwrap();
    // What a long text goes on with is set in further.
    let entries = list.lines().filter_map(|line| line.strip_prefix("  "));
    let entries = entries.filter(|entry| !entry.starts_with(' '));
    let names = entries.filter_map(|entry| entry.split_whitespace().next());
    names.filter(|name| *name != "help").collect()
}

/// A machine where a service is installed. What asks systemd is a stand-in: the real one is asked by
/// the tests of the package.
struct Installed {
    folder: tempfile::TempDir,
}

impl Installed {
    /// With what the unit has in Environment=, and its file of settings.
    fn new(environment: &str, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let installed = Self { folder };
        fs::write(installed.path("default"), settings).unwrap();
        let shown = format!(
            "Environment=MALLOC_ARENA_MAX=2 {environment}\n\
             EnvironmentFiles={} (ignore_errors=yes)\n\
             EnvironmentFiles={} (ignore_errors=yes)\n",
            installed.path("not-there").display(),
            installed.path("default").display(),
        );
        fs::write(installed.path("shown"), shown).unwrap();
        let systemctl = installed.path("systemctl");
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = show ] && exec cat {}\nexit 1\n",
            installed.path("shown").display()
        );
        fs::write(&systemctl, script).unwrap();
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
        installed
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A data folder, told apart by its host name of a box.
    fn data(&self, name: &str) -> String {
        let devices = format!(r#"{{"{MAC}": {{"hostname": "{name}"}}}}"#);
        stage(&self.path(name), "devices.json", &devices);
        self.path(name).to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.folder.path().display());
        Command::new(BINARY)
            .args(arguments)
            .env_remove("DATA_PATH")
            .env("PATH", path)
            .envs(environment.iter().copied())
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    /// The meta-data of the box, from whichever folder is read.
    fn rendered(&self, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let output = self.run(
            &[&["render", MAC, "meta-data"], arguments].concat(),
            environment,
        );
        text(&output.stdout) + &text(&output.stderr)
    }
}

#[test]
fn a_command_works_on_the_data_of_the_installed_service() {
    let by_unit = Installed::new("DATA_PATH=of-unit", "#DATA_PATH=no\n");
    let (of_unit, other) = (by_unit.data("of-unit"), by_unit.data("other"));
    assert!(by_unit.rendered(&[], &[]).contains("\"of-unit\""));
    // What is told counts more.
    for (arguments, environment) in [
        (&["--data-path", &*other][..], &[][..]),
        (&[], &[("DATA_PATH", &*other)]),
    ] {
        let rendered = by_unit.rendered(arguments, environment);
        assert!(rendered.contains("\"other\""), "{rendered}");
    }
    let check = by_unit.run(&["check"], &[]);
    assert!(check.status.success(), "{check:?}");
    assert!(
        text(&check.stdout).contains("of-unit/cloud-init-templates: "),
        "{check:?}"
    );
    assert!(help(&["check"]).contains("./data"), "{of_unit}");
}

#[test]
fn the_file_of_settings_counts_more_than_the_unit_and_is_read_as_systemd_does() {
    for settings in [
        "DATA_PATH=with space\n",
        "# DATA_PATH=no\n; DATA_PATH=no\n  DATA_PATH = \"with space\"  \nLOG=info\n",
        "DATA_PATH=no\nDATA_PATH='with space'",
        "DATA_PATH=\\\nwith\\ space\n",
        "nonsense\nFALLBACK_PASSWORD_HASH='$6$salt$hash'\nDATA_PATH=\"with space\"\n",
    ] {
        let installed = Installed::new("DATA_PATH=of-unit", settings);
        installed.data("of-unit");
        stage(
            &installed.path("with space"),
            "devices.json",
            &format!(r#"{{"{MAC}": {{"hostname": "in-space"}}}}"#),
        );
        let rendered = installed.rendered(&[], &[]);
        assert!(rendered.contains("\"in-space\""), "{settings}: {rendered}");
    }
    let quoted = Installed::new("\"DATA_PATH=with space\" LOG=info", "");
    stage(&quoted.path("with space"), "site.json", "{}");
    let check = quoted.run(&["check"], &[]);
    assert!(text(&check.stdout).contains("with space/"), "{check:?}");
}

#[test]
fn a_seed_is_rendered_by_the_settings_of_the_installed_service() {
    let installed = Installed::new("DATA_PATH=of-unit", "PUBLIC_URL=http://10.88.0.7\n");
    installed.data("of-unit");
    let user_data = |environment: &[(&str, &str)]| {
        let output = installed.run(&["render", MAC], environment);
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    };
    assert!(user_data(&[]).contains("http://10.88.0.7/"));
    let told = user_data(&[("PUBLIC_URL", "http://10.88.0.8")]);
    assert!(told.contains("http://10.88.0.8/") && !told.contains("10.88.0.7"));
    // With a folder of the operator's, nothing of the service's counts.
    let apart = user_data(&[("DATA_PATH", &*installed.data("other"))]);
    assert!(!apart.contains("10.88.0.7"), "{apart}");

    let wrong = Installed::new("DATA_PATH=of-unit", "PUBLIC_URL=ten\n");
    wrong.data("of-unit");
    let output = wrong.run(&["check"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("'ten' for '--public-url"), "{stderr}");
    assert!(
        stderr.contains("those of gb10-provision-api.service"),
        "{stderr}"
    );
}

#[test]
fn a_command_fails_where_there_is_no_data_folder() {
    let installed = Installed::new("", "");
    let file = installed.path("shown");
    for command in [
        &["check"][..],
        &["check", "--json"],
        &["render", MAC],
        &["cidata", MAC, "stick.img"],
        &["manifest", "check"],
        &["manifest", "write"],
        &["forget", MAC],
    ] {
        for (folder, reason) in [
            ("/nonexistent", "/nonexistent: no such folder"),
            (file.to_str().unwrap(), "shown: no folder"),
        ] {
            let output = installed.run(command, &[("DATA_PATH", folder)]);
            assert_eq!(output.status.code(), Some(1), "{command:?} {output:?}");
            let stderr = text(&output.stderr);
            assert!(stderr.contains(reason), "{command:?}: {stderr}");
            assert!(stderr.contains("--data-path or DATA_PATH"), "{stderr}");
            assert!(output.stdout.is_empty(), "{output:?}");
        }
        // Nothing is told, and nothing is installed: the folder of a run by hand.
        let output = installed.run(command, &[]);
        assert_eq!(output.status.code(), Some(1), "{command:?} {output:?}");
        assert!(
            text(&output.stderr).starts_with("./data: no such folder"),
            "{output:?}"
        );
        assert!(!installed.path("data").exists());
    }
}

#[test]
fn a_wrong_argument_of_a_command_is_told_what_was_expected() {
    for (arguments, expected) in [
        (&["render", "kitchen"][..], "expected six octets"),
        (&["render", MAC, "seed"], "expected user-data, meta-data"),
        (
            &["render", MAC, "--reached-at", "10.88.0.1"],
            "expected an address and a port, such as 10.88.0.1:8088",
        ),
        (&["forget", "no-mac"], "expected six octets"),
        (&["cidata", MAC], "<FILE>"),
        (
            &["cidata", MAC, "stick.img", "--profile", "debian"],
            "possible values: dgx-os, installer",
        ),
        (&["completions", "csh"], "possible values: bash"),
        (
            &["check", "--max-clients", "7"],
            "unexpected argument '--max-clients'",
        ),
    ] {
        let output = Command::new(BINARY).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let stderr = text(&output.stderr);
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

#[test]
fn the_help_of_a_command_lists_only_what_concerns_it() {
    for (command, own) in [
        (&["check"][..], &["--json"][..]),
        (&["render"], &["--reached-at"]),
        (&["cidata"], &["--profile", "--reached-at", "--force"]),
        (&["manifest", "write"], &["--payload"]),
        (&["manifest", "check"], &[]),
        (&["forget"], &[]),
    ] {
        let help = help(command);
        let mut expected = own.to_vec();
        expected.extend(["--help", "--data-path"]);
        let mut listed = options(&help);
        expected.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, expected, "{command:?}");
    }
}

#[test]
fn the_manual_has_every_command() {
    let manual = fs::read_to_string(source("packaging/gb10-provision-api.8")).unwrap();
    let (synopsis, rest) = manual.split_once(".SH DESCRIPTION").unwrap();
    let (_, section) = rest.split_once(".SH COMMANDS").unwrap();
    let section = section.split(".SH ").next().unwrap();
    let top = help(&[]);
    let names = commands(&top);
    assert!(
        names.contains(&"check") && names.contains(&"completions"),
        "{names:?}"
    );
    for name in names {
        let in_synopsis = format!(".B gb10-provision-api {name}");
        assert!(
            synopsis.lines().any(|line| {
                let rest = line.strip_prefix(&in_synopsis);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            }),
            "{name} is not in the synopsis"
        );
        let entries = section.split(".TP\n").skip(1);
        let headings = entries.filter_map(|entry| entry.lines().next());
        let is_of = |heading: &str| {
            let words = heading.split([' ', '"']).filter(|word| !word.is_empty());
            words.skip(1).take(1).any(|word| word == name)
        };
        assert!(
            headings.into_iter().any(is_of),
            "{name} has no entry in the manual"
        );
    }
}

#[test]
fn the_package_installs_the_completions_that_the_program_prints() {
    for (shell, file) in [
        ("bash", "bash/gb10-provision-api"),
        ("fish", "fish/gb10-provision-api.fish"),
        ("zsh", "zsh/_gb10-provision-api"),
    ] {
        let printed = Command::new(BINARY)
            .args(["completions", shell])
            .output()
            .unwrap();
        let path = source("packaging/completions").join(file);
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &printed.stdout).unwrap();
        }
        let kept = fs::read(&path).unwrap();
        assert!(
            kept == printed.stdout,
            "{} is not what `gb10-provision-api completions {shell}` prints: BLESS=1 tests/run completions writes it anew",
            path.display()
        );
    }
}
