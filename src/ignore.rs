//! `.rigignore` and `.gitignore`: which paths are left out, with git's semantics
//! (gitignore(5); git's `dir.c`, and its `wildmatch.c` with `WM_PATHNAME`).
//!
//! Pure: rules and paths in, the rule that decides out. The walk feeds it the files it
//! finds. Where git is odd this is too, as `archive::git_tests` shows.

/// The rules of one file, in order.
pub struct Rules(Vec<Rule>);

/// One rule.
pub struct Rule {
    /// Its line as it stands in the file, without what does not count at its end.
    pub text: Vec<u8>,
    /// The number of that line, from 1.
    pub line: u64,
    /// It takes back what rules before it leave out.
    pub negated: bool,
    only_directories: bool,
    /// The pattern has a slash before its end: it is relative to its file's directory.
    /// Without one it matches a name at any depth.
    anchored: bool,
    /// Where the pattern begins and ends in the text.
    from: usize,
    to: usize,
}

impl Rules {
    /// Reads the text of an ignore file.
    pub fn parse(text: &[u8]) -> Rules {
        // Editors on Windows begin a file so; git passes it over too.
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        Rules(text.split(|byte| *byte == b'\n').zip(1..).filter_map(rule).collect())
    }

    /// The last rule that matches `path` (relative to the file's directory, with slashes).
    pub fn decide(&self, path: &[u8], directory: bool) -> Option<&Rule> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let rules = self.0.iter().rev().filter(|rule| directory || !rule.only_directories);
        rules.into_iter().find(|rule| rule.matches(if rule.anchored { path } else { name }))
    }
}

impl Rule {
    /// git compares the literal beginning by itself, so that what follows it is a beginning
    /// too: in `a**/b` the stars span directories.
    fn matches(&self, text: &[u8]) -> bool {
        let pattern = self.text.get(self.from..self.to).unwrap_or_default();
        let literal = pattern.iter().take_while(|byte| !b"*?[\\".contains(byte)).count();
        let (literal, pattern) = pattern.split_at_checked(literal).unwrap_or_default();
        text.strip_prefix(literal).is_some_and(|text| wild(pattern, text))
    }
}

fn rule((line, number): (&[u8], u64)) -> Option<Rule> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    // To git it is a string of C.
    let line = trim_trailing_spaces(line.split(|byte| *byte == 0).next()?);
    let negated = line.first() == Some(&b'!');
    let only_directories = line.last() == Some(&b'/');
    let (mut from, to) = (usize::from(negated), line.len() - usize::from(only_directories));
    let pattern = line.get(from..to)?;
    let anchored = pattern.contains(&b'/');
    from += usize::from(pattern.first() == Some(&b'/'));
    let is_rule = from < to && line.first() != Some(&b'#');
    is_rule.then(|| Rule { text: line.to_vec(), line: number, negated, only_directories, anchored, from, to })
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
///
/// What does not fit goes back to the last `*`, and where that can take no more, to the last
/// `**`: what earlier ones could take in their place these can too. So the work is bounded by
/// the lengths of both, multiplied.
fn wild(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Where the pattern goes on behind each, and up to where it has taken the text.
    let mut star: Option<(usize, usize)> = None;
    let mut span: Option<(usize, usize)> = None;
    loop {
        let begin = at;
        while pattern.get(at) == Some(&b'*') {
            at += 1;
        }
        let rest = pattern.get(at..).unwrap_or_default();
        let mut fits = true;
        if at > begin {
            let starts = begin.checked_sub(1).is_none_or(|before| pattern.get(before) == Some(&b'/'));
            if at - begin == 1 || !starts {
                star = Some((at, from));
            } else if rest.is_empty() {
                return true;
            } else if rest.starts_with(b"/") {
                // Any number of directories; to begin with, none.
                at += 1;
                (star, span) = (None, Some((at, from)));
            } else if rest.starts_with(b"\\/") {
                // At least one, as git has it.
                (star, span) = (None, Some((at + 2, from)));
                fits = false;
            } else {
                star = Some((at, from));
            }
        } else {
            match (text.get(from), one(rest, text.get(from).copied())) {
                (None, _) if rest.is_empty() => return true,
                (Some(byte), Some(length)) => {
                    if *byte == b'/' {
                        star = None;
                    }
                    at += length;
                    from += 1;
                }
                _ => fits = false,
            }
        }
        if fits {
            continue;
        }
        let more = |(behind, taken): &(usize, usize)| match text.get(*taken) {
            Some(b'/') | None => None,
            Some(_) => Some((*behind, taken + 1)),
        };
        let next = |(behind, taken): (usize, usize)| {
            let slash = text.get(taken..)?.iter().position(|byte| *byte == b'/')?;
            Some((behind, taken + slash + 1))
        };
        star = star.as_ref().and_then(more);
        if star.is_none() {
            span = span.and_then(next);
        }
        match star.or(span) {
            Some(back) => (at, from) = back,
            None => return false,
        }
    }
}

