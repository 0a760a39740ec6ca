//! The life of the process: sockets in, ready, reload, drain, stop.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use listenfd::ListenFd;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use crate::config::Config;
use crate::http::{App, Installations, routes};
use crate::listener::{self, Gate, ListenError};
use crate::neighbours::Neighbours;
use crate::seed::{Templates, templates_folder};
use crate::site::SiteFiles;
use crate::store::{Limits, Store};
use crate::systemd;

/// Longest that requests under way may take after SIGTERM.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);

/// What a last round of commits may take, even when requests used up the time.
const LAST_ROUND_PATIENCE: Duration = Duration::from_millis(200);

/// How often the text of `systemctl status` is brought up to date.
const STATUS_PERIOD: Duration = Duration::from_secs(1);

/// How long a new task may wait for a thread before the service counts as hung.
const WORKER_PATIENCE: Duration = Duration::from_secs(5);

/// Threads that serve requests: a boot storm needs few, and each costs memory.
const MAX_WORKERS: usize = 4;

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No socket can be served.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A thread, a signal handler or a socket could not be set up.
    #[error("the service cannot be set up: {0}")]
    Setup(#[from] io::Error),
    /// A template that is compiled in does not compile.
    #[error("the embedded templates are broken, which is a defect: {0}")]
    Embedded(#[from] minijinja::Error),
}

/// Serves until SIGTERM or SIGINT.
pub fn run(config: &Config, inherited: ListenFd) -> Result<(), StartError> {
    let by_hand = inherited.len() == 0;
    let sockets = listener::sockets(inherited, &config.listen)?;
    let workers = std::thread::available_parallelism().map_or(2, |cores| cores.get());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.clamp(2, MAX_WORKERS))
        .enable_all()
        .build()?;
    let app = Arc::new(open(config)?);
    let outcome = runtime.block_on(serve(config, app, sockets, by_hand));
    // What is still running was given its time: a download to a dead box, a lookup.
    runtime.shutdown_background();
    outcome
}

fn open(config: &Config) -> Result<App, StartError> {
    let limits = Limits {
        history: config.history_limit.get(),
        clients: config.max_clients.get(),
    };
    let site_files = Arc::new(SiteFiles::load(&config.data_path));
    Ok(App {
        templates: Templates::load(
            templates_folder(&config.data_path),
            config.fallback_password_hash.reveal(),
            Arc::clone(&site_files),
        )?,
        site_files,
        installations: Installations::default(),
        store: Store::open(config.data_path.join("state"), limits)?,
        neighbours: Neighbours::new(config.arp_table.clone()),
        onboard: config.data_path.join("onboard"),
        peers_refused: AtomicU64::new(0),
    })
}

async fn serve(
    config: &Config,
    app: Arc<App>,
    sockets: Vec<std::net::TcpListener>,
    by_hand: bool,
) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;

    let gate = Gate::new(
        config.allowed_networks.clone(),
        config.max_connections.get(),
    );
    let gate = Arc::new(gate);
    let router = routes(Arc::clone(&app));
    let (stop, stopped) = watch::channel(false);
    let mut listeners = JoinSet::new();
    for socket in sockets {
        let listener = TcpListener::from_std(socket)?;
        let address = listener.local_addr()?;
        info!(
            version = env!("CARGO_PKG_VERSION"),
            "listening on http://{address}"
        );
        if by_hand {
            print_what_to_try(address);
        }
        listeners.spawn(listener::serve(
            listener,
            Arc::clone(&gate),
            Arc::clone(&app),
            router.clone(),
            stopped.clone(),
            DRAIN_PATIENCE,
        ));
    }

    let mut status = status(&app).await;
    systemd::ready(&status);
    let mut status_ticks = interval(STATUS_PERIOD);
    status_ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watchdog_ticks = systemd::watchdog_period().map(interval);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                systemd::reloading();
                reload(&app).await;
                systemd::ready(&status);
            }
            _ = status_ticks.tick() => {
                let now = self::status(&app).await;
                if now != status {
                    systemd::status(&now);
                    status = now;
                }
            }
            _ = tick(&mut watchdog_ticks) => {
                if app.store.is_making_progress() && workers_answer().await {
                    systemd::alive();
                }
            }
        }
    }

    info!(
        "stopping: what is under way may finish within {} s",
        DRAIN_PATIENCE.as_secs()
    );
    systemd::stopping(DRAIN_PATIENCE + Duration::from_secs(5));
    let deadline = Instant::now() + DRAIN_PATIENCE;
    stop.send_replace(true);
    while listeners.join_next().await.is_some() {}
    let left = deadline
        .saturating_duration_since(Instant::now())
        .max(LAST_ROUND_PATIENCE);
    if !matches!(timeout(left, app.store.flush()).await, Ok(Ok(()))) {
        warn!("the last seed fetches are not on record: the state is busy or cannot be written");
    }
    info!("stopped");
    Ok(())
}

/// Whether the threads that serve requests take a new task.
async fn workers_answer() -> bool {
    timeout(WORKER_PATIENCE, tokio::spawn(async {}))
        .await
        .is_ok()
}

/// The next tick, or never where there is no interval.
async fn tick(ticks: &mut Option<tokio::time::Interval>) {
    match ticks {
        Some(ticks) => _ = ticks.tick().await,
        None => std::future::pending().await,
    }
}

/// Reads templates and state again. Both are always served as they are on the disk; a reload
/// makes faults show at once instead of at the next request.
async fn reload(app: &App) {
    app.templates.reload();
    if let Err(reason) = app.store.clients().await {
        warn!(%reason, "the state cannot be read: {reason}");
    }
    info!("reloaded");
}

/// How things stand, in one line.
async fn status(app: &App) -> String {
    let clients = app
        .store
        .clients()
        .await
        .unwrap_or_else(|_| app.store.latest());
    let (ready, failed) = clients.ready_and_failed();
    let last = clients.last_heartbeat();
    let last = last.as_deref().unwrap_or("never");
    let faults = app.templates.faults();
    let templates = match faults.first() {
        None => "templates ok".to_owned(),
        Some(fault) => format!("template broken: {fault}"),
    };
    let known = clients.len();
    let state = match app.store.trouble() {
        None => String::new(),
        Some(reason) => format!("; STATE NOT WRITTEN: {reason}"),
    };
    format!(
        "{known} devices, {ready} ready, {failed} failed; last heartbeat {last}; {templates}{state}"
    )
}

fn print_what_to_try(address: SocketAddr) {
    let heartbeat = r#"{"mac": "00:00:5e:00:53:01", "stage": "network", "phase": "done"}"#;
    let text = format!(
        "gb10-provision-api serves on http://{address}; try:
  curl 'http://{address}/cloud-init/user-data?mac=00:00:5e:00:53:01'
  curl http://{address}/heartbeat -d '{heartbeat}'
  curl http://{address}/clients
  curl http://{address}/healthz\n"
    );
    // Nobody may be reading it.
    let _ = io::stdout().write_all(text.as_bytes());
}
