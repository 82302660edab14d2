//! Which lines of a stream a query wants.

use super::block::{EVENTS, Head, Run, bit};
use super::level;
use crate::error::{Error, Result};
use crate::time::{parse_duration, parse_instant};
use crate::wire::log::{Level, Query, Source};
use regex::{Regex, RegexBuilder};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a compiled pattern may take, in bytes, and as much again while it runs.
const REGEX_MAX: usize = 1 << 20;
/// The longest text or pattern.
const PATTERN_MAX: usize = 4096;

/// All of it must hold; the default wants everything.
pub struct Filter {
    /// Milliseconds since 1970, included.
    since: u64,
    /// Milliseconds since 1970, not included.
    until: u64,
    text: Option<String>,
    /// How lines begin that are not wanted.
    without: Option<String>,
    regex: Option<Regex>,
    level: Option<Level>,
    instance: Option<u64>,
    release: Option<u64>,
    source: Option<Source>,
}

impl Default for Filter {
    fn default() -> Filter {
        Filter {
            since: 0,
            until: u64::MAX,
            text: None,
            without: None,
            regex: None,
            level: None,
            instance: None,
            release: None,
            source: None,
        }
    }
}

impl Filter {
    /// What this query wants; an error that names its field otherwise.
    pub fn new(query: &Query, now: SystemTime) -> Result<Filter> {
        let instant = |name, text: &Option<String>| match text {
            Some(text) => instant(name, text, now).map(Some),
            None => Ok(None),
        };
        let (since, until) = (instant("since", &query.since)?, instant("until", &query.until)?);
        if let (Some(since), Some(until)) = (since, until)
            && until <= since
        {
            let message = "until is not after since, so that no line can lie between them";
            return Err(Error::usage(message).hint("for instance `--since 2h --until 1h`").field("until"));
        }
        // A rejoin goes on behind its cursor, whatever the time.
        let since = since.filter(|_| query.after.is_none()).unwrap_or(0);
        for (name, text) in [("grep", &query.grep), ("regex", &query.regex)] {
            if let Some(text) = text
                && (text.is_empty() || text.len() > PATTERN_MAX)
            {
                let message = format!("{name} takes 1 to {PATTERN_MAX} bytes");
                return Err(Error::usage(message)
                    .hint(format!("for instance `--{name} timeout`"))
                    .field(name));
            }
        }
        Ok(Filter {
            since,
            until: until.unwrap_or(u64::MAX),
            text: query.grep.clone(),
            without: None,
            regex: query.regex.as_deref().map(regex).transpose()?,
            level: query.level.as_deref().map(named_level).transpose()?,
            instance: query.instance,
            release: query.release,
            source: query.stream.as_deref().map(stream).transpose()?,
        })
    }

    /// The lines of one release, but those that begin like this.
    pub fn of_release(release: u64, without: String) -> Filter {
        Filter { release: Some(release), without: Some(without), ..Filter::default() }
    }

    /// Of these the lines of one detached command, by its session's number.
    pub fn of_command(self, session: u64) -> Filter {
        Filter { instance: Some(session), ..self }
    }

    /// The lines about what maxd did.
    pub fn of_events() -> Filter {
        Filter { source: Some(Source::Event), ..Filter::default() }
    }

    /// Whether a block with these times and levels may hold something.
    pub fn admits_block(&self, since: u64, until: u64, levels: u8) -> bool {
        let events = self.source != Some(Source::Event) || levels & EVENTS != 0;
        until >= self.since && since < self.until && levels & self.levels() != 0 && events
    }

    /// Whether lines with this head may be wanted.
    pub fn admits(&self, head: &Head) -> bool {
        let fits = |wanted: Option<u64>, is: Option<u64>| wanted.is_none() || wanted == is;
        (self.since..self.until).contains(&head.time)
            && bit(head.level) & self.levels() != 0
            && fits(self.instance, head.instance)
            && fits(self.release, head.release)
            && self.source.is_none_or(|source| source == head.source)
    }

    /// Whether the text of lines matters.
    pub fn reads(&self) -> bool {
        self.text.is_some() || self.regex.is_some() || self.without.is_some()
    }

    /// Whether some line of an admitted run may be wanted; cheaper than asking each.
    pub fn may_match(&self, run: &Run<'_>) -> bool {
        self.text.as_ref().is_none_or(|text| run.text.contains(text.as_str()))
    }

    /// Whether a line of an admitted run is wanted.
    pub fn matches(&self, line: &str) -> bool {
        self.text.as_ref().is_none_or(|text| line.contains(text.as_str()))
            && self.regex.as_ref().is_none_or(|regex| regex.is_match(line))
            && self.without.as_ref().is_none_or(|start| !line.starts_with(start))
    }

    fn levels(&self) -> u8 {
        match self.level {
            None => u8::MAX,
            // Those above have the higher bits.
            least => !(bit(least) - 1) & !EVENTS,
        }
    }
}

/// A time that a request names in its member `name`, in milliseconds since 1970.
pub fn instant(name: &str, text: &str, now: SystemTime) -> Result<u64> {
    let instant = match parse_duration(text) {
        Some(ago) => Some(now.checked_sub(ago).unwrap_or(UNIX_EPOCH)),
        None => parse_instant(text),
    };
    let millis =
        |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64;
    instant.map(millis).ok_or_else(|| {
        Error::usage(format!("{name} takes a time, not '{text}'"))
            .hint(format!("for instance `--{name} 5m`, `2h30m` or `2026-11-24T10:00:00Z`"))
            .field(name)
    })
}

fn regex(pattern: &str) -> Result<Regex> {
    let built = RegexBuilder::new(pattern).size_limit(REGEX_MAX).dfa_size_limit(REGEX_MAX).build();
    built.map_err(|error| {
        let reason = match error {
            regex::Error::CompiledTooBig(_) => "it takes too much memory".to_owned(),
            // Several lines with a picture; the last says what it is.
            error => {
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default();
                last.trim_start_matches("error: ").to_owned()
            }
        };
        Error::usage(format!("regex can't use '{pattern}': {reason}"))
            .hint("for instance `--regex 'status=5[0-9][0-9]'`; for text as it is take --grep")
            .field("regex")
    })
}

fn named_level(name: &str) -> Result<Level> {
    let known = ["trace", "debug", "info", "warn", "error", "fatal"].contains(&name);
    known.then(|| level::word(name)).flatten().ok_or_else(|| {
        Error::usage(format!("level takes a level, not '{name}'"))
            .hint("one of trace, debug, info, warn, error, fatal; for instance `--level warn`")
            .field("level")
    })
}

fn stream(name: &str) -> Result<Source> {
    match name {
        "stdout" => Ok(Source::Stdout),
        "stderr" => Ok(Source::Stderr),
        _ => Err(Error::usage(format!("stream takes stdout or stderr, not '{name}'"))
            .hint("for instance `--stream stderr`")
            .field("stream")),
    }
}
