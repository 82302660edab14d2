//! From a job's pipes into the log, in bundles of lines. Whoever writes faster than the log
//! takes it has to wait: nothing is dropped and nothing piles up. A pipe has at most one
//! bundle on its way to the log while the next is read, so that however much one app writes,
//! the others take turns with it.

use super::line::NewLine;
use super::runtime::{Job, Pipe};
use super::supervisor::Release;
use crate::wire::log::Source;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// The longest line, in bytes; a longer one is split.
const LINE_MAX: usize = 64 * 1024;
/// What is read at once: as much as a pipe holds.
const READ: usize = 64 * 1024;

/// How long the end of the output is waited for once the job has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Whose lines they are, and where they go.
#[derive(Clone)]
pub struct Journal {
    network: i64,
    app: i64,
    release: u64,
    instance: Option<u64>,
    command: Option<u64>,
    lines: mpsc::Sender<NewLine>,
}

impl Journal {
    /// The journal of a release, of one of its instances or of its build.
    pub fn new(release: &Release, instance: Option<u64>, lines: &mpsc::Sender<NewLine>) -> Journal {
        let (network, app, number) = (release.network, release.app, release.number);
        Journal { network, app, release: number, instance, command: None, lines: lines.clone() }
    }

    /// The journal of a detached command, by its session's number.
    pub fn of_command(release: &Release, session: u64, lines: &mpsc::Sender<NewLine>) -> Journal {
        Journal { command: Some(session), ..Journal::new(release, None, lines) }
    }

    /// Writes one line. When nobody reads the log any more it is gone.
    pub async fn write(&self, source: Source, text: impl Into<String>) {
        let _ = self.lines.send(self.line(source, text.into())).await;
    }

    /// Writes the last line of something, and waits until it and all before it can be
    /// read: maxd may end right after.
    pub async fn write_last(&self, source: Source, text: impl Into<String>) {
        let (stored, wait) = oneshot::channel();
        let line = NewLine { stored: Some(stored), ..self.line(source, text.into()) };
        if self.lines.send(line).await.is_ok() {
            let _ = tokio::time::timeout(LAST_WORDS, wait).await;
        }
    }

    fn line(&self, source: Source, text: String) -> NewLine {
        let (instance, command) = (self.instance, self.command);
        let (app, release) = (Some(self.app), Some(self.release));
        NewLine { instance, command, ..NewLine::new(self.network, app, release, source, text) }
    }

    /// Begins to read what a job writes, under these names.
    pub fn follow(&self, job: &mut dyn Job, stdout: Source, stderr: Source) -> Pumps {
        let mut pumps = JoinSet::new();
        if let Some((out, err)) = job.outputs() {
            pumps.spawn(pump(out, self.clone(), stdout));
            pumps.spawn(pump(err, self.clone(), stderr));
        }
        Pumps(pumps)
    }
}

/// The tasks that read a job's output. They end with it.
pub struct Pumps(JoinSet<()>);

impl Pumps {
    /// Waits until what an ended job has written is in the log; not for ever, since it
    /// may have handed its pipes to somebody who stays.
    pub async fn drain(mut self) {
        let all = async { while self.0.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_WORDS, all).await;
        self.0.detach_all();
    }
}

async fn pump(mut pipe: Pipe, journal: Journal, source: Source) {
    let mut splitter = Splitter::default();
    let mut buffer = vec![0; READ];
    let mut before: Option<oneshot::Receiver<()>> = None;
    loop {
        let read = pipe.read(&mut buffer).await.unwrap_or(0);
        let bundles = match read {
            0 => splitter.finish(),
            _ => splitter.push(buffer.get(..read).unwrap_or_default()),
        };
        for Bundle { text, partial } in bundles {
            if let Some(before) = before.take() {
                // An error means that it could not be stored, which the log has said.
                let _ = before.await;
            }
            let (stored, wait) = oneshot::channel();
            let line = NewLine { partial, stored: Some(stored), ..journal.line(source, text) };
            if journal.lines.send(line).await.is_ok() {
                before = Some(wait);
            }
        }
        if read == 0 {
            return;
        }
    }
}

/// Whole lines, or a piece of one.
#[derive(PartialEq, Debug)]
struct Bundle {
    /// Without the last line's end.
    text: String,
    /// It is a piece, and not the last.
    partial: bool,
}

