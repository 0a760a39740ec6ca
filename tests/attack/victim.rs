//! The victim: a box at an address of its own that reports and fetches its seed.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::support::read_response;
use crate::swarm::connect_from;

/// Where the victim lives.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

const MAC: &str = "00:00:5e:00:53:09";

/// Between two requests.
const PAUSE: Duration = Duration::from_millis(15);

/// When a request counts as unanswered.
const LIMIT: Duration = Duration::from_secs(10);

/// What the victim saw.
#[derive(Default)]
pub struct Seen {
    /// Of each request, sorted.
    pub latencies: Vec<Duration>,
    pub failures: usize,
    pub first_failure: Option<String>,
}

impl Seen {
    pub fn percentile(&self, percent: usize) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let index = (self.latencies.len() * percent / 100).min(last);
        self.latencies.get(index).copied().unwrap_or(LIMIT)
    }
}

/// Heartbeats and seeds in turn, each on a connection of its own.
pub fn watch(service: SocketAddr, time: Duration) -> Seen {
    let (began, mut seen) = (Instant::now(), Seen::default());
    let body = format!(r#"{{"mac": "{MAC}", "stage": "payload", "phase": "progress"}}"#);
    let length = body.len();
    let requests = [
        format!(
            "POST /heartbeat HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
        format!("GET /cloud-init/{MAC}/user-data HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    ];
    for request in requests.iter().cycle() {
        if began.elapsed() >= time {
            break;
        }
        let asked = Instant::now();
        let outcome = ask(service, request);
        seen.latencies.push(asked.elapsed());
        if let Err(reason) = outcome {
            seen.failures += 1;
            seen.first_failure.get_or_insert(reason);
        }
        std::thread::sleep(PAUSE);
    }
    seen.latencies.sort_unstable();
    seen
}

fn ask(service: SocketAddr, request: &str) -> Result<(), String> {
    let words = |error: std::io::Error| error.to_string();
    let mut stream = connect_from(ADDRESS, service).map_err(words)?;
    stream.set_read_timeout(Some(LIMIT)).map_err(words)?;
    stream.write_all(request.as_bytes()).map_err(words)?;
    let answer = read_response(&mut stream).map_err(words)?;
    match answer.status {
        200 => Ok(()),
        status => Err(format!("{status}: {}", answer.text())),
    }
}
