//! The policy, and which boxes it would install now.

use super::Check;

const NAME: &str = "policy";

/// Names of boxes that a line has room for.
const NAMED: usize = 3;

/// What the policy comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its name, as `INSTALL` has it.
    pub policy: &'static str,
    /// Boxes that are on record or in `devices.json`.
    pub known: usize,
    /// Those that would be installed at their next boot from the network.
    pub to_install: usize,
    /// Whether a box that nobody knows yet would be, too.
    pub installs_new: bool,
    /// Those whose installations never ended, by MAC.
    pub given_up: Vec<String>,
}

/// What is to be said of it. An error is why the records cannot be read.
pub fn judge(standing: &Result<Standing, String>) -> Check {
    let standing = match standing {
        Ok(standing) => standing,
        Err(reason) => {
            return Check::skip(NAME, format!("skipped: {reason}"), "run it by sudo");
        }
    };
    let Standing {
        policy,
        known,
        to_install,
        installs_new,
        given_up,
    } = standing;
    let new = match installs_new {
        true => "a new one would be, too",
        false => "a new one would not be",
    };
    let text =
        format!("{policy}: {to_install} of {known} known boxes would be installed now; {new}");
    if !given_up.is_empty() {
        let mut named = given_up
            .iter()
            .take(NAMED)
            .map(String::as_str)
            .collect::<Vec<_>>();
        if given_up.len() > NAMED {
            named.push("…");
        }
        return Check::warn(
            NAME,
            format!("{text}; given up: {}", named.join(", ")),
            "journalctl -x GB10_MAC=MAC says why; then gb10-provision-api arm MAC",
        );
    }
    match (to_install, installs_new) {
        (0, false) => Check::warn(
            NAME,
            text,
            "gb10-provision-api arm MAC, for a box that is to be installed; or another INSTALL",
        ),
        _ => Check::ok(NAME, text),
    }
}
