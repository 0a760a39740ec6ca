//! Other programs of the host, asked for what they know. None of them can hold us up.

use std::ffi::OsStr;
use std::io;
use std::process::{Command, ExitStatus, Stdio};

/// How `timeout`, env(1) and the shells tell that they found no such program.
const NOT_FOUND: i32 = 127;
/// How `timeout` tells that the time was up.
const OVERDUE: i32 = 124;

/// Why a program has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not there.
    #[error("{0} is not installed")]
    Missing(String),
    /// It took too long.
    #[error("{program} did not end within {seconds} s")]
    Overdue {
        /// Its name.
        program: String,
        /// The time that it had.
        seconds: u32,
    },
    /// It failed, and said this.
    #[error("{program}: {said}")]
    Failed {
        /// Its name.
        program: String,
        /// Its last words on standard error, or its exit status.
        said: String,
    },
    /// It could not be started.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What the program prints, within so many seconds.
pub fn ask<A: AsRef<OsStr>>(
    seconds: u32,
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<String, ToolError> {
    let mut command = bounded(seconds, program);
    let output = command.args(arguments).stdin(Stdio::null()).output()?;
    let failed = |said: String| ToolError::Failed {
        program: program.to_owned(),
        said,
    };
    match output.status.code() {
        Some(0) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Some(NOT_FOUND) => Err(ToolError::Missing(program.to_owned())),
        Some(OVERDUE) => Err(ToolError::Overdue {
            program: program.to_owned(),
            seconds,
        }),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.trim().lines().next_back().unwrap_or_default();
            match said.trim() {
                "" => Err(failed(output.status.to_string())),
                said => Err(failed(said.to_owned())),
            }
        }
    }
}

/// A program that is ended after so many seconds, by coreutils' timeout(1).
pub fn bounded(seconds: u32, program: &str) -> Command {
    // Where programs for the administrator lie, which others do not have in their PATH.
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("timeout");
    command
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .args(["--kill-after=1", &seconds.to_string(), program])
        // What a program says is read here, and by people.
        .env("LC_ALL", "C.UTF-8");
    command
}

/// Whether this is the end of a [`bounded`] program that is not there.
pub fn is_missing(status: ExitStatus) -> bool {
    status.code() == Some(NOT_FOUND)
}
