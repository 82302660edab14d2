//! From arguments to an [`Invocation`]. Touches nothing outside: no file, no
//! environment, no terminal.

use super::{Arg, Command, Flag, GLOBAL, HELP, MINUS, MORE, Matches, OUTPUT, REST, VERSION};
use crate::error::{Error, Result};
use crate::packed::{Word, packed};
use crate::suggest;
use lexopt::Arg as Token;
use std::ffi::{OsStr, OsString};

/// What the user asked for.
pub enum Invocation {
    /// Run a command.
    Run(&'static Command, Matches),
    /// Show help on the commands that begin with these words; all when empty.
    Help(String),
    /// Show the version.
    Version,
}

/// Parses the arguments behind the program's name.
pub fn parse(commands: &'static [Command], args: Vec<OsString>) -> Result<Invocation> {
    let (args, rest) = split(args);
    let (mut words, flags) = tokens(commands, args)?;
    let given = |flag: &Flag| flags.iter().any(|(long, _)| *long == flag.long);
    if given(&VERSION) {
        return Ok(Invocation::Version);
    }
    let helping = given(&HELP) || words.is_empty() || words.first().is_some_and(|word| word == "help");
    if words.first().is_some_and(|word| word == "help") {
        words.remove(0);
    }
    let found = find(commands, &words);
    if helping {
        return match found {
            Some((command, _)) => Ok(Invocation::Help(command.words.text().to_owned())),
            None if commands.iter().any(|command| starts_with(command.words.text(), &words)) => {
                Ok(Invocation::Help(words.join(" ")))
            }
            None => Err(unknown(commands, &words)),
        };
    }
    let Some((command, used)) = found else { return Err(unknown(commands, &words)) };
    let mut matches = Matches { args: words.split_off(used), rest: None, flags };
    if let Some(rest) = rest {
        let rest = rest.into_iter().map(text).collect::<Result<Vec<_>>>()?;
        match command.args.iter().any(|arg| arg.name.text().starts_with(REST)) {
            true => matches.rest = Some(rest),
            false => matches.args.extend(rest),
        }
    }
    check(command, &matches)?;
    Ok(Invocation::Run(command, matches))
}

/// What stands before and behind `--`.
fn split(mut args: Vec<OsString>) -> (Vec<OsString>, Option<Vec<OsString>>) {
    match args.iter().position(|arg| arg == REST) {
        Some(at) => {
            let rest = args.split_off(at + 1);
            args.pop();
            (args, Some(rest))
        }
        None => (args, None),
    }
}

/// Whether these arguments ask for JSON, also when they can't be parsed.
pub fn wants_json(args: &[OsString]) -> bool {
    let mut texts =
        args.iter().map(|arg| arg.to_str().unwrap_or("")).take_while(|arg| *arg != "--").peekable();
    while let Some(text) = texts.next() {
        let value = match text {
            "-o" | "--output" => texts.peek().copied(),
            _ => text.strip_prefix("--output=").or_else(|| text.strip_prefix("-o")),
        };
        if value.is_some_and(|value| value.trim_start_matches('=') == "json") {
            return true;
        }
    }
    false
}

type Flags = Vec<(Word, String)>;

fn tokens(commands: &'static [Command], args: Vec<OsString>) -> Result<(Vec<String>, Flags)> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut words = Vec::new();
    let mut flags = Flags::new();
    while let Some(token) = parser.next().map_err(malformed)? {
        let flag = match token {
            Token::Value(value) => {
                words.push(text(value)?);
                continue;
            }
            Token::Short(short) => flags_for(commands, &words).find(|flag| flag.short == Some(short)),
            Token::Long(long) => flags_for(commands, &words).find(|flag| flag.long.text() == long),
        };
        let Some(flag) = flag else { return Err(unknown_flag(commands, &token, &words)) };
        let name = flag.long.text();
        let wanted = flag.value.text();
        let value = if wanted.is_empty() {
            String::new()
        } else {
            let missing = || Error::usage(format!("--{name} needs a value: --{name} {wanted}"));
            if let Some(value) = parser.optional_value() {
                text(value)?
            } else {
                // Another flag is no value: rather was this one's forgotten.
                let next = parser.raw_args().map_err(malformed)?;
                if let Some([b'-', second, ..]) = next.peek().map(OsStr::as_encoded_bytes)
                    && !second.is_ascii_digit()
                    && (*second == b'-' || !wanted.starts_with(MINUS))
                {
                    return Err(missing().hint(format!("write --{name}=VALUE if it begins so")));
                }
                text(parser.value().map_err(|_| missing())?)?
            }
        };
        flags.push((flag.long, value));
    }
    Ok((words, flags))
}

/// Every flag there is, those of the command that `words` name first: `-a` is not the
/// same everywhere.
fn flags_for(commands: &'static [Command], words: &[String]) -> impl Iterator<Item = &'static Flag> {
    let own = find(commands, words).map_or(&[][..], |(command, _)| command.flags);
    own.iter().chain(GLOBAL).chain(commands.iter().flat_map(|command| command.flags)).copied()
}

fn text(value: OsString) -> Result<String> {
    value.into_string().map_err(|value| {
        Error::usage(format!("the argument '{}' is not valid UTF-8", value.to_string_lossy()))
    })
}

fn malformed(error: lexopt::Error) -> Error {
    Error::usage(error.to_string())
}

/// The command whose words (or alias) are the longest prefix of `words`, and how many
/// words that are.
fn find(commands: &'static [Command], words: &[String]) -> Option<(&'static Command, usize)> {
    if words.is_empty() {
        return None;
    }
    let all = commands.iter().flat_map(|command| {
        std::iter::once(command.words.text())
            .chain(command.aliases.iter().copied())
            .map(move |name| (command, name))
    });
    all.filter(|(_, name)| {
        let mut given = words.iter();
        name.split(' ').all(|part| given.next().is_some_and(|word| word == part))
    })
    .map(|(command, name)| (command, name.split(' ').count()))
    .max_by_key(|(_, count)| *count)
}

fn starts_with(name: &str, words: &[String]) -> bool {
    let mut parts = name.split(' ');
    words.iter().all(|word| parts.next() == Some(word.as_str()))
}

fn check(command: &'static Command, matches: &Matches) -> Result<()> {
    let words = command.words.text();
    let hint = || format!("see `rig {words} --help`");
    for (long, value) in &matches.flags {
        if !GLOBAL.iter().chain(command.flags).any(|flag| flag.long == *long) {
            return Err(Error::usage(format!("`rig {words}` has no flag --{}", long.text())).hint(hint()));
        }
        if *long == OUTPUT.long && value != "json" && value != "text" {
            return Err(Error::usage(format!("'{value}' is no output format"))
                .hint(packed!("use `-o text` or `-o json`")));
        }
    }
    let most = command.args.iter().filter(|arg| !arg.name.text().starts_with(REST)).count();
    let many =
        command.args.iter().any(|arg| arg.name.text().ends_with(MORE) && !arg.name.text().starts_with(REST));
    if let Some(extra) = matches.args.get(most).filter(|_| !many) {
        return Err(Error::usage(format!("`rig {words}` does not take '{extra}'")).hint(hint()));
    }
    let mut required = command.args.iter().filter(|arg| arg.required).map(|arg: &Arg| arg.name.text());
    if let Some(missing) = required.nth(matches.args.len()) {
        return Err(Error::usage(format!("`rig {words}` needs {missing}")).hint(hint()));
    }
    Ok(())
}

fn unknown(commands: &'static [Command], words: &[String]) -> Error {
    let first = words.first().map_or("", String::as_str);
    let verbs = || commands.iter().map(|command| command.words.text().split(' ').next().unwrap_or(""));
    if !verbs().any(|verb| verb == first) {
        let error = Error::usage(format!("there is no command `rig {first}`"));
        return match suggest::nearest(first, verbs()) {
            Some(verb) => error.hint(format!("did you mean `rig {verb}`?")),
            None => error.hint("see `rig --help`"),
        };
    }
    let nouns = || {
        commands.iter().filter_map(move |command| command.words.text().strip_prefix(first)?.strip_prefix(' '))
    };
    let list = nouns().collect::<Vec<_>>().join(", ");
    let Some(second) = words.get(1) else {
        return Error::usage(format!("`rig {first}` what? One of: {list}"))
            .hint(format!("see `rig {first} --help`"));
    };
    let error = Error::usage(format!("there is no command `rig {first} {second}`"));
    match suggest::nearest(second, nouns()) {
        Some(noun) => error.hint(format!("did you mean `rig {first} {noun}`?")),
        None => error.hint(format!("after `rig {first}` comes one of: {list}")),
    }
}

fn unknown_flag(commands: &'static [Command], token: &Token<'_>, words: &[String]) -> Error {
    let (shown, long) = match token {
        Token::Long(long) => (format!("--{long}"), *long),
        Token::Short(short) => (format!("-{short}"), ""),
        Token::Value(_) => (String::new(), ""),
    };
    let error = Error::usage(format!("there is no flag {shown}"));
    let command = find(commands, words).map(|(command, _)| command);
    let known =
        GLOBAL.iter().chain(command.map_or(&[][..], |command| command.flags)).map(|flag| flag.long.text());
    match suggest::nearest(long, known) {
        Some(flag) => error.hint(format!("did you mean --{flag}?")),
        None => error.hint(match command {
            Some(command) => format!("see `rig {} --help`", command.words.text()),
            None => "see `rig --help`".to_owned(),
        }),
    }
}
