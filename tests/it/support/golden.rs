//! Golden folders: a test is a folder with the input, and one file with all that comes of it.
//!
//! Beside `golden.rs` of a room, each folder of `golden/` is a case:
//!
//! - `data/` is what stands in the data folder at the start.
//! - `session` is what is done, a step a line:
//!   `env NAME=VALUE` before the service starts; `GET`, `HEAD` or `POST`, a target, for a POST the
//!   body, and after ` | ` a header, where a `-` before it keeps all but the status out of the
//!   record; `check`, `render` and `clients` run these commands of `gb10-provision-api`, with the
//!   arguments that follow; `await TEXT` waits for a line of the journal;
//!   `journal` stops the service and shows what it wrote to stderr. `#` begins a comment.
//! - `expected` is the record of the session: every step, and every byte of its outcome.
//!
//! Times, the port, the data folder and the program's version stand there as TIME, PORT, DATA and
//! VERSION; times of `clients`, which come from `data/`, as they are. After an intended change, `BLESS=1 tests/run golden` writes all `expected` files anew, and
//! `git diff` shows what has changed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BINARY, BOX, Response, Service, Start, request_from};

/// Makes a test of each case, and one that finds folders which are none.
macro_rules! golden {
    ($($case:ident,)+) => {
        $(#[test]
        fn $case() {
            $crate::support::golden::compare(module_path!(), stringify!($case));
        })+

        #[test]
        fn every_folder_is_a_case() {
            $crate::support::golden::are_all(module_path!(), &[$(stringify!($case)),+]);
        }
    };
}
pub(crate) use golden;

/// The folder of a room's cases, by the path of its module.
fn folder(module: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    tests.join(module.replace("::", "/"))
}

/// Asserts that a room has folders for just these cases.
pub fn are_all(module: &str, cases: &[&str]) {
    let entries = std::fs::read_dir(folder(module)).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut cases: Vec<String> = cases.iter().map(|case| case.replace('_', "-")).collect();
    names.sort();
    cases.sort();
    assert_eq!(names, cases, "folders, and cases in {module}");
}

/// Plays a case and compares the record with what is expected.
pub fn compare(module: &str, case: &str) {
    let case = folder(module).join(case.replace('_', "-"));
    let record = Session::of(&case).play();
    let expected = case.join("expected");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&expected, &record).unwrap();
        return;
    }
    if std::fs::read_to_string(&expected).is_ok_and(|expected| expected == record) {
        return;
    }
    let actual = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(actual.path(), &record).unwrap();
    let diff = Command::new("diff")
        .args(["--unified", "--new-file", "--label=expected", "--label=now"])
        .args([&expected, actual.path()])
        .output()
        .unwrap();
    panic!(
        "{} differs; if that is intended: BLESS=1\n{}",
        expected.display(),
        String::from_utf8_lossy(&diff.stdout)
    );
}

/// A session that is played.
struct Session {
    steps: Vec<String>,
    environment: Vec<(String, String)>,
    folder: tempfile::TempDir,
    service: Option<Service>,
    record: String,
}

