//! Names that the installer takes. One that it refuses would end an installation, or fail later.

use std::str::FromStr;

use serde_with::DeserializeFromStr;

use crate::excerpt::excerpt;

/// Longest label of a host name (RFC 1123, 2.1, and RFC 1034, 3.1).
const LABEL_BYTES: usize = 63;

/// Longest user name, by subiquity's identity controller and useradd(8).
const USER_NAME_BYTES: usize = 32;

/// Names that subiquity refuses: those of its file `reserved-usernames`, which are the users and
/// groups of Debian's base-passwd, the group `admin` of Ubuntu, and some of common packages; and
/// root. In order.
#[rustfmt::skip]
const RESERVED: [&str; 110] = [
    "Debian-exim", "adm", "admin", "alias", "asterisk", "audio", "backup", "bin", "bind",
    "cdrom", "ceph", "crontab", "cupsys", "daemon", "dcc", "dhcp", "dialout", "dictd", "dip",
    "disk", "dnsmasq", "dovecot", "fax", "fetchmail", "firebird", "floppy", "ftn", "ftp",
    "fuse", "games", "gdm", "gnats", "grsec-proc", "grsec-sock-all", "grsec-sock-clt",
    "grsec-sock-srv", "grsec-tpe", "haclient", "hacluster", "haldaemon", "hplilp", "identd",
    "input", "irc", "jwhois", "klog", "kmem", "kvm", "libvirt-qemu", "list", "lp", "lpadmin",
    "maas", "mail", "man", "messagebus", "mysql", "mythtv", "netdev", "netplan", "news",
    "nobody", "nogroup", "opensrf", "operator", "plugdev", "powerdev", "proxy", "qmail",
    "qmaild", "qmaill", "qmailp", "qmailq", "qmailr", "qmails", "radvd", "render", "root",
    "saned", "sasl", "sbuild", "scanner", "sgx", "shadow", "slocate", "slurm", "src", "ssh",
    "sshd", "ssl-cert", "sslwrap", "staff", "statd", "sudo", "sync", "sys", "syslog",
    "tac-plus", "tape", "telnetd", "tftpd", "tty", "users", "utmp", "uucp", "vchkpw", "video",
    "voice", "vpopmail", "www-data",
];

/// A host name: one label of RFC 1123. It may stand in a URL, a file name and a shell command.
#[derive(Debug, Clone, PartialEq, Eq, DeserializeFromStr)]
pub struct HostName(String);

impl HostName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_label = (1..=LABEL_BYTES).contains(&text.len())
            && text.bytes().all(plain)
            && !text.starts_with('-')
            && !text.ends_with('-');
        match is_label {
            true => Ok(Self(text.to_owned())),
            false => Err(format!(
                "{} is no host name: expected 1 to {LABEL_BYTES} letters, digits and hyphens, none of these at either end",
                excerpt(text)
            )),
        }
    }
}

/// The name of the user that the installer makes.
#[derive(Debug, DeserializeFromStr)]
pub struct UserName;

impl FromStr for UserName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
        };
        let begins_well =
            text.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
        let name = excerpt(text);
        if RESERVED.contains(&text) {
            Err(format!(
                "the user name {name} belongs to the system: the installer refuses it"
            ))
        } else if text.len() > USER_NAME_BYTES || !text.bytes().all(plain) || !begins_well {
            Err(format!(
                "{name} is no user name: expected 1 to {USER_NAME_BYTES} lower-case letters, digits, hyphens and underscores, a letter or underscore first"
            ))
        } else {
            Ok(Self)
        }
    }
}

/// A part of the name of a Debian package, such as a kernel's flavor. An empty one is none.
#[derive(Debug, DeserializeFromStr)]
pub struct KernelFlavor;

impl FromStr for KernelFlavor {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+.-".contains(&byte);
        match text.bytes().all(plain) {
            true => Ok(Self),
            false => Err(format!(
                "{} is no flavor of a kernel: expected one such as generic or hwe",
                excerpt(text)
            )),
        }
    }
}
