//! How many lines of the journal one peer gets.
//!
//! Each request leaves a line, and one device can send thousands in a second. journald would then
//! drop lines of the whole service, those of other devices among them. So each peer has a quota
//! for each kind of line. What is over it is counted, and the number told every ten seconds.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit, display};
use tracing::{Event, Subscriber, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::message_id;

/// The field that says which peer a line is of.
const PEER: &str = "gb10.ip";

/// Lines of one kind that a peer may cause at once. An onboarding has fewer.
const BURST: u32 = 200;

/// How long until it may cause one more.
const PACE: Duration = Duration::from_millis(500);

/// Peers that are told apart; further ones share a quota.
const PEERS: usize = 4096;

/// How often the numbers are told.
const TELLING_PERIOD: Duration = Duration::from_secs(10);

/// Longest part of a line that is shown as an example, in bytes.
const EXAMPLE_BYTES: usize = 256;

/// The quotas of all peers.
#[derive(Default)]
pub struct Quotas(Mutex<Ledger>);

/// The layer that lets a line pass, or has it left out.
pub struct Quota(pub Arc<Quotas>);

impl<S: Subscriber> Layer<S> for Quota {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let (kind, now) = (event.metadata().callsite(), Instant::now());
        let peer = text_of(event, PEER).and_then(|ip| ip.parse().ok());
        let example = || text_of(event, "message").unwrap_or_default();
        self.0.ledger().admit(peer, kind, now, example)
    }
}

impl Quotas {
    /// Tells how many lines were left out where that is due.
    pub fn tell(&self) {
        self.tell_older_than(TELLING_PERIOD);
    }

    /// Tells all that was not told yet.
    pub fn tell_rest(&self) {
        self.tell_older_than(Duration::ZERO);
    }

    fn tell_older_than(&self, age: Duration) {
        // Not while the ledger is locked: these lines have quotas, too.
        let told = self.ledger().take_due(age, Instant::now());
        for (writer, LeftOut { lines, example, .. }) in told {
            let ip = match writer {
                Writer::Peer(ip) => Some(display(ip)),
                Writer::FurtherPeers | Writer::Service => None,
            };
            let message_id = message_id::LINES_LEFT_OUT;
            warn!(
                message_id,
                gb10.ip = ip,
                lines,
                "lines left out: {lines} of {writer}, the first of them: {example}"
            );
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who causes a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Writer {
    Peer(IpAddr),
    /// Peers beyond the first [`PEERS`].
    FurtherPeers,
    /// No peer, or many at once.
    Service,
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(ip) => ip.fmt(f),
            Self::FurtherPeers => f.write_str("further peers"),
            Self::Service => f.write_str("no single peer"),
        }
    }
}

/// What everybody wrote of late.
#[derive(Default)]
struct Ledger(HashMap<Writer, Account>);

/// What one writer wrote of late.
#[derive(Default)]
struct Account {
    /// By kind of line, when the whole burst will be there again.
    full_at: HashMap<Identifier, Instant>,
    left_out: Option<LeftOut>,
}

/// Lines that were left out and not told of yet.
struct LeftOut {
    since: Instant,
    lines: u64,
    example: String,
}

impl Ledger {
    /// Whether a line passes. One that does not is counted.
    fn admit(
        &mut self,
        peer: Option<IpAddr>,
        kind: Identifier,
        now: Instant,
        example: impl FnOnce() -> String,
    ) -> bool {
        let writer = peer.map_or(Writer::Service, Writer::Peer);
        let writer = match self.0.contains_key(&writer) || self.0.len() < PEERS {
            true => writer,
            false => Writer::FurtherPeers,
        };
        let account = self.0.entry(writer).or_default();
        let full_at = account.full_at.entry(kind).or_insert(now);
        let after_this = (*full_at).max(now) + PACE;
        if after_this <= now + PACE * BURST {
            *full_at = after_this;
            return true;
        }
        let left_out = account.left_out.get_or_insert_with(|| {
            let mut example = example();
            example.truncate(example.floor_char_boundary(EXAMPLE_BYTES));
            LeftOut {
                since: now,
                lines: 0,
                example,
            }
        });
        left_out.lines += 1;
        false
    }

    /// What was left out since `age` or longer; it counts as told. Forgets who has been quiet.
    fn take_due(&mut self, age: Duration, now: Instant) -> Vec<(Writer, LeftOut)> {
        let mut due = Vec::new();
        self.0.retain(|writer, account| {
            let is_due = |left_out: &mut LeftOut| now.duration_since(left_out.since) >= age;
            if let Some(left_out) = account.left_out.take_if(is_due) {
                due.push((*writer, left_out));
            }
            account.full_at.retain(|_, full_at| *full_at > now);
            account.left_out.is_some() || !account.full_at.is_empty()
        });
        due
    }
}

/// The text of one field of an event.
fn text_of(event: &Event<'_>, name: &str) -> Option<String> {
    struct Reader<'a> {
        name: &'a str,
        text: Option<String>,
    }
    impl Visit for Reader<'_> {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == self.name {
                self.text = Some(format!("{value:?}"));
            }
        }
    }
    event.metadata().fields().field(name)?;
    let mut reader = Reader { name, text: None };
    event.record(&mut reader);
    reader.text
}
