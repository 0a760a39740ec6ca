//! One line per box: where it stands and what is wrong with it.
//!
//! The board, the table of `gb10-provision-api clients`, the line of `systemctl status` and the
//! metrics all show what stands here, so that they never disagree. Pure: which box is silent for
//! too long is decided in [`super::silence`], and is on record by then.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use jiff::Timestamp;
use serde::Serialize;
use serde_with::{DeserializeFromStr, SerializeDisplay, skip_serializing_none};

use super::boot::{Boot, Decision};
use super::facts::{Drift, Versions};
use super::fetches::SeedFetches;
use super::history::{PastReport, Rfc3339};
use super::mac::MacAddr;
use super::record::ClientRecord;
use super::stage::{Phase, UnknownName, named};

named! {
    /// How a device stands.
    Standing, "standing":
    /// Its last report is that a stage failed, or its installations never end.
    Failed = "failed",
    /// Neither ready nor failed, and not heard of for too long.
    Stalled = "stalled",
    /// Neither ready nor failed.
    OnItsWay = "on-its-way",
    /// Its last report is that it is ready, or it is being checked again since.
    Ready = "ready",
}

impl Standing {
    /// How the device of this record stands.
    pub fn of(record: &ClientRecord) -> Self {
        match record.current_phase() {
            _ if record.is_given_up() => Self::Failed,
            Some(Phase::Fail) => Self::Failed,
            _ if record.is_ready() => Self::Ready,
            _ if record.is_stalled() => Self::Stalled,
            _ if record.is_rechecking() => Self::Ready,
            _ => Self::OnItsWay,
        }
    }

    /// All, those that need somebody first.
    pub const ALL: [Self; 4] = [Self::Failed, Self::Stalled, Self::OnItsWay, Self::Ready];

    /// Where it is in that order.
    pub fn rank(self) -> usize {
        self as usize
    }
}

named! {
    /// What is wrong with a device.
    Trouble, "trouble":
    /// A stage failed.
    Failed = "failed",
    /// It began too many installations that never ended.
    GivenUp = "given-up",
    /// It was not heard of for too long.
    Stalled = "stalled",
    /// It was installed, and is being installed again.
    Reinstalling = "reinstalling",
    /// It got the fallback instead of the seed that was meant for it.
    Fallback = "fallback",
    /// Its last report came from an address that ARP has for another box.
    MacContradicted = "mac-contradicted",
    /// A part of it is of a version that the baseline does not allow.
    Drift = "drift",
    /// Its checks warn of something.
    Warnings = "warnings",
}

impl Trouble {
    /// In words, for a table.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::GivenUp => "given up: installations never end",
            Self::Stalled => "stalled",
            Self::Reinstalling => "reinstalling",
            Self::Fallback => "got the fallback",
            Self::MacContradicted => "MAC contradicted by ARP",
            Self::Drift => "outside the baseline",
            Self::Warnings => "warnings",
        }
    }
}

/// What this host served a device, as the last time of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Served {
    /// The user-data that it got: `staged`, `embedded` or `fallback`.
    pub template: String,
    /// When.
    pub at: Rfc3339,
    /// How often it fetched its user-data in all.
    pub count: u64,
    /// Whether nothing was reported since.
    pub is_unanswered: bool,
}

impl Served {
    fn of(seed: &SeedFetches, reported: Option<Timestamp>) -> Option<Self> {
        let last = seed.last()?;
        Some(Self {
            at: Rfc3339(last.at()),
            count: seed.count(),
            is_unanswered: reported.is_none_or(|reported| reported < last.at()),
            template: last.template().to_owned(),
        })
    }

    /// In words, against what was reported: `staged`, `fallback ×3, no word since`.
    pub fn words(&self) -> String {
        let times = match self.count {
            0 | 1 => String::new(),
            count => format!(" ×{count}"),
        };
        let answer = if self.is_unanswered {
            ", no word since"
        } else {
            ""
        };
        format!("{}{times}{answer}", self.template)
    }
}

/// What a device that boots from the network was told last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// What to boot.
    pub decision: Decision,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Rfc3339,
}

impl Told {
    fn of(boot: &Boot) -> Option<Self> {
        let (decision, reason) = boot.last_told()?;
        let at = Rfc3339(boot.last_asked()?);
        Some(Self {
            decision,
            reason,
            at,
        })
    }
}

/// One box, in one line.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The MAC that it is on record under.
    pub mac: MacAddr,
    /// Its host name.
    pub hostname: Option<String>,
    /// The address that it was last heard from.
    pub ip: Option<IpAddr>,
    /// What it is for, by `devices.json`; whoever has that file at hand sets it.
    pub role: Option<String>,
    /// How it stands.
    pub standing: Standing,
    /// The stage of its last report, also where this version does not know it.
    pub stage: Option<String>,
    /// The phase of that.
    pub phase: Option<String>,
    /// The first line of the detail of that.
    pub detail: Option<String>,
    /// How much of a payload it has, in per cent.
    pub percent: Option<u8>,
    /// Since when it is in that stage; without one, since when it was last seen.
    pub since: Option<Rfc3339>,
    /// When it was last heard of in any way.
    pub heard: Option<Rfc3339>,
    /// When it last reported.
    pub reported: Option<Rfc3339>,
    /// What is wrong, the worst first.
    pub troubles: Vec<Trouble>,
    /// How many warnings of its checks are on record, those that the site waived among them.
    pub warnings: usize,
    /// Its parts that are outside the baseline; whoever has that at hand sets them, by
    /// [`Row::judge`].
    pub drift: Vec<Drift>,
    /// The versions by which that is judged.
    #[serde(skip)]
    pub versions: Versions,
    /// The user-data that it was served last.
    pub served: Option<Served>,
    /// What it was told to boot last.
    pub told: Option<Told>,
}

