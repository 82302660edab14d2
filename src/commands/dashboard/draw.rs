//! The dashboard as lines of text for a screen of any size. Pure.

use super::board::{App, Board, PROBLEMS, STATES, View};
use super::columns::{COLUMNS, Column, LOAD, NAME, Order, TRAFFIC};
use crate::term::output::{Colour, Output};
use crate::term::text::safe;
use crate::term::wrap::{clip, pad, width as wide};
use crate::view::{cell, text};
use std::time::SystemTime;

/// The least CPU that a picture shows as its full height, in thousandths of a core: what
/// is less would make much of nothing.
const CPU_SCALE: u64 = 100;
/// The same for the requests of a step.
const REQUEST_SCALE: u64 = 5;

/// How to draw.
pub struct Style<'a> {
    /// Knows whether there are colours.
    pub output: &'a Output,
    /// The time by which ages are told.
    pub now: SystemTime,
}

/// What is drawn below the title when it is not the apps.
pub struct Page {
    /// What it is about.
    pub title: String,
    /// Its lines.
    pub lines: Vec<String>,
    /// Whether the end is what matters.
    pub at_end: bool,
}

/// All lines of the screen.
pub fn screen(board: &mut Board, page: &Page, size: (usize, usize), style: &Style<'_>) -> Vec<String> {
    let (columns, rows) = size;
    let mut lines = vec![title(board, page, columns, style)];
    let room = rows.saturating_sub(2);
    match board.view {
        View::Apps => apps(board, &mut lines, (columns, room), style),
        _ => {
            board.page = room.max(1);
            let last = page.lines.len().saturating_sub(room);
            board.top = if page.at_end { last } else { board.top.min(last) };
            lines.extend(page.lines.iter().skip(board.top).take(room).map(|line| clip(line, columns)));
        }
    }
    lines.resize(rows.saturating_sub(1), String::new());
    lines.push(style.output.paint(Colour::Dim, &clip(&keys(board), columns)));
    lines
}

fn title(board: &Board, page: &Page, columns: usize, style: &Style<'_>) -> String {
    if let Some(trouble) = &board.trouble {
        let text = clip(&format!("reconnecting: {}", safe(trouble)), columns);
        return style.output.paint(Colour::Red, &text);
    }
    if board.view != View::Apps {
        return clip(&page.title, columns);
    }
    let mut out = format!("{} app{}", board.apps.len(), if board.apps.len() == 1 { "" } else { "s" });
    let mut mark = ": ";
    for state in STATES {
        let count = board.apps.iter().filter(|app| text(&app.row, "state") == state).count();
        if count > 0 {
            out.push_str(&format!("{mark}{count} {}", state.replace('_', " ")));
            mark = ", ";
        }
    }
    if !board.wish.state.is_empty() || !board.wish.filter.is_empty() {
        let shown = board.shown().len();
        let state = board.wish.state.replace('_', " ");
        let space = if state.is_empty() || board.wish.filter.is_empty() { "" } else { " " };
        out.push_str(&format!(" | {shown} shown: {state}{space}{}", safe(&board.wish.filter)));
    }
    clip(&out, columns)
}

fn keys(board: &Board) -> String {
    match (board.typing, board.view) {
        (true, _) => format!("filter: {}_  (enter: done, esc: all)", safe(&board.wish.filter)),
        (_, View::Apps) => "q quit  ? keys  / filter  s sort  enter details  l logs".to_owned(),
        (_, View::Detail) => "q back  l logs  ? keys".to_owned(),
        (_, View::Logs) => "q back  ? keys".to_owned(),
        (_, View::Keys) => "q back".to_owned(),
    }
}

/// The keys, for [`View::Keys`].
pub fn help() -> Page {
    let lines = [
        "up, down, j, k      choose an app",
        "page up, page down  a page back, a page on",
        "home, end, g, G     the first, the last",
        "enter               its details",
        "l                   its log, as it is written",
        "/                   only names that hold what you type",
        "f                   only one state: problems, crash loop, ...",
        "s, S                sort by the next column, the one before",
        "r                   sort the other way round",
        "esc                 all again",
        "ctrl-l              draw everything anew",
        "ctrl-z              stop rig for a while (fg goes on)",
        "q, ctrl-c           quit",
    ];
    let lines = lines.iter().map(|line| (*line).to_owned()).collect();
    Page { title: "Keys".to_owned(), lines, at_end: false }
}

fn apps(board: &mut Board, lines: &mut Vec<String>, size: (usize, usize), style: &Style<'_>) {
    let (columns, room) = size;
    // A third at most for what is wrong.
    let alerts: Vec<String> = alerts(board, columns, style);
    let shown_alerts = alerts.len().min(room / 3);
    let page = room.saturating_sub(1 + shown_alerts).max(1);
    board.page = page;
    let place = board.settle();
    let mut top = board.top.min(place);
    if place >= top + page {
        top = place + 1 - page;
    }
    let shown = board.shown();
    top = top.min(shown.len().saturating_sub(page));
    let chosen = fitting(board, &shown, columns);
    lines.push(heading(board, &chosen, columns));
    for app in shown.iter().skip(top).take(page) {
        lines.push(row(app, &chosen, app.name == board.selected, columns, style));
    }
    if shown.is_empty() {
        let none = match (board.apps.is_empty(), board.wish.state.as_str()) {
            (true, _) => "no apps yet: `rig create app APP --network NETWORK`",
            (_, PROBLEMS) => "nothing needs you",
            _ => "no app is like that (esc shows all)",
        };
        lines.push(clip(&format!("  {none}"), columns));
    }
    lines.resize(1 + room - shown_alerts, String::new());
    let hidden = alerts.len() - shown_alerts;
    lines.extend(alerts.into_iter().take(shown_alerts));
    if hidden > 0 && shown_alerts > 0 {
        lines.pop();
        lines.push(clip(&format!("! and {} more: rig list alerts", hidden + 1), columns));
    }
    board.top = top;
}

