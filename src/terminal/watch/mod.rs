//! The table, live: it follows `clients.json`, and needs neither the network nor the service.

pub mod draw;
pub mod model;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use rustix::event::{PollFd, PollFlags, Timespec};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use self::model::{Model, Outcome};
use super::records::Records;

/// Between two looks at the stamp of the file.
const LOOK: Duration = Duration::from_millis(500);

/// What a look that read a large file is followed by, in times of what it took: one processor is not
/// for this alone.
const REST: u32 = 4;

/// Longest until a frame is drawn anew, for the times in it.
const FRAME: Duration = Duration::from_secs(1);

/// How soon a signal counts, and that the terminal is gone.
const STEP: Duration = Duration::from_millis(100);

/// Between two questions to systemd how the service is.
const ASK: Duration = Duration::from_secs(5);

/// The terminal, taken. It is given back when this goes, by a panic too.
pub struct Screen(DefaultTerminal);

impl Screen {
    /// Takes it: keys come as they are pressed, and what was on it comes back later.
    pub fn take() -> io::Result<Self> {
        ratatui::try_init().map(Self).inspect_err(|_| {
            // Half of it may have gone well.
            let _ = ratatui::try_restore();
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.0.show_cursor();
        let _ = ratatui::try_restore();
    }
}

/// Shows the records until somebody wants no more, a signal ends it, or the terminal is gone. `note`
/// says what is to be known of the service, and may take its time.
///
/// # Errors
/// The terminal failed.
pub fn run(
    records: Records,
    model: Model,
    note: impl Fn() -> Option<String> + Send + 'static,
) -> io::Result<()> {
    let is_over = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        // The second one ends the process, whatever holds it up: a terminal that takes no more.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&is_over))?;
        flag::register(signal, Arc::clone(&is_over))?;
    }
    let notes = asked_now_and_then(note);
    let mut screen = Screen::take()?;
    match show(records, model, &notes, &is_over, &mut screen) {
        // There is nobody to tell.
        Err(_) if is_gone() => Ok(()),
        outcome => outcome,
    }
}

fn show(
    mut records: Records,
    mut model: Model,
    notes: &mpsc::Receiver<Option<String>>,
    is_over: &AtomicBool,
    screen: &mut Screen,
) -> io::Result<()> {
    let events = events();
    model.set_rows(records.rows(), records.totals());
    let mut next_look = Instant::now() + LOOK;
    let mut next_frame = Instant::now();
    while !is_over.load(Ordering::Relaxed) && !is_gone() {
        if let Some(note) = notes.try_iter().last() {
            model.note = note;
            next_frame = Instant::now();
        }
        if Instant::now() >= next_look {
            let began = Instant::now();
            if look(&mut records, &mut model) {
                next_frame = Instant::now();
            }
            next_look = Instant::now() + LOOK.max(began.elapsed() * REST);
        }
        if Instant::now() >= next_frame {
            let story = model.pane.and_then(|mac| records.story(mac));
            screen.0.draw(|frame| {
                draw::frame(frame, &mut model, story.as_ref(), Timestamp::now());
            })?;
            next_frame = Instant::now() + FRAME;
        }
        let wait = next_frame.saturating_duration_since(Instant::now());
        let first = match events.recv_timeout(wait.min(STEP)) {
            Ok(event) => event?,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        next_frame = Instant::now();
        // All that is there already is one frame.
        for event in std::iter::once(Ok(first)).chain(events.try_iter()) {
            match event? {
                Event::Key(key) if key.kind != KeyEventKind::Release => match model.key(key) {
                    Outcome::Go => {}
                    Outcome::Redraw => screen.0.clear()?,
                    Outcome::Quit => return Ok(()),
                },
                _ => {}
            }
        }
    }
    Ok(())
}

/// What comes from the terminal, by a thread of its own: crossterm goes on reading for ever from a
/// terminal that is gone, and must hold up nothing then. The thread ends with the process.
fn events() -> mpsc::Receiver<io::Result<Event>> {
    let (tell, events) = mpsc::channel();
    thread::spawn(move || {
        loop {
            let event = event::read();
            let is_last = event.is_err();
            if tell.send(event).is_err() || is_last {
                return;
            }
        }
    });
    events
}

/// Whether the terminal is gone: its window was closed, or the connection to this host broke.
fn is_gone() -> bool {
    let stdin = io::stdin();
    let mut ends = [PollFd::new(&stdin, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let looked = rustix::event::poll(&mut ends, Some(&now));
    looked.is_ok() && !ends[0].revents().is_empty()
}

/// Reads the records again where they changed. Tells whether there is something new to show.
fn look(records: &mut Records, model: &mut Model) -> bool {
    match records.refresh() {
        Ok(false) => model.trouble.take().is_some(),
        Ok(true) => {
            model.trouble = None;
            model.set_rows(records.rows(), records.totals());
            true
        }
        Err(reason) => {
            model.trouble = Some(format!("the records cannot be read: {reason}"));
            true
        }
    }
}

/// What `note` says, from a thread that ends with the receiver.
fn asked_now_and_then(
    note: impl Fn() -> Option<String> + Send + 'static,
) -> mpsc::Receiver<Option<String>> {
    let (tell, notes) = mpsc::channel();
    thread::spawn(move || {
        while tell.send(note()).is_ok() {
            thread::sleep(ASK);
        }
    });
    notes
}
