//! The story of one box, in lines.

use super::Times;
use super::text::{clean, pad, span, width, wrap};
use super::{stage, words};
use crate::device::boot::Decision;
use crate::device::history::{PastReport, Rfc3339};
use crate::device::story::{Leg, Story};
use crate::device::view::{Standing, Told, Trouble};
use crate::device::warning::Warning;

/// Where the values of a box's fields begin.
const FIELD: usize = 13;

/// Below so many columns they stand right behind their names.
const NARROW: usize = 3 * FIELD;

/// The longest name of a fact that others are put in line with.
const LONGEST_NAME: usize = 20;

/// A line, and whether it is one that needs somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it says.
    pub text: String,
    /// How the box stands, in the line that says so.
    pub standing: Option<Standing>,
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Self {
            text,
            standing: None,
        }
    }
}

/// All that is to be said of a box, in lines of at most `columns`.
pub fn lines(story: &Story, times: Times, columns: usize) -> Vec<Line> {
    let mut lines = fields(story, times, columns);
    let mut part = |heading: &str, texts: Vec<String>, indent: usize| {
        if texts.is_empty() {
            return;
        }
        lines.push(String::new().into());
        lines.push(heading.to_owned().into());
        let wrapped = texts.iter().flat_map(|text| wrap(text, columns, indent));
        lines.extend(wrapped.map(Line::from));
    };
    let stages = story.stages.iter().map(|leg| width(&clean(&leg.stage)));
    let widest = stages.max().unwrap_or(0);
    let legs = story.stages.iter().map(|leg| self::leg(leg, times, widest));
    part("Stages", legs.collect(), 4);
    part("Warnings", warnings(story), 6);
    if let Some(facts) = &story.facts {
        let named = facts.lines().into_iter();
        let named: Vec<_> = named
            .map(|(name, fact)| (clean(&name), clean(&fact)))
            .collect();
        let widest = named.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
        let widest = widest.min(LONGEST_NAME);
        let named = named.into_iter();
        let facts = named.map(|(name, fact)| format!("  {}  {fact}", pad(&name, widest)));
        let heading = format!("Facts, of {}", moment(story.facts_at, times));
        part(&heading, facts.collect(), 6);
    }
    let events = story.events.iter().flat_map(event);
    let heading = match story.events_dropped {
        0 => "Events".to_owned(),
        dropped => format!("Events ({dropped} older ones are no longer kept)"),
    };
    part(&heading, events.collect(), 6);
    let logs = story.logs.iter().map(|name| format!("  {}", clean(name)));
    part(
        "Logs of failed installations, in state/logs/",
        logs.collect(),
        4,
    );
    lines
}

fn fields(story: &Story, times: Times, columns: usize) -> Vec<Line> {
    let row = &story.row;
    let at = |at| moment(at, times);
    let troubles = row.troubles.iter().copied().map(Trouble::words);
    let drift = row.drift.iter();
    let mut fields = vec![
        (
            "box",
            row.hostname.as_deref().map(clean).unwrap_or_default(),
        ),
        ("MAC", row.mac.to_string()),
        ("IP", row.ip.map(|ip| ip.to_string()).unwrap_or_default()),
        ("role", row.role.as_deref().map(clean).unwrap_or_default()),
        ("state", words(row.standing).to_owned()),
        ("wrong", troubles.collect::<Vec<_>>().join(", ")),
        (
            "drift",
            drift
                .map(|it| clean(&it.to_string()))
                .collect::<Vec<_>>()
                .join("; "),
        ),
        ("stage", stage(row)),
        (
            "detail",
            row.detail.as_deref().map(clean).unwrap_or_default(),
        ),
        ("since", at(row.since)),
        ("heard of", at(row.heard)),
        ("reported", at(row.reported)),
    ];
    if let Some(served) = &row.served {
        let text = format!("{}, {}", at(Some(served.at)), clean(&served.words()));
        fields.push(("served", text));
    }
    if let Some(told) = &row.told {
        fields.push(("told to boot", self::told(told, times)));
    }
    let mut lines = Vec::new();
    for (name, value) in fields {
        if value.is_empty() {
            continue;
        }
        let standing = (name == "state").then_some(row.standing);
        let wrapped = match columns < NARROW {
            true => wrap(&format!("{name}: {value}"), columns, 2),
            false => wrap(&format!("{} {value}", pad(name, FIELD - 1)), columns, FIELD),
        };
        lines.extend(wrapped.into_iter().map(|text| Line { text, standing }));
    }
    lines
}

fn told(told: &Told, times: Times) -> String {
    let decision = match told.decision {
        Decision::Install => "the installer",
        Decision::Local => "its own disk",
    };
    let at = moment(Some(told.at), times);
    format!("{at}, {decision}: {}", clean(&told.reason))
}

/// A time, and how long ago that was where that is known.
fn moment(at: Option<Rfc3339>, times: Times) -> String {
    let absolute = Times::Absolute.print(at);
    match (at, times) {
        (Some(_), Times::Ago(_)) => format!("{absolute} ({} ago)", times.print(at)),
        _ => absolute,
    }
}

/// A stage: what it came to, when it began, and how long it took.
fn leg(leg: &Leg, times: Times, widest: usize) -> String {
    let took = match leg.seconds {
        Some(seconds) => span(seconds),
        None => "?".to_owned(),
    };
    let events = match leg.events {
        1 => "1 event".to_owned(),
        events => format!("{events} events"),
    };
    format!(
        "  {}  {}  {}  {}  {events}",
        pad(&clean(&leg.stage), widest),
        pad(&clean(&leg.phase), 8),
        pad(&took, 6),
        moment(leg.began, times),
    )
}

/// What the checks of each stage warn of, a line each.
fn warnings(story: &Story) -> Vec<String> {
    let of_stages = story.warnings_by_stage.iter();
    let lines = of_stages.flat_map(|of| {
        of.warnings.iter().map(|warning| {
            let waived = if warning.waived { " (waived)" } else { "" };
            let Warning { check, reason, .. } = warning;
            clean(&format!("  {}  {check}{waived}: {reason}", of.stage))
        })
    });
    lines.collect()
}

/// An event: a line, and one more for each further line of the box's words.
fn event(event: &PastReport) -> Vec<String> {
    let at = match event.at() {
        Some(at) => Times::Absolute.print(Some(at)),
        None => clean(event.timestamp.as_deref().unwrap_or("no time")),
    };
    let sender = match event.arp_mac {
        Some(mac) => format!("  (sent by {mac}, by ARP)"),
        None => String::new(),
    };
    let what = clean(&format!("{} {}", event.stage, event.phase));
    let detail = event.detail.as_deref().unwrap_or_default();
    let detail = detail.lines().map(str::trim_end);
    let mut detail = detail.filter(|line| !line.is_empty()).map(clean);
    let first = detail.next().unwrap_or_default();
    let first = format!("  {at}  {what}{sender}  {first}");
    let further = detail.map(|line| format!("      {line}"));
    [first.trim_end().to_owned()]
        .into_iter()
        .chain(further)
        .collect()
}
