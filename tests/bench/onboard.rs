//! How fast a large onboarding file, a container image say, leaves the page cache.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use crate::load::{self, Connection};
use crate::process::{self, Server};
use crate::table::{Row, Samples};
use crate::{Plan, Result, floors};

const PATH: &str = "/onboard/image";
const MIB: usize = 1 << 20;
const ROUNDS: usize = 9;
const CONNECTIONS: [usize; 2] = [1, 4];
/// Large enough that the client's reads cost little, small enough to stay in the processor's cache.
const BUFFER: usize = 256 << 10;

/// What is left when the bytes go through the process.
const LEAST_RATIO: f64 = 0.7;

/// The service and nginx in turns, over the same file.
pub fn run(plan: &Plan) -> Result<Vec<Row>> {
    let folder = plan.folder("onboard-data")?;
    process::stage(&folder)?;
    std::fs::create_dir(folder.join("onboard"))?;
    let size = if plan.quick { 256 * MIB } else { 1024 * MIB };
    fill(&folder.join("onboard/image"), size)?;

    let mut service = Server::service(&folder)?;
    service.first_answer("/healthz")?;
    let mut nginx = floors::nginx(&plan.folder("nginx")?, &folder)?;
    if let Some(nginx) = &mut nginx {
        nginx.first_answer("/cloud-init-templates/user-data.yaml.j2")?;
    }

    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        let (mut served, mut floored) = (Samples::default(), Samples::default());
        for _ in 0..plan.rounds(ROUNDS) {
            plan.go_on()?;
            if let Some(nginx) = &nginx {
                floored.0.push(measure(nginx, connections, size)?);
            }
            served.0.push(measure(&service, connections, size)?);
        }
        let plural = if connections == 1 {
            "connection"
        } else {
            "connections"
        };
        let what = format!(
            "onboarding file of {} MiB, {connections} {plural}",
            size / MIB
        );
        rows.push(match nginx {
            Some(_) => Row::rates(what, "MiB/s", &served, &floored, LEAST_RATIO),
            None => Row {
                what,
                subject: served.show("MiB/s"),
                floor: "skipped: nginx is not installed".into(),
                aim: format!("≥ {LEAST_RATIO:.2}"),
                ..Row::default()
            },
        });
    }
    rows.push(Row::memory(
        "onboarding file",
        &[service.memory()?],
        String::new(),
    ));
    Ok(rows)
}

/// Each connection gets the whole file once, in a thread of its own; MiB a second of all together.
fn measure(server: &Server, connections: usize, size: usize) -> Result<f64> {
    let request = load::get(server.address, PATH);
    let ready = Barrier::new(connections + 1);
    let seconds = thread::scope(|scope| {
        let gets: Vec<_> = (0..connections)
            .map(|_| {
                scope.spawn(|| {
                    let connection = Connection::open(server.address, BUFFER);
                    ready.wait();
                    let mut connection = connection?;
                    connection.send(&request)?;
                    connection.answer()
                })
            })
            .collect();
        ready.wait();
        let begun = Instant::now();
        for get in gets {
            let length = get.join().map_err(|_| "a client panicked")??;
            if length != size {
                return Err(format!("{length} B of {size} B").into());
            }
        }
        Result::Ok(begun.elapsed().as_secs_f64())
    })?;
    let mib = u32::try_from(connections * size / MIB)?;
    Ok(f64::from(mib) / seconds)
}

/// Writes a file without holes or repetition, waits until the disk is done with it, and reads it
/// into the page cache.
fn fill(path: &Path, size: usize) -> Result<()> {
    let mut file = File::create(path)?;
    let mut block = vec![0; MIB];
    // xorshift64: cheap, and neither a file system nor a hypervisor can fold it.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..size / MIB {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_ne_bytes());
        }
        file.write_all(&block)?;
    }
    file.sync_all()?;
    let mut file = File::open(path)?;
    while file.read(&mut block)? > 0 {}
    Ok(())
}
