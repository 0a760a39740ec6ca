//! Passwords, as the crypt hashes that installers take.

use std::fmt;
use std::str::FromStr;

use serde_with::DeserializeFromStr;

/// The default password is `gb10-change-me`; the first login must choose another.
pub const DEFAULT_FALLBACK_PASSWORD_HASH: &str = "$6$gb10provision$Sz/kEtX7K2v4zDdGnx81PJjXgqCwgaR1U1xtjZj8C0Pqn1N4itMko2g5tB8qvfXj05fwhXGvRApe3lMY49ug1/";

/// A password's crypt hash. It is never shown.
#[derive(Clone, DeserializeFromStr)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// The hash, for a template.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

impl FromStr for PasswordHash {
    type Err = &'static str;

    /// Takes `$id$…` in crypt(5)'s alphabet, which is safe between quotes in YAML.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"$./=,-+_".contains(&byte);
        if text.starts_with('$') && text.matches('$').count() >= 3 && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err("not a crypt hash: expected $id$salt$hash, as `openssl passwd -6` prints it")
        }
    }
}
