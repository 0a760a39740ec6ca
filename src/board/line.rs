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

/// How long the texts of a row may be, in bytes of HTML.
pub struct Cut {
    name: usize,
    role: usize,
    troubles: usize,
    detail: usize,
    /// Of a box that somebody may have to look after.
    detail_of_trouble: usize,
    other: usize,
}

/// From how a row is as a rule, to one of which 254 fit into a page whatever the boxes say.
pub const CUTS: [Cut; 4] = [
    Cut {
        name: 48,
        role: 48,
        troubles: 200,
        detail: 28,
        detail_of_trouble: 80,
        other: 48,
    },
    Cut {
        name: 26,
        role: 16,
        troubles: 60,
        detail: 12,
        detail_of_trouble: 24,
        other: 26,
    },
    Cut {
        name: 26,
        role: 8,
        troubles: 24,
        detail: 8,
        detail_of_trouble: 16,
        other: 20,
    },
    Cut {
        name: 16,
        role: 0,
        troubles: 16,
        detail: 0,
        detail_of_trouble: 0,
        other: 16,
    },
];

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
    pub fn of(row: &Row, role: Option<&str>, today: Date, cut: &Cut) -> Self {
        let detail = row.detail.as_deref().unwrap_or_default();
        let behind = detail.split_once('%').filter(|_| row.percent.is_some());
        let detail = behind.map_or(detail, |(_, rest)| rest.trim_start_matches([',', ' ']));
        let room = match row.standing {
            Standing::Failed | Standing::Stalled => cut.detail_of_trouble,
            Standing::OnItsWay | Standing::Ready => cut.detail,
        };
        let other = |text: &str| fitting(text, cut.other);
        let name = row.hostname.clone();
        Self {
            link: link(row.mac),
            class: class(row.standing),
            mac: name.is_some().then_some(row.mac),
            name: fitting(&name.unwrap_or_else(|| row.mac.to_string()), cut.name),
            ip: other(&row.ip.map(|ip| ip.to_string()).unwrap_or_default()),
            role: fitting(role.unwrap_or_default(), cut.role),
            standing: words(row.standing),
            troubles: fitting(&troubles(row), cut.troubles),
            stands: other(&row.stands()),
            percent: row.percent,
            detail: fitting(detail, room),
            since: time(row.since, today),
            heard: time(row.heard, today),
            served: other(&served(row)),
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

/// As much of a text as fits into so many bytes, however much longer HTML makes it; without any room
/// nothing, not even that something is missing.
fn fitting(text: &str, room: usize) -> String {
    if room == 0 {
        return String::new();
    }
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
