//! The keys of an autoinstall, and what belongs to each.
//!
//! Written after the reference manual of subiquity, Ubuntu's installer, as of August 2026 (commit
//! 44e42fc), which is the one of Ubuntu 26.04; its code tells where a value that the manual does
//! not speak of ends an installation. A key that came after 22.04 counts as known: whether an older
//! installer is refreshed cannot be told from here. What netplan, curtin and cloud-init read is
//! left to them.

use super::shape::Shape::{
    Either, Exactly, Flag, Integer, KeyOf, Like, List, MappingOf, Open, OrNull, Text, Words,
};
use super::shape::{Choice, Mapping, Others, Shape};

/// An autoinstall.
pub(super) static AUTOINSTALL_SHAPE: Shape = Shape::Mapping(&AUTOINSTALL);

/// Its sections. Where nothing stands behind a key, some count as not there, and some end the
/// installation.
pub(super) static AUTOINSTALL: Mapping = Mapping::of(
    &[
        ("version", Exactly(1)),
        ("interactive-sections", List(&KeyOf(&AUTOINSTALL))),
        ("early-commands", COMMANDS),
        ("locale", Text),
        ("refresh-installer", OrNull(&Shape::Mapping(&REFRESH))),
        ("keyboard", OrNull(&Shape::Mapping(&KEYBOARD))),
        ("source", OrNull(&Shape::Mapping(&SOURCE))),
        ("network", OrNull(&Shape::Mapping(&NETWORK))),
        ("proxy", OrNull(&Text)),
        ("apt", OrNull(&Shape::Mapping(&APT))),
        ("storage", OrNull(&Shape::Mapping(&STORAGE))),
        ("identity", OrNull(&Shape::Mapping(&IDENTITY))),
        (
            "active-directory",
            OrNull(&Shape::Mapping(&ACTIVE_DIRECTORY)),
        ),
        ("ubuntu-pro", OrNull(&Shape::Mapping(&UBUNTU_PRO))),
        // What ubuntu-pro was called.
        ("ubuntu-advantage", OrNull(&Shape::Mapping(&UBUNTU_PRO))),
        ("ssh", OrNull(&Shape::Mapping(&SSH))),
        ("codecs", OrNull(&Shape::Mapping(&INSTALL))),
        ("drivers", OrNull(&Shape::Mapping(&INSTALL))),
        ("oem", Shape::Mapping(&OEM)),
        ("snaps", List(&Shape::Mapping(&SNAP))),
        ("debconf-selections", OrNull(&Text)),
        ("packages", List(&Text)),
        ("kernel", OrNull(&Shape::Mapping(&KERNEL))),
        ("kernel-crash-dumps", OrNull(&Shape::Mapping(&CRASH_DUMPS))),
        ("timezone", OrNull(&Text)),
        ("updates", Words(&["security", "all"])),
        ("shutdown", OrNull(&Words(&["reboot", "poweroff"]))),
        ("late-commands", COMMANDS),
        ("error-commands", COMMANDS),
        ("reporting", OrNull(&MappingOf(&Shape::Mapping(&REPORTER)))),
        ("user-data", OrNull(&ANY_MAPPING)),
        ("zdevs", List(&Shape::Mapping(&ZDEV))),
    ],
    Others::Ignored,
)
.requires(&["version"]);

/// The sections whose names are keys of cloud-config, too, and may stand at its top.
pub(super) const OF_CLOUD_CONFIG_TOO: &[&str] = &[
    "apt",
    "drivers",
    "keyboard",
    "locale",
    "network",
    "packages",
    "reporting",
    "ssh",
    "timezone",
    "updates",
];

/// A command for the shell, or a program with its arguments.
const COMMANDS: Shape = List(&Either(&[Text, List(&Text)]));

const ANY_MAPPING: Shape = MappingOf(&Open);

static REFRESH: Mapping = Mapping::of(&[("update", Flag), ("channel", Text)], Others::Refused);

static KEYBOARD: Mapping = Mapping::of(
    &[
        ("layout", Text),
        ("variant", Text),
        ("toggle", OrNull(&Text)),
    ],
    Others::Refused,
)
.requires(&["layout"]);

