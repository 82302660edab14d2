//! What can be said to the console: a table, which parsing, help and completion walk.

mod ask;
mod change;

use super::completion::Completion;
use crate::error::{Error, Kind, Result};
use crate::maxd::auth::Identity;
use crate::maxd::platform::Platform;
use crate::maxd::runtime::Future;
use crate::suggest::nearest;
use std::sync::Arc;

/// The most lines that are asked for at once.
const LINES_MAX: u64 = 1000;

/// One of the commands.
pub struct Command {
    /// The word.
    pub name: &'static str,
    /// Another word for it.
    pub alias: Option<&'static str>,
    /// What follows it, in order.
    pub args: &'static [Arg],
    /// What it does, in some words.
    pub summary: &'static str,
    /// The rest of it.
    pub about: &'static str,
    /// It changes something, and goes on when nobody waits for it.
    pub lasts: bool,
    /// Carries it out.
    pub run: fn(Call) -> Future<'static, Result<Answer>>,
}

/// An argument.
pub struct Arg {
    name: &'static str,
    kind: Word,
    required: bool,
}

/// What an argument is, and so how it is completed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    App,
    Command,
    Number,
}

const NAME: Arg = Arg { name: "NAME", kind: Word::App, required: true };
const MAYBE_NAME: Arg = Arg { required: false, ..NAME };
const LINES: Arg = Arg { name: "N", kind: Word::Number, required: false };
const COUNT: Arg = Arg { required: true, ..LINES };

/// What was said in the place of each argument.
pub type Args = Vec<Option<String>>;

/// A command as it was said.
pub struct Call {
    /// Whose use-cases these are.
    pub platform: Arc<Platform>,
    /// Who says it.
    pub who: Identity,
    /// The network.
    pub network: String,
    /// The width of the terminal.
    pub columns: usize,
    /// What follows the command.
    pub args: Args,
}

/// What becomes of a command.
pub enum Answer {
    /// This is shown.
    Text(String),
    /// The screen is cleared.
    Clear,
    /// The console ends.
    Exit,
}

/// All of them.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "help",
        alias: None,
        args: &[Arg { name: "COMMAND", kind: Word::Command, required: false }],
        summary: "List the commands, or show one of them",
        about: "Tab completes commands and names, Ctrl-R searches the lines typed before, Ctrl-C drops the \
                line or stops waiting for a command, and Ctrl-D ends the console. What is pasted waits for \
                Enter; then each of its lines is run.",
        lasts: false,
        run: |call| Box::pin(async move { ask::help(&call) }),
    },
    Command {
        name: "apps",
        alias: None,
        args: &[],
        summary: "List the apps and what they do",
        about: "CPU is that of the last two seconds, in percent of one core; requests are those of the last \
                minute.",
        lasts: false,
        run: |call| Box::pin(async move { ask::apps(&call).await }),
    },
    Command {
        name: "app",
        alias: None,
        args: &[NAME],
        summary: "Show what an app does and why",
        about: "",
        lasts: false,
        run: |call| Box::pin(async move { ask::app(&call).await }),
    },
    Command {
        name: "releases",
        alias: None,
        args: &[NAME],
        summary: "List an app's newest releases, and what failed to become one",
        about: "",
        lasts: false,
        run: |call| Box::pin(async move { ask::releases(&call).await }),
    },
    Command {
        name: "events",
        alias: None,
        args: &[MAYBE_NAME, LINES],
        summary: "Show what Max did, in the network or with an app",
        about: "The newest stands last; without N there are 20.",
        lasts: false,
        run: |call| Box::pin(async move { ask::events(&call).await }),
    },
    Command {
        name: "logs",
        alias: None,
        args: &[NAME, LINES],
        summary: "Show the newest lines of an app's log",
        about: "The newest stands last; without N there are 20. `rig logs` follows them.",
        lasts: false,
        run: |call| Box::pin(async move { ask::logs(&call).await }),
    },
    Command {
        name: "routes",
        alias: None,
        args: &[],
        summary: "List the hostnames and who answers there",
        about: "A release answers on a port of this host for each instance; static files are answered by Max \
                itself. An instance whose health check fails gets requests only when that of all others does.",
        lasts: false,
        run: |call| Box::pin(async move { ask::routes(&call).await }),
    },
    Command {
        name: "restart",
        alias: None,
        args: &[NAME],
        summary: "Start an app's release anew, without a failed request",
        about: "The new instances get the requests once they are healthy. Ctrl-C stops waiting; it goes on.",
        lasts: true,
        run: |call| Box::pin(async move { change::restart(&call).await }),
    },
    Command {
        name: "stop",
        alias: None,
        args: &[NAME],
        summary: "Stop an app until it is started again",
        about: "",
        lasts: true,
        run: |call| Box::pin(async move { change::stop(&call).await }),
    },
    Command {
        name: "start",
        alias: None,
        args: &[NAME],
        summary: "Start an app that was stopped",
        about: "",
        lasts: true,
        run: |call| Box::pin(async move { change::start(&call).await }),
    },
    Command {
        name: "scale",
        alias: None,
        args: &[NAME, COUNT],
        summary: "Set how many instances of an app run",
        about: "New ones get requests once all of them are healthy.",
        lasts: true,
        run: |call| Box::pin(async move { change::scale(&call).await }),
    },
    Command {
        name: "alerts",
        alias: None,
        args: &[],
        summary: "List what is wrong at the moment",
        about: "",
        lasts: false,
        run: |call| Box::pin(async move { ask::alerts(&call).await }),
    },
    Command {
        name: "sessions",
        alias: None,
        args: &[],
        summary: "List the commands, shells and consoles in the network",
        about: "An owner sees everybody's, others see their own.",
        lasts: false,
        run: |call| Box::pin(async move { ask::sessions(&call).await }),
    },
    Command {
        name: "clear",
        alias: None,
        args: &[],
        summary: "Clear the screen",
        about: "So does Ctrl-L.",
        lasts: false,
        run: |_| Box::pin(async { Ok(Answer::Clear) }),
    },
    Command {
        name: "exit",
        alias: Some("quit"),
        args: &[],
        summary: "End the console",
        about: "So does Ctrl-D.",
        lasts: false,
        run: |_| Box::pin(async { Ok(Answer::Exit) }),
    },
];

