//! `rig command`: runs a program in an app, with rig's own standard streams and its exit
//! code.

mod all;

use super::carry::{End, How, OURS, carry, has_terminal, tty};
use super::shell::{KEEP_DEFAULT, ended};
use super::{number, tell};
use crate::api::exec::Remote;
use crate::cli::{self, Arg, Command, Flag, Matches};
use crate::error::{Error, Result};
use crate::net::base64;
use crate::packed::{packed, word};
use crate::session::{self, Session};
use crate::view::filled;
use crate::wire::exec::{Create, Exit, Variable};
use miniserde::Serialize;
use std::io::{self, Write};
use std::path::Path;

const ENV: Flag = Flag {
    long: word("env"),
    short: Some('e'),
    value: word("KEY=VALUE"),
    help: packed!("a further variable (repeat it)"),
};
const WORKDIR: Flag = Flag {
    long: word("workdir"),
    short: Some('w'),
    value: word("DIR"),
    help: packed!("where to run it (else the app's directory)"),
};
/// Of the program, not of Max's answers.
const LIMIT: Flag =
    Flag { help: packed!("end it, and all it started, when it takes longer"), ..cli::TIMEOUT };
const TTY: Flag = Flag {
    long: word("tty"),
    short: Some('t'),
    value: word(""),
    help: packed!("give it a terminal: rig's own, or one nobody sees"),
};
const NO_STDIN: Flag = Flag {
    long: word("no-stdin"),
    short: None,
    value: word(""),
    help: packed!("give it nothing to read, and read nothing"),
};
const DETACH: Flag = Flag {
    long: word("detach"),
    short: Some('d'),
    value: word(""),
    help: packed!("print its number, and let it go on without rig"),
};
/// `--instance`.
pub const INSTANCE: Flag = Flag {
    long: word("instance"),
    short: None,
    value: word("N"),
    help: packed!("beside this instance: its PORT is set"),
};
const ALL: Flag = Flag {
    long: word("all-instances"),
    short: None,
    value: word(""),
    help: packed!("once beside each instance, all at the same time"),
};

/// `rig command`.
pub const COMMAND: Command = Command {
    words: word("command"),
    aliases: &[],
    summary: packed!("Run a command in an app and return its output and exit code"),
    about: packed!(
        "It runs with the app's files, variables and isolation, beside the app itself. Behind -- \
            the program and its arguments go exactly as they are; a single LINE runs through `sh -c`. \
            Standard input, output and error are the program's; its exit code is rig's (128+n after \
            signal n), and 255 says that rig failed. Signals go to the program. One that takes longer \
            than --timeout gets SIGTERM, and five seconds later SIGKILL. When the connection \
            breaks, rig connects again and nothing is lost or doubled. With --detach it has nothing to \
            read, and `rig logs command` shows what it writes; nor has it with --all-instances, where \
            each line has the instance's number in front, and the largest exit code is rig's."
    ),
    args: &[
        Arg { name: word("APP"), help: packed!("the app, or APP.NETWORK (else rig.json)"), required: false },
        Arg { name: word("LINE"), help: packed!("a line for the shell"), required: false },
        Arg {
            name: word("-- PROG ARGS..."),
            help: packed!("the program and its arguments"),
            required: false,
        },
    ],
    flags: &[&session::NETWORK, &ENV, &WORKDIR, &LIMIT, &TTY, &NO_STDIN, &INSTANCE, &ALL, &DETACH],
    examples: packed![
        ("A program with arguments", "rig command web.blue -- ls -la public"),
        ("A line for the shell", "rig command web.blue 'ls public | wc -l'"),
        ("In the background, for an hour at most", "rig command web.blue --detach --timeout 1h -- ./import"),
        ("In all instances", "rig command web.blue --all-instances -- df -h /tmp"),
        ("A file into the app", "rig command web.blue -- tee data.csv <data.csv >/dev/null"),
    ],
    run: command,
};

/// What is collected of each stream with `-o json`.
const COLLECTED: usize = 4 << 20;

fn command(session: &Session, matches: &Matches) -> Result<()> {
    run(session, matches).map_err(|error| error.exits(OURS))
}

