//! GRUB's configuration in the boot folder: is it what the service gives, and does GRUB take it?

use std::io;
use std::net::SocketAddrV4;
use std::path::Path;

use super::{Check, http};
use crate::excerpt::excerpt;
use crate::files::layout;
use crate::tools::{self, ToolError};

const NAME: &str = "grub.cfg";

/// Where it lies below the boot folder, and where the service gives it.
const FILE: &str = layout::GRUB_CFG;
const ROUTE: &str = "/boot/grub.cfg";

/// Longest that `grub-script-check` may take, in seconds.
const TIMEOUT: u32 = 5;

/// What is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The file's text; none where there is no file.
    pub staged: Result<Option<String>, String>,
    /// What the service answers, or why there is no answer.
    pub served: Result<(u16, String), String>,
    /// What GRUB says of the file: its fault, or nothing. An error where it cannot be asked.
    pub fault: Result<Option<String>, String>,
}

/// Reads the file, and asks the service and GRUB.
pub fn gather(boot: &Path, at: SocketAddrV4) -> Found {
    let path = boot.join(FILE);
    let staged = match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    };
    let text =
        |(status, body): (u16, Vec<u8>)| (status, String::from_utf8_lossy(&body).into_owned());
    let fault = match tools::ask(TIMEOUT, "grub-script-check", [&path]) {
        Ok(_) => Ok(None),
        Err(ToolError::Failed { said, .. }) => Ok(Some(said)),
        Err(error) => Err(error.to_string()),
    };
    Found {
        staged,
        served: http::get(at.into(), ROUTE, http::TIMEOUT)
            .map(text)
            .map_err(|error| error.to_string()),
        fault,
    }
}

/// What that means.
pub fn judge(found: &Found) -> Check {
    let write = "gb10-provision-api boot grub --write";
    let staged = match &found.staged {
        Ok(Some(staged)) => staged,
        Ok(None) => return Check::fail(NAME, format!("{FILE} is not in the boot folder"), write),
        Err(reason) => {
            let text = format!("{FILE} cannot be read: {reason}");
            return Check::fail(NAME, text, write);
        }
    };
    if let Ok(Some(fault)) = &found.fault {
        let text = format!("GRUB does not take {FILE}: {}", excerpt(fault));
        let remedy =
            "gb10-provision-api boot grub --write; with a template of your own, mend that first";
        return Check::fail(NAME, text, remedy);
    }
    match &found.served {
        Ok((200, served)) if served == staged => {
            let checked = match &found.fault {
                Ok(_) => "",
                Err(_) => "; grub-script-check, of grub-common, is not there to say more",
            };
            Check::ok(NAME, format!("{FILE} is what the service gives{checked}"))
        }
        Ok((200, _)) => Check::fail(
            NAME,
            format!(
                "{FILE} is not what the service gives at {ROUTE}: another address, or an older template"
            ),
            write,
        ),
        Ok((status, _)) => {
            let text = format!("the service answers {ROUTE} with status {status}");
            Check::fail(NAME, text, "journalctl -x -u gb10-provision-api -p warning")
        }
        Err(reason) => {
            let text = format!("skipped: the service does not give its own: {reason}");
            Check::skip(NAME, text, "see service above")
        }
    }
}
