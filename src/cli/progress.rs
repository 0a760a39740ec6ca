//! How far work on large files is.

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar on standard error, where that is a terminal; else nothing is drawn.
pub(super) fn bar() -> ProgressBar {
    let line = "[{bar:24}] {decimal_bytes} / {decimal_total_bytes}, {decimal_bytes_per_sec}";
    let style = ProgressStyle::with_template(line);
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

pub(super) fn show(bar: &ProgressBar, done: u64, total: u64) {
    bar.set_length(total);
    bar.set_position(done);
}
