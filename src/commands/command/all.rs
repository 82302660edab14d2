//! `rig command --all-instances`: the same program beside each instance of an app, all at the
//! same time, and what they write line by line.

use super::{Collected, Document, Sink, document};
use crate::api::exec::{Remote, Said};
use crate::commands::carry::{OURS, SIGNALS, spawn};
use crate::commands::shell::why;
use crate::error::{Error, Kind, Result};
use crate::packed::packed;
use crate::queue::{Receiver, bounded, either};
use crate::session::Session;
use crate::sys::signals::number;
use crate::term::on_signal;
use crate::time::human;
use crate::view::{items, text};
use crate::wire::app;
use crate::wire::exec::{Create, Exit, Select};
use miniserde::Serialize;
use std::time::{Duration, Instant};

/// What waits to be handled.
const INPUTS: usize = 16;
/// A line that is longer comes in pieces.
const LINE_MAX: usize = 64 * 1024;

/// One of them.
struct One {
    instance: u64,
    remote: Remote,
    lost: bool,
    exit: Option<Exit>,
    out: Stream,
    err: Stream,
}

/// What becomes of a stream.
enum Stream {
    /// Whole lines behind this, and the line that has no end yet.
    Lines(String, Vec<u8>),
    Collect(Collected),
}

/// What one of them says.
type Input = (usize, Result<Said>);

/// The answer of `rig command --all-instances -o json`.
#[derive(Serialize)]
struct All {
    instances: Vec<Document>,
}

/// Runs it beside each instance; the worst exit code is rig's.
pub fn run(session: &Session, create: &Create) -> Result<()> {
    let mut all = Vec::new();
    let ended = begin(session, create, &mut all).and_then(|inputs| carry(session, &mut all, &inputs));
    on_signal(None);
    if ended.is_err() {
        // Nobody would hear of the others.
        for one in all.iter().filter(|one| one.exit.is_none() && !one.lost) {
            let _ = session.max()?.document("exec:delete", &Select { id: one.remote.running.id });
        }
    }
    ended?;
    let worst = all.iter().filter_map(|one| Some(one.exit.as_ref()?.code)).max().unwrap_or(0);
    session.exit_code.set(u8::try_from(worst).unwrap_or(OURS));
    if !session.output.json {
        return Ok(());
    }
    let told = |one: One| match (one.exit, one.out, one.err) {
        (Some(exit), Stream::Collect(out), Stream::Collect(err)) => {
            Some(document(one.remote.running.id, Some(one.instance), exit, out, err))
        }
        _ => None,
    };
    session.output.document(&All { instances: all.into_iter().filter_map(told).collect() })
}

/// Starts them, and listens to all.
fn begin(session: &Session, create: &Create, all: &mut Vec<One>) -> Result<(Receiver<Input>, Receiver<i32>)> {
    let max = session.max()?;
    let app = create.app.clone().unwrap_or_default();
    let select = app::Select { network: create.network.clone(), app: app.clone() };
    let status = max.document("app:status", &select)?;
    let numbers: Vec<u64> =
        items(&status, "instances").iter().filter_map(|one| text(one, "number").parse().ok()).collect();
    let Some(widest) = numbers.iter().max().map(|number| number.to_string().len()) else {
        return Err(Error::new(Kind::Conflict, format!("app '{app}' has no instances"))
            .hint(format!("see `rig status app {app}.{}`", create.network)));
    };
    let (sender, inputs) = bounded(INPUTS);
    let (heard, signals) = bounded(SIGNALS);
    for instance in numbers {
        let create = Create { instance: Some(instance), ..create.clone() };
        let mut remote = Remote::create(max, &create)?;
        remote.finish()?;
        let (number, said) = (all.len(), sender.clone());
        if let Some(events) = remote.events() {
            spawn(move || while said.send((number, events.next())).is_ok() {})?;
        }
        let stream = || match session.output.json {
            true => Stream::Collect(Collected::default()),
            false => Stream::Lines(format!("{instance:>widest$}: "), Vec::new()),
        };
        let (out, err) = (stream(), stream());
        all.push(One { instance, remote, lost: false, exit: None, out, err });
    }
    on_signal(Some(Box::new(move |signal| heard.try_send(signal).is_ok())));
    Ok((inputs, signals))
}

