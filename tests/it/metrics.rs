//! What is measured of apps: their use, their requests, their health, their limits; told
//! by `rig status`, by `/metrics` and by `/readyz`.

use crate::harness::{Max, PATIENCE, Rig, text, wait_for};
use crate::json::check;
use crate::terminal::Terminal;
use crate::visitor::{HOST, Visitor, deploy, lab_with, started};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

fn status(rig: &Rig) -> Value {
    rig.json(&["status", "app", "lab.blue"])
}

/// `rig.json` of the lab, with more members.
fn settings(more: &str) -> String {
    format!(r#"{{"build":"cc -O1 -pthread -o server server.c","run":"exec ./server"{more}}}"#)
}

/// The lab with these settings on a server of its own.
fn lab(max: &Max, more: &str) -> (Rig, std::path::PathBuf) {
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = deploy(max, &rig, &lab_with("one\n", &settings(more)));
    (rig, dir)
}

/// The answer of the API's listener: status, head and body.
fn api(max: &Max, path: &str, headers: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(max.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: max\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = text(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
}

#[test]
fn what_an_app_uses_is_measured_in_groups_and_by_the_process_table() {
    std::thread::scope(|scope| {
        for (isolation, trial) in [("auto", ""), ("auto", "ungrouped"), ("none", "ungrouped")] {
            scope.spawn(move || {
                let max = Max::with_trial(&["--isolation", isolation], trial);
                let (rig, _) = lab(&max, "");
                assert_eq!(max.get(HOST, "/take/64").1, "taken\n");
                assert_eq!(max.get(HOST, "/spin/30").1, "spinning\n");
                let status = wait_for("the use to be measured", || {
                    let status = status(&rig);
                    let usage = &status["usage"];
                    (usage["cpu"].as_u64() > Some(100) && usage["memory"].as_u64() > Some(64 * MIB))
                        .then_some(status)
                });
                let usage = &status["usage"];
                assert!(usage["cpu"].as_u64().unwrap() < 600, "{usage}");
                assert!(usage["memory"].as_u64().unwrap() < 128 * MIB, "{usage}");
                assert_eq!(status["instances"][0]["usage"], *usage);
                let network = rig.json(&["status", "network", "blue"]);
                assert_eq!(network["readings"][0]["app"], "lab");
                assert!(network["usage"]["memory"].as_u64() > Some(64 * MIB), "{network}");
                // For people.
                let shown = rig.ok(&["status", "app", "lab.blue"]);
                assert!(shown.contains("\nmemory       6") && shown.contains(" MiB\n"), "{shown}");
                let shown = rig.ok(&["status", "network", "blue"]);
                let header = "APP  STATE    RELEASE  CPU";
                assert!(shown.contains(header) && shown.contains("  lab.blue.localhost\n"), "{shown}");
            });
        }
    });
}

#[test]
fn requests_are_counted_with_their_errors_and_their_times() {
    let (max, rig, dir) = started();
    let mut visitor = Visitor::new(&max);
    for _ in 0..18 {
        assert_eq!(visitor.get("/").0, 200);
    }
    // What the router itself answers for the app counts, too.
    assert_eq!(max.get(HOST, "/status/500").0, 500);
    assert_eq!(max.get(HOST, "/none").0, 502);
    for n in 0..4 {
        let mut slow = Visitor::new(&max);
        slow.ask(&format!("GET /wait/{n}"), &[]);
        wait_for("the app to have it", || {
            let lines = rig.ok(&["logs", "app", "lab.blue"]);
            lines.contains(&format!("GET /wait/{n} ")).then_some(())
        });
        let seen = Instant::now();
        wait_for("a while to pass", || (seen.elapsed() > Duration::from_millis(100)).then_some(()));
        fs::write(dir.join(n.to_string()), "").unwrap();
        assert_eq!(slow.answer().0.status, 200);
    }
    let status = wait_for("the requests to be counted", || {
        let status = status(&rig);
        (status["traffic"]["requests"].as_u64() == Some(24)).then_some(status)
    });
    let traffic = &status["traffic"];
    assert_eq!(traffic["errors"], 2, "{traffic}");
    let (p50, p95) = (traffic["p50_us"].as_u64().unwrap(), traffic["p95_us"].as_u64().unwrap());
    assert!(p95 >= 100_000 && p50 < p95, "{traffic}");
    let shown = rig.ok(&["status", "app", "lab.blue"]);
    assert!(shown.contains("\nrequests     24/min\n") && shown.contains("\nerrors       8.3%\n"), "{shown}");
    assert!(shown.contains("\n95% within   ") && shown.contains("\nchecks       ."), "{shown}");
    // The history of that: its newest steps have it all.
    let history = rig.json(&["status", "app", "lab.blue", "--history", "5m"]);
    let samples = history["samples"].as_array().unwrap();
    let sum = |name: &str| samples.iter().map(|sample| sample[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((history["step"].as_u64(), sum("requests"), sum("errors")), (Some(2), 24, 2));
    check("Sample", &samples[0]);
    check("Usage", &status["usage"]);
    check("Check", &status["checks"][0]);
    assert!(samples.iter().all(|sample| sample["memory"].as_u64() > Some(0)), "{history}");
    for (span, step) in [("24h", 60), ("30d", 3600)] {
        let history = rig.json(&["status", "app", "lab.blue", "--history", span]);
        let samples = history["samples"].as_array().unwrap();
        let requests = samples.iter().map(|sample| sample["requests"].as_u64().unwrap());
        assert_eq!((history["step"].as_u64(), requests.sum()), (Some(step), 24_u64), "{history}");
        assert!(samples.len() <= 2 && samples.last().unwrap()["p95_us"].as_u64() >= Some(100_000));
    }
    let shown = rig.ok(&["status", "app", "lab.blue", "--history", "1h"]);
    assert!(shown.starts_with("UNTIL ") && shown.lines().count() <= 25, "{shown}");
}

#[test]
fn history_survives_a_restart_and_is_gone_with_its_app() {
    let (mut max, rig, _dir) = started();
    assert_eq!(max.get(HOST, "/").0, 200);
    let requests = |rig: &Rig| {
        let history = rig.json(&["status", "app", "lab.blue", "--history", "24h"]);
        let samples = history["samples"].as_array().unwrap().clone();
        samples.iter().map(|sample| sample["requests"].as_u64().unwrap()).sum::<u64>()
    };
    wait_for("the request to be counted", || (requests(&rig) == 1).then_some(()));
    max.stop();
    max.serve();
    assert_eq!(requests(&rig), 1);
    wait_for("the app to serve again", || (max.get(HOST, "/").0 == 200).then_some(()));
    wait_for("both to be counted", || (requests(&rig) >= 2).then_some(()));
    rig.ok(&["delete", "app", "lab.blue", "--yes"]);
    let ran = rig.run(&["status", "app", "lab.blue", "--history", "24h"]);
    ran.fails(3, "rig: app 'lab' does not exist in network 'blue'\n  see `rig list apps --network blue`\n");
    rig.ok(&["create", "app", "lab.blue"]);
    assert_eq!(requests(&rig), 0);
    let ran = rig.run(&["status", "app", "lab.blue", "--history", "1h"]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", "nothing was measured in that time\n"));
    for span in ["31d", "0s", "soon"] {
        rig.run(&["status", "app", "lab.blue", "--history", span]).fails(
            2,
            &format!(
                "rig: '{span}' is no span of history\n  write for instance `--history 1h`, `24h` or `30d`, \
                 which is the longest\n"
            ),
        );
    }
}

#[test]
fn what_fails_its_health_checks_is_unhealthy_keeps_its_traffic_and_recovers() {
    let max = Max::trial("check=200");
    let (mut rig, dir) = lab(&max, r#","health":{"path":"/sick/now"}"#);
    rig.set("LANG", "C.UTF-8");
    fs::write(dir.join("now"), "").unwrap();
    let sick = wait_for("the app to be unhealthy", || {
        let status = status(&rig);
        (status["app"]["state"] == "unhealthy").then_some(status)
    });
    let reason = "'/sick/now' answered 500, 3 times in a row";
    assert_eq!(sick["app"]["reason"], reason);
    assert_eq!(max.get(HOST, "/"), (200, "one\n".to_owned()));
    let last = sick["checks"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["healthy"], &last["reason"]),
        (&Value::Bool(false), &"'/sick/now' answered 500".into())
    );
    fs::remove_file(dir.join("now")).unwrap();
    let well = wait_for("the app to recover", || {
        let status = status(&rig);
        (status["app"]["state"] == "running").then_some(status)
    });
    assert_eq!((&well["app"]["reason"], &well["instances"][0]["restarts"]), (&Value::Null, &0.into()));
    let events = || {
        let status = status(&rig);
        let texts = status["events"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap());
        texts.map(str::to_owned).collect::<Vec<_>>()
    };
    wait_for("the events", || events().contains(&"healthy again".to_owned()).then_some(()));
    assert!(events().contains(&format!("unhealthy: {reason}")), "{:?}", events());
    let shown = rig.ok(&["status", "app", "lab.blue"]);
    let checks = shown.lines().find_map(|line| line.strip_prefix("checks ")).unwrap().trim();
    assert!(checks.contains("xxx.") && checks.chars().all(|c| ".x".contains(c)), "{shown}");
    // On a terminal they are ticks and crosses; on a narrow one only what Max said is wrapped.
    let mut terminal = Terminal::sized(&rig, &["status", "app", "lab.blue"], 60, 60);
    assert_eq!(terminal.end(), 0);
    terminal.wait("healthy again");
    let screen = terminal.screen();
    let (above, _) = screen.split_once("\nWHEN ").unwrap_or_else(|| panic!("{screen}"));
    assert!(above.contains("✗✗✗✓") && above.lines().all(|line| line.chars().count() < 60), "{screen}");
    // What stays sick is started again.
    fs::write(dir.join("now"), "").unwrap();
    let line = "unhealthy: '/sick/now' answered 500, 6 times in a row; starting again in 0.5 s";
    wait_for("the restart", || events().contains(&line.to_owned()).then_some(()));
    wait_for("it to be counted", || (status(&rig)["instances"][0]["restarts"] == 1).then_some(()));
}

/// Whether control groups can be made here; said when they can't.
fn grouped(max: &Max) -> bool {
    let grouped = max.log().contains("apps are held to their limits by control groups");
    if !grouped {
        eprintln!("skipped: no control group can be made here, so that limits are only shown");
    }
    grouped
}

#[test]
fn limits_are_shown_and_held_where_that_is_possible() {
    let max = Max::start();
    let (rig, _) = lab(&max, r#","limits":{"memory":"64MiB","cpu":"0.2"}"#);
    let measured = wait_for("the limits", || {
        let usage = status(&rig)["usage"].clone();
        (usage["memory_limit"] == 64 * MIB).then_some(usage)
    });
    assert_eq!(measured["cpu_limit"], 200);
    let shown = rig.ok(&["status", "app", "lab.blue"]);
    assert!(shown.contains("\ncpu limit     20.0%\n"), "{shown}");
    assert!(shown.contains("\nmemory limit  64.0 MiB\n"), "{shown}");
    if !grouped(&max) {
        return;
    }
    assert_eq!(max.get(HOST, "/spin/90").0, 200);
    // It wants 90 % and gets 20 %, and some for the moment in which a period begins.
    let mut seen = Vec::new();
    wait_for("the limit to hold", || {
        let cpu = status(&rig)["usage"]["cpu"].as_u64().unwrap();
        seen.push(cpu);
        (cpu > 150).then_some(())
    });
    assert!(seen.iter().all(|cpu| *cpu < 300), "{seen:?}");
    assert_eq!(max.get(HOST, "/take/128").0, 502);
    let line = "exited with code 137 (SIGKILL), over its memory limit; starting again in 0.5 s";
    wait_for("the end", || {
        let status = status(&rig);
        let lines = status["events"].as_array().unwrap();
        lines.iter().any(|event| event["text"] == line).then_some(())
    });
}

/// One line of the exposition format that is a sample: its name, labels and value.
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}').unwrap_or_else(|| panic!("no end: {line}"))),
        None => (series, ""),
    };
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    assert!(is_name(name), "{line}");
    let pairs = labels.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
        let (label, value) = pair.split_once('=').unwrap_or_else(|| panic!("no label: {line}"));
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        let value = value.unwrap_or_else(|| panic!("no quotes: {line}"));
        assert!(is_name(label) && !value.contains(['"', '\\', '\n']), "{line}");
        (label.to_owned(), value.to_owned())
    });
    let all: Vec<_> = pairs.collect();
    let labels: BTreeMap<_, _> = all.iter().cloned().collect();
    assert_eq!(labels.len(), all.len(), "a label twice: {line}");
    (name.to_owned(), labels, value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
}

/// Reads the exposition format strictly: families in one piece, each with its help and
/// type before its samples, no sample twice, histograms that add up.
fn parse(page: &str) -> BTreeMap<String, f64> {
    assert!(page.ends_with('\n'));
    let (mut kinds, mut found, mut histograms) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let (mut helped, mut family) = (None, String::new());
    let mut closed = BTreeSet::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && closed.insert(name.to_owned()), "{line}");
            helped = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(helped.take().as_deref(), Some(name), "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            kinds.insert(name.to_owned(), kind.to_owned());
            name.clone_into(&mut family);
        } else {
            let (name, mut labels, value) = sample(line);
            let kind = kinds[&family].as_str();
            assert_eq!(kind == "counter", family.ends_with("_total"), "{line}");
            assert!(value >= 0.0 && value.is_finite(), "{line}");
            if kind == "histogram" {
                let part = name.strip_prefix(&format!("{family}_")).unwrap_or_else(|| panic!("{line}"));
                let le = labels.remove("le");
                assert_eq!(le.is_some(), part == "bucket", "{line}");
                let parts: &mut Vec<_> = histograms.entry((family.clone(), labels)).or_default();
                parts.push((part.to_owned(), le.unwrap_or_default(), value));
            } else {
                assert_eq!(name, family, "{line}");
            }
            let series = line.rsplit_once(' ').unwrap().0.to_owned();
            assert!(found.insert(series, value).is_none(), "twice: {line}");
        }
    }
    for ((name, labels), parts) in histograms {
        let edges = parts.iter().filter(|(part, ..)| part == "bucket");
        let edges: Vec<(f64, f64)> = edges
            .map(|(_, le, value)| (if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap() }, *value))
            .collect();
        let rises = edges.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        assert!(edges.len() > 5 && rises, "{name} {labels:?}: {edges:?}");
        let count = parts.iter().find(|(part, ..)| part == "count").unwrap().2;
        assert_eq!(edges.last().unwrap(), &(f64::INFINITY, count), "{name}");
        assert!(parts.iter().any(|(part, ..)| part == "sum"), "{name}");
    }
    found
}

