//! `gb10-provision-api cidata`: a box's seed as the image of a USB stick, which cloud-init's NoCloud
//! data source finds by its label.

use std::fs::FileType;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::seed_of::SeedOf;
use crate::device::boot::Policy;
use crate::device::mac::MacAddr;
use crate::fat;
use crate::files::replace::{SECRET, put};
use crate::seed::SeedFile;
use crate::service::settings::{Settings, address};

/// What cloud-init looks for.
const LABEL: &str = "CIDATA";

/// The time that its files have, in seconds since 1970, so that the same seed gives the same bytes.
const TIME: &str = "SOURCE_DATE_EPOCH";

/// What to make of which seed.
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    /// The MAC of the box, or of another port of it
    mac: MacAddr,
    /// The image to write, readable by you alone: it may hold the hash of a password
    #[arg(value_name = "FILE")]
    image: PathBuf,
    /// What the box is: one with DGX OS on it, or one that an installer of Ubuntu is started on
    #[arg(long, value_enum, default_value_t = Profile::DgxOs)]
    profile: Profile,
    /// The address of this host that the box reaches, as in `lan_ip` and `provision_url`
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address, default_value = "10.88.0.1:8088")]
    reached_at: SocketAddr,
    /// Replace a file of that name
    #[arg(long)]
    force: bool,
}

/// For which system the user-data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Profile {
    /// Installed when it came: the template dgx-os.yaml.j2
    DgxOs,
    /// To be installed: the autoinstall that the service gives this box
    Installer,
}

impl Profile {
    /// What is rendered for each file on the stick.
    fn files(self) -> [(&'static str, SeedFile); 4] {
        SeedFile::OF_SEED.map(|file| match (self, file) {
            (Self::DgxOs, SeedFile::UserData) => (file.name(), SeedFile::DgxOs),
            _ => (file.name(), file),
        })
    }
}

/// Writes the image, as a whole or not at all.
pub(super) fn run(settings: &Settings, options: &Options) -> ExitCode {
    let mut seed = SeedOf::new(settings, options.mac, options.reached_at);
    let written = write(settings, options, &mut seed);
    if let Err(reasons) = written {
        for reason in reasons {
            eprintln!("{reason}");
        }
        eprintln!("nothing is written");
        return ExitCode::FAILURE;
    }
    note(settings, options, &seed);
    let image = options.image.display();
    println!("written: {image}, which you alone can read: it may hold the hash of a password");
    println!("to a stick, which that erases: dd if={image} of=/dev/sdX bs=1M conv=fsync");
    ExitCode::SUCCESS
}

fn write(settings: &Settings, options: &Options, seed: &mut SeedOf) -> Result<(), Vec<String>> {
    let image = &options.image;
    let one = |reason: String| vec![reason];
    check_place(image, options.force)
        .map_err(|reason| one(format!("{}: {reason}", image.display())))?;
    let time = time().map_err(one)?;
    let faults = seed.site_files.faults_of_boots().into_iter();
    let mut faults: Vec<_> = faults
        .map(|fault| format!("{}/{fault}", settings.data_path.display()))
        .collect();
    let mut texts = Vec::new();
    for (name, file) in options.profile.files() {
        match seed.render(settings, file) {
            Ok((rendered, _)) => {
                // The service has something else for a box that waits; here somebody can mend it.
                faults.extend(rendered.fault.map(|fault| format!("{name}: {fault}")));
                texts.push((name, rendered.text));
            }
            Err(reason) => faults.push(format!("{name}: {reason}")),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let files: Vec<_> = texts
        .iter()
        .map(|(name, text)| (*name, text.as_bytes()))
        .collect();
    let bytes = fat::image(LABEL, &files, time).map_err(|error| one(error.to_string()))?;
    put(image, &bytes, SECRET).map_err(|failed| one(failed.of(image)))
}

/// Whether the image may lie there.
fn check_place(image: &Path, force: bool) -> Result<(), String> {
    match image.symlink_metadata() {
        Ok(found) if found.is_file() && force => Ok(()),
        Ok(found) if found.is_file() => Err("is there; --force replaces it".to_owned()),
        Ok(found) => Err(format!(
            "is {}: expected a file, which is then copied to a stick with dd",
            kind(found.file_type())
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn kind(found: FileType) -> &'static str {
    match found {
        _ if found.is_block_device() => "a block device",
        _ if found.is_dir() => "a folder",
        _ if found.is_symlink() => "a link",
        _ => "no regular file",
    }
}

/// Now, unless the environment has a time.
fn time() -> Result<Timestamp, String> {
    let Ok(seconds) = std::env::var(TIME) else {
        return Ok(Timestamp::now());
    };
    let time = seconds.parse().ok();
    time.and_then(|seconds| Timestamp::from_second(seconds).ok())
        .ok_or_else(|| format!("{TIME}: expected seconds since 1970"))
}

/// Says what may not be meant so.
fn note(settings: &Settings, options: &Options, seed: &SeedOf) {
    let mac = seed.mac;
    let devices = seed.site_files.devices();
    if devices.get(mac).is_none() {
        eprintln!("note: devices.json does not know {mac}; its name is made of the MAC");
    }
    let policy = devices.policy(mac).unwrap_or(settings.install);
    let is_installed_unasked = matches!(policy, Policy::Once | Policy::Always);
    if options.profile == Profile::DgxOs && is_installed_unasked {
        eprintln!(
            "note: if {mac} boots from the network, its DGX OS may be replaced: \"install\": \"never\" in devices.json prevents that"
        );
    }
}
