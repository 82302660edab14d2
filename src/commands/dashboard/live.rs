//! The live view: a loop over keys, what the server says, and the terminal's size.

use super::board::{Board, Then, View};
use super::draw::{Page, Style, help, screen};
use crate::api::Max;
use crate::api::stream::{CREDIT, Item, Stream};
use crate::commands::{logs, status};
use crate::error::{Error, Kind, Result};
use crate::net::link::{Event, Pending, Subscription};
use crate::packed::packed;
use crate::queue::{Receiver, RecvTimeoutError, Sender, bounded};
use crate::session::Session;
use crate::sys::signals::STOPPED;
use crate::sys::thread::{SMALL, start};
use crate::term::keys::{Key, Keys};
use crate::term::screen::Screen;
use crate::term::text::safe;
use crate::term::wrap::clip;
use crate::term::{on_resize, on_signal};
use crate::view::text;
use crate::wire::app::Select;
use crate::wire::log::Query;
use miniserde::json::{self, Value};
use std::time::{Duration, Instant};

/// What waits to be handled: whoever has more waits.
const INPUTS: usize = 64;
/// How often is looked for an answer that is on its way, and for new lines of a log.
const LOOK: Duration = Duration::from_millis(50);
/// Lines of a log that are kept.
const LINES: usize = 1000;
/// How much of each, in columns: more than a screen has.
const LINE: usize = 1000;
/// What one look takes of a log, so that keys are read however much is written.
const TAKEN: usize = 32;

enum Input {
    Keys(Vec<Key>),
    Resized,
    /// Somebody stops rig from outside.
    Stopped,
    Server(Result<Option<Event>>),
    /// Standard input has ended.
    End,
}

struct Live<'a> {
    session: &'a Session,
    max: &'a Max,
    board: Board,
    screen: Screen,
    page: Page,
    /// The answer about the app that is shown, on its way.
    asked: Option<Pending>,
    /// The log that is shown.
    log: Option<Stream>,
}

/// Shows the dashboard until the user has seen enough.
pub fn run(session: &Session, mut board: Board, snapshot: &Value, subscription: Subscription) -> Result<()> {
    board.replace(snapshot);
    let max = session.max()?;
    let inputs = listen(subscription)?;
    let (screen, page) = (Screen::open()?, help());
    let mut live = Live { session, max, board, screen, page, asked: None, log: None };
    live.draw()?;
    loop {
        let patience = (live.asked.is_some() || live.log.is_some()).then_some(LOOK);
        let input = match patience {
            None => inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(patience) => inputs.recv_timeout(patience),
        };
        let (mut go_on, mut changed) = match input {
            Ok(input) => (live.take(input)?, true),
            Err(RecvTimeoutError::Timeout) => (true, false),
            Err(RecvTimeoutError::Disconnected) => (false, false),
        };
        // All that waits is one picture.
        while let (true, Ok(input)) = (go_on, inputs.try_recv()) {
            go_on = live.take(input)?;
        }
        if !go_on {
            return Ok(());
        }
        changed |= live.look()?;
        if changed {
            live.draw()?;
        }
    }
}

/// Starts what waits for keys, for the server and for another size.
fn listen(subscription: Subscription) -> Result<Receiver<Input>> {
    let failed = |error: std::io::Error| Error::io("start", "a thread", &error);
    let (sender, inputs) = bounded(INPUTS);
    let (keys, server, stop): (Sender<Input>, _, _) = (sender.clone(), sender.clone(), sender.clone());
    let size = sender;
    let read_keys = move || {
        let mut read = Keys::default();
        while let Ok(Some(pressed)) = read.read() {
            if keys.send(Input::Keys(pressed)).is_err() {
                return;
            }
        }
        let _ = keys.send(Input::End);
    };
    let receive = move || loop {
        let event = subscription.recv(None);
        let last = !matches!(event, Ok(Some(_)));
        if server.send(Input::Server(event)).is_err() || last {
            return;
        }
    };
    start(SMALL, Box::new(read_keys)).map_err(failed)?;
    start(SMALL, Box::new(receive)).map_err(failed)?;
    on_signal(Some(Box::new(move |signal| {
        // Whoever has as much to do as that does not stop; it would not give the screen back.
        let stops = signal == STOPPED;
        if stops {
            let _ = stop.try_send(Input::Stopped);
        }
        stops
    })));
    on_resize(Box::new(move || {
        // Whoever has as much to do as that will see the size anyway.
        let _ = size.try_send(Input::Resized);
    }));
    Ok(inputs)
}

/// An error, which may hold a server's words, as a line.
fn told(error: &Error) -> String {
    safe(error.message()).into_owned()
}