#[test]
fn prometheus_reads_the_metrics_with_the_token_only() {
    let (max, rig, _dir) = started();
    let (code, head, body) = api(&max, "/metrics", "");
    assert_eq!(code, 401, "{body}");
    assert!(head.to_ascii_lowercase().contains("\r\nwww-authenticate: bearer\r\n"), "{head}");
    let wrong = format!("Authorization: Bearer {}\r\n", max.token("ada"));
    assert_eq!(api(&max, "/metrics", &wrong).0, 401);
    let file = max.data().join("metrics-token");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let header = format!("Authorization: Bearer {}\r\n", fs::read_to_string(file).unwrap().trim());
    for path in ["/", "/status/404", "/status/503"] {
        max.get(HOST, path);
    }
    max.get(HOST, "/exit/3");
    wait_for("the restart", || (status(&rig)["instances"][0]["restarts"] == 1).then_some(()));
    let of = |name: &str| format!("{name}{{network=\"blue\",app=\"lab\"}}");
    let found = wait_for("everything to be counted", || {
        let (code, head, body) = api(&max, "/metrics", &header);
        assert_eq!(code, 200, "{body}");
        assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
        let found = parse(&body);
        let running = "max_app_state{network=\"blue\",app=\"lab\",state=\"running\"}";
        let all = found[&of("max_app_response_seconds_count")] == 4.0
            && found.contains_key(running)
            && found[&of("max_app_memory_bytes")] > 0.0;
        all.then_some(found)
    });
    for (class, count) in [("1xx", 0.0), ("2xx", 1.0), ("3xx", 0.0), ("4xx", 1.0), ("5xx", 2.0)] {
        let name = format!("max_app_requests_total{{network=\"blue\",app=\"lab\",code=\"{class}\"}}");
        assert_eq!(found[&name], count, "{class}");
    }
    assert_eq!(found[&of("max_app_restarts_total")], 1.0);
    assert!(found[&of("max_app_cpu_seconds_total")] > 0.0);
    assert_eq!((found["max_apps"], found["max_sockets"]), (1.0, 0.0));
    assert_eq!(found["max_requests_total{request=\"network:create\"}"], 1.0);
    let version = format!("max_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(found[&version], 1.0);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let age = now - found["process_start_time_seconds"];
    assert!((-2.0..600.0).contains(&age), "{age}");
    for name in ["process_resident_memory_bytes", "process_open_fds"] {
        assert!(found[name] > 0.0, "{name}");
    }
}

#[test]
fn a_server_is_ready_when_its_apps_were_started_again() {
    let mut max = Max::start();
    let ready = (200, "{\"status\":\"ready\",\"reasons\":[]}".to_owned());
    let ask = |max: &Max| {
        let (code, _, body) = api(max, "/readyz", "");
        (code, body)
    };
    assert_eq!(ask(&max), ready);
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    // Each start after the first one waits for the file.
    let run = "test -e first || { touch first; exec ./server; }; \
               while ! test -e go; do sleep 0.01; done; exec ./server";
    let settings = format!(r#"{{"build":"cc -O1 -pthread -o server server.c","run":"{run}"}}"#);
    let dir = deploy(&max, &rig, &lab_with("one\n", &settings));
    assert_eq!(ask(&max), ready);
    max.stop();
    max.serve();
    let reason = "{\"status\":\"unready\",\"reasons\":[\"1 app is being started again\"]}";
    assert_eq!(ask(&max), (503, reason.to_owned()));
    assert_eq!(api(&max, "/healthz", "").0, 200);
    fs::write(dir.join("go"), "").unwrap();
    wait_for("the server to be ready", || (ask(&max) == ready).then_some(()));
}
