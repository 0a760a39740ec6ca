//! How many heartbeats a second the service makes last, all devices reporting at once.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::load::{self, Connection};
use crate::process::{self, Server};
use crate::table::{Row, Samples};
use crate::{Plan, Result, floors};

/// As many as a /24 has room for.
const DEVICES: usize = 254;
const CONNECTIONS: usize = 64;
/// What one device reports from the start of its installation to ready.
const EVENTS: usize = 20;
/// What each device has already reported in the second case: ten installations.
const EARLIER: usize = 200;
const ROUNDS: usize = 7;
/// How often the floor is taken in each round, at most, and for how many seconds.
const WRITES: usize = 50;
const WRITES_SECONDS: f64 = 1.0;

/// Heartbeats to each round of fsyncs: 1 would be a service that writes the file for each of them.
const LEAST_SHARED: f64 = 20.0;
/// Heartbeats a second on a machine on which the round takes a millisecond.
const LEAST_RATE: f64 = 10_000.0;
/// What may be left of the rate once the file is ten times as long.
const LEAST_LATER: f64 = 1.0 / 3.0;

const STAGES: [&str; 9] = [
    "install",
    "first_boot",
    "network",
    "storage",
    "driver",
    "container_runtime",
    "payload",
    "verify",
    "ready",
];

/// One load of the service and what belongs to it.
struct Load {
    /// Heartbeats a second.
    rate: f64,
    /// The floor in milliseconds: making a file of the resulting size last, once.
    write: f64,
    /// That size, in bytes.
    size: usize,
    memory: (f64, f64),
}

/// Both cases in turns.
pub fn run(plan: &Plan) -> Result<Vec<Row>> {
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds(ROUNDS) {
        plan.go_on()?;
        first.push(measure(plan, &format!("heartbeats-{round}"), 0)?);
        plan.go_on()?;
        later.push(measure(
            plan,
            &format!("heartbeats-{round}-later"),
            EARLIER,
        )?);
    }

    let samples =
        |loads: &[Load], figure: fn(&Load) -> f64| Samples(loads.iter().map(figure).collect());
    let (rate, write) = (
        samples(&first, |load| load.rate),
        samples(&first, |load| load.write),
    );
    let shared = samples(&first, |load| load.rate * load.write / 1000.0);
    let scaled = samples(&first, |load| load.rate * load.write);
    let (rate_later, write_later) = (
        samples(&later, |load| load.rate),
        samples(&later, |load| load.write),
    );
    // Where a write takes less than 1 ms, scaling is careful: not all of the time is the disk's, so a
    // slower disk costs less than in proportion. Where it takes more, scaling flatters by as much,
    // and only the rate as it was measured proves anything.
    let proven = if write.median() <= 1.0 {
        scaled.median()
    } else {
        rate.median()
    };
    let scaled_reached = match proven >= LEAST_RATE {
        false if write.median() > 1.0 => None,
        reached => Some(reached),
    };
    let left = rate_later.over(&rate);
    let memory = |loads: &[Load]| loads.iter().map(|load| load.memory).collect::<Vec<_>>();
    let what = format!("durable heartbeats, {DEVICES} devices, {EVENTS} events each");
    Ok(vec![
        Row {
            what: what.clone(),
            subject: rate.show("/s"),
            floor: format!(
                "{} for a file of {} KiB",
                write.show("ms"),
                first[0].size >> 10
            ),
            ratio: format!("{:.1} a write", shared.median()),
            aim: format!("≥ {LEAST_SHARED} a write"),
            reached: Some(shared.median() >= LEAST_SHARED),
        },
        Row {
            what: format!("{what}, were a write to take 1 ms"),
            subject: scaled.show("/s"),
            floor: write.show("ms"),
            ratio: format!("{:.2}", scaled.median() / LEAST_RATE),
            aim: format!("≥ {LEAST_RATE} /s"),
            reached: scaled_reached,
        },
        Row {
            what: format!("the same with {EARLIER} events already there"),
            subject: rate_later.show("/s"),
            floor: format!(
                "{}; {} for a file of {} KiB",
                rate.show("/s"),
                write_later.show("ms"),
                later[0].size >> 10
            ),
            ratio: format!("{:.2}", left.median()),
            aim: format!("≥ {LEAST_LATER:.2}"),
            reached: Some(left.median() >= LEAST_LATER),
        },
        Row::memory("heartbeats", &memory(&first), String::new()),
        Row::memory(
            &format!("heartbeats with {EARLIER} events already there"),
            &memory(&later),
            String::new(),
        ),
    ])
}

