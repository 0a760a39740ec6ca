//! Many connections of one attacker, each opened anew as soon as it is closed.

use std::io::{ErrorKind, Result, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::Field;

/// Where the attacker lives.
pub const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Connections that it wants to have.
pub const CONNECTIONS: usize = 1024;

/// Threads that look after them.
const THREADS: usize = 4;

/// Between two looks at the same connection.
const PAUSE: Duration = Duration::from_millis(100);

/// When a connection is opened again. Sooner would load the processor that the attacker shares with
/// the service here; `reconnect` shows what that does.
const OPEN_AGAIN: Duration = Duration::from_secs(4);

/// One of the connections, and when it was opened.
struct Slot {
    number: usize,
    stream: Option<TcpStream>,
    opened: Option<Instant>,
}

/// A connection from an address of loopback.
pub fn connect_from(source: Ipv4Addr, to: SocketAddr) -> Result<TcpStream> {
    let SocketAddr::V4(to) = to else {
        return Err(ErrorKind::Unsupported.into());
    };
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(source, 0))?;
    connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}

/// Keeps [`CONNECTIONS`] open: sends what `open` gives for the number of a connection, then has
/// `step` do something with it again and again. An error of either opens it anew.
pub fn swarm(
    field: &Field,
    open: impl Fn(usize) -> Vec<u8> + Sync,
    step: impl Fn(usize, &mut TcpStream) -> Result<()> + Sync,
) {
    let look_after = |thread: usize| {
        let mut slots: Vec<Slot> = (thread..CONNECTIONS)
            .step_by(THREADS)
            .map(|number| Slot {
                number,
                stream: None,
                opened: None,
            })
            .collect();
        while !field.is_over() {
            for slot in &mut slots {
                if field.is_over() {
                    return;
                }
                if slot.stream.as_mut().is_some_and(is_closed) {
                    slot.stream = None;
                }
                let is_due = slot.opened.is_none_or(|at| at.elapsed() >= OPEN_AGAIN);
                if slot.stream.is_none() && is_due {
                    slot.stream = opened(field.service.address, &open(slot.number)).ok();
                    field.count();
                    slot.opened = Some(Instant::now());
                }
                if let Some(stream) = &mut slot.stream
                    && let Err(error) = step(slot.number, stream)
                    && error.kind() != ErrorKind::WouldBlock
                {
                    slot.stream = None;
                }
            }
            std::thread::sleep(PAUSE);
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let look_after = &look_after;
            scope.spawn(move || look_after(thread));
        }
    });
}

fn opened(service: SocketAddr, bytes: &[u8]) -> Result<TcpStream> {
    let mut stream = connect_from(ATTACKER, service)?;
    stream.set_nonblocking(true)?;
    match stream.write_all(bytes) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(stream),
    }
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.peek(&mut [0]) {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}
