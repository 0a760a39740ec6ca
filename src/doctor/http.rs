//! One request to the service, in bounded time and of bounded length.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest that an answer may take here. The service gives itself some seconds for `/healthz`.
pub(super) const TIMEOUT: Duration = Duration::from_secs(8);

/// Longest answer that is read, in bytes.
const LONGEST: usize = 1 << 20;

/// The status and the body of an answer.
pub(super) type Answer = (u16, Vec<u8>);

/// Gets a path within `limit`, all in all. HTTP/1.0, so that the answer ends with the connection.
pub(super) fn get(at: SocketAddr, path: &str, limit: Duration) -> io::Result<Answer> {
    let end = Instant::now() + limit;
    let mut stream = TcpStream::connect_timeout(&at, limit)?;
    stream.set_write_timeout(Some(limit))?;
    // At once: what answers before it has read all, and closes, is heard all the same.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {at}\r\n\r\n").as_bytes())?;
    let (mut answer, mut piece) = (Vec::new(), [0; 8192]);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
        if answer.len() > LONGEST {
            return Err(io::Error::other("an answer without an end"));
        }
    }
    parse(&answer).ok_or_else(|| io::Error::other("no answer of HTTP"))
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = (&answer[..end], &answer[end + 4..]);
    let head = std::str::from_utf8(head).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    let status = status.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    // Shorter than it says, it was cut off.
    length
        .is_none_or(|length| length == body.len())
        .then(|| (status, body.to_vec()))
}
