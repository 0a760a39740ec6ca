//! Attacks on memory: much that is to be remembered, and much that is on its way.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Field;
use crate::swarm::{ATTACKER, connect_from, swarm};

/// Threads that post.
const THREADS: usize = 4;

/// Devices that the service is to remember something of.
const DEVICES: usize = 4096;

pub fn webhook(field: &Field) {
    let next = AtomicUsize::new(0);
    let post = || -> std::io::Result<()> {
        let mut stream = connect_from(ATTACKER, field.service.address)?;
        while !field.is_over() {
            let n = next.fetch_add(1, Ordering::Relaxed) % DEVICES;
            let long = "n".repeat(120_000);
            let body = format!(
                r#"{{"name": "subiquity/{long}/{n}", "event_type": "finish", "result": "FAIL", "description": "{long}"}}"#
            );
            let mac = format!("02:00:00:00:{:02x}:{:02x}", n / 256, n % 256);
            let length = body.len();
            write!(
                stream,
                "POST /report/{mac} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"
            )?;
            let _ = stream.read(&mut [0; 1024])?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !field.is_over() {
                    let _ = post();
                }
            });
        }
    });
}

pub fn upload(field: &Field) {
    let body = vec![b' '; (256 << 10) - 1];
    let head =
        "POST /report/02:00:00:00:00:01 HTTP/1.1\r\nHost: x\r\nContent-Length: 262144\r\n\r\n";
    let request = [head.as_bytes(), &body].concat();
    // All but the last byte: each body is kept until its time is over.
    swarm(
        field,
        |_| request.clone(),
        |_, stream| stream.write_all(&body[..4096]),
    );
}
