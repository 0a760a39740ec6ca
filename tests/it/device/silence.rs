//! Who is silent for too long, by clocks that the test moves.

use std::time::Duration;

use gb10_provision_api::device::record::ClientRecord;
use gb10_provision_api::device::silence::{Patience, Silences};
use jiff::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);
const QUARTER: Duration = Duration::from_secs(15 * 60);

fn wall(minutes: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + minutes * 60).unwrap()
}

fn record(last_heard: Timestamp, stage: &str) -> ClientRecord {
    let record = serde_json::json!({
        "current_stage": stage, "last_heartbeat": format!("{last_heard:.3}"), "stages": [],
    });
    serde_json::from_str(&record.to_string()).unwrap()
}

#[test]
fn a_stage_with_a_limit_of_its_own_has_that_and_five_minutes() {
    let patience = Patience {
        stall_after: QUARTER,
        stages: [
            ("payload".to_owned(), 240 * MINUTE),
            ("network".to_owned(), 2 * MINUTE),
        ]
        .into(),
    };
    let of = |stage| patience.with(&record(wall(0), stage));
    assert_eq!(of("payload"), 245 * MINUTE);
    assert_eq!(of("network"), 7 * MINUTE);
    assert_eq!(of("install"), QUARTER);
}

#[test]
fn silence_is_what_the_clock_that_nobody_sets_says() {
    let mac = "3c:6d:66:0a:1b:2c".parse().unwrap();
    let record = record(wall(0), "network");
    let mut silences = Silences::default();
    let mut at = |heard: Option<u32>, now: u32, wall: Timestamp| {
        let silence = silences.of(
            mac,
            &record,
            heard.map(|at| at * MINUTE),
            now * MINUTE,
            wall,
        );
        silence.whole()
    };
    assert_eq!(at(Some(100), 100, wall(0)), Duration::ZERO);
    // The clock on the wall jumps a day ahead, and back behind the last report.
    assert_eq!(at(Some(100), 103, wall(24 * 60)), 3 * MINUTE);
    assert_eq!(at(Some(100), 104, wall(-60)), 4 * MINUTE);
    // Heard of without a word on the record.
    assert_eq!(at(Some(110), 111, wall(11)), MINUTE);
    assert_eq!(at(Some(110), 126, wall(26)), 16 * MINUTE);
}

#[test]
fn a_restart_keeps_what_was_known_but_for_a_while_to_speak() {
    let mac = "3c:6d:66:0a:1b:2c".parse().unwrap();
    let record = record(wall(0), "network");
    let over = |at_start: Timestamp, minutes: u32, patience: Duration| {
        let mut silences = Silences::default();
        silences.of(mac, &record, None, MINUTE, at_start);
        let now = (1 + minutes) * MINUTE;
        silences
            .of(mac, &record, None, now, at_start)
            .over(patience)
    };
    assert_eq!(over(wall(4), 10, QUARTER), None);
    assert_eq!(over(wall(4), 11, QUARTER), Some(15 * MINUTE));
    // A night long the host was off, and no box could speak.
    assert_eq!(over(wall(600), 4, QUARTER), None);
    assert_eq!(over(wall(600), 5, QUARTER), Some(605 * MINUTE));
    assert_eq!(over(wall(600), 1, 2 * MINUTE), None);
    assert_eq!(over(wall(600), 2, 2 * MINUTE), Some(602 * MINUTE));
    // The host starts with a clock of long ago.
    assert_eq!(over(wall(-600), 14, QUARTER), None);
    assert_eq!(over(wall(-600), 15, QUARTER), Some(15 * MINUTE));
}

#[test]
fn what_another_process_entered_is_a_word_of_the_box() {
    let mac = "3c:6d:66:0a:1b:2c".parse().unwrap();
    let mut silences = Silences::default();
    let mut at = |last: i64, now: u32| {
        let record = record(wall(last), "network");
        let wall = wall(i64::from(now));
        silences.of(mac, &record, None, now * MINUTE, wall).whole()
    };
    assert_eq!(at(0, 0), Duration::ZERO);
    assert_eq!(at(0, 14), 14 * MINUTE);
    assert_eq!(at(13, 15), Duration::ZERO);
    assert_eq!(at(13, 16), MINUTE);
}
