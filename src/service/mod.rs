//! The life of the process: sockets in, ready, reload, drain, stop.

pub mod credential;
pub mod installed;
pub mod journal;
mod limits;
mod quota;
pub mod settings;
mod status;
mod systemd;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use listenfd::ListenFd;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use self::quota::Quotas;
use self::settings::Settings;
use crate::device::record::Limits;
use crate::files::layout;
use crate::http::board::LiveBoard;
use crate::http::browser::Names;
use crate::http::{self, App, Metrics};
use crate::logs::Logs;
use crate::net::neighbours::Neighbours;
use crate::net::sockets::{self, ListenError};
use crate::net::{Admission, Listener, Stop, Stopping};
use crate::recorder::{Recorder, SilenceWatch};
use crate::seed::{RENDERING_STACK, Templates};
use crate::site::SiteFiles;
use crate::store::Store;

/// Longest that requests under way may take after SIGTERM.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What a last round of commits may take, even when requests used up the time.
const LAST_ROUND_TIMEOUT: Duration = Duration::from_millis(200);

/// How often the text of `systemctl status` is brought up to date.
const STATUS_PERIOD: Duration = Duration::from_secs(1);

/// How long a new task may wait for a thread before the service counts as hung.
const WORKER_TIMEOUT: Duration = Duration::from_secs(5);

/// Threads that serve requests: a boot storm needs few, and each costs memory.
const MAX_WORKERS: usize = 4;

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No socket can be served.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A thread, a signal handler or a socket could not be set up.
    #[error("the service cannot start: {0}")]
    Setup(#[from] io::Error),
}

impl StartError {
    /// Whether an address is the reason that must not be listened on.
    pub fn is_of_the_address(&self) -> bool {
        matches!(self, Self::Listen(ListenError::Wildcard(_)))
    }
}

/// Serves until SIGTERM or SIGINT.
pub fn run(settings: &Settings, inherited: ListenFd, quotas: &Quotas) -> Result<(), StartError> {
    let by_hand = inherited.len() == 0;
    let sockets = sockets::sockets(inherited, &settings.listen)?;
    let workers = std::thread::available_parallelism().map_or(2, |cores| cores.get());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.clamp(2, MAX_WORKERS))
        .thread_stack_size(RENDERING_STACK)
        .enable_all()
        .build()?;
    {
        let _runtime = runtime.enter();
        limits::ignore_file_size_signal()?;
    }
    let (stop, stopping) = Stop::new();
    let app = Arc::new(open(settings, stopping)?);
    let silence = SilenceWatch::new(
        Arc::clone(&app.recorder),
        settings.stall_after,
        app.onboard.clone(),
    );
    let outcome = runtime.block_on(serve(app, sockets, by_hand, stop, silence, quotas));
    // What is still running was given its time: a download to a dead box, a lookup.
    runtime.shutdown_background();
    outcome
}

fn open(settings: &Settings, stopping: Stopping) -> Result<App, StartError> {
    let data_path = &settings.data_path;
    let max_clients = settings.max_clients.get();
    let site_files = Arc::new(SiteFiles::load(data_path));
    let store = Arc::new(Store::open(layout::state(data_path), max_clients)?);
    let recorder = Recorder::new(
        Arc::clone(&store),
        Arc::clone(&site_files),
        Limits {
            events: settings.history_limit.get(),
            bytes: settings.record_bytes.get(),
        },
        max_clients,
    );
    let (connections, viewers) =
        limits::places(settings.max_connections.get(), settings.max_viewers.get());
    let admission = Admission::new(
        settings.allowed_networks.clone(),
        connections,
        settings.peer_connections.get(),
        viewers,
    );
    Ok(App {
        templates: Templates::load(
            layout::templates(data_path),
            settings.fallback_password_hash.reveal(),
            Arc::clone(&site_files),
        ),
        site_files,
        logs: Logs::open(layout::logs(data_path)),
        metrics: Metrics::new(&store),
        store,
        recorder: Arc::new(recorder),
        neighbours: Neighbours::new(settings.arp_table.clone()),
        onboard: layout::onboard(data_path),
        boot: layout::boot(data_path),
        rules: settings.rules(),
        seed_access: settings.seed_access,
        names: Names::new(&settings.server_names),
        public_url: settings.public_url.clone(),
        admission: Arc::new(admission),
        board: LiveBoard::new(),
        stopping,
    })
}

