//! What the board shows, what is news to whom, and how long a row can become.

use std::sync::Arc;

use gb10_provision_api::board::{Board, Mark, Notices, Pages};
use gb10_provision_api::device::record::ClientRecord;
use gb10_provision_api::device::view::Row;
use jiff::{Span, Timestamp};
use serde_json::{Value, json};

const BEGUN: &str = "2026-01-01T12:00:00Z";

fn at(seconds: i64) -> Timestamp {
    BEGUN.parse::<Timestamp>().unwrap() + Span::new().seconds(seconds)
}

fn row(n: u8, phase: &str, detail: &str) -> Arc<Row> {
    let mac = format!("3c:6d:66:0a:1b:{n:02x}");
    let record = json!({
        "mac": mac, "ip": "10.88.0.7", "hostname": format!("box-{n}"), "current_stage": "network",
        "last_heartbeat": BEGUN,
        "stages": [{"stage": "network", "phase": phase, "timestamp": BEGUN, "detail": detail}],
    });
    let record: ClientRecord = serde_json::from_str(&record.to_string()).unwrap();
    Arc::new(Row::of(mac.parse().unwrap(), &record))
}

struct Shown {
    board: Board,
    pages: Pages,
}

impl Shown {
    fn new() -> Self {
        Self {
            board: Board::new(at(0)),
            pages: Pages::new().unwrap(),
        }
    }

    fn show(&mut self, rows: &[Arc<Row>]) {
        self.show_at(rows, at(1));
    }

    fn show_at(&mut self, rows: &[Arc<Row>], now: Timestamp) {
        let rows = rows.iter().map(Arc::clone);
        let quiet = Notices::default();
        self.board
            .show(&self.pages, rows, |_| None, quiet, now)
            .unwrap();
    }

    /// The news since a mark, and the mark that they lead to.
    fn news(&mut self, since: Option<Mark>) -> Option<(Mark, Value)> {
        let (mark, event) = self.board.news(since, at(2))?;
        let event = String::from_utf8(event.to_vec()).unwrap();
        let (id, data) = event.trim_end().split_once('\n').unwrap();
        assert_eq!(id, format!("id: {mark}"));
        let data = data.strip_prefix("data: ").unwrap();
        Some((mark, serde_json::from_str(data).unwrap()))
    }
}

/// The boxes in the rows of an event.
fn boxes(news: &Value) -> Vec<String> {
    let rows = news["rows"].as_str().unwrap().split("<a href=").skip(1);
    rows.map(|row| row.split_once('>').unwrap().0.to_owned())
        .collect()
}

#[test]
fn news_are_what_changed_since_a_mark_and_all_of_it_once() {
    let mut shown = Shown::new();
    shown.show(&[row(1, "start", ""), row(2, "start", "")]);
    let (first, all) = shown.news(None).unwrap();
    assert_eq!(all["whole"], true);
    assert_eq!(boxes(&all), ["3c6d660a1b01", "3c6d660a1b02"]);
    assert_eq!(all["totals"]["on_their_way"], 2);
    assert!(shown.news(Some(first)).is_none());

    // The same rows are no news, even if they were read anew.
    shown.show(&[row(1, "start", ""), row(2, "start", "")]);
    assert!(shown.news(Some(first)).is_none());

    shown.show(&[row(1, "start", ""), row(2, "fail", "")]);
    let (second, news) = shown.news(Some(first)).unwrap();
    assert_eq!(
        (boxes(&news), &news["whole"]),
        (vec!["3c6d660a1b02".to_owned()], &json!(false))
    );
    assert_eq!(news["totals"]["failed"], 1);

    shown.show(&[row(2, "fail", ""), row(3, "start", "")]);
    let gone = json!(["3c:6d:66:0a:1b:01"]);
    let (_, news) = shown.news(Some(second)).unwrap();
    assert_eq!(
        (boxes(&news), &news["gone"]),
        (vec!["3c6d660a1b03".to_owned()], &gone)
    );
    // Who missed one update has all of both.
    let (_, news) = shown.news(Some(first)).unwrap();
    assert_eq!(boxes(&news), ["3c6d660a1b02", "3c6d660a1b03"]);
    assert_eq!(news["gone"], gone);
}

#[test]
fn a_mark_of_another_process_or_of_the_future_is_worth_nothing() {
    let mut before = Shown::new();
    before.show(&[row(1, "start", "")]);
    let (mark, _) = before.news(None).unwrap();
    let mut shown = Shown {
        board: Board::new(at(60)),
        ..Shown::new()
    };
    shown.show(&[row(1, "start", "")]);
    assert_eq!(shown.news(Some(mark)).unwrap().1["whole"], true);
    let own = shown.board.mark().to_string();
    let future = own.replace("-1", "-9").parse().unwrap();
    assert_eq!(shown.news(Some(future)).unwrap().1["whole"], true);
    for text in ["", "1", "x-1", "1-x", "1-", "-1", "99999999999999999999-1"] {
        assert!(text.parse::<Mark>().is_err(), "{text}");
    }
    assert_eq!(own.parse(), Ok(shown.board.mark()));
}

#[test]
fn who_missed_the_end_of_too_many_boxes_is_sent_the_whole() {
    let mut shown = Shown::new();
    let many: Vec<_> = (0..=u8::MAX).map(|n| row(n, "start", "")).collect();
    shown.show(&many);
    let (old, _) = shown.news(None).unwrap();
    // One box ends over and over: that is one end to remember.
    for _ in 0..2000 {
        shown.show(&[]);
        shown.show(&many[..1]);
    }
    let (_, news) = shown.news(Some(old)).unwrap();
    assert_eq!(news["whole"], false);
    assert_eq!(news["gone"].as_array().unwrap().len(), 255);
}

#[test]
fn times_are_told_anew_when_the_day_is_over() {
    let mut shown = Shown::new();
    shown.show(&[row(1, "start", "")]);
    let (mark, news) = shown.news(None).unwrap();
    assert!(
        news["rows"]
            .as_str()
            .unwrap()
            .contains("<td>12:00:00<td>12:00:00<td>")
    );
    shown.show_at(&[row(1, "start", "")], at(24 * 3600));
    let (_, news) = shown.news(Some(mark)).unwrap();
    assert_eq!(news["day"], "2026-01-02");
    let rows = news["rows"].as_str().unwrap();
    assert!(rows.contains("<td>2026-01-01 12:00<td>"), "{rows}");
}

#[test]
fn a_row_stays_short_whatever_a_box_says() {
    let pages = Pages::new().unwrap();
    let today = "2026-01-01".parse().unwrap();
    for (detail, phase) in [
        ("\"".repeat(4000), "progress"),
        ("<".repeat(4000), "fail"),
        ("\u{1F984}".repeat(1000), "fail"),
        ("99 %, ".to_owned() + &"&".repeat(4000), "progress"),
        ("x".repeat(4000), "done"),
    ] {
        let html = pages
            .row(&row(1, phase, &detail), Some(&"'".repeat(900)), today)
            .unwrap();
        assert!(html.len() < 330, "{}: {html}", html.len());
        assert_eq!(html.matches("<td>").count(), 5);
        assert!(!html.contains('"') && !html.contains("<<"), "{html}");
    }
}
