//! The lines of a log topic: from the database, behind a cursor, through the filter, as
//! far as the receiver's credit goes, into events.

use super::blocking;
use crate::error::Result;
use crate::json::{push_escaped, push_string};
use crate::maxd::logs::{Filter, Found, Head, Logs, Select, Tail};
use crate::maxd::outlet::Outlet;
use crate::maxd::platform::Platform;
use crate::maxd::socket::Push;
use crate::maxd::store::{explain, held};
use crate::time::rfc3339;
use crate::wire::log::{Credit, Gap, Mark};
use miniserde::json;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::mpsc;

/// When an event has enough text. The C library of the static rig keeps memory of this size,
/// and gives larger pieces back to the system each time.
const EVENT_BYTES: usize = 20 * 1024;
/// Events that one look at the database makes.
const EVENTS: usize = 12;
/// How far a cursor may move past lines that are not wanted before the receiver is told.
const MARK_EVERY: u64 = 10_000;

/// A place in a log, and how much may be sent.
pub struct Cursor {
    select: Select,
    filter: Arc<Filter>,
    runs: bool,
    /// Up to here all was sent that is wanted.
    after: u64,
    /// What is newer is not sent: without `follow` what there was at the join.
    end: u64,
    /// The receiver named the cursor: it should have got all behind that.
    named: bool,
    /// Begin with this many of the newest lines.
    tail: Option<u64>,
    /// What may be sent; below zero when the last line was long.
    credit: i64,
    /// Up to here the receiver knows what was dropped.
    gap: u64,
    /// The cursor that the receiver knows.
    told: u64,
}

/// The names of a network's apps, by their rows; also of those in the trash, whose lines stay.
type Names = Arc<HashMap<i64, String>>;

/// What one look at the database gave.
struct Step {
    found: Found,
    events: Vec<String>,
    /// The last line that was sent.
    sent: Option<u64>,
    credit: u64,
}

impl Cursor {
    /// Behind `after`, or at the oldest line.
    pub fn new(select: Select, filter: Filter, after: Option<u64>, credit: u64) -> Cursor {
        let place = after.map_or(0, |after| held(after).unsigned_abs());
        Cursor {
            select,
            filter: Arc::new(filter),
            runs: false,
            after: place,
            end: u64::MAX,
            named: after.is_some(),
            tail: None,
            credit: credit.try_into().unwrap_or(i64::MAX),
            gap: 0,
            told: place,
        }
    }

    /// Begins with so many of the newest lines, unless it names a place.
    pub fn with_tail(self, tail: Option<u64>) -> Cursor {
        Cursor { tail: tail.filter(|_| !self.named), ..self }
    }

    /// Ends with this line, so that an app that goes on writing does not keep it going.
    pub fn with_end(self, end: u64) -> Cursor {
        Cursor { end, ..self }
    }

    /// Lines that are alike go together.
    pub fn with_runs(self, runs: bool) -> Cursor {
        Cursor { runs, ..self }
    }

    /// Only these lines.
    pub fn narrow(&mut self, filter: Filter) {
        self.filter = Arc::new(filter);
    }

    /// Finds the place to begin at and tells it, so that a receiver that is cut off before
    /// the first line goes on there. None when the receiver is gone.
    pub async fn begin(&mut self, platform: &Arc<Platform>, outlet: &Outlet) -> Result<Option<()>> {
        if self.named {
            return Ok(Some(()));
        }
        let newest = self.end.min(*platform.logs.newest().borrow());
        let mut tail = self.tail.map(|wanted| Tail { before: newest, wanted, more: wanted > 0 });
        while let Some(at) = tail
            && at.more
        {
            let (logs, select, filter) = (Arc::clone(&platform.logs), self.select, Arc::clone(&self.filter));
            tail = Some(blocking(move || logs.tail(select, &filter, at)).await?);
        }
        self.after = tail.map_or(0, |tail| tail.before);
        // Who names no cursor misses nothing: what was dropped lies before the beginning.
        let (logs, select) = (Arc::clone(&platform.logs), self.select);
        self.gap = blocking(move || logs.dropped_through(select)).await?;
        self.mark(outlet).await
    }

    /// Whether there may be something to send.
    pub fn has_news(&self, platform: &Platform) -> bool {
        platform.logs.latest(self.select) > self.after
    }

    async fn mark(&mut self, outlet: &Outlet) -> Result<Option<()>> {
        self.told = self.after;
        let mark = json::to_string(&Mark { seq: self.after });
        Ok(outlet.push("mark", &mark).await.ok())
    }

    /// Sends all lines there are, waiting for credit. None when the receiver is gone.
    pub async fn send(
        &mut self,
        platform: &Arc<Platform>,
        network: i64,
        outlet: &Outlet,
        inputs: &mut mpsc::Receiver<Push>,
    ) -> Result<Option<()>> {
        let names = names(platform, network).await?;
        loop {
            while let Ok(input) = inputs.try_recv() {
                self.grant(&input);
            }
            while self.credit <= 0 {
                match inputs.recv().await {
                    Some(input) => self.grant(&input),
                    None => return Ok(None),
                }
            }
            let step = self.step(&platform.logs, &names).await?;
            if let Some(gap) = self.missed(&step)
                && outlet.push("gap", &json::to_string(&gap)).await.is_err()
            {
                return Ok(None);
            }
            for event in &step.events {
                if outlet.push("lines", event).await.is_err() {
                    return Ok(None);
                }
            }
            self.after = step.found.after;
            self.credit = self.credit.saturating_sub_unsigned(step.credit);
            self.told = step.sent.unwrap_or(self.told);
            if self.after - self.told.min(self.after) >= MARK_EVERY && self.mark(outlet).await?.is_none() {
                return Ok(None);
            }
            if !step.found.more {
                return Ok(Some(()));
            }
        }
    }

