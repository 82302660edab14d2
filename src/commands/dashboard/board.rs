//! What the dashboard knows and shows of it: which apps, in which order, and where the
//! reader is. Pure: documents and keys in, changes out.

use super::columns::{COLUMNS, Order};
use crate::term::keys::Key;
use crate::view::{at, items, text};
use miniserde::json::{Object, Value};
use std::cmp::Ordering;
use std::collections::VecDeque;

/// Steps of an app's past.
const PAST: usize = 30;

/// States in the order of how much they need somebody, the worst first.
pub const STATES: [&str; 7] =
    ["crash_loop", "unhealthy", "restarting", "starting", "stopped", "running", "empty"];

/// What a state filter may also say: whatever needs somebody.
pub const PROBLEMS: &str = "problems";

/// An app.
pub struct App {
    /// `APP.NETWORK`.
    pub name: String,
    /// The document of its row.
    pub row: Value,
    /// CPU in the newest steps, in thousandths of a core.
    pub cpu: VecDeque<u64>,
    /// Requests in the newest steps.
    pub requests: VecDeque<u64>,
}

/// What is asked for: on the command line, and then with keys.
#[derive(Clone)]
pub struct Wish {
    /// A state, [`PROBLEMS`], or nothing for all.
    pub state: String,
    /// An index into [`COLUMNS`].
    pub sort: usize,
    /// The other way round.
    pub reverse: bool,
    /// Indices into [`COLUMNS`]; none for as many as there is room for.
    pub columns: Vec<usize>,
    /// Only apps whose name holds this.
    pub filter: String,
}

/// What fills the screen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// All apps.
    Apps,
    /// The keys.
    Keys,
    /// One app.
    Detail,
    /// One app's log.
    Logs,
}

/// What follows from a key.
#[derive(PartialEq, Eq, Debug)]
pub enum Then {
    /// What is shown may have changed.
    Draw,
    /// Everything has to be drawn anew.
    Redraw,
    /// The view was changed, or what it is about.
    Enter,
    /// Ctrl-Z.
    Suspend,
    /// It is over.
    Quit,
}

/// The state of the dashboard.
pub struct Board {
    /// All apps, as they come from the server.
    pub apps: Vec<App>,
    /// What is wrong.
    pub alerts: Vec<Value>,
    /// What is asked for.
    pub wish: Wish,
    /// What is shown.
    pub view: View,
    /// Where `q` leads from there.
    from: View,
    /// The name of the app that keys are about.
    pub selected: String,
    /// The filter is being typed.
    pub typing: bool,
    /// The first line of what is longer than the screen.
    pub top: usize,
    /// Why there is no connection.
    pub trouble: Option<String>,
    /// How many lines of the view the screen has room for; told when it is drawn.
    pub page: usize,
}

impl Board {
    /// A board without apps.
    pub fn new(wish: Wish) -> Board {
        let (apps, alerts, selected) = (Vec::new(), Vec::new(), String::new());
        Board {
            apps,
            alerts,
            wish,
            view: View::Apps,
            from: View::Apps,
            selected,
            typing: false,
            top: 0,
            trouble: None,
            page: 1,
        }
    }

    /// Takes a snapshot in place of everything before.
    pub fn replace(&mut self, snapshot: &Value) {
        let past = items(snapshot, "past");
        let app = |(index, row): (usize, &Value)| {
            let steps = |path| past.get(index).map(|past| numbers(past, path)).unwrap_or_default();
            App { name: name(row), row: row.clone(), cpu: steps("cpu"), requests: steps("requests") }
        };
        self.apps = items(snapshot, "apps").iter().enumerate().map(app).collect();
        self.alerts = items(snapshot, "alerts").to_vec();
        self.trouble = None;
    }