/// Cuts bytes into lines.
#[derive(Default)]
struct Splitter {
    /// The line that has no end yet.
    rest: Vec<u8>,
}

impl Splitter {
    /// What is complete with these bytes, at most [`READ`]: lines together, pieces of long
    /// lines by themselves.
    fn push(&mut self, bytes: &[u8]) -> Vec<Bundle> {
        let mut bundles = Vec::new();
        let (lines, rest) =
            bytes.split_at(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1));
        if !lines.is_empty() {
            // The line that was begun before may be too long, and none after it.
            let (first, others) =
                lines.split_at(lines.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1));
            self.rest.extend_from_slice(first);
            self.cut(LINE_MAX + 1, &mut bundles);
            let mut whole = std::mem::take(&mut self.rest);
            whole.extend_from_slice(others);
            whole.pop();
            bundles.push(Bundle { text: text(whole), partial: false });
        }
        self.rest.extend_from_slice(rest);
        self.cut(LINE_MAX, &mut bundles);
        bundles
    }

    /// Takes whole pieces off a line that is longer than `limit`, between characters.
    fn cut(&mut self, limit: usize, bundles: &mut Vec<Bundle>) {
        while self.rest.len() > limit {
            let continues = |at: &usize| self.rest.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
            let at = (LINE_MAX - 3..=LINE_MAX).rev().find(|at| !continues(at)).unwrap_or(LINE_MAX);
            let rest = self.rest.split_off(at);
            let piece = std::mem::replace(&mut self.rest, rest);
            bundles.push(Bundle { text: text(piece), partial: true });
        }
    }

    /// What has no end.
    fn finish(&mut self) -> Vec<Bundle> {
        let line = std::mem::take(&mut self.rest);
        if line.is_empty() { Vec::new() } else { vec![Bundle { text: text(line), partial: false }] }
    }
}

/// Text, with line feeds alone as line ends.
fn text(bytes: Vec<u8>) -> String {
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    if !text.contains('\r') {
        return text;
    }
    let mut text = text.replace("\r\n", "\n");
    if text.ends_with('\r') {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bundles: Vec<Bundle>) -> Vec<String> {
        bundles.iter().flat_map(|bundle| bundle.text.split('\n')).map(str::to_owned).collect()
    }

    #[test]
    fn lines_are_cut_at_their_ends_wherever_the_reads_fall() {
        let text = "one\r\ntwo\n\nfo\u{e9}ur\nfive".as_bytes();
        for size in 1..=text.len() {
            let mut splitter = Splitter::default();
            let mut bundles = text.chunks(size).flat_map(|part| splitter.push(part)).collect::<Vec<_>>();
            bundles.extend(splitter.finish());
            assert!(bundles.iter().all(|bundle| !bundle.partial));
            assert_eq!(lines(bundles), ["one", "two", "", "fo\u{e9}ur", "five"], "{size}");
        }
    }

    #[test]
    fn what_comes_together_stays_together() {
        let bundles = Splitter::default().push(b"a\nb\nc\nd");
        assert_eq!(bundles, [Bundle { text: "a\nb\nc".to_owned(), partial: false }]);
    }

    #[test]
    fn long_lines_are_split_between_characters() {
        let long = "\u{e9}".repeat(LINE_MAX) + "x";
        for size in [1000, READ] {
            let mut splitter = Splitter::default();
            let bytes = format!("before\na{long}\nb\n");
            let mut bundles =
                bytes.as_bytes().chunks(size).flat_map(|part| splitter.push(part)).collect::<Vec<_>>();
            bundles.extend(splitter.finish());
            let pieces = bundles.iter().filter(|bundle| bundle.partial).count();
            assert!(pieces >= 2);
            let mut joined = String::new();
            for bundle in &bundles {
                assert!(bundle.text.split('\n').all(|line| line.len() <= LINE_MAX), "{size}");
                joined.push_str(&bundle.text);
                joined.push_str(if bundle.partial { "" } else { "\n" });
            }
            assert!(joined == bytes, "{size}");
        }
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        assert_eq!(lines(Splitter::default().push(b"a\xff\xfeb\0c\n")), ["a\u{fffd}\u{fffd}b\0c"]);
    }
}
