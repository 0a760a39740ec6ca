//! Requests one after the other, as fast as they are answered: of invented devices, of one that
//! reports without end, for what is not there, and of one that asks how the service is.

use std::io::{BufRead, BufReader, Read, Result, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Field;
use crate::swarm::{ATTACKER, connect_from};

/// Connections, each with a request under way.
const THREADS: usize = 4;

/// Sends what `request` gives for each number, until it is over.
pub fn storm(field: &Field, request: impl Fn(usize) -> Vec<u8> + Sync) {
    let next = AtomicUsize::new(0);
    let send = || -> Result<()> {
        let stream = connect_from(ATTACKER, field.service.address)?;
        let mut answers = BufReader::new(&stream);
        while !field.is_over() {
            let number = next.fetch_add(1, Ordering::Relaxed);
            (&stream).write_all(&request(number))?;
            skip_answer(&mut answers)?;
            field.count();
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !field.is_over() {
                    // A connection that was closed is opened again.
                    let _ = send();
                }
            });
        }
    });
}

/// Reads one answer, which has to tell its length.
fn skip_answer(answers: &mut impl BufRead) -> Result<()> {
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        if answers.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim_end().parse().unwrap();
        }
    }
    std::io::copy(&mut answers.take(length), &mut std::io::sink()).map(drop)
}

/// The MAC of an invented device.
pub fn mac(number: usize) -> String {
    let [.., a, b, c] = number.to_be_bytes();
    format!("02:00:00:{a:02x}:{b:02x}:{c:02x}")
}

pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

pub fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

pub fn invented(field: &Field) {
    storm(field, |number| {
        let mac = mac(number);
        match number % 2 {
            0 => get(&format!("/cloud-init/{mac}/user-data")),
            _ => {
                let body = format!(r#"{{"mac": "{mac}", "stage": "network", "phase": "start"}}"#);
                post("/heartbeat", &body)
            }
        }
    });
}

/// A detail that is longest where it is written as JSON.
pub fn history(field: &Field) {
    let detail = "\\u0001".repeat(2650);
    let body = format!(
        r#"{{"mac": "02:00:00:00:00:01", "stage": "payload", "phase": "progress", "detail": "{detail}"}}"#
    );
    storm(field, |_| post("/heartbeat", &body));
}

pub fn lines(field: &Field) {
    storm(field, |number| {
        get(&format!(
            "/onboard/..%2fx%0a{number}%1b[2J{}",
            "y".repeat(4000)
        ))
    });
}

pub fn health(field: &Field) {
    storm(field, |_| get("/healthz"));
}
