//! The install gate's decisions: a table of all that it looks at, and what no sequence of events
//! may bring about.

use gb10_provision_api::device::boot::{Asked, Boot, Decision, Policy};
use gb10_provision_api::device::fetches::{Fetch, Fetches};
use gb10_provision_api::device::heartbeat::Sender;
use gb10_provision_api::device::mac::MacSource;
use gb10_provision_api::device::record::ClientRecord;
use gb10_provision_api::device::sightings::{Seen, Sightings};
use gb10_provision_api::device::stage::{Phase, Stage};
use gb10_provision_api::device::view::Standing;
use gb10_provision_api::gate::{Rules, Verdict, decide, is_window_open};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

const ATTEMPTS: u64 = 3;

/// What a box is told, as a letter: to Install, to boot its disk (l), or that it is given up (g).
fn letter(verdict: &Verdict) -> char {
    match (verdict.decision, verdict.is_given_up) {
        (Decision::Install, false) => 'I',
        (Decision::Local, false) => 'l',
        (Decision::Local, true) => 'g',
        (Decision::Install, true) => '!',
    }
}

fn boot(is_installed: bool, is_armed: bool, attempts: u64) -> Boot {
    let mut fields = serde_json::json!({"attempts": attempts});
    if is_installed {
        fields["installed"] = "2026-11-25T12:00:00.000Z".into();
    }
    if is_armed {
        fields["armed"] = serde_json::json!({"timestamp": "2026-11-25T12:00:00.000Z", "by": "ops"});
    }
    serde_json::from_str(&fields.to_string()).unwrap()
}

#[test]
fn every_policy_history_arming_and_number_of_attempts_has_its_decision() {
    // After 0, 2 and 3 attempts each: never installed, the same and armed; installed, and armed.
    let table = [
        (Policy::Once, "IIg IIg llg IIg"),
        (Policy::Armed, "llg IIg llg IIg"),
        (Policy::Always, "IIg IIg IIg IIg"),
        (Policy::Never, "lll lll lll lll"),
    ];
    for (policy, expected) in table {
        let mut told = Vec::new();
        for (is_installed, is_armed) in [(false, false), (false, true), (true, false), (true, true)]
        {
            let rules = Rules {
                policy,
                attempts: ATTEMPTS,
            };
            let after = |attempts| letter(&decide(rules, &boot(is_installed, is_armed, attempts)));
            told.push([0, 2, 3].map(after).iter().collect::<String>());
        }
        assert_eq!(told.join(" "), expected, "{policy}");
    }
}

#[test]
fn a_reason_is_one_line_that_grub_takes_for_a_comment() {
    for policy in [Policy::Once, Policy::Armed, Policy::Always, Policy::Never] {
        for attempts in 0..=4 {
            for (is_installed, is_armed) in [(false, false), (true, true)] {
                let rules = Rules {
                    policy,
                    attempts: ATTEMPTS,
                };
                let reason = decide(rules, &boot(is_installed, is_armed, attempts)).reason;
                assert!(
                    !reason.is_empty() && !reason.contains(char::is_control),
                    "{reason}"
                );
            }
        }
    }
}