impl Command {
    /// How it is said: `events [NAME] [N]`.
    fn usage(&self) -> String {
        let args = self.args.iter().map(|arg| match arg.required {
            true => format!(" {}", arg.name),
            false => format!(" [{}]", arg.name),
        });
        std::iter::once(self.name.to_owned()).chain(args).collect()
    }

    /// Gives each word its place. One that is left out is told from the next by what that is:
    /// no name begins with a digit.
    fn place(&self, words: &[&str]) -> Result<Args> {
        let hint = || format!("it is `{}`", self.usage());
        let mut words = words.iter().peekable();
        let mut args = Vec::new();
        for arg in self.args {
            let fits = |word: &&&str| {
                arg.required || (arg.kind == Word::Number) == word.starts_with(|c: char| c.is_ascii_digit())
            };
            let word = words.next_if(fits).map(|word| (*word).to_owned());
            if word.is_none() && arg.required {
                let message = format!("'{}' needs {}", self.name, arg.name);
                return Err(Error::usage(message).hint(hint()));
            }
            args.push(word);
        }
        match words.next() {
            None => Ok(args),
            Some(word) => Err(Error::usage(format!("'{}' has no use for '{word}'", self.name)).hint(hint())),
        }
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().flat_map(|command| std::iter::once(command.name).chain(command.alias))
}

fn find(word: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == word || command.alias == Some(word))
}

/// The command of this word; the error says which was meant.
fn named(word: &str) -> Result<&'static Command> {
    find(word).ok_or_else(|| {
        let hint = match nearest(word, names()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "see `help`".to_owned(),
        };
        Error::new(Kind::Usage, format!("there is no command '{word}'")).hint(hint)
    })
}

/// Which command a line is, and its arguments; none when it is empty.
pub fn parse(line: &str) -> Result<Option<(&'static Command, Args)>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let Some((first, rest)) = words.split_first() else { return Ok(None) };
    let command = named(first)?;
    Ok(Some((command, command.place(rest)?)))
}

/// What the last word of a line may become, with the names of the network's apps.
pub fn complete(line: &str, apps: &[String]) -> Completion {
    let start = line
        .rfind(char::is_whitespace)
        .map_or(0, |at| at + line.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8));
    let (before, typed) = line.split_at(start);
    let mut before = before.split_whitespace();
    let kind = match before.next().map(find) {
        None => Some(Word::Command),
        Some(command) => command.and_then(|command| command.args.get(before.count())).map(|arg| arg.kind),
    };
    let all: Vec<&str> = match kind {
        Some(Word::Command) => names().collect(),
        Some(Word::App) => apps.iter().map(String::as_str).collect(),
        Some(Word::Number) | None => Vec::new(),
    };
    let mut words: Vec<String> =
        all.into_iter().filter(|word| word.starts_with(typed)).map(str::to_owned).collect();
    words.sort_unstable();
    Completion { start, words }
}

