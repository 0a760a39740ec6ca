//! The table that a run prints, in Markdown.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs, thread};

use crate::Result;

/// What the service may take of memory under any load, in MiB.
const MEMORY: f64 = 16.0;

/// One measurement in words; an empty cell is printed as a dash.
#[derive(Default)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What the service did.
    pub subject: String,
    /// What the machine can do.
    pub floor: String,
    /// The two compared.
    pub ratio: String,
    /// What is aimed at.
    pub aim: String,
    /// Whether that was reached; none where it could not be measured.
    pub reached: Option<bool>,
}

impl Row {
    /// A row of memory, from the most and the last of each server, in MiB.
    pub fn memory(what: &str, servers: &[(f64, f64)], floor: String) -> Self {
        let most = servers.iter().map(|(most, _)| *most).fold(0.0, f64::max);
        let after = servers.iter().map(|(_, after)| *after).fold(0.0, f64::max);
        Self {
            what: format!("resident memory, {what}"),
            subject: format!("peak {most:.1} MiB, then {after:.1} MiB"),
            floor,
            ratio: String::new(),
            aim: format!("≤ {MEMORY} MiB"),
            reached: Some(most <= MEMORY),
        }
    }

    /// A row of rates: the median of the ratios of each round, which what changes between rounds
    /// does not touch.
    pub fn rates(what: String, unit: &str, subject: &Samples, floor: &Samples, least: f64) -> Self {
        let ratio = subject.over(floor);
        Self {
            what,
            subject: subject.show(unit),
            floor: floor.show(unit),
            ratio: format!("{:.2}", ratio.median()),
            aim: format!("≥ {least:.2}"),
            reached: Some(ratio.median() >= least),
        }
    }
}

/// The same thing measured several times.
#[derive(Default)]
pub struct Samples(pub Vec<f64>);

impl Samples {
    /// The middle one, or the mean of the middle two; at least one must be there.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        }
    }

    /// Each of these by that of `other` taken in the same round.
    pub fn over(&self, other: &Self) -> Self {
        Self(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(one, other)| one / other)
                .collect(),
        )
    }

    /// The median with its unit, and the spread.
    pub fn show(&self, unit: &str) -> String {
        let sorted = self.sorted();
        let digits = if self.median() < 100.0 { 2 } else { 0 };
        let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
        format!(
            "{:.digits$} {unit} ({least:.digits$} to {most:.digits$})",
            self.median()
        )
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// The rows as a table.
pub fn table(rows: &[Row]) -> String {
    let mut lines = vec![["what", "subject", "floor", "ratio", "aim", "reached"].map(String::from)];
    lines.extend(rows.iter().map(|row| {
        let reached = row
            .reached
            .map_or("", |reached| if reached { "yes" } else { "no" });
        [
            &row.what,
            &row.subject,
            &row.floor,
            &row.ratio,
            &row.aim,
            reached,
        ]
        .map(|cell| {
            if cell.is_empty() {
                "–".to_owned()
            } else {
                cell.to_owned()
            }
        })
    }));
    let widths: [usize; 6] = std::array::from_fn(|column| {
        lines
            .iter()
            .map(|line| line[column].chars().count())
            .max()
            .unwrap_or(0)
    });
    lines.insert(1, widths.map(|width| "-".repeat(width)));
    lines.iter().fold(String::new(), |mut text, line| {
        for (cell, width) in line.iter().zip(widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text + "|\n"
    })
}

/// The machine in a line: processor, cores, memory, kernel, and the file system that `folder` is
/// on.
pub fn machine(folder: &Path) -> Result<String> {
    let processor = fs::read_to_string("/proc/cpuinfo")?
        .lines()
        .find_map(|line| {
            Some(
                line.strip_prefix("model name")?
                    .split_once(": ")?
                    .1
                    .to_owned(),
            )
        })
        // 64-bit Arm has no such line.
        .or_else(|| {
            Some(
                fs::read_to_string("/proc/device-tree/model")
                    .ok()?
                    .trim_end_matches('\0')
                    .to_owned(),
            )
        })
        .unwrap_or_else(|| env::consts::ARCH.to_owned());
    let cores = thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let file_system = file_system(folder)?;
    // There an fsync costs nothing, and the figures that rest on it say nothing.
    let warning = if file_system == "tmpfs" {
        ", **so no heartbeat here is durable: set BENCH_DIR**"
    } else {
        ""
    };
    Ok(format!(
        "{processor}, {cores} cores, Linux {}, files on {file_system}{warning}, load {load} before",
        kernel.trim()
    ))
}

/// The type of the file system mounted nearest above `folder`.
fn file_system(folder: &Path) -> Result<String> {
    // proc_pid_mountinfo(5): the mount point is field 5, the type the first field after " - ". The
    // last mount wins.
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let nearest = mounts
        .lines()
        .filter_map(|line| {
            let (mount, source) = line.split_once(" - ")?;
            let point = Path::new(mount.split(' ').nth(4)?);
            folder
                .starts_with(point)
                .then(|| (point.components().count(), source.split(' ').next()))
        })
        .max_by_key(|(depth, _)| *depth);
    Ok(nearest
        .and_then(|(_, name)| name)
        .ok_or("no file system")?
        .to_owned())
}
