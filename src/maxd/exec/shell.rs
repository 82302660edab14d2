//! What a program in a terminal finds there: a login shell, its prompt, the terminal's kind.

use crate::maxd::runtime::{Size, shell};
use crate::wire::exec::{Create, Tty};
use std::path::Path;

/// Bash where there is one. The system's profile may set another `PATH`, in which nothing
/// of the app's is found, and another prompt; so they are set once more, before the first
/// prompt.
const LOGIN: &str = r#"
if command -v bash >/dev/null 2>&1; then
    export MAX_PATH="$PATH" MAX_PROMPT="$MAX_SHELL:\\w\\\$ "
    export PROMPT_COMMAND='PATH=$MAX_PATH PS1=$MAX_PROMPT; unset MAX_PATH MAX_PROMPT PROMPT_COMMAND'
    exec bash -l
fi
PS1="$MAX_SHELL\$ " exec sh -i"#;

/// Where terminals are described (terminfo(5)).
const TERMINFO: &[&str] = &["/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo"];
/// What most terminals are, when nothing is known here of the user's.
const USUAL: &str = "xterm-256color";
/// More than any terminal has.
const WIDEST: u64 = 10_000;

/// A login shell's command line.
pub fn login() -> Vec<String> {
    shell(LOGIN)
}

/// What is added to the environment of a program in a terminal.
pub fn environment(request: &Create, tty: &Tty) -> Vec<(String, String)> {
    let app = request.app.as_deref().unwrap_or_default();
    let pairs = [
        ("TERM", kind(&tty.term).to_owned()),
        ("MAX_SHELL", format!("{app}.{}", request.network)),
        // What is typed is not written into the release.
        ("HISTFILE", String::new()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

/// A size as far as a terminal can have it; one that is not known is the usual one.
pub fn size(columns: u64, rows: u64) -> Size {
    let fit = |count: u64, usual: u16| match count {
        0 => usual,
        count => u16::try_from(count.min(WIDEST)).unwrap_or(usual),
    };
    Size { columns: fit(columns, 80), rows: fit(rows, 24) }
}

/// The user's kind of terminal, if it is described here.
fn kind(term: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
    let known = |term: &str| {
        let initial = term.chars().next().unwrap_or_default().to_string();
        TERMINFO.iter().any(|place| Path::new(place).join(&initial).join(term).exists())
    };
    if term.chars().all(plain) && !term.starts_with('.') && known(term) { term } else { USUAL }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_terminal_that_is_not_described_here_is_the_usual_one() {
        for term in ["", "xterm-of-tomorrow", "../../etc/passwd", "..", "a b", "x\u{1b}"] {
            assert_eq!(kind(term), USUAL, "{term}");
        }
    }

    #[test]
    fn a_size_fits_into_a_terminal() {
        assert_eq!((size(0, 0).columns, size(0, 0).rows), (80, 24));
        assert_eq!((size(1, u64::MAX).columns, size(1, u64::MAX).rows), (1, 10_000));
    }
}
