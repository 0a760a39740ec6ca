//! What the live table shows, and what a key does to it. Pure: no terminal, no clock, no file.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::device::mac::MacAddr;
use crate::device::view::{Row, Standing, Totals};
use crate::terminal::Times;
use crate::terminal::table::{COLUMNS, Column};

/// The order of the boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Those that need somebody first.
    Need,
    /// By host name.
    Name,
    /// By MAC.
    Mac,
    /// By stage.
    Stage,
    /// Those that were not heard of for the longest time first.
    Heard,
}

impl Sort {
    const ALL: [Self; 5] = [Self::Need, Self::Name, Self::Mac, Self::Stage, Self::Heard];

    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Need => "need",
            Self::Name => "name",
            Self::Mac => "MAC",
            Self::Stage => "stage",
            Self::Heard => "heard",
        }
    }
}

/// What is to be done after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Go on.
    Go,
    /// Draw all of the screen anew.
    Redraw,
    /// End.
    Quit,
}

/// All that the live table knows.
#[derive(Debug)]
pub struct Model {
    rows: Vec<Row>,
    /// How many boxes stand how.
    pub totals: Totals,
    /// The order.
    pub sort: Sort,
    /// The only standing that is shown; none where all are.
    pub only: Option<Standing>,
    /// What a box must have somewhere in its line to be shown.
    pub filter: String,
    /// Whether that is being typed.
    pub is_typing: bool,
    /// The box that the keys are about.
    pub selected: Option<MacAddr>,
    /// The box whose story is shown.
    pub pane: Option<MacAddr>,
    /// The first line of the story that is shown.
    pub scroll: usize,
    /// The first box that is shown.
    pub top: usize,
    /// How many lines the keys for a page move by; whoever draws sets it.
    pub page: usize,
    /// What is to be known of the service.
    pub note: Option<String>,
    /// Why the records cannot be read, where they cannot.
    pub trouble: Option<String>,
    /// Whether there may be colours.
    pub has_colours: bool,
}

impl Model {
    /// Nothing yet; boxes of one standing only, or the story of one box at once.
    pub fn new(only: Option<Standing>, pane: Option<MacAddr>, has_colours: bool) -> Self {
        Self {
            rows: Vec::new(),
            totals: Totals::default(),
            sort: Sort::Need,
            only,
            filter: String::new(),
            is_typing: false,
            selected: pane,
            pane,
            scroll: 0,
            top: 0,
            page: 1,
            note: None,
            trouble: None,
            has_colours,
        }
    }

    /// Takes another version of the records. The box that was selected stays so, wherever it stands
    /// now; where it is gone, the one that took its place.
    pub fn set_rows(&mut self, rows: Vec<Row>, totals: Totals) {
        let at = self.position();
        self.rows = rows;
        self.totals = totals;
        self.settle(at);
    }

    /// The boxes that are shown, in their order.
    pub fn shown(&self) -> Vec<&Row> {
        let filter = self.filter.to_lowercase();
        let is_shown = |row: &&Row| {
            self.only.is_none_or(|only| row.standing == only)
                && (filter.is_empty() || has(row, &filter))
        };
        let mut shown: Vec<&Row> = self.rows.iter().filter(is_shown).collect();
        match self.sort {
            Sort::Need => {}
            Sort::Name => shown.sort_by_key(|row| (row.hostname.clone(), row.mac)),
            Sort::Mac => shown.sort_by_key(|row| row.mac),
            Sort::Stage => shown.sort_by_cached_key(|row| (row.stands(), row.order())),
            Sort::Heard => shown.sort_by_key(|row| (row.heard, row.mac)),
        }
        shown
    }

    /// Whether any box is on record.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Where the selected box is among those that are shown.
    pub fn position(&self) -> Option<usize> {
        self.shown()
            .iter()
            .position(|row| Some(row.mac) == self.selected)
    }

    /// Selects a box that is shown: the same, or the one in its place. A story that is being read
    /// stays.
    fn settle(&mut self, before: Option<usize>) {
        if self.position().is_none() {
            self.selected = self.at(before.unwrap_or(0));
        }
    }

    /// The box in this place, or the last one before it.
    fn at(&self, place: usize) -> Option<MacAddr> {
        let shown = self.shown();
        shown.get(place).or(shown.last()).map(|row| row.mac)
    }

    /// Selects a box; where a story is shown, it is the story of that one.
    fn select(&mut self, place: usize) {
        self.selected = self.at(place);
        if self.pane.is_some() && self.pane != self.selected {
            self.scroll = 0;
            self.pane = self.selected;
        }
    }

    /// Does what a key says.
    pub fn key(&mut self, key: KeyEvent) -> Outcome {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Outcome::Quit,
                KeyCode::Char('l') => Outcome::Redraw,
                _ => Outcome::Go,
            };
        }
        if self.is_typing {
            self.type_key(key.code);
            return Outcome::Go;
        }
        let at = self.position().unwrap_or(0);
        match key.code {
            KeyCode::Char('q') => return Outcome::Quit,
            KeyCode::Up | KeyCode::Char('k') => self.select(at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(at + 1),
            KeyCode::Home | KeyCode::Char('g') => self.select(0),
            KeyCode::End | KeyCode::Char('G') => self.select(usize::MAX),
            KeyCode::PageUp => self.turn(at, false),
            KeyCode::PageDown | KeyCode::Char(' ') => self.turn(at, true),
            KeyCode::Enter => {
                self.scroll = 0;
                self.pane = match self.pane {
                    Some(_) => None,
                    None => self.selected,
                };
            }
            KeyCode::Esc => match self.pane.take() {
                Some(_) => {}
                None => self.narrow(None, String::new()),
            },
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('f') => {
                let only = after(self.only, &Standing::ALL);
                self.narrow(only, self.filter.clone());
            }
            KeyCode::Char('s') => {
                let next = after(Some(self.sort), &Sort::ALL);
                self.sort = next.unwrap_or(Sort::Need);
            }
            _ => {}
        }
        Outcome::Go
    }

    fn type_key(&mut self, key: KeyCode) {
        let mut filter = self.filter.clone();
        match key {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                filter.clear();
            }
            KeyCode::Backspace => {
                filter.pop();
            }
            KeyCode::Char(c) => filter.push(c),
            _ => {}
        }
        self.narrow(self.only, filter);
    }

    fn narrow(&mut self, only: Option<Standing>, filter: String) {
        let at = self.position();
        self.only = only;
        self.filter = filter;
        self.settle(at);
    }

    /// A page on or back: of the story where one is shown, else of the table.
    fn turn(&mut self, at: usize, is_on: bool) {
        let page = self.page.max(1);
        match (self.pane, is_on) {
            (Some(_), true) => self.scroll += page,
            (Some(_), false) => self.scroll = self.scroll.saturating_sub(page),
            (None, true) => self.select(at + page),
            (None, false) => self.select(at.saturating_sub(page)),
        }
    }
}

/// Whether a box has this text, in lower case, somewhere in its line but in the times.
fn has(row: &Row, text: &str) -> bool {
    let is_time = |column: &Column| matches!(column, Column::Since | Column::Heard);
    let columns = COLUMNS.iter().filter(|column| !is_time(column));
    let mut cells = columns.map(|column| column.cell(row, Times::Absolute));
    cells.any(|cell| cell.to_lowercase().contains(text))
}

/// The one after this; none after the last, the first after none.
fn after<T: Copy + PartialEq>(this: Option<T>, all: &[T]) -> Option<T> {
    let next = match this {
        None => 0,
        Some(this) => all.iter().position(|other| *other == this)? + 1,
    };
    all.get(next).copied()
}
