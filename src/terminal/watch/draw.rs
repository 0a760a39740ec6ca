//! Draws the live table. However small the window is, it draws what fits.

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::model::Model;
use crate::device::story::Story;
use crate::device::view::Standing;
use crate::terminal::table::Table;
use crate::terminal::text::{clean, cut, pad, width};
use crate::terminal::{Times, story, totals, words};

/// From this height of the window on, a story has the lower half; below that all of it.
const SHARED: u16 = 16;

/// The keys, the most important first.
const KEYS: [&str; 8] = [
    "q quit",
    "↑↓ select",
    "Enter story",
    "/ filter",
    "f state",
    "s sort",
    "PgUp PgDn page",
    "Esc back",
];

/// Draws all of it.
pub fn frame(frame: &mut Frame<'_>, model: &mut Model, story: Option<&Story>, now: Timestamp) {
    let area = frame.area();
    let columns = usize::from(area.width);
    let times = Times::Ago(now);
    let mut lines = head(model, columns);
    let footer = footer(model, columns);
    let body = usize::from(area.height).saturating_sub(lines.len() + 1);
    // One that is gone from the records has no story any more.
    let pane = match (model.pane, area.height >= SHARED) {
        (None, _) => 0,
        (Some(_), true) => body / 2,
        (Some(_), false) => body,
    };
    let table = body - pane;
    model.page = if pane > 0 { pane } else { table }.saturating_sub(1);
    lines.extend(table_lines(model, times, columns, table));
    if pane > 0 {
        lines.extend(pane_lines(model, story, times, columns, pane));
    }
    lines.truncate(usize::from(area.height).saturating_sub(1));
    for (line, y) in lines.iter().zip(area.y..) {
        put(frame, line, y);
    }
    if area.height > 0 {
        put(frame, &footer, area.bottom() - 1);
    }
}

fn put(frame: &mut Frame<'_>, line: &Line<'_>, y: u16) {
    let Rect { x, width, .. } = frame.area();
    frame.buffer_mut().set_line(x, y, line, width);
}

/// What is to be known of all boxes, and of the service.
fn head(model: &Model, columns: usize) -> Vec<Line<'static>> {
    let mut lines = vec![bold(&cut(&totals(model.totals), columns))];
    let mut shown = format!("sorted by {}", model.sort.name());
    if let Some(only) = model.only {
        shown += &format!(", only: {}", words(only));
    }
    if !model.filter.is_empty() && !model.is_typing {
        shown += &format!(", with {:?}", clean(&model.filter));
    }
    lines.push(Line::from(cut(&shown, columns)));
    let notes = [&model.trouble, &model.note].into_iter().flatten();
    lines.extend(notes.map(|note| bold(&cut(&clean(note), columns))));
    lines
}

fn bold(text: &str) -> Line<'static> {
    Line::styled(text.to_owned(), Modifier::BOLD)
}

fn footer(model: &Model, columns: usize) -> Line<'static> {
    let text = match model.is_typing {
        true => format!("filter: {}_   Enter keep   Esc clear", clean(&model.filter)),
        false => {
            let mut text = String::new();
            for key in KEYS {
                let longer = match text.is_empty() {
                    true => key.to_owned(),
                    false => format!("{text}   {key}"),
                };
                if width(&longer) > columns {
                    break;
                }
                text = longer;
            }
            text
        }
    };
    Line::styled(pad(&text, columns), Modifier::REVERSED)
}

/// The table, in so many lines, with the selected box among them.
fn table_lines(
    model: &mut Model,
    times: Times,
    columns: usize,
    height: usize,
) -> Vec<Line<'static>> {
    let Some(room) = height.checked_sub(1) else {
        return Vec::new();
    };
    let shown = model.shown();
    if shown.is_empty() {
        let text = match model.is_empty() {
            true => "no box was ever heard of",
            false => "no box is like that",
        };
        return padded(vec![Line::from(text)], height);
    }
    let at = model.position().unwrap_or(0);
    let top = model.top.min(at).max((at + 1).saturating_sub(room));
    // Nothing is scrolled away that there is room for.
    let top = top.min(shown.len().saturating_sub(room));
    let whole: Vec<_> = shown.iter().map(|row| (*row).clone()).collect();
    let table = Table::fitting(&whole, times, columns);
    let mut lines = vec![bold(&table.heading())];
    for (n, row) in shown.iter().enumerate().skip(top).take(room) {
        let [state, rest] = table.row(row);
        let style = style(row.standing, model.has_colours);
        let spans = vec![Span::styled(state, style), Span::raw(rest)];
        lines.push(match n == at {
            true => {
                let used: usize = spans.iter().map(|span| width(&span.content)).sum();
                let blanks = " ".repeat(columns.saturating_sub(used));
                let spans = spans.into_iter().chain([Span::raw(blanks)]);
                Line::from_iter(spans).style(Modifier::REVERSED)
            }
            false => Line::from(spans),
        });
    }
    model.top = top;
    padded(lines, height)
}

/// The story of a box, in so many lines.
fn pane_lines(
    model: &mut Model,
    story: Option<&Story>,
    times: Times,
    columns: usize,
    height: usize,
) -> Vec<Line<'static>> {
    let Some(story) = story else {
        return vec![Line::from("that box is no longer on record")];
    };
    let room = height.saturating_sub(1);
    let told = story::lines(story, times, columns);
    model.scroll = model.scroll.min(told.len().saturating_sub(room));
    let name = story.row.hostname.as_deref().map(clean).unwrap_or_default();
    let more = match told.len() > model.scroll + room {
        true => "   PgDn for more",
        false => "",
    };
    let title = format!("── {name} {}{more} ", story.row.mac);
    let rule = "─".repeat(columns.saturating_sub(width(&title)));
    let title = bold(&cut(&(title + &rule), columns));
    let told = told.into_iter().skip(model.scroll).take(room);
    let told = told.map(|line| match line.standing {
        Some(standing) => Line::styled(line.text, style(standing, model.has_colours)),
        None => Line::from(line.text),
    });
    [title].into_iter().chain(told).collect()
}

fn padded(mut lines: Vec<Line<'static>>, height: usize) -> Vec<Line<'static>> {
    lines.resize(height, Line::default());
    lines
}

/// How a standing looks. Its word says the same.
fn style(standing: Standing, has_colours: bool) -> Style {
    let (colour, modifier) = match standing {
        Standing::Failed => (Some(Color::Red), Modifier::BOLD),
        Standing::Stalled => (Some(Color::Yellow), Modifier::BOLD),
        Standing::OnItsWay => (None, Modifier::empty()),
        Standing::Ready => (Some(Color::Green), Modifier::empty()),
    };
    let style = Style::new().add_modifier(modifier);
    match colour.filter(|_| has_colours) {
        Some(colour) => style.fg(colour),
        None => style,
    }
}
