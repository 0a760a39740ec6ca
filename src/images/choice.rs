//! Which image a box is installed from.

use super::listed;
use crate::files::Fault;
use crate::files::layout::{DEVICES_FILE, SITE_FILE};
use crate::site::{Devices, ImageName, KernelArgs, KnownDevice, Site};

/// Why a box has no image to be installed from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoImage {
    /// Nothing is staged.
    #[error("no image is staged")]
    NoneStaged,
    /// The one that the box shall have is not there. No other is taken in its place.
    #[error("the image {0}, which {1} names, is not staged")]
    NotStaged(ImageName, &'static str),
    /// There is more than one, and neither the box nor the site has one.
    #[error("{0} images are staged, and none is named for this box")]
    NotNamed(usize),
}

/// The image of a box: its own by `devices.json`, else the site's, else the only one that is staged.
pub fn chosen(
    device: Option<&KnownDevice>,
    site: &Site,
    staged: &[ImageName],
) -> Result<ImageName, NoImage> {
    let own = device.and_then(|device| device.image.clone());
    let own = own.map(|name| (name, DEVICES_FILE));
    match own.or_else(|| Some((site.image()?, SITE_FILE))) {
        Some((name, _)) if staged.contains(&name) => Ok(name),
        Some((name, file)) => Err(NoImage::NotStaged(name, file)),
        None => match staged {
            [] => Err(NoImage::NoneStaged),
            [only] => Ok(only.clone()),
            several => Err(NoImage::NotNamed(several.len())),
        },
    }
}

/// The arguments for the kernel of a box's installer: its own replace those of the site.
pub fn kernel_args(device: Option<&KnownDevice>, site: &Site) -> KernelArgs {
    let own = device.and_then(|device| device.kernel_args.clone());
    own.or_else(|| site.kernel_args()).unwrap_or_default()
}

/// Who is installed from an image: the files that name it, and each box that does. Empty where
/// nobody is.
pub fn users(
    name: &ImageName,
    site: &Site,
    devices: &Devices,
    staged: &[ImageName],
) -> Vec<String> {
    let by_site = (site.image().as_ref() == Some(name)).then(|| format!("{SITE_FILE} names it"));
    let by_device = devices
        .iter()
        .filter(|(_, device)| device.image.as_ref() == Some(name))
        .map(|(mac, _)| format!("{DEVICES_FILE} names it for {mac}"));
    let is_only = site.image().is_none() && staged == [name.clone()];
    let as_only = is_only.then(|| "it is the only one, so every box gets it".to_owned());
    by_site
        .into_iter()
        .chain(by_device)
        .chain(as_only)
        .collect()
}

/// Names of images that are not staged: in `site.json`, and for single devices.
pub fn unknown(site: &Site, devices: &Devices, staged: &[ImageName]) -> Vec<Fault> {
    let there = listed(staged);
    let is_unknown = |name: &ImageName| !staged.contains(name);
    let of_site = site.image().filter(is_unknown).map(|name| {
        let reason = format!("image {name} is not staged; staged: {there}");
        Fault::new(SITE_FILE, reason)
    });
    let of_devices = devices.iter().filter_map(|(mac, device)| {
        let name = device.image.filter(is_unknown)?;
        let reason = format!("{mac}: image {name} is not staged; staged: {there}");
        Some(Fault::new(DEVICES_FILE, reason))
    });
    of_site.into_iter().chain(of_devices).collect()
}

/// What is to be said of a site without an image of its own where several are staged.
pub fn advice(site: &Site, staged: &[ImageName]) -> Option<String> {
    let is_named = site.image().is_some();
    (!is_named && staged.len() > 1).then(|| {
        format!(
            "{} are staged, and {SITE_FILE} has no \"image\": a box for which {DEVICES_FILE} names none cannot be installed",
            listed(staged)
        )
    })
}
