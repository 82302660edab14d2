//! The command line as data. One [`Command`] is a constant: its words, arguments,
//! flags, examples and what runs it. [`parse`], [`help`] and `docs/commands.md` walk
//! the same slice, so they can't disagree.

pub mod help;
pub mod parse;

use crate::error::Result;
use crate::packed::{Packed, Word, packed, word};
use crate::session::Session;

/// A flag. Flags are shared: a name takes a value or not in every command that has it. A
/// command's own one takes the place of a global one of that name.
pub struct Flag {
    /// Its name without the hyphens.
    pub long: Word,
    /// Its one-letter name.
    pub short: Option<char>,
    /// The name of its value in help; empty for a switch.
    pub value: Word,
    /// What it does, in one line.
    pub help: Packed,
}

/// A positional argument.
pub struct Arg {
    /// Its name in help.
    pub name: Word,
    /// What it is, in one line.
    pub help: Packed,
    /// Whether the command can do without it.
    pub required: bool,
}

/// How the name of an argument begins that takes everything behind `--`.
pub const REST: &str = "--";

/// How the name of an argument ends that may be given several times.
pub const MORE: &str = "...";

/// How the value of a flag begins in help that may begin with a hyphen.
pub const MINUS: &str = "[-]";

/// A command.
pub struct Command {
    /// The words that call it: `create network`.
    pub words: Word,
    /// Other words that call it.
    pub aliases: &'static [&'static str],
    /// What it does, in one line.
    pub summary: Packed,
    /// What else is worth knowing.
    pub about: Packed,
    /// Its arguments, in order.
    pub args: &'static [Arg],
    /// Its flags besides [`GLOBAL`].
    pub flags: &'static [&'static Flag],
    /// What a line does, and the line.
    pub examples: &'static [(Packed, Packed)],
    /// What runs it.
    pub run: fn(&Session, &Matches) -> Result<()>,
}

/// `-o json`.
pub const OUTPUT: Flag = Flag {
    long: word("output"),
    short: Some('o'),
    value: word("FORMAT"),
    help: packed!("answer as `text` (the default) or `json`"),
};
/// `--url`.
pub const URL: Flag = Flag {
    long: word("url"),
    short: None,
    value: word("URL"),
    help: packed!("the Max server (else RIG_URL, else your login's)"),
};
/// `--timeout`.
pub const TIMEOUT: Flag = Flag {
    long: word("timeout"),
    short: None,
    value: word("TIME"),
    help: packed!("how long to wait for an answer (else 10s)"),
};
/// `--ca`.
pub const CA: Flag = Flag {
    long: word("ca"),
    short: None,
    value: word("FILE"),
    help: packed!("also trust this PEM file (else RIG_CA)"),
};
/// `--context`.
pub const CONTEXT: Flag = Flag {
    long: word("context"),
    short: None,
    value: word("NAME"),
    help: packed!("the login to use (else RIG_CONTEXT)"),
};
/// `--transport`.
pub const TRANSPORT: Flag = Flag {
    long: word("transport"),
    short: None,
    value: word("WAY"),
    help: packed!("`websocket` or `longpoll` (else whichever works)"),
};
/// `--pin`.
pub const PIN: Flag = Flag {
    long: word("pin"),
    short: None,
    value: word("SHA256"),
    help: packed!("trust this certificate alone (else RIG_PIN)"),
};
/// `--help`.
pub const HELP: Flag =
    Flag { long: word("help"), short: Some('h'), value: word(""), help: packed!("show what a command does") };
/// `--version`.
pub const VERSION: Flag =
    Flag { long: word("version"), short: Some('V'), value: word(""), help: packed!("show rig's version") };

/// The flags every command has.
pub const GLOBAL: &[&Flag] = &[&OUTPUT, &CONTEXT, &URL, &TIMEOUT, &CA, &PIN, &TRANSPORT, &HELP, &VERSION];

/// A command line that was understood.
pub struct Matches {
    /// The arguments behind the command's words.
    pub args: Vec<String>,
    /// What stands behind `--`, of a command that has an argument for it.
    pub rest: Option<Vec<String>>,
    pub(super) flags: Vec<(Word, String)>,
}

impl Matches {
    /// The argument at `index`.
    pub fn arg(&self, index: usize) -> Option<&str> {
        self.args.get(index).map(String::as_str)
    }

    /// The value of `flag`; of several the last.
    pub fn value(&self, flag: &Flag) -> Option<&str> {
        self.flags.iter().rev().find(|(long, _)| *long == flag.long).map(|(_, value)| value.as_str())
    }

    /// All values of `flag`, in order.
    pub fn values(&self, flag: &Flag) -> impl Iterator<Item = &str> {
        let long = flag.long;
        self.flags.iter().filter(move |(name, _)| *name == long).map(|(_, value)| value.as_str())
    }

    /// Whether the switch `flag` is given.
    pub fn has(&self, flag: &Flag) -> bool {
        self.value(flag).is_some()
    }
}
