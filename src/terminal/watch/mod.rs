//! The table, live: it follows `clients.json`, and needs neither the network nor the service.

pub mod draw;
pub mod model;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::model::{Model, Outcome};
use super::records::Records;

/// Between two looks at the stamp of the file.
const LOOK: Duration = Duration::from_millis(500);

/// What a look that read a large file is followed by, in times of what it took: one processor is not
/// for this alone.
const REST: u32 = 4;

/// Longest until a frame is drawn anew, for the times in it.
const FRAME: Duration = Duration::from_secs(1);

/// How soon a key, a signal or a new size of the window counts.
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

/// Shows the records until somebody wants no more, or a signal ends it. `note` says what is to be
/// known of the service, and may take its time.
///
/// # Errors
/// The terminal failed.
pub fn run(
    mut records: Records,
    mut model: Model,
    note: impl Fn() -> Option<String> + Send + 'static,
) -> io::Result<()> {
    let is_over = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&is_over))?;
    }
    let notes = asked_now_and_then(note);
    let mut screen = Screen::take()?;
    model.set_rows(records.rows(), records.totals());
    let mut next_look = Instant::now() + LOOK;
    let mut next_frame = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
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
        let wait = next_frame
            .saturating_duration_since(Instant::now())
            .min(STEP);
        if !event::poll(wait)? {
            continue;
        }
        next_frame = Instant::now();
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => match model.key(key) {
                Outcome::Go => {}
                Outcome::Redraw => screen.0.clear()?,
                Outcome::Quit => break,
            },
            _ => {}
        }
    }
    Ok(())
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