#[test]
fn a_box_that_is_given_up_counts_as_failed_until_it_is_armed() {
    let record = |boot: &Boot| {
        let record = serde_json::json!({"boot": boot, "stages": [], "current_stage": "install"});
        serde_json::from_str::<ClientRecord>(&record.to_string()).unwrap()
    };
    let mut boot = boot(false, false, 3);
    let asked = Asked {
        at: at(0),
        decision: Decision::Local,
        reason: "given up".to_owned(),
        is_given_up: true,
        count: 1,
    };
    assert!(boot.asked(&asked).unwrap());
    assert_eq!(Standing::of(&record(&boot)), Standing::Failed);
    let again = Asked { at: at(1), ..asked };
    assert!(!boot.asked(&again).unwrap(), "told once");
    boot.arm(at(2), "ops").unwrap();
    assert_eq!(Standing::of(&record(&boot)), Standing::OnItsWay);
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// What may happen to a box.
#[derive(Debug, Clone, Copy)]
enum Happens {
    Boots,
    Fetches,
    Reports(Stage, Phase),
    IsArmed,
    IsDisarmed,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => Just(Happens::Boots),
        4 => Just(Happens::Fetches),
        1 => Just(Happens::Reports(Stage::Install, Phase::Start)),
        1 => Just(Happens::Reports(Stage::Install, Phase::Fail)),
        1 => Just(Happens::Reports(Stage::Install, Phase::Done)),
        1 => Just(Happens::Reports(Stage::FirstBoot, Phase::Start)),
        1 => Just(Happens::Reports(Stage::Ready, Phase::Done)),
        1 => Just(Happens::IsArmed),
        1 => Just(Happens::IsDisarmed),
    ]
}

proptest! {
    /// Whatever happens, installations that begin without an end have an end, and nothing installs
    /// a box that is installed but an operator's word.
    #[test]
    fn nothing_loops_and_nothing_is_installed_again_unasked(
        events in proptest::collection::vec(happens(), 1..60),
        policy in prop_oneof![Just(Policy::Once), Just(Policy::Armed), Just(Policy::Always)],
    ) {
        let rules = Rules { policy, attempts: ATTEMPTS };
        let mut boot = Boot::default();
        // By the events alone: what began since the last end, and what is known of the box.
        let (mut begun, mut may_begin, mut is_armed, mut is_installed) = (0, false, false, false);
        for (second, event) in events.into_iter().enumerate() {
            let now = at(second as i64);
            match event {
                Happens::Boots => {
                    let verdict = decide(rules, &boot);
                    may_begin = verdict.decision == Decision::Install;
                    if may_begin && policy == Policy::Once {
                        prop_assert!(is_armed || !is_installed);
                    }
                    if may_begin && policy == Policy::Armed {
                        prop_assert!(is_armed);
                    }
                    boot.asked(&Asked {
                        at: now,
                        decision: verdict.decision,
                        reason: verdict.reason,
                        is_given_up: verdict.is_given_up,
                        count: 1,
                    }).unwrap();
                }
                Happens::Fetches => {
                    begun += u64::from(std::mem::take(&mut may_begin));
                    boot.fetched(now).unwrap();
                }
                Happens::Reports(stage, phase) => {
                    boot.reported(stage, phase, now).unwrap();
                    if stage == Stage::Install && phase != Phase::Done {
                        begun += u64::from(std::mem::take(&mut may_begin));
                    }
                    is_installed |= (stage, phase) == (Stage::Install, Phase::Done)
                        || stage != Stage::Install;
                    if (stage, phase) == (Stage::Install, Phase::Done) || stage != Stage::Install {
                        begun = 0;
                    }
                    // What was told is done, and a fetch begins nothing any more.
                    may_begin &= boot.is_installing();
                    // Whether that ends the arming is the box's own story: it must not be kept
                    // longer than the record keeps it.
                    is_armed &= boot.is_armed();
                }
                Happens::IsArmed => {
                    boot.arm(now, "ops").unwrap();
                    (is_armed, begun) = (true, 0);
                }
                Happens::IsDisarmed => {
                    boot.disarm();
                    is_armed = false;
                }
            }
            prop_assert!(begun <= ATTEMPTS, "{begun} began: {boot:?}");
            prop_assert_eq!(boot.is_installed(), is_installed);
        }
    }
}

