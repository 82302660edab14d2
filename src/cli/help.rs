//! Help texts and `docs/commands.md`, from the command table.

use super::{Command, Flag, GLOBAL};
use crate::packed::packed;

/// The columns that help fits in.
const WIDTH: usize = 80;

/// The help on the command `words`, or on all that begin with them.
pub fn help(commands: &[Command], words: &str) -> String {
    match commands.iter().find(|command| command.words.text() == words) {
        Some(command) => one(command),
        None => overview(commands, words),
    }
}

fn overview(commands: &[Command], prefix: &str) -> String {
    let mut out = String::new();
    if prefix.is_empty() {
        out.push_str("rig, the command-line client of Max\n\nUsage: rig COMMAND [ARGUMENTS] [FLAGS]\n");
    } else {
        out.push_str("Usage: rig ");
        out.push_str(prefix);
        out.push_str(" …\n");
    }
    out.push_str("\nCommands:\n");
    let rows = commands
        .iter()
        .filter(|command| {
            prefix.is_empty()
                || command.words.text().strip_prefix(prefix).is_some_and(|rest| rest.starts_with(' '))
        })
        .map(|command| (command.words.text().to_owned(), command.summary.text()));
    columns(&mut out, rows.collect());
    out.push_str("\nFlags of every command:\n");
    columns(&mut out, GLOBAL.iter().map(|flag| (flag_usage(flag), flag.help.text())).collect());
    out.push_str(
        packed!(
            "\nEnvironment: RIG_URL and RIG_TOKEN (an API token) alone suffice, without a\n\
         login; RIG_CONTEXT, RIG_CA, RIG_PIN, RIG_CONFIG_DIR, RIG_CACHE_DIR,\n\
         HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE, NO_COLOR.\n\
         Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 not allowed,\n\
         5 unreachable, 6 conflict, 7 deployment failed, 8 timed out, 130 interrupted.\n\
         `rig help COMMAND` shows one command with examples.\n"
        )
        .text(),
    );
    out
}

fn one(command: &Command) -> String {
    let mut out = String::from(command.summary.text());
    out.push_str("\n\nUsage: ");
    out.push_str(&usage(command));
    out.push('\n');
    let about = command.about.text();
    if !about.is_empty() {
        out.push('\n');
        wrapped(&mut out, about);
    }
    if !command.args.is_empty() {
        out.push_str("\nArguments:\n");
        columns(
            &mut out,
            command.args.iter().map(|arg| (arg.name.text().to_owned(), arg.help.text())).collect(),
        );
    }
    out.push_str("\nFlags:\n");
    let own = |flag: &&&Flag| !command.flags.iter().any(|own| own.long == flag.long);
    let flags = command.flags.iter().chain(GLOBAL.iter().filter(own));
    columns(&mut out, flags.map(|flag| (flag_usage(flag), flag.help.text())).collect());
    out.push_str("\nExamples:\n");
    for (what, line) in command.examples {
        out.push_str("  # ");
        out.push_str(what.text());
        out.push_str("\n  ");
        out.push_str(line.text());
        out.push('\n');
    }
    out
}

/// `rig create app NAME [FLAGS]`.
fn usage(command: &Command) -> String {
    let mut out = String::from("rig ");
    out.push_str(command.words.text());
    for arg in command.args {
        out.push_str(if arg.required { " " } else { " [" });
        out.push_str(arg.name.text());
        if !arg.required {
            out.push(']');
        }
    }
    out.push_str(" [FLAGS]");
    out
}

fn flag_usage(flag: &Flag) -> String {
    let mut out = String::new();
    match flag.short {
        Some(short) => {
            out.push('-');
            out.push(short);
            out.push_str(", ");
        }
        None => out.push_str("    "),
    }
    out.push_str("--");
    out.push_str(flag.long.text());
    let value = flag.value.text();
    if !value.is_empty() {
        out.push(' ');
        out.push_str(value);
    }
    out
}

/// A paragraph in lines that fit a terminal.
fn wrapped(out: &mut String, text: &str) {
    let mut width = 0;
    for word in text.split(' ') {
        let more = word.chars().count() + 1;
        if width > 0 {
            let fits = width + more <= WIDTH;
            out.push(if fits { ' ' } else { '\n' });
            width = if fits { width + more } else { more - 1 };
        } else {
            width = more - 1;
        }
        out.push_str(word);
    }
    out.push('\n');
}

fn columns(out: &mut String, rows: Vec<(String, &str)>) {
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    for (left, right) in rows {
        out.push_str("  ");
        out.push_str(&left);
        for _ in left.len()..width + 2 {
            out.push(' ');
        }
        out.push_str(right);
        out.push('\n');
    }
}

/// `docs/commands.md`.
#[cfg(feature = "server")]
pub fn markdown(commands: &[Command]) -> String {
    let mut out = String::from(
        "# Commands\n\nGenerated from the command table (`src/commands/`) by `make docs`; a test holds it true.\n\n\
         ```text\n",
    );
    out.push_str(&overview(commands, ""));
    out.push_str("```\n");
    for command in commands {
        out.push_str("\n## rig ");
        out.push_str(command.words.text());
        out.push_str("\n\n```text\n");
        out.push_str(&one(command));
        out.push_str("```\n");
    }
    out
}
