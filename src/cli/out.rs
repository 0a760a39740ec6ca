//! Standard output: who reads it may go away at any time, as `head` does, and it may be a terminal.

use std::io::{self, ErrorKind, IsTerminal, Write};

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

/// Whether standard output is a terminal.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// How many columns there are: as COLUMNS says, else as the terminal does. None where there is
/// neither: then nothing is cut.
pub(super) fn columns() -> Option<usize> {
    let set = std::env::var("COLUMNS").ok();
    let set = set.and_then(|columns| columns.parse().ok());
    let of_terminal = || {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        Some(usize::from(size.ws_col))
    };
    set.or_else(of_terminal).filter(|columns| *columns > 0)
}

/// Whether there may be colours: on a terminal that has them, unless NO_COLOR says no.
pub(super) fn has_colours() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let is_dumb = set("TERM").is_none_or(|term| term == "dumb");
    is_terminal() && set("NO_COLOR").is_none() && !is_dumb
}
