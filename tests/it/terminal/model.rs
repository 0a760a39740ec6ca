//! What a key does to the live table, and what there is room for: tables of cases.

use gb10_provision_api::device::record::ClientRecord;
use gb10_provision_api::device::view::{Row, Standing, Totals};
use gb10_provision_api::terminal::Times;
use gb10_provision_api::terminal::table::Table;
use gb10_provision_api::terminal::text::{ago, clean, clean_json, cut, pad, width, wrap};
use gb10_provision_api::terminal::watch::model::{Model, Outcome, Sort};
use proptest::prelude::*;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use crate::support::beats::mac;

fn row(n: usize, stage: &str, phase: &str, detail: &str) -> Row {
    let at = format!("2026-11-30T10:00:{:02}.000Z", 59 - n);
    let record = json!({"mac": mac(n), "hostname": format!("spark-{n}"), "ip": "10.88.0.7",
        "current_stage": stage, "last_heartbeat": at,
        "stages": [{"stage": stage, "phase": phase, "timestamp": at, "detail": detail}]});
    let record: ClientRecord = serde_json::from_str(&record.to_string()).unwrap();
    Row::of(mac(n).parse().unwrap(), &record)
}

fn rows() -> Vec<Row> {
    vec![
        row(3, "storage", "fail", "no disk"),
        row(1, "network", "start", ""),
        row(2, "driver", "start", ""),
        row(4, "ready", "done", ""),
    ]
}

fn model() -> Model {
    let mut model = Model::new(None, None, false);
    model.set_rows(rows(), Totals::default());
    model
}

fn press(model: &mut Model, keys: &str) -> Outcome {
    let mut outcome = Outcome::Go;
    for key in keys.split(' ') {
        let code = match key {
            "up" => KeyCode::Up,
            "down" => KeyCode::Down,
            "end" => KeyCode::End,
            "home" => KeyCode::Home,
            "enter" => KeyCode::Enter,
            "esc" => KeyCode::Esc,
            "back" => KeyCode::Backspace,
            "pgdn" => KeyCode::PageDown,
            "pgup" => KeyCode::PageUp,
            key => KeyCode::Char(key.chars().next().unwrap()),
        };
        outcome = model.key(KeyEvent::new(code, KeyModifiers::NONE));
    }
    outcome
}

/// The boxes that are shown, by their numbers.
fn shown(model: &Model) -> Vec<usize> {
    let number = |row: &&Row| {
        row.hostname
            .as_deref()?
            .strip_prefix("spark-")?
            .parse()
            .ok()
    };
    model
        .shown()
        .iter()
        .map(|row| number(row).unwrap())
        .collect()
}

#[test]
fn keys_sort_and_filter() {
    for (keys, expected) in [
        ("home", vec![3, 1, 2, 4]),
        ("s", vec![1, 2, 3, 4]),
        ("s s", vec![1, 2, 3, 4]),
        ("s s s", vec![2, 1, 4, 3]),
        ("s s s s", vec![4, 3, 2, 1]),
        ("s s s s s", vec![3, 1, 2, 4]),
        ("f", vec![3]),
        ("f f", vec![]),
        ("f f f", vec![1, 2]),
        ("f f f f", vec![4]),
        ("f f f f f", vec![3, 1, 2, 4]),
        ("/ N O", vec![3]),
        ("/ N O esc", vec![3, 1, 2, 4]),
        ("/ d r i v x", vec![]),
        ("/ d r i v x back enter", vec![2]),
        ("f f f / d r i enter", vec![2]),
        ("f f f / d r i enter esc", vec![3, 1, 2, 4]),
        // While a text is typed, a key is a letter of it.
        ("/ q s f", vec![]),
    ] {
        let mut model = model();
        assert_eq!(press(&mut model, keys), Outcome::Go, "{keys}");
        assert_eq!(shown(&model), expected, "{keys}");
    }
    let mut model = model();
    press(&mut model, "s");
    assert_eq!(model.sort, Sort::Name);
    assert_eq!(press(&mut model, "q"), Outcome::Quit);
    let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
    assert_eq!(model.key(control('c')), Outcome::Quit);
    assert_eq!(model.key(control('l')), Outcome::Redraw);
}

