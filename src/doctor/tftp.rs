//! Does TFTP give boxes what lies in the boot folder? Read as firmware and GRUB read it (RFC 1350).

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use super::Check;
use crate::dnsmasq::SHIM;
use crate::excerpt::excerpt;
use crate::files::layout::GRUB_CFG;

const NAME: &str = "tftp";

/// What a box reads by TFTP before it can ask the service anything.
const PATHS: [&str; 3] = [SHIM, "grubaa64.efi", GRUB_CFG];

/// The port.
const PORT: u16 = 69;

/// Longest that one file may take, and that one answer may.
const TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of a block, where nothing else is agreed on.
const BLOCK: usize = 512;

/// Largest file that is read, in bytes.
const LARGEST: usize = 16 << 20;

/// Kinds of packets.
const READ: u8 = 1;
const DATA: u8 = 3;
const ACK: u8 = 4;
const ERROR: u8 = 5;

/// How reading a file went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is what lies in the boot folder.
    Same,
    /// It is something else.
    Differs,
    /// It is not in the boot folder, whatever TFTP says.
    NotStaged,
    /// The server refused it, with these words.
    Refused(String),
    /// No answer, or a broken one.
    Failed(String),
}

/// Reads each of the files.
pub fn gather(boot: &Path, host: Ipv4Addr) -> Vec<(&'static str, Outcome)> {
    let mut outcomes = Vec::new();
    for path in PATHS {
        let outcome = match std::fs::read(boot.join(path)) {
            Ok(staged) => match read(host, path) {
                Ok(read) if read == staged => Outcome::Same,
                Ok(_) => Outcome::Differs,
                Err(ReadError::Refused(words)) => Outcome::Refused(words),
                Err(ReadError::Io(error)) => Outcome::Failed(error.to_string()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Outcome::NotStaged,
            Err(error) => Outcome::Failed(format!("the file cannot be read here: {error}")),
        };
        outcomes.push((path, outcome));
        // Where nobody answers, nobody answers for the others either.
        if matches!(outcomes.last(), Some((_, Outcome::Failed(_)))) {
            break;
        }
    }
    outcomes
}

/// What that means.
pub fn judge(outcomes: &[(&'static str, Outcome)]) -> Check {
    let fault = outcomes
        .iter()
        .find(|(_, outcome)| *outcome != Outcome::Same);
    let Some((path, outcome)) = fault else {
        let paths: Vec<_> = outcomes.iter().map(|(path, _)| *path).collect();
        return Check::ok(
            NAME,
            format!("{} are read as they are staged", paths.join(", ")),
        );
    };
    match outcome {
        Outcome::NotStaged => Check::fail(
            NAME,
            format!("{path} is not in the boot folder"),
            "gb10-provision-api boot stage, with the installer's ISO and netboot archive",
        ),
        Outcome::Refused(words) => Check::fail(
            NAME,
            format!("{path} is refused: {}", excerpt(words)),
            "the TFTP root must be the boot folder, whose files everybody may read: \
             boot dnsmasq --write, then systemctl restart dnsmasq",
        ),
        Outcome::Failed(reason) => Check::fail(
            NAME,
            format!("{path} cannot be read: {reason}"),
            "systemctl restart dnsmasq; journalctl -u dnsmasq says what stops it",
        ),
        Outcome::Differs | Outcome::Same => Check::fail(
            NAME,
            format!("{path} is another file than the one in the boot folder"),
            "the TFTP root must be the boot folder: boot dnsmasq --write, then systemctl restart dnsmasq",
        ),
    }
}

enum ReadError {
    Refused(String),
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a whole file.
fn read(host: Ipv4Addr, path: &str) -> Result<Vec<u8>, ReadError> {
    let end = Instant::now() + TIMEOUT;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let mut question = vec![0, READ];
    for text in [path, "octet"] {
        question.extend(text.as_bytes());
        question.push(0);
    }
    socket.send_to(&question, SocketAddrV4::new(host, PORT))?;
    let (mut content, mut expected) = (Vec::new(), 1_u16);
    let mut packet = [0; BLOCK + 4];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        socket.set_read_timeout(Some(left.min(ANSWER_TIMEOUT)))?;
        let (length, from) = match socket.recv_from(&mut packet) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::other("no answer").into());
            }
            Err(error) => return Err(error.into()),
        };
        match &packet[..length] {
            [0, DATA, high, low, data @ ..] => {
                let number = u16::from_be_bytes([*high, *low]);
                socket.send_to(&[0, ACK, *high, *low], from)?;
                // One that was sent again is acknowledged again.
                if number != expected {
                    continue;
                }
                content.extend_from_slice(data);
                expected = expected.wrapping_add(1);
                if data.len() < BLOCK {
                    return Ok(content);
                }
                if content.len() > LARGEST {
                    return Err(io::Error::other("a file without an end").into());
                }
            }
            [0, ERROR, _, _, words @ ..] => {
                let words = String::from_utf8_lossy(words);
                return Err(ReadError::Refused(words.trim_end_matches('\0').to_owned()));
            }
            _ => return Err(io::Error::other("an answer that is no TFTP").into()),
        }
    }
}
