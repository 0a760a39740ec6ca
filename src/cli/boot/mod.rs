//! `gb10-provision-api boot`: what boxes boot from the network.

mod dnsmasq;
mod grub;
mod list;
mod remove;
mod stage;

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::dnsmasq::{CONFIGURATION, Interface};
use crate::files::layout;
use crate::images::Sum;
use crate::service::settings::Settings;
use crate::site::ImageName;

/// What there is to do with the boot folder.
#[derive(Debug, Clone, Subcommand)]
pub enum BootAction {
    /// Stage an image: the installer's ISO and, for shim and GRUB, Ubuntu's netboot archive
    Stage {
        /// The ISO of the installer for arm64, and the netboot archive (tar.gz), in any order
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Name of the image; without it, one made of the name of the ISO
        #[arg(long)]
        name: Option<ImageName>,
        /// SHA-256 sum that a FILE must have; for several FILEs, once for each, in their order
        #[arg(long, value_name = "HEX")]
        sha256: Vec<Sum>,
    },
    /// Print the configuration of dnsmasq that fits this host: DHCP and TFTP on the LAN
    Dnsmasq {
        /// The interface on the LAN
        #[arg(long, value_name = "INTERFACE")]
        interface: Interface,
        /// Leave the addresses to another DHCP server, and only add what to boot
        #[arg(long)]
        proxy: bool,
        /// Write it to FILE instead, in one step
        #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = CONFIGURATION)]
        write: Option<PathBuf>,
        /// Where boxes reach the service; without it, as gb10-provision-api.socket says, or else
        /// 10.88.0.1:8088
        #[arg(long, value_name = "ADDRESS:PORT")]
        reached_at: Option<SocketAddrV4>,
    },
    /// Print GRUB's configuration, as the service gives it to boxes
    Grub {
        /// Write it to {DATA_PATH}/boot/grub/grub.cfg, where TFTP serves it
        #[arg(long)]
        write: bool,
        /// Where boxes reach the service; without it, as gb10-provision-api.socket says, or else
        /// 10.88.0.1:8088
        #[arg(long, value_name = "ADDRESS:PORT")]
        reached_at: Option<SocketAddrV4>,
    },
    /// List the staged images, and who is installed from them
    List {
        /// Print one JSON object, for machines
        #[arg(long)]
        json: bool,
    },
    /// Remove a staged image that no box is installed from
    Remove {
        /// The name of the image
        name: ImageName,
        /// Remove it though site.json or devices.json name it, or every box gets it
        #[arg(long)]
        force: bool,
    },
}

pub(in crate::cli) use dnsmasq::planned;

/// Does what the command line says.
pub(super) fn run(settings: &Settings, action: BootAction) -> ExitCode {
    let boot = layout::boot(&settings.data_path);
    match action {
        BootAction::Stage {
            files,
            name,
            sha256,
        } => stage::run(&boot, files, name, sha256),
        BootAction::Dnsmasq {
            interface,
            proxy,
            write,
            reached_at,
        } => dnsmasq::run(settings, &interface, proxy, write.as_deref(), reached_at),
        BootAction::Grub { write, reached_at } => grub::run(settings, reached_at, write),
        BootAction::List { json } => list::run(settings, &boot, json),
        BootAction::Remove { name, force } => remove::run(settings, &boot, &name, force),
    }
}
