//! `gb10-provision-api boot`: what boxes boot from the network.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::service::settings::Settings;
use crate::site::ImageName;

/// What there is to do with the boot folder.
#[derive(Debug, Clone, Subcommand)]
pub enum BootAction {
    /// Stage an image: the installer's ISO and, for shim and GRUB, Ubuntu's netboot archive
    Stage {
        /// The ISO of the installer for arm64, and the netboot archive (tar.gz)
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Name of the image; without it, one made of the name of the ISO
        #[arg(long)]
        name: Option<ImageName>,
    },
    /// List the staged images
    List {
        /// Print one JSON object, for machines
        #[arg(long)]
        json: bool,
    },
    /// Remove a staged image that no box is installed from
    Remove {
        /// The name of the image
        name: ImageName,
    },
}

/// Does what the command line says.
pub(super) fn run(_settings: &Settings, _action: BootAction) -> ExitCode {
    ExitCode::FAILURE
}
