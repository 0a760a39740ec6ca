//! The board: where every box stands, as pages and as what changes of them.
//!
//! | file | concern |
//! |---|---|
//! | `mod` | what the board shows now, and what is news to whom |
//! | [`line`] | the line of a box in words, none of them too long |
//! | [`pages`] | the templates |
//!
//! What is said of a box is its [`Row`] and its [`Story`](crate::device::story::Story). A row is
//! rendered once for everybody, when it changes: pages and events are put together from those texts,
//! but for a page that would become too long.

mod line;
mod pages;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::device::history::Rfc3339;
use crate::device::mac::MacAddr;
use crate::device::view::{Row, Totals};
use line::{CUTS, Cut};
pub use pages::Pages;

/// Boxes whose end is remembered. Who missed more is sent the whole board.
const GONE: usize = 1024;

/// Longest rows of a page together, in bytes, so that it has less than 60 KB: with more, their texts
/// are cut shorter.
const ROWS_BYTES: usize = 57_500;

/// What is to be told above the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Notices {
    /// Reports are refused.
    pub is_state_broken: bool,
    /// A staged template has a fault.
    pub is_template_broken: bool,
}

/// What the board shows.
pub struct Board {
    begun: i64,
    version: u64,
    /// Since which version all that went is in `gone`.
    whole: u64,
    shown: BTreeMap<MacAddr, Shown>,
    gone: BTreeMap<MacAddr, u64>,
    totals: Totals,
    /// How many boxes are outside the baseline.
    drifting: usize,
    notices: Notices,
    /// The day that the times of rows are told for.
    day: Date,
    /// The news that were asked for last, and since which version they are.
    news: Option<(u64, Bytes)>,
}

/// A row as it is shown.
struct Shown {
    row: Arc<Row>,
    role: Option<String>,
    html: String,
    /// The version that it changed with.
    version: u64,
}

/// How far somebody has followed the board: which of its versions, and of which process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    begun: i64,
    version: u64,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:x}-{}", self.begun, self.version)
    }
}

impl FromStr for Mark {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (begun, version) = text.split_once('-').ok_or(())?;
        Ok(Self {
            begun: i64::from_str_radix(begun, 16).map_err(drop)?,
            version: version.parse().map_err(drop)?,
        })
    }
}

/// An event: what changed, or all there is.
#[derive(Serialize)]
struct News {
    /// Of the program: the page of another one is of no use.
    version: &'static str,
    day: Date,
    now: Rfc3339,
    totals: Totals,
    drifting: usize,
    notices: Notices,
    /// Whether these rows are all.
    whole: bool,
    rows: String,
    gone: Vec<MacAddr>,
}

impl Board {
    /// An empty one, of a process that began at `begun`.
    pub fn new(begun: Timestamp) -> Self {
        Self {
            begun: begun.as_millisecond(),
            version: 0,
            whole: 0,
            shown: BTreeMap::new(),
            gone: BTreeMap::new(),
            totals: Totals::default(),
            drifting: 0,
            notices: Notices::default(),
            day: day(begun),
            news: None,
        }
    }

    /// How far it has come.
    pub fn mark(&self) -> Mark {
        Mark {
            begun: self.begun,
            version: self.version,
        }
    }

