//! Standard output: who reads it may go away at any time, as `head` does.

use std::io::{self, ErrorKind, Write};

/// Prints a text, with a line break at its end. That nobody reads on is no error.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