#[test]
fn the_selected_box_stays_selected_wherever_it_stands() {
    let mut model = model();
    let selected = |model: &Model| model.selected.map(|mac| mac.to_string());
    assert_eq!(selected(&model), Some(mac(3)));
    for (keys, expected) in [
        ("down", 1),
        ("down down", 4),
        ("down", 4),
        ("home up", 3),
        ("end", 4),
        ("s", 4),
        ("f f f f", 4),
        // It is not among those: the one in its place is.
        ("f f f f", 2),
        ("f f", 2),
    ] {
        press(&mut model, keys);
        let found = selected(&model);
        if expected == 2 {
            assert!(found.is_some(), "{keys}");
        } else {
            assert_eq!(found, Some(mac(expected)), "{keys}");
        }
    }
    let mut model = self::model();
    press(&mut model, "down down enter");
    assert_eq!(model.pane, model.selected);
    let mut fewer = rows();
    fewer.retain(|row| row.mac.to_string() != mac(2));
    model.set_rows(fewer, Totals::default());
    assert_eq!(selected(&model), Some(mac(4)));
    assert_eq!(
        model.pane.unwrap().to_string(),
        mac(2),
        "its story is still read"
    );
    model.set_rows(Vec::new(), Totals::default());
    assert_eq!(selected(&model), None);
    assert_eq!(
        press(&mut model, "down up end home pgdn pgup enter esc s f"),
        Outcome::Go
    );
}

#[test]
fn a_table_of_one_standing_is_asked_for_at_the_start() {
    let mut model = Model::new(Some(Standing::Failed), None, false);
    model.set_rows(rows(), Totals::default());
    assert_eq!(shown(&model), [3]);
}

#[test]
fn how_long_ago_is_one_number() {
    let now = "2026-11-30T10:00:00Z".parse().unwrap();
    for (at, expected) in [
        ("2026-11-30T10:00:00Z", "0s"),
        ("2026-11-30T09:59:01Z", "59s"),
        ("2026-11-30T09:59:00Z", "1min"),
        ("2026-11-30T09:00:01Z", "59min"),
        ("2026-11-30T09:00:00Z", "1h"),
        ("2026-11-29T10:00:01Z", "23h"),
        ("2026-11-29T10:00:00Z", "1d"),
        ("2025-11-30T10:00:00Z", "365d"),
        // A clock that was set back.
        ("2026-12-30T10:00:00Z", "0s"),
    ] {
        assert_eq!(ago(now, at.parse().unwrap()), expected, "{at}");
    }
}

#[test]
fn lines_are_broken_between_words_where_that_goes() {
    for (text, columns, indent, expected) in [
        ("one two three", 80, 2, vec!["one two three"]),
        ("one two three", 8, 2, vec!["one two", "  three"]),
        ("  one two", 6, 4, vec!["  one", "    tw", "    o"]),
        ("abcdefgh", 3, 0, vec!["abc", "def", "gh"]),
        ("a b", 0, 9, vec!["a", "         b"]),
        ("", 5, 2, vec![""]),
        ("日本語", 4, 0, vec!["日本", "語"]),
    ] {
        assert_eq!(wrap(text, columns, indent), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn whatever_a_box_says_is_one_line_that_only_prints(text in any::<String>(), columns in 0usize..60) {
        let line = clean(&text);
        prop_assert!(!line.contains(char::is_control), "{line:?}");
        prop_assert!(width(&cut(&line, columns)) <= columns);
        prop_assert_eq!(width(&pad(&line, columns)), columns);
    }

    #[test]
    fn json_stays_the_same_value_without_controls(text in any::<String>()) {
        let value = json!({"detail": text});
        let json = clean_json(&serde_json::to_string_pretty(&value).unwrap());
        prop_assert!(!json.contains(|c: char| c.is_control() && c != '\n'), "{json:?}");
        prop_assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value);
    }

    #[test]
    fn a_table_fits_a_window_of_any_width(
        details in proptest::collection::vec(any::<String>(), 0..5),
        columns in 0usize..160,
    ) {
        let rows: Vec<Row> = (1..).zip(&details).map(|(n, detail)| row(n, "payload", "progress", detail)).collect();
        let now = "2026-11-30T10:05:00Z".parse().unwrap();
        for times in [Times::Absolute, Times::Ago(now)] {
            let table = Table::fitting(&rows, times, columns);
            let lines = rows.iter().map(|row| table.row(row).concat());
            for line in lines.chain([table.heading()]) {
                prop_assert!(width(&line) <= columns, "{} in {columns}: {line}", width(&line));
            }
        }
    }
}
