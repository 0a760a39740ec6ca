//! The hash of the fallback's password as a systemd credential, so that it need not stand among the
//! settings. See systemd.exec(5), "Credentials".

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::installed::UNIT;
use crate::site::password::PasswordHash;

/// The name of the credential, in the unit as well.
pub const NAME: &str = "gb10-provision-api.fallback-password-hash";

/// The setting that it stands in for.
pub const SETTING: &str = "FALLBACK_PASSWORD_HASH";

/// Tells a service where its credentials are.
const FOLDER: &str = "CREDENTIALS_DIRECTORY";

/// Where systemd has the credentials of services that run, each in a folder of the unit's name.
const OF_UNITS: &str = "/run/credentials";

/// Where systemd looks for a credential that is not encrypted, in its order.
const STORES: [&str; 5] = [
    "/run/credentials/@system",
    "/etc/credstore",
    "/run/credstore",
    "/usr/local/lib/credstore",
    "/usr/lib/credstore",
];

/// Longest credential that is taken, in bytes: a hash is far shorter.
const MAX_LENGTH: u64 = 4096;

/// The credential of this process, where systemd passed one. The reason why it is not fit has
/// nothing of it.
pub fn own() -> Result<Option<PasswordHash>, String> {
    let Some(folder) = env::var_os(FOLDER) else {
        return Ok(None);
    };
    let text = read(Path::new(&folder)).map_err(|error| format!("{NAME}: {error}"))?;
    let hash = text.map(|text| text.parse()).transpose();
    hash.map_err(|reason| format!("{NAME}: {reason}"))
}

/// The credential that the installed service has, or would have once it runs. One that is encrypted
/// is known only while it runs.
pub fn of_service() -> io::Result<Option<String>> {
    let of_unit = Path::new(OF_UNITS).join(UNIT);
    if of_unit.exists() {
        return read(&of_unit);
    }
    for store in STORES {
        if let Some(text) = read(Path::new(store))? {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// The text of the credential in a folder, without the end of its line. None where there is no such
/// file, or where there is but an empty line: so the unit says that there is none.
fn read(folder: &Path) -> io::Result<Option<String>> {
    let file = match File::open(folder.join(NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(MAX_LENGTH + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_LENGTH {
        return Err(io::Error::other(format!("longer than {MAX_LENGTH} bytes")));
    }
    let text = text.trim_end();
    Ok((!text.is_empty()).then(|| text.to_owned()))
}