/// The length of what `pattern` begins with, if that matches `byte`.
fn one(pattern: &[u8], byte: Option<u8>) -> Option<usize> {
    let byte = byte?;
    let (first, rest) = pattern.split_first()?;
    match first {
        b'?' => (byte != b'/').then_some(1),
        b'[' => class(rest, byte).filter(|_| byte != b'/').map(|length| length + 1),
        b'\\' => (rest.first() == Some(&byte)).then_some(2),
        literal => (*literal == byte).then_some(1),
    }
}

/// The length of the bracket expression whose inside begins at `pattern`, if it holds
/// `byte`. One that is not closed, or names no known class, holds nothing.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
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
            return (found != negated).then_some(at + 1);
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
        // A range from z to a holds its z.
        found |= byte == low || (low..=high).contains(&byte);
    }
}

/// A POSIX character class, of those characters that git counts to it (`git-compat-util.h`);
/// none for an unknown name.
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
        b"space" => matches!(byte, b' ' | b'\t' | b'\n' | b'\r'),
        b"upper" => byte.is_ascii_uppercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(rules: &str, path: &str, expected: Option<bool>) {
        let (path, directory) = match path.strip_suffix('/') {
            Some(path) => (path, true),
            None => (path, false),
        };
        let parsed = Rules::parse(rules.as_bytes());
        let verdict = parsed.decide(path.as_bytes(), directory).map(|rule| !rule.negated);
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
    fn what_git_has_of_its_own() {
        // A literal beginning is compared by itself: what follows begins anew.
        check("a**/b", "ax/y/b", Some(true));
        check("x/a**/b", "x/ab", Some(true));
        check("x/?**/b", "x/a/y/b", None);
        // A range from z to a holds its z, and an escaped slash is no end of `**`'s.
        check("[z-a]", "z", Some(true));
        check("[z-a]", "a", None);
        check("a\\/**/b", "a/x/b", Some(true));
        check("a/**\\/b", "a/b", None);
        check("a/**\\/b", "a/x/b", Some(true));
        check("[[:space:]]", "\x0c", None);
        check("[[:space:]]", "\r", Some(true));
        check("a\0b", "a", Some(true));
        check("a//", "a/", None);
    }

    #[test]
    fn globset_says_the_same_of_what_both_know() {
        use nanorand::{Rng, WyRand};
        let mut random = WyRand::new_seed(20);
        let mut pick = |from: &[&str], most: u8| -> String {
            (0..random.generate_range(1..=most)).map(|_| from[random.generate_range(0..from.len())]).collect()
        };
        let mut matched = 0;
        for _ in 0..5_000 {
            // `**` as a part of its own; no class that a slash could be in, which it lets match.
            let parts = ["a", "b", "*", "?", "ab*", "*b", "[ab]", "[b-d]a", "\\*", "c", "**", "a*b?", ".*"];
            let pattern = (0..3).map(|_| pick(&parts, 2)).map(|part| match part.contains("**") {
                true => "**".to_owned(),
                false => part,
            });
            let pattern = pattern.collect::<Vec<_>>().join("/");
            let mut glob = globset::GlobBuilder::new(&pattern);
            let glob = glob.literal_separator(true).backslash_escape(true).build().unwrap().compile_matcher();
            let rules = Rules::parse(pattern.as_bytes());
            for _ in 0..20 {
                let path = (0..4).map(|_| pick(&["a", "b", "c", "*", "ab", "."], 2)).collect::<Vec<_>>();
                let path = path[pick(&["."], 3).len() - 1..].join("/");
                let ours = rules.decide(path.as_bytes(), false).is_some();
                assert_eq!(ours, glob.is_match(&path), "{pattern:?} on {path:?}");
                matched += u32::from(ours);
            }
        }
        assert!(matched > 1_500, "{matched}");
    }

    #[test]
    fn a_long_pattern_matches_and_a_hostile_one_ends() {
        let deep = ["directory"; 400].join("/");
        check(&deep, &deep, Some(true));
        check(&format!("**/{deep}/*"), &format!("{deep}/{deep}/x"), Some(true));
        check(&"*a".repeat(100), &"ba".repeat(100), Some(true));
        check(&"/**".repeat(300), &deep, Some(true));
        check(&format!("**/{}", "d*y/**/".repeat(199) + "d*"), &deep, Some(true));
        // Each of these takes for ever when every star tries every place.
        check(&"*a".repeat(200), &"a".repeat(199), None);
        check(&("/**/*a".repeat(40) + "/b"), &["aaaa"; 200].join("/"), None);
        check(&("**/*a*a*a*a".repeat(40) + "/**/b"), &[&*"a".repeat(100); 40].join("/"), None);
        check(&("[[:alpha:]]*".repeat(100) + "/"), &"a".repeat(255), None);
    }
}
