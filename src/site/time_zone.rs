//! Time zones that exist.

use std::str::FromStr;

use jiff::tz::{TimeZoneDatabase, db};
use serde_with::DeserializeFromStr;

use crate::excerpt::excerpt;

/// What subiquity takes besides: the time zone of the country that it finds out, or UTC.
const BY_COUNTRY: &str = "geoip";

/// The name of a time zone of the IANA database, as `timedatectl list-timezones` has them. An empty
/// one is none.
#[derive(Debug, DeserializeFromStr)]
pub struct TimeZoneName;

impl FromStr for TimeZoneName {
    type Err = String;

    /// The database is the one that is compiled in, since a host may have none; that of the host has
    /// what is newer, and names that are no places. The installer tells capitals from small letters.
    fn from_str(text: &str) -> Result<Self, String> {
        let has = |database: &TimeZoneDatabase| {
            let zone = database.get(text).ok();
            zone.is_some_and(|zone| !zone.is_unknown() && zone.iana_name() == Some(text))
        };
        let is_special = matches!(text, "" | BY_COUNTRY);
        let is_known = has(&TimeZoneDatabase::bundled()) || text.contains('/') && has(db());
        match is_special || is_known {
            true => Ok(Self),
            false => Err(format!(
                "there is no time zone {}: expected one such as Europe/Berlin",
                excerpt(text)
            )),
        }
    }
}
