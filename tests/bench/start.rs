//! How soon after its start the service answers: with socket activation a device waits for just
//! that.

use std::time::Instant;

use crate::process::{self, Server};
use crate::table::{Row, Samples};
use crate::{Plan, Result, floors};

const STARTS: usize = 20;
const MOST_MILLISECONDS: f64 = 50.0;

/// The service and the bare server, from the spawning of the process to the first user-data.
pub fn run(plan: &Plan) -> Result<Vec<Row>> {
    let (folder, floor_folder) = (plan.folder("start")?, plan.folder("start-floor")?);
    process::stage(&folder)?;
    let (mut served, mut floored) = (Samples::default(), Samples::default());
    for _ in 0..plan.rounds(STARTS) {
        plan.go_on()?;
        floored.0.push(measure(|| {
            floors::bare_axum(&floor_folder, b"#cloud-config\n")
        })?);
        served.0.push(measure(|| Server::service(&folder))?);
    }
    Ok(vec![Row {
        what: format!("start to first user-data, {} starts", served.0.len()),
        subject: served.show("ms"),
        floor: format!("bare axum: {}", floored.show("ms")),
        ratio: format!("{:.2}", served.over(&floored).median()),
        aim: format!("≤ {MOST_MILLISECONDS} ms"),
        reached: Some(served.median() <= MOST_MILLISECONDS),
    }])
}

fn measure(spawn: impl Fn() -> Result<Server>) -> Result<f64> {
    let begun = Instant::now();
    let mut server = spawn()?;
    server.first_answer(&process::user_data_path(1))?;
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}
