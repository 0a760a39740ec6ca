//! Two processes and an editor on one `clients.json`: no event is lost, none starves, all agree.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::beats::*;
use crate::support::needs::{Need, needs};
use crate::support::system::under_strace;
use crate::support::*;
use rustix::fs::inotify;
use serde_json::{Value, json};

/// How long the two processes beat at once.
const CONTENTION: Duration = Duration::from_secs(2);

fn start_on(data: &Path) -> Service {
    // A line per heartbeat would be most of the work.
    let log = "warn,gb10_provision_api::service=info";
    Start::on(data)
        .env("HISTORY_LIMIT", "1000000")
        .env("LOG", log)
        .service()
}

/// How many events all records have.
fn events(clients: &Value) -> usize {
    details(clients).values().sum()
}

/// Looks at the file and at `GET /clients` in turn until `stop`: the answer must be no older than
/// the one before, and no newer than what the file had after it. (The file may be ahead by a round
/// that is not on the disk yet.)
fn watch_agreement(service: &Service, stop: &AtomicBool) -> usize {
    let (mut looks, mut last) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let answer = service.get("/clients");
        let after = std::fs::read(service.state_file()).unwrap_or(b"{}".into());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let after: Value = serde_json::from_slice(&after).unwrap();
        let (now, after) = (events(&answer.json()), events(&after));
        assert!(
            last <= now && now <= after,
            "GET /clients has {now} after {last}, the file {after}"
        );
        last = now;
        looks += 1;
    }
    looks
}

#[test]
fn two_processes_with_eight_threads_each_lose_no_event_and_neither_starves() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = [start_on(folder.path()), start_on(folder.path())];
    let stop = AtomicBool::new(false);
    let ([mut all, of_two], looks) = std::thread::scope(|scope| {
        let loads = [(&one, "one"), (&two, "two")]
            .map(|(service, name)| scope.spawn(|| load(service.address, name, 8, &stop)));
        let watches = [&one, &two].map(|service| scope.spawn(|| watch_agreement(service, &stop)));
        std::thread::sleep(CONTENTION);
        stop.store(true, Ordering::Relaxed);
        (
            loads.map(|load| load.join().unwrap()),
            watches.map(|watch| watch.join().unwrap()),
        )
    });
    let rate = |load: &Outcome| load.acknowledged.len() as f64 / CONTENTION.as_secs_f64();
    let rates = [rate(&all), rate(&of_two)];
    figure(&format!(
        "under contention: {:.0} and {:.0} heartbeats/s",
        rates[0], rates[1]
    ));
    figure(&format!(
        "GET /clients compared with the file {} and {} times",
        looks[0], looks[1]
    ));
    assert!(looks.iter().all(|looks| *looks > 5), "{looks:?}");
    all.add(of_two);
    assert!(
        all.others.is_empty(),
        "refused under contention: {:?}",
        all.others
    );
    let share = rates[0].min(rates[1]) / rates[0].max(rates[1]);
    assert!(
        share > 0.2,
        "one process starves the other: {rates:?} heartbeats/s"
    );
    let clients = clients_in(folder.path()).unwrap();
    all.assert_in(&clients, "afterwards");
    assert_eq!(events(&clients), all.acknowledged.len());
    assert_eq!(one.get("/clients").json(), clients);
    assert_eq!(two.get("/clients").json(), clients);
}

/// A record as a person would write it.
fn record(mac: &str, word: &str) -> Value {
    json!({ mac: {
        "mac": mac, "ip": "10.88.0.9", "hostname": word, "current_stage": "verify",
        "last_heartbeat": "2026-11-01T08:00:00+00:00",
        "stages": [{"stage": "verify", "phase": "done", "timestamp": "2026-11-01T08:00:00+00:00", "detail": word}],
    }})
}

#[test]
fn a_file_replaced_by_hand_is_what_both_processes_answer_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let services = [start_on(folder.path()), start_on(folder.path())];
    assert_eq!(
        services[0].heartbeat(&mac(1), "network", "done").status,
        200
    );
    let new = folder.path().join("state/by-hand");
    for n in 100..200 {
        // Always of the same size.
        let clients = record(&mac(2), &format!("host-{n}"));
        std::fs::write(&new, serde_json::to_string_pretty(&clients).unwrap()).unwrap();
        std::fs::rename(&new, services[0].state_file()).unwrap();
        for service in &services {
            assert_eq!(service.get("/clients").json(), clients);
        }
        let one = services[n % 2].get(&format!("/clients/{}", mac(2)));
        assert_eq!(one.json()["hostname"], format!("host-{n}"));
    }
    // A heartbeat builds on what the hand wrote.
    assert_eq!(
        beat(services[1].address, &mac(2), "after").unwrap().status,
        200
    );
    let clients = services[0].get("/clients").json();
    assert_eq!(clients[mac(2)]["hostname"], "host-199");
    assert_eq!(
        clients[mac(2)]["stages"][0]["timestamp"],
        "2026-11-01T08:00:00+00:00"
    );
    assert_eq!(clients[mac(2)]["stages"][1]["detail"], "after");
    assert_eq!(clients_in(folder.path()).unwrap(), clients);
}

#[test]
fn a_file_edited_in_place_is_what_the_next_get_answers() {
    let folder = tempfile::tempdir().unwrap();
    let service = start_on(folder.path());
    assert_eq!(service.heartbeat(&mac(1), "network", "done").status, 200);
    for n in 100..200 {
        let clients = record(&mac(2), &format!("host-{n}"));
        std::fs::write(service.state_file(), clients.to_string()).unwrap();
        assert_eq!(service.get("/clients").json(), clients);
    }
}

