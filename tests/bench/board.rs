//! What those who follow the board cost the boxes: heartbeats at a steady rate, with viewers and
//! without.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::load::{self, Connection};
use crate::process::{self, Server};
use crate::table::{Row, Samples};
use crate::{Plan, Result};

const DEVICES: usize = 254;
const VIEWERS: usize = 50;
/// Heartbeats a second, of all devices together.
const RATE: usize = 250;
/// Connections that they come by, each at its share of the rate.
const CONNECTIONS: usize = 10;
/// How long one measurement takes, in seconds: enough for a 99th percentile of some 1,000.
const SECONDS: usize = 4;
const ROUNDS: usize = 7;
/// What the viewers may make of the 99th percentile.
const MOST: f64 = 1.2;

/// Measurements without viewers and with, in turns.
pub fn run(plan: &Plan) -> Result<Vec<Row>> {
    let folder = plan.folder("board")?;
    process::stage(&folder)?;
    let mut service = Server::service(&folder)?;
    service.first_answer("/healthz")?;
    // Each device is on record before the first measurement.
    beats(service.address, DEVICES.div_ceil(RATE) + 1)?;

    let (mut without, mut with) = (Samples::default(), Samples::default());
    let mut updates = Samples::default();
    for _ in 0..plan.rounds(ROUNDS) {
        plan.go_on()?;
        without.0.push(beats(service.address, SECONDS)?);
        plan.go_on()?;
        let viewers = (0..VIEWERS)
            .map(|_| Viewer::follow(service.address))
            .collect::<Result<Vec<_>>>()?;
        with.0.push(beats(service.address, SECONDS)?);
        for viewer in viewers {
            updates.0.push(viewer.leave()? as f64 / SECONDS as f64);
        }
    }
    let ratio = with.over(&without);
    Ok(vec![
        Row {
            what: format!("p99 of {RATE} heartbeats a second, with {VIEWERS} viewers of the board"),
            subject: with.show("ms"),
            floor: format!("without viewers: {}", without.show("ms")),
            ratio: format!("{:.2}", ratio.median()),
            aim: format!("≤ {MOST:.2}"),
            reached: Some(ratio.median() <= MOST),
        },
        Row {
            what: "updates of each of them".to_owned(),
            subject: updates.show("/s"),
            aim: "≤ 2 /s".to_owned(),
            // One that began just before may be counted with them.
            reached: Some(updates.median() <= 2.0 + 1.0 / SECONDS as f64),
            ..Row::default()
        },
    ])
}

/// Heartbeats of all devices in turn for so many seconds; gives the 99th percentile of their
/// latencies in milliseconds. A late one counts from when it was due.
fn beats(address: SocketAddr, seconds: usize) -> Result<f64> {
    let pause = Duration::from_secs(1) * CONNECTIONS as u32 / RATE as u32;
    let count = RATE * seconds / CONNECTIONS;
    let begun = Instant::now();
    let sender = move |index: usize| -> Result<Vec<f64>> {
        let mut connection = Connection::open(address, 64 << 10)?;
        let mut latencies = Vec::with_capacity(count);
        for number in 0..count {
            let device = 1 + (number * CONNECTIONS + index) % DEVICES;
            let heartbeat = json!({
                "mac": process::mac(device), "stage": "payload", "phase": "progress",
                "detail": format!("{} %, {} of 417,112,064 bytes, at 94 MB/s", number % 100, number * 41_000),
            });
            let request = load::post(address, "/heartbeat", &heartbeat.to_string());
            let due = begun + pause * number as u32 + pause * index as u32 / CONNECTIONS as u32;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            connection.send(&request)?;
            connection.answer()?;
            latencies.push(due.elapsed().as_secs_f64() * 1000.0);
        }
        Ok(latencies)
    };
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|index| thread::spawn(move || sender(index)))
        .collect();
    let mut latencies = Vec::new();
    for sender in senders {
        latencies.extend(sender.join().map_err(|_| "a sender panicked")??);
    }
    latencies.sort_by(f64::total_cmp);
    Ok(latencies[latencies.len() * 99 / 100])
}

/// Somebody who follows the board.
struct Viewer {
    stream: TcpStream,
    reader: thread::JoinHandle<Result<usize>>,
}

impl Viewer {
    fn follow(address: SocketAddr) -> Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(&load::get(address, "/board/events"))?;
        let mut from = stream.try_clone()?;
        let mut head = vec![0; 12];
        from.read_exact(&mut head)?;
        if head != b"HTTP/1.1 200" {
            return Err(format!("a viewer got {}", String::from_utf8_lossy(&head)).into());
        }
        let reader = thread::spawn(move || updates(&mut from));
        Ok(Self { stream, reader })
    }

    /// How many updates it got.
    fn leave(self) -> Result<usize> {
        self.stream.shutdown(Shutdown::Both)?;
        let updates = self.reader.join().map_err(|_| "a viewer panicked")??;
        match updates {
            0 => Err("a viewer got no update".into()),
            updates => Ok(updates),
        }
    }
}

/// Reads to the end, and counts what begins as an event with rows does.
fn updates(from: &mut TcpStream) -> Result<usize> {
    const BEGIN: &[u8] = b"\ndata: {";
    let mut buffer = vec![0; 128 << 10];
    let (mut updates, mut kept) = (0, 0);
    loop {
        let read = match from.read(&mut buffer[kept..]) {
            Ok(0) => return Ok(updates),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let filled = kept + read;
        let found = buffer[..filled]
            .windows(BEGIN.len())
            .filter(|part| *part == BEGIN);
        updates += found.count();
        // What may be the begin of one.
        kept = filled.min(BEGIN.len() - 1);
        buffer.copy_within(filled - kept..filled, 0);
    }
}
