//! `.rigignore` and `.gitignore`: which paths are left out, with git's semantics
//! (gitignore(5); git `wildmatch.c` with `WM_PATHNAME`).
//!
//! Pure: rules and paths in, a verdict out. The walk feeds it the files it finds.

/// The rules of one file, in order.
pub struct Rules(Vec<Rule>);

struct Rule {
    pattern: Vec<u8>,
    negated: bool,
    only_directories: bool,
    /// The pattern has a slash before its end: it is relative to its file's directory.
    /// Without one it matches a name at any depth.
    anchored: bool,
}

impl Rules {
    /// Reads the text of an ignore file.
    pub fn parse(text: &[u8]) -> Rules {
        // Editors on Windows begin a file so; git passes it over too.
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        Rules(text.split(|byte| *byte == b'\n').filter_map(rule).collect())
    }

    /// What the last rule that matches says of `path` (relative to the file's directory,
    /// with slashes): `Some(true)` to leave it out, `Some(false)` to take it after all.
    pub fn verdict(&self, path: &[u8], directory: bool) -> Option<bool> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        self.0
            .iter()
            .rev()
            .filter(|rule| directory || !rule.only_directories)
            .find(|rule| matches(&rule.pattern, if rule.anchored { path } else { name }))
            .map(|rule| !rule.negated)
    }
}

fn rule(line: &[u8]) -> Option<Rule> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = trim_trailing_spaces(line);
    if line.first() == Some(&b'#') {
        return None;
    }
    let (negated, line) = match line.strip_prefix(b"!") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (only_directories, line) = match line.strip_suffix(b"/") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let anchored = line.contains(&b'/');
    let pattern = line.strip_prefix(b"/").unwrap_or(line);
    (!pattern.is_empty()).then(|| Rule { pattern: pattern.to_vec(), negated, only_directories, anchored })
}

/// Spaces at the end do not count unless a backslash stands before them.
fn trim_trailing_spaces(line: &[u8]) -> &[u8] {
    let mut end = 0;
    let mut at = 0;
    while let Some(byte) = line.get(at) {
        at += if *byte == b'\\' { 2 } else { 1 };
        if *byte != b' ' {
            end = at.min(line.len());
        }
    }
    line.get(..end).unwrap_or(line)
}

/// Whether `pattern` matches the whole of `text`; `*` and `?` stop at a slash.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    wild(pattern, text, true, &mut 100_000)
}

/// `at_start` says that the pattern begins a path component, where `**` may span
/// several. `budget` bounds the work a hostile pattern can cause.
fn wild(mut pattern: &[u8], mut text: &[u8], mut at_start: bool, budget: &mut u32) -> bool {
    loop {
        if *budget == 0 {
            return false;
        }
        *budget -= 1;
        let Some((first, rest)) = pattern.split_first() else { return text.is_empty() };
        match (first, text.split_first()) {
            (b'*', _) => return star(pattern, text, at_start, budget),
            (_, None) => return false,
            (b'?', Some((byte, tail))) => {
                if *byte == b'/' {
                    return false;
                }
                (pattern, text) = (rest, tail);
            }
            (b'[', Some((byte, tail))) => match class(rest, *byte) {
                Some((true, behind)) if *byte != b'/' => (pattern, text) = (behind, tail),
                _ => return false,
            },
            (b'\\', Some((byte, tail))) => {
                let Some((literal, behind)) = rest.split_first() else { return false };
                if literal != byte {
                    return false;
                }
                (pattern, text) = (behind, tail);
            }
            (literal, Some((byte, tail))) => {
                if literal != byte {
                    return false;
                }
                (pattern, text) = (rest, tail);
            }
        }
        at_start = *first == b'/';
    }
}

/// A pattern that begins with `*` or `**`.
fn star(pattern: &[u8], text: &[u8], at_start: bool, budget: &mut u32) -> bool {
    let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
    let rest = pattern.get(stars..).unwrap_or(&[]);
    let spans = stars > 1 && at_start && matches!(rest.first(), None | Some(b'/'));
    if spans {
        let Some((_, behind)) = rest.split_first() else { return true };
        // `**/` stands for no directory or for any number of them.
        let starts = text.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1);
        return std::iter::once(0)
            .chain(starts)
            .any(|at| text.get(at..).is_some_and(|text| wild(behind, text, true, budget)));
    }
    let component = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
    (0..=component).any(|at| text.get(at..).is_some_and(|text| wild(rest, text, false, budget)))
}