static SOURCE: Mapping = Mapping::of(&[("search_drivers", Flag), ("id", Text)], Others::Ignored);

/// Netplan's. The first installers wanted a second `network` around it, which is still taken.
static NETWORK: Mapping = Mapping::of(
    &[
        ("version", Exactly(2)),
        ("network", Shape::Mapping(&NETPLAN)),
        ("ethernets", ANY_MAPPING),
        ("wifis", ANY_MAPPING),
        ("bridges", ANY_MAPPING),
        ("bonds", ANY_MAPPING),
        ("tunnels", ANY_MAPPING),
        ("vlans", ANY_MAPPING),
    ],
    Others::Fine,
)
.chooses(Choice::One(&["version", "network"]));

static NETPLAN: Mapping = Mapping::of(
    &[
        ("version", Exactly(2)),
        ("ethernets", ANY_MAPPING),
        ("wifis", ANY_MAPPING),
        ("bridges", ANY_MAPPING),
        ("bonds", ANY_MAPPING),
        ("tunnels", ANY_MAPPING),
        ("vlans", ANY_MAPPING),
    ],
    Others::Fine,
)
.requires(&["version"]);

/// The installer's own keys, and those that go on to curtin as they are.
static APT: Mapping = Mapping::of(
    &[
        ("preserve_sources_list", Flag),
        ("primary", List(&ANY_MAPPING)),
        ("mirror-selection", Shape::Mapping(&MIRROR_SELECTION)),
        (
            "fallback",
            Words(&["abort", "offline-install", "continue-anyway"]),
        ),
        ("geoip", Flag),
        ("sources", ANY_MAPPING),
        (
            "disable_components",
            List(&Words(&[
                "universe",
                "multiverse",
                "restricted",
                "contrib",
                "non-free",
            ])),
        ),
        ("preferences", List(&Shape::Mapping(&PREFERENCE))),
        ("security", Open),
        ("disable_suites", Open),
        ("sources_list", Open),
        ("conf", Open),
        ("proxy", Open),
        ("http_proxy", Open),
        ("https_proxy", Open),
        ("ftp_proxy", Open),
        ("debconf_selections", Open),
        ("add_apt_repo_match", Open),
    ],
    Others::Likely,
)
.chooses(Choice::AtMostOne(&["primary", "mirror-selection"]));

static MIRROR_SELECTION: Mapping = Mapping::of(
    &[(
        "primary",
        List(&Either(&[
            Words(&["country-mirror"]),
            Shape::Mapping(&MIRROR),
        ])),
    )],
    Others::Ignored,
);

static MIRROR: Mapping =
    Mapping::of(&[("uri", Text), ("arches", List(&Text))], Others::Likely).requires(&["uri"]);

static PREFERENCE: Mapping = Mapping::of(
    &[("package", Text), ("pin", Text), ("pin-priority", Integer)],
    Others::Likely,
)
.requires(&["package", "pin", "pin-priority"]);

static STORAGE: Mapping = Mapping::of(
    &[
        ("layout", Shape::Mapping(&LAYOUT)),
        ("config", List(&Shape::Mapping(&ACTION))),
        ("swap", OrNull(&ANY_MAPPING)),
        ("grub", OrNull(&ANY_MAPPING)),
        // Curtin's, copied often, and of no effect.
        ("version", Open),
    ],
    Others::Ignored,
)
.chooses(Choice::AtMostOne(&["layout", "config"]));

static LAYOUT: Mapping = Mapping::of(
    &[
        // Any other name is silently taken for direct.
        ("name", Words(&["lvm", "direct", "zfs", "hybrid", "dd"])),
        ("match", MATCH),
        ("mode", Words(&["reformat_disk", "use_gap"])),
        ("ptable", OrNull(&Text)),
        ("password", OrNull(&Text)),
        (
            "recovery-key",
            Either(&[Flag, Shape::Mapping(&RECOVERY_KEY)]),
        ),
        ("sizing-policy", OrNull(&Words(&["scaled", "all"]))),
        ("encrypted", OrNull(&Flag)),
        ("reset-partition", OrNull(&Either(&[Flag, Integer, Text]))),
        ("reset-partition-only", OrNull(&Flag)),
    ],
    Others::Ignored,
)
.requires(&["name"]);

