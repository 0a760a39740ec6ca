//! `gb10-provision-api check`: every staged template and file tried, before a box asks for it.

use std::process::ExitCode;
use std::sync::Arc;

use super::{count, templates};
use crate::files::Fault;
use crate::files::layout::{self, SITE_FILE};
use crate::images;
use crate::seed::{Finding, Report};
use crate::service::settings::Settings;
use crate::site::{Devices, Site, SiteFiles, oddities};
use crate::store::{self, Clients};

/// Tries every staged template and prints each fault with file and line.
pub fn run(settings: &Settings, as_json: bool) -> ExitCode {
    let report = report(settings);
    match as_json {
        true => print_json(&report),
        false => print(&report, settings),
    }
    match report.faults.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// What is to be said of all of them.
pub(super) fn report(settings: &Settings) -> Report {
    let site_files = Arc::new(SiteFiles::load(&settings.data_path));
    let templates = templates(settings, &site_files);
    let mut report = templates.check();
    add_site(&mut report, settings, &site_files);
    report
}

/// What is to be said of `site.json` and `devices.json`.
fn add_site(report: &mut Report, settings: &Settings, site_files: &SiteFiles) {
    let finding = |fault: Fault| {
        let path = settings.data_path.join(&fault.file);
        Finding::new(path.display().to_string(), fault)
    };
    report
        .faults
        .extend(site_files.faults().into_iter().map(finding));
    let state = layout::state(&settings.data_path);
    let clients = match store::read(state.clone()) {
        Ok(clients) => clients,
        Err(error) => {
            let file = state.display().to_string();
            let fault = Fault::new(&file, format!("not looked into: {error}"));
            report.notes.push(Finding::new(file, fault));
            Clients::default()
        }
    };
    let site = site_files.site().unwrap_or_default();
    let odd = oddities(&site, &site_files.devices(), |mac| clients.has(mac));
    report.faults.extend(odd.into_iter().map(finding));
    add_images(report, settings, &site, &site_files.devices(), &finding);
    let advice = site.advice().into_iter();
    let advice = advice.map(|advice| finding(Fault::new(SITE_FILE, advice)));
    report.notes.extend(advice);
    let misspelt = site.misspelt().into_iter();
    let misspelt = misspelt.map(|hint| finding(Fault::new(SITE_FILE, hint)));
    report.notes.extend(misspelt);
}

/// What is to be said of the images that the files name.
fn add_images(
    report: &mut Report,
    settings: &Settings,
    site: &Site,
    devices: &Devices,
    finding: &dyn Fn(Fault) -> Finding,
) {
    let boot = layout::boot(&settings.data_path);
    let folder = images::folder(&boot).display().to_string();
    let note = |reason: String| Finding::new(folder.clone(), Fault::new(&folder, reason));
    match images::staged(&boot) {
        Ok(staged) => {
            let unknown = images::unknown(site, devices, &staged).into_iter();
            report.faults.extend(unknown.map(finding));
            let advice = images::advice(site, &staged).into_iter();
            report.notes.extend(advice.map(note));
        }
        Err(error) => report.notes.push(note(format!("not looked into: {error}"))),
    }
}

fn print_json(report: &Report) {
    match serde_json::to_string_pretty(report) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("the report cannot be written as JSON: {error}"),
    }
}

fn print(report: &Report, settings: &Settings) {
    let folder = layout::templates(&settings.data_path);
    for fault in &report.faults {
        eprintln!("{fault}");
    }
    for note in &report.notes {
        println!("note: {note}");
    }
    println!(
        "{}: {} tried, {}",
        folder.display(),
        count(report.templates.len(), "template"),
        count(report.faults.len(), "fault")
    );
    if report.templates.is_empty() && !folder.exists() {
        println!("no such folder, so the embedded defaults are served");
    }
}
