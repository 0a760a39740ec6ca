//! A connection whose peer must take what it asked for at a least rate.
//!
//! The rate is kept as a debt of time. While the peer lets us wait, its debt grows with the clock;
//! every byte that it takes pays for its share of a second. A peer that owes a minute is cut off.
//! What we ourselves are slow with, such as our disk, is nobody's debt, and a peer that never lets
//! us wait costs no look at a clock.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// Least rate of an answer, in bytes a second. At this rate 1 GiB takes nine hours: no box that
/// works is so slow.
const LEAST_RATE: u64 = 32 * 1024;

/// How much time a peer may owe: its disk may stall, a cable may be plugged anew.
pub const MOST_DEBT: Duration = Duration::from_secs(60);

/// The time that a peer owes, kept apart from the socket.
#[derive(Debug, Default)]
pub struct Debt {
    owed: Duration,
    waiting_since: Option<Instant>,
}

impl Debt {
    /// The peer takes nothing at the moment.
    pub fn wait(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// The peer took `bytes`.
    pub fn pay(&mut self, bytes: usize, now: impl FnOnce() -> Instant) {
        if let Some(since) = self.waiting_since.take() {
            self.owed += now().saturating_duration_since(since);
        }
        if !self.owed.is_zero() {
            let paid = Duration::from_micros(bytes as u64 * 1_000_000 / LEAST_RATE);
            self.owed = self.owed.saturating_sub(paid);
        }
    }

    /// When the peer owes too much, if it takes nothing more until then.
    pub fn limit(&self, now: Instant) -> Instant {
        self.waiting_since.unwrap_or(now) + MOST_DEBT.saturating_sub(self.owed)
    }
}

/// Whether a connection waited for its peer since its last request. One that did not has the next
/// request there already, and must let others have their turn first.
#[derive(Debug)]
pub struct Waited(AtomicBool);

impl Waited {
    /// A connection that was just accepted.
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    /// Whether it waited since this was asked last.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// The stream, and what its peer owes.
pub struct Paced {
    stream: TcpStream,
    debt: Debt,
    waited: Arc<Waited>,
    /// Fires when the peer may owe too much. It is never set back: a peer that has paid meanwhile
    /// is looked at in vain, once a minute at most.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    /// A stream whose peer owes nothing yet.
    pub fn new(stream: TcpStream, waited: Arc<Waited>) -> Self {
        Self {
            stream,
            debt: Debt::default(),
            waited,
            alarm: None,
        }
    }

    /// What a write came to, with what that means for the debt.
    fn wrote(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match outcome {
            Poll::Ready(Ok(bytes)) => self.debt.pay(bytes, Instant::now),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                self.debt.wait(Instant::now());
                ready!(self.owes_too_much(context));
                // What it did not take shall not stay in the kernel for minutes.
                let _ = set_socket_linger(&self.stream, Some(Duration::ZERO));
                let reason = "the peer takes its answer too slowly";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)));
            }
        }
        outcome
    }

    fn owes_too_much(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = Instant::now();
            let limit = self.debt.limit(now);
            let alarm = self
                .alarm
                .get_or_insert_with(|| Box::pin(sleep_until(limit)));
            ready!(alarm.as_mut().poll(context));
            if limit <= now {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(limit);
        }
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_pending() {
            self.waited.0.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.wrote(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
