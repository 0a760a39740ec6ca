//! The stages on a device's way from PXE to ready, and the phases of each.

use std::fmt;
use std::str::FromStr;

use serde_with::{DeserializeFromStr, SerializeDisplay};

use crate::excerpt::excerpt;

/// An enum whose values have one name each, in JSON, in the journal and in errors.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident, $what:literal: $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, SerializeDisplay, DeserializeFromStr)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every name, in order.
            pub const NAMES: &'static [&'static str] = &[$($text,)+];

            /// The name in JSON and in the journal.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;
            fn from_str(text: &str) -> Result<Self, UnknownName> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(UnknownName::new($what, text, Self::NAMES)),
                }
            }
        }
    };
}
pub(super) use named;

/// A name that is none of those which are allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {got}: expected one of {}", allowed.join(", "))]
pub struct UnknownName {
    what: &'static str,
    got: String,
    allowed: &'static [&'static str],
}

impl UnknownName {
    /// Of one of the enums that [`named`] makes.
    pub(super) fn new(what: &'static str, got: &str, allowed: &'static [&'static str]) -> Self {
        let got = excerpt(got);
        Self { what, got, allowed }
    }
}

named! {
    /// Where on its way from PXE to ready a device is.
    Stage, "stage":
    /// The installer runs.
    Install = "install",
    /// The installed system boots for the first time.
    FirstBoot = "first_boot",
    /// Links and addresses.
    Network = "network",
    /// Disks and file systems.
    Storage = "storage",
    /// The GPU driver.
    Driver = "driver",
    /// The container runtime and its GPU hook.
    ContainerRuntime = "container_runtime",
    /// The site's own payloads.
    Payload = "payload",
    /// The final checks.
    Verify = "verify",
    /// The device is in service.
    Ready = "ready",
}

named! {
    /// How a stage goes.
    Phase, "phase":
    /// The stage began.
    Start = "start",
    /// The stage goes on.
    Progress = "progress",
    /// The stage ended well.
    Done = "done",
    /// The stage ended badly.
    Fail = "fail",
}
