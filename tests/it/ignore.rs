//! What a deploy sends: what ignore files leave out, what can't be sent, and what is told of
//! both before.

use crate::harness::{Max, Ran, Rig, project};
use crate::terminal::Terminal;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;
use tempfile::TempDir;

/// A tree with rules in several places.
const TREE: &[(&str, &str)] = &[
    (".gitignore", "# what is built\nnode_modules/\n*.log\n!keep.log\n/out\nlogs/*\n!logs/now\n"),
    ("index.html", "<p>hello</p>"),
    ("a.log", "12345"),
    ("keep.log", "1"),
    ("out", "123"),
    ("logs/now/x", "1"),
    ("logs/old/x", "12"),
    ("sub/out", "1234567"),
    ("sub/.rigignore", "!b.log\nsecret/**\n"),
    ("sub/.gitignore", "*\n"),
    ("sub/a.log", "123"),
    ("sub/b.log", "12"),
    ("sub/secret/key", "123"),
    ("sub/node_modules/x/index.js", "1"),
    ("node_modules/x/index.js", "1"),
    (".git/HEAD", "ref"),
];

/// What of [`TREE`] is sent.
const SENT: [&str; 12] = [
    ".gitignore",
    "index.html",
    "keep.log",
    "logs",
    "logs/now",
    "logs/now/x",
    "sub",
    "sub/.gitignore",
    "sub/.rigignore",
    "sub/b.log",
    "sub/out",
    "sub/secret",
];

/// A build that shows what has arrived, each name in a line of its own.
const SHOW: &str = r#"{"build":"find . -mindepth 1 -print0 | tr '\\n\\0' '@\\n' | LC_ALL=C sort | cat -v"}"#;

/// What has arrived in Max, by its build.
fn arrived(rig: &Rig, dir: &TempDir) -> Vec<String> {
    fs::write(dir.path().join("rig.json"), SHOW).unwrap();
    let ran = rig.run(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let names = ran.stderr.lines().filter_map(|line| line.strip_prefix("./"));
    names.filter(|name| *name != "rig.json").map(str::to_owned).collect()
}

/// A rig that is logged in nowhere, in this tree.
fn alone(dir: &TempDir) -> Rig {
    let mut rig = Rig::new();
    rig.enter(dir.path());
    rig
}

fn refuses(dir: &TempDir, code: i32, message: &str) {
    let rig = alone(dir);
    let hint = "if the app does not need it, remove it or name it in '.rigignore'";
    rig.run(&["deploy", "--dry-run"]).fails(code, &format!("rig: {message}\n  {hint}\n"));
}

#[test]
fn nested_rules_decide_what_arrives() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = project(TREE);
    fs::create_dir(dir.path().join("empty")).unwrap();
    let mut expected = SENT.to_vec();
    expected.insert(1, "empty");
    assert_eq!(arrived(&rig, &dir), expected);
}