static RECOVERY_KEY: Mapping = Mapping::of(
    &[
        ("backup-location", OrNull(&Text)),
        ("live-location", OrNull(&Text)),
    ],
    Others::Ignored,
);

/// One description of a disk, or several, of which the first that fits one counts.
const MATCH: Shape = Either(&[Shape::Mapping(&DISK), List(&Shape::Mapping(&DISK))]);

/// With a key that is not known here, more disks fit than were meant.
static DISK: Mapping = Mapping::of(
    &[
        ("model", Text),
        ("vendor", Text),
        ("path", Text),
        ("id_path", Text),
        ("devpath", Text),
        ("serial", Text),
        ("ssd", Flag),
        ("size", Words(&["largest", "smallest"])),
        ("install-media", Flag),
    ],
    Others::Ignored,
);

/// Curtin's, but for the match.
static ACTION: Mapping = Mapping::of(
    &[("type", Text), ("id", Text), ("match", MATCH)],
    Others::Fine,
)
.requires(&["type", "id"]);

static IDENTITY: Mapping = Mapping::of(
    &[
        ("realname", Text),
        ("username", Text),
        ("hostname", Text),
        ("password", Text),
        ("groups", Either(&[List(&Text), Shape::Mapping(&GROUPS)])),
    ],
    Others::Refused,
)
.requires(&["username", "hostname", "password"]);

static GROUPS: Mapping = Mapping::of(
    &[("override", List(&Text)), ("append", List(&Text))],
    Others::Ignored,
)
.chooses(Choice::One(&["override", "append"]));

static ACTIVE_DIRECTORY: Mapping = Mapping::of(
    &[("admin-name", Text), ("domain-name", Text)],
    Others::Refused,
);

static UBUNTU_PRO: Mapping = Mapping::of(
    &[("token", Like(is_token, "a token of Ubuntu Pro"))],
    Others::Ignored,
);

/// Whether a text may be a contract token: a C, and 23 to 29 digits of base 58.
fn is_token(text: &str) -> bool {
    let is_digit = |c: char| c.is_ascii_alphanumeric() && !"0OIl".contains(c);
    text.starts_with('C') && (24..=30).contains(&text.len()) && text.chars().all(is_digit)
}

static SSH: Mapping = Mapping::of(
    &[
        ("install-server", Flag),
        ("authorized-keys", List(&Text)),
        ("allow-pw", Flag),
    ],
    Others::Ignored,
);

static INSTALL: Mapping = Mapping::of(&[("install", Flag)], Others::Ignored);

static OEM: Mapping = Mapping::of(
    &[("install", Either(&[Flag, Words(&["auto"])]))],
    Others::Ignored,
)
.requires(&["install"]);

static SNAP: Mapping = Mapping::of(
    &[("name", Text), ("channel", Text), ("classic", Flag)],
    Others::Refused,
)
.requires(&["name"]);

static KERNEL: Mapping = Mapping::of(&[("package", Text), ("flavor", Text)], Others::Ignored)
    .chooses(Choice::One(&["package", "flavor"]));

static CRASH_DUMPS: Mapping =
    Mapping::of(&[("enabled", OrNull(&Flag))], Others::Refused).requires(&["enabled"]);

/// Curtin's. Its retries are not a number of attempts but how long to sleep before each: a number
/// loses every event.
static REPORTER: Mapping = Mapping::of(
    &[
        ("type", Text),
        ("endpoint", Text),
        ("destination", Text),
        ("level", Text),
        ("consumer_key", Open),
        ("consumer_secret", Open),
        ("token_key", Open),
        ("token_secret", Open),
        ("timeout", Open),
        ("retries", OrNull(&List(&Open))),
    ],
    Others::Likely,
)
.requires(&["type"]);

static ZDEV: Mapping = Mapping::of(&[("id", Text), ("enabled", Flag)], Others::Ignored);