    /// Shows these rows and no others. A row costs nothing that is the same as before.
    pub fn show(
        &mut self,
        pages: &Pages,
        rows: impl Iterator<Item = Arc<Row>>,
        role: impl Fn(MacAddr) -> Option<String>,
        notices: Notices,
        now: Timestamp,
    ) -> Result<(), minijinja::Error> {
        let (next, today) = (self.version + 1, day(now));
        let is_new_day = std::mem::replace(&mut self.day, today) != today;
        let is_told = std::mem::replace(&mut self.notices, notices) != notices;
        let mut before = std::mem::take(&mut self.shown);
        let mut has_changed = is_told;
        for row in rows {
            let (mac, role) = (row.mac, role(row.mac));
            let same = before.remove(&mac).filter(|shown| {
                let is_same = Arc::ptr_eq(&shown.row, &row) || shown.row == row;
                is_same && shown.role == role && !is_new_day
            });
            let shown = match same {
                Some(shown) => shown,
                None => Shown {
                    html: pages.row(&row, role.as_deref(), today)?,
                    row,
                    role,
                    version: next,
                },
            };
            has_changed |= shown.version == next;
            self.gone.remove(&mac);
            self.shown.insert(mac, shown);
        }
        has_changed |= !before.is_empty();
        self.gone.extend(before.into_keys().map(|mac| (mac, next)));
        if self.gone.len() > GONE {
            self.gone.clear();
            self.whole = next;
        }
        if has_changed {
            self.version = next;
            self.totals = self.rows().map(|shown| shown.row.standing).collect();
            let drifting = self.rows().filter(|shown| !shown.row.drift.is_empty());
            self.drifting = drifting.count();
            self.news = None;
        }
        Ok(())
    }

    fn rows(&self) -> impl Iterator<Item = &Shown> {
        self.shown.values()
    }

    /// The page of all boxes, those that need somebody first.
    pub fn page(&self, pages: &Pages, now: Timestamp) -> Result<String, minijinja::Error> {
        let mut rows: Vec<&Shown> = self.rows().collect();
        rows.sort_by_cached_key(|shown| shown.row.order());
        let mut html: String = rows.iter().map(|shown| shown.html.as_str()).collect();
        // Of more boxes than a LAN has the page is as long as it gets.
        for cut in &CUTS[1..] {
            if html.len() <= ROWS_BYTES {
                break;
            }
            html = self.rows_cut(pages, &rows, cut)?;
        }
        pages.board(self, html, now)
    }

    fn rows_cut(
        &self,
        pages: &Pages,
        rows: &[&Shown],
        cut: &Cut,
    ) -> Result<String, minijinja::Error> {
        let row = |shown: &&Shown| pages.row_cut(&shown.row, shown.role.as_deref(), self.day, cut);
        rows.iter().map(row).collect()
    }

    /// What is new since a mark, as an event, and the mark that it leads to; none where nothing is.
    /// Without a mark of this process that is all.
    pub fn news(&mut self, since: Option<Mark>, now: Timestamp) -> Option<(Mark, Bytes)> {
        let mark = self.mark();
        let is_known = |since: &Mark| {
            since.begun == self.begun && (self.whole..=self.version).contains(&since.version)
        };
        let since = since.filter(is_known);
        if since == Some(mark) {
            return None;
        }
        // The first version is that of a board without boxes: nobody has it, so 0 is all.
        let from = since.map_or(0, |since| since.version);
        let event = match &self.news {
            Some((same, event)) if *same == from => event.clone(),
            _ => self.event(from, now)?,
        };
        self.news = Some((from, event.clone()));
        Some((mark, event))
    }

    fn event(&self, from: u64, now: Timestamp) -> Option<Bytes> {
        let newer = self.rows().filter(|shown| shown.version > from);
        let gone = self.gone.iter().filter(|(_, version)| **version > from);
        let news = News {
            version: VERSION,
            day: self.day,
            now: Rfc3339(now),
            totals: self.totals,
            drifting: self.drifting,
            notices: self.notices,
            whole: from == 0,
            rows: newer.map(|shown| shown.html.as_str()).collect(),
            gone: gone.map(|(mac, _)| *mac).collect(),
        };
        let json = serde_json::to_string(&news).ok()?;
        Some(format!("id: {}\ndata: {json}\n\n", self.mark()).into())
    }
}

/// The version of the program, and of its pages.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is sent where nothing is new: a comment, for whatever is in between, and an event, so that
/// a page sees that it is still live.
pub fn alive() -> Bytes {
    Bytes::from_static(b": still here\nevent: alive\ndata:\n\n")
}

/// The day that it is, for everybody.
fn day(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}