/// Longest line of a detail in a row, in bytes. The rest is in the box's story.
const LINE_BYTES: usize = 200;

impl Row {
    /// The line of the box that is on record under `mac`.
    pub fn of(mac: MacAddr, record: &ClientRecord) -> Self {
        let run = record.history().last_run();
        let last = run.last();
        let stage = record.current_stage();
        let reported = record.last_heartbeat().map(Rfc3339);
        let heard = record.last_heard_of().map(Rfc3339);
        let detail = last
            .and_then(|event| event.detail.as_deref())
            .map(first_line);
        let began = run.first().and_then(|event| event.at());
        Self {
            mac,
            hostname: record.hostname(),
            ip: record.ip(),
            role: None,
            standing: Standing::of(record),
            phase: last
                .map(|event| event.phase.clone())
                .filter(|_| stage.is_some()),
            percent: detail.as_deref().and_then(percent),
            detail,
            since: match stage {
                Some(_) => began.or(reported),
                None => heard,
            },
            stage,
            heard,
            reported,
            troubles: troubles(record, last),
            warnings: record.warnings().iter().map(|of| of.warnings.len()).sum(),
            drift: Vec::new(),
            versions: record.versions(),
            served: record
                .seed()
                .and_then(|seed| Served::of(&seed, record.last_heartbeat())),
            told: record.told().and_then(|boot| Told::of(&boot)),
        }
    }

    /// Enters which of its parts are outside the baseline.
    pub fn judge(&mut self, drift: Vec<Drift>) {
        self.troubles.retain(|trouble| *trouble != Trouble::Drift);
        if !drift.is_empty() {
            let is_less = |trouble: &Trouble| *trouble == Trouble::Warnings;
            let place = self.troubles.iter().position(is_less);
            let place = place.unwrap_or(self.troubles.len());
            self.troubles.insert(place, Trouble::Drift);
        }
        self.drift = drift;
    }

    /// Where it stands, in words: its stage and phase, or how far it came without a report.
    pub fn stands(&self) -> String {
        match (&self.stage, &self.phase, &self.served, &self.told) {
            (Some(stage), Some(phase), ..) => format!("{stage} {phase}"),
            (Some(stage), None, ..) => stage.clone(),
            (None, _, Some(_), _) => "seed fetched".to_owned(),
            (None, _, None, Some(told)) => match told.decision {
                Decision::Install => "told to install".to_owned(),
                Decision::Local => "told to boot its disk".to_owned(),
            },
            (None, _, None, None) => "not seen yet".to_owned(),
        }
    }

    /// The order of a board: those that need somebody first, then by name.
    pub fn order(&self) -> impl Ord + use<> {
        let name = self.hostname.clone().unwrap_or_default();
        (self.standing.rank(), name, self.mac)
    }
}

/// What is wrong with the box of a record whose last event is `last`.
fn troubles(record: &ClientRecord, last: Option<&PastReport>) -> Vec<Trouble> {
    let standing = Standing::of(record);
    let is_given_up = record.is_given_up();
    [
        (Trouble::GivenUp, is_given_up),
        (Trouble::Failed, record.current_phase() == Some(Phase::Fail)),
        (Trouble::Stalled, standing == Standing::Stalled),
        (
            Trouble::Reinstalling,
            record.seed().is_some_and(|seed| seed.is_reinstalling()),
        ),
        (
            Trouble::Fallback,
            record
                .seed()
                .is_some_and(|seed| seed.last().is_some_and(|last| last.template() == FALLBACK)),
        ),
        (
            Trouble::MacContradicted,
            last.is_some_and(|event| event.arp_mac.is_some()),
        ),
        (Trouble::Warnings, !record.warnings().is_empty()),
    ]
    .into_iter()
    .filter_map(|(trouble, is_there)| is_there.then_some(trouble))
    .collect()
}

/// The name of the template that stands in for a broken one.
const FALLBACK: &str = "fallback";

/// The first line of a text that is not blank, without control characters, and not too long.
fn first_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    let line = line.unwrap_or_default().replace(char::is_control, " ");
    match line.floor_char_boundary(LINE_BYTES) {
        end if end < line.len() => format!("{}…", &line[..end]),
        _ => line,
    }
}

/// The per cent that a line begins with, as the box's program writes them: `40 %, 1,234 of …`.
fn percent(line: &str) -> Option<u8> {
    let (number, _) = line.split_once('%')?;
    number
        .trim_end()
        .parse()
        .ok()
        .filter(|percent| *percent <= 100)
}

/// How many devices stand how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// On record at all.
    pub known: usize,
    /// See [`Standing::Ready`].
    pub ready: usize,
    /// See [`Standing::OnItsWay`].
    pub on_their_way: usize,
    /// See [`Standing::Failed`].
    pub failed: usize,
    /// See [`Standing::Stalled`].
    pub stalled: usize,
}

impl FromIterator<Standing> for Totals {
    fn from_iter<I: IntoIterator<Item = Standing>>(standings: I) -> Self {
        let mut totals = Self::default();
        for standing in standings {
            totals.known += 1;
            *match standing {
                Standing::Ready => &mut totals.ready,
                Standing::OnItsWay => &mut totals.on_their_way,
                Standing::Failed => &mut totals.failed,
                Standing::Stalled => &mut totals.stalled,
            } += 1;
        }
        totals
    }
}
