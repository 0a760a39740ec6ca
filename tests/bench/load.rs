//! The load: HTTP/1.1 over keep-alive connections, at as little cost to the shared cores as
//! possible.
//!
//! One thread goes round blocking sockets: it takes the answer of a connection, sends the next
//! request on it and turns to the next connection. That keeps every connection busy at two system
//! calls a request. An event loop adds a third and a thread for each connection adds context
//! switches, all at the cost of what is measured.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::Result;

/// The longest silence of a server before the run is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// One keep-alive connection with the buffer that its answers are read into, over and over.
pub struct Connection {
    stream: TcpStream,
    buffer: Box<[u8]>,
    body: Range<usize>,
}

impl Connection {
    /// Connects, with a buffer of `buffer` bytes; a head must fit into it, a body need not.
    pub fn open(address: SocketAddr, buffer: usize) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            buffer: vec![0; buffer].into(),
            body: 0..0,
        })
    }

    /// Sends one whole request.
    pub fn send(&mut self, request: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(request)?)
    }

    /// Reads one answer to its end and gives its body's length; any status but 2xx is an error.
    pub fn answer(&mut self) -> Result<usize> {
        let mut filled = 0_usize;
        let head = loop {
            let searched = filled.saturating_sub(3);
            filled += self.read(filled)?;
            if let Some(at) = self.buffer[searched..filled]
                .windows(4)
                .position(|end| end == b"\r\n\r\n")
            {
                break searched + at + 4;
            }
        };
        let (status, length) = parse_head(&self.buffer[..head])?;
        let mut left = length
            .checked_sub(filled - head)
            .ok_or("more bytes than Content-Length says")?;
        // A body that does not fit is read over itself: it is counted, not kept.
        let fits = head + length <= self.buffer.len();
        while left > 0 {
            let read = self.read(if fits { filled } else { 0 })?;
            filled += read;
            left = left
                .checked_sub(read)
                .ok_or("more bytes than Content-Length says")?;
        }
        self.body = if fits { head..head + length } else { 0..0 };
        if !(200..300).contains(&status) {
            return Err(
                format!("status {status}: {}", String::from_utf8_lossy(self.body())).into(),
            );
        }
        Ok(length)
    }

    /// The last answer's body, where it fitted into the buffer.
    pub fn body(&self) -> &[u8] {
        &self.buffer[self.body.clone()]
    }

    fn read(&mut self, at: usize) -> Result<usize> {
        loop {
            match self.stream.read(&mut self.buffer[at..]) {
                Ok(0) => return Err("the connection was closed, or the head is too long".into()),
                Ok(read) => return Ok(read),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("no answer: {error}").into()),
            }
        }
    }
}

/// Status and Content-Length of a head, both of which it must have.
fn parse_head(head: &[u8]) -> Result<(u16, usize)> {
    let unusable = || {
        format!(
            "not an answer with a Content-Length: {}",
            String::from_utf8_lossy(head)
        )
    };
    let number = |digits: &[u8]| str::from_utf8(digits).ok()?.trim().parse::<usize>().ok();
    let status = head
        .strip_prefix(b"HTTP/1.1 ")
        .and_then(|rest| number(rest.get(..3)?))
        .ok_or_else(unusable)?;
    let length = head
        .split(|byte| *byte == b'\n')
        .find_map(|line| {
            let (name, value) = line.split_at_checked("content-length:".len())?;
            name.eq_ignore_ascii_case(b"content-length:")
                .then(|| number(value))?
        })
        .ok_or_else(unusable)?;
    Ok((u16::try_from(status)?, length))
}

/// The bytes of a GET for `path`.
pub fn get(address: SocketAddr, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
        .into_bytes()
}

/// The bytes of a POST of JSON to `path`.
pub fn post(address: SocketAddr, path: &str, json: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: bench\r\nAccept: */*\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    )
    .into_bytes()
}

/// Keeps one request under way on every connection until `next` has no more for it; gives answers a
/// second.
///
/// `next` is asked with the connection's index, `check` is told the index and the length of each
/// body.
pub fn drive<'a>(
    connections: &mut [Connection],
    mut next: impl FnMut(usize) -> Option<&'a [u8]>,
    mut check: impl FnMut(usize, usize) -> Result<()>,
) -> Result<f64> {
    let begun = Instant::now();
    let mut answered = 0_u32;
    let mut busy = Vec::with_capacity(connections.len());
    for (index, connection) in connections.iter_mut().enumerate() {
        if let Some(request) = next(index) {
            connection.send(request)?;
            busy.push(index);
        }
    }
    while !busy.is_empty() {
        let mut failed = None;
        busy.retain(|&index| {
            let connection = &mut connections[index];
            let step = connection
                .answer()
                .and_then(|length| check(index, length))
                .and_then(|()| {
                    answered += 1;
                    next(index)
                        .map(|request| connection.send(request))
                        .transpose()
                });
            match step {
                Ok(sent) => sent.is_some(),
                Err(error) => {
                    failed.get_or_insert(error);
                    false
                }
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(f64::from(answered) / begun.elapsed().as_secs_f64())
}
