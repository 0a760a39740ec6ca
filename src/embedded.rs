//! All that is compiled in. Staged files of the same names win.

/// The template of a device's user-data.
pub const USER_DATA: &str = include_str!("../templates/user-data.yaml.j2");

/// The template of a device's meta-data.
pub const META_DATA: &str = include_str!("../templates/meta-data.yaml.j2");

/// The template of the user-data that is served when the right one cannot be rendered.
pub const FALLBACK: &str = include_str!("../templates/fallback.yaml.j2");

/// The template of the user-data of a device that comes with DGX OS.
pub const DGX_OS: &str = include_str!("../templates/dgx-os.yaml.j2");

/// The template of GRUB's configuration.
pub const GRUB_CFG: &str = include_str!("../templates/grub.cfg.j2");

/// The board: its page, what pages have in common, a row of it, the story of a box, and what makes
/// them look well and live.
pub mod board {
    /// The frame of both pages.
    pub const FRAME: &str = include_str!("../templates/board/frame.html");
    /// The page of all boxes.
    pub const BOARD: &str = include_str!("../templates/board/board.html");
    /// The line of one box.
    pub const ROW: &str = include_str!("../templates/board/row.html");
    /// The page of one box.
    pub const STORY: &str = include_str!("../templates/board/story.html");
    /// How they look.
    pub const STYLE: &str = include_str!("../templates/board/style.css");
    /// What follows the changes, sorts and filters.
    pub const SCRIPT: &str = include_str!("../templates/board/script.js");
}

/// The manifest of the onboarding folder.
pub const MANIFEST: &str = include_str!("../packaging/onboard/manifest.json");

/// Names files below `packaging/onboard/`, where each lies under the path that it is served as.
macro_rules! onboarding_files {
    ($($path:literal,)+) => {
        &[$(($path, include_str!(concat!("../packaging/onboard/", $path))),)+]
    };
}

/// Every onboarding file, by its path below `/onboard/`.
const ONBOARDING_FILES: &[(&str, &str)] = onboarding_files![
    "README.md",
    "checks.py",
    "fabric.py",
    "facts.py",
    "gb10-onboard",
    "gb10-onboard-recheck.service",
    "gb10-onboard-recheck.timer",
    "gb10-onboard.service",
    "judge.py",
    "load.py",
    "manifest.json",
    "stages/10-network.sh",
    "stages/20-storage.sh",
    "stages/30-driver.sh",
    "stages/40-container-runtime.sh",
    "stages/50-payload.sh",
    "stages/60-verify.sh",
    "stages/70-ready.sh",
    "wanted.py",
];

/// The onboarding file of that path.
pub fn onboarding_file(path: &str) -> Option<&'static str> {
    ONBOARDING_FILES
        .iter()
        .find(|(name, _)| *name == path)
        .map(|(_, text)| *text)
}