#[test]
fn an_arming_ends_when_an_installation_is_reported_done_and_not_before() {
    let install = |second| Asked {
        at: at(second),
        decision: Decision::Install,
        reason: String::new(),
        is_given_up: false,
        count: 1,
    };
    let mut boot = Boot::default();
    boot.reported(Stage::Install, Phase::Done, at(0)).unwrap();
    boot.arm(at(1), "ops").unwrap();
    // What the installed system says, before it starts again, is of no new installation.
    for stage in [Stage::FirstBoot, Stage::Verify, Stage::Ready] {
        boot.reported(stage, Phase::Done, at(2)).unwrap();
        assert!(boot.is_armed(), "{stage}");
    }
    boot.asked(&install(3)).unwrap();
    boot.fetched(at(4)).unwrap();
    boot.reported(Stage::Install, Phase::Start, at(5)).unwrap();
    assert!(boot.is_armed());
    // Its power is lost, and it begins anew.
    boot.asked(&install(6)).unwrap();
    assert!(boot.is_armed());
    boot.fetched(at(7)).unwrap();
    assert_eq!(boot.attempts(), 2);
    boot.reported(Stage::Install, Phase::Done, at(8)).unwrap();
    assert!(!boot.is_armed() && boot.is_installed() && boot.attempts() == 0);
}

#[test]
fn the_first_word_of_what_was_installed_ends_an_arming_too() {
    for first in [Stage::FirstBoot, Stage::Network, Stage::Ready] {
        the_first_word_ends_an_arming(first);
    }
}

fn the_first_word_ends_an_arming(first: Stage) {
    let mut boot = Boot::default();
    boot.arm(at(0), "ops").unwrap();
    boot.asked(&Asked {
        at: at(1),
        decision: Decision::Install,
        reason: String::new(),
        is_given_up: false,
        count: 1,
    })
    .unwrap();
    boot.fetched(at(2)).unwrap();
    boot.reported(first, Phase::Start, at(3)).unwrap();
    assert!(!boot.is_armed() && boot.is_installed(), "{first}");
}

#[test]
fn the_window_is_open_from_the_word_to_install_until_the_end_or_four_hours_of_silence() {
    let hours = SignedDuration::from_hours;
    let mut boot = Boot::default();
    assert!(!is_window_open(&boot, Some(at(0)), at(0)), "never asked");
    boot.asked(&Asked {
        at: at(0),
        decision: Decision::Install,
        reason: String::new(),
        is_given_up: false,
        count: 1,
    })
    .unwrap();
    let cases = [
        (None, at(1), true),
        (None, at(0) + hours(3), true),
        (None, at(0) + hours(5), false),
        // Whatever is heard of it keeps it open.
        (Some(at(0) + hours(3)), at(0) + hours(5), true),
        (Some(at(0) + hours(3)), at(0) + hours(8), false),
        // The clock was set back.
        (None, at(0) - hours(100), true),
    ];
    for (last_heard_of, now, is_open) in cases {
        assert_eq!(
            is_window_open(&boot, last_heard_of, now),
            is_open,
            "{last_heard_of:?} {now}"
        );
    }
    boot.reported(Stage::Install, Phase::Done, at(9)).unwrap();
    assert!(!is_window_open(&boot, Some(at(9)), at(10)), "done");
}

