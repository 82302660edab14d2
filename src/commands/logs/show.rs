//! Log lines as text: with their time and origin in front on a terminal, as they are in
//! a pipe.

use crate::error::{Error, Result};
use crate::packed::packed;
use crate::session::Session;
use crate::sys::clock::local;
use crate::sys::terminal::width;
use crate::term::output::{Colour, Output, json_line};
use crate::term::text::{push_safe, push_safe_lines};
use crate::term::wrap::{self, pad, push_wrapped};
use crate::time::{human, parse_rfc3339};
use crate::wire::log::{Level, Line, Source};
use std::time::{SystemTime, UNIX_EPOCH};

/// Text that is written at once.
const BATCH: usize = 64 * 1024;

/// Which time stands in front of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stamps {
    /// None.
    None,
    /// How long ago it was.
    Relative,
    /// The local time.
    Local,
    /// The time in UTC.
    Utc,
}

impl Stamps {
    /// The value of `--timestamps`; else the local time on a terminal and none in a pipe.
    pub fn of(value: Option<&str>, output: &Output) -> Result<Stamps> {
        Ok(match value {
            None if output.terminal => Stamps::Local,
            None | Some("none") => Stamps::None,
            Some("relative") => Stamps::Relative,
            Some("local") => Stamps::Local,
            Some("utc") => Stamps::Utc,
            Some(other) => {
                return Err(Error::usage(format!("--timestamps takes a form, not '{other}'"))
                    .hint(packed!("one of none, relative, local, utc; for instance `--timestamps utc`")));
            }
        })
    }
}

/// Shows lines.
pub struct Printer<'a> {
    session: &'a Session,
    /// Their apps are shown.
    apps: bool,
    raw: bool,
    stamps: Stamps,
    /// The widest app so far: the columns behind it stand below each other.
    app_width: usize,
    /// In a pipe the pieces of a long line are put together again: whose line has no end
    /// yet.
    open: Option<(Source, Option<u64>, Option<String>)>,
    out: String,
}

