//! The settings of the installed service, as its unit has them, so that commands work on its data.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::credential;
use crate::tools;

/// The unit of the service.
pub const UNIT: &str = "gb10-provision-api.service";

/// The unit of its port.
pub const SOCKET: &str = "gb10-provision-api.socket";

/// Longest that systemd may take, in seconds.
const TIMEOUT: u32 = 3;

/// What begins the line of a property in the output of `systemctl show`.
const ENVIRONMENT: &str = "Environment=";
const ENVIRONMENT_FILES: &str = "EnvironmentFiles=";

/// The variables that the unit sets, drop-ins, its file of settings and its credential included. None
/// where no service is installed, or no systemd runs.
pub fn environment() -> BTreeMap<String, String> {
    let note = |note: String| eprintln!("note: {note}");
    let mut variables = read(note);
    if variables.is_empty() {
        return variables;
    }
    // As in the service, it goes before the variable.
    match credential::of_service() {
        Ok(Some(hash)) => _ = variables.insert(credential::SETTING.to_owned(), hash),
        Ok(None) => {}
        // Whom it does not concern was told of the file of settings, which is for root, too.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(error) => note(format!(
            "the credential {} is left out: {error}",
            credential::NAME
        )),
    }
    variables
}

/// How the installed service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It runs.
    Running,
    /// The port is open, and the first connection starts it.
    Waiting,
    /// Neither it nor its socket is there for boxes.
    Stopped,
    /// No systemd runs here, or no service that works on this data is installed.
    Unknown,
}

/// How the service is that works on this data folder. systemd tells that to everybody, and is not
/// asked by way of the port, which would start the service.
pub fn state(data_path: &Path) -> State {
    if read(|_| ()).get("DATA_PATH").map(Path::new) != Some(data_path) {
        return State::Unknown;
    }
    let arguments = ["show", "--property=ActiveState", "--value", UNIT, SOCKET];
    let Ok(shown) = tools::ask(TIMEOUT, "systemctl", arguments) else {
        return State::Unknown;
    };
    let mut states = shown.lines().filter(|line| !line.is_empty());
    match (states.next(), states.next()) {
        (Some("active" | "reloading" | "activating"), _) => State::Running,
        (Some(_), Some("active")) => State::Waiting,
        (Some(_), Some(_)) => State::Stopped,
        _ => State::Unknown,
    }
}

fn read(note: impl Fn(String)) -> BTreeMap<String, String> {
    let arguments = ["show", "--property=Environment,EnvironmentFiles", UNIT];
    let Ok(shown) = tools::ask(TIMEOUT, "systemctl", arguments) else {
        return BTreeMap::new();
    };
    let of = |property: &'static str| {
        shown
            .lines()
            .filter_map(move |line| line.strip_prefix(property))
    };
    let mut variables: BTreeMap<_, _> = of(ENVIRONMENT).flat_map(of_property).collect();
    for file in of(ENVIRONMENT_FILES) {
        // As in `/etc/default/gb10-provision-api (ignore_errors=yes)`.
        let path = file.rsplit_once(" (").map_or(file, |(path, _)| path);
        match fs::read_to_string(path) {
            Ok(text) => variables.extend(of_file(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => note(format!("the settings in {path} are left out: {error}")),
        }
    }
    variables
}

/// The variables of the property Environment: words, of which those with spaces stand in quotes.
pub fn of_property(text: &str) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, behind) = unquoted(rest, char::is_whitespace);
        variables.extend(assignment(&word));
        rest = behind.trim_start();
    }
    variables
}

/// The variables of an EnvironmentFile, one a line. See systemd.exec(5).
pub fn of_file(text: &str) -> Vec<(String, String)> {
    let lines = text.replace("\\\n", "");
    let lines = lines.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with(['#', ';']));
    let variables = lines.filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        let value = unquoted(value.trim_start(), |_| false).0;
        Some((name.trim_end().to_owned(), value))
    });
    variables.collect()
}

fn assignment(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    Some((name.to_owned(), value.to_owned()))
}

/// The text up to the first character outside of quotes that ends it, without quotes and
/// backslashes; and what is behind.
fn unquoted(text: &str, is_end: impl Fn(char) -> bool) -> (String, &str) {
    let (mut word, mut quote) = (String::new(), None);
    let mut rest = text.chars();
    loop {
        let behind = rest.as_str();
        match (rest.next(), quote) {
            (None, _) => return (word, ""),
            (Some(c), None) if is_end(c) => return (word, behind),
            (Some(c @ ('"' | '\'')), None) => quote = Some(c),
            (Some(c), Some(open)) if c == open => quote = None,
            (Some('\\'), None | Some('"')) => word.extend(rest.next()),
            (Some(c), _) => word.push(c),
        }
    }
}
