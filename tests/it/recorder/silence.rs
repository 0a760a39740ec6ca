//! The whole way from a box's last word to the warning, over the recorder and a real state, by a
//! clock that the test moves.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gb10_provision_api::device::heartbeat::{Checked, Report, Sender};
use gb10_provision_api::device::mac::{MacAddr, MacSource};
use gb10_provision_api::device::record::Limits;
use gb10_provision_api::device::stage::{Phase, Stage};
use gb10_provision_api::device::view::Standing;
use gb10_provision_api::recorder::{Recorder, SilenceWatch};
use gb10_provision_api::site::SiteFiles;
use gb10_provision_api::store::Store;
use jiff::Timestamp;
use tempfile::TempDir;

const MINUTE: Duration = Duration::from_secs(60);
const MACS: [&str; 3] = [
    "3c:6d:66:0a:1b:2c",
    "3c:6d:66:0a:1b:2d",
    "3c:6d:66:0a:1b:2e",
];

/// A service without its sockets, whose clock the test moves.
struct Bench {
    recorder: Arc<Recorder>,
    store: Arc<Store>,
    watch: SilenceWatch,
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path().join("state"), 64).unwrap());
        let limits = Limits {
            events: 100,
            bytes: 65536,
        };
        let site_files = Arc::new(SiteFiles::load(folder.path()));
        let recorder = Arc::new(Recorder::new(Arc::clone(&store), site_files, limits, 64));
        let onboard = folder.path().to_owned();
        Self {
            watch: SilenceWatch::new(Arc::clone(&recorder), 15 * MINUTE, onboard),
            recorder,
            store,
            folder,
        }
    }

    async fn report(&self, mac: &str, stage: Stage, phase: Phase) {
        let sender = Sender {
            mac: mac.parse().unwrap(),
            mac_source: MacSource::Body,
            arp_mac: None,
            is_neighbour: false,
            is_confirmed: true,
            ip: [10, 88, 0, 7].into(),
            hostname: None,
        };
        let report = Report {
            sender,
            at: Timestamp::now(),
            stage,
            phase,
            detail: None,
            checked: Checked::default(),
            is_addition: false,
        };
        self.recorder.heartbeat(report).await.unwrap();
    }

    /// Who is on record as stalled, once that much time has passed.
    async fn stalled_after(&mut self, time: Duration) -> BTreeSet<MacAddr> {
        // Only for a moment: else the clock would run by itself while the disk is waited for.
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
        self.watch.look().await;
        let clients = self.store.clients().await.unwrap();
        let stalled = clients
            .rows()
            .filter(|row| row.standing == Standing::Stalled);
        stalled.map(|row| row.mac).collect()
    }
}

fn macs<const N: usize>(numbers: [usize; N]) -> BTreeSet<MacAddr> {
    numbers
        .into_iter()
        .map(|n| MACS[n].parse().unwrap())
        .collect()
}

#[tokio::test]
async fn a_quarter_of_an_hour_after_its_last_word_a_box_is_silent_and_until_its_next() {
    let mut bench = Bench::new();
    bench.report(MACS[0], Stage::Install, Phase::Start).await;
    bench.report(MACS[1], Stage::Ready, Phase::Done).await;
    bench.report(MACS[2], Stage::Install, Phase::Fail).await;
    assert_eq!(bench.stalled_after(14 * MINUTE).await, macs([]));
    assert_eq!(bench.stalled_after(2 * MINUTE).await, macs([0]));
    assert_eq!(bench.stalled_after(600 * MINUTE).await, macs([0]));
    bench.report(MACS[0], Stage::Install, Phase::Done).await;
    assert_eq!(bench.stalled_after(Duration::ZERO).await, macs([]));
    assert_eq!(bench.stalled_after(14 * MINUTE).await, macs([]));
    assert_eq!(bench.stalled_after(2 * MINUTE).await, macs([0]));
}

fn stage_manifest(folder: &Path, payload_seconds: u64) {
    let manifest = format!(
        r#"{{"version": 1, "stages": [
            {{"stage": "network", "script": "stages/10-network.sh", "timeout": 60}},
            {{"stage": "network", "script": "stages/20-storage.sh", "timeout": 120}},
            {{"stage": "payload", "script": "stages/50-payload.sh", "timeout": {payload_seconds}}},
            {{"stage": "verify", "script": "stages/60-verify.sh"}}]}}"#
    );
    std::fs::write(folder.join("manifest.json"), manifest).unwrap();
}

#[tokio::test]
async fn a_stage_has_the_time_that_the_manifest_gives_it_and_five_minutes() {
    let mut bench = Bench::new();
    stage_manifest(bench.folder.path(), 1800);
    bench.report(MACS[0], Stage::Network, Phase::Start).await;
    bench.report(MACS[1], Stage::Payload, Phase::Start).await;
    bench.report(MACS[2], Stage::Verify, Phase::Start).await;
    assert_eq!(bench.stalled_after(6 * MINUTE).await, macs([]));
    // 2 minutes and 5.
    assert_eq!(bench.stalled_after(2 * MINUTE).await, macs([0]));
    // 15 minutes, without a limit of its own.
    assert_eq!(bench.stalled_after(8 * MINUTE).await, macs([0, 2]));
    assert_eq!(bench.stalled_after(18 * MINUTE).await, macs([0, 2]));
    // What an operator changes meanwhile counts; what no box would take does not.
    stage_manifest(bench.folder.path(), 3600);
    assert_eq!(bench.stalled_after(2 * MINUTE).await, macs([0, 2]));
    std::fs::write(bench.folder.path().join("manifest.json"), "{").unwrap();
    assert_eq!(bench.stalled_after(28 * MINUTE).await, macs([0, 2]));
    assert_eq!(bench.stalled_after(2 * MINUTE).await, macs([0, 1, 2]));
}

#[tokio::test]
async fn a_box_that_is_on_record_of_old_has_a_while_to_speak_after_a_start() {
    let mut bench = Bench::new();
    let old = r#"{"3c:6d:66:0a:1b:2c": {"current_stage": "network", "last_heartbeat": "2026-01-01T00:00:00Z", "stages": []}}"#;
    std::fs::write(bench.folder.path().join("state/clients.json"), old).unwrap();
    bench.store.clients().await.unwrap();
    assert_eq!(bench.stalled_after(Duration::ZERO).await, macs([]));
    assert_eq!(bench.stalled_after(4 * MINUTE).await, macs([]));
    assert_eq!(bench.stalled_after(2 * MINUTE).await, macs([0]));
}
