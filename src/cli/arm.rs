//! `gb10-provision-api arm` and `disarm`: an operator's word on what a box boots next.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use tracing::info;

use super::{Operator, count, operator};
use crate::device::boot::{Boot, Decision, Policy};
use crate::device::mac::MacAddr;
use crate::excerpt::excerpt;
use crate::files::layout;
use crate::gate::decide;
use crate::message_id;
use crate::service::journal;
use crate::service::settings::Settings;
use crate::site::{Devices, KnownDevice, SiteFiles};
use crate::store;

/// Which devices are meant.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// Their MACs, of whichever port
    #[arg(value_name = "MAC")]
    macs: Vec<MacAddr>,
    /// Every device that is on record or in devices.json
    #[arg(long)]
    all: bool,
    /// Every device that has this role in devices.json
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
}

/// The devices that are meant, each with the name that `devices.json` gives it.
type Chosen = Vec<(MacAddr, Option<String>)>;

/// Arms the devices, and tells the journal who wanted it.
pub(super) fn arm(settings: &Settings, which: &Which) -> ExitCode {
    let at = Timestamp::now();
    let Operator {
        uid,
        who,
        on_record,
    } = operator();
    let alter = |boot: &mut Boot| boot.arm(at, &on_record).map(|()| true);
    let (chosen, armed) = match altered(settings, which, "armed", alter) {
        Ok(altered) => altered,
        Err(code) => return code,
    };
    let devices = SiteFiles::load(&settings.data_path).devices();
    let mut will_be = 0;
    for mac in &armed {
        info!(message_id = message_id::DEVICE_ARMED, gb10.mac = %mac, uid, who, "device armed: {mac}, by {who}");
        println!("armed: {}", named(*mac, &chosen));
        match settings.rules().of_box(devices.policy(*mac)).policy {
            Policy::Never => eprintln!("{mac} is not installed all the same: its policy is never"),
            _ => will_be += 1,
        }
    }
    println!(
        "{} will be installed at the next boot from the network",
        count(will_be, "device")
    );
    ExitCode::SUCCESS
}

/// Takes that back, and tells the journal who wanted it.
pub(super) fn disarm(settings: &Settings, which: &Which) -> ExitCode {
    let Operator { uid, who, .. } = operator();
    // What becomes of each, in their order.
    let mut boots = Vec::new();
    let alter = |boot: &mut Boot| {
        let was_armed = boot.disarm();
        boots.push(boot.clone());
        Ok(was_armed)
    };
    let (chosen, disarmed) = match altered(settings, which, "disarmed", alter) {
        Ok(altered) => altered,
        Err(code) => return code,
    };
    let devices = SiteFiles::load(&settings.data_path).devices();
    for ((mac, _), boot) in chosen.iter().zip(&boots) {
        if disarmed.contains(mac) {
            info!(message_id = message_id::DEVICE_DISARMED, gb10.mac = %mac, uid, who, "device disarmed: {mac}, by {who}");
            println!("disarmed: {}", named(*mac, &chosen));
        } else if !which.all {
            println!("was not armed: {}", named(*mac, &chosen));
        }
        let rules = settings.rules().of_box(devices.policy(*mac));
        let verdict = decide(rules, boot);
        if verdict.decision == Decision::Install && !which.all {
            let reason = verdict.reason;
            // Standard error takes each part of a line by itself, the digits of a MAC too.
            let line = format!("{mac} is installed all the same: {reason}");
            eprintln!("{line}");
        }
    }
    ExitCode::SUCCESS
}

/// Alters the boots of the devices that are meant. Returns these, and those that changed.
fn altered(
    settings: &Settings,
    which: &Which,
    what: &str,
    alter: impl FnMut(&mut Boot) -> Result<bool, serde_json::Error>,
) -> Result<(Chosen, Vec<MacAddr>), ExitCode> {
    let folder = layout::state(&settings.data_path);
    let failed = |reason: String| {
        eprintln!("{reason}");
        ExitCode::FAILURE
    };
    let chosen = chosen(settings, which).map_err(failed)?;
    let max_clients = settings.max_clients.get();
    let outcome = store::alter_boots(folder.clone(), &chosen, max_clients, alter);
    let altered = outcome
        .map_err(|error| failed(format!("{}: nothing is {what}: {error}", folder.display())))?;
    journal::init_for_operator();
    Ok((chosen, altered))
}

/// The devices that are meant, by the MACs that they are on record under.
fn chosen(settings: &Settings, which: &Which) -> Result<Chosen, String> {
    let site_files = SiteFiles::load(&settings.data_path);
    if let Some(fault) = site_files.known_devices().fault {
        return Err(format!("{}/{fault}", settings.data_path.display()));
    }
    let devices = site_files.devices();
    let macs = match &which.role {
        Some(role) => with_role(&devices, role)?,
        None if which.all => {
            let state = layout::state(&settings.data_path);
            let clients = store::read(state).map_err(|error| error.to_string())?;
            let known = devices.iter().map(|(mac, _)| mac);
            clients.macs().chain(known).collect()
        }
        None => which.macs.clone(),
    };
    // Each once, whichever of its ports is named.
    let chosen = macs.into_iter().map(|mac| devices.primary(mac));
    let chosen: BTreeMap<_, _> = chosen.map(|mac| (mac, devices.hostname(mac))).collect();
    Ok(chosen.into_iter().collect())
}

fn with_role(devices: &Devices, role: &str) -> Result<Vec<MacAddr>, String> {
    let has_role = |(_, known): &(MacAddr, KnownDevice)| known.role.as_deref() == Some(role);
    let macs: Vec<_> = devices
        .iter()
        .filter(has_role)
        .map(|(mac, _)| mac)
        .collect();
    match macs.is_empty() {
        false => Ok(macs),
        true => Err(format!(
            "no device of devices.json has the role {}",
            excerpt(role)
        )),
    }
}

fn named(mac: MacAddr, chosen: &Chosen) -> String {
    let hostname = chosen.iter().find(|(known, _)| *known == mac);
    match hostname.and_then(|(_, hostname)| hostname.as_ref()) {
        Some(hostname) => format!("{mac} ({hostname})"),
        None => mac.to_string(),
    }
}
