//! Heartbeats that can be told apart, and the state file that they end up in.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use super::{Response, request};

/// A heartbeat whose `detail` names it.
pub fn beat(address: SocketAddr, mac: &str, detail: &str) -> std::io::Result<Response> {
    let body = format!(
        r#"{{"mac": "{mac}", "stage": "payload", "phase": "progress", "detail": "{detail}"}}"#
    );
    request(address, "POST", "/heartbeat", &[], body.as_bytes())
}

/// A MAC of the documentation range (RFC 7042).
pub fn mac(n: usize) -> String {
    format!("00:00:5e:00:53:{n:02x}")
}

/// How often each detail stands in the records.
pub fn details(clients: &Value) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in clients.as_object().unwrap().values() {
        for event in record["stages"].as_array().unwrap() {
            if let Some(detail) = event["detail"].as_str() {
                *counts.entry(detail.to_owned()).or_default() += 1;
            }
        }
    }
    counts
}

/// The records in the file, which must be whole. None where there is no file yet.
pub fn clients_in(data: &Path) -> Option<Value> {
    let text = match std::fs::read(data.join("state/clients.json")) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => panic!("clients.json cannot be read: {error}"),
    };
    let clients = serde_json::from_slice(&text);
    Some(clients.unwrap_or_else(|error| {
        panic!(
            "clients.json is not whole: {error}\n{}",
            String::from_utf8_lossy(&text)
        )
    }))
}

/// The names in the state folder, sorted.
pub fn state_names(data: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(data.join("state")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What became of each heartbeat of a load, by its detail.
#[derive(Default)]
pub struct Outcome {
    pub acknowledged: Vec<String>,
    /// By status; 0 is a connection that broke.
    pub others: BTreeMap<u16, Vec<String>>,
}

impl Outcome {
    pub fn add(&mut self, other: Outcome) {
        self.acknowledged.extend(other.acknowledged);
        for (status, details) in other.others {
            self.others.entry(status).or_default().extend(details);
        }
    }

    /// Asserts that every acknowledged heartbeat stands in the records once, that none stands
    /// there twice, and that a heartbeat which was refused does not stand there at all.
    pub fn assert_in(&self, clients: &Value, when: &str) {
        let counts = details(clients);
        for detail in &self.acknowledged {
            let count = counts.get(detail).copied().unwrap_or(0);
            assert_eq!(
                count, 1,
                "{when}: acknowledged heartbeat {detail} is there {count} times"
            );
        }
        for (detail, count) in &counts {
            assert_eq!(
                *count, 1,
                "{when}: heartbeat {detail} is there {count} times"
            );
        }
        let refused = self.others.iter().filter(|(status, _)| **status != 0);
        for detail in refused.flat_map(|(_, details)| details) {
            assert!(
                !counts.contains_key(detail),
                "{when}: refused heartbeat {detail} is there"
            );
        }
    }
}

/// Beats from `threads` threads, one heartbeat after the other each, until `stop` or until the
/// service is gone. `name` makes the details unique.
pub fn load(address: SocketAddr, name: &str, threads: usize, stop: &AtomicBool) -> Outcome {
    let one = |thread: usize| {
        let mut outcome = Outcome::default();
        for n in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let detail = format!("{name}-{thread}-{n}");
            // Neighbouring threads share a device.
            match beat(address, &mac(thread / 2), &detail) {
                Ok(response) if response.status == 200 => outcome.acknowledged.push(detail),
                Ok(response) => outcome
                    .others
                    .entry(response.status)
                    .or_default()
                    .push(detail),
                Err(_) => {
                    outcome.others.entry(0).or_default().push(detail);
                    break;
                }
            }
        }
        outcome
    };
    std::thread::scope(|scope| {
        let loads: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || one(thread)))
            .collect();
        let mut all = Outcome::default();
        for load in loads {
            all.add(load.join().unwrap());
        }
        all
    })
}

/// Takes the lock of the state as another process would, which this test is. Dropping it
/// releases the lock.
pub fn hold_lock(data: &Path) -> File {
    let path = data.join("state/clients.json.lock");
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    let file = file.unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    file
}

/// A different number at each call and in each run (xorshift), below `bound`.
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Self {
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap()
            .as_nanos() as u64;
        Self(now | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