/// Records of other versions, the Python service's among them: whoever reported an end of an
/// installation has one, in whatever format that stands there.
#[test]
fn a_box_that_was_installed_before_it_ever_asked_is_not_installed_again() {
    let cases = [
        (r#"{"stages": []}"#, false),
        (
            r#"{"stages": [{"stage": "install", "phase": "start", "timestamp": "2026-01-01T00:00:00Z"}]}"#,
            false,
        ),
        (
            r#"{"stages": [{"stage": "install", "phase": "fail", "timestamp": "2026-01-01T00:00:00Z"}]}"#,
            false,
        ),
        (
            r#"{"stages": [{"stage": "install", "phase": "done", "timestamp": "2026-01-01T00:00:00Z"}]}"#,
            true,
        ),
        (
            r#"{"stages": [{"stage": "install", "phase": "done", "timestamp": "2026-01-01T00:00:00.123456"}]}"#,
            true,
        ),
        (
            r#"{"stages": [{"stage": "install", "phase": "done", "timestamp": 1767225600}]}"#,
            true,
        ),
        (
            r#"{"stages": [{"stage": "first_boot", "phase": "start"}]}"#,
            true,
        ),
        (
            r#"{"stages": [{"stage": "install", "phase": "done"}, {"stage": "install", "phase": "start"}]}"#,
            true,
        ),
        (r#"{"current_stage": "ready", "stages": []}"#, true),
        (r#"{"current_stage": "install", "stages": []}"#, false),
        (r#"{"current_stage": "unheard of", "stages": []}"#, false),
    ];
    for (record, is_installed) in cases {
        let record: ClientRecord = serde_json::from_str(record).unwrap();
        assert_eq!(record.boot().is_installed(), is_installed, "{record:?}");
    }
}

/// One of this box at that time, in nanoseconds as the clock has them.
fn told_to(decision: Decision, is_given_up: bool, nanosecond: i64) -> Sightings {
    let asked = Asked {
        at: at(0) + SignedDuration::from_nanos(nanosecond),
        decision,
        reason: String::new(),
        is_given_up,
        count: 1,
    };
    Sightings::new(&sender(), Seen::Asked(asked))
}

fn fetches(nanosecond: i64) -> Sightings {
    let at = at(0) + SignedDuration::from_nanos(nanosecond);
    let fetch = Fetch::new(at, sender().ip, "embedded", "path");
    Sightings::new(&sender(), Seen::Fetched(Fetches::new(fetch)))
}

fn sender() -> Sender {
    Sender {
        mac: "3c:6d:66:0a:1b:2c".parse().unwrap(),
        mac_source: MacSource::Path,
        arp_mac: None,
        is_neighbour: true,
        is_confirmed: true,
        ip: "10.88.0.20".parse().unwrap(),
        hostname: None,
    }
}

/// They are in memory until the round that entered them is over; and a disk that fails after the
/// replace leaves them in both places.
#[test]
fn what_is_on_record_already_is_no_further_attempt() {
    let mut seen = told_to(Decision::Install, false, 123_456_789);
    seen.join(fetches(5_123_456_789));
    let mut twice = seen.clone();
    twice.join(told_to(Decision::Install, false, 60_987_654_321));
    twice.join(fetches(65_987_654_321));
    for (sightings, attempts) in [(seen, 1), (twice, 2)] {
        let mut record = ClientRecord::default();
        record.enter_sightings(&sightings).unwrap();
        let mut boot = record.boot();
        assert_eq!(boot.attempts(), attempts);
        boot.saw(&sightings);
        assert_eq!(boot.attempts(), attempts, "in memory, and on record");
        record.enter_sightings(&sightings).unwrap();
        assert_eq!(record.boot().attempts(), attempts, "entered again");
        let boot = serde_json::to_value(record.boot()).unwrap();
        assert_eq!(boot["asked"], attempts);
    }
}

#[test]
fn a_box_that_is_armed_before_it_is_on_record_as_given_up_does_not_count_as_failed() {
    let given_up = told_to(Decision::Local, true, 0);
    let mut record: ClientRecord = serde_json::from_str(r#"{"mac": "x"}"#).unwrap();
    let mut boot = boot(false, false, ATTEMPTS);
    boot.arm(at(1), "ops").unwrap();
    record.set_boot(sender().mac, None, &boot).unwrap();
    record.enter_sightings(&given_up).unwrap();
    assert!(!record.is_given_up());
    // Nor one that was told both within the two seconds that such things gather.
    let mut both = told_to(Decision::Local, true, 0);
    both.join(told_to(Decision::Install, false, 1_500_000_000));
    record.enter_sightings(&both).unwrap();
    assert!(!record.is_given_up());
    // Nor one that is allowed an attempt more than before.
    record
        .enter_sightings(&told_to(Decision::Local, true, 2_000_000_000))
        .unwrap();
    assert!(record.is_given_up());
    record
        .enter_sightings(&told_to(Decision::Install, false, 3_000_000_000))
        .unwrap();
    assert!(!record.is_given_up());
}