fn run(session: &Session, matches: &Matches) -> Result<()> {
    let name = session.app(matches, matches.arg(0), Path::new("."))?;
    let argv = match (matches.arg(1), &matches.rest) {
        (Some(line), None) => ["/bin/sh", "-c", line].map(str::to_owned).into(),
        (None, Some(rest)) if !rest.is_empty() => rest.clone(),
        (Some(_), Some(_)) => {
            return Err(Error::usage(packed!("a line for the shell and a program exclude each other")));
        }
        _ => {
            return Err(Error::usage("which command?").hint(packed!(
                "for instance `rig command APP -- ls -la`, or `rig command APP 'ls | wc -l'`"
            )));
        }
    };
    let limit = session::limit(matches)?;
    let alone = [&TTY, &INSTANCE, &DETACH].into_iter().find(|flag| matches.has(flag));
    if let Some(flag) = alone.filter(|_| matches.has(&ALL)) {
        let message = format!("--all-instances and --{} exclude each other", flag.long.text());
        return Err(Error::usage(message).hint("leave one of them out"));
    }
    let terminal = matches.has(&TTY);
    let create = Create {
        network: name.network.to_string(),
        app: Some(name.app.to_string()),
        argv,
        env: variables(matches)?,
        workdir: matches.value(&WORKDIR).map(str::to_owned),
        tty: terminal.then(tty),
        timeout_ms: limit.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
        keep: KEEP_DEFAULT.as_secs(),
        detach: Some(matches.has(&DETACH)),
        instance: instance(matches)?,
    };
    if matches.has(&ALL) {
        return all::run(session, &create);
    }
    if matches.has(&DETACH) {
        return detach(session, &create);
    }
    let remote = Remote::create(session.max()?, &create)?;
    let id = remote.running.id;
    if terminal && has_terminal(session) {
        if let End::Exit(exit) = carry(session, remote, How::Terminal(true))? {
            ended(session, id, &exit);
        }
        return Ok(());
    }
    let mut sink = Sink::new(session.output.json);
    let mut take = |is_out: bool, bytes: &[u8]| sink.take(is_out, bytes);
    let End::Exit(exit) = carry(session, remote, How::Streams(&mut take, !matches.has(&NO_STDIN)))? else {
        return Ok(());
    };
    ended(session, id, &exit);
    match sink {
        Sink::Collect(out, err) => session.output.document(&document(id, create.instance, exit, out, err)),
        Sink::Pass { .. } => Ok(()),
    }
}

/// `--instance`.
pub fn instance(matches: &Matches) -> Result<Option<u64>> {
    number(matches, &INSTANCE, "a number", "2")
}

/// Begins it, and leaves.
fn detach(session: &Session, create: &Create) -> Result<()> {
    let answer = session.max()?.document("exec:create", create)?;
    tell(session, &answer, "{id}")?;
    session.output.note(&filled(&answer, "see `rig logs command {id}`; `rig delete session {id}` ends it"));
    Ok(())
}

fn variables(matches: &Matches) -> Result<Vec<Variable>> {
    let pair = |text: &str| {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| Error::usage(format!("--env takes KEY=VALUE, not '{text}'")))?;
        Ok(Variable { name: name.to_owned(), value: value.to_owned() })
    };
    matches.values(&ENV).map(pair).collect()
}

/// Where output goes.
enum Sink {
    Pass { out_closed: bool, err_closed: bool },
    Collect(Collected, Collected),
}

#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    truncated: bool,
}

impl Collected {
    /// Takes output, as far as there is room.
    fn take(&mut self, bytes: &[u8]) {
        let room = COLLECTED.saturating_sub(self.bytes.len());
        self.truncated |= bytes.len() > room;
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}

impl Sink {
    fn new(json: bool) -> Sink {
        match json {
            true => Sink::Collect(Collected::default(), Collected::default()),
            false => Sink::Pass { out_closed: false, err_closed: false },
        }
    }

    /// Takes output; false when its reader has gone away, which is no reason to fail: the
    /// program's exit code still counts.
    fn take(&mut self, is_out: bool, bytes: &[u8]) -> Result<bool> {
        let (written, closed) = match self {
            Sink::Collect(out, err) => {
                let one = if is_out { out } else { err };
                one.take(bytes);
                return Ok(true);
            }
            Sink::Pass { out_closed: true, .. } if is_out => return Ok(false),
            Sink::Pass { err_closed: true, .. } if !is_out => return Ok(false),
            Sink::Pass { out_closed, .. } if is_out => {
                let mut out = io::stdout().lock();
                (out.write_all(bytes).and_then(|()| out.flush()), out_closed)
            }
            Sink::Pass { err_closed, .. } => (io::stderr().lock().write_all(bytes), err_closed),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => *closed = true,
            Err(error) => {
                let name = if is_out { "standard output" } else { "standard error" };
                return Err(Error::io("write to", name, &error));
            }
            Ok(()) => {}
        }
        Ok(!*closed)
    }
}

/// The answer of `rig command -o json`.
#[derive(Serialize)]
struct Document {
    id: u64,
    instance: Option<u64>,
    exit_code: u64,
    reason: Option<String>,
    stdout: Option<String>,
    stdout_base64: Option<String>,
    stderr: Option<String>,
    stderr_base64: Option<String>,
    duration_ms: u64,
    truncated: bool,
}

fn document(id: u64, instance: Option<u64>, exit: Exit, out: Collected, err: Collected) -> Document {
    let truncated = out.truncated || err.truncated;
    let ((stdout, stdout_base64), (stderr, stderr_base64)) = (told(out.bytes), told(err.bytes));
    let Exit { code: exit_code, reason, duration_ms, .. } = exit;
    Document {
        id,
        instance,
        exit_code,
        reason,
        stdout,
        stdout_base64,
        stderr,
        stderr_base64,
        duration_ms,
        truncated,
    }
}

/// As text, or as base64 where it is none.
fn told(bytes: Vec<u8>) -> (Option<String>, Option<String>) {
    match String::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(base64::encode(error.as_bytes()))),
    }
}