    /// Takes what has changed.
    pub fn tick(&mut self, tick: &Value) {
        let gone: Vec<String> = items(tick, "gone").iter().map(name).collect();
        self.apps.retain(|app| !gone.contains(&app.name));
        for row in items(tick, "apps") {
            let name = name(row);
            match self.apps.iter_mut().find(|app| app.name == name) {
                Some(app) => app.row = row.clone(),
                None => {
                    let (cpu, requests) = Default::default();
                    self.apps.push(App { name, row: row.clone(), cpu, requests });
                }
            }
        }
        let beats: Vec<(String, u64)> =
            items(tick, "beats").iter().map(|beat| (name(beat), number(beat, "requests"))).collect();
        for app in &mut self.apps {
            let beat = beats.iter().find(|(name, _)| *name == app.name);
            push(&mut app.requests, beat.map_or(0, |(_, requests)| *requests));
            push(&mut app.cpu, number(&app.row, "usage.cpu"));
        }
        if let Some(Value::Array(alerts)) = at(tick, "alerts") {
            self.alerts = alerts.iter().cloned().collect();
        }
        self.trouble = None;
    }

    /// The apps to be shown, in order.
    pub fn shown(&self) -> Vec<&App> {
        let mut shown: Vec<&App> = self.apps.iter().filter(|app| self.wanted(app)).collect();
        let order = COLUMNS.get(self.wish.sort).map_or(Order::Text, |column| column.order);
        let path = COLUMNS.get(self.wish.sort).map_or("", |column| column.by);
        shown.sort_by(|a, b| {
            let ordered = match order {
                Order::Name => Ordering::Equal,
                Order::Text => text(&a.row, path).cmp(&text(&b.row, path)),
                Order::Newest => text(&b.row, path).cmp(&text(&a.row, path)),
                Order::Most => number(&b.row, path).cmp(&number(&a.row, path)),
                Order::Worst => rank(&a.row).cmp(&rank(&b.row)),
            };
            let ordered = ordered.then_with(|| a.name.cmp(&b.name));
            if self.wish.reverse { ordered.reverse() } else { ordered }
        });
        shown
    }

    fn wanted(&self, app: &App) -> bool {
        let state = text(&app.row, "state");
        let right = match self.wish.state.as_str() {
            "" => true,
            PROBLEMS => is_problem(&app.row, &state),
            wanted => wanted == state,
        };
        right && app.name.contains(self.wish.filter.as_str())
    }

    /// The app that keys are about.
    pub fn current(&self) -> Option<&App> {
        self.apps.iter().find(|app| app.name == self.selected)
    }

    /// Selects something if what was selected is not shown any more; gives its place.
    pub fn settle(&mut self) -> usize {
        let names: Vec<String> = self.shown().iter().map(|app| app.name.clone()).collect();
        let place = names.iter().position(|name| *name == self.selected).unwrap_or(0);
        self.selected = names.get(place).cloned().unwrap_or_default();
        place
    }

    /// A key was pressed.
    pub fn press(&mut self, key: Key) -> Then {
        match key {
            Key::Ctrl('z') => return Then::Suspend,
            Key::Ctrl('l') => return Then::Redraw,
            Key::Ctrl('c') => return Then::Quit,
            _ if self.typing => self.type_filter(key),
            Key::Char('q') if self.view == View::Apps => return Then::Quit,
            Key::Char('?') => return self.enter(View::Keys),
            Key::Char('q') | Key::Escape | Key::Backspace if self.view != View::Apps => {
                let back = std::mem::replace(&mut self.from, View::Apps);
                (self.view, self.top) = (back, 0);
                return Then::Enter;
            }
            Key::Enter if self.view == View::Apps => return self.open(View::Detail),
            Key::Char('l') if self.view != View::Keys => return self.open(View::Logs),
            _ if self.view == View::Apps => self.choose(key),
            key => self.scroll(key),
        }
        Then::Draw
    }

    /// Shows one app, if there is one.
    fn open(&mut self, view: View) -> Then {
        match self.current() {
            Some(_) => self.enter(view),
            None => Then::Draw,
        }
    }