#[test]
fn a_dry_run_shows_all_without_a_login() {
    let ran = alone(&project(TREE)).run(&["deploy", "--dry-run"]);
    assert_eq!(ran.stderr, "not checked against Max's limits: you are not logged in\n");
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (
            0,
            "would be sent  .
files          8
directories    4
links          0
size           110 B

SIZE  LARGEST FILES
68 B  .gitignore
17 B  sub/.rigignore
12 B  index.html
7 B   sub/out
2 B   sub/.gitignore
2 B   sub/b.log
1 B   keep.log
1 B   logs/now/x

BY              LINE  LEFT OUT       DIRECTORIES  FILES  SIZE
-               -     .git           1            0      -
.gitignore      2     node_modules/  2            0      -
.gitignore      3     *.log          0            2      8 B
.gitignore      5     /out           0            1      3 B
.gitignore      6     logs/*         1            0      -
sub/.rigignore  2     secret/**      0            1      3 B
"
        )
    );
}

#[test]
fn a_dry_run_on_a_narrow_terminal_has_records() {
    let rig = Rig::new();
    let site = rig.home.path().join("site");
    fs::create_dir(&site).unwrap();
    fs::write(site.join(".rigignore"), format!("nothing\n{}*\n", "x".repeat(50))).unwrap();
    fs::write(site.join("x".repeat(51)), "12345").unwrap();
    fs::write(site.join("index.html"), "1").unwrap();
    let mut terminal = Terminal::sized(&rig, &["deploy", "site", "--dry-run"], 60, 24);
    assert_eq!(terminal.end(), 0);
    terminal.shows(&format!(
        "would be sent  site
files          2
directories    0
links          0
size           61 B

SIZE  LARGEST FILES
60 B  .rigignore
1 B   index.html

by           .rigignore
line         2
left out     {}...
directories  0
files        1
size         5 B
",
        "x".repeat(40)
    ));
}

#[test]
fn a_dry_run_in_json_has_the_ten_largest_and_each_rule() {
    let dir = project(&[(".rigignore", "*.tmp\n"), ("a.tmp", "12"), ("b.tmp", "345")]);
    for size in 1..=12 {
        fs::write(dir.path().join(format!("f{size}")), "x".repeat(size * 10)).unwrap();
    }
    symlink("f1", dir.path().join("link")).unwrap();
    fs::create_dir(dir.path().join("empty")).unwrap();
    let preview = alone(&dir).json(&["deploy", "--dry-run"]);
    let largest: Vec<Value> =
        (3..=12).rev().map(|size| json!({"path": format!("f{size}"), "bytes": size * 10})).collect();
    assert_eq!(preview["largest"], Value::Array(largest));
    let rule = json!({"file": ".rigignore", "line": 1, "pattern": "*.tmp", "directories": 0, "files": 2, "bytes": 5});
    assert_eq!(preview["left_out"], json!([rule]));
    let all = ["files", "directories", "links", "bytes"].map(|name| preview[name].as_u64().unwrap());
    assert_eq!(all, [13, 1, 1, 786]);
    assert_eq!((&preview["directory"], &preview["checked"]), (&json!("."), &json!(false)));
}

#[test]
fn a_dry_run_creates_nothing_and_keeps_to_maxs_limits() {
    let max = Max::with(&["--source-limit", "1KiB"]);
    let mut rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = project(&[("index.html", "x")]);
    rig.enter(dir.path());
    let args = ["deploy", "--dry-run", "-a", "web", "-n", "blue", "--create", "--link"];
    let ran = rig.run(&args);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(rig.json(&args)["checked"], true);
    assert_eq!(rig.json(&["list", "apps"])["apps"], json!([]));
    assert!(!dir.path().join("rig.json").exists());
    fs::write(dir.path().join("data"), "x".repeat(2000)).unwrap();
    let over = "rig: '.' has 1.9 KiB; Max takes 1.0 KiB\n  \
                leave out what the app does not need: name it in '.rigignore'\n";
    let ran = rig.run(&args);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, over));
    assert!(ran.stdout.contains("1.9 KiB  data\n"), "{}", ran.stdout);
    rig.run(&["deploy", "-a", "web", "-n", "blue", "--create"]).fails(1, over);
}

#[test]
fn explain_names_the_rule_that_decides() {
    let dir = project(TREE);
    let rig = alone(&dir);
    for (file, said) in [
        ("index.html", "'index.html' would be sent: no rule matches it"),
        ("a.log", "'a.log' would not be sent: .gitignore:3: *.log"),
        ("keep.log", "'keep.log' would be sent: .gitignore:4: !keep.log"),
        ("./sub/b.log", "'./sub/b.log' would be sent: sub/.rigignore:1: !b.log"),
        ("sub/out", "'sub/out' would be sent: no rule matches it"),
        ("node_modules/keep.log", "'node_modules/keep.log' would not be sent: .gitignore:2: node_modules/"),
        ("missing/a.log", "'missing/a.log' would not be sent: .gitignore:3: *.log"),
        ("missing/node_modules", "'missing/node_modules' would be sent: no rule matches it"),
        ("missing/node_modules/", "'missing/node_modules/' would not be sent: .gitignore:2: node_modules/"),
        ("logs/now", "'logs/now' would be sent: .gitignore:7: !logs/now"),
        ("logs/now/x", "'logs/now/x' would be sent: no rule matches it"),
        ("sub/.git", "'sub/.git' is never sent: .git"),
    ] {
        assert_eq!(rig.ok(&["deploy", "--explain", file]), format!("{said}\n"));
    }
    let verdict = rig.json(&["deploy", "--explain", "node_modules/x/none"]);
    let expected = json!({
        "path": "node_modules/x/none", "sent": false, "exists": true, "matched": "node_modules",
        "file": ".gitignore", "line": 2, "pattern": "node_modules/",
    });
    assert_eq!(verdict, expected);
    let verdict = rig.json(&["deploy", "--explain", "none"]);
    let expected = json!({
        "path": "none", "sent": true, "exists": false, "matched": null, "file": null, "line": null, "pattern": null,
    });
    assert_eq!(verdict, expected);
    for outside in ["../x", "/etc/passwd", "sub/../x"] {
        let error = format!("rig: '{outside}' is no relative path below '.'\n");
        rig.run(&["deploy", "--explain", outside]).fails(2, &error);
    }
    // It is a path below the directory, wherever that is.
    assert_eq!(
        rig.ok(&["deploy", "sub", "--explain", "a.log"]),
        "'a.log' would be sent: no rule matches it\n"
    );
    symlink("sub", dir.path().join("link")).unwrap();
    rig.run(&["deploy", "--explain", "link/x"])
        .fails(2, "rig: './link' is no directory; a link is sent as a link\n");
}

#[test]
fn a_git_file_stays_as_a_git_directory_does() {
    let dir = project(&[
        ("index.html", "x"),
        (".git", "gitdir: ../.git"),
        ("lib/.git", "gitdir: x"),
        ("lib/x", ""),
    ]);
    fs::write(dir.path().join(".rigignore"), "!.git\n").unwrap();
    symlink("lib", dir.path().join("lib/.github")).unwrap();
    let preview = alone(&dir).json(&["deploy", "--dry-run"]);
    let rule =
        json!({"file": null, "line": null, "pattern": ".git", "directories": 0, "files": 2, "bytes": 24});
    assert_eq!(preview["left_out"], json!([rule]));
    assert_eq!(preview["links"], 1);
}

#[test]
fn links_arrive_as_links_even_those_that_lead_in_circles() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = project(&[("index.html", "x"), ("sub/x", "1")]);
    for (target, link) in [("loop", "loop"), ("..", "sub/up"), ("sub", "dir"), ("missing", "broken")] {
        symlink(target, dir.path().join(link)).unwrap();
    }
    assert_eq!(arrived(&rig, &dir), ["broken", "dir", "index.html", "loop", "sub", "sub/up", "sub/x"]);
    symlink("/etc/passwd", dir.path().join("out")).unwrap();
    let ran = rig.run(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue"]);
    let refused = "rig: cannot deploy 'out': it is a symbolic link to an absolute path\n  \
                   mend it, or leave it out: name it in '.rigignore'\n";
    ran.fails(2, refused);
    // It does not wait for what nobody will send, and it says why.
    let ended = &rig.json(&["status", "app", "web.blue"])["deploy"];
    assert_eq!((&ended["state"], &ended["phase"]), (&json!("failed"), &json!("uploading")));
    assert_eq!(ended["error"], "cannot deploy 'out': it is a symbolic link to an absolute path");
}

#[test]
fn odd_names_arrive() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = project(&[("index.html", "x"), ("a\nb", "1"), (" *?[\\", "2"), ("-rf", "3")]);
    fs::write(dir.path().join(OsStr::from_bytes(b"\xff\xfe")), "4").unwrap();
    let deep = vec!["d".repeat(150); 6].join("/");
    fs::create_dir_all(dir.path().join(&deep)).unwrap();
    fs::write(dir.path().join(&deep).join("x"), "5").unwrap();
    let arrived = arrived(&rig, &dir);
    for name in ["a@b", " *?[\\", "-rf", "M-^?M-~", &format!("{deep}/x")] {
        assert!(arrived.iter().any(|there| there == name), "{name}: {arrived:?}");
    }
    let deeper = dir.path().join(vec!["d".repeat(150); 7].join("/"));
    fs::create_dir_all(deeper).unwrap();
    let ran = rig.run(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("rig: cannot deploy 'ddd"), "{}", ran.stderr);
}

#[test]
fn sockets_and_pipes_are_refused_by_name_unless_they_are_left_out() {
    let dir = project(&[("index.html", "x"), ("run/.rigignore", "")]);
    let _socket = UnixListener::bind(dir.path().join("run/sock")).unwrap();
    nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    refuses(
        &dir,
        2,
        "cannot deploy './pipe': it is a named pipe; cannot deploy './run/sock': it is a socket",
    );
    alone(&dir)
        .run(&["deploy", "--explain", "pipe"])
        .fails(2, "rig: cannot deploy './pipe': it is a named pipe\n");
    fs::write(dir.path().join(".rigignore"), "pipe\n").unwrap();
    fs::write(dir.path().join("run/.rigignore"), "sock\n").unwrap();
    assert_eq!(alone(&dir).json(&["deploy", "--dry-run"])["files"], 3);
}

/// rig without what lets root read everything. None where that can't be taken away.
fn bound(rig: &Rig, args: &[&str]) -> Option<Ran> {
    let command = rig.command(args);
    let mut bound = match nix::unistd::geteuid().is_root() {
        true => {
            let mut bound = Command::new("setpriv");
            bound.args(["--inh-caps=-all", "--bounding-set=-all"]).arg(command.get_program());
            bound
        }
        false => Command::new(command.get_program()),
    };
    bound.args(command.get_args()).current_dir(command.get_current_dir().unwrap());
    bound.env("HOME", rig.home.path());
    let ran = Ran::new(bound.output().ok()?);
    (!ran.stderr.starts_with("setpriv: ")).then_some(ran)
}

#[test]
fn what_cannot_be_read_is_told_before_anything_is_sent() {
    let dir = project(&[("index.html", "x"), ("a", "1"), ("b/c", "2"), ("d", "3"), (".rigignore", "d\n")]);
    let close = |path: &str, mode| {
        fs::set_permissions(dir.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    for path in ["a", "b", "d"] {
        close(path, 0);
    }
    let rig = alone(&dir);
    let Some(ran) = bound(&rig, &["deploy", "--dry-run"]) else {
        close("b", 0o755);
        return;
    };
    close(".rigignore", 0);
    let unruled = bound(&rig, &["deploy", "--dry-run"]).unwrap();
    close("b", 0o755);
    ran.fails(
        1,
        "rig: cannot read './a': permission denied; cannot read './b': permission denied\n  \
         if the app does not need it, remove it or name it in '.rigignore'\n",
    );
    unruled.fails(
        1,
        "rig: cannot read './.rigignore': permission denied\n  \
         its rules must be known: make it a file that can be read\n",
    );
}

#[test]
fn an_ignore_file_is_no_link() {
    let dir = project(&[("index.html", "x"), ("rules", "*\n")]);
    symlink("rules", dir.path().join(".gitignore")).unwrap();
    alone(&dir).run(&["deploy", "--dry-run"]).fails(
        1,
        "rig: cannot read './.gitignore': it is no regular file\n  \
         its rules must be known: make it a file that can be read\n",
    );
    fs::write(dir.path().join(".rigignore"), "rules\n").unwrap();
    assert_eq!(alone(&dir).json(&["deploy", "--dry-run"])["links"], 1);
}

#[test]
fn an_error_names_ten_of_many() {
    let dir = project(&[("index.html", "x")]);
    for number in 10..30 {
        nix::unistd::mkfifo(&dir.path().join(format!("p{number}")), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let told: Vec<String> =
        (10..20).map(|number| format!("cannot deploy './p{number}': it is a named pipe; ")).collect();
    refuses(&dir, 2, &format!("{}and others", told.concat()));
}

#[test]
fn a_directory_that_is_left_out_is_not_looked_into() {
    let dir = project(&[("index.html", "x"), (".rigignore", "data/\n"), ("data/x", "")]);
    let _socket = UnixListener::bind(dir.path().join("data/sock")).unwrap();
    let preview = alone(&dir).json(&["deploy", "--dry-run"]);
    let rule = json!({"file": ".rigignore", "line": 1, "pattern": "data/", "directories": 1, "files": 0, "bytes": null});
    assert_eq!(preview["left_out"], json!([rule]));
}
