//! Structured logging: to the journal where stderr is the journal, else as lines on stderr.
//!
//! A field named `gb10.mac` becomes `GB10_MAC` in the journal, and so on.

use std::io::IsTerminal;
use std::sync::Arc;

use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::prelude::*;

use super::quota::{Quota, Quotas};

/// The field that the journal knows as `MESSAGE_ID`.
const MESSAGE_ID: &str = "message_id";

/// Starts logging what `filter` lets through, to each peer its quota.
pub fn init(filter: &Targets) -> Arc<Quotas> {
    let quotas = Arc::new(Quotas::default());
    let journald = stderr_is_the_journal()
        .then(tracing_journald::layer)
        .and_then(Result::ok);
    let journald = journald.map(|layer| {
        layer
            .with_field_prefix(None)
            .with_priority_mappings(PriorityMappings {
                info: Priority::Informational,
                debug: Priority::Debug,
                ..PriorityMappings::new()
            })
    });
    let lines = journald.is_none().then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            // A message id is for the journal's catalog, not for a reader of lines.
            .fmt_fields(debug_fn(|line, field, value| match field.name() {
                "message" => write!(line, "{value:?}"),
                MESSAGE_ID => Ok(()),
                name => write!(line, " {name}={value:?}"),
            }))
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            // A terminal that is gone must cost the lines, not the requests: the report of a
            // failed write goes to stderr also, and panics.
            .log_internal_errors(false)
    });
    tracing_subscriber::registry()
        .with(journald)
        .with(lines)
        .with(Quota(Arc::clone(&quotas)))
        .with(filter.clone())
        .init();
    quotas
}

/// Starts logging what a command does for an operator: to the journal alone, wherever stderr goes.
/// Without a journal nobody is told.
pub fn init_for_operator() {
    let journald = tracing_journald::layer().ok();
    let journald = journald.map(|layer| layer.with_field_prefix(None));
    tracing_subscriber::registry().with(journald).init();
}

/// Whether stderr is the stream that systemd connected to the journal: `JOURNAL_STREAM` has its
/// device and inode, systemd.exec(5).
fn stderr_is_the_journal() -> bool {
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else {
        return false;
    };
    std::env::var("JOURNAL_STREAM")
        .is_ok_and(|stream| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}
