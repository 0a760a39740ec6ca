//! `gb10-provision-api doctor`: what stands between this host and the first ready box.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::boot::planned;
use super::progress::{bar, show};
use super::reached::reached_at;
use super::{check, count};
use crate::device::boot::{Boot, Decision};
use crate::device::mac::MacAddr;
use crate::dnsmasq::{CONFIGURATION, Interface};
use crate::doctor::policy::{Standing, judge};
use crate::doctor::{self, Check, Subject, Verdict};
use crate::files::layout;
use crate::gate::{self, decide, decide_without_records};
use crate::seed::{Finding, Report};
use crate::service::settings::Settings;
use crate::site::{Devices, SiteFiles};
use crate::store::{self, Clients};

/// How to look.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The interface on the LAN; without it, the one that has the address
    #[arg(long, value_name = "INTERFACE")]
    interface: Option<Interface>,
    /// Where boxes reach the service; without it, as gb10-provision-api.socket says, or else
    /// 10.88.0.1:8088
    #[arg(long, value_name = "ADDRESS:PORT")]
    reached_at: Option<SocketAddrV4>,
    /// The configuration of dnsmasq
    #[arg(long, value_name = "FILE", default_value = CONFIGURATION)]
    dnsmasq_config: PathBuf,
    /// Do not hash the images
    #[arg(long)]
    quick: bool,
    /// Print one JSON object, for machines
    #[arg(long)]
    json: bool,
}

/// All that was found, for machines.
#[derive(Serialize)]
struct Findings<'a> {
    /// The worst one.
    verdict: Verdict,
    checks: &'a [Check],
}

/// Looks, and tells each finding as it comes.
pub(super) fn run(settings: &Settings, options: Options) -> ExitCode {
    let site_files = SiteFiles::load(&settings.data_path);
    let planned =
        planned(settings, &site_files).unwrap_or_else(|_| doctor::configuration::Planned {
            // What is wrong with site.json stands in a line of its own.
            allowed: settings.allowed_networks.clone(),
            names_router: false,
        });
    let subject = Subject {
        data_path: settings.data_path.clone(),
        reached_at: reached_at(options.reached_at),
        interface: options.interface,
        configuration: options.dnsmasq_config,
        planned,
        is_quick: options.quick,
    };
    let bar = bar();
    let mut checks = Vec::new();
    let mut tell = |check: Check| {
        if !options.json {
            bar.suspend(|| print(&check));
        }
        checks.push(check);
    };
    doctor::examine(&subject, &|done, total| show(&bar, done, total), &mut tell);
    staged(&check::report(settings))
        .into_iter()
        .for_each(&mut tell);
    tell(policy(settings, &site_files.devices()));
    bar.finish_and_clear();

    let verdict = checks.iter().map(|check| check.verdict).max();
    let verdict = verdict.unwrap_or(Verdict::Ok);
    match options.json {
        true => print_json(&Findings {
            verdict,
            checks: &checks,
        }),
        false => print_summary(&checks),
    }
    match verdict {
        Verdict::Fail => ExitCode::FAILURE,
        Verdict::Ok | Verdict::Skip | Verdict::Warn => ExitCode::SUCCESS,
    }
}

/// Templates and site files, as `check` sees them.
fn staged(report: &Report) -> Vec<Check> {
    let is_root = rustix::process::geteuid().is_root();
    let is_of_site = |finding: &&Finding| finding.file.ends_with(".json");
    let (site, templates): (Vec<_>, Vec<_>) = report.faults.iter().partition(is_of_site);
    let judge = |name, what: &str, faults: &[&Finding]| match faults {
        [] => Check::ok(name, format!("{what} have no fault")),
        [fault, ..] if !is_root && fault.reason.contains("ermission denied") => Check::skip(
            name,
            format!("skipped: needs root: {fault}"),
            "run it by sudo",
        ),
        // With a fault in it, boxes get what was there before, or the fallback.
        [fault, rest @ ..] => {
            let more = match rest.len() {
                0 => String::new(),
                more => format!(", and {} more", count(more, "fault")),
            };
            Check::fail(name, format!("{fault}{more}"), "gb10-provision-api check")
        }
    };
    vec![
        judge("templates", "the templates", &templates),
        judge("site", "site.json, devices.json and baseline.json", &site),
    ]
}

/// The policy, and what the gate would say of each box.
fn policy(settings: &Settings, devices: &Devices) -> Check {
    let clients = store::read(layout::state(&settings.data_path));
    judge(&match &clients {
        Ok(clients) => Ok(standing(settings, clients, devices)),
        Err(reason) => Err(reason.to_string()),
    })
}

fn standing(settings: &Settings, clients: &Clients, devices: &Devices) -> Standing {
    let rules = settings.rules();
    let state = layout::state(&settings.data_path);
    let decide = match store::has_moved_aside(&state) {
        Ok(true) => decide_without_records,
        Ok(false) | Err(_) => decide,
    };
    let verdict = |mac: MacAddr| {
        let boot = clients.boot(mac, devices.ports(mac));
        (mac, decide(rules.of_box(devices.policy(mac)), &boot))
    };
    let known: BTreeSet<MacAddr> = clients
        .macs()
        .map(|mac| devices.primary(mac))
        .chain(devices.iter().map(|(mac, _)| mac))
        .collect();
    let verdicts: Vec<_> = known.into_iter().map(verdict).collect();
    let is_installed = |verdict: &gate::Verdict| verdict.decision == Decision::Install;
    Standing {
        policy: rules.policy.name(),
        known: verdicts.len(),
        to_install: verdicts
            .iter()
            .filter(|(_, verdict)| is_installed(verdict))
            .count(),
        installs_new: is_installed(&decide(rules, &Boot::default())),
        given_up: verdicts
            .iter()
            .filter(|(_, verdict)| verdict.is_given_up)
            .map(|(mac, _)| mac.to_string())
            .collect(),
    }
}

fn print(check: &Check) {
    let verdict = match check.verdict {
        Verdict::Ok => "OK",
        Verdict::Skip => "SKIP",
        Verdict::Warn => "WARN",
        Verdict::Fail => "FAIL",
    };
    println!("{verdict:<4}  {:<14}  {}", check.name, check.text);
    if let Some(remedy) = &check.remedy {
        println!("{:22}-> {remedy}", "");
    }
}

fn print_summary(checks: &[Check]) {
    let number = |verdict| {
        checks
            .iter()
            .filter(|check| check.verdict == verdict)
            .count()
    };
    println!(
        "{}: {} FAIL, {} WARN, {} SKIP",
        count(checks.len(), "check"),
        number(Verdict::Fail),
        number(Verdict::Warn),
        number(Verdict::Skip)
    );
}

fn print_json(findings: &Findings<'_>) {
    match serde_json::to_string_pretty(findings) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("the findings cannot be written as JSON: {error}"),
    }
}
