//! The line of a box, in words. A page of 254 of them is to stay short, so what a box says is cut
//! here; all of it is in the box's story.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::device::boot::Decision;
use crate::device::history::Rfc3339;
use crate::device::mac::MacAddr;
use crate::device::view::{Row, Standing, Trouble};

/// Longest text of each cell, in bytes of HTML.
const CELL_BYTES: usize = 48;

/// The same of a detail: more of it where somebody may have to act on it.
const DETAIL_BYTES: usize = 28;
const DETAIL_OF_TROUBLE_BYTES: usize = 80;

/// What stands in the row of a box.
#[derive(Serialize)]
pub struct Line {
    /// The MAC as it stands in a path.
    link: String,
    /// The first letter of the standing.
    class: char,
    name: String,
    /// Absent where it is the name.
    mac: Option<MacAddr>,
    ip: String,
    role: String,
    standing: String,
    troubles: String,
    stands: String,
    percent: Option<u8>,
    detail: String,
    since: String,
    heard: String,
    served: String,
}

impl Line {
    /// The line of a row, with times as they are told on that day.
    pub fn of(row: &Row, role: Option<&str>, today: Date) -> Self {
        let detail = row.detail.as_deref().unwrap_or_default();
        let behind = detail.split_once('%').filter(|_| row.percent.is_some());
        let detail = behind.map_or(detail, |(_, rest)| rest.trim_start_matches([',', ' ']));
        let room = match row.standing {
            Standing::Failed | Standing::Stalled => DETAIL_OF_TROUBLE_BYTES,
            Standing::OnItsWay | Standing::Ready => DETAIL_BYTES,
        };
        let cell = |text: &str| fitting(text, CELL_BYTES);
        let name = row.hostname.clone();
        Self {
            link: link(row.mac),
            class: class(row.standing),
            mac: name.is_some().then_some(row.mac),
            name: cell(&name.unwrap_or_else(|| row.mac.to_string())),
            ip: row.ip.map(|ip| ip.to_string()).unwrap_or_default(),
            role: cell(role.unwrap_or_default()),
            standing: words(row.standing),
            troubles: troubles(row),
            stands: cell(&row.stands()),
            percent: row.percent,
            detail: fitting(detail, room),
            since: time(row.since, today),
            heard: time(row.heard, today),
            served: cell(&served(row)),
        }
    }
}

/// A MAC as it stands in paths of the board.
pub fn link(mac: MacAddr) -> String {
    mac.to_string().replace(':', "")
}

/// The standing in one letter, for the style.
pub fn class(standing: Standing) -> char {
    match standing {
        Standing::Failed => 'f',
        Standing::Stalled => 's',
        Standing::OnItsWay => 'w',
        Standing::Ready => 'r',
    }
}

/// The standing in words.
pub fn words(standing: Standing) -> String {
    standing.name().replace('-', " ")
}

/// What is wrong besides what the standing says already.
pub fn troubles(row: &Row) -> String {
    let others = row
        .troubles
        .iter()
        .filter(|trouble| !matches!(trouble, Trouble::Failed | Trouble::Stalled));
    let words: Vec<&str> = others.map(|trouble| trouble.words()).collect();
    words.join(", ")
}

/// What the box was served, against what it reported.
pub fn served(row: &Row) -> String {
    match (&row.served, &row.told) {
        (Some(served), _) => {
            let times = match served.count {
                0 | 1 => String::new(),
                count => format!(" {count}×"),
            };
            let answer = match served.is_unanswered {
                true => ", no report since",
                false => "",
            };
            format!("{}{times}{answer}", served.template)
        }
        (None, Some(told)) => match told.decision {
            Decision::Install => "told to install".to_owned(),
            Decision::Local => "told to boot its disk".to_owned(),
        },
        (None, None) => String::new(),
    }
}

/// A time in UTC: of today without the day, of another day without the seconds.
fn time(at: Option<Rfc3339>, today: Date) -> String {
    let Some(Rfc3339(at)) = at else {
        return String::new();
    };
    let form = match at.to_zoned(TimeZone::UTC).date() == today {
        true => "%H:%M:%S",
        false => "%Y-%m-%d %H:%M",
    };
    at.strftime(form).to_string()
}

/// A time in UTC, whole.
pub fn whole_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// So many seconds in words, none of them exact beyond what a person reads.
pub fn duration(seconds: u64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// As much of a text as fits into so many bytes, however much longer HTML makes it.
fn fitting(text: &str, room: usize) -> String {
    let mut bytes = 0;
    let end = text.char_indices().find(|(_, c)| {
        bytes += match c {
            '<' | '>' => 4,
            '&' => 5,
            '"' | '\'' | '/' => 6,
            c => c.len_utf8(),
        };
        bytes > room
    });
    match end {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
