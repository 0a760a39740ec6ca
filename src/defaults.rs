//! The onboarding files that are compiled in. Staged files of the same names win.

/// Names a file below `packaging/onboard/`, where each is under its own name.
macro_rules! onboarding_files {
    ($($name:literal,)+) => {
        &[$(($name, include_bytes!(concat!("../packaging/onboard/", $name)).as_slice()),)+]
    };
}

/// Every file, by its path below `/onboard/`.
const ONBOARDING_FILES: &[(&str, &[u8])] = onboarding_files![
    "README.md",
    "gb10-onboard",
    "gb10-onboard.service",
    "manifest.json",
    "stages/10-network.sh",
    "stages/20-storage.sh",
    "stages/30-driver.sh",
    "stages/40-container-runtime.sh",
    "stages/50-payload.sh",
    "stages/60-verify.sh",
    "stages/70-ready.sh",
];

/// The onboarding file of that path.
pub fn onboarding_file(path: &str) -> Option<&'static [u8]> {
    ONBOARDING_FILES
        .iter()
        .find(|(name, _)| *name == path)
        .map(|(_, bytes)| *bytes)
}
