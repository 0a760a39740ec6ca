//! `gb10-provision-api clients`: where every box stands, or the story of one; once, or live.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::out::{columns, has_colours, is_terminal, print};
use crate::device::mac::MacAddr;
use crate::device::story::Story;
use crate::device::view::{Row, Standing, Totals};
use crate::service::installed::{self, State};
use crate::service::settings::Settings;
use crate::site::suggestion::Suggestion;
use crate::store::{self, StoreError};
use crate::terminal::records::Records;
use crate::terminal::table::Table;
use crate::terminal::text::{clean_json, cut};
use crate::terminal::watch::model::Model;
use crate::terminal::{Times, story, totals, watch};

/// What to show.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The MAC of one box, at whichever port: tell its story
    mac: Option<MacAddr>,
    /// Only boxes that failed
    #[arg(long, conflicts_with = "mac")]
    failed: bool,
    /// Only boxes that are silent for too long
    #[arg(long, conflicts_with = "mac")]
    stalled: bool,
    /// Print one JSON object, for machines
    #[arg(long)]
    json: bool,
    /// Print what devices.json could say of that box, by the facts that it sent
    #[arg(long, requires = "mac", conflicts_with_all = ["json", "watch"])]
    suggest_device: bool,
    /// Live, until q is pressed
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

/// All boxes, for machines. docs/clients-json.md has it.
#[derive(Serialize)]
struct Listing<'a> {
    service: State,
    totals: Totals,
    clients: &'a [Row],
}

/// One box, for machines.
#[derive(Serialize)]
struct One<'a> {
    service: State,
    client: &'a Story,
}

/// Shows it.
pub(super) fn run(settings: &Settings, options: &Options) -> ExitCode {
    let records = match Records::read(&settings.data_path) {
        Ok(records) => records,
        Err(error) => {
            let hint = hint(&settings.data_path, &error);
            return failed(&format!("the records cannot be read: {error}{hint}"));
        }
    };
    if let Ok(true) = store::has_moved_aside(records.folder()) {
        let folder = records.folder().display();
        eprintln!(
            "note: a corrupt clients.json was moved aside in {folder}: these are the records since"
        );
    }
    match (options.watch, options.mac) {
        (true, mac) => live(settings, options, records, mac),
        (false, Some(mac)) => one(settings, options, &records, mac),
        (false, None) => all(settings, options, &records),
    }
}

fn failed(reason: &str) -> ExitCode {
    // Standard error may be a terminal that is gone.
    let _ = writeln!(io::stderr(), "{reason}");
    ExitCode::FAILURE
}

fn printed(text: &str) -> ExitCode {
    match print(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&format!("standard output cannot be written: {error}")),
    }
}

fn json(value: &impl Serialize) -> ExitCode {
    match serde_json::to_string_pretty(value) {
        Ok(text) => printed(&clean_json(&text)),
        Err(error) => failed(&format!("this cannot be written as JSON: {error}")),
    }
}

fn all(settings: &Settings, options: &Options, records: &Records) -> ExitCode {
    let service = installed::state(&settings.data_path);
    let rows = records.rows();
    let has_box = !rows.is_empty();
    let rows: Vec<Row> = rows.into_iter().filter(|row| options.shows(row)).collect();
    let counts = records.totals();
    if options.json {
        return json(&Listing {
            service,
            totals: counts,
            clients: &rows,
        });
    }
    note(service);
    let mut lines = Vec::new();
    if !has_box {
        lines.push("no box was ever heard of".to_owned());
    } else if rows.is_empty() {
        lines.push(format!("no box {}", options.what()));
    } else {
        let table = match columns() {
            Some(columns) => Table::fitting(&rows, times(), columns),
            None => Table::whole(&rows, times()),
        };
        let has_colours = has_colours();
        lines.push(table.heading());
        lines.extend(rows.iter().map(|row| {
            let [state, rest] = table.row(row);
            coloured(&state, row.standing, has_colours) + &rest
        }));
    }
    if has_box {
        lines.push(cut(&totals(counts), columns().unwrap_or(usize::MAX)));
    }
    printed(&lines.join("\n"))
}

impl Options {
    fn shows(&self, row: &Row) -> bool {
        match row.standing {
            _ if !self.failed && !self.stalled => true,
            Standing::Failed => self.failed,
            Standing::Stalled => self.stalled,
            Standing::OnItsWay | Standing::Ready => false,
        }
    }

