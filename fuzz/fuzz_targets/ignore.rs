//! Ignore files: any bytes are read and judged, and where globs are written with the
//! usual characters the verdict is that of the crate `ignore`, which ripgrep uses.
#![no_main]

use ignore::Match;
use ignore::gitignore::GitignoreBuilder;
use libfuzzer_sys::fuzz_target;
use rig::ignore::Rules;

const USUAL: &[u8] = b"abc.*?/!#\n ab*/";

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    let (rules, path) = rest.split_at(rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len()));
    let path = path.get(1..).unwrap_or_default();
    let directory = kind & 1 == 1;
    if kind & 2 == 0 {
        let _ = Rules::parse(rules).decide(path, directory);
        return;
    }
    let usual = |bytes: &[u8]| {
        let spelt = bytes.iter().map(|byte| char::from(USUAL[usize::from(*byte) % USUAL.len()]));
        spelt.collect::<String>()
    };
    let (rules, path) = (usual(rules), usual(path));
    compare(&rules, &path, directory);
});

fn compare(rules: &str, path: &str, directory: bool) {
    let name = |part: &str| !part.is_empty() && part.bytes().all(|byte| b"abc.".contains(&byte));
    if rules.len() > 60
        || !path.split('/').all(name)
        || path.split('/').any(|part| part == "." || part == "..")
    {
        return;
    }
    let mut builder = GitignoreBuilder::new("/");
    for line in rules.lines() {
        if !same_meaning(line) {
            return;
        }
        builder.add_line(None, line).expect("a glob");
    }
    let theirs = match builder.build().expect("globs").matched(path, directory) {
        Match::None => None,
        Match::Ignore(_) => Some(true),
        Match::Whitelist(_) => Some(false),
    };
    let parsed = Rules::parse(rules.as_bytes());
    let ours = parsed.decide(path.as_bytes(), directory).map(|rule| !rule.negated);
    assert_eq!(ours, theirs, "{rules:?} on {path:?}");
}

/// Where the crate follows git to the letter.
fn same_meaning(line: &str) -> bool {
    let pattern = line.trim_end().trim_start_matches('!');
    // Stars that are no component of their own, and slashes in a row, it reads in its own way.
    let odd = |part: &str| part.contains("**") && part != "**";
    !pattern.split('/').any(odd) && !pattern.contains("//") && pattern.trim_matches('/') != ""
}
