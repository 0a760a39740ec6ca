//! `gb10-provision-api boot list`: the staged images, and who is installed from them.

use std::path::Path;
use std::process::ExitCode;

use indicatif::DecimalBytes;
use serde::Serialize;

use crate::images::{self, Image};
use crate::service::settings::Settings;
use crate::site::SiteFiles;

/// The titles of the table's columns.
const TITLES: [&str; 6] = ["NAME", "KERNEL", "HWE", "LOADED", "ISO", "USED"];

/// One image, with who is installed from it.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    image: Image,
    used: Vec<String>,
}

/// All of them.
#[derive(Serialize)]
struct Listing {
    images: Vec<Row>,
    faults: Vec<String>,
}

/// Prints the images. An `image.json` that cannot be read is a fault, and told on standard error.
pub(super) fn run(settings: &Settings, boot: &Path, as_json: bool) -> ExitCode {
    let names = match images::staged(boot) {
        Ok(names) => names,
        Err(error) => {
            eprintln!("{}: reading failed: {error}", boot.display());
            return ExitCode::FAILURE;
        }
    };
    let site_files = SiteFiles::load(&settings.data_path);
    let (site, devices) = (site_files.site().unwrap_or_default(), site_files.devices());
    let (mut rows, mut faults) = (Vec::new(), Vec::new());
    for name in &names {
        let used = images::users(name, &site, &devices, &names);
        match Image::read(boot, name) {
            Ok(image) => rows.push(Row { image, used }),
            Err(fault) => faults.push(fault),
        }
    }
    let listing = Listing {
        images: rows,
        faults,
    };
    match as_json {
        true => match serde_json::to_string_pretty(&listing) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("the images cannot be written as JSON: {error}"),
        },
        false => print(&listing, boot),
    }
    match listing.faults.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn print(listing: &Listing, boot: &Path) {
    for fault in &listing.faults {
        eprintln!("{fault}");
    }
    if listing.images.is_empty() {
        println!("{}: no image is staged", images::folder(boot).display());
        return;
    }
    let rows = listing.images.iter().map(|Row { image, used }| {
        let kernel = &image.kernel;
        [
            image.name.to_string(),
            kernel
                .version
                .clone()
                .unwrap_or_else(|| "unknown".to_owned()),
            if kernel.hwe { "yes" } else { "no" }.to_owned(),
            DecimalBytes(image.loaded()).to_string(),
            DecimalBytes(image.iso.content.size).to_string(),
            match used.is_empty() {
                true => "no".to_owned(),
                false => used.join("; "),
            },
        ]
    });
    let mut table = vec![TITLES.map(str::to_owned)];
    table.extend(rows);
    let width = |column: usize| {
        let lengths = table.iter().map(|row| row[column].chars().count());
        lengths.max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..TITLES.len()).map(width).collect();
    for row in &table {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        println!("{}", line.trim_end());
    }
}