    fn what(&self) -> &'static str {
        match (self.failed, self.stalled) {
            (true, false) => "failed",
            (false, true) => "stalled",
            _ => "failed or stalled",
        }
    }
}

fn one(settings: &Settings, options: &Options, records: &Records, mac: MacAddr) -> ExitCode {
    let Some(told) = records.story(mac) else {
        return failed(&format!("no box with that MAC is on record: {mac}"));
    };
    if options.suggest_device {
        return suggest(records, &told);
    }
    let service = installed::state(&settings.data_path);
    if options.json {
        return json(&One {
            service,
            client: &told,
        });
    }
    note(service);
    let has_colours = has_colours();
    let lines = story::lines(&told, times(), columns().unwrap_or(usize::MAX));
    let lines = lines.into_iter().map(|line| match line.standing {
        Some(standing) => coloured(&line.text, standing, has_colours),
        None => line.text,
    });
    printed(&lines.collect::<Vec<_>>().join("\n"))
}

fn suggest(records: &Records, story: &Story) -> ExitCode {
    let Some(Suggestion { entry, notes }) = records.suggestion(story) else {
        return failed(&format!(
            "{} has sent no facts: a box does when it is verified",
            story.row.mac
        ));
    };
    for note in notes {
        eprintln!("note: {note}");
    }
    printed(&clean_json(&entry))
}

fn live(
    settings: &Settings,
    options: &Options,
    records: Records,
    mac: Option<MacAddr>,
) -> ExitCode {
    if !is_terminal() || !io::IsTerminal::is_terminal(&io::stdin()) {
        return failed("--watch needs a terminal; without it, the table is printed once");
    }
    let only = match (options.failed, options.stalled) {
        (true, false) => Some(Standing::Failed),
        (false, true) => Some(Standing::Stalled),
        _ => None,
    };
    let pane = match mac.map(|mac| (mac, records.story(mac))) {
        None => None,
        Some((_, Some(told))) => Some(told.row.mac),
        Some((mac, None)) => return failed(&format!("no box with that MAC is on record: {mac}")),
    };
    let model = Model::new(only, pane, has_colours());
    let data_path = settings.data_path.clone();
    let note = move || words(installed::state(&data_path)).map(str::to_owned);
    match watch::run(records, model, note) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&format!("the terminal failed: {error}")),
    }
}

/// On a terminal how long ago something was; elsewhere the same text whenever it is printed.
fn times() -> Times {
    match is_terminal() {
        true => Times::Ago(Timestamp::now()),
        false => Times::Absolute,
    }
}

/// What is to be known of a service that does not run.
fn words(service: State) -> Option<&'static str> {
    match service {
        State::Running | State::Unknown => None,
        State::Waiting => Some(
            "the service does not run; the next connection starts it. This is what it wrote last",
        ),
        State::Stopped => Some(
            "the service does not run, and its port is closed: systemctl start gb10-provision-api.socket. \
             This is what it wrote last",
        ),
    }
}

fn note(service: State) {
    if let Some(words) = words(service) {
        eprintln!("note: {words}");
    }
}

/// The text in the colour of a standing. Its word says the same.
fn coloured(text: &str, standing: Standing, has_colours: bool) -> String {
    let colour = match standing {
        _ if !has_colours => return text.to_owned(),
        Standing::Failed => "1;31",
        Standing::Stalled => "1;33",
        Standing::OnItsWay => return text.to_owned(),
        Standing::Ready => "32",
    };
    format!("\x1b[{colour}m{text}\x1b[0m")
}

/// Who may read the records, for somebody who may not.
fn hint(data_path: &Path, error: &StoreError) -> String {
    let is_refused = matches!(error, StoreError::Io { cause, .. }
        if cause.kind() == io::ErrorKind::PermissionDenied);
    if !is_refused {
        return String::new();
    }
    let state = crate::files::layout::state(data_path);
    let group = fs::metadata(state)
        .ok()
        .and_then(|state| group(state.gid()));
    let group = group.unwrap_or_else(|| "gb10-provision-api".to_owned());
    format!(
        "; expected root or a member of the group {group}: adduser NAME {group}, and log in again"
    )
}

/// The name of a group.
fn group(gid: u32) -> Option<String> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    let mut groups = groups.lines().map(|line| line.split(':'));
    groups.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    })
}