async fn serve(
    app: Arc<App>,
    sockets: Vec<std::net::TcpListener>,
    by_hand: bool,
    stop: Stop,
    silence: SilenceWatch,
    quotas: &Quotas,
) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;

    let service = http::service(Arc::clone(&app));
    let mut listeners = JoinSet::new();
    for socket in sockets {
        let socket = TcpListener::from_std(socket)?;
        let address = socket.local_addr()?;
        info!(
            version = env!("CARGO_PKG_VERSION"),
            "listening on http://{address}"
        );
        if by_hand {
            print_what_to_try(address);
        }
        let listener = Listener {
            socket,
            admission: Arc::clone(&app.admission),
            service: service.clone(),
            stopping: app.stopping.clone(),
            drain_timeout: DRAIN_TIMEOUT,
        };
        listeners.spawn(listener.serve());
    }
    let recorder = Arc::clone(&app.recorder);
    tokio::spawn(async move { recorder.enter_sightings().await });
    tokio::spawn(http::board::follow(Arc::clone(&app)));

    tokio::spawn(silence.run());

    let mut status = status::line(&app).await;
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
                quotas.tell();
                let now = status::line(&app).await;
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
    drain(&app, stop, listeners).await;
    quotas.tell_rest();
    info!("stopped");
    Ok(())
}

/// Ends the service in good order. What each part gets:
///
/// - `stop`: every listener closes its socket, every connection finishes the request that it has
///   begun, and an answer without an end of its own (a live stream) ends now. Whoever connected a
///   moment ago may still send a first request.
/// - `listeners`: each ends when its connections have, at the latest after [`DRAIN_TIMEOUT`].
/// - `app.recorder`: what is in memory alone, fetches of seeds and milestones, goes on record in the time that is
///   left, and at least within [`LAST_ROUND_TIMEOUT`]. Heartbeats need none of this: their
///   connections waited for the disk.
/// - systemd: is told at once that this takes [`DRAIN_TIMEOUT`] and a little more, so that it does
///   not kill what is about to end.
async fn drain(app: &App, stop: Stop, mut listeners: JoinSet<()>) {
    let seconds = DRAIN_TIMEOUT.as_secs();
    info!("stopping: requests under way may finish within {seconds} s");
    systemd::stopping(DRAIN_TIMEOUT + Duration::from_secs(5));
    let deadline = Instant::now() + DRAIN_TIMEOUT;
    stop.give();
    while listeners.join_next().await.is_some() {}
    let left = deadline.saturating_duration_since(Instant::now());
    app.recorder.finish(left.max(LAST_ROUND_TIMEOUT)).await;
}

/// Whether the threads that serve requests take a new task.
async fn workers_answer() -> bool {
    timeout(WORKER_TIMEOUT, tokio::spawn(async {}))
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

fn print_what_to_try(address: SocketAddr) {
    let heartbeat = r#"{"mac": "00:00:5e:00:53:01", "stage": "network", "phase": "done"}"#;
    let text = format!(
        "gb10-provision-api serves on http://{address}; open that in a browser, or try:
  curl 'http://{address}/cloud-init/user-data?mac=00:00:5e:00:53:01'
  curl http://{address}/heartbeat -d '{heartbeat}'
  curl http://{address}/clients
  curl http://{address}/healthz\n"
    );
    // Nobody may be reading it.
    let _ = io::stdout().write_all(text.as_bytes());
}
