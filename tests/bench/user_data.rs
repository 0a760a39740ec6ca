//! How many devices can be served their user-data in a second.

use std::time::{Duration, Instant};

use crate::load::{self, Connection};
use crate::process::{self, Server};
use crate::table::{Row, Samples};
use crate::{Plan, Result, floors};

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(1500);

/// What is left when everything a seed needs is done for each request.
const LEAST_RATIO: f64 = 0.4;

/// The service renders for a device of its own on each connection; the floor sends the same bytes
/// unrendered.
pub fn run(plan: &Plan) -> Result<Vec<Row>> {
    let folder = plan.folder("user-data")?;
    process::stage(&folder)?;
    let mut service = Server::service(&folder)?;
    let body = service.first_answer(&process::user_data_path(0))?;
    // Not what the service may have of its own, in place of a template that it does not like.
    let begins = format!(
        "#cloud-config\n# GB10 autoinstall for {}\n",
        process::mac(0)
    );
    if !body.starts_with(begins.as_bytes()) {
        return Err("the user-data served is not that of the staged template".into());
    }
    let mut floor = floors::bare_axum(&plan.folder("user-data-floor")?, &body)?;
    floor.first_answer(&process::user_data_path(0))?;

    // The first round warms both up.
    measure(&floor, body.len())?;
    measure(&service, body.len())?;
    let [mut served, mut floored, mut served_time, mut floored_time] = <[Samples; 4]>::default();
    for _ in 0..plan.rounds(ROUNDS) {
        plan.go_on()?;
        let (rate, time) = measure(&floor, body.len())?;
        floored.0.push(rate);
        floored_time.0.push(time);
        let (rate, time) = measure(&service, body.len())?;
        served.0.push(rate);
        served_time.0.push(time);
    }
    let size = body.len();
    let what = format!("user-data of {size} B, {CONNECTIONS} connections");
    Ok(vec![
        Row::rates(what, "requests/s", &served, &floored, LEAST_RATIO),
        // Without the client's share, which is in both rates and brings them closer together.
        Row {
            what: "the same, processor time of the server for each".into(),
            subject: served_time.show("µs"),
            floor: floored_time.show("µs"),
            ratio: format!("{:.2}", floored_time.over(&served_time).median()),
            ..Row::default()
        },
        Row::memory(
            "user-data",
            &[service.memory()?],
            format!("bare axum: {:.1} MiB", floor.memory()?.0),
        ),
    ])
}

/// Requests a second over one short round, and the server's processor time for each in µs; every
/// body must have `size` bytes, as all devices' names are equally long.
fn measure(server: &Server, size: usize) -> Result<(f64, f64)> {
    let requests: Vec<_> = (0..CONNECTIONS)
        .map(|device| load::get(server.address, &process::user_data_path(device)))
        .collect();
    let mut connections = (0..CONNECTIONS)
        .map(|_| Connection::open(server.address, 16 << 10))
        .collect::<Result<Vec<_>>>()?;
    let (begun, used) = (Instant::now(), server.processor_time()?);
    let mut answered = 0_u32;
    let rate = load::drive(
        &mut connections,
        |index| (begun.elapsed() < ROUND).then_some(requests[index].as_slice()),
        |index, length| {
            answered += 1;
            if length == size {
                Ok(())
            } else {
                Err(format!("device {index} was sent {length} B, not {size} B").into())
            }
        },
    )?;
    Ok((
        rate,
        (server.processor_time()? - used) * 1e6 / f64::from(answered),
    ))
}
