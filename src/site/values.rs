//! `site.json`: the operator's values for templates.

use std::collections::BTreeMap;
use std::str::FromStr;

use minijinja::Value;
use minijinja::value::ValueKind;
use serde::Deserialize;

use super::booting::{ImageName, KernelArgs};
use super::names::{KernelFlavor, UserName};
use super::password::PasswordHash;
use super::staged_json::{Parse, typed};
use super::time_zone::TimeZoneName;

/// The site's values for templates: an object, whose known fields have the types of
/// [`KnownFields`], and whose others are the site's own.
#[derive(Debug)]
pub struct Site(pub Value);

impl Default for Site {
    fn default() -> Self {
        Self(Value::from(BTreeMap::<String, Value>::new()))
    }
}

/// What the default template and netboot take from `site.json`. Only the types matter here: a wrong one, or a
/// value that the installer refuses, is found when the file is read, with its line, instead of when
/// a box boots.
#[derive(Deserialize)]
#[allow(dead_code)]
struct KnownFields {
    username: Option<UserName>,
    password_hash: Option<PasswordHash>,
    authorized_keys: Option<Vec<String>>,
    timezone: Option<TimeZoneName>,
    locale: Option<String>,
    keyboard: Option<String>,
    apt_mirror: Option<String>,
    proxy: Option<String>,
    packages: Option<Vec<String>>,
    kernel: Option<Kernel>,
    image: Option<ImageName>,
    kernel_args: Option<KernelArgs>,
}

/// Which kernel is installed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Kernel {
    flavor: Option<KernelFlavor>,
}

impl Site {
    /// The image that boxes are installed from, where one is named.
    pub fn image(&self) -> Option<ImageName> {
        self.field("image")
    }

    /// Arguments for the kernel of the installer.
    pub fn kernel_args(&self) -> Option<KernelArgs> {
        self.field("kernel_args")
    }

    /// A field that was found sound when the file was read.
    fn field<T: FromStr>(&self, name: &str) -> Option<T> {
        self.0.get_attr(name).ok()?.as_str()?.parse().ok()
    }

    /// Whether packages come from a mirror, for which the installer wants a router.
    pub fn has_mirror(&self) -> bool {
        self.0
            .get_attr("apt_mirror")
            .is_ok_and(|value| value.is_true())
    }

    /// What has to be so on the LAN for these values, which no look at a file can tell. Without
    /// `site.json` there is none.
    pub fn advice(&self) -> Vec<&'static str> {
        let has = |field: &str| self.0.get_attr(field).is_ok_and(|value| value.is_true());
        let mut advice = Vec::new();
        match (has("apt_mirror"), has("packages")) {
            _ if self.0.len() == Some(0) => return advice,
            (true, _) => advice.push(
                "apt_mirror: the DHCP server must name a router, such as this host, or the installer finds no network and leaves the mirror out",
            ),
            (false, true) => advice.push(
                "packages without apt_mirror: only what is on the installer's medium can be had",
            ),
            (false, false) => advice.push(
                "no apt_mirror: the DHCP server should name no router, or the installer looks for mirrors on the Internet",
            ),
        }
        if has("packages") {
            advice.push(
                "packages: one that cannot be had fails the whole installation, check that the mirror has them all",
            );
        }
        advice
    }
}

impl Parse for Site {
    fn parse(text: &str) -> Result<Self, (Option<usize>, String)> {
        let values: Value = typed(text)?;
        // First, for a struct is read from an array, too.
        if values.kind() != ValueKind::Map {
            let reason = format!("{}: expected an object", values.kind());
            return Err((Some(1), reason));
        }
        let _: KnownFields = typed(text)?;
        Ok(Self(values))
    }
}
