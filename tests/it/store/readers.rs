//! Shows what readers of the records cost: nothing while this process writes, one reading of the
//! file for all of them when another wrote, and never a wait for those who ask for something else.

use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::*;

const MAC: &str = "02:00:00:00:00:01";

/// The line that is logged for each reading of the file.
const READ: &str = "clients.json was read";

fn readings(service: &Service) -> usize {
    service.log().matches(READ).count()
}

/// As another program puts a new version in place.
fn replace(service: &Service, text: &str) {
    let new = service.data.join("state/by-another");
    fs::write(&new, text).unwrap();
    fs::rename(&new, service.state_file()).unwrap();
}

#[test]
fn the_file_is_read_once_for_each_foreign_change_and_never_for_commits_of_our_own() {
    let service = Start::fresh()
        .env("LOG", "info,gb10_provision_api::store=debug")
        .service();
    let before = readings(&service);
    let (stop, polls) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(service.get("/clients").status, 200);
                    polls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for commit in 1..=25 {
            let beat = service.heartbeat(MAC, "network", "progress");
            assert_eq!(beat.json()["stages"].as_array().unwrap().len(), commit);
            // Each commit is polled before the next.
            let polled = polls.load(Ordering::Relaxed);
            eventually("a few more polls", || {
                (polls.load(Ordering::Relaxed) > polled + 8).then_some(())
            });
        }
        assert_eq!(readings(&service), before, "{}", service.log());

        let foreign = fs::read_to_string(service.state_file()).unwrap();
        replace(&service, &foreign.replace("\"network\"", "\"storage\""));
        eventually("the foreign change", || {
            let record = service.get(&format!("/clients/{MAC}")).json();
            (record["current_stage"] == "storage").then_some(())
        });
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(readings(&service), before + 1, "{}", service.log());
    assert!(polls.load(Ordering::Relaxed) > 200);
}

/// Records of a hundred megabytes, in a few devices.
fn hundred_megabytes() -> String {
    let event = r#"{"stage":"payload","phase":"progress","timestamp":"2026-11-01T08:00:00.000Z","detail":""#;
    let event = format!("{event}{}\"}}", "x".repeat(1000));
    let stages = vec![event; 1000].join(",");
    let mut text = "{".to_owned();
    for n in 0..100 {
        let comma = if n == 0 { "" } else { ",\n" };
        write!(
            text,
            r#"{comma}"02:00:00:00:01:{n:02x}": {{"mac":"02:00:00:00:01:{n:02x}","stages":[{stages}]}}"#
        )
        .unwrap();
    }
    text + "}"
}

#[test]
fn a_seed_waits_for_no_reader_of_a_large_file() {
    let service = Start::fresh()
        .env("LOG", "info,gb10_provision_api::store=debug")
        .service();
    let text = hundred_megabytes();
    assert!(text.len() > 100_000_000);
    let seed = format!("/cloud-init/{MAC}/user-data");
    // On a machine that runs other tests besides, a thread may wait for a processor for longer than
    // the 50 ms that are promised: the floor is the same without a reading.
    let kept = (0..3).any(|_| {
        let began = Instant::now();
        let with = slowest_seed_during_a_reading(&service, &seed, &text);
        let took = began.elapsed();
        let (_, floor) = slowest_seed_while(&service, &seed, || began.elapsed() < 2 * took);
        println!("the slowest seed took {with:?}, without the reading {floor:?}");
        with < Duration::from_millis(50).max(3 * floor)
    });
    assert!(kept, "a seed waits for a reader each time");
}

/// Asks for seeds one after the other; returns how many, and the time of the slowest.
fn slowest_seed_while(
    service: &Service,
    seed: &str,
    go_on: impl Fn() -> bool,
) -> (usize, Duration) {
    let (mut seeds, mut slowest) = (0, Duration::ZERO);
    while go_on() {
        let asked = Instant::now();
        assert_eq!(service.get(seed).status, 200);
        slowest = slowest.max(asked.elapsed());
        seeds += 1;
    }
    (seeds, slowest)
}

/// The slowest of all seeds that are asked for while four pollers wait for a new file to be read.
fn slowest_seed_during_a_reading(service: &Service, seed: &str, text: &str) -> Duration {
    service.get(seed);
    let before = readings(service);
    replace(service, text);
    let (seeds, slowest) = thread::scope(|scope| {
        let pollers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| service.get(&format!("/clients/{MAC}")).status))
            .collect();
        let are_waiting = || !pollers.iter().all(|poller| poller.is_finished());
        slowest_seed_while(service, seed, are_waiting)
    });
    eventually("the line of the reading", || {
        (readings(service) > before).then_some(())
    });
    assert_eq!(readings(service), before + 1, "{}", service.log());
    assert!(seeds > 3, "the file was read too quickly to show anything");
    slowest
}
