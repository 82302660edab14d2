//! What `rig logs` can ask for, how it looks, and what it says to nonsense.

use crate::harness::{Max, wait_for};
use crate::logs_flow::Gated;
use std::io::Read;

/// An app that has written what `script` writes, and `the end`; all of it can be read.
fn written(max: &Max, script: &str) -> Gated {
    let app = Gated::new(max, &format!("{script}; echo the end"));
    app.open();
    wait_for("the end", || {
        (app.rig.ok(&["logs", "app", "web.blue", "--grep", "the end"]) == "the end\n").then_some(())
    });
    app
}

const LINES: &str = r#"echo '[INFO] up'; echo '{"level":"warn","msg":"slow"}'; echo 'level=error msg=broken';
    echo plain a.b; echo plain axb; sleep 0.1; echo 'ERROR: to stderr' >&2; sleep 0.1"#;

#[test]
fn filters_choose_lines_and_combine() {
    let max = Max::start();
    let app = written(&max, LINES);
    let show = |args: &[&str]| {
        let mut all = vec!["logs", "app", "web.blue"];
        all.extend(args);
        app.rig.ok(&all)
    };
    assert_eq!(show(&["--grep", "a.b"]), "plain a.b\n");
    assert_eq!(show(&["--regex", "^plain a.b$"]), "plain a.b\nplain axb\n");
    assert_eq!(show(&["--level", "error"]), "level=error msg=broken\nERROR: to stderr\n");
    let warn = "{\"level\":\"warn\",\"msg\":\"slow\"}\nlevel=error msg=broken\nERROR: to stderr\n";
    assert_eq!(show(&["--level", "warn"]), warn);
    assert_eq!(
        show(&["--level", "warn", "--stream", "stdout", "--grep", "msg=", "--regex", "brok.n"]),
        "level=error msg=broken\n"
    );
    assert_eq!(show(&["--stream", "stderr"]), "ERROR: to stderr\n");
    assert_eq!(show(&["--grep", "plain", "--tail", "1"]), "plain axb\n");
    assert_eq!(show(&["--instance", "1", "--release", "1", "--grep", "plain", "--tail", "1"]), "plain axb\n");
    assert_eq!(show(&["--instance", "2"]), "");
    assert_eq!(show(&["--release", "2"]), "");
    assert_eq!(show(&["--since", "1h", "--grep", "plain"]), "plain a.b\nplain axb\n");
    assert_eq!(show(&["--until", "1h"]), "");
    assert_eq!(show(&["--since", "2026-11-24T10:00:00+01:00", "--until", "1h"]), "");
    let network = app.rig.ok(&["logs", "network", "blue", "--grep", "plain a", "--level", "trace"]);
    assert_eq!(network, "");
    assert_eq!(app.rig.ok(&["logs", "network", "blue", "--grep", "plain a.b"]), "web plain a.b\n");

    let json = app.rig.json(&["logs", "app", "web.blue", "--grep", "slow"]);
    let line = &json["lines"][0];
    assert_eq!((line["level"].as_str(), line["instance"].as_u64()), (Some("warn"), Some(1)));
    let time = line["time"].as_str().unwrap();
    assert_eq!(
        show(&["--grep", "slow", "--timestamps", "utc"]),
        format!("{time} {{\"level\":\"warn\",\"msg\":\"slow\"}}\n")
    );
    // From the millisecond on, and not before it.
    assert!(show(&["--since", time]).contains("slow"));
    assert!(!show(&["--until", time]).contains("slow"));
}

#[test]
fn local_and_relative_times() {
    let max = Max::start();
    let mut app = written(&max, "echo one");
    app.rig.set("TZ", "XXX-03:30");
    let time = app.rig.json(&["logs", "app", "web.blue", "--grep", "one"])["lines"][0]["time"].clone();
    let local = app.rig.ok(&["logs", "app", "web.blue", "--grep", "one", "--timestamps", "local"]);
    let local = local.strip_suffix(" one\n").unwrap();
    assert!(local.ends_with("+03:30"), "{local}");
    // The same moment, whichever way it is written.
    let since =
        app.rig.ok(&["logs", "app", "web.blue", "--since", local, "--timestamps", "utc", "--grep", "one"]);
    assert_eq!(since, format!("{} one\n", time.as_str().unwrap()));
    let relative = app.rig.ok(&["logs", "app", "web.blue", "--grep", "one", "--timestamps", "relative"]);
    assert!(relative.trim_start().ends_with("s one\n"), "{relative}");
}