/// A line for each alert.
pub fn alerts(board: &Board, columns: usize, style: &Style<'_>) -> Vec<String> {
    let line = |alert| {
        let (app, network) = (text(alert, "app"), text(alert, "network"));
        let dot = if app.is_empty() || network.is_empty() { "" } else { "." };
        let whose = format!("{app}{dot}{network}");
        let space = if whose.is_empty() { "" } else { " " };
        let cause = text(alert, "cause").replace('_', " ");
        // It is told as one word, or in the message.
        let cause = if cause == "deploy failed" { String::new() } else { cause + ": " };
        let words = format!("! {whose}{space}{cause}{}", text(alert, "message"));
        style.output.paint(Colour::Red, &clip(&words, columns))
    };
    board.alerts.iter().map(line).collect()
}

/// A column and how wide it is here.
type Chosen = (&'static Column, usize);

/// The columns there is room for.
pub fn fitting(board: &Board, shown: &[&App], columns: usize) -> Vec<Chosen> {
    let names = shown.iter().map(|app| wide(&app.name)).max().unwrap_or(0).clamp(8, 40);
    let mut left = columns.saturating_sub(2);
    let mut chosen = Vec::new();
    let wished = &board.wish.columns;
    for (index, column) in COLUMNS.iter().enumerate() {
        if !wished.is_empty() && !wished.contains(&index) {
            continue;
        }
        let width = if index == 0 { names } else { column.width };
        let gap = if chosen.is_empty() { 0 } else { 2 };
        if width + gap > left {
            // What was asked for stays, cut; the rest would be a riddle without its end.
            if chosen.is_empty() {
                chosen.push((column, left));
            }
            break;
        }
        left -= width + gap;
        chosen.push((column, width));
    }
    chosen
}

fn heading(board: &Board, chosen: &[Chosen], columns: usize) -> String {
    let mut out = String::from("  ");
    for (index, (column, width)) in chosen.iter().enumerate() {
        let sorted = COLUMNS.get(board.wish.sort).is_some_and(|sort| sort.name == column.name);
        let mark = match (sorted, board.wish.reverse) {
            (false, _) => "",
            (true, false) => "v",
            (true, true) => "^",
        };
        let label = clip(&format!("{}{mark}", column.field.label.text().to_ascii_uppercase()), *width);
        place(&mut out, index, column, *width, &label, label.chars().count());
    }
    clip(out.trim_end(), columns)
}

fn row(app: &App, chosen: &[Chosen], selected: bool, columns: usize, style: &Style<'_>) -> String {
    let mut out = String::from(if selected { "> " } else { "  " });
    for (index, (column, width)) in chosen.iter().enumerate() {
        let (words, colour) = words(app, column, *width, style);
        let words = clip(&words, *width);
        let used = wide(&words);
        // Colours would end where the first of them does.
        let painted = match colour.filter(|_| !selected) {
            Some(colour) => style.output.paint(colour, &words),
            None => words,
        };
        place(&mut out, index, column, *width, &painted, used);
    }
    match selected {
        true => {
            let rest = columns.saturating_sub(wide(&out));
            pad(&mut out, rest);
            style.output.inverse(&out)
        }
        false => out.trim_end().to_owned(),
    }
}

fn words(app: &App, column: &Column, width: usize, style: &Style<'_>) -> (String, Option<Colour>) {
    match column.field.path.text() {
        NAME => (safe(&app.name).into_owned(), None),
        LOAD | TRAFFIC => (picture(app, column.field.path.text(), width, style.output.unicode), None),
        _ => match cell(style.output, &app.row, &column.field, style.now) {
            Some(cell) => (cell.text, cell.colour),
            None => ("-".to_owned(), None),
        },
    }
}

/// Puts `text`, which is `used` columns wide, where its column is.
fn place(out: &mut String, index: usize, column: &Column, width: usize, text: &str, used: usize) {
    let number = matches!(column.order, Order::Most) && column.by == column.field.path.text();
    pad(out, if index == 0 { 0 } else { 2 });
    let rest = width.saturating_sub(used);
    if number {
        pad(out, rest);
    }
    out.push_str(text);
    if !number {
        pad(out, rest);
    }
}

/// The newest steps as a picture, a character a step, the newest at the right.
pub fn picture(app: &App, member: &str, width: usize, unicode: bool) -> String {
    let (steps, scale) = match member {
        LOAD => (&app.cpu, CPU_SCALE),
        _ => (&app.requests, REQUEST_SCALE),
    };
    let marks: &[char] = if unicode {
        &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
    } else {
        &['_', '.', '-', '=', '#']
    };
    let most = steps.iter().copied().max().unwrap_or(0).max(scale);
    let mark = |step: &u64| {
        let height = step.saturating_mul(marks.len() as u64 - 1).div_ceil(most);
        usize::try_from(height).ok().and_then(|height| marks.get(height)).copied().unwrap_or(' ')
    };
    let drawn = steps.len().min(width);
    let blank = std::iter::repeat_n(' ', width - drawn);
    blank.chain(steps.iter().skip(steps.len() - drawn).map(mark)).collect()
}
