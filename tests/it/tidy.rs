//! The house rules, held: who may use whom (the table in docs/architecture.md), how
//! long a file may be, and what must not stand in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut directories = vec![root().join("src")];
    while let Some(directory) = directories.pop() {
        for item in fs::read_dir(directory).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                // Files of tests are not shipped.
                if !path.file_stem().unwrap().to_str().unwrap().ends_with("tests") {
                    found.push((path.strip_prefix(root().join("src")).unwrap().to_owned(), text));
                }
            }
        }
    }
    assert!(found.len() > 30);
    found
}

/// The module a file belongs to: its first directory or its name.
fn module(path: &Path) -> String {
    let first = path.components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The rows `| module | may use |` of the table in docs/architecture.md.
fn allowed() -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let section = text.split("<!-- layers -->").nth(1).expect("the table of layers");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    rows.map(|row| {
        let mut cells = row.trim_matches('|').split('|');
        let name = names(cells.next().unwrap()).remove(0);
        (name, names(cells.next().unwrap()))
    })
    .collect()
}

/// The code in front of its tests.
fn shipped(text: &str) -> &str {
    text.split("\n#[cfg(test)]\n").next().unwrap().split("\n#[cfg(all(test").next().unwrap()
}

#[test]
fn modules_use_only_what_the_architecture_allows() {
    let allowed = allowed();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let module = module(&path);
        if matches!(module.as_str(), "lib" | "bin") {
            continue;
        }
        let may = allowed.get(&module).unwrap_or_else(|| panic!("'{module}' is not in the table of layers"));
        for part in shipped(&text).split("crate::").skip(1) {
            let used: String = part.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if used != module && !used.is_empty() && !may.contains(&used) {
                wrong.push(format!("{} uses crate::{used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//!") {
            wrong.push(format!("{} does not open with //!", path.display()));
        }
        if text.lines().count() > 500 {
            wrong.push(format!("{} has more than 500 lines", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_shipped_does_not_panic_by_intent() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for word in [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!(", "unreachable!("] {
            if module(&path) != "maxd" && shipped(&text).contains(word) {
                wrong.push(format!("{} has {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Words that would link large tables into rig: Unicode's upper and lower case (24 KB) and
/// the printing of floating point numbers (6 KB). See docs/size.md.
#[test]
fn what_is_shipped_in_rig_links_no_large_tables() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for word in ["to_lowercase", "to_uppercase", "f32", "f64"] {
            if module(&path) != "maxd" && shipped(&text).contains(word) {
                wrong.push(format!("{} has {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A crate's name stays in the file or folder that wraps it.
#[test]
fn crates_stay_where_they_are_wrapped() {
    const HOMES: &[(&str, &[&str])] = &[
        ("lexopt", &["cli/parse.rs", "maxd/args.rs"]),
        ("keyring", &["store/vault.rs"]),
        ("libc", &["sys/unix/"]),
        ("windows_sys", &["sys/windows/"]),
        ("miniz_oxide", &["archive/gzip.rs"]),
        ("tar", &["archive/"]),
        ("tungstenite", &["net/"]),
        ("httparse", &["net/exchange.rs"]),
        ("ring", &["manifest.rs", "net/", "maxd/"]),
        ("p256", &["net/tls"]),
        ("x25519_dalek", &["net/x25519.rs"]),
        ("rusqlite", &["maxd/"]),
        ("axum", &["maxd/"]),
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let name = path.to_str().unwrap().to_owned();
        for (krate, homes) in HOMES {
            let used = shipped(&text).lines().any(|line| {
                let code = line.split("//").next().unwrap();
                code.match_indices(&format!("{krate}::")).any(|(at, _)| {
                    !code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':')
                })
            });
            if used && !homes.iter().any(|home| name.starts_with(home)) {
                wrong.push(format!("{name} uses {krate}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