    async fn step(&self, logs: &Arc<Logs>, names: &Names) -> Result<Step> {
        let (logs, names, filter) = (Arc::clone(logs), Arc::clone(names), Arc::clone(&self.filter));
        let (select, after, end) = (self.select, self.after, self.end);
        let mut writer = Writer::new(names, self.runs, self.credit.unsigned_abs());
        blocking(move || {
            let of_commands = matches!(select, Select::Commands(_));
            let mut found = logs.scan(select, &filter, after, &mut |app, seq, head, text| {
                // Whose these are is known, and no instance.
                let instance = head.instance.filter(|_| !of_commands);
                seq <= end && writer.take(app, seq, &Head { instance, ..*head }, text)
            })?;
            found.more &= found.after < end;
            writer.close_event();
            Ok(Step { found, events: writer.events, sent: writer.sent, credit: writer.spent })
        })
        .await
    }

    /// What was dropped before the receiver got it. With several streams in one, lines of
    /// others may still be there before the gap's end.
    fn missed(&mut self, step: &Step) -> Option<Gap> {
        let through = step.found.dropped;
        let gap = (through > self.after.max(self.gap)).then_some(Gap { after: self.after, through });
        self.gap = self.gap.max(through);
        gap
    }

    /// Takes what the receiver pushed.
    pub fn grant(&mut self, push: &Push) {
        if push.event == "credit"
            && let Ok(credit) = json::from_str::<Credit>(push.payload.text())
        {
            self.credit = self.credit.saturating_add_unsigned(credit.lines);
        }
    }
}

/// Writes the payloads of `lines` events, without a tree: a busy log is most of what a
/// server sends.
struct Writer {
    names: Names,
    runs: bool,
    credit: u64,
    spent: u64,
    events: Vec<String>,
    sent: Option<u64>,
    /// The event in the making; empty when there is none.
    event: String,
    event_credit: u64,
    /// The object that has no end yet: whose it is, and its last line.
    open: Option<(Option<i64>, Head, u64)>,
}

impl Writer {
    fn new(names: Names, runs: bool, credit: u64) -> Writer {
        let (events, event) = (Vec::new(), String::new());
        Writer { names, runs, credit, spent: 0, events, sent: None, event, event_credit: 0, open: None }
    }

    /// Takes a line; false when there is no credit or no room for it.
    fn take(&mut self, app: Option<i64>, seq: u64, head: &Head, text: &str) -> bool {
        let cost = (text.len() as u64).div_ceil(1024).max(1);
        // One that costs more than is left goes when there is nothing before it.
        if self.spent >= self.credit || self.events.len() >= EVENTS {
            return false;
        }
        match &mut self.open {
            Some((their_app, their_head, last))
                if self.runs
                    && *last + 1 == seq
                    && *their_app == app
                    && their_head == head
                    && !head.partial =>
            {
                *last = seq;
                self.event.push_str("\\n");
            }
            _ => self.open(app, seq, head),
        }
        push_escaped(&mut self.event, text);
        self.spent += cost;
        self.event_credit += cost;
        self.sent = Some(seq);
        if self.event.len() >= EVENT_BYTES {
            self.close_event();
        }
        true
    }

    fn open(&mut self, app: Option<i64>, seq: u64, head: &Head) {
        let out = &mut self.event;
        match self.open {
            Some(_) => out.push_str("\"},"),
            None => out.push_str("{\"lines\":["),
        }
        let number = |out: &mut String, name: &str, value: Option<u64>| {
            out.push_str(name);
            // Writing to a string does not fail.
            let _ = match value {
                Some(value) => write!(out, "{value}"),
                None => out.write_str("null"),
            };
        };
        let word = |out: &mut String, name: &str, value: Option<String>| {
            out.push_str(name);
            out.push_str(&value.unwrap_or_else(|| "null".to_owned()));
        };
        number(out, "{\"seq\":", Some(seq));
        out.push_str(",\"time\":\"");
        out.push_str(&rfc3339(UNIX_EPOCH + Duration::from_millis(head.time)));
        word(out, "\",\"source\":", Some(json::to_string(&head.source)));
        out.push_str(",\"app\":");
        match app.and_then(|app| self.names.get(&app)) {
            Some(name) => push_string(out, name),
            None => out.push_str("null"),
        }
        number(out, ",\"instance\":", head.instance);
        number(out, ",\"release\":", head.release);
        word(out, ",\"level\":", head.level.map(|level| json::to_string(&level)));
        word(out, ",\"partial\":", Some(head.partial.to_string()));
        out.push_str(",\"text\":\"");
        self.open = Some((app, *head, seq));
    }

    fn close_event(&mut self) {
        if self.open.take().is_some() {
            number_end(&mut self.event, self.event_credit);
            self.events.push(std::mem::take(&mut self.event));
            self.event_credit = 0;
        }
    }
}

fn number_end(out: &mut String, credit: u64) {
    // Writing to a string does not fail.
    let _ = write!(out, "\"}}],\"credit\":{credit}}}");
}

async fn names(platform: &Arc<Platform>, network: i64) -> Result<Names> {
    let names = platform.store.with(move |t| {
        let mut query =
            t.prepare_cached("SELECT id, name FROM all_apps WHERE network = ?1").map_err(explain)?;
        let rows = query.query_map([network], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.and_then(Iterator::collect).map_err(explain)
    });
    names.await.map(Arc::new)
}