/// Whether the bracket expression whose inside begins at `pattern` holds `byte`, and
/// what follows it. None when it is not closed: then nothing matches, as in git.
fn class(pattern: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let mut at = 0;
    let negated = matches!(pattern.first(), Some(b'!' | b'^'));
    if negated {
        at += 1;
    }
    let first = at;
    let mut found = false;
    loop {
        let mut low = *pattern.get(at)?;
        if low == b']' && at > first {
            return Some((found != negated, pattern.get(at + 1..)?));
        }
        if low == b'[' && pattern.get(at + 1) == Some(&b':') {
            let inside = pattern.get(at + 2..)?;
            let close = inside.iter().position(|byte| *byte == b']')?;
            if let Some(name) = inside.get(..close)?.strip_suffix(b":") {
                found |= named(name, byte)?;
                at += close + 3;
                continue;
            }
        }
        if low == b'\\' {
            at += 1;
            low = *pattern.get(at)?;
        }
        at += 1;
        let mut high = low;
        let upper = pattern.get(at + 1).copied().filter(|upper| *upper != b']');
        if let (Some(b'-'), Some(upper)) = (pattern.get(at), upper) {
            at += 2;
            high = upper;
            if upper == b'\\' {
                high = *pattern.get(at)?;
                at += 1;
            }
        }
        found |= (low..=high).contains(&byte);
    }
}

/// A POSIX character class; none for an unknown name, which matches nothing.
fn named(name: &[u8], byte: u8) -> Option<bool> {
    Some(match name {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"blank" => matches!(byte, b' ' | b'\t'),
        b"cntrl" => byte.is_ascii_control(),
        b"digit" => byte.is_ascii_digit(),
        b"graph" => byte.is_ascii_graphic(),
        b"lower" => byte.is_ascii_lowercase(),
        b"print" => byte.is_ascii_graphic() || byte == b' ',
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => byte.is_ascii_whitespace() || byte == 0x0b,
        b"upper" => byte.is_ascii_uppercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rules: &str, path: &str, expected: Option<bool>) {
        let (path, directory) = match path.strip_suffix('/') {
            Some(path) => (path, true),
            None => (path, false),
        };
        let verdict = Rules::parse(rules.as_bytes()).verdict(path.as_bytes(), directory);
        assert_eq!(verdict, expected, "{rules:?} on {path:?}");
    }

    #[test]
    fn names_match_at_any_depth_and_paths_only_from_their_file() {
        check("*.log", "a.log", Some(true));
        check("*.log", "x/y/a.log", Some(true));
        check("/a.log", "x/a.log", None);
        check("x/a.log", "x/a.log", Some(true));
        check("x/a.log", "y/x/a.log", None);
        check("*", "a/b", Some(true));
        check("a*c", "a/c", None);
    }

    #[test]
    fn a_trailing_slash_means_directories_only() {
        check("node_modules/", "node_modules/", Some(true));
        check("node_modules/", "x/node_modules/", Some(true));
        check("node_modules/", "node_modules", None);
    }

    #[test]
    fn the_last_rule_wins() {
        check("*.log\n!keep.log", "keep.log", Some(false));
        check("!keep.log\n*.log", "keep.log", Some(true));
        check("# comment\n\n\\#real\n\\!bang", "#real", Some(true));
        check("\\!bang", "!bang", Some(true));
    }

    #[test]
    fn double_stars_span_directories() {
        check("**/foo", "foo", Some(true));
        check("**/foo", "a/b/foo", Some(true));
        check("a/**/b", "a/b", Some(true));
        check("a/**/b", "a/x/y/b", Some(true));
        check("a/**", "a/x/y", Some(true));
        check("a/**", "a/", None);
        check("a**b", "axxb", Some(true));
        check("a/b**c", "a/bx/c", None);
    }

    #[test]
    fn classes_spaces_and_escapes() {
        check("[a-c]x", "bx", Some(true));
        check("[!a-c]x", "bx", None);
        check("[]]x", "]x", Some(true));
        check("[[:digit:]]", "7", Some(true));
        check("[a", "[a", None);
        check("a[/]b", "a/b", None);
        check("trail  ", "trail", Some(true));
        check("trail\\ ", "trail ", Some(true));
        check("a\\*b", "a*b", Some(true));
        check("a\\*b", "axb", None);
        check("x\r", "x", Some(true));
        check("\u{feff}secret.env", "secret.env", Some(true));
    }

    #[test]
    fn a_hostile_pattern_ends() {
        let pattern = "*a".repeat(200);
        check(&pattern, &"a".repeat(199), None);
    }
}