    fn enter(&mut self, view: View) -> Then {
        // From the keys and the log of an app one comes back to its details.
        self.from = if self.view == View::Detail { View::Detail } else { View::Apps };
        (self.view, self.top) = (view, 0);
        Then::Enter
    }

    fn type_filter(&mut self, key: Key) {
        match key {
            Key::Char(c) => self.wish.filter.push(c),
            Key::Backspace => drop(self.wish.filter.pop()),
            Key::Escape => {
                self.wish.filter.clear();
                self.typing = false;
            }
            Key::Enter => self.typing = false,
            _ => {}
        }
    }

    fn choose(&mut self, key: Key) {
        match key {
            Key::Char('/') => self.typing = true,
            Key::Char('s') => self.wish.sort = (self.wish.sort + 1) % COLUMNS.len(),
            Key::Char('S') => self.wish.sort = (self.wish.sort + COLUMNS.len() - 1) % COLUMNS.len(),
            Key::Char('r') => self.wish.reverse = !self.wish.reverse,
            Key::Char('f') => self.wish.state = next_state(&self.wish.state).to_owned(),
            Key::Escape => {
                self.wish.filter.clear();
                self.wish.state.clear();
            }
            key => {
                let names: Vec<String> = self.shown().iter().map(|app| app.name.clone()).collect();
                let place = names.iter().position(|name| *name == self.selected).unwrap_or(0);
                let place = moved(key, place, self.page).min(names.len().saturating_sub(1));
                self.selected = names.get(place).cloned().unwrap_or_default();
            }
        }
    }

    fn scroll(&mut self, key: Key) {
        self.top = moved(key, self.top, self.page);
    }
}

/// Where a key leads from `place`; the end is the caller's to know.
fn moved(key: Key, place: usize, page: usize) -> usize {
    match key {
        Key::Down | Key::Char('j') => place.saturating_add(1),
        Key::Up | Key::Char('k') => place.saturating_sub(1),
        Key::PageDown | Key::Char(' ') => place.saturating_add(page),
        Key::PageUp => place.saturating_sub(page),
        Key::Home | Key::Char('g') => 0,
        Key::End | Key::Char('G') => usize::MAX,
        _ => place,
    }
}

/// All, what needs somebody, then each state.
fn next_state(state: &str) -> &'static str {
    match state {
        "" => PROBLEMS,
        PROBLEMS => STATES.first().copied().unwrap_or(""),
        state => {
            let place = STATES.iter().position(|one| *one == state);
            place.and_then(|place| STATES.get(place + 1)).copied().unwrap_or("")
        }
    }
}

fn is_problem(row: &Value, state: &str) -> bool {
    matches!(state, "crash_loop" | "unhealthy" | "restarting") || !items(row, "alerts").is_empty()
}

fn rank(row: &Value) -> usize {
    let state = text(row, "state");
    STATES.iter().position(|one| *one == state).unwrap_or(STATES.len())
}

/// `APP.NETWORK`, of a row.
pub fn name(row: &Value) -> String {
    format!("{}.{}", text(row, "app"), text(row, "network"))
}

/// The names of a row, as a document.
pub fn named(row: &Value) -> Value {
    // One by one: to collect them would bring code that sorts.
    let mut names = Object::new();
    for path in ["network", "app"] {
        names.insert(path.to_owned(), at(row, path).cloned().unwrap_or(Value::Null));
    }
    Value::Object(names)
}

/// The number at `path`; 0 when there is none.
pub fn number(document: &Value, path: &str) -> u64 {
    text(document, path).parse().unwrap_or(0)
}

fn numbers(document: &Value, path: &str) -> VecDeque<u64> {
    items(document, path).iter().map(|value| number(value, "")).collect()
}

fn push(steps: &mut VecDeque<u64>, step: u64) {
    while steps.len() >= PAST {
        steps.pop_front();
    }
    steps.push_back(step);
}
