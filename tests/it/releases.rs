//! Releases: which there are, and the way back to one.

use crate::harness::{Max, Rig, project, signal, site, wait_for};
use crate::lifecycle::{events, moody, pids, under_load};
use crate::visitor::{HOST, deploy, lab_with};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A network with this user as its owner.
fn owned(max: &Max) -> Rig {
    let rig = max.rig("ann");
    rig.ok(&["create", "network", "blue"]);
    rig
}

/// Deploys a page as `web`.
fn page(rig: &Rig, text: &str) {
    rig.ok(&["deploy", site(text).path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
}

fn seen(max: &Max) -> String {
    max.get("web.blue.localhost", "/").1
}

/// Number, state, how it came to serve, and from where, of all releases of `web`.
fn listed(rig: &Rig, app: &str) -> Vec<(u64, String, String, Option<u64>)> {
    let list = rig.json(&["list", "releases", app]);
    let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    let row = |one: &Value| {
        (one["release"].as_u64().unwrap(), text(one, "state"), text(one, "what"), one["from"].as_u64())
    };
    list["releases"].as_array().unwrap().iter().map(row).collect()
}

fn row(release: u64, state: &str, what: &str, from: Option<u64>) -> (u64, String, String, Option<u64>) {
    (release, state.to_owned(), what.to_owned(), from)
}

/// A `rig.json` of a server that ends at once while the file `bad` exists.
const SETTINGS: &str =
    r#"{"build":"cc -O1 -pthread -o server server.c","run":"test -e bad && exit 5; exec ./server"}"#;

#[test]
fn a_rollback_under_load_goes_back_and_survives_a_restart() {
    let (mut max, rig, _dir) = moody();
    let two = lab_with("two\n", SETTINGS);
    deploy(&max, &rig, &two);
    rig.ok(&["scale", "app", "lab.blue", "2"]);
    under_load(&max, &["GET", "POST"], |tally| {
        let said = rig.ok(&["rollback", "app", "lab.blue"]);
        assert!(said.starts_with("release 1 of app lab of network blue serves\nhttp"), "{said}");
        tally.spread(2);
    });
    assert_eq!(max.get(HOST, "/"), (200, "one\n".to_owned()));
    let expected = [row(2, "kept", "deployed", Some(1)), row(1, "serving", "rolled_back", Some(2))];
    assert_eq!(listed(&rig, "lab.blue"), expected);
    assert!(events(&rig).contains(&"rolled back from release 2 to release 1 by ada".to_owned()));
    max.kill();
    max.serve();
    wait_for("it to serve", || (max.get(HOST, "/") == (200, "one\n".to_owned())).then_some(()));
    assert_eq!(listed(&rig, "lab.blue"), expected);
    // Forwards too; and the next deploy has the next number.
    rig.ok(&["rollback", "app", "lab.blue", "--to", "2"]);
    assert_eq!(max.get(HOST, "/"), (200, "two\n".to_owned()));
    deploy(&max, &rig, &two);
    let expected = [
        row(3, "serving", "deployed", Some(2)),
        row(2, "kept", "rolled_back", Some(1)),
        row(1, "kept", "rolled_back", Some(2)),
    ];
    assert_eq!(listed(&rig, "lab.blue"), expected);
}

#[test]
fn a_rollback_that_is_not_healthy_exits_7_and_leaves_what_serves() {
    let (max, rig, dir) = moody();
    deploy(&max, &rig, &lab_with("two\n", SETTINGS));
    fs::write(dir.join("bad"), "").unwrap();
    let ran = rig.run(&["rollback", "app", "lab.blue"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (7, ""), "{}", ran.stderr);
    assert!(ran.stderr.starts_with("rig: app 'lab' was not rolled back: '"), "{}", ran.stderr);
    assert!(ran.stderr.contains(" exited with code 5"), "{}", ran.stderr);
    assert!(ran.stderr.contains("\n  the release that served goes on serving"), "{}", ran.stderr);
    assert_eq!(max.get(HOST, "/"), (200, "two\n".to_owned()));
    assert_eq!(listed(&rig, "lab.blue")[0], row(2, "serving", "deployed", Some(1)));
    let ran = rig.run(&["rollback", "app", "lab.blue", "-o", "json"]);
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((&error["code"], &error["exit_code"]), (&json!("deploy_failed"), &json!(7)));
    // One that is stopped stays so.
    rig.ok(&["stop", "app", "lab.blue"]);
    let ran = rig.run(&["rollback", "app", "lab.blue"]);
    assert!(ran.code == 7 && ran.stderr.contains("it stays stopped"), "{}", ran.stderr);
    fs::remove_file(dir.join("bad")).unwrap();
    rig.ok(&["rollback", "app", "lab.blue"]);
    assert_eq!(max.get(HOST, "/"), (200, "one\n".to_owned()));
}

#[test]
fn what_is_gone_names_what_is_kept() {
    let max = Max::with(&["--keep-releases", "5"]);
    let rig = owned(&max);
    rig.ok(&["create", "app", "web.blue"]);
    let none = rig.run(&["list", "releases", "web.blue"]);
    assert_eq!((none.code, none.stderr.as_str()), (0, "no releases yet: `rig deploy`\n"));
    let ran = rig.run(&["rollback", "app", "web.blue"]);
    ran.fails(
        6,
        "rig: app 'web' has no release to go back to\n  there is no other that is kept; see `rig list releases`\n",
    );
    for n in 1..=7 {
        page(&rig, &format!("page {n}"));
    }
    let list = rig.json(&["list", "releases", "web.blue", "--where", "state=gone"]);
    let gone: Vec<_> = list["releases"].as_array().unwrap().iter().map(|one| &one["release"]).collect();
    assert_eq!(gone, [2, 1]);
    let ran = rig.run(&["rollback", "app", "web.blue", "--to", "2"]);
    ran.fails(
        3,
        "rig: the files of release 2 of app 'web' are not kept any more\n  releases 6, 5, 4, 3 are kept; see `rig list releases`\n",
    );
    let ran = rig.run(&["rollback", "app", "web.blue", "--to", "9"]);
    ran.fails(
        3,
        "rig: app 'web' has no release 9 that has served\n  releases 6, 5, 4, 3 are kept; see `rig list releases`\n",
    );
    // What serves is kept, however many came after it.
    rig.ok(&["rollback", "app", "web.blue", "--to", "3"]);
    assert_eq!(seen(&max), "page 3");
    for n in 8..=10 {
        page(&rig, &format!("page {n}"));
        rig.ok(&["rollback", "app", "web.blue", "--to", "3"]);
    }
    let states: Vec<_> = listed(&rig, "web.blue").into_iter().map(|one| (one.0, one.1)).collect();
    let kept: Vec<_> = states.iter().filter(|one| one.1 != "gone").map(|one| one.0).collect();
    assert_eq!(kept, [10, 9, 8, 7, 3], "{states:?}");
    let ran = rig.run(&["rollback", "app", "web.blue"]);
    ran.fails(
        6,
        "rig: app 'web' has no release before 3 to go back to\n  releases 10, 9, 8, 7 are kept; see `rig list releases`\n",
    );
}

#[test]
fn a_rollback_runs_with_the_present_variables_and_is_done_once() {
    let max = Max::start();
    let rig = owned(&max);
    let server = include_str!("../apps/hello/server.c");
    let settings = r#"{"build":"cc -o server server.c","run":"echo $COLOR >>seen; exec ./server"}"#;
    let dir = project(&[("server.c", server), ("message.txt", "hi\n"), ("rig.json", settings)]);
    rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    page(&rig, "two");
    rig.ok(&["create", "var", "COLOR=red", "-a", "web.blue", "--stage"]);
    let request = r#"{"network":"blue","app":"web","idempotency_key":"k"}"#;
    assert_eq!(rig.json(&["api", "app:rollback", request])["release"], 1);
    assert_eq!(rig.ok(&["command", "web.blue", "tail -n 1 seen"]), "red\n");
    assert_eq!(rig.json(&["list", "vars", "-a", "web.blue"])["staged"], json!([]));
    rig.ok(&["rollback", "app", "web.blue", "--to", "2"]);
    assert_eq!(rig.json(&["api", "app:rollback", request])["release"], 1);
    assert_eq!(seen(&max), "two");
    // Nothing is different.
    rig.ok(&["rollback", "app", "web.blue", "--to", "2"]);
    assert_eq!(listed(&rig, "web.blue")[0], row(2, "serving", "rolled_back", Some(1)));
}

/// What is wrong with an app.
fn alerts(rig: &Rig) -> Vec<String> {
    let list = rig.json(&["list", "alerts"]);
    let text =
        |one: &Value| format!("{}: {}", one["cause"].as_str().unwrap(), one["message"].as_str().unwrap());
    list["alerts"].as_array().unwrap().iter().map(text).collect()
}

#[test]
fn a_release_that_ends_again_and_again_is_returned_from() {
    let (mut max, rig, _one) = moody();
    let two = deploy(&max, &rig, &lab_with("two\n", SETTINGS));
    // A restart of maxd changes nothing of that.
    max.kill();
    max.serve();
    wait_for("it to serve", || (max.get(HOST, "/") == (200, "two\n".to_owned())).then_some(()));
    fs::write(two.join("bad"), "").unwrap();
    signal(u32::try_from(pids(&rig)[0]).unwrap(), "KILL");
    let back = || (listed(&rig, "lab.blue")[1] == row(1, "serving", "returned", Some(2))).then_some(());
    wait_for("the return", back);
    assert_eq!(max.get(HOST, "/"), (200, "one\n".to_owned()));
    let list = rig.json(&["list", "releases", "lab.blue"]);
    let (bad, good) = (&list["releases"][0], &list["releases"][1]);
    assert_eq!((&bad["state"], &good["by"], &good["error"]), (&json!("kept"), &Value::Null, &Value::Null));
    let error = bad["error"].as_str().unwrap();
    assert!(error.contains(", 5 times in "), "{error}");
    let said = format!("returned from release 2, which did not stay healthy, to release 1: {error}");
    wait_for("the event", || events(&rig).contains(&said).then_some(()));
    let status = rig.json(&["status", "app", "lab.blue"]);
    let deploy = &status["deploy"];
    assert_eq!((&deploy["state"], &deploy["phase"]), (&json!("failed"), &json!("live")));
    assert_eq!((&status["app"]["state"], &status["app"]["release"]), (&json!("running"), &json!(1)));
    let told = format!("deploy_failed: deploy 2 failed while live: {error}");
    wait_for("the alert", || alerts(&rig).contains(&told).then_some(()));
    // So it stays, and back to what was left is no way by itself.
    max.kill();
    max.serve();
    wait_for("it to serve", || (max.get(HOST, "/") == (200, "one\n".to_owned())).then_some(()));
    let ran = rig.run(&["rollback", "app", "lab.blue"]);
    ran.fails(
        6,
        "rig: app 'lab' has no release before 1 to go back to\n  release 2 is kept; see `rig list releases`\n",
    );
}

#[test]
fn a_release_that_gets_unhealthy_is_returned_from_but_not_one_that_was_gone_back_to() {
    let max = Max::trial("check=200,probation=6000");
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let settings = r#"{"build":"cc -O1 -pthread -o server server.c","run":"exec ./server","health":{"path":"/sick/sick"}}"#;
    let one = deploy(&max, &rig, &lab_with("one\n", settings));
    // There is nothing before the first.
    fs::write(one.join("sick"), "").unwrap();
    let unhealthy = || {
        let status = rig.json(&["status", "app", "lab.blue"]);
        status["events"].to_string().contains("unhealthy: ").then_some(())
    };
    wait_for("it to be unhealthy", unhealthy);
    fs::remove_file(one.join("sick")).unwrap();
    assert_eq!(listed(&rig, "lab.blue"), [row(1, "serving", "deployed", None)]);
    let two = deploy(&max, &rig, &lab_with("two\n", settings));
    fs::write(two.join("sick"), "").unwrap();
    let back = || (listed(&rig, "lab.blue")[1] == row(1, "serving", "returned", Some(2))).then_some(());
    wait_for("the return", back);
    assert_eq!(max.get(HOST, "/"), (200, "one\n".to_owned()));
    // Who goes there himself has looked.
    fs::remove_file(two.join("sick")).unwrap();
    rig.ok(&["rollback", "app", "lab.blue", "--to", "2"]);
    fs::write(two.join("sick"), "").unwrap();
    let again = || {
        let status = rig.json(&["status", "app", "lab.blue"]);
        status["instances"][0]["restarts"].as_u64().filter(|restarts| *restarts > 0)
    };
    wait_for("it to be ended", again);
    assert_eq!(listed(&rig, "lab.blue")[0], row(2, "serving", "rolled_back", Some(1)));
}

#[test]
fn a_release_command_runs_once_per_deploy_and_before_the_traffic() {
    let max = Max::start();
    let rig = owned(&max);
    rig.ok(&["create", "app", "web.blue"]);
    rig.ok(&["create", "secret", "KEY", "--value", "opened", "-a", "web.blue"]);
    let with = |text: &str, command: &str| {
        let file = json!({"build": "echo built", "release": command}).to_string();
        project(&[("index.html", text), ("rig.json", &file)])
    };
    let dir = with("one", "echo ran $KEY $NODE_ENV >>ran; cat ran");
    let deploy = |dir: &tempfile::TempDir| {
        rig.run(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue"])
    };
    let ran = deploy(&dir);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let told = "built\n$ echo ran $KEY $NODE_ENV >>ran; cat ran\nran opened production\nstarting release 1\n";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
    let plan = &rig.json(&["details", "app", "web.blue"])["plan"];
    assert_eq!(plan["release"], "echo ran $KEY $NODE_ENV >>ran; cat ran");
    let ran = deploy(&with("two", "echo no; exit 3"));
    let said =
        "\nrig: deploy 2 failed while running its release command: 'echo no; exit 3' exited with code 3\n";
    assert!(ran.code == 7 && ran.stderr.contains(said), "{}", ran.stderr);
    let last = &rig.json(&["status", "app", "web.blue"])["deploy"];
    assert_eq!((&last["state"], &last["phase"]), (&json!("failed"), &json!("releasing")));
    assert_eq!(seen(&max), "one");
    page(&rig, "three");
    for args in
        [&["rollback", "app", "web.blue"][..], &["restart", "app", "web.blue"], &["stop", "app", "web.blue"]]
    {
        rig.ok(args);
    }
    rig.ok(&["start", "app", "web.blue"]);
    assert_eq!(seen(&max), "one");
    assert_eq!(rig.ok(&["command", "web.blue", "cat ran"]), "ran opened production\n");
}

#[test]
fn two_releases_differ_in_what_they_were_deployed_with() {
    let max = Max::start();
    let rig = owned(&max);
    rig.ok(&["create", "app", "web.blue"]);
    rig.run(&["diff", "release", "web.blue"])
        .fails(6, "rig: app 'web' has no release yet\n  see `rig list releases`\n");
    rig.ok(&["create", "var", "COLOR=red", "-a", "web.blue"]);
    rig.ok(&["create", "var", "SHARED=1", "-n", "blue"]);
    rig.ok(&["create", "secret", "KEY", "--value", "one", "-a", "web.blue"]);
    page(&rig, "one");
    page(&rig, "one");
    let same = rig.run(&["diff", "release", "web.blue", "1", "2"]);
    assert_eq!((same.code, same.stdout.as_str()), (0, ""), "{}", same.stderr);
    rig.ok(&["create", "var", "COLOR=blue", "-a", "web.blue"]);
    rig.ok(&["delete", "var", "SHARED", "-n", "blue"]);
    rig.ok(&["create", "secret", "KEY", "--value", "two", "-a", "web.blue"]);
    let build = r#"{"build":"true"}"#;
    let dir = project(&[("index.html", "three"), ("a/b.txt", ""), ("rig.json", build)]);
    rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue"]);
    // What is set later is none of it.
    rig.ok(&["create", "var", "LATER=1", "-a", "web.blue"]);
    let ran = rig.run(&["diff", "release", "web.blue", "-o", "json"]);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &document["from"], &document["to"]), (1, &json!(2), &json!(3)));
    let text = |one: &Value, name: &str| one[name].as_str().unwrap_or("-").to_owned();
    let row =
        |one: &Value| ["kind", "name", "change", "before", "after"].map(|name| text(one, name)).join(" ");
    let changes: Vec<_> = document["changes"].as_array().unwrap().iter().map(row).collect();
    assert_eq!(changes.len(), 4, "{changes:?}");
    assert_eq!(changes[0], "build  added - true");
    assert!(changes[1].starts_with("secret KEY changed ") && !changes[1].contains("two"), "{changes:?}");
    assert_eq!(changes[2..], ["variable COLOR changed red blue", "variable SHARED removed 1 -"]);
    let file = |path: &str, change: &str, before: Option<u64>, after: Option<u64>| json!({"path": path, "change": change, "before": before, "after": after, "mode": null});
    let files = json!([
        file("a/b.txt", "added", None, Some(0)),
        file("index.html", "changed", Some(3), Some(5)),
        file("rig.json", "added", None, Some(16)),
    ]);
    assert_eq!((&document["files"], &document["more"]), (&files, &json!(0)));
    let ran = rig.run(&["diff", "release", "web.blue", "3", "1"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(lines[0], "- build: true");
    assert_eq!(lines[2..4], ["~ variable COLOR: blue -> red", "+ variable SHARED: 1"]);
    assert!(lines[6].split_whitespace().eq(["index.html", "changed", "5", "B", "3", "B", "-"]), "{lines:?}");
    assert_eq!(lines.len(), 8, "{lines:?}");
    rig.run(&["diff", "release", "web.blue", "1", "9"])
        .fails(3, "rig: app 'web' has no release 9\n  see `rig list releases`\n");
}

#[test]
fn a_mode_alone_is_a_difference_and_what_was_never_recognised_is_none() {
    let max = Max::start();
    let rig = owned(&max);
    let dir = project(&[("index.html", "one"), ("run.sh", "true\n")]);
    let path = dir.path().to_str().unwrap();
    let deploy = || rig.run(&["deploy", path, "-a", "web", "-n", "blue", "--create"]).code;
    assert_eq!(deploy(), 0);
    fs::set_permissions(dir.path().join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(deploy(), 0);
    let ran = rig.run(&["diff", "release", "web.blue"]);
    let lines: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["run.sh", "changed", "5", "B", "5", "B", "0644", "->", "0755"]);
    assert_eq!((ran.code, lines.len()), (1, 2));
    // One that fails in its build is compared, but not with what it would have run with.
    fs::write(dir.path().join("rig.json"), r#"{"build":"false"}"#).unwrap();
    assert_eq!(deploy(), 7);
    let ran = rig.run(&["diff", "release", "web.blue", "2", "3"]);
    assert!(ran.code == 1 && ran.stdout.starts_with("+ build: false\n"), "{}", ran.stdout);
    fs::write(dir.path().join("rig.json"), r#"{"build":1}"#).unwrap();
    assert_eq!(deploy(), 7);
    for args in [["2", "4"], ["4", "2"]] {
        rig.run(&[&["diff", "release", "web.blue"][..], &args].concat())
            .fails(3, "rig: app 'web' has no release 4\n  see `rig list releases`\n");
    }
}
