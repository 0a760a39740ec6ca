//! In which of cloud-init's formats a user-data or vendor-data file is.
//!
//! As cloud-init's `handlers/__init__.py` and `user_data.py` tell them apart: by how the text
//! begins, white space and case aside. What begins in none of these ways is ignored there, with
//! a warning that nobody sees.

use super::jinja::is_space;

/// A format that cloud-init does something with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML with settings, autoinstall among them.
    CloudConfig,
    /// A template that cloud-init renders on the device.
    Jinja,
    /// A YAML list of files in these formats.
    Archive,
    /// A JSON patch for the cloud-config of other parts.
    JsonPatch,
    /// A message whose parts are in these formats.
    Mime,
    /// A script that is run at the end of the first boot.
    Script,
    /// URLs to fetch more from.
    Include,
    /// The same, fetched once for each instance.
    IncludeOnce,
    /// A script that is run early at each boot.
    Boothook,
    /// Python that handles further formats.
    PartHandler,
}

/// How each begins. Where one is the beginning of another, the longer one comes first.
const BEGINNINGS: [(&str, Format); 9] = [
    ("#cloud-config-archive", Format::Archive),
    ("#cloud-config-jsonp", Format::JsonPatch),
    ("#cloud-config", Format::CloudConfig),
    ("## template: jinja", Format::Jinja),
    ("#cloud-boothook", Format::Boothook),
    ("#part-handler", Format::PartHandler),
    ("#include-once", Format::IncludeOnce),
    ("#include", Format::Include),
    ("#!", Format::Script),
];

/// The header of a MIME message, …
const MIME_HEADER: &str = "mime-version:";
/// … and how far from the beginning it is looked for, in bytes.
const MIME_HEAD: usize = 4096;

impl Format {
    /// The format of a text; none where cloud-init would ignore it.
    pub fn of(text: &str) -> Option<Self> {
        let body = text.trim_start_matches(is_space);
        let begins = |beginning: &str| {
            let start = body.as_bytes().get(..beginning.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(beginning.as_bytes()))
        };
        let known = BEGINNINGS.into_iter().find(|(text, _)| begins(text));
        known
            .map(|(_, format)| format)
            .or_else(|| is_mime(text).then_some(Self::Mime))
    }

    /// What to call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CloudConfig => "#cloud-config",
            Self::Jinja => "## template: jinja",
            Self::Archive => "#cloud-config-archive",
            Self::JsonPatch => "#cloud-config-jsonp",
            Self::Mime => "MIME multi-part",
            Self::Script => "a script (#!)",
            Self::Include => "#include",
            Self::IncludeOnce => "#include-once",
            Self::Boothook => "#cloud-boothook",
            Self::PartHandler => "#part-handler",
        }
    }

    /// What of it only the device will find out; none where all of it can be tried here.
    pub const fn untried(self) -> Option<&'static str> {
        match self {
            Self::CloudConfig => None,
            Self::Jinja => Some("what cloud-init makes of it on the box"),
            Self::Archive => Some("the files in it"),
            Self::JsonPatch => Some("the patch, and what it is applied to"),
            Self::Mime => Some("its parts"),
            Self::Script | Self::Boothook => Some("what it does"),
            Self::Include | Self::IncludeOnce => Some("what the URLs lead to"),
            Self::PartHandler => Some("the Python in it"),
        }
    }
}

fn is_mime(text: &str) -> bool {
    let head = &text.as_bytes()[..text.len().min(MIME_HEAD)];
    head.windows(MIME_HEADER.len())
        .any(|window| window.eq_ignore_ascii_case(MIME_HEADER.as_bytes()))
}