impl<'a> Printer<'a> {
    /// A printer that has shown nothing yet.
    pub fn new(session: &'a Session, apps: bool, raw: bool, stamps: Stamps) -> Printer<'a> {
        Printer { session, apps, raw, stamps, app_width: 0, open: None, out: String::new() }
    }

    /// Shows lines and forgets them.
    pub fn print(&mut self, lines: &mut Vec<Line>) -> Result<()> {
        let output = &self.session.output;
        let width = if output.terminal && !self.raw { width() } else { None };
        for line in lines.drain(..) {
            match (output.json, output.terminal) {
                (true, _) => single(line, &mut |line| self.out.push_str(&json_line(&line))),
                (_, true) => self.rows(&line, width),
                (_, false) => self.plain(&line),
            }
            if self.out.len() >= BATCH {
                self.flush()?;
            }
        }
        self.flush()
    }

    /// Ends a line that has no end.
    pub fn finish(&mut self) -> Result<()> {
        if self.open.take().is_some() {
            self.out.push('\n');
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        let done = match self.out.is_empty() {
            true => Ok(()),
            false => self.session.output.write(&self.out),
        };
        self.out.clear();
        done
    }

    fn push(&mut self, text: &str) {
        if self.raw { self.out.push_str(text) } else { push_safe(&mut self.out, text) }
    }

    /// For whoever reads a pipe.
    fn plain(&mut self, line: &Line) {
        let continues = self.open.take().is_some_and(|(source, instance, app)| {
            let same = source == line.source && instance == line.instance && app == line.app;
            if !same {
                self.out.push('\n');
            }
            same
        });
        let mut prefix = String::new();
        if let Some(time) = self.time(line) {
            push_safe(&mut prefix, &time);
            prefix.push(' ');
        }
        if self.apps {
            push_safe(&mut prefix, line.app.as_deref().unwrap_or("-"));
            prefix.push(' ');
        }
        if prefix.is_empty() {
            if self.raw { self.out.push_str(&line.text) } else { push_safe_lines(&mut self.out, &line.text) }
        } else {
            for (number, text) in line.text.split('\n').enumerate() {
                if number > 0 {
                    self.out.push('\n');
                }
                if !continues || number > 0 {
                    self.out.push_str(&prefix);
                }
                self.push(text);
            }
        }
        match line.partial {
            true => self.open = Some((line.source, line.instance, line.app.clone())),
            false => self.out.push('\n'),
        }
    }

    /// For people: time, app, source and instance, in colour.
    fn rows(&mut self, line: &Line, width: Option<usize>) {
        let output = &self.session.output;
        let mut prefix = String::new();
        let mut indent = 0;
        let mut column = |text: &str, wide: usize, colour: Colour| {
            let mut safe = String::new();
            push_safe(&mut safe, text);
            let used = wrap::width(&safe);
            let spaces = wide.saturating_sub(used) + 1;
            indent += used + spaces;
            prefix.push_str(&output.paint(colour, &safe));
            pad(&mut prefix, spaces);
        };
        if let Some(time) = self.time(line) {
            column(&time, 8, Colour::Dim);
        }
        if self.apps {
            let app = line.app.as_deref().unwrap_or("-");
            self.app_width = self.app_width.max(app.len());
            column(app, self.app_width, Colour::Hue(hue(app)));
        }
        let (label, colour) = match line.source {
            Source::Stdout => ("out", Colour::Dim),
            Source::Stderr => ("err", Colour::Red),
            Source::Build => ("build", Colour::Dim),
            Source::Access => ("access", Colour::Dim),
            Source::Event => ("max", Colour::Yellow),
        };
        let colour = match line.level {
            Some(Level::Error | Level::Fatal) => Colour::Red,
            Some(Level::Warn) => Colour::Yellow,
            _ => colour,
        };
        match line.instance {
            Some(instance) => column(&format!("{label}.{instance}"), 6, colour),
            None => column(label, 6, colour),
        }
        for text in line.text.split('\n') {
            self.out.push_str(&prefix);
            if self.raw {
                self.out.push_str(text);
            } else {
                let mut safe = String::with_capacity(text.len());
                push_safe(&mut safe, text);
                push_wrapped(&mut self.out, &safe, indent, width);
            }
            // It goes on in the next line.
            self.out.push_str(if line.partial { "…\n" } else { "\n" });
        }
    }

    fn time(&self, line: &Line) -> Option<String> {
        let short = self.session.output.terminal;
        // 2026-11-24T10:00:00.000Z; whatever else a server may have sent is shown as it is.
        let Some(time) = parse_rfc3339(&line.time) else { return Some(line.time.clone()) };
        match self.stamps {
            Stamps::None => None,
            Stamps::Relative => Some(human(self.session.now().duration_since(time).unwrap_or_default())),
            Stamps::Utc if short => line.time.get(11..19).map(|clock| format!("{clock}Z")),
            Stamps::Utc => Some(line.time.clone()),
            Stamps::Local => local_time(time, short),
        }
        .map(|text| if self.stamps == Stamps::Relative { format!("{text:>7}") } else { text })
    }
}

/// The lines of a run, one by one.
pub fn single(line: Line, each: &mut dyn FnMut(Line)) {
    if !line.text.contains('\n') {
        return each(line);
    }
    for (seq, text) in (line.seq..).zip(line.text.split('\n')) {
        let (time, app, text) = (line.time.clone(), line.app.clone(), text.to_owned());
        each(Line { seq, time, app, text, ..line });
    }
}

/// The same colour for the same name, always.
fn hue(name: &str) -> usize {
    name.bytes().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)))
}

fn local_time(time: SystemTime, short: bool) -> Option<String> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    let now = local(since.as_secs())?;
    let [year, month, day, hour, minute, second] = now.fields;
    let clock = format!("{hour:02}:{minute:02}:{second:02}");
    if short {
        return Some(clock);
    }
    let sign = if now.offset < 0 { '-' } else { '+' };
    let (hours, minutes) = (now.offset.abs() / 60, now.offset.abs() % 60);
    let millis = since.subsec_millis();
    Some(format!("{year:04}-{month:02}-{day:02}T{clock}.{millis:03}{sign}{hours:02}:{minutes:02}"))
}