#[test]
fn nonsense_is_named_with_an_example() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    rig.ok(&["create", "app", "web.blue"]);
    let times = "  for instance `--since 5m`, `2h30m` or `2026-11-24T10:00:00Z`\n";
    for (args, code, stderr) in [
        (vec!["--since", "5x"], 2, format!("rig: --since takes a time, not '5x'\n{times}")),
        (vec!["--since", "yesterday"], 2, format!("rig: --since takes a time, not 'yesterday'\n{times}")),
        (vec!["--until", "2026-13-01T00:00:00Z"], 2, "rig: --until takes a time, not '2026-13-01T00:00:00Z'\n  for instance `--until 5m`, `2h30m` or `2026-11-24T10:00:00Z`\n".to_owned()),
        (vec!["--since", "1h", "--until", "2h"], 2, "rig: --until is not after since, so that no line can lie between them\n  for instance `--since 2h --until 1h`\n".to_owned()),
        (vec!["--follow", "--until", "1h"], 2, "rig: --until ends what is shown, so that there is nothing to --follow\n  leave one of them out\n".to_owned()),
        (vec!["--level", "loud"], 2, "rig: --level takes a level, not 'loud'\n  one of trace, debug, info, warn, error, fatal; for instance `--level warn`\n".to_owned()),
        (vec!["--stream", "out"], 2, "rig: --stream takes stdout or stderr, not 'out'\n  for instance `--stream stderr`\n".to_owned()),
        (vec!["--regex", "a("], 2, "rig: --regex can't use 'a(': unclosed group\n  for instance `--regex 'status=5[0-9][0-9]'`; for text as it is take --grep\n".to_owned()),
        (vec!["--grep", ""], 2, "rig: --grep takes 1 to 4096 bytes\n  for instance `--grep timeout`\n".to_owned()),
        (vec!["--tail", "x"], 2, "rig: --tail takes a number of lines, not 'x'\n  for instance `--tail 5`\n".to_owned()),
        (vec!["--instance", "-1"], 2, "rig: --instance takes a number, not '-1'\n  for instance `--instance 5`\n".to_owned()),
        (vec!["--release", "two"], 2, "rig: --release takes a number, not 'two'\n  for instance `--release 5`\n".to_owned()),
        (vec!["--timestamps", "iso"], 2, "rig: --timestamps takes a form, not 'iso'\n  one of none, relative, local, utc; for instance `--timestamps utc`\n".to_owned()),
    ] {
        let mut all = vec!["logs", "app", "web.blue"];
        all.extend(args);
        rig.run(&all).fails(code, &stderr);
    }
    rig.run(&["logs", "app", "none.blue", "--follow"])
        .fails(3, "rig: app 'none' does not exist in network 'blue'\n  see `rig list apps --network blue`\n");
    rig.run(&["logs", "build", "web.blue", "--stream", "stdout"])
        .fails(2, "rig: `rig logs build` has no flag --stream\n  see `rig logs build --help`\n");
}

#[test]
fn a_line_of_megabytes_is_whole_in_a_pipe_and_marked_in_json() {
    let max = Max::start();
    let long = "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo next";
    let app = written(&max, long);
    let out = app.rig.ok(&["logs", "app", "web.blue", "--stream", "stdout"]);
    // Behind what the server says first.
    let (_, out) = out.split_once('\n').unwrap();
    assert!(out == format!("{}\nnext\nthe end\n", "x".repeat(3_000_000)), "{} bytes", out.len());
    let json = app.rig.json(&["logs", "app", "web.blue", "--stream", "stdout"]);
    let lines = json["lines"].as_array().unwrap();
    assert!(lines.len() > 40);
    let partial: Vec<bool> = lines.iter().map(|line| line["partial"].as_bool().unwrap()).collect();
    assert!(partial[1..lines.len() - 3].iter().all(|partial| *partial));
    assert_eq!(partial[lines.len() - 3..], [false; 3]);
}

#[test]
fn raw_text_passes_as_it_is() {
    let max = Max::start();
    let app = written(&max, r"printf 'a\033[31mb\n'");
    let show = |args: &[&str]| {
        app.rig.ok(&[&["logs", "app", "web.blue", "--stream", "stdout", "--tail", "2"], args].concat())
    };
    assert_eq!(show(&[]), "a\\u{1b}[31mb\nthe end\n");
    assert_eq!(show(&["--raw"]), "a\u{1b}[31mb\nthe end\n");
}

#[test]
fn a_terminal_shows_time_origin_and_whole_columns() {
    let max = Max::start();
    let app =
        written(&max, "printf '0123456789%.0s' 1 2 3 4 5 6; echo; printf 'a\\033[2J\\n' >&2; sleep 0.1");
    let on = |columns: u16, args: &[&str]| {
        let size = portable_pty::PtySize { rows: 24, cols: columns, ..Default::default() };
        let pair = portable_pty::native_pty_system().openpty(size).unwrap();
        let command = app.rig.command::<&str>(&[]);
        let mut builder = portable_pty::CommandBuilder::new(command.get_program());
        builder.args(["logs", "app", "web.blue", "--no-follow", "--release", "1"]);
        builder.args(args);
        builder.env_clear();
        for (name, value) in command.get_envs() {
            builder.env(name, value.unwrap());
        }
        builder.env("TERM", "xterm");
        let mut child = pair.slave.spawn_command(builder).unwrap();
        drop(pair.slave);
        let mut out = String::new();
        // The end of a terminal is an error.
        let _ = pair.master.try_clone_reader().unwrap().read_to_string(&mut out);
        assert!(child.wait().unwrap().success(), "{out}");
        out.replace("\r\n", "\n")
    };
    let plain = on(40, &["--grep", "0123", "--timestamps", "none"]);
    assert_eq!(
        plain,
        "\u{1b}[2mout.1\u{1b}[0m  012345678901234567890123456789012\n       345678901234567890123456789\n"
    );
    let timed = on(200, &["--stream", "stderr"]);
    let (time, rest) = timed.split_once("\u{1b}[0m ").unwrap();
    let clock = time.strip_prefix("\u{1b}[2m").unwrap();
    assert!(clock.len() == 8 && clock.split(':').all(|part| part.parse::<u8>().is_ok()), "{clock}");
    assert_eq!(rest, "\u{1b}[31merr.1\u{1b}[0m  a\\u{1b}[2J\n");
}
