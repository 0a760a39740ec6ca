//! The table of all boxes: which columns there is room for, and how wide they are.

use super::Times;
use super::text::{clean, cut, pad, width};
use super::{stage, words};
use crate::device::view::{Row, Trouble};

/// Between two columns.
const GAP: usize = 2;

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// How the box stands, in a word.
    State,
    /// Its host name.
    Hostname,
    /// The MAC that it is on record under.
    Mac,
    /// Its address.
    Ip,
    /// Its role by `devices.json`.
    Role,
    /// Its stage and phase.
    Stage,
    /// Since when it is in that stage.
    Since,
    /// When it was last heard of.
    Heard,
    /// What it was served, against what it reported.
    Served,
    /// What is wrong.
    Wrong,
    /// The first line of its own words.
    Detail,
}

use Column::{Detail, Heard, Hostname, Ip, Mac, Role, Served, Since, Stage, State, Wrong};

/// All of them, in their order.
pub const COLUMNS: [Column; 11] = [
    State, Hostname, Mac, Ip, Role, Stage, Since, Heard, Served, Wrong, Detail,
];

/// Where there is no room for all, these go, the first of them first. The others stay.
const DISPENSABLE: [Column; 8] = [Served, Role, Since, Ip, Wrong, Detail, Heard, Hostname];

/// What can be cut, in the order in which it gets the room that is left.
const ELASTIC: [Column; 6] = [Stage, Wrong, Role, Hostname, Served, Detail];

impl Column {
    /// What stands above it.
    pub const fn heading(self) -> &'static str {
        match self {
            State => "STATE",
            Hostname => "HOSTNAME",
            Mac => "MAC",
            Ip => "IP",
            Role => "ROLE",
            Stage => "STAGE",
            Since => "SINCE",
            Heard => "HEARD",
            Served => "SERVED",
            Wrong => "WRONG",
            Detail => "DETAIL",
        }
    }

    /// What may be cut, down to so many columns.
    const fn least(self) -> usize {
        match self {
            Hostname => 12,
            Stage => 14,
            Role | Served => 8,
            Wrong => 10,
            Detail => 14,
            State | Mac | Ip | Since | Heard => usize::MAX,
        }
    }

    /// What stands in it of a box.
    pub fn cell(self, row: &Row, times: Times) -> String {
        match self {
            State => words(row.standing).to_owned(),
            Hostname => clean(row.hostname.as_deref().unwrap_or_default()),
            Mac => row.mac.to_string(),
            Ip => row.ip.map(|ip| ip.to_string()).unwrap_or_default(),
            Role => clean(row.role.as_deref().unwrap_or_default()),
            Stage => stage(row),
            Since => times.print(row.since),
            Heard => times.print(row.heard),
            Served => {
                let words = row.served.as_ref().map(|served| served.words());
                clean(&words.unwrap_or_default())
            }
            Wrong => wrong(row),
            Detail => clean(row.detail.as_deref().unwrap_or_default()),
        }
    }
}

/// What is wrong with a box, in words, beyond what its state says.
fn wrong(row: &Row) -> String {
    let is_more = |trouble: &Trouble| !matches!(trouble, Trouble::Failed | Trouble::Stalled);
    let troubles = row.troubles.iter().copied().filter(is_more);
    let words = troubles.map(Trouble::words);
    words.collect::<Vec<_>>().join(", ")
}

/// A table, laid out.
#[derive(Debug)]
pub struct Table {
    /// The columns that there is room for, each with its width.
    columns: Vec<(Column, usize)>,
    times: Times,
    /// What stands in an empty cell.
    empty: &'static str,
    /// What a line is cut to, where there is no room for even the narrowest table.
    room: usize,
}

impl Table {
    /// Of all columns, as wide as these boxes need them.
    pub fn whole(rows: &[Row], times: Times) -> Self {
        let mut table = Self {
            columns: Vec::new(),
            times,
            empty: "-",
            room: usize::MAX,
        };
        table.columns = COLUMNS
            .map(|column| (column, table.natural(column, rows)))
            .into();
        table
    }

    /// Fitting into so many columns of a terminal. What is empty for all boxes is left out.
    pub fn fitting(rows: &[Row], times: Times, room: usize) -> Self {
        let mut table = Self {
            columns: Vec::new(),
            times,
            empty: "",
            room,
        };
        let is_used = |column: &Column| {
            matches!(column, State | Mac | Stage)
                || rows.iter().any(|row| !column.cell(row, times).is_empty())
        };
        let mut columns: Vec<Column> = COLUMNS.into_iter().filter(is_used).collect();
        let naturals = COLUMNS.map(|column| table.natural(column, rows));
        let natural = |column: Column| naturals[column as usize];
        let least = |column: Column| natural(column).min(column.least());
        let total = |columns: &[Column], of: &dyn Fn(Column) -> usize| {
            columns
                .iter()
                .map(|column| of(*column) + GAP)
                .sum::<usize>()
                .saturating_sub(GAP)
        };
        for dispensable in DISPENSABLE {
            if total(&columns, &least) <= room {
                break;
            }
            columns.retain(|column| *column != dispensable);
        }
        let mut left = room.saturating_sub(total(&columns, &least));
        let mut widths = COLUMNS.map(least);
        for column in ELASTIC
            .into_iter()
            .filter(|column| columns.contains(column))
        {
            let more = (natural(column) - least(column)).min(left);
            left -= more;
            widths[column as usize] += more;
        }
        let columns = columns.into_iter();
        table.columns = columns
            .map(|column| (column, widths[column as usize]))
            .collect();
        table
    }

    fn natural(&self, column: Column, rows: &[Row]) -> usize {
        let cells = rows.iter().map(|row| width(&column.cell(row, self.times)));
        cells.chain([width(column.heading())]).max().unwrap_or(0)
    }

    /// The line above the table.
    pub fn heading(&self) -> String {
        self.line(|column| column.heading().to_owned()).concat()
    }

    /// The line of a box: its first cell, which says how it stands, and the rest.
    pub fn row(&self, row: &Row) -> [String; 2] {
        self.line(|column| match column.cell(row, self.times) {
            cell if cell.is_empty() => self.empty.to_owned(),
            cell => cell,
        })
    }

    fn line(&self, cell: impl Fn(Column) -> String) -> [String; 2] {
        let mut cells = self
            .columns
            .iter()
            .map(|(column, width)| pad(&cell(*column), *width));
        let first = cut(&cells.next().unwrap_or_default(), self.room);
        let gap = " ".repeat(GAP);
        let rest: String = cells.map(|cell| gap.clone() + &cell).collect();
        let room = self.room - width(&first);
        [first, cut(rest.trim_end(), room)]
    }
}
