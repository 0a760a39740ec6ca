//! What stands between this host and the first ready box.
//!
//! Each part has facts, a thin function that gathers them in bounded time, and a pure judgement of
//! them. [`examine`] goes through all parts in the order in which a box meets them.

pub mod configuration;
pub mod dhcp;
pub mod grub;
pub mod host;
mod http;
pub mod image;
pub mod initrd;
pub mod link;
mod packet;
pub mod policy;
pub mod probe;
pub mod service;
pub mod sockets;
pub mod tftp;

use std::net::SocketAddrV4;
use std::path::PathBuf;

use serde::Serialize;

pub use packet::{Packet, Request};

use crate::dnsmasq::Interface;
use crate::files::layout;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It could not be looked at; the text says what that needs.
    Skip,
    /// Boxes may get ready all the same.
    Warn,
    /// No box, or not every box, gets ready.
    Fail,
}

/// One line of what the doctor says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at; the same in every version.
    pub name: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub text: String,
    /// What to do; none where nothing is to be done.
    pub remedy: Option<String>,
}

impl Check {
    /// All is well.
    pub fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Ok,
            text: text.into(),
            remedy: None,
        }
    }

    /// It could not be looked at.
    pub fn skip(name: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::found(name, Verdict::Skip, text, remedy)
    }

    /// Something is odd.
    pub fn warn(name: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::found(name, Verdict::Warn, text, remedy)
    }

    /// Something is wrong.
    pub fn fail(name: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::found(name, Verdict::Fail, text, remedy)
    }

    fn found(
        name: &'static str,
        verdict: Verdict,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            remedy: Some(remedy.into()),
            verdict,
            ..Self::ok(name, text)
        }
    }
}

/// What is examined.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The data folder.
    pub data_path: PathBuf,
    /// Where boxes reach the service.
    pub reached_at: SocketAddrV4,
    /// The interface on the LAN, where the operator named it.
    pub interface: Option<Interface>,
    /// The configuration of dnsmasq.
    pub configuration: PathBuf,
    /// What that should be, once the interface is known, for proxy mode or not.
    pub planned: configuration::Planned,
    /// Whether large files are not hashed.
    pub is_quick: bool,
}

impl Subject {
    fn boot(&self) -> PathBuf {
        layout::boot(&self.data_path)
    }
}

/// Examines the host, and tells each finding as it comes. `progress` is told of the bytes that are
/// hashed, and of how many.
pub fn examine(subject: &Subject, progress: &dyn Fn(u64, u64), tell: &mut dyn FnMut(Check)) {
    let at = subject.reached_at;
    let network = link::gather();
    let mut interface = subject.interface.clone();
    if let Ok(found) = &network {
        interface = interface.or_else(|| link::interface_of(found, *at.ip()));
    }
    let name = interface.as_ref().map(Interface::as_str);
    link::judge(network.as_deref().map_err(String::as_str), *at.ip(), name)
        .into_iter()
        .for_each(&mut *tell);

    let open = sockets::gather();
    tell(service::judge(at, &service::gather(at), &open));

    let installed = configuration::gather(subject, interface.as_ref());
    tell(sockets::judge(at, installed.mode(), &open));
    tell(configuration::judge(&installed));
    let heard = match &interface {
        Some(interface) => dhcp::gather(interface, at, installed.mode()),
        None => dhcp::Heard::Nowhere,
    };
    dhcp::judge(at, installed.mode(), &heard)
        .into_iter()
        .for_each(&mut *tell);
    tell(tftp::judge(&tftp::gather(&subject.boot(), *at.ip())));

    tell(grub::judge(&grub::gather(&subject.boot(), at)));
    let images = image::gather(&subject.data_path, subject.is_quick, progress);
    image::judge(&images).into_iter().for_each(&mut *tell);

    tell(host::judge_clock(&host::clock()));
    tell(host::judge_space(
        &subject.data_path,
        &host::space(&subject.data_path),
    ));
}