impl Session {
    fn of(case: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&case.join("data"), folder.path());
        let text = std::fs::read_to_string(case.join("session")).unwrap();
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (settings, steps): (Vec<&str>, Vec<&str>) =
            lines.partition(|line| line.starts_with("env "));
        let setting = |line: &str| {
            let (name, value) = line["env ".len()..].split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        };
        Self {
            steps: steps.into_iter().map(str::to_owned).collect(),
            environment: settings.into_iter().map(setting).collect(),
            folder,
            service: None,
            record: String::new(),
        }
    }

    fn play(mut self) -> String {
        for step in std::mem::take(&mut self.steps) {
            writeln!(self.record, "> {step}").unwrap();
            let outcome = match &*step {
                command if ["check", "render", "clients"].contains(&first_word(command)) => {
                    self.run(command)
                }
                "journal" => self.journal(),
                _ => match (step.strip_prefix("await "), step.strip_prefix("- ")) {
                    (Some(text), _) => {
                        self.service().wait_for_log(&[text]);
                        String::new()
                    }
                    (_, Some(step)) => format!("< {}\n", self.request(step).status),
                    _ => {
                        let answer = self.request(&step);
                        self.plain(&outcome(&answer))
                    }
                },
            };
            self.record += &outcome;
            self.record += "\n";
        }
        self.record
    }

    fn service(&mut self) -> &Service {
        let start = || {
            let start = Start::on(self.folder.path());
            let environment = self.environment.iter();
            environment
                .fold(start, |start, (name, value)| start.env(name, value))
                .service()
        };
        self.service.get_or_insert_with(start)
    }

    fn request(&mut self, step: &str) -> Response {
        let (step, header) = match step.split_once(" | ") {
            Some((step, header)) => (step, header.split_once(": ")),
            None => (step, None),
        };
        let (method, rest) = step.split_once(' ').unwrap();
        let (target, body) = rest.split_once(' ').unwrap_or((rest, ""));
        let address = self.service().address;
        let headers: Vec<_> = header.into_iter().collect();
        request_from(
            Some(BOX),
            address,
            method,
            target,
            &headers,
            body.as_bytes(),
        )
        .unwrap()
    }

    fn run(&self, command: &str) -> String {
        let output = Command::new(BINARY)
            .args(command.split(' '))
            .env("DATA_PATH", self.folder.path())
            .env_remove("COLUMNS")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        let mut text = format!("< {}\n", output.status);
        for (name, bytes) in [("stdout", output.stdout), ("stderr", output.stderr)] {
            if !bytes.is_empty() {
                text += &format!("< {name}\n{}", whole(&bytes));
            }
        }
        match first_word(command) {
            "clients" => self.placed(&text),
            _ => self.plain(&text),
        }
    }

    /// What the service wrote from its start to its end.
    fn journal(&mut self) -> String {
        self.service();
        let mut service = self.service.take().unwrap();
        service.signal(rustix::process::Signal::TERM);
        assert!(service.wait_for_end().success());
        self.plain(&format!("{}\n", service.whole_log()))
    }

    /// Without the place of the data folder.
    fn placed(&self, text: &str) -> String {
        text.replace(self.folder.path().to_str().unwrap(), "DATA")
    }

    /// Without what differs from run to run.
    fn plain(&self, text: &str) -> String {
        let version = concat!("version=\"", env!("CARGO_PKG_VERSION"), '"');
        let text = self.placed(text).replace(version, "version=\"VERSION\"");
        let text = without_times(&text);
        without_ports(&text)
    }
}

fn first_word(step: &str) -> &str {
    step.split(' ').next().unwrap_or_default()
}

/// Copies a folder's content; there may be none.
fn copy(from: &Path, to: &Path) {
    let Ok(entries) = std::fs::read_dir(from) else {
        return;
    };
    for entry in entries.map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

fn outcome(answer: &Response) -> String {
    let mut text = format!("< {}", answer.status);
    for name in ["content-type", "content-range", "retry-after", "allow"] {
        if !answer.header(name).is_empty() {
            text += &format!("\n< {name}: {}", answer.header(name));
        }
    }
    text + "\n" + &whole(&answer.body)
}

/// A text that ends with its line, and says where the original does not.
fn whole(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    if text.is_empty() || text.ends_with('\n') {
        return text;
    }
    text + "\n\\ no newline at the end\n"
}

/// TIME for each RFC 3339 time.
fn without_times(text: &str) -> String {
    replace_each(text, |rest| {
        let digits = "dddd-dd-ddTdd:dd:dd".bytes();
        let begins = rest.len() > digits.len()
            && digits.zip(rest.bytes()).all(|(form, byte)| match form {
                b'd' => byte.is_ascii_digit(),
                _ => form == byte,
            });
        let length = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_digit() || b"-:.+TZ".contains(byte))
            .count();
        begins.then_some(("TIME", length))
    })
}

/// PORT for each port of the loopback address.
fn without_ports(text: &str) -> String {
    replace_each(text, |rest| {
        let digits = rest.strip_prefix("127.0.0.1:")?;
        let length = digits.bytes().take_while(u8::is_ascii_digit).count();
        (length > 0).then_some(("127.0.0.1:PORT", rest.len() - digits.len() + length))
    })
}

/// Puts a text in place of what is found, by its length, at each place.
fn replace_each(text: &str, find: impl Fn(&str) -> Option<(&'static str, usize)>) -> String {
    let mut replaced = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (new, length) = match find(rest) {
            Some((new, length)) => (new, length),
            None => ("", first.len_utf8()),
        };
        replaced += if new.is_empty() { &rest[..length] } else { new };
        rest = &rest[length..];
    }
    replaced
}
