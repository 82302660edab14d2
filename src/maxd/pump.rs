//! From a job's pipes into the log, line by line. Whoever writes faster than the log
//! takes it has to wait: nothing is dropped and nothing piles up.

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

/// How long the end of the output is waited for once the job has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Whose lines they are, and where they go.
#[derive(Clone)]
pub struct Journal {
    network: i64,
    app: i64,
    release: u64,
    lines: mpsc::Sender<NewLine>,
}

impl Journal {
    /// The journal of a release.
    pub fn new(release: &Release, lines: &mpsc::Sender<NewLine>) -> Journal {
        let (network, app, number) = (release.network, release.app, release.number);
        Journal { network, app, release: number, lines: lines.clone() }
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
        let (network, app, release) = (self.network, Some(self.app), Some(self.release));
        NewLine { network, app, release, source, text, stored: None }
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
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(n @ 1..) = pipe.read(&mut buffer).await {
        for line in splitter.push(buffer.get(..n).unwrap_or_default()) {
            journal.write(source, line).await;
        }
    }
    if let Some(line) = splitter.finish() {
        journal.write(source, line).await;
    }
}

/// Cuts bytes into lines.
#[derive(Default)]
struct Splitter {
    /// The line that has no end yet.
    rest: Vec<u8>,
}

impl Splitter {
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(part);
            if self.rest.ends_with(b"\n") {
                self.rest.pop();
                lines.extend(self.cut());
                lines.extend(self.finish().or_else(|| Some(String::new())));
            } else {
                lines.extend(self.cut());
            }
        }
        lines
    }

    /// Takes whole pieces off a line that is too long, between characters.
    fn cut(&mut self) -> Vec<String> {
        let mut pieces = Vec::new();
        while self.rest.len() > LINE_MAX {
            let continues = |at: &usize| self.rest.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
            let at = (LINE_MAX - 3..=LINE_MAX).rev().find(|at| !continues(at)).unwrap_or(LINE_MAX);
            let rest = self.rest.split_off(at);
            pieces.push(text(&std::mem::replace(&mut self.rest, rest)));
        }
        pieces
    }

    fn finish(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.rest);
        (!line.is_empty()).then(|| text(line.strip_suffix(b"\r").unwrap_or(&line)))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_their_ends_wherever_the_reads_fall() {
        let text = "one\r\ntwo\n\nfo\u{e9}ur\nfive".as_bytes();
        for size in 1..text.len() {
            let mut splitter = Splitter::default();
            let mut lines = text.chunks(size).flat_map(|part| splitter.push(part)).collect::<Vec<_>>();
            lines.extend(splitter.finish());
            assert_eq!(lines, ["one", "two", "", "fo\u{e9}ur", "five"], "{size}");
        }
    }

    #[test]
    fn long_lines_are_split_between_characters() {
        let long = "\u{e9}".repeat(LINE_MAX) + "x";
        let mut splitter = Splitter::default();
        let mut lines = splitter.push(format!("a{long}\nb\n").as_bytes());
        assert_eq!(lines.pop().as_deref(), Some("b"));
        assert!(lines.iter().all(|line| line.len() <= LINE_MAX && !line.contains('\u{fffd}')));
        assert_eq!(lines.concat(), format!("a{long}"));
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        assert_eq!(Splitter::default().push(b"a\xff\xfeb\0c\n"), ["a\u{fffd}\u{fffd}b\0c"]);
    }
}