/// An error in one line: what, and what to do. One that was made for rig gets the console's
/// own hint.
pub fn explain(error: &Error, network: &str, apps: &[String], args: &[Option<String>]) -> String {
    let said = args.first().and_then(Option::as_deref);
    let hint = match (error.kind(), error.field_name(), said) {
        (Kind::NotFound, Some("app"), Some(name)) => {
            Some(match nearest(name, apps.iter().map(String::as_str)) {
                Some(name) => format!("did you mean `{name}`?"),
                None => "see `apps`".to_owned(),
            })
        }
        (.., name) => error.hint_text().map(|hint| spoken_here(hint, network, name.unwrap_or_default())),
    };
    match hint {
        Some(hint) => format!("{}; {hint}", error.message()),
        None => error.message().to_owned(),
    }
}

/// A hint with the console's commands in the place of rig's.
fn spoken_here(hint: &str, network: &str, app: &str) -> String {
    COMMANDS.iter().filter(|command| command.lasts).fold(hint.to_owned(), |hint, command| {
        let name = command.name;
        hint.replace(&format!("`rig {name} app {app}.{network}`"), &format!("`{name} {app}`"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parsed(line: &str) -> Result<Args> {
        parse(line).map(|found| found.unwrap().1)
    }

    fn wrong(line: &str) -> String {
        explain(&parsed(line).err().unwrap(), "blue", &[], &[])
    }

    #[test]
    fn names_and_numbers_are_told_apart() {
        let some = |word: &str| Some(word.to_owned());
        assert_eq!(parsed("events").unwrap(), [None, None]);
        assert_eq!(parsed(" events  5 ").unwrap(), [None, some("5")]);
        assert_eq!(parsed("events web 5").unwrap(), [some("web"), some("5")]);
        assert_eq!(parsed("logs web").unwrap(), [some("web"), None]);
        assert_eq!(parsed("quit").unwrap(), []);
        assert!(parse("  ").unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_right() {
        assert_eq!(wrong("app"), "'app' needs NAME; it is `app NAME`");
        assert_eq!(wrong("apps web"), "'apps' has no use for 'web'; it is `apps`");
        assert_eq!(wrong("events 5 web"), "'events' has no use for 'web'; it is `events [NAME] [N]`");
        assert_eq!(wrong("evnts"), "there is no command 'evnts'; did you mean `events`?");
        assert_eq!(wrong("frobnicate"), "there is no command 'frobnicate'; see `help`");
        let missing =
            Error::new(Kind::NotFound, "app 'webb' does not exist").hint("see `rig …`").field("app");
        let (apps, args) = (["api".to_owned(), "web".to_owned()], [Some("webb".to_owned())]);
        assert_eq!(explain(&missing, "blue", &apps, &args), "app 'webb' does not exist; did you mean `web`?");
        assert_eq!(explain(&missing, "blue", &[], &args), "app 'webb' does not exist; see `apps`");
        let stopped = Error::new(Kind::Conflict, "it is stopped").hint("start it: `rig start app webb.blue`");
        assert_eq!(explain(&stopped, "blue", &apps, &args), "it is stopped; start it: `start webb`");
    }

    #[test]
    fn words_are_completed_by_their_place() {
        let apps = ["web".to_owned(), "api".to_owned(), "worker".to_owned()];
        let of = |line: &str| complete(line, &apps);
        assert_eq!(of("al"), Completion { start: 0, words: vec!["alerts".to_owned()] });
        assert_eq!(of("logs w"), Completion { start: 5, words: vec!["web".to_owned(), "worker".to_owned()] });
        assert_eq!(of("app ").words, ["api", "web", "worker"]);
        assert_eq!(of("help re").words, ["releases", "restart"]);
        assert_eq!(of("scale w").words, ["web", "worker"]);
        assert_eq!(of("q").words, ["quit"]);
        for line in ["logs web 1", "apps ", "nothing w", "app web a"] {
            assert!(of(line).words.is_empty(), "{line}");
        }
        assert_eq!(of("").words.len(), COMMANDS.len() + 1);
    }
}
