//! The documents for those who run maxd say what the programs do.

use crate::harness::text;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// All sources, with each string on one line.
fn sources() -> String {
    let mut all = String::new();
    let mut paths = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(fs::read_dir(path).unwrap().map(|item| item.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).unwrap();
            let mut parts = text.split("\\\n");
            all.push_str(parts.next().unwrap());
            parts.for_each(|part| all.push_str(part.trim_start()));
        }
    }
    all
}

/// What stands between backticks.
fn spans(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Every message in docs/troubleshooting.md can be said: what it consists of, but for
/// what is filled in, is in the sources.
#[test]
fn the_messages_that_are_explained_are_the_real_ones() {
    let (document, sources) = (file("docs/troubleshooting.md") + &file("docs/networks.md"), sources());
    let (mut column, mut checked, mut wrong) = (1, 0, Vec::new());
    for line in document.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.split('|').collect();
        match cells[1].trim() {
            "status" => column = 2,
            "message" | "`rig status app`, or the log" => column = 1,
            _ => {
                for message in spans(cells[column]) {
                    // Whom it is about is filled in too: Max or a proxy.
                    let message = message.replace("Max at '…'", "…").replace("the proxy '…'", "…");
                    let parts = message.split(|c: char| "…'()0123456789".contains(c));
                    for part in parts.map(|part| part.trim_matches([' ', ':'])).filter(|part| part.len() > 3)
                    {
                        checked += 1;
                        if !sources.contains(part) {
                            wrong.push(format!("'{part}' of '{message}'"));
                        }
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "nobody says {}", wrong.join("\n"));
    assert!(checked > 100, "only {checked} parts were found");
}

#[test]
fn every_flag_of_maxd_is_explained() {
    let out = Command::new(env!("CARGO_BIN_EXE_maxd")).arg("--help").output().unwrap();
    let (help, document) = (text(&out.stdout), file("docs/server.md"));
    let flags = help.lines().filter_map(|line| line.strip_prefix("  --")?.split(' ').next());
    let flags: Vec<&str> = flags.collect();
    assert!(flags.len() > 8, "{flags:?}");
    for flag in flags {
        let row =
            document.lines().any(|line| line.starts_with("| `--") && line.contains(&format!("`--{flag}")));
        assert!(row, "--{flag} is not in the table of docs/server.md");
    }
}

#[test]
fn links_lead_somewhere() {
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_ascii_alphanumeric() || " -".contains(*c));
        kept.collect::<String>().to_ascii_lowercase().replace(' ', "-")
    };
    let readme = file("README.md");
    for name in ["server.md", "troubleshooting.md", "webhooks.md"] {
        assert!(readme.contains(&format!("](docs/{name})")), "README.md does not lead to {name}");
        let document = file(&format!("docs/{name}"));
        let links = document.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        for link in links {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = file(&format!("docs/{}", if path.is_empty() { name } else { path }));
            let mut headings = target.lines().filter_map(|line| line.strip_prefix("## "));
            assert!(heading.is_empty() || headings.any(|one| anchor(one) == heading), "{name}: {link}");
        }
    }
}
