//! `gb10-provision-api boot stage`: an image is put into the boot folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::DecimalBytes;
use tracing::info;

use crate::cli::operator;
use crate::cli::progress::{bar, show};
use crate::images::{self, Order, Staged, Sum};
use crate::message_id;
use crate::service::journal;
use crate::site::ImageName;

/// Stages the image, and tells what was found and where it went.
pub(super) fn run(
    boot: &Path,
    files: Vec<PathBuf>,
    name: Option<ImageName>,
    sums: Vec<Sum>,
) -> ExitCode {
    let Some(files) = with_sums(files, sums) else {
        return ExitCode::from(2);
    };
    let order = Order { files, name };
    let bar = bar();
    let staged = images::stage(boot, &order, &|done, total| show(&bar, done, total));
    bar.finish_and_clear();
    match staged {
        Ok(staged) => {
            print(boot, &staged);
            tell_journal(&staged);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            eprintln!("nothing is staged");
            ExitCode::FAILURE
        }
    }
}

/// Each file with its sum. Either there are none, or as many as files.
fn with_sums(files: Vec<PathBuf>, sums: Vec<Sum>) -> Option<Vec<(PathBuf, Option<Sum>)>> {
    if !sums.is_empty() && sums.len() != files.len() {
        eprintln!(
            "--sha256 stands {} times, beside {} files: expected once for each FILE, in their order, or not at all",
            sums.len(),
            files.len()
        );
        return None;
    }
    let sums = sums.into_iter().map(Some).chain(std::iter::repeat(None));
    Some(files.into_iter().zip(sums).collect())
}

fn print(boot: &Path, staged: &Staged) {
    let image = &staged.image;
    let version = image.kernel.version.as_deref().unwrap_or("unknown version");
    let hwe = if image.kernel.hwe { " (HWE)" } else { "" };
    println!("{}/{}: staged", images::folder(boot).display(), image.name);
    println!(
        "kernel {version}{hwe}: with its initrd {}",
        DecimalBytes(image.loaded())
    );
    println!(
        "{} ({}): {}, {}, SHA-256 {}",
        image.iso.file,
        image.iso.volume,
        DecimalBytes(image.iso.content.size),
        if staged.is_linked { "linked" } else { "copied" },
        image.iso.content.sha256
    );
    match &staged.loaders {
        Some([shim, grub]) => {
            println!("shim: {}", shim.display());
            println!("GRUB: {}", grub.display());
        }
        None => println!("shim and GRUB: those that were there"),
    }
}

fn tell_journal(staged: &Staged) {
    journal::init_for_operator();
    let (image, who) = (&staged.image, operator().who);
    let (name, iso) = (&image.name, crate::excerpt::shown(&image.iso.file));
    info!(message_id = message_id::IMAGE_STAGED, gb10.image = %name, file = &*iso, sha256 = image.iso.content.sha256, who, "image staged: {name}, of {iso}, by {who}");
}