/// One fresh service under the whole load, then the floor on the file that it left.
fn measure(plan: &Plan, name: &str, earlier: usize) -> Result<Load> {
    let folder = plan.folder(name)?;
    process::stage(&folder)?;
    let clients = folder.join("state/clients.json");
    if earlier > 0 {
        fs::create_dir(folder.join("state"))?;
        fs::write(&clients, history(earlier)?)?;
    }
    let mut service = Server::service(&folder)?;
    service.first_answer("/healthz")?;

    // A device keeps to one connection, so that its events arrive in order; the devices of a
    // connection take turns.
    let mut requests: Vec<Vec<Vec<u8>>> = vec![Vec::new(); CONNECTIONS];
    for number in 0..EVENTS {
        for device in 1..=DEVICES {
            let mut heartbeat = event(earlier + number);
            heartbeat["mac"] = process::mac(device).into();
            requests[device % CONNECTIONS].push(load::post(
                service.address,
                "/heartbeat",
                &heartbeat.to_string(),
            ));
        }
    }
    let mut queues: Vec<_> = requests
        .iter()
        .map(|queue| queue.iter().map(Vec::as_slice))
        .collect();
    let mut connections = (0..CONNECTIONS)
        .map(|_| Connection::open(service.address, 64 << 10))
        .collect::<Result<Vec<_>>>()?;
    let rate = load::drive(
        &mut connections,
        |index| queues[index].next(),
        |_, _| Ok(()),
    )?;

    // While the service still runs: what it has acknowledged must be there before it is told to
    // stop.
    let content = fs::read(&clients)?;
    let memory = service.memory()?;
    drop(connections);
    drop(service);
    check(&content, earlier)?;

    let begun = Instant::now();
    let mut write = Samples::default();
    while write.0.len() < plan.rounds(WRITES) && begun.elapsed().as_secs_f64() < WRITES_SECONDS {
        write
            .0
            .push(floors::durable_write(Path::new(&folder), &content)?.as_secs_f64() * 1000.0);
    }
    Ok(Load {
        rate,
        write: write.median(),
        size: content.len(),
        memory,
    })
}

/// The event with this number of any device: stage by stage, each from start to done, over and
/// over.
fn event(number: usize) -> Value {
    let stage = |number: usize| number % EVENTS * STAGES.len() / EVENTS;
    let phase = match number {
        _ if number.is_multiple_of(EVENTS) || stage(number) != stage(number - 1) => "start",
        _ if stage(number) != stage(number + 1) => "done",
        _ => "progress",
    };
    let detail = format!("step {number} of the installation");
    json!({ "stage": STAGES[stage(number)], "phase": phase, "detail": detail })
}

/// A `clients.json` in which each device has that many events, one device to a line as the service
/// writes it.
fn history(events: usize) -> Result<String> {
    const WHEN: &str = "2026-11-22T16:12:00Z";
    let mut text = String::from("{\n");
    for device in 1..=DEVICES {
        let mac = process::mac(device);
        let stages: Vec<Value> = (0..events)
            .map(|number| {
                let mut event = event(number);
                event["timestamp"] = WHEN.into();
                event
            })
            .collect();
        let record = json!({
            "mac": mac, "ip": "127.0.0.1", "hostname": format!("gb10-{device:03}"),
            "current_stage": "ready", "last_heartbeat": WHEN, "stages": stages,
        });
        writeln!(
            text,
            "\"{mac}\": {record}{}",
            if device < DEVICES { "," } else { "" }
        )?;
    }
    Ok(text + "}\n")
}

/// Exactly the acknowledged events must be in the file, after those that were there before, in
/// order.
fn check(content: &[u8], earlier: usize) -> Result<()> {
    let clients: serde_json::Map<String, Value> = serde_json::from_slice(content)?;
    if clients.len() != DEVICES {
        return Err(format!("clients.json has {} devices, not {DEVICES}", clients.len()).into());
    }
    for (mac, client) in &clients {
        let stages = client["stages"]
            .as_array()
            .ok_or("a client without stages")?;
        let same = |(number, stage): (usize, &Value)| {
            let sent = event(number);
            ["stage", "phase", "detail"]
                .into_iter()
                .all(|field| stage[field] == sent[field])
        };
        if stages.len() != earlier + EVENTS || !stages.iter().enumerate().all(same) {
            return Err(
                format!("clients.json has not the events of {mac} that were acknowledged").into(),
            );
        }
    }
    Ok(())
}
