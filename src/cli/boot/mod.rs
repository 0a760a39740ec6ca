//! `gb10-provision-api boot`: what boxes boot from the network.

mod grub;
mod list;
mod remove;
mod stage;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

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
    /// Print GRUB's configuration, as the service gives it to a box that reaches it there
    Grub {
        /// The address of this host that boxes reach
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "10.88.0.1:8088")]
        reached_at: SocketAddr,
        /// Write it to {DATA_PATH}/boot/grub/grub.cfg, where TFTP serves it
        #[arg(long)]
        write: bool,
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

/// Does what the command line says.
pub(super) fn run(settings: &Settings, action: BootAction) -> ExitCode {
    let boot = layout::boot(&settings.data_path);
    match action {
        BootAction::Stage {
            files,
            name,
            sha256,
        } => stage::run(&boot, files, name, sha256),
        BootAction::Grub { reached_at, write } => grub::run(settings, reached_at, write),
        BootAction::List { json } => list::run(settings, &boot, json),
        BootAction::Remove { name, force } => remove::run(settings, &boot, &name, force),
    }
}
