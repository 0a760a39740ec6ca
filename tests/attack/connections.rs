//! Attacks on the places: connections that are kept busy, or unread, or are opened without end.

use std::io::{Read, Result, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Field;
use crate::storm::{get, post};
use crate::swarm::{ATTACKER, CONNECTIONS, connect_from, swarm};

/// The device in whose name the attacker reports.
const MAC: &str = "00:00:5e:00:53:02";

/// The file that is downloaded, in bytes.
const FILE: u64 = 64 << 20;

/// Events of the device, and the bytes of the detail of each.
const EVENTS: usize = 1000;
const DETAIL: usize = 200;

fn idle(_: usize, _: &mut TcpStream) -> Result<()> {
    Ok(())
}

fn beat(mac: &str) -> String {
    let detail = "x".repeat(DETAIL);
    format!(r#"{{"mac": "{mac}", "stage": "payload", "phase": "progress", "detail": "{detail}"}}"#)
}

/// Stages what attacks ask for: a large file, and a device with a long history.
pub fn stage(data: &Path) {
    let folder = data.join("onboard");
    std::fs::create_dir_all(&folder).unwrap();
    let file = std::fs::File::create(folder.join("large")).unwrap();
    file.set_len(FILE).unwrap();
    let detail = "x".repeat(DETAIL);
    let event = format!(
        r#"{{"stage":"payload","phase":"progress","timestamp":"2026-11-22T16:32:41.239Z","detail":"{detail}"}}"#
    );
    let events = vec![event; EVENTS].join(",");
    let state = format!(
        r#"{{"{MAC}": {{"mac":"{MAC}","ip":"127.0.0.2","current_stage":"payload","stages":[{events}]}}}}"#
    );
    crate::support::stage(data, "state/clients.json", &state);
}

pub fn silent(field: &Field) {
    swarm(field, |_| Vec::new(), idle);
}

pub fn slow_download(field: &Field) {
    // The first 256 KiB are taken at once, the next ones would be 25 s later, after the attack.
    let taken: Vec<_> = (0..CONNECTIONS).map(|_| AtomicUsize::new(0)).collect();
    swarm(
        field,
        |number| {
            taken[number].store(0, Ordering::Relaxed);
            get("/onboard/large")
        },
        |number, stream| {
            let so_far = taken[number].load(Ordering::Relaxed);
            if so_far < 256 << 10 {
                let bytes = stream.read(&mut vec![0; (256 << 10) - so_far])?;
                taken[number].fetch_add(bytes, Ordering::Relaxed);
            }
            Ok(())
        },
    );
}

pub fn drip(field: &Field) {
    let head = "POST /heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 8000\r\n\r\n{";
    swarm(field, |_| head.into(), |_, stream| stream.write_all(b" "));
}

pub fn unread(field: &Field) {
    swarm(field, |_| post("/heartbeat", &beat(MAC)), idle);
}

pub fn unread_clients(field: &Field) {
    // Every other connection changes what the next one is answered with.
    swarm(
        field,
        |number| match number % 2 {
            0 => post("/heartbeat", &beat(MAC)),
            _ => get("/clients"),
        },
        idle,
    );
}

pub fn pipeline(field: &Field) {
    let requests = get("/cloud-init/00:00:5e:00:53:02/user-data").repeat(500);
    swarm(
        field,
        |_| requests.clone(),
        |_, stream| stream.write_all(&requests),
    );
}

pub fn reconnect(field: &Field) {
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut kept = std::collections::VecDeque::new();
                while !field.is_over() {
                    if let Ok(stream) = connect_from(ATTACKER, field.service.address) {
                        kept.push_back(stream);
                        field.count();
                    }
                    if kept.len() > 200 {
                        kept.pop_front();
                    }
                }
            });
        }
    });
}