/// Carries what they write until all have ended.
fn carry(
    session: &Session,
    all: &mut [One],
    (inputs, signals): &(Receiver<Input>, Receiver<i32>),
) -> Result<()> {
    let keep = Duration::from_secs(all.first().map_or(0, |one| one.remote.running.keep));
    let mut sink = Sink::new(false);
    let mut lost: Option<Instant> = None;
    while all.iter().any(|one| one.exit.is_none()) {
        // First: it may be what ends a flood.
        if let Ok(signal) = signals.try_recv() {
            if lost.is_some() {
                let message = format!("ended by signal {signal} while the connection was lost");
                let hint = format!("the sessions end by themselves in {}", human(keep));
                return Err(Error::new(Kind::Unreachable, message).hint(hint));
            }
            for one in all.iter().filter(|one| one.exit.is_none()) {
                one.remote.signal(number(signal))?;
            }
            continue;
        }
        let Ok((number, said)) = inputs.try_recv() else {
            let left = lost.map(|since| keep.saturating_sub(since.elapsed()));
            if either(inputs, signals, left) {
                continue;
            }
            let message = format!("the connection could not be made again for {}", human(keep));
            return Err(
                Error::new(Kind::Unreachable, message).hint(packed!("how the programs ended is not known"))
            );
        };
        // What has ended has nothing more to say.
        let Some(one) = all.get_mut(number).filter(|one| one.exit.is_none()) else { continue };
        match said? {
            Said::Out(bytes) => {
                if !one.out.take(&bytes, &mut |bytes| sink.take(true, bytes))? {
                    one.remote.close(true)?;
                }
                one.remote.took(bytes.len())?;
            }
            Said::Err(bytes) => {
                if !one.err.take(&bytes, &mut |bytes| sink.take(false, bytes))? {
                    one.remote.close(false)?;
                }
                one.remote.took(bytes.len())?;
            }
            Said::Taken(input) => one.remote.acknowledged(input),
            Said::Lost(reason) => {
                one.lost = true;
                if lost.is_none() {
                    session.output.note(&format!("connection to Max lost ({reason}); reconnecting"));
                    lost = Some(Instant::now());
                }
            }
            Said::Restored(input) => {
                one.lost = false;
                one.remote.resume(input)?;
                if !all.iter().any(|one| one.lost && one.exit.is_none()) {
                    lost = None;
                }
            }
            Said::Exit(exit) => {
                one.remote.done()?;
                one.out.finish(&mut |bytes| sink.take(true, bytes))?;
                one.err.finish(&mut |bytes| sink.take(false, bytes))?;
                if let Some(why) = why(one.remote.running.id, &exit) {
                    session.output.warn(&format!("instance {}: {why}", one.instance));
                }
                one.exit = Some(exit);
            }
        }
    }
    Ok(())
}

/// Gives whole lines away; false when nobody takes them any more.
type Give<'a> = &'a mut dyn FnMut(&[u8]) -> Result<bool>;

impl Stream {
    /// Takes output, and gives the lines that are whole with it.
    fn take(&mut self, bytes: &[u8], give: Give<'_>) -> Result<bool> {
        let (prefix, rest) = match self {
            Stream::Lines(prefix, rest) => (prefix, rest),
            Stream::Collect(all) => {
                all.take(bytes);
                return Ok(true);
            }
        };
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            rest.extend_from_slice(part);
            if part.ends_with(b"\n") || rest.len() >= LINE_MAX {
                push_line(&mut lines, prefix, rest);
            }
        }
        if lines.is_empty() { Ok(true) } else { give(&lines) }
    }

    /// Gives the line that has no end, with one.
    fn finish(&mut self, give: Give<'_>) -> Result<()> {
        match self {
            Stream::Lines(prefix, rest) if !rest.is_empty() => {
                let mut line = Vec::new();
                push_line(&mut line, prefix, rest);
                give(&line).map(drop)
            }
            _ => Ok(()),
        }
    }
}

fn push_line(lines: &mut Vec<u8>, prefix: &str, rest: &mut Vec<u8>) {
    lines.extend_from_slice(prefix.as_bytes());
    lines.append(rest);
    if !lines.ends_with(b"\n") {
        lines.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_are_whole_wherever_the_bytes_are_cut() {
        let text = b"one\ntwo\r\n\n\xff\nno end";
        for size in 1..=text.len() {
            let mut stream = Stream::Lines(" 7: ".to_owned(), Vec::new());
            let mut out = Vec::new();
            let mut give = |bytes: &[u8]| {
                assert!(bytes.ends_with(b"\n"));
                out.extend_from_slice(bytes);
                Ok(true)
            };
            text.chunks(size).for_each(|part| assert!(stream.take(part, &mut give).unwrap()));
            stream.finish(&mut give).unwrap();
            stream.finish(&mut give).unwrap();
            assert_eq!(out, b" 7: one\n 7: two\r\n 7: \n 7: \xff\n 7: no end\n", "{size}");
        }
    }

    #[test]
    fn a_line_without_an_end_comes_in_pieces() {
        let mut stream = Stream::Lines("1: ".to_owned(), Vec::new());
        let (mut most, mut count) = (0, 0);
        for _ in 0..100 {
            stream
                .take(&[b'x'; 10_000], &mut |bytes| {
                    most = most.max(bytes.len());
                    count += bytes.iter().filter(|byte| **byte == b'x').count();
                    Ok(true)
                })
                .unwrap();
        }
        stream
            .finish(&mut |bytes| {
                count += bytes.iter().filter(|byte| **byte == b'x').count();
                Ok(true)
            })
            .unwrap();
        assert_eq!(count, 1_000_000);
        assert!(most < LINE_MAX + 10_100, "{most}");
    }
}
