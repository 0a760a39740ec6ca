//! What operators see in a terminal: the table of all boxes, the story of one, and both live.
//!
//! What is said of a box is [`Row`](crate::device::view::Row) and
//! [`Story`](crate::device::story::Story), as on the board. All text that came from a box goes
//! through [`text::clean`] before it is printed.

pub mod records;
pub mod story;
pub mod table;
pub mod text;
pub mod watch;

use jiff::Timestamp;

use self::text::{ago, clean};
use crate::device::history::Rfc3339;
use crate::device::stage::Phase;
use crate::device::view::{Row, Standing, Totals};

/// How times are printed.
#[derive(Debug, Clone, Copy)]
pub enum Times {
    /// As they are, in UTC: the same records are the same text whenever they are printed.
    Absolute,
    /// How long ago that was at this moment.
    Ago(Timestamp),
}

impl Times {
    fn print(self, at: Option<Rfc3339>) -> String {
        match (at, self) {
            (None, _) => String::new(),
            (Some(Rfc3339(at)), Self::Absolute) => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            (Some(Rfc3339(at)), Self::Ago(now)) => ago(now, at),
        }
    }
}

/// How a standing is called where people read it.
pub const fn words(standing: Standing) -> &'static str {
    match standing {
        Standing::Failed => "FAILED",
        Standing::Stalled => "STALLED",
        Standing::OnItsWay => "on its way",
        Standing::Ready => "ready",
    }
}

/// Where a box stands: its stage and phase, or how much of a payload it has.
pub fn stage(row: &Row) -> String {
    let is_under_way = row.phase.as_deref() == Some(Phase::Progress.name());
    match (&row.stage, row.percent) {
        (Some(stage), Some(percent)) if is_under_way => clean(&format!("{stage} {percent} %")),
        _ => clean(&row.stands()),
    }
}

/// All counts, in one line.
pub fn totals(totals: Totals) -> String {
    let Totals {
        known,
        ready,
        on_their_way,
        failed,
        stalled,
    } = totals;
    let boxes = if known == 1 { "box" } else { "boxes" };
    format!(
        "{known} {boxes}: {failed} failed, {stalled} stalled, {on_their_way} on their way, {ready} ready"
    )
}