impl Live<'_> {
    fn draw(&mut self) -> Result<()> {
        let (output, now) = (&self.session.output, self.session.now());
        let style = Style { output, now };
        let lines = screen(&mut self.board, &self.page, self.screen.size(), &style);
        self.screen.draw(lines)
    }

    /// Whether it goes on.
    fn take(&mut self, input: Input) -> Result<bool> {
        match input {
            Input::Keys(keys) => {
                for key in keys {
                    match self.board.press(key) {
                        Then::Draw => {}
                        Then::Redraw => self.screen.measure(),
                        Then::Enter => self.enter()?,
                        Then::Suspend => self.screen.suspend()?,
                        Then::Quit => return Ok(false),
                    }
                }
            }
            Input::Resized => self.screen.measure(),
            Input::Stopped => self.screen.suspend()?,
            Input::End => return Ok(false),
            Input::Server(event) => match event? {
                Some(Event::Message { event, payload }) if event == "tick" => {
                    self.board.tick(&crate::api::decode(&payload)?);
                    self.ask()?;
                }
                Some(Event::Restored(snapshot)) => {
                    self.board.replace(&crate::api::decode(&snapshot)?);
                    self.ask()?;
                }
                Some(Event::Lost(reason)) => self.board.trouble = Some(reason),
                Some(Event::Refused(error)) => return Err(error),
                Some(Event::Closed) | None => {
                    return Err(Error::new(Kind::NotFound, packed!("the network was deleted")));
                }
                Some(_) => {}
            },
        }
        Ok(true)
    }

    /// Another view is shown.
    fn enter(&mut self) -> Result<()> {
        (self.asked, self.log) = (None, None);
        let title = self.board.selected.clone();
        self.page = match self.board.view {
            View::Keys | View::Apps => help(),
            View::Detail => Page { title, lines: vec!["...".to_owned()], at_end: false },
            View::Logs => Page { title: format!("log of {title}"), lines: Vec::new(), at_end: true },
        };
        if self.board.view == View::Logs {
            self.open_log()?;
        }
        self.ask()
    }

    /// Asks about the app that is shown, unless an answer is on its way.
    fn ask(&mut self) -> Result<()> {
        if self.board.view == View::Detail && self.asked.is_none() && self.board.trouble.is_none() {
            match self.board.current() {
                None => self.page.lines = vec!["it was deleted".to_owned()],
                Some(app) => {
                    let select = Select { network: text(&app.row, "network"), app: text(&app.row, "app") };
                    self.asked = Some(self.max.begin("app:status", json::to_string(&select))?);
                }
            }
        }
        Ok(())
    }

    fn open_log(&mut self) -> Result<()> {
        let Some(app) = self.board.current() else { return Ok(()) };
        let topic = format!("logs:app:{}:{}", text(&app.row, "network"), text(&app.row, "app"));
        let params = move |after| {
            let tail = Some(LINES as u64 / 4);
            json::to_string(&Query { after, tail, follow: true, credit: CREDIT, ..Query::default() })
        };
        match Stream::open(self.max, &topic, params) {
            Ok(stream) => self.log = Some(stream),
            Err(error) => self.page.lines = vec![told(&error)],
        }
        Ok(())
    }

    /// Looks for what was asked for; whether something came.
    fn look(&mut self) -> Result<bool> {
        let mut came = false;
        if let Some(answer) = self.asked.as_ref().and_then(Pending::poll) {
            self.asked = None;
            self.page.lines = match answer.and_then(|answer| crate::api::decode(&answer)) {
                Ok(answer) => {
                    let columns = self.screen.size().0;
                    let shown = status::app_text(self.session, &answer, Some(columns));
                    shown.lines().map(str::to_owned).collect()
                }
                Err(error) => vec![told(&error)],
            };
            came = true;
        }
        for _ in 0..TAKEN {
            let Some(item) = self.log.as_mut().map(|log| log.next(Some(Instant::now()))) else { break };
            let lines = &mut self.page.lines;
            match item {
                Ok(Item::Lines(new)) => {
                    lines.extend(new.iter().map(|line| clip(&logs::plain(line), LINE)));
                    let old = lines.len().saturating_sub(LINES);
                    drop(lines.drain(..old));
                }
                Ok(Item::Note(note)) => lines.push(safe(&note).into_owned()),
                Ok(Item::Gap(through)) => lines.push(logs::gap(through)),
                Ok(Item::End(_)) => {
                    lines.push("the app was deleted".to_owned());
                    self.log = None;
                }
                Ok(_) => {}
                Err(error) if error.kind() == Kind::TimedOut => break,
                Err(error) => {
                    lines.push(told(&error));
                    self.log = None;
                }
            }
            came = true;
        }
        Ok(came)
    }
}
