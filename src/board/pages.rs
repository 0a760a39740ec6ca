//! The pages, from `templates/board/`. Whatever stands in them is escaped by the engine.

use jiff::Timestamp;
use jiff::civil::Date;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, Value, context};
use serde::Serialize;

use super::line::{self, CUTS, Cut, Line};
use super::{Board, Mark, VERSION};
use crate::device::facts::{Drift, Facts};
use crate::device::history::Rfc3339;
use crate::device::story::Story;
use crate::device::view::Row;
use crate::embedded::board as embedded;

/// The templates, compiled.
pub struct Pages(Environment<'static>);

impl Pages {
    /// Compiles them, which cannot fail in a program whose tests pass.
    pub fn new() -> Result<Self, Error> {
        let mut env = Environment::new();
        env.set_auto_escape_callback(|_| AutoEscape::Html);
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        let mut syntax = SyntaxConfig::builder();
        env.set_syntax(syntax.trim_blocks(true).lstrip_blocks(true).build()?);
        env.add_global("version", VERSION);
        env.add_template("frame.html", embedded::FRAME)?;
        env.add_template("board.html", embedded::BOARD)?;
        env.add_template("row.html", embedded::ROW)?;
        env.add_template("story.html", embedded::STORY)?;
        Ok(Self(env))
    }

    /// The row of a box, with times as they are told on that day.
    pub fn row(&self, row: &Row, role: Option<&str>, today: Date) -> Result<String, Error> {
        self.row_cut(row, role, today, &CUTS[0])
    }

    /// The same with shorter texts.
    pub(super) fn row_cut(
        &self,
        row: &Row,
        role: Option<&str>,
        today: Date,
        cut: &Cut,
    ) -> Result<String, Error> {
        let template = self.0.get_template("row.html")?;
        template.render(Serde(Line::of(row, role, today, cut)))
    }

    /// The page of all boxes; `rows` are rendered already.
    pub(super) fn board(
        &self,
        board: &Board,
        rows: String,
        now: Timestamp,
    ) -> Result<String, Error> {
        self.0.get_template("board.html")?.render(context! {
            here => Value::from_safe_string("/".to_owned()),
            mark => board.mark().to_string(),
            totals => Serde(board.totals),
            drifting => board.drifting,
            notices => Serde(board.notices),
            rows => Value::from_safe_string(rows),
            day => board.day.to_string(),
            now => Rfc3339(now).to_string(),
            time => line::whole_time(now),
        })
    }

    /// The page of one box. `mark` is how far the board had come before its story was read.
    pub fn story(&self, story: &Story, mark: Mark, now: Timestamp) -> Result<String, Error> {
        let row = &story.row;
        let longest = story.stages.iter().filter_map(|leg| leg.seconds).max();
        let longest = longest.unwrap_or(0).max(1);
        let legs = story.stages.iter().map(|leg| {
            Serde(Leg {
                stage: &leg.stage,
                phase: &leg.phase,
                class: match leg.phase.as_str() {
                    "fail" => 'f',
                    "done" => 'r',
                    _ => 'w',
                },
                began: leg.began.map(|at| line::whole_time(at.0)),
                took: leg.seconds.map(line::duration),
                share: leg.seconds.map_or(0, |seconds| seconds * 100 / longest),
                events: leg.events,
            })
        });
        let whole = |at: Option<Rfc3339>| at.map(|at| line::whole_time(at.0));
        let events = story.events.iter().map(|event| {
            context! {
                time => whole(event.at()).or_else(|| event.timestamp.clone()),
                stage => event.stage.as_str(),
                phase => event.phase.as_str(),
                detail => event.detail.as_deref(),
                arp_mac => event.arp_mac.map(|mac| mac.to_string()),
            }
        });
        let fetches = story.fetches.iter().map(|fetch| {
            context! {
                time => line::whole_time(fetch.at()),
                ip => fetch.ip().to_string(),
                template => fetch.template(),
            }
        });
        let warnings = story.warnings_by_stage.iter().flat_map(|of| {
            of.warnings.iter().map(|warning| {
                context! {
                    stage => of.stage.as_str(),
                    check => warning.check.as_str(),
                    reason => warning.reason.as_str(),
                    waived => warning.waived,
                }
            })
        });
        let facts = story.facts.as_ref().map(Facts::lines).unwrap_or_default();
        let facts = facts.into_iter();
        let facts = facts.map(|(name, fact)| context! { name => name, fact => fact });
        let drift = row.drift.iter().map(Drift::to_string);
        self.0.get_template("story.html")?.render(context! {
            mark => mark.to_string(),
            now => Rfc3339(now).to_string(),
            here => Value::from_safe_string(format!("/board/{}", line::link(row.mac))),
            link => line::link(row.mac),
            name => row.hostname.clone().unwrap_or_else(|| row.mac.to_string()),
            row => Serde(row),
            role => row.role.as_deref(),
            logs => story.logs.clone(),
            class => line::class(row.standing).to_string(),
            standing => line::words(row.standing),
            troubles => line::troubles(row),
            stands => row.stands(),
            since => whole(row.since),
            heard => whole(row.heard),
            served => line::served(row),
            told => row.told.as_ref().map(|told| context! {
                decision => told.decision.name(),
                reason => told.reason.as_str(),
                time => line::whole_time(told.at.0),
            }),
            legs => legs.map(Value::from).collect::<Vec<_>>(),
            fetches => fetches.collect::<Vec<_>>(),
            events => events.rev().collect::<Vec<_>>(),
            events_dropped => story.events_dropped,
            drift => drift.collect::<Vec<_>>(),
            warnings => warnings.collect::<Vec<_>>(),
            facts => facts.collect::<Vec<_>>(),
            facts_at => whole(story.facts_at),
        })
    }
}

/// A stage of a box's way, in words.
#[derive(Serialize)]
struct Leg<'a> {
    stage: &'a str,
    phase: &'a str,
    class: char,
    began: Option<String>,
    took: Option<String>,
    /// Of the longest, in per cent.
    share: u64,
    events: usize,
}
