//! Attacks on memory: much that is to be remembered, and much that is on its way.

use std::io::Write;

use crate::Field;
use crate::storm::{mac, post, storm};
use crate::swarm::swarm;

/// Devices that the service is to remember something of.
const DEVICES: usize = 4096;

pub fn webhook(field: &Field) {
    let long = "n".repeat(120_000);
    storm(field, |n| {
        let n = n % DEVICES;
        let body = format!(
            r#"{{"name": "subiquity/{long}/{n}", "event_type": "finish", "result": "FAIL", "description": "{long}"}}"#
        );
        post(&format!("/report/{}", mac(n)), &body)
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