#[test]
fn a_file_that_is_being_written_in_place_is_waited_for_and_not_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let service = start_on(folder.path());
    assert_eq!(service.heartbeat(&mac(1), "network", "done").status, 200);
    let edited = record(&mac(2), "edited");
    let text = edited.to_string();
    // As `cp` and many editors write: the file is emptied first, and grows by pieces.
    let mut file = File::create(service.state_file()).unwrap();
    std::thread::scope(|scope| {
        let get = scope.spawn(|| service.get("/clients"));
        let beat = scope.spawn(|| beat(service.address, &mac(3), "meanwhile").unwrap());
        for piece in text.as_bytes().chunks(text.len() / 5) {
            std::thread::sleep(Duration::from_millis(200));
            file.write_all(piece).unwrap();
        }
        assert_eq!(get.join().unwrap().json()[mac(2)], edited[mac(2)]);
        assert_eq!(beat.join().unwrap().status, 200);
    });
    let clients = service.get("/clients").json();
    assert_eq!(clients[mac(2)], edited[mac(2)]);
    assert_eq!(clients[mac(3)]["stages"][0]["detail"], "meanwhile");
    assert_eq!(
        state_names(folder.path()),
        ["clients.json", "clients.json.lock"]
    );
}

#[test]
fn a_lock_held_elsewhere_for_over_five_seconds_refuses_heartbeats_and_records_none_later() {
    let folder = tempfile::tempdir().unwrap();
    let service = start_on(folder.path());
    assert_eq!(
        beat(service.address, &mac(1), "before").unwrap().status,
        200
    );
    let file = std::fs::read(service.state_file()).unwrap();
    let lock = hold_lock(folder.path());
    std::thread::scope(|scope| {
        for n in 0..4 {
            let service = &service;
            scope.spawn(move || {
                let asked = Instant::now();
                let answer = beat(service.address, &mac(n), &format!("refused-{n}")).unwrap();
                let waited = asked.elapsed();
                answer.problem(503);
                assert_eq!(answer.header("retry-after"), "2");
                assert!((4.5..7.5).contains(&waited.as_secs_f64()), "{waited:?}");
            });
        }
        // Reading needs no lock, and neither do seeds.
        let asked = Instant::now();
        assert_eq!(service.get("/clients").body, file);
        assert_eq!(service.get("/cloud-init/user-data").status, 200);
        assert!(
            asked.elapsed() < Duration::from_secs(4),
            "{:?}",
            asked.elapsed()
        );
    });
    service.wait_for_log(&["WARN", "heartbeat refused", "locked or busy for over 5 s"]);
    assert_eq!(std::fs::read(service.state_file()).unwrap(), file);
    // Another process starts all the same.
    let other = start_on(folder.path());
    assert_eq!(other.get("/clients").body, file);

    drop(lock);
    let retried = beat(service.address, &mac(1), "retried").unwrap();
    assert_eq!(retried.status, 200, "{}", retried.text());
    let clients = clients_in(folder.path()).unwrap();
    let recorded: Vec<_> = details(&clients).into_iter().collect();
    assert_eq!(
        recorded,
        [("before".to_owned(), 1), ("retried".to_owned(), 1)]
    );
    assert_eq!(clients.as_object().unwrap().len(), 1, "{clients}");
}

#[test]
fn a_lock_held_elsewhere_for_a_second_only_delays_a_heartbeat() {
    let folder = tempfile::tempdir().unwrap();
    let service = start_on(folder.path());
    let lock = hold_lock(folder.path());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| beat(service.address, &mac(1), "patient").unwrap());
        std::thread::sleep(Duration::from_secs(1));
        assert!(!waiting.is_finished());
        assert_eq!(clients_in(folder.path()), None);
        drop(lock);
        assert_eq!(waiting.join().unwrap().status, 200);
    });
    assert_eq!(details(&clients_in(folder.path()).unwrap())["patient"], 1);
}

#[test]
fn concurrent_heartbeats_share_the_price_of_a_slow_disk() {
    needs!(Need::Strace);
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    // Each fsync takes 20 ms longer.
    let slow = ["-e", "trace=fsync", "-e", "inject=fsync:delay_exit=20000"];
    let command = under_strace(&trace, &slow);
    let start = Start::by(command, folder.path());
    // The devices have one address here.
    let service = start.env("PEER_CONNECTIONS", "64").service();
    // Kernels count exactly how often a file was renamed into its place.
    let rounds = Renames::of_state_file(folder.path());
    std::thread::scope(|scope| {
        for n in 0..64 {
            let address = service.address;
            scope.spawn(move || {
                let answer = beat(address, &mac(n % 16), &format!("beat-{n}")).unwrap();
                assert_eq!(answer.status, 200);
            });
        }
    });
    let rounds = rounds.count();
    figure(&format!("64 concurrent heartbeats took {rounds} rounds"));
    assert!((1..=8).contains(&rounds), "{rounds} rounds");
    let recorded = details(&clients_in(folder.path()).unwrap());
    assert_eq!(recorded.len(), 64);
    assert!(recorded.values().all(|count| *count == 1), "{recorded:?}");
}

/// Counts what is renamed to `clients.json`.
struct Renames(rustix::fd::OwnedFd);

impl Renames {
    fn of_state_file(data: &Path) -> Self {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let watch = inotify::init(flags).unwrap();
        // With MOVED_FROM in between, as the kernel makes equal events in a row one.
        inotify::add_watch(&watch, data.join("state"), inotify::WatchFlags::MOVE).unwrap();
        Self(watch)
    }

    fn count(&self) -> usize {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.0, &mut buffer);
        std::iter::from_fn(|| {
            let event = events.next().ok()?;
            Some(event.file_name() == Some(c"clients.json"))
        })
        .filter(|is_state| *is_state)
        .count()
    }
}
