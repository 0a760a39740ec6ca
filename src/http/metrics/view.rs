//! How the boxes and the service stand at one scrape.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::device::facts::Part;
use crate::device::stage::{Phase, Stage};
use crate::device::view::{Row, Standing, Totals};
use crate::excerpt::one_line;
use crate::site::Known;
use crate::store::Clients;

/// What stands for a stage or phase that this version does not know: such names are anybody's.
const OTHER: &str = "other";

/// What stands for the stage and the phase of a box that never reported.
const NONE: &str = "none";

/// Longest part of a host name that is told, in characters.
const NAME_CHARS: usize = 64;

/// What is told of this moment.
#[derive(Debug)]
pub struct View {
    /// The records.
    pub clients: Arc<Clients>,
    /// What the operator's files say of the boxes.
    pub known: Known,
    /// Whether the next report would go on record.
    pub is_writable: bool,
    /// Faults of templates, `site.json` and `devices.json`.
    pub template_faults: usize,
    /// Connections that were refused for their address.
    pub peers_refused: u64,
    /// Connections that were closed because their address had too many.
    pub over_limit: u64,
}

impl Collector for View {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_service(&mut to)?;
        let rows: Vec<Arc<Row>> = self.known.rows(self.clients.rows()).collect();
        encode_standings(rows.iter().map(|row| row.standing).collect(), &mut to)?;
        encode_stages(&rows, &mut to)?;
        encode_drift(&rows, &mut to)?;
        encode_boxes(&rows, &mut to)
    }
}

impl View {
    fn encode_service(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let writable = describe(
            to,
            "state_writable",
            "Whether the next report would go on record: 1 if so",
        )?;
        gauge(u8::from(self.is_writable).into(), writable)?;
        let help = "Length of clients.json.";
        let bytes = to.encode_descriptor("state", help, Some(&Unit::Bytes), MetricType::Gauge)?;
        gauge(self.clients.bytes() as f64, bytes)?;
        let faults = describe(
            to,
            "template_faults",
            "Faults of staged templates, site.json, devices.json and baseline.json",
        )?;
        gauge(self.template_faults as f64, faults)?;
        let counters = [
            (
                "peers_refused",
                "Connections from outside ALLOWED_NETWORKS.",
                self.peers_refused,
            ),
            (
                "connections_over_limit",
                "Connections that were closed because their address had PEER_CONNECTIONS already.",
                self.over_limit,
            ),
        ];
        for (name, help, value) in counters {
            let counter = to.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(counter)?;
        }
        Ok(())
    }
}

fn encode_standings(totals: Totals, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let of = |standing| match standing {
        Standing::Failed => totals.failed,
        Standing::Stalled => totals.stalled,
        Standing::OnItsWay => totals.on_their_way,
        Standing::Ready => totals.ready,
    };
    let mut devices = describe(to, "devices", "Boxes on record, by how they stand")?;
    for standing in Standing::ALL {
        let labels = [("standing", standing.name())];
        gauge(of(standing) as f64, devices.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Every box at one place, so that the sum is all boxes; and every place, so that a graph falls to
/// nothing where the last box has left.
fn encode_stages(rows: &[Arc<Row>], to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let known = |name: &Option<String>, names: &[&'static str]| match name {
        None => NONE,
        Some(name) => names.iter().find(|known| *known == name).unwrap_or(&OTHER),
    };
    let at = |row: &Row| {
        let stage = known(&row.stage, Stage::NAMES);
        (stage, known(&row.phase, Phase::NAMES))
    };
    let places = Stage::NAMES
        .iter()
        .flat_map(|stage| Phase::NAMES.iter().map(|phase| (*stage, *phase)));
    let mut counts: Vec<_> = places.map(|place| (place, 0)).collect();
    for place in rows.iter().map(|row| at(row)) {
        match counts.iter_mut().find(|(known, _)| *known == place) {
            Some((_, count)) => *count += 1,
            None => counts.push((place, 1)),
        }
    }
    let mut devices = describe(
        to,
        "stage_devices",
        "Boxes on record, by the stage and the phase of their last report",
    )?;
    for ((stage, phase), count) in counts {
        let labels = [("stage", stage), ("phase", phase)];
        gauge(f64::from(count), devices.encode_family(&labels)?)?;
    }
    Ok(())
}

/// How many boxes are outside the baseline, by the part that is; and those with warnings.
fn encode_drift(rows: &[Arc<Row>], to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut devices = describe(
        to,
        "drift_devices",
        "Boxes on record with a version that the baseline does not allow, by the part of the box",
    )?;
    for part in Part::ALL {
        let has_it = |row: &&Arc<Row>| row.drift.iter().any(|drift| drift.field == part);
        let count = rows.iter().filter(has_it).count();
        let labels = [("field", part.name())];
        gauge(count as f64, devices.encode_family(&labels)?)?;
    }
    let warned = rows.iter().filter(|row| row.warnings > 0).count();
    let help = "Boxes on record whose checks warn of something";
    gauge(warned as f64, describe(to, "warned_devices", help)?)
}

/// What is told of each box: as many lines as there are records.
fn encode_boxes(rows: &[Arc<Row>], to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "The host name of a box.";
    let mut names = to.encode_descriptor("device", help, None, MetricType::Info)?;
    for row in rows {
        let hostname = row.hostname.as_deref().unwrap_or_default();
        let hostname = one_line(hostname, NAME_CHARS);
        let labels = [("mac", row.mac.to_string()), ("hostname", hostname)];
        names.encode_info(&labels)?;
    }
    let mut troubles = describe(
        to,
        "device_trouble",
        "What is wrong with a box: 1 as long as it is",
    )?;
    for row in rows {
        for trouble in &row.troubles {
            let mac = row.mac.to_string();
            let labels = [("mac", mac.as_str()), ("trouble", trouble.name())];
            gauge(1.0, troubles.encode_family(&labels)?)?;
        }
    }
    let help = "When a box last reported, since the epoch.";
    let mut reported = to.encode_descriptor(
        "device_last_heartbeat_timestamp",
        help,
        Some(&Unit::Seconds),
        MetricType::Gauge,
    )?;
    for row in rows {
        if let Some(at) = row.reported {
            let labels = [("mac", row.mac.to_string())];
            let seconds = at.0.as_millisecond() as f64 / 1000.0;
            gauge(seconds, reported.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// A gauge without a unit.
fn describe<'a>(
    to: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    to.encode_descriptor(name, &format!("{help}."), None, MetricType::Gauge)
}

fn gauge(value: f64, to: MetricEncoder<'_>) -> fmt::Result {
    ConstGauge::new(value).encode(to)
}
