//! `gb10-provision-api forget`: a device is taken off the record.

use std::process::ExitCode;

use tracing::info;

use super::{Operator, operator};
use crate::device::boot::Policy;
use crate::device::mac::MacAddr;
use crate::files::layout;
use crate::logs;
use crate::message_id;
use crate::service::journal;
use crate::service::settings::Settings;
use crate::site::SiteFiles;
use crate::store;

/// Forgets the devices, with the logs of their installations, and tells the journal who wanted it.
pub(super) fn run(settings: &Settings, macs: &[MacAddr]) -> ExitCode {
    let folder = layout::state(&settings.data_path);
    let forgotten = match store::forget(folder.clone(), macs) {
        Ok(forgotten) => forgotten,
        Err(error) => {
            eprintln!("{}: nothing is forgotten: {error}", folder.display());
            return ExitCode::FAILURE;
        }
    };
    journal::init_for_operator();
    let Operator { uid, who, .. } = operator();
    let devices = SiteFiles::load(&settings.data_path).devices();
    for mac in macs {
        if forgotten.contains(mac) {
            info!(message_id = message_id::DEVICE_FORGOTTEN, gb10.mac = %mac, uid, who, "device forgotten: {mac}, by {who}");
            println!("forgotten: {mac}");
            let own = devices.get(*mac).and_then(|known| known.install);
            if own.unwrap_or(settings.install) == Policy::Once {
                eprintln!("{mac} is a new box now: its next boot from the network installs it");
            }
        } else {
            eprintln!("no device with that MAC is on record: {mac}");
        }
    }
    let folder = layout::logs(&settings.data_path);
    let mut are_logs_gone = true;
    for mac in macs {
        match logs::forget(&folder, *mac) {
            Ok(0) => {}
            Ok(count) => println!("removed: {count} logs of {mac}"),
            Err(reason) => {
                are_logs_gone = false;
                eprintln!("logs of {mac} are still in {}: {reason}", folder.display());
            }
        }
    }
    match are_logs_gone && forgotten.len() == macs.len() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
